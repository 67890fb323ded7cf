/* The forward pass: what is computed, in which order. How is the backend's business. */
#include "runtime/rope.h"
#include "runtime/session_internal.h"

#include <string.h>

void rt_session_input(rt_session *session, const float *x, size_t n, size_t n_cols) {
    session->input = x;
    session->n_inputs = n;
    session->backend->ops->set_input(session->backend, x, n, n_cols);
}

void rt_session_multiply(rt_session *session, const rt_weight *weight, float *out) {
    if (session->hook)
        session->hook(session->hook_ctx, weight->name, session->input, session->n_inputs,
                      weight->n_cols);
    session->backend->ops->matmul(session->backend, weight, out);
}

static void norm(rt_session *session, const float *x, const float *weight, size_t n, float *out) {
    const rt_hparams *hp = &session->model->hparams;
    session->backend->ops->norm_rms(session->backend, x, weight, hp->norm_eps, n, hp->n_embd, out);
}

static void add_to_stream(rt_session *session, size_t n) {
    session->backend->ops->add(session->backend, session->buf.x, session->buf.h, n,
                               session->model->hparams.n_embd);
}

static gguf_code forward_layer(rt_session *session, uint32_t layer, size_t n, gguf_error *err) {
    const rt_layer *tensors = &session->model->layers[layer];
    const rt_buffers *buf = &session->buf;
    norm(session, buf->x, tensors->attn_norm, n, buf->h);
    gguf_code code = rt_block_attention(session, layer, n, err);
    if (code) return code;
    add_to_stream(session, n);
    norm(session, buf->x, tensors->ffn_norm, n, buf->h);
    rt_block_ffn(session, layer, n);
    add_to_stream(session, n);
    return GGUF_OK;
}

/* Logits of the last n_rows of n tokens. */
static void forward_output(rt_session *session, size_t n, size_t n_rows, float *logits) {
    const rt_model *model = session->model;
    uint32_t n_embd = model->hparams.n_embd;
    norm(session, session->buf.x + (n - n_rows) * n_embd, model->output_norm, n_rows,
         session->buf.h);
    rt_session_input(session, session->buf.h, n_rows, n_embd);
    rt_session_multiply(session, &model->output, logits);
}

gguf_code rt_forward(rt_session *session, const int32_t *tokens, size_t n, rt_logits which,
                     float *logits, gguf_error *err) {
    const rt_model *model = session->model;
    const rt_buffers *buf = &session->buf;
    session->backend->ops->embed(session->backend, &model->token_embd, tokens, n, buf->x);
    rt_rope_table(model, session->n_past, n, buf->rope);
    for (uint32_t layer = 0; layer < model->hparams.n_layer; layer++) {
        gguf_code code = forward_layer(session, layer, n, err);
        if (code) return code;
    }
    if (which != RT_LOGITS_NONE) forward_output(session, n, which == RT_LOGITS_ALL ? n : 1, logits);
    return GGUF_OK;
}

/* ---- layer by layer ---------------------------------------------------------------------- */

static gguf_code check_rows(const rt_session *session, size_t n, gguf_error *err) {
    if (n > 0 && n <= session->layout.n_batch && n <= session->layout.n_ctx) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "%zu tokens do not fit into one batch", n);
}

static size_t stream_bytes(const rt_session *session, size_t n) {
    return n * session->model->hparams.n_embd * sizeof(float);
}

gguf_code rt_session_embed(rt_session *session, const int32_t *tokens, size_t n, float *x,
                           gguf_error *err) {
    gguf_code code = check_rows(session, n, err);
    if (code) return code;
    rt_session_reset(session);
    if ((code = rt_session_check_tokens(session, tokens, n, err))) return code;
    session->backend->ops->embed(session->backend, &session->model->token_embd, tokens, n,
                                 session->buf.x);
    memcpy(x, session->buf.x, stream_bytes(session, n));
    return GGUF_OK;
}

gguf_code rt_session_layer(rt_session *session, uint32_t layer, float *x, size_t n,
                           gguf_error *err) {
    gguf_code code = check_rows(session, n, err);
    if (code) return code;
    rt_session_reset(session);
    memcpy(session->buf.x, x, stream_bytes(session, n));
    rt_rope_table(session->model, 0, n, session->buf.rope);
    code = forward_layer(session, layer, n, err);
    memcpy(x, session->buf.x, stream_bytes(session, n));
    return code;
}

gguf_code rt_session_head(rt_session *session, const float *x, size_t n, float *logits,
                          gguf_error *err) {
    gguf_code code = check_rows(session, n, err);
    if (code) return code;
    memcpy(session->buf.x, x, stream_bytes(session, n));
    forward_output(session, n, n, logits);
    return GGUF_OK;
}
