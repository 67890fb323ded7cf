/* Sessions: the memory of one sequence, and the division of its tokens into batches. */
#include "runtime/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>

rt_session_opts rt_session_defaults(void) {
    return (rt_session_opts){.n_batch = 512, .kv_type = GGUF_TYPE_F16};
}

/* ---- memory -------------------------------------------------------------------------------------
 */

static gguf_code allocate(uint64_t n_bytes, uint8_t **out, gguf_error *err) {
    *out = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (*out) return GGUF_OK;
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no memory for %" PRIu64 " bytes",
                     n_bytes);
}

static float *at(const rt_session *session, uint64_t off) {
    return (float *)(void *)(session->compute + off);
}

static void place_buffers(rt_session *session) {
    const rt_layout *l = &session->layout;
    session->buf = (rt_buffers){
        .x = at(session, l->x),
        .h = at(session, l->h),
        .q = at(session, l->q),
        .k = at(session, l->k),
        .v = at(session, l->v),
        .heads = at(session, l->heads),
        .gate = at(session, l->gate),
        .up = at(session, l->up),
        .rope = at(session, l->rope),
    };
    session->pages = (uint32_t *)(void *)(session->compute + l->pages);
    for (uint32_t i = 0; i < l->n_pages; i++) session->pages[i] = i;
}

static gguf_code allocate_all(rt_session *session, gguf_error *err) {
    const rt_layout *l = &session->layout;
    gguf_code code = allocate(l->kv_bytes, &session->kv, err);
    if (!code) code = allocate(l->compute_bytes, &session->compute, err);
    if (!code) code = gguf_pool_new(l->n_threads, &session->pool, err);
    if (code) return code;
    place_buffers(session);
    return rt_cpu_new(&session->model->hparams, l->n_batch, session->opts.exact, session->pool,
                      session->compute + l->work, &session->backend, err);
}

gguf_code rt_session_new(const rt_model *model, const rt_session_opts *opts, rt_session **out,
                         gguf_error *err) {
    rt_session *session = calloc(1, sizeof *session);
    *out = NULL;
    if (!session) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    session->model = model;
    session->opts = opts ? *opts : rt_session_defaults();
    gguf_code code = rt_layout_make(&model->hparams, &session->opts, &session->layout, err);
    if (!code) code = allocate_all(session, err);
    if (code)
        rt_session_free(session);
    else
        *out = session;
    return code;
}

void rt_session_free(rt_session *session) {
    if (!session) return;
    if (session->backend) session->backend->ops->free(session->backend);
    gguf_pool_free(session->pool);
    free(session->compute);
    free(session->kv);
    free(session);
}

/* ---- state --------------------------------------------------------------------------------------
 */

void rt_session_reset(rt_session *session) {
    session->n_past = 0;
}

uint32_t rt_session_n_past(const rt_session *session) {
    return session->n_past;
}

uint32_t rt_session_n_ctx(const rt_session *session) {
    return session->layout.n_ctx;
}

void rt_session_set_hook(rt_session *session, rt_hook_fn fn, void *ctx) {
    session->hook = fn;
    session->hook_ctx = ctx;
}

rt_kv_layer rt_session_kv(const rt_session *session, uint32_t layer) {
    const rt_layout *l = &session->layout;
    const rt_hparams *hp = &session->model->hparams;
    uint64_t layer_bytes = RT_KV_PAGE_TOKENS * (l->row_bytes_k + l->row_bytes_v);
    return (rt_kv_layer){
        .base = session->kv,
        .pages = session->pages,
        .page_bytes = l->page_bytes,
        .k_off = layer * layer_bytes,
        .v_off = layer * layer_bytes + RT_KV_PAGE_TOKENS * l->row_bytes_k,
        .type = session->opts.kv_type,
        .n_cols_k = hp->n_head_kv * hp->head_dim_k,
        .n_cols_v = hp->n_head_kv * hp->head_dim_v,
        .row_bytes_k = l->row_bytes_k,
        .row_bytes_v = l->row_bytes_v,
    };
}

/* ---- evaluation ---------------------------------------------------------------------------------
 */

gguf_code rt_session_check_tokens(const rt_session *session, const int32_t *tokens, size_t n,
                              gguf_error *err) {
    uint32_t room = session->layout.n_ctx - session->n_past;
    if (n > room)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "%zu tokens do not fit: the context of %" PRIu32 " holds %" PRIu32
                         " already",
                         n, session->layout.n_ctx, session->n_past);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= session->model->hparams.n_vocab)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "token %zu has the id %" PRId32 ", the vocabulary has %" PRIu32
                             " tokens",
                             i, tokens[i], session->model->hparams.n_vocab);
    return GGUF_OK;
}

gguf_code rt_session_eval(rt_session *session, const int32_t *tokens, size_t n, rt_logits which,
                          float *logits, gguf_error *err) {
    gguf_code code = rt_session_check_tokens(session, tokens, n, err);
    uint32_t n_past = session->n_past;
    for (size_t done = 0; done < n && !code;) {
        size_t n_now = n - done < session->layout.n_batch ? n - done : session->layout.n_batch;
        bool skip = which == RT_LOGITS_LAST && done + n_now < n;
        float *out =
            which == RT_LOGITS_ALL ? logits + done * session->model->hparams.n_vocab : logits;
        code = rt_forward(session, tokens + done, n_now, skip ? RT_LOGITS_NONE : which, out, err);
        session->n_past += (uint32_t)n_now;
        done += n_now;
    }
    if (code) session->n_past = n_past;
    return code;
}
