/* The gated short convolution of a layer (LFM2): projection to [B | C | u], convolution of B u,
 * gate C, output. */
#include "runtime/engine/ops.h"

void rt_block_shortconv(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_state_layer state = rt_op_state(session, layer);
    uint32_t width = rt_ssm_in_dim(hp), inner = hp->ssm_d_inner;
    size_t n = session->batch.n;
    const rt_conv conv = {inner, hp->ssm_d_conv, true, l->ssm_conv1d, l->ssm_conv1d_bias};
    rt_off before = at->ssm_in, after = rt_op_at(before, inner), u = rt_op_at(after, inner);
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->ssm_in, at->ssm_in);
    session->backend->ops->conv(session->backend, &conv, &state, &session->batch, u, width, before,
                                after);
    rt_op_copy(session, u, width, n, inner, at->ssm_z, inner);
    rt_op_input(session, at->ssm_z, n, inner);
    rt_op_multiply(session, &l->ssm_out, at->out);
}
