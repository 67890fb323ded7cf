/* Collecting importance matrices. */
#include "runtime/calibrate/calibrate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOGETHER = 4, MAX_BATCH = 2048, MAX_ROUND = 1024 };

typedef struct collector {
    quant_imatrix *im;
    gguf_error failure;
} collector;

rt_calibrate_opts rt_calibrate_defaults(void) {
    return (rt_calibrate_opts){.n_ctx = 512, .bos = -1};
}

gguf_code rt_calibrate_n_chunks(size_t n_tokens, const rt_calibrate_opts *opts, uint32_t *n_chunks,
                                gguf_error *err) {
    size_t n = opts->n_ctx ? n_tokens / opts->n_ctx : 0;
    if (n == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "too few tokens to calibrate with: %zu, where one chunk has %" PRIu32,
                         n_tokens, opts->n_ctx);
    if (opts->n_chunks && n > opts->n_chunks) n = opts->n_chunks;
    *n_chunks = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    return GGUF_OK;
}

static void add_row(double *sums, const float *row, size_t n_cols) {
    for (size_t c = 0; c < n_cols; c++) sums[c] += (double)row[c] * row[c];
}

static void add_squares(quant_imatrix_entry *entry, const rt_product *p) {
    if (p->n_experts == 0) {
        for (size_t r = 0; r < p->n_rows; r++)
            add_row(entry->sums, p->rows + r * p->n_cols, p->n_cols);
        entry->counts[0] += (double)p->n_rows;
        return;
    }
    for (uint32_t e = 0; e < p->n_experts; e++) {
        for (uint32_t i = p->first[e]; i < p->first[e + 1]; i++)
            add_row(entry->sums + e * p->n_cols, p->rows + p->routed[i] / p->n_share * p->n_cols,
                    p->n_cols);
        entry->counts[e] += (double)(p->first[e + 1] - p->first[e]);
    }
}

static void collect(void *ctx, const rt_product *product) {
    collector *c = ctx;
    gguf_str weight = product->weight;
    char name[GGUF_MAX_TENSOR_NAME + 1];
    size_t n_mats = product->n_experts ? product->n_experts : 1;
    if (c->failure.code || weight.len >= sizeof name) return;
    memcpy(name, weight.ptr, weight.len);
    name[weight.len] = '\0';
    quant_imatrix_entry *entry = quant_imatrix_entry_of(c->im, name, product->n_cols, n_mats);
    if (!entry) {
        gguf_fail(&c->failure, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no entry for '%s'", name);
        return;
    }
    add_squares(entry, product);
    for (size_t i = 0; i < n_mats * product->n_cols; i++)
        if (!isfinite(entry->sums[i])) {
            gguf_fail(&c->failure, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                      "the inputs of '%s' are not finite", name);
            return;
        }
}

rt_expert_samples rt_calibrate_samples(const quant_imatrix *im) {
    rt_expert_samples s = {0};
    for (size_t i = 0; i < quant_imatrix_count(im); i++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, i);
        for (size_t m = 0; m < e->n_mats && e->n_mats > 1; m++) {
            s.n_mats++;
            s.n_unseen += e->counts[m] == 0;
            s.n_few += e->counts[m] > 0 && e->counts[m] < RT_FEW_SAMPLES;
        }
    }
    return s;
}

/* Chunks that are computed together, each as a sequence. */
typedef struct chunk_group {
    int32_t *tokens; /* [MAX_TOGETHER][n_ctx] */
    rt_span *spans;  /* [MAX_TOGETHER] */
    size_t n_ctx;
} chunk_group;

static gguf_code run_chunks(rt_session *session, collector *c, const chunk_group *group,
                            const int32_t *tokens, size_t n, int32_t bos, gguf_error *err) {
    memcpy(group->tokens, tokens, n * group->n_ctx * sizeof *tokens);
    for (size_t i = 0; i < n; i++) {
        int32_t *chunk = group->tokens + i * group->n_ctx;
        if (bos >= 0) chunk[0] = bos;
        group->spans[i] = (rt_span){(uint32_t)i, chunk, group->n_ctx, RT_LOGITS_NONE};
    }
    rt_session_reset(session);
    gguf_code code = rt_session_eval_spans(session, group->spans, n, NULL, err);
    if (!code && c->failure.code) {
        code = c->failure.code;
        if (err && !err->code) *err = c->failure;
    }
    return code;
}

/* Chunks from number i on until the next whole group: groups begin at the same chunks in a resumed
 * run. */
static size_t chunks_together(size_t i, size_t n_chunks, size_t n_together) {
    size_t n = n_together - i % n_together;
    return n < n_chunks - i ? n : n_chunks - i;
}

