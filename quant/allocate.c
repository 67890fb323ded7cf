/* Choosing types for a size. */
#include "quant/allocate.h"

#include "libgguf/checked.h"
#include "quant/quant.h"
#include "quant/rows.h"
#include "quant/source.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_ELEMS ((uint64_t)512 << 10) /* of one tensor */
#define PIECE_ELEMS  ((uint64_t)32 << 10)

void quant_allocation_clear(quant_allocation *allocation) {
    free(allocation->tensors);
    *allocation = (quant_allocation){0};
}

/* ---- sensitivity ------------------------------------------------------------------------- */

/* Measured on the demo model (one tensor at a time at 3 bits): KLD per unit of relative error. The
 * head stands out, then the first layer, whose noise every later layer sees. */
double quant_default_sensitivity(const quant_plan_tensor *t, const quant_model_tags *model) {
    static const struct {
        const char *role;
        double value;
    } roles[] = {{"attn_q", 0.006},   {"attn_k", 0.008},      {"attn_v", 0.010},
                 {"attn_qkv", 0.010}, {"attn_output", 0.010}, {"ffn_gate", 0.021},
                 {"ffn_up", 0.014},   {"ffn_down", 0.022}};
    double value = 0.012;
    if (t->tags.is_output) return 1.3;
    if (t->tags.layer < 0) return 0.3; /* an embedding with a head beside it */
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        size_t n = strlen(roles[i].role);
        if (strncmp(t->tags.role, roles[i].role, n) == 0 &&
            (t->tags.role[n] == '\0' || t->tags.role[n] == '_'))
            value = roles[i].value;
    }
    if (t->tags.layer == 0) return 6 * value;
    if ((uint32_t)t->tags.layer + 1 == model->n_layers) return 1.5 * value;
    return value;
}

/* ---- candidates -------------------------------------------------------------------------- */

/* Codebooks take long to search, and are of use where fewer bits are wanted than this. */
#define BOOK_BPW 4.0

static double elems_of(const quant_plan *plan) {
    double n_elems = 0;
    for (size_t i = 0; i < plan->n_tensors; i++)
        n_elems += (double)gguf_tensor_n_elems(&plan->tensors[i].out);
    return n_elems;
}

static double target_bpw(const quant_allocation *a, const quant_plan *plan) {
    return a->target_bytes ? 8 * (double)a->target_bytes / elems_of(plan) : a->target_bpw;
}

/* Types that demand importance are candidates where there is some. */
static bool is_candidate(uint32_t type, const quant_plan_tensor *t, double bpw) {
    size_t n_bytes;
    if (quant_type_candidate(type) == 0) return false;
    if (quant_codebook(type, &n_bytes) && bpw >= BOOK_BPW) return false;
    return t->imp || !quant_type_demands_importance(type);
}

/* BF16 takes the place of F16 where that is what the source has. */
static unsigned rank_of(uint32_t type) {
    return quant_type_candidate(type == GGUF_TYPE_BF16 ? GGUF_TYPE_F16 : type);
}

static int compare_candidates(const void *a, const void *b) {
    const quant_candidate *x = a, *y = b;
    if (x->n_bytes != y->n_bytes) return x->n_bytes > y->n_bytes ? 1 : -1;
    return (int)rank_of(x->type) - (int)rank_of(y->type);
}

static void list_candidates(const quant_plan *plan, const quant_plan_tensor *t, double bpw,
                            quant_tensor_candidates *out) {
    uint32_t best = t->source_type == GGUF_TYPE_BF16 ? GGUF_TYPE_BF16 : GGUF_TYPE_F16;
    for (uint32_t candidate = 0; candidate < QUANT_N_TYPES; candidate++) {
        if (!is_candidate(candidate, t, bpw)) continue;
        uint32_t type = candidate == GGUF_TYPE_F16 ? best : candidate;
        uint64_t n_bytes = quant_row_bytes(type, t->out.dims[0]) * gguf_tensor_n_rows(&t->out);
        if (n_bytes && gguf_align_u64(n_bytes, plan->alignment, &n_bytes))
            out->list[out->n++] = (quant_candidate){.type = type, .n_bytes = n_bytes};
    }
    qsort(out->list, out->n, sizeof out->list[0], compare_candidates);
}

/* ---- measuring --------------------------------------------------------------------------- */

