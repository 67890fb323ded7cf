/* Collecting Hessians layer by layer. */
#include "runtime/calibrate/hessians.h"

#include "libgguf/hash.h"
#include "libgguf/tempfile.h"
#include "runtime/calibrate/chunks.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_STREAM_BYTES ((size_t)512 << 20) /* in memory; more lies in a file */
#define MAX_HESSIAN_BYTES \
    ((uint64_t)2 << 30)      /* at once; the rest of a layer has a pass of its own */
#define MIN_SAMPLES_SHARE 4  /* samples * this >= columns */
#define MAX_PARTS         16 /* of the text, which are summed apart */

/* What one weight multiplies. Weights with the same inputs share a Hessian: the first one's. */
typedef struct entry {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    size_t mat;
    size_t owner; /* index of the entry that sums */
    uint64_t inputs_hash;
    quant_hessian *hessian; /* of an owner; */
    size_t number;          /* counts them */
} entry;

/* A matrix of a weight. */
typedef struct matrix_name {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    size_t mat;
} matrix_name;

struct rt_hessians {
    const rt_model *model;
    rt_calibrate_opts opts;
    double damp;
    rt_session *session;
    size_t n_ctx, n_chunks; /* of the text; */
    size_t n_own;           /* chunks that this rank has: */
    int32_t *tokens;        /* [n_own][n_ctx] */
    float *stream;          /* [n_own][n_ctx * rt_session_stream_cols] */
    float *moved;           /* [n_ctx * rt_session_stream_cols] a chunk behind the layer */
    size_t stream_bytes;
    bool mapped;
    size_t n_embedded; /* of n_own */
    uint32_t next_layer;
    entry *entries;
    size_t n_entries;
    uint64_t hessian_bytes, most_bytes;
    matrix_name *had; /* by earlier passes over the layer */
    size_t n_had;
    bool more;        /* some found no room in this one */
    bool first_chunk; /* entries are found in it */
    gguf_pool *pool;  /* during a layer */
    gguf_error failure;
};

/* ---- the stream -------------------------------------------------------------------------- */

/* posix_fallocate returns what is wrong, and leaves errno alone. */
static bool reserve_space(int fd, size_t n_bytes) {
    int failure = posix_fallocate(fd, 0, (off_t)n_bytes);
    if (failure) errno = failure;
    return failure == 0;
}

/* Parts of neighbouring chunks; each rank has one of the next parts, again and again. */
static size_t n_parts_of(const rt_hessians *h) {
    return h->n_chunks < MAX_PARTS ? h->n_chunks : MAX_PARTS;
}

static size_t part_of_chunk(const rt_hessians *h, size_t i) {
    return i * n_parts_of(h) / h->n_chunks;
}

static bool is_own(const rt_hessians *h, size_t i) {
    const gguf_ranks *ranks = h->opts.ranks;
    return part_of_chunk(h, i) % gguf_ranks_n(ranks) == gguf_ranks_own(ranks);
}

/* A file without a name: it goes when the process does. */
static gguf_code map_file(const char *folder, size_t n_bytes, float **out, gguf_error *err) {
    int fd = gguf_temp_file(folder);
    void *p = MAP_FAILED;
    if (fd >= 0 && reserve_space(fd, n_bytes))
        p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int failure = errno;
    if (fd >= 0) close(fd);
    *out = p == MAP_FAILED ? NULL : p;
    if (*out) return GGUF_OK;
    bool full = failure == ENOSPC || failure == EDQUOT || failure == EFBIG;
    return gguf_fail(err, full ? GGUF_E_NOSPACE : GGUF_E_IO, folder, GGUF_NO_OFFSET,
                     "cannot keep %zu bytes of activations there: %s", n_bytes, strerror(failure));
}

