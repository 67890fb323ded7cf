/* The feed-forward block of a layer: down(activation(gate) * up). */
#include "runtime/session_internal.h"

void rt_block_ffn(rt_session *session, uint32_t layer, size_t n) {
    const rt_layer *tensors = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    rt_activation activation = rt_arch_compute_of(session->model->arch)->activation;
    rt_session_input(session, buf->h, n, hp->n_embd);
    rt_session_multiply(session, &tensors->ffn_gate, buf->gate);
    rt_session_multiply(session, &tensors->ffn_up, buf->up);
    session->backend->ops->gated(session->backend, activation, buf->gate, buf->up, n, hp->n_ff);
    rt_session_input(session, buf->gate, n, hp->n_ff);
    rt_session_multiply(session, &tensors->ffn_down, buf->h);
}