typedef struct sample_sums {
    double signal;                      /* sum imp w^2 */
    double noise[QUANT_MAX_CANDIDATES]; /* sum imp (w - w^)^2 */
} sample_sums;

typedef struct worker_buffers {
    uint8_t *raw, *moved, *encoded;
    float *values, *decoded;
} worker_buffers;

typedef struct job {
    const quant_plan *plan;
    const quant_execute_opts *opts;
    quant_tensor_candidates *tensors;
    quant_piece *samples;
    size_t n_samples;
    size_t n_shared;   /* samples of a rank: the last ones may have one less */
    sample_sums *sums; /* [n_ranks][n_shared]: sample i is number i / n_ranks of rank i % n_ranks */
    worker_buffers *buffers;
    unsigned n_workers;
    pthread_mutex_t lock; /* guards the fields below, and calls of opts->progress */
    size_t n_done;
    gguf_error failure;
} job;

/* Evenly spread pieces; whole units of rows that belong together. */
static size_t cut_samples(const quant_plan_tensor *t, uint32_t index, quant_piece *out) {
    uint64_t unit = quant_rows_per_unit(t), matrix = quant_rows_per_matrix(t);
    uint64_t n_rows = PIECE_ELEMS / (t->n_cols * unit) * unit;
    if (n_rows == 0) n_rows = unit;
    if (n_rows > matrix) n_rows = matrix;
    uint64_t n_pieces = t->n_rows / n_rows, wanted = SAMPLE_ELEMS / (n_rows * t->n_cols) + 1;
    uint64_t n = n_pieces < wanted ? n_pieces : wanted;
    for (uint64_t i = 0; out && i < n; i++) {
        uint64_t row = n_pieces * i / n * n_rows;
        uint64_t left = matrix - row % matrix;
        out[i] = (quant_piece){index, row, left < n_rows ? left : n_rows};
    }
    return (size_t)n;
}

static gguf_code cut_all(job *j, gguf_error *err) {
    for (int pass = 0; pass < 2; pass++) {
        size_t n = 0;
        for (size_t i = 0; i < j->plan->n_tensors; i++)
            if (j->tensors[i].n)
                n += cut_samples(&j->plan->tensors[i], (uint32_t)i, pass ? j->samples + n : NULL);
        j->n_samples = n;
        if (pass == 0) j->samples = calloc(n + 1, sizeof *j->samples);
        if (!j->samples) return gguf_fail_memory(err);
    }
    size_t n_ranks = gguf_ranks_n(j->opts->ranks);
    j->n_shared = (j->n_samples + n_ranks - 1) / n_ranks;
    j->sums = calloc(j->n_shared * n_ranks + 1, sizeof *j->sums);
    return j->sums ? GGUF_OK : gguf_fail_memory(err);
}

static sample_sums *sums_of(const job *j, size_t sample) {
    size_t n_ranks = gguf_ranks_n(j->opts->ranks);
    return &j->sums[sample % n_ranks * j->n_shared + sample / n_ranks];
}

static gguf_code alloc_buffers(job *j, gguf_error *err) {
    uint64_t n = 0;
    for (size_t i = 0; i < j->n_samples; i++) {
        const quant_piece *p = &j->samples[i];
        uint64_t elems = p->n_rows * j->plan->tensors[p->tensor].n_cols;
        if (elems > n) n = elems;
    }
    j->buffers = calloc(j->n_workers, sizeof *j->buffers);
    for (unsigned w = 0; j->buffers && w < j->n_workers; w++) {
        worker_buffers *b = &j->buffers[w];
        b->raw = malloc(n * 8 + 1);
        b->moved = malloc(n * 8 + 1);
        b->encoded = malloc(n * 4 + 1);
        b->values = malloc(n * 4 + 1);
        b->decoded = malloc(n * 4 + 1);
        if (!b->raw || !b->moved || !b->encoded || !b->values || !b->decoded)
            return gguf_fail_memory(err);
    }
    return j->buffers ? GGUF_OK : gguf_fail_memory(err);
}

static double signal_of(const quant_plan_tensor *t, const quant_piece *p, const float *values) {
    const float *imp = t->imp ? t->imp + p->row / quant_rows_per_matrix(t) * t->n_cols : NULL;
    double sum = 0;
    for (uint64_t r = 0; r < p->n_rows; r++)
        for (uint64_t c = 0; c < t->n_cols; c++) {
            double w = values[r * t->n_cols + c];
            sum += (imp ? imp[c] : 1) * w * w;
        }
    return sum;
}

