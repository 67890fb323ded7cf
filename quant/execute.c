/* The one executor: read rows, transform, encode, write at the planned offset. The plan alone says
 * how rows are cut into pieces, which are independent of each other: any number of threads gives
 * the same bytes, and what one run noted in the journal any other run finds again. Memory only
 * decides in how many steps a worker passes through its piece. */
#include "libgguf/hash.h"
#include "quant/outputs.h"
#include "quant/plan.h"
#include "quant/quant.h"
#include "quant/rows.h"
#include "quant/source.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Large enough to amortise a system call, small enough to stay in the second-level cache. */
#define PIECE_ELEMS       ((uint64_t)256 << 10)
#define BYTES_PER_ELEM    (4 + 4 + 4 + 4) /* raw source, f32, encoded, decoded again */
#define DEFAULT_MAX_BYTES ((uint64_t)256 << 20)

typedef struct worker_buffers {
    uint8_t *raw, *moved, *encoded;
    float *values, *decoded;
    void *compensate, *output;
} worker_buffers;

struct quant_job {
    quant_plan *plan;
    const quant_execute_opts *opts;
    quant_outputs *out;
    uint32_t part, n_parts;
    quant_piece *pieces;
    size_t n_pieces;
    quant_loss_sums *losses; /* [n_pieces] */
    bool *done;              /* [n_pieces] written by an interrupted run */
    size_t first;            /* piece that the stage begins with */
    worker_buffers *buffers;
    unsigned n_workers;
    size_t raw_bytes; /* of a worker's buffer `raw` */
    uint64_t total_bytes;
    atomic_uint_fast64_t n_resumed_bytes;
    atomic_bool stop;
    pthread_mutex_t lock; /* guards the fields below */
    uint64_t done_bytes;
    size_t failed_piece;
    gguf_error failure;
    bool ran; /* without a failure */
};

quant_execute_opts quant_execute_defaults(void) {
    return (quant_execute_opts){.max_memory_bytes = DEFAULT_MAX_BYTES};
}

/* ---- cutting tensors into pieces --------------------------------------------------------- */

/* Elements of a step: what the memory of a worker holds, at most a piece. */
static uint64_t step_elems(const quant_execute_opts *opts, unsigned n_threads) {
    uint64_t fitting = opts->max_memory_bytes / 2 / (n_threads * (uint64_t)BYTES_PER_ELEM);
    return fitting < PIECE_ELEMS ? fitting : PIECE_ELEMS;
}

/* As many whole units as have `elems` elements, at least one. */
static uint64_t rows_within(const quant_plan_tensor *t, uint64_t elems) {
    uint64_t unit = quant_rows_per_unit(t);
    if (t->calibrated) return unit; /* its sums are those of one unit */
    uint64_t n = elems / (t->n_cols * unit) * unit;
    return n > unit ? n : unit;
}

/* Pieces of one tensor; appended to out if it is not NULL. */
static size_t cut_tensor(const quant_plan_tensor *t, uint32_t index, quant_piece *out) {
    size_t n = 0;
    if (t->n_rows == 0 || t->n_cols == 0) return 0;
    uint64_t step = rows_within(t, PIECE_ELEMS), matrix = quant_rows_per_matrix(t);
    for (uint64_t row = 0; row < t->n_rows; n++) {
        uint64_t left = matrix - row % matrix;
        uint64_t n_rows = left < step ? left : step;
        if (out) out[n] = (quant_piece){index, row, n_rows};
        row += n_rows;
    }
    return n;
}

static uint64_t largest_step_elems(const quant_plan *plan, uint64_t elems) {
    uint64_t largest = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        if (t->n_rows == 0 || t->n_cols == 0) continue;
        uint64_t n_rows = rows_within(t, elems);
        uint64_t n = (n_rows < t->n_rows ? n_rows : t->n_rows) * t->n_cols;
        if (n > largest) largest = n;
    }
    return largest;
}

static size_t compensate_bytes(const quant_plan_tensor *t) {
    return t->compensate ? quant_compensate_bytes(t->n_cols) : 0;
}

static size_t output_bytes(const quant_plan_tensor *t) {
    return t->calibrated ? quant_output_scratch_bytes(quant_rows_per_unit(t), t->n_cols) : 0;
}

static size_t largest_bytes(const quant_plan *plan, size_t (*bytes)(const quant_plan_tensor *)) {
    size_t most = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        size_t n = bytes(&plan->tensors[i]);
        if (n > most) most = n;
    }
    return most;
}

