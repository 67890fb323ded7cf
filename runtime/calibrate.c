/* Collecting importance matrices. */
#include "runtime/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct collector {
    quant_imatrix *im;
    gguf_error failure;
} collector;

rt_calibrate_opts rt_calibrate_defaults(void) {
    return (rt_calibrate_opts){.n_ctx = 512, .bos = -1};
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

static gguf_code run_chunk(rt_session *session, collector *c, const int32_t *tokens, size_t n,
                           int32_t bos, int32_t *chunk, gguf_error *err) {
    memcpy(chunk, tokens, n * sizeof *chunk);
    if (bos >= 0) chunk[0] = bos;
    rt_session_reset(session);
    gguf_code code = rt_session_eval(session, chunk, n, RT_LOGITS_NONE, NULL, err);
    if (!code && c->failure.code) {
        code = c->failure.code;
        if (err && !err->code) *err = c->failure;
    }
    return code;
}

gguf_code rt_calibrate_importance(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                                  const rt_calibrate_opts *opts, quant_imatrix *im,
                                  uint32_t *n_done, gguf_error *err) {
    size_t n_ctx = opts->n_ctx < n_tokens ? opts->n_ctx : n_tokens;
    if (n_ctx == 0) return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the text is empty");
    size_t n_chunks = n_tokens / n_ctx;
    if (opts->n_chunks && opts->n_chunks < n_chunks) n_chunks = opts->n_chunks;
    rt_session_opts session_opts = rt_session_defaults();
    session_opts.n_ctx = (uint32_t)n_ctx;
    session_opts.n_threads = opts->n_threads;
    session_opts.bf16 = opts->bf16;
    session_opts.kv_type = GGUF_TYPE_F32;
    collector c = {.im = im};
    rt_session *session = NULL;
    int32_t *chunk = malloc(n_ctx * sizeof *chunk);
    gguf_code code = chunk ? rt_session_new(model, &session_opts, &session, err)
                           : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code) rt_session_set_hook(session, collect, &c);
    if (n_done) *n_done = opts->n_skip;
    for (size_t i = opts->n_skip; i < n_chunks && !code; i++) {
        if (opts->cancel && atomic_load(opts->cancel))
            code = gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        else
            code = run_chunk(session, &c, tokens + i * n_ctx, n_ctx, opts->bos, chunk, err);
        if (!code && opts->progress)
            opts->progress(opts->progress_ctx, (i + 1) * n_ctx, n_chunks * n_ctx);
        if (!code && n_done) *n_done = (uint32_t)i + 1;
        if (!code && opts->chunk_done)
            code = opts->chunk_done(opts->chunk_ctx, (uint32_t)i + 1, err);
    }
    rt_session_free(session);
    free(chunk);
    return code;
}