static gguf_code measure(job *j, size_t sample, worker_buffers *b, gguf_error *err) {
    const quant_piece *piece = &j->samples[sample];
    sample_sums *out = sums_of(j, sample);
    const quant_plan_tensor *t = &j->plan->tensors[piece->tensor];
    const quant_tensor_candidates *candidates = &j->tensors[piece->tensor];
    const uint8_t *rows = NULL;
    gguf_code code = quant_rows_read(t, piece, b->raw, b->moved, &rows, err);
    if (!code) code = quant_rows_decode(t, piece, rows, b->values, err);
    if (!code) out->signal = signal_of(t, piece, b->values);
    for (size_t c = 0; c < candidates->n && !code; c++) {
        quant_loss_sums sums = {0};
        code = quant_rows_encode(t, candidates->list[c].type, piece, b->values, NULL, NULL,
                                 b->encoded, b->decoded, &sums, err);
        out->noise[c] = sums.weighted;
    }
    return code;
}

static void measure_task(void *ctx, size_t task, unsigned worker) {
    job *j = ctx;
    gguf_error failure = {0};
    if (j->opts->cancel && atomic_load(j->opts->cancel))
        gguf_fail(&failure, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    else
        measure(j, task * gguf_ranks_n(j->opts->ranks) + gguf_ranks_own(j->opts->ranks),
                &j->buffers[worker], &failure);
    pthread_mutex_lock(&j->lock);
    if (failure.code && !j->failure.code) j->failure = failure;
    uint64_t done = gguf_ranks_progress(j->opts->ranks, ++j->n_done);
    if (j->opts->progress) j->opts->progress(j->opts->progress_ctx, done, j->n_samples);
    pthread_mutex_unlock(&j->lock);
}

/* The samples of this rank, then what the others measured. */
static gguf_code measure_samples(job *j, gguf_pool *pool, gguf_error *err) {
    gguf_ranks *ranks = j->opts->ranks;
    uint32_t own = gguf_ranks_own(ranks), n_ranks = gguf_ranks_n(ranks);
    size_t n = (j->n_samples + n_ranks - 1 - own) / n_ranks;
    gguf_pool_run(pool, n, measure_task, j);
    if (j->failure.code && err && !err->code) *err = j->failure;
    gguf_code code = gguf_ranks_agree(ranks, j->failure.code, err);
    for (uint32_t from = 0; from < n_ranks && !code; from++)
        code = gguf_ranks_spread(ranks, code, from, j->sums + from * j->n_shared,
                                 j->n_shared * sizeof *j->sums, err);
    return code;
}

/* In the order of the samples, so that neither threads nor ranks change the sums. */
static void sum_samples(const job *j) {
    for (size_t i = 0; i < j->n_samples;) {
        uint32_t tensor = j->samples[i].tensor;
        quant_tensor_candidates *t = &j->tensors[tensor];
        double signal = 0, noise[QUANT_MAX_CANDIDATES] = {0};
        for (; i < j->n_samples && j->samples[i].tensor == tensor; i++) {
            const sample_sums *sums = sums_of(j, i);
            signal += sums->signal;
            for (size_t c = 0; c < t->n; c++) noise[c] += sums->noise[c];
        }
        for (size_t c = 0; c < t->n; c++) t->list[c].error = signal > 0 ? noise[c] / signal : 0;
    }
}

static void free_job(job *j) {
    for (unsigned w = 0; j->buffers && w < j->n_workers; w++) {
        free(j->buffers[w].raw);
        free(j->buffers[w].moved);
        free(j->buffers[w].encoded);
        free(j->buffers[w].values);
        free(j->buffers[w].decoded);
    }
    free(j->buffers);
    free(j->samples);
    free(j->sums);
    pthread_mutex_destroy(&j->lock);
}

gguf_code quant_allocation_measure(quant_allocation *allocation, const quant_plan *plan,
                                   gguf_pool *pool, const quant_execute_opts *opts,
                                   gguf_error *err) {
    job j = {.plan = plan, .opts = opts, .n_workers = gguf_pool_threads(pool)};
    j.tensors = allocation->tensors = calloc(plan->n_tensors + 1, sizeof *allocation->tensors);
    if (!j.tensors) return gguf_fail_memory(err);
    pthread_mutex_init(&j.lock, NULL);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        if (t->tags.keep || t->tags.pinned || t->n_rows == 0) continue;
        list_candidates(plan, t, target_bpw(allocation, plan), &j.tensors[i]);
        j.tensors[i].sensitivity = quant_default_sensitivity(t, &plan->model);
    }
    gguf_code code = cut_all(&j, err);
    if (!code) code = alloc_buffers(&j, err);
    code = gguf_ranks_agree(opts->ranks, code, err);
    if (!code) code = measure_samples(&j, pool, err);
    if (!code) sum_samples(&j);
    free_job(&j);
    return code;
}