static gguf_code allocate_stream(rt_hessians *h, const char *folder, gguf_error *err) {
    size_t n_cols = rt_session_stream_cols(h->session);
    h->moved = malloc(h->n_ctx * n_cols * sizeof *h->moved);
    if (!h->moved) return gguf_fail_memory(err);
    h->stream_bytes = h->n_own * h->n_ctx * n_cols * sizeof(float);
    h->mapped = h->stream_bytes > MAX_STREAM_BYTES;
    if (h->mapped) return map_file(folder, h->stream_bytes, &h->stream, err);
    h->stream = malloc(h->stream_bytes + 1);
    return h->stream ? GGUF_OK : gguf_fail_memory(err);
}

static float *chunk_at(const rt_hessians *h, size_t i) {
    return h->stream + i * h->n_ctx * rt_session_stream_cols(h->session);
}

static gguf_code embed_chunk(void *ctx, size_t i, const int32_t *chunk, gguf_error *err) {
    rt_hessians *h = ctx;
    if (!is_own(h, i)) return GGUF_OK;
    size_t at = h->n_embedded++;
    memcpy(h->tokens + at * h->n_ctx, chunk, h->n_ctx * sizeof *chunk);
    return rt_session_embed(h->session, chunk, h->n_ctx, chunk_at(h, at), err);
}

static gguf_code open_session(rt_hessians *h, gguf_error *err) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = opts.n_batch = (uint32_t)h->n_ctx;
    opts.n_threads = h->opts.n_threads;
    opts.kv_type = GGUF_TYPE_F32;
    return rt_session_new(h->model, &opts, &h->session, err);
}

gguf_code rt_hessians_new(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                          const rt_calibrate_opts *opts, const char *folder, double damp,
                          rt_hessians **out, gguf_error *err) {
    uint32_t n_chunks = 0;
    *out = NULL;
    gguf_code code = rt_calibrate_n_chunks(n_tokens, opts, &n_chunks, err);
    if (code) return code;
    rt_chunks chunks = rt_chunks_of(tokens, n_tokens, opts->n_ctx, n_chunks, opts->bos);
    rt_hessians *h = calloc(1, sizeof *h);
    if (!h) return gguf_fail_memory(err);
    *h = (rt_hessians){.model = model, .opts = *opts, .damp = damp};
    h->most_bytes = opts->hessian_bytes ? opts->hessian_bytes : MAX_HESSIAN_BYTES;
    h->n_ctx = chunks.n_ctx;
    h->n_chunks = chunks.n;
    for (size_t i = 0; i < h->n_chunks; i++) h->n_own += is_own(h, i);
    h->tokens = calloc(h->n_own * h->n_ctx + 1, sizeof *h->tokens);
    code = h->tokens ? open_session(h, err) : gguf_fail_memory(err);
    if (!code) code = allocate_stream(h, folder, err);
    if (!code) code = rt_chunks_each(&chunks, embed_chunk, h, err);
    if (code)
        rt_hessians_free(h);
    else
        *out = h;
    return code;
}

static void free_entries(rt_hessians *h) {
    for (size_t i = 0; i < h->n_entries; i++) quant_hessian_free(h->entries[i].hessian);
    free(h->entries);
    h->entries = NULL;
    h->n_entries = 0;
    h->hessian_bytes = 0;
}

void rt_hessians_free(rt_hessians *h) {
    if (!h) return;
    free_entries(h);
    rt_session_free(h->session);
    free(h->tokens);
    free(h->moved);
    free(h->had);
    if (h->mapped && h->stream)
        munmap(h->stream, h->stream_bytes);
    else if (!h->mapped)
        free(h->stream);
    free(h);
}

size_t rt_hessians_n_tokens(const rt_hessians *h) {
    return h->n_chunks * h->n_ctx;
}

/* ---- collecting -------------------------------------------------------------------------- */

static entry *find_entry(const rt_hessians *h, const char *name, size_t mat) {
    for (size_t i = 0; i < h->n_entries; i++)
        if (h->entries[i].mat == mat && strcmp(h->entries[i].name, name) == 0)
            return &h->entries[i];
    return NULL;
}

