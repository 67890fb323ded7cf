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

static void add_squares(quant_imatrix_entry *entry, const float *rows, size_t n_rows) {
    for (size_t r = 0; r < n_rows; r++) {
        const float *row = rows + r * entry->n_cols;
        for (size_t c = 0; c < entry->n_cols; c++) entry->sums[c] += (double)row[c] * row[c];
    }
    entry->counts[0] += (double)n_rows;
}

static void collect(void *ctx, gguf_str weight, const float *rows, size_t n_rows, size_t n_cols) {
    collector *c = ctx;
    char name[GGUF_MAX_TENSOR_NAME + 1];
    if (c->failure.code || weight.len >= sizeof name) return;
    memcpy(name, weight.ptr, weight.len);
    name[weight.len] = '\0';
    quant_imatrix_entry *entry = quant_imatrix_entry_of(c->im, name, n_cols, 1);
    if (!entry) {
        gguf_fail(&c->failure, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no entry for '%s'", name);
        return;
    }
    add_squares(entry, rows, n_rows);
    for (size_t i = 0; i < n_cols; i++)
        if (!isfinite(entry->sums[i])) {
            gguf_fail(&c->failure, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                      "the inputs of '%s' are not finite", name);
            return;
        }
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