/* A calibration on its way. */
typedef struct walk {
    const rt_calibrate_opts *opts;
    rt_session *session;
    collector *collector;
    chunk_group group;
    const int32_t *tokens;
    size_t n_chunks, n_together;
    quant_imatrix *sum; /* of all groups so far */
    uint32_t *n_done;
} walk;

/* The sums of the next group, which are this rank's or come from the one that has them. */
static gguf_code take_group(walk *w, uint32_t from, size_t n_done, gguf_error *err) {
    const rt_calibrate_opts *opts = w->opts;
    size_t n_ctx = w->group.n_ctx;
    gguf_code code =
        from ? quant_imatrix_receive(w->collector->im, opts->ranks, from, err) : GGUF_OK;
    if (!code) code = quant_imatrix_merge(w->sum, w->collector->im, err);
    if (code) return code;
    if (opts->progress) opts->progress(opts->progress_ctx, n_done * n_ctx, w->n_chunks * n_ctx);
    *w->n_done = (uint32_t)n_done;
    return opts->chunks_done ? opts->chunks_done(opts->chunks_ctx, *w->n_done, err) : GGUF_OK;
}

static gguf_code run_group(walk *w, size_t i, size_t n, gguf_error *err) {
    const rt_calibrate_opts *opts = w->opts;
    if (opts->cancel && atomic_load(opts->cancel))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    quant_imatrix_zero(w->collector->im);
    return run_chunks(w->session, w->collector, &w->group, w->tokens + i * w->group.n_ctx, n,
                      opts->bos, err);
}

/* A group for each rank; then rank 0 adds them up in order. */
static gguf_code run_round(walk *w, size_t *i, gguf_error *err) {
    gguf_ranks *ranks = w->opts->ranks;
    uint32_t own = gguf_ranks_own(ranks), n_groups = 0;
    size_t ends[MAX_ROUND];
    gguf_code code = GGUF_OK;
    for (; n_groups < gguf_ranks_n(ranks) && n_groups < MAX_ROUND && *i < w->n_chunks; n_groups++) {
        size_t n = chunks_together(*i, w->n_chunks, w->n_together);
        if (n_groups == own) code = run_group(w, *i, n, err);
        ends[n_groups] = *i += n;
    }
    code = gguf_ranks_agree(ranks, code, err);
    if (!code && own > 0 && own < n_groups)
        code = quant_imatrix_send(w->collector->im, ranks, 0, err);
    for (uint32_t g = 0; g < n_groups && !code && own == 0; g++)
        code = take_group(w, g, ends[g], err);
    *w->n_done = (uint32_t)*i;
    return code;
}

/* As many as fill a batch; a model that is not causal takes one sequence at a time. */
static size_t group_size(const rt_model *model, const rt_calibrate_opts *opts, size_t n_ctx) {
    size_t most = opts->n_together ? opts->n_together : MAX_TOGETHER;
    if (most > MAX_TOGETHER) most = MAX_TOGETHER;
    if (most * n_ctx > MAX_BATCH) most = MAX_BATCH / n_ctx;
    return most == 0 || rt_model_is_embedder(model) ? 1 : most;
}

gguf_code rt_calibrate_importance(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                                  const rt_calibrate_opts *opts, quant_imatrix *im,
                                  uint32_t *n_done, gguf_error *err) {
    uint32_t n_chunks = 0;
    gguf_code code = rt_calibrate_n_chunks(n_tokens, opts, &n_chunks, err);
    if (code) return code;
    size_t n_ctx = opts->n_ctx, n_together = group_size(model, opts, n_ctx);
    rt_session_opts session_opts = rt_session_defaults();
    session_opts.n_ctx = (uint32_t)n_ctx;
    session_opts.n_seqs = (uint32_t)n_together;
    if (n_together > 1) session_opts.n_batch = (uint32_t)(n_together * n_ctx);
    session_opts.n_threads = opts->n_threads;
    session_opts.precision = opts->precision;
    session_opts.kv_type = GGUF_TYPE_F32;
    collector c = {.im = quant_imatrix_new()};
    rt_session *session = NULL;
    uint32_t done = opts->n_skip;
    const chunk_group group = {malloc(n_together * n_ctx * sizeof *tokens),
                               malloc(n_together * sizeof(rt_span)), n_ctx};
    code = group.tokens && group.spans && c.im ? rt_session_new(model, &session_opts, &session, err)
                                               : gguf_fail_memory(err);
    if (!code) code = rt_session_set_hook(session, collect, &c, err);
    walk w = {opts, session, &c, group, tokens, n_chunks, n_together, im, &done};
    for (size_t i = opts->n_skip; i < n_chunks && !code;) code = run_round(&w, &i, err);
    if (n_done) *n_done = done;
    rt_session_free(session);
    quant_imatrix_free(c.im);
    free(group.tokens);
    free(group.spans);
    return gguf_ranks_agree(opts->ranks, code, err);
}