static bool was_had(const rt_hessians *h, const char *name, size_t mat) {
    for (size_t i = 0; i < h->n_had; i++)
        if (h->had[i].mat == mat && strcmp(h->had[i].name, name) == 0) return true;
    return false;
}

/* Of the entry with the same inputs; n_entries if there is none. */
static size_t owner_of(const rt_hessians *h, uint64_t hash, size_t n_cols) {
    for (size_t i = 0; i < h->n_entries; i++) {
        const entry *e = &h->entries[i];
        if (e->hessian && e->hessian->n == n_cols && e->inputs_hash == hash) return i;
    }
    return h->n_entries;
}

static uint64_t bytes_of(size_t n_cols) {
    return 2 * (uint64_t)n_cols * n_cols * sizeof(float); /* with the factor */
}

/* In the first chunk; `hash` tells equal inputs. */
static entry *add_entry(rt_hessians *h, const char *name, size_t mat, uint64_t hash, size_t n_cols,
                        gguf_error *err) {
    entry *grown = realloc(h->entries, (h->n_entries + 1) * sizeof *grown);
    if (!grown) {
        gguf_fail_memory(err);
        return NULL;
    }
    h->entries = grown;
    entry *e = &grown[h->n_entries];
    *e = (entry){.mat = mat, .owner = owner_of(h, hash, n_cols), .inputs_hash = hash};
    snprintf(e->name, sizeof e->name, "%s", name);
    if (e->owner == h->n_entries) {
        for (size_t i = 0; i < h->n_entries; i++) e->number += grown[i].hessian != NULL;
        if (quant_hessian_new(n_cols, &e->hessian, err)) return NULL;
        h->hessian_bytes += bytes_of(n_cols);
    }
    h->n_entries++;
    return e;
}

/* One Hessian has room in any case. */
static bool has_room(const rt_hessians *h, uint64_t hash, size_t n_cols) {
    return h->hessian_bytes == 0 || h->hessian_bytes + bytes_of(n_cols) <= h->most_bytes ||
           owner_of(h, hash, n_cols) < h->n_entries;
}

/* What sums for a matrix, NULL if nothing does. Entries are made in the first chunk, as long as
 * there is room; the others wait for another pass. */
static quant_hessian *hessian_for(rt_hessians *h, const char *name, size_t mat, uint64_t hash,
                                  size_t n_cols) {
    entry *e = find_entry(h, name, mat);
    if (!e && h->first_chunk && !was_had(h, name, mat)) {
        if (has_room(h, hash, n_cols))
            e = add_entry(h, name, mat, hash, n_cols, &h->failure);
        else
            h->more = true;
    }
    return e ? e->hessian : NULL;
}

/* The rows that one matrix of a stack multiplies: those routed to an expert, or one head's columns.
 * Returns their number. */
static size_t gather(const rt_product *p, size_t mat, size_t n_cols, float *out) {
    size_t first = p->n_experts ? p->first[mat] : 0;
    size_t n = p->n_experts ? p->first[mat + 1] - first : p->n_rows;
    for (size_t i = 0; i < n; i++) {
        size_t row = p->n_experts ? p->routed[first + i] / p->n_share : i;
        size_t col = p->n_experts ? 0 : mat * n_cols;
        memcpy(out + i * n_cols, p->rows + row * p->n_cols + col, n_cols * sizeof *out);
    }
    return n;
}

/* Only asked for where entries are made. */
static uint64_t hash_inputs(const rt_hessians *h, const rt_product *p) {
    size_t n_bytes = p->n_rows * p->n_cols * sizeof *p->rows;
    return h->first_chunk ? gguf_xxh3(p->rows, n_bytes, p->n_experts) : 0;
}