/* ---- solving ----------------------------------------------------------------------------- */

typedef struct selection {
    quant_budget_item *items; /* [n_tensors] */
    quant_choice *choices;    /* [n_tensors][QUANT_MAX_CANDIDATES] */
} selection;

static void fill_item(const quant_plan *plan, size_t index, const quant_tensor_candidates *t,
                      selection *s) {
    quant_choice *choices = s->choices + index * QUANT_MAX_CANDIDATES;
    s->items[index] = (quant_budget_item){.choices = choices, .n_choices = t->n ? t->n : 1};
    for (size_t c = 0; c < t->n; c++)
        choices[c] =
            (quant_choice){t->list[c].type, t->list[c].n_bytes, t->sensitivity * t->list[c].error};
    if (t->n) return;
    const gguf_tensor *fixed = &plan->tensors[index].out;
    uint64_t n_bytes = quant_row_bytes(fixed->type, fixed->dims[0]) * gguf_tensor_n_rows(fixed);
    gguf_align_u64(n_bytes, plan->alignment, &n_bytes);
    choices[0] = (quant_choice){.type = fixed->type, .n_bytes = n_bytes};
}

static void apply(quant_allocation *a, quant_plan *plan, const selection *s) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_tensor_candidates *t = &a->tensors[i];
        if (!t->n) continue;
        t->chosen = s->items[i].chosen;
        plan->tensors[i].out.type = t->list[t->chosen].type;
    }
}

static void record(const quant_allocation *a, quant_plan *plan) {
    gguf_meta_set_u64(plan->meta, "ggufkit.budget.target_bytes", a->target_bytes);
    gguf_meta_set_f32(plan->meta, "ggufkit.budget.target_bpw", (float)a->target_bpw);
    gguf_meta_set_f32(plan->meta, "ggufkit.budget.expected_kld", (float)a->result.damage);
    gguf_meta_set_f32(plan->meta, "ggufkit.budget.expected_kld_bound", (float)a->result.bound);
}

/* Bytes that tensors may take, padding included, when the headers take `header_bytes`. */
static uint64_t data_budget(const quant_allocation *a, const quant_plan *plan,
                            uint64_t header_bytes) {
    if (a->target_bytes) return a->target_bytes > header_bytes ? a->target_bytes - header_bytes : 0;
    return (uint64_t)floor(a->target_bpw * elems_of(plan) / 8);
}

static uint64_t header_bytes(const quant_plan *plan) {
    return quant_plan_file_bytes(plan) - quant_plan_data_bytes(plan);
}

/* The headers' size is known when the plan is finished; several files may need another round. */
static gguf_code solve_rounds(quant_allocation *a, quant_plan *plan, selection *s,
                              gguf_error *err) {
    gguf_code code = quant_plan_finish(plan, err);
    for (int round = 0; round < 4 && !code; round++) {
        uint64_t before = header_bytes(plan);
        code = quant_budget_solve(s->items, plan->n_tensors, data_budget(a, plan, before),
                                  &a->result, err);
        if (code) break;
        apply(a, plan, s);
        record(a, plan);
        code = quant_plan_finish(plan, err);
        if (header_bytes(plan) <= before) break;
    }
    return code;
}

gguf_code quant_allocation_solve(quant_allocation *a, quant_plan *plan, gguf_error *err) {
    selection s = {.items = calloc(plan->n_tensors + 1, sizeof *s.items),
                   .choices =
                       calloc((plan->n_tensors + 1) * QUANT_MAX_CANDIDATES, sizeof *s.choices)};
    gguf_code code = s.items && s.choices ? GGUF_OK : gguf_fail_memory(err);
    for (size_t i = 0; i < plan->n_tensors && !code; i++) fill_item(plan, i, &a->tensors[i], &s);
    if (!code) {
        record(a, plan);
        code = solve_rounds(a, plan, &s, err);
    }
    free(s.items);
    free(s.choices);
    return code;
}