uint64_t quant_execute_memory(const quant_plan *plan, const quant_execute_opts *opts,
                              unsigned n_threads) {
    uint64_t elems = largest_step_elems(plan, step_elems(opts, n_threads));
    uint64_t calibration =
        largest_bytes(plan, compensate_bytes) + largest_bytes(plan, output_bytes);
    return (elems * (BYTES_PER_ELEM + 8) + calibration) * n_threads;
}

static uint32_t last_stage(const quant_plan *plan) {
    uint32_t last = 0;
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (plan->tensors[i].stage > last) last = plan->tensors[i].stage;
    return last;
}

/* All pieces, stage after stage. */
static gguf_code cut_plan(quant_job *r, gguf_error *err) {
    for (size_t i = 0; i < r->plan->n_tensors; i++)
        r->n_pieces += cut_tensor(&r->plan->tensors[i], (uint32_t)i, NULL);
    r->pieces = calloc(r->n_pieces + 1, sizeof *r->pieces);
    r->losses = calloc(r->n_pieces + 1, sizeof *r->losses);
    r->done = calloc(r->n_pieces + 1, sizeof *r->done);
    if (!r->pieces || !r->losses || !r->done) return gguf_fail_memory(err);
    size_t n = 0;
    for (uint32_t stage = 0, last = last_stage(r->plan); stage <= last; stage++)
        for (size_t i = 0; i < r->plan->n_tensors; i++)
            if (r->plan->tensors[i].stage == stage)
                n += cut_tensor(&r->plan->tensors[i], (uint32_t)i, r->pieces + n);
    return GGUF_OK;
}

/* ---- one piece --------------------------------------------------------------------------- */

static size_t piece_bytes(const quant_job *r, const quant_piece *p) {
    const quant_plan_tensor *t = &r->plan->tensors[p->tensor];
    return p->n_rows * quant_row_bytes(t->out.type, t->n_cols);
}

/* Rows `step` of a piece; the piece's loss grows by theirs, row after row. */
static gguf_code run_step(quant_job *r, const quant_piece *step, worker_buffers *b,
                          gguf_hasher *hasher, quant_loss_sums *loss, gguf_error *err) {
    const quant_plan_tensor *t = &r->plan->tensors[step->tensor];
    const uint8_t *rows = NULL;
    gguf_code code = quant_rows_read(t, step, b->raw, b->moved, &rows, err);
    if (!code && !quant_rows_are_copied(t)) {
        code = quant_rows_decode(t, step, rows, b->values, err);
        if (!code)
            code = quant_rows_encode(t, t->out.type, step, b->values, &r->opts->compensate,
                                     b->compensate, b->encoded, b->decoded, loss, err);
        if (!code && b->output && t->calibrated)
            code = quant_rows_measure(t, step, b->values, b->encoded, b->output, loss, err);
        rows = b->encoded;
    }
    if (code) return code;
    gguf_hasher_add(hasher, rows, piece_bytes(r, step));
    return quant_outputs_write(r->out, step, rows, piece_bytes(r, step), err);
}

static gguf_code run_piece(quant_job *r, size_t index, worker_buffers *b, gguf_error *err) {
    const quant_piece *p = &r->pieces[index];
    const quant_plan_tensor *t = &r->plan->tensors[p->tensor];
    uint64_t step_rows = rows_within(t, step_elems(r->opts, r->n_workers));
    gguf_hasher *hasher;
    gguf_code code = gguf_hasher_new(GGUF_HASH_XXH3, &hasher, err);
    if (code) return code;
    for (uint64_t done = 0; done < p->n_rows && !code; done += step_rows) {
        uint64_t left = p->n_rows - done;
        const quant_piece step = {p->tensor, p->row + done, left < step_rows ? left : step_rows};
        code = run_step(r, &step, b, hasher, &r->losses[index], err);
    }
    gguf_hash hash = gguf_hasher_end(hasher);
    if (code) return code;
    const quant_journal_entry entry = {*p, strtoull(hash.hex, NULL, 16), r->losses[index]};
    return quant_outputs_note(r->out, &entry, err);
}

/* ---- all pieces -------------------------------------------------------------------------- */

static void record_failure(quant_job *r, size_t index, const gguf_error *failure) {
    pthread_mutex_lock(&r->lock);
    if (!r->failure.code || index < r->failed_piece) {
        r->failure = *failure;
        r->failed_piece = index;
    }
    pthread_mutex_unlock(&r->lock);
    atomic_store(&r->stop, true);
}