static void collect_stack(rt_hessians *h, const rt_product *p, const char *name) {
    size_t n_mats = p->n_experts ? p->n_experts : p->n_heads;
    size_t n_cols = p->n_experts ? p->n_cols : p->n_cols / n_mats;
    uint64_t hash = hash_inputs(h, p);
    size_t most = p->n_rows * (p->n_share ? p->n_share : 1);
    float *rows = malloc(most * n_cols * sizeof *rows);
    if (!rows) {
        gguf_fail_memory(&h->failure);
        return;
    }
    for (size_t mat = 0; mat < n_mats && !h->failure.code; mat++) {
        quant_hessian *hessian =
            hessian_for(h, name, mat, gguf_xxh3(&mat, sizeof mat, hash), n_cols);
        if (hessian) quant_hessian_add(hessian, rows, gather(p, mat, n_cols, rows), h->pool);
    }
    free(rows);
}

static void collect(void *ctx, const rt_product *p) {
    rt_hessians *h = ctx;
    char name[GGUF_MAX_TENSOR_NAME + 1];
    if (h->failure.code || p->weight.len >= sizeof name || p->n_rows == 0) return;
    memcpy(name, p->weight.ptr, p->weight.len);
    name[p->weight.len] = '\0';
    if (p->n_experts || p->n_heads) {
        collect_stack(h, p, name);
        return;
    }
    quant_hessian *hessian = hessian_for(h, name, 0, hash_inputs(h, p), p->n_cols);
    if (hessian) quant_hessian_add(hessian, p->rows, p->n_rows, h->pool);
}

/* ---- entries of all ranks ---------------------------------------------------------------- */

typedef struct entry_record {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    uint64_t mat, owner, n_cols;
} entry_record;

static void record_entry(const rt_hessians *h, size_t i, entry_record *record) {
    const entry *e = &h->entries[i];
    *record = (entry_record){.mat = e->mat, .owner = e->owner};
    record->n_cols = h->entries[e->owner].hessian->n;
    snprintf(record->name, sizeof record->name, "%s", e->name);
}

/* All ranks have the entries of rank 0, which always has a part. */
static gguf_code share_entries(rt_hessians *h, gguf_error *err) {
    gguf_ranks *ranks = h->opts.ranks;
    uint64_t n = h->n_entries;
    gguf_code code = gguf_ranks_spread(ranks, GGUF_OK, 0, &n, sizeof n, err);
    bool makes = h->n_entries == 0;
    for (size_t i = 0; i < n && !code && ranks; i++) {
        entry_record record = {0}, own = {0};
        if (i < h->n_entries) record_entry(h, i, &own);
        record = own;
        code = gguf_ranks_spread(ranks, GGUF_OK, 0, &record, sizeof record, err);
        /* A rank without a chunk has met no product. What shares a Hessian has its owner's hash. */
        if (!code && makes &&
            !add_entry(h, record.name, (size_t)record.mat, record.owner, (size_t)record.n_cols,
                       err))
            code = GGUF_E_NOMEM;
        if (!code && !makes && memcmp(&record, &own, sizeof own) != 0)
            code = gguf_fail(err, GGUF_E_CHECK, NULL, GGUF_NO_OFFSET,
                             "the ranks do not see the same products: '%s' is '%s' elsewhere",
                             own.name, record.name);
    }
    return code;
}

/* ---- factors ----------------------------------------------------------------------------- */

#define MANY_COLS 1024 /* so many that all threads factor one Hessian together */

static bool has_samples(const quant_hessian *hessian) {
    return hessian->n_samples && hessian->n_samples * MIN_SAMPLES_SHARE >= hessian->n;
}

/* Each rank computes the factors of some, for all. */
static uint32_t rank_of(const rt_hessians *h, const entry *e) {
    return (uint32_t)(e->number % gguf_ranks_n(h->opts.ranks));
}

static bool is_mine(const rt_hessians *h, const entry *e) {
    return has_samples(e->hessian) && rank_of(h, e) == gguf_ranks_own(h->opts.ranks);
}

typedef struct factor_job {
    rt_hessians *h;
    atomic_int failure;
} factor_job;

