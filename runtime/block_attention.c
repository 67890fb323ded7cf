/* The attention block of a layer: projections, positions, KV cache, attention, output. */
#include "runtime/session_internal.h"

#include <math.h>

static void turn(rt_session *session, float *x, size_t n, uint32_t n_head) {
    const rt_hparams *hp = &session->model->hparams;
    rt_rope kind = rt_arch_compute_of(session->model->arch)->rope;
    session->backend->ops->rope(session->backend, kind, session->buf.rope, hp->n_rot, x, n, n_head,
                                hp->head_dim_k);
}

gguf_code rt_block_attention(rt_session *session, uint32_t layer, size_t n, gguf_error *err) {
    const rt_layer *tensors = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    rt_backend *backend = session->backend;
    rt_kv_layer kv = rt_session_kv(session, layer);
    rt_attention shape = {hp->n_head,     hp->n_head_kv, hp->head_dim_k,
                          hp->head_dim_v, hp->n_window,  1.0f / sqrtf((float)hp->head_dim_k)};

    rt_session_input(session, buf->h, n, hp->n_embd);
    rt_session_multiply(session, &tensors->attn_q, buf->q);
    rt_session_multiply(session, &tensors->attn_k, buf->k);
    rt_session_multiply(session, &tensors->attn_v, buf->v);
    turn(session, buf->q, n, hp->n_head);
    turn(session, buf->k, n, hp->n_head_kv);
    gguf_code code = backend->ops->kv_store(backend, &kv, buf->k, buf->v, session->n_past, n, err);
    if (code) return code;
    backend->ops->attention(backend, &shape, &kv, buf->q, session->n_past, n, buf->heads);
    rt_session_input(session, buf->heads, n, (size_t)hp->n_head * hp->head_dim_v);
    rt_session_multiply(session, &tensors->attn_output, buf->h);
    return GGUF_OK;
}
