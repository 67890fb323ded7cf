/* The Mamba 2 block of a layer (arXiv 2405.21060): projection to [z | u B C | dt], convolution,
 * scan, gate, norm of each group, output. */
#include "runtime/engine/ops.h"

void rt_block_mamba2(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    rt_state_layer state = rt_op_state(session, layer);
    uint32_t width = rt_ssm_in_dim(hp), conv_dim = rt_ssm_conv_dim(hp), inner = hp->ssm_d_inner;
    size_t n = session->batch.n;
    const rt_conv conv = {conv_dim, hp->ssm_d_conv, false, l->ssm_conv1d, l->ssm_conv1d_bias};
    const rt_mamba2 mamba2 = {.n_head = hp->ssm_dt_rank,
                              .head_dim = inner / hp->ssm_dt_rank,
                              .n_group = hp->ssm_n_group,
                              .n_state = hp->ssm_d_state,
                              .a = l->ssm_a,
                              .d = l->ssm_d,
                              .dt_bias = l->ssm_dt_bias};
    rt_off x = rt_op_at(at->ssm_in, inner), dt = rt_op_at(x, conv_dim);
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->ssm_in, at->ssm_in);
    ops->conv(session->backend, &conv, &state, &session->batch, x, width, RT_NO_OFF, RT_NO_OFF);
    state.off += rt_ssm_conv_bytes(hp);
    ops->mamba2(session->backend, &mamba2, &state, &session->batch, x, width, dt, width,
                at->ssm_out);
    rt_op_copy(session, at->ssm_in, width, n, inner, at->ssm_z, inner);
    ops->activate(session->backend, RT_ACT_SILU, at->ssm_z, at->ssm_out, n, inner);
    if (l->ssm_norm.n_cols)
        ops->norm(session->backend, RT_NORM_RMS, &l->ssm_norm, hp->norm_eps, at->ssm_z,
                  n * hp->ssm_n_group, inner / hp->ssm_n_group, at->ssm_z);
    rt_op_input(session, at->ssm_z, n, inner);
    rt_op_multiply(session, &l->ssm_out, at->out);
}