static void factor_task(void *ctx, size_t task, unsigned worker) {
    factor_job *job = ctx;
    const rt_hessians *h = job->h;
    const entry *e = &h->entries[task];
    gguf_code code = GGUF_OK;
    (void)worker;
    if (!e->hessian || e->hessian->n_samples == 0) return;
    if (!is_mine(h, e))
        code = quant_hessian_mean(e->hessian, h->damp, NULL);
    else if (e->hessian->n <= MANY_COLS)
        code = quant_hessian_factor(e->hessian, h->damp, NULL, NULL);
    if (code) atomic_store(&job->failure, (int)code);
}

static gguf_code factor_mine(rt_hessians *h, gguf_pool *pool) {
    factor_job job = {.h = h};
    gguf_pool_run(pool, h->n_entries, factor_task, &job);
    gguf_code code = (gguf_code)atomic_load(&job.failure);
    for (size_t i = 0; i < h->n_entries && !code; i++) {
        const entry *e = &h->entries[i];
        if (e->hessian && e->hessian->n > MANY_COLS && is_mine(h, e))
            code = quant_hessian_factor(e->hessian, h->damp, pool, NULL);
    }
    return code;
}

static gguf_code factor_all(rt_hessians *h, gguf_pool *pool, gguf_error *err) {
    gguf_ranks *ranks = h->opts.ranks;
    gguf_code code = factor_mine(h, pool);
    if (code == GGUF_E_NOMEM)
        gguf_fail_memory(err);
    else if (code)
        gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "the inputs of layer %u have no usable Hessian",
                  h->next_layer);
    code = gguf_ranks_agree(ranks, code, err);
    for (size_t i = 0; i < h->n_entries && !code; i++) {
        const entry *e = &h->entries[i];
        if (e->hessian && has_samples(e->hessian))
            code = quant_hessian_spread(e->hessian, ranks, rank_of(h, e), err);
    }
    return code;
}

/* ---- layers ------------------------------------------------------------------------------ */

static gguf_code check_cancel(const rt_hessians *h, gguf_error *err) {
    if (h->failure.code) {
        if (err && !err->code) *err = h->failure;
        return h->failure.code;
    }
    if (h->opts.cancel && atomic_load(h->opts.cancel))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    return GGUF_OK;
}

static void report_progress(const rt_hessians *h, size_t n_done) {
    if (h->opts.progress)
        h->opts.progress(h->opts.progress_ctx, n_done * h->n_ctx, rt_hessians_n_tokens(h));
}

/* The entries of the last pass, if it was over the same layer. */
static gguf_code remember_entries(rt_hessians *h, gguf_error *err) {
    if (!h->more) h->n_had = 0;
    size_t n = h->more ? h->n_entries : 0;
    matrix_name *grown = n ? realloc(h->had, (h->n_had + n) * sizeof *grown) : h->had;
    if (n && !grown) return gguf_fail_memory(err);
    h->had = grown;
    for (size_t i = 0; i < n; i++) {
        matrix_name *had = &h->had[h->n_had++];
        had->mat = h->entries[i].mat;
        memcpy(had->name, h->entries[i].name, sizeof had->name);
    }
    return GGUF_OK;
}

static gguf_code start_collecting(rt_hessians *h, bool wanted, gguf_pool *pool, gguf_error *err) {
    gguf_code code = remember_entries(h, err);
    free_entries(h);
    h->pool = pool;
    h->first_chunk = true;
    h->more = false;
    return code ? code : rt_session_set_hook(h->session, wanted ? collect : NULL, h, err);
}

/* Moves a chunk on, where what it shows is collected. */
typedef gguf_code (*pass_fn)(rt_hessians *h, size_t i, float *logits, gguf_error *err);

/* The stream stays before the layer until its last pass. */
static gguf_code pass_layer(rt_hessians *h, size_t i, float *logits, gguf_error *err) {
    size_t n_bytes = h->n_ctx * rt_session_stream_cols(h->session) * sizeof(float);
    (void)logits;
    memcpy(h->moved, chunk_at(h, i), n_bytes);
    gguf_code code = rt_session_layer(h->session, h->next_layer, h->tokens + i * h->n_ctx, h->moved,
                                      h->n_ctx, err);
    if (!code && !h->more) memcpy(chunk_at(h, i), h->moved, n_bytes);
    return code;
}

