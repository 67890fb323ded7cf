/* The attention block of a layer: projections, positions, KV cache, attention, output. */
#include "runtime/engine/session_internal.h"

void rt_session_attend(rt_session *session, uint32_t layer, const rt_kv_layer *kv, const float *q) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_attention shape = {
        .n_head = hp->n_head,
        .n_head_kv = hp->n_head_kv,
        .head_dim_k = hp->head_dim_k,
        .head_dim_v = hp->head_dim_v,
        .n_window = rt_layers_has(&hp->windowed, layer) ? hp->n_window : 0,
        .causal = hp->causal,
        .scale = hp->score_scale,
        .cap = hp->score_cap,
        .sinks = session->model->layers[layer].sinks,
    };
    session->backend->ops->attention(session->backend, &shape, kv, &session->batch, q,
                                     session->buf.heads);
}

static void clamp(rt_session *session, float *x, uint32_t n_cols) {
    float limit = session->model->hparams.qkv_clamp;
    if (limit != 0)
        session->backend->ops->shape(session->backend, x, 1, 0, limit, session->batch.n, n_cols);
}

/* Norm of all heads side by side, or of each. */
static void norm_heads(rt_session *session, const rt_norm_weights *scale, float *x,
                       uint32_t n_cols) {
    size_t n_parts = scale->n_cols ? n_cols / scale->n_cols : 0;
    rt_session_norm(session, scale, x, session->batch.n * n_parts, x);
}

static void project(rt_session *session, const rt_layer *l, const float *in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    uint32_t n_q = hp->n_head * hp->head_dim_k, n_k = hp->n_head_kv * hp->head_dim_k;
    rt_session_input(session, in, session->batch.n, hp->n_embd);
    rt_session_multiply(session, &l->attn_q, buf->q);
    rt_session_multiply(session, &l->attn_k, buf->k);
    rt_session_multiply(session, &l->attn_v, buf->v);
    clamp(session, buf->q, n_q);
    clamp(session, buf->k, n_k);
    clamp(session, buf->v, hp->n_head_kv * hp->head_dim_v);
    norm_heads(session, &l->q_norm, buf->q, n_q);
    norm_heads(session, &l->k_norm, buf->k, n_k);
}

gguf_code rt_block_attention(rt_session *session, uint32_t layer, const float *in,
                             gguf_error *err) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    rt_kv_layer kv = rt_session_kv(session, layer);
    project(session, l, in);
    rt_session_turn(session, layer, buf->q, hp->n_head, hp->head_dim_k);
    rt_session_turn(session, layer, buf->k, hp->n_head_kv, hp->head_dim_k);
    gguf_code code = session->backend->ops->kv_store(session->backend, &kv, &session->batch, buf->k,
                                                     buf->v, err);
    if (code) return code;
    rt_session_attend(session, layer, &kv, buf->q);
    rt_session_input(session, buf->heads, session->batch.n, (size_t)hp->n_head * hp->head_dim_v);
    rt_session_multiply(session, &l->attn_output, buf->out);
    return GGUF_OK;
}