static void record_progress(quant_job *r, const quant_piece *p) {
    pthread_mutex_lock(&r->lock);
    r->done_bytes += piece_bytes(r, p);
    uint64_t done = gguf_ranks_progress(r->opts->ranks, r->done_bytes);
    if (r->opts->progress) r->opts->progress(r->opts->progress_ctx, done, r->total_bytes);
    pthread_mutex_unlock(&r->lock);
}

/* Whether an interrupted run wrote the piece. */
static void check_task(void *ctx, size_t task, unsigned worker) {
    quant_job *r = ctx;
    size_t index = r->first + task;
    const quant_piece *p = &r->pieces[index];
    r->done[index] =
        quant_outputs_has(r->out, p, r->buffers[worker].raw, r->raw_bytes, &r->losses[index]);
    if (!r->done[index]) return;
    record_progress(r, p);
    atomic_fetch_add(&r->n_resumed_bytes, piece_bytes(r, p));
}

static bool is_ready(const quant_job *r, const quant_piece *p) {
    const quant_plan_tensor *t = &r->plan->tensors[p->tensor];
    return !t->ready || t->ready[p->row / quant_rows_per_matrix(t)];
}

static void piece_task(void *ctx, size_t task, unsigned worker) {
    quant_job *r = ctx;
    size_t index = r->first + task;
    gguf_error failure = {0};
    if (r->done[index] || atomic_load(&r->stop) || !is_ready(r, &r->pieces[index])) return;
    if (r->opts->cancel && atomic_load(r->opts->cancel))
        gguf_fail(&failure, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    else
        run_piece(r, index, &r->buffers[worker], &failure);
    if (failure.code)
        record_failure(r, index, &failure);
    else {
        r->done[index] = true;
        record_progress(r, &r->pieces[index]);
    }
}

static void add_loss(quant_loss_sums *sum, const quant_loss_sums *loss) {
    sum->squares += loss->squares;
    sum->weighted += loss->weighted;
    sum->weights += loss->weights;
    sum->output.signal += loss->output.signal;
    sum->output.rounded += loss->output.rounded;
    sum->output.kept += loss->output.kept;
    sum->n_unfed += loss->n_unfed;
    if (loss->n_samples < sum->n_samples) sum->n_samples = loss->n_samples;
}

static void report_tensor(const quant_job *r, uint32_t i, const quant_loss_sums *sum) {
    const quant_plan_tensor *t = &r->plan->tensors[i];
    double signal = sum->output.signal;
    if (r->opts->loss)
        r->opts->loss[i] = (quant_loss){
            .rmse = sqrt(sum->squares / (double)(t->n_rows * t->n_cols)),
            .weighted_rmse = sum->weights > 0 ? sqrt(sum->weighted / sum->weights) : 0};
    if (r->opts->output_error && t->calibrated)
        r->opts->output_error[i] =
            (quant_output_error){.rounded = signal > 0 ? sum->output.rounded / signal : 0,
                                 .kept = signal > 0 ? sum->output.kept / signal : 0,
                                 .n_samples = sum->n_samples,
                                 .n_unfed = sum->n_unfed / quant_rows_per_matrix(t)};
}

/* The pieces of a tensor follow each other. */
static void report(const quant_job *r) {
    for (size_t p = 0; p < r->n_pieces;) {
        uint32_t i = r->pieces[p].tensor;
        quant_loss_sums sum = {.n_samples = UINT64_MAX};
        for (; p < r->n_pieces && r->pieces[p].tensor == i; p++) add_loss(&sum, &r->losses[p]);
        report_tensor(r, i, &sum);
    }
    if (r->opts->resumed_bytes) *r->opts->resumed_bytes = atomic_load(&r->n_resumed_bytes);
}

static gguf_code alloc_buffers(quant_job *r, gguf_error *err) {
    size_t n = (size_t)largest_step_elems(r->plan, step_elems(r->opts, r->n_workers));
    size_t n_compensate = largest_bytes(r->plan, compensate_bytes);
    size_t n_output = r->opts->output_error ? largest_bytes(r->plan, output_bytes) : 0;
    r->raw_bytes = n * 8 + 1;
    r->buffers = calloc(r->n_workers, sizeof *r->buffers);
    if (!r->buffers) return gguf_fail_memory(err);
    for (unsigned w = 0; w < r->n_workers; w++) {
        worker_buffers *b = &r->buffers[w];
        /* Eight bytes per element: the widest source type. */
        b->raw = malloc(r->raw_bytes);
        b->moved = malloc(n * 8 + 1);
        b->encoded = malloc(n * 4 + 1);
        b->values = malloc(n * 4 + 1);
        b->decoded = r->opts->loss ? malloc(n * 4 + 1) : NULL;
        b->compensate = n_compensate ? malloc(n_compensate) : NULL;
        b->output = n_output ? malloc(n_output) : NULL;
        if (!b->raw || !b->moved || !b->encoded || !b->values || (r->opts->loss && !b->decoded) ||
            (n_compensate && !b->compensate) || (n_output && !b->output))
            return gguf_fail_memory(err);
    }
    return GGUF_OK;
}

static void free_buffers(quant_job *r) {
    for (unsigned w = 0; r->buffers && w < r->n_workers; w++) {
        free(r->buffers[w].raw);
        free(r->buffers[w].moved);
        free(r->buffers[w].encoded);
        free(r->buffers[w].values);
        free(r->buffers[w].decoded);
        free(r->buffers[w].compensate);
        free(r->buffers[w].output);
    }
    free(r->buffers);
    r->buffers = NULL;
}

/* The part's pieces [r->first, r->first + n) of one stage. */
static gguf_code run_stage(quant_job *r, uint32_t stage, size_t n, gguf_pool *pool,
                           gguf_error *err) {
    const quant_execute_opts *opts = r->opts;
    uint64_t needed = 0; /* by any rank */
    gguf_code code = GGUF_OK;
    gguf_pool_run(pool, n, check_task, r);
    for (size_t i = 0; i < n; i++) needed |= !r->done[r->first + i];
    if (opts->provide) code = gguf_ranks_max(opts->ranks, GGUF_OK, &needed, err);
    for (bool more = true; more && !code;) {
        more = false;
        if (opts->provide) code = opts->provide(opts->provide_ctx, stage, needed, pool, &more, err);
        if (code) break;
        gguf_pool_run(pool, n, piece_task, r);
        if (r->failure.code && err && !err->code) *err = r->failure;
        code = r->failure.code;
    }
    return code;
}

/* The pieces of a stage, from `first` on. */
static size_t stage_pieces(const quant_job *r, uint32_t stage, size_t first) {
    size_t n = 0;
    while (first + n < r->n_pieces && r->plan->tensors[r->pieces[first + n].tensor].stage == stage)
        n++;
    return n;
}

/* What a piece costs: its elements to encode, its bytes to write. */
static uint64_t piece_work(const quant_job *r, const quant_piece *p) {
    return p->n_rows * r->plan->tensors[p->tensor].n_cols + piece_bytes(r, p);
}

/* Each part has neighbouring pieces of every stage, with as much work as the others have: how many
 * this one has of the n from *first on; *first becomes where they begin. */
static size_t part_of_stage(const quant_job *r, size_t n, size_t *first) {
    if (r->n_parts == 1) return n;
    const quant_piece *pieces = r->pieces + *first;
    double all = 0, before = 0;
    size_t begin = n, end = n;
    for (size_t i = 0; i < n; i++) all += (double)piece_work(r, &pieces[i]);
    for (size_t i = 0; i < n; i++) {
        /* By the middle of a piece. */
        double work = (double)piece_work(r, &pieces[i]);
        size_t part = (size_t)((before + work / 2) / all * r->n_parts);
        if (begin == n && part >= r->part) begin = i;
        if (end == n && part > r->part) end = i;
        before += work;
    }
    *first += begin;
    return end - begin;
}

static uint64_t part_bytes(const quant_job *r) {
    uint64_t n_bytes = 0;
    size_t first = 0;
    for (uint32_t stage = 0, last = last_stage(r->plan); stage <= last; stage++) {
        size_t n = stage_pieces(r, stage, first), at = first, mine = part_of_stage(r, n, &at);
        for (size_t i = 0; i < mine; i++) n_bytes += piece_bytes(r, &r->pieces[at + i]);
        first += n;
    }
    return n_bytes;
}

static gguf_code run_all(quant_job *r, gguf_pool *pool, gguf_error *err) {
    gguf_code code = GGUF_OK;
    size_t first = 0;
    for (uint32_t stage = 0, last = last_stage(r->plan); stage <= last && !code; stage++) {
        size_t n = stage_pieces(r, stage, first);
        r->first = first;
        size_t mine = part_of_stage(r, n, &r->first);
        code = run_stage(r, stage, mine, pool, err);
        first += n;
    }
    return code;
}

/* ---- jobs -------------------------------------------------------------------------------- */

static void free_job(quant_job *r) {
    free_buffers(r);
    free(r->pieces);
    free(r->losses);
    free(r->done);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

gguf_code quant_job_open(quant_plan *plan, const char *path, uint32_t part, uint32_t n_parts,
                         const quant_execute_opts *opts, quant_job **out, gguf_error *err) {
    *out = NULL;
    if (part >= n_parts)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "there is no part %u of %u", part,
                         n_parts);
    quant_job *r = calloc(1, sizeof *r);
    if (!r) return gguf_fail_memory(err);
    *r = (quant_job){.plan = plan, .opts = opts, .part = part, .n_parts = n_parts};
    pthread_mutex_init(&r->lock, NULL);
    gguf_code code = cut_plan(r, err);
    r->total_bytes = opts->ranks ? quant_plan_data_bytes(plan) : part_bytes(r);
    if (!code) code = quant_outputs_open(plan, path, part, n_parts, opts, &r->out, err);
    if (code)
        free_job(r);
    else
        *out = r;
    return code;
}

gguf_code quant_job_run(quant_job *r, gguf_pool *pool, gguf_error *err) {
    r->n_workers = gguf_pool_threads(pool);
    gguf_code code = alloc_buffers(r, err);
    if (!code) code = run_all(r, pool, err);
    if (!code && r->n_parts > 1) code = quant_outputs_sync(r->out, err);
    free_buffers(r);
    r->ran = !code;
    return code;
}

static gguf_code seal(const quant_job *r, gguf_pool *pool, gguf_error *err) {
    if (!r->opts->seal) return GGUF_OK;
    gguf_code code = r->opts->seal(r->opts->seal_ctx, pool, err);
    return code ? code : quant_plan_reencode(r->plan, err);
}

/* Every piece was written, by this part or by one that noted it. */
static gguf_code check_parts(quant_job *r, gguf_error *err) {
    gguf_code code = r->n_parts > 1 ? quant_outputs_collect(r->out, err) : GGUF_OK;
    for (size_t i = 0; i < r->n_pieces && !code; i++) {
        const quant_piece *p = &r->pieces[i];
        if (r->done[i] || quant_outputs_noted(r->out, p, &r->losses[i])) continue;
        code = gguf_fail(err, GGUF_E_CHECK, NULL, GGUF_NO_OFFSET,
                         "tensor '%s', rows from %llu: no part has written them",
                         r->plan->tensors[p->tensor].out.name.ptr, (unsigned long long)p->row);
    }
    return code;
}

gguf_code quant_job_commit(quant_job *r, gguf_pool *pool, gguf_error *err) {
    gguf_code code = check_parts(r, err);
    if (!code) report(r);
    if (!code) code = seal(r, pool, err);
    if (!code) {
        code = quant_outputs_commit(r->out, err);
        r->out = NULL;
    }
    quant_job_close(r);
    return code;
}

void quant_job_close(quant_job *r) {
    if (!r) return;
    if (r->out && r->part > 0 && r->ran)
        quant_outputs_leave(r->out);
    else
        quant_outputs_discard(r->out);
    free_job(r);
}

/* Ranks other than 0 join files that are there. */
static gguf_code open_parts(quant_plan *plan, const char *path, const quant_execute_opts *opts,
                            quant_job **job, gguf_error *err) {
    gguf_ranks *ranks = opts->ranks;
    uint32_t own = gguf_ranks_own(ranks), n = gguf_ranks_n(ranks);
    gguf_code code = gguf_ranks_agree(ranks, GGUF_OK, err);
    if (!code && own == 0) code = quant_job_open(plan, path, own, n, opts, job, err);
    code = gguf_ranks_agree(ranks, code, err);
    if (!code && own > 0) code = quant_job_open(plan, path, own, n, opts, job, err);
    return gguf_ranks_agree(ranks, code, err);
}

gguf_code quant_execute(quant_plan *plan, const char *path, gguf_pool *pool,
                        const quant_execute_opts *opts, gguf_error *err) {
    quant_job *job = NULL;
    gguf_code code = open_parts(plan, path, opts, &job, err);
    if (!code) code = gguf_ranks_agree(opts->ranks, quant_job_run(job, pool, err), err);
    if (!code && gguf_ranks_own(opts->ranks) == 0) {
        code = quant_job_commit(job, pool, err);
    } else {
        if (!code && opts->seal) code = opts->seal(opts->seal_ctx, pool, err);
        if (job && code) job->ran = false; /* some rank failed: nobody will commit */
        quant_job_close(job);
    }
    return gguf_ranks_agree(opts->ranks, code, err);
}