static gguf_code pass_head(rt_hessians *h, size_t i, float *logits, gguf_error *err) {
    return rt_session_head(h->session, chunk_at(h, i), h->n_ctx, logits, err);
}

/* The chunks of one part, of which *next is the first of this rank's. */
static gguf_code pass_part(rt_hessians *h, size_t part, pass_fn pass, size_t *next, float *logits,
                           gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < h->n_chunks && !code; i++) {
        if (part_of_chunk(h, i) != part) continue;
        code = pass(h, (*next)++, logits, err);
        if (!code) code = check_cancel(h, err);
        h->first_chunk = false;
        report_progress(h, i + 1);
    }
    return code;
}

static gguf_code end_round(rt_hessians *h, size_t first, gguf_error *err) {
    gguf_ranks *ranks = h->opts.ranks;
    size_t left = n_parts_of(h) - first;
    uint32_t n = left < gguf_ranks_n(ranks) ? (uint32_t)left : gguf_ranks_n(ranks);
    gguf_code code = first == 0 ? share_entries(h, err) : GGUF_OK;
    for (size_t i = 0; i < h->n_entries && !code; i++)
        if (h->entries[i].hessian)
            code = quant_hessian_end_part(h->entries[i].hessian, ranks, n, err);
    return code;
}

static gguf_code pass_all(rt_hessians *h, pass_fn pass, bool wanted, gguf_pool *pool, float *logits,
                          gguf_error *err) {
    gguf_ranks *ranks = h->opts.ranks;
    size_t n_parts = n_parts_of(h), next = 0;
    gguf_code code = start_collecting(h, wanted, pool, err);
    for (size_t first = 0; first < n_parts && !code; first += gguf_ranks_n(ranks)) {
        size_t part = first + gguf_ranks_own(ranks);
        if (part < n_parts) code = pass_part(h, part, pass, &next, logits, err);
        code = gguf_ranks_agree(ranks, code, err);
        if (!code && wanted) code = end_round(h, first, err);
    }
    for (size_t i = 0; i < h->n_entries && !code; i++)
        if (h->entries[i].hessian)
            code = quant_hessian_end_parts(h->entries[i].hessian, ranks, err);
    return code || !wanted ? code : factor_all(h, pool, err);
}

/* Rank 0 always has a chunk, and knows. */
static gguf_code share_more(rt_hessians *h, bool *more, gguf_error *err) {
    uint64_t some = h->more;
    gguf_code code = gguf_ranks_spread(h->opts.ranks, GGUF_OK, 0, &some, sizeof some, err);
    *more = h->more = some;
    return code;
}

gguf_code rt_hessians_next_layer(rt_hessians *h, bool wanted, gguf_pool *pool, bool *more,
                                 gguf_error *err) {
    *more = false;
    gguf_code code = pass_all(h, pass_layer, wanted, pool, NULL, err);
    if (!code) code = share_more(h, more, err);
    if (!*more) h->next_layer++;
    return code;
}

gguf_code rt_hessians_head(rt_hessians *h, gguf_pool *pool, bool *more, gguf_error *err) {
    size_t n_vocab = rt_model_hparams(h->model)->n_vocab;
    float *logits = malloc(h->n_ctx * n_vocab * sizeof *logits);
    *more = false;
    gguf_code code = logits ? GGUF_OK : gguf_fail_memory(err);
    if (!code) code = pass_all(h, pass_head, true, pool, logits, err);
    if (!code) code = share_more(h, more, err);
    free(logits);
    return code;
}

const quant_hessian *rt_hessians_find(const rt_hessians *h, const char *weight, size_t mat) {
    const entry *e = find_entry(h, weight, mat);
    const quant_hessian *hessian = e ? h->entries[e->owner].hessian : NULL;
    return hessian && hessian->n_samples ? hessian : NULL;
}
