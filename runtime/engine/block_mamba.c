/* The Mamba block of a layer (arXiv 2312.00752): projection to [u | z], convolution, dt, B and C
 * from its result, scan, gate, output. */
#include "runtime/engine/ops.h"

/* One part of a row of [dt | B | C], in place. */
static void norm_part(rt_session *session, const rt_norm_weights *norm, rt_off x, size_t stride) {
    const rt_backend_ops *ops = session->backend->ops;
    if (norm->n_cols)
        ops->norm(session->backend, RT_NORM_RMS, norm, session->model->hparams.ssm_norm_eps, x,
                  session->batch.n, stride, x);
}

/* Into layout.ssm_x and ssm_dt, from the convolution's result. */
static void project(rt_session *session, const rt_layer *l) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    uint32_t rank = hp->ssm_dt_rank, inner = hp->ssm_d_inner;
    size_t n = session->batch.n, width = rank + 2 * (size_t)hp->ssm_d_state;
    rt_op_copy(session, at->ssm_in, rt_ssm_in_dim(hp), n, inner, at->ssm_z, inner);
    rt_op_input(session, at->ssm_z, n, inner);
    rt_op_multiply(session, &l->ssm_x, at->ssm_x);
    norm_part(session, &l->ssm_dt_norm, at->ssm_x, width);
    norm_part(session, &l->ssm_b_norm, rt_op_at(at->ssm_x, rank), width);
    norm_part(session, &l->ssm_c_norm, rt_op_at(at->ssm_x, rank + hp->ssm_d_state), width);
    rt_op_copy(session, at->ssm_x, width, n, rank, at->ssm_low, rank);
    rt_op_input(session, at->ssm_low, n, rank);
    rt_op_multiply(session, &l->ssm_dt, at->ssm_dt);
}

void rt_block_mamba(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    rt_state_layer state = rt_op_state(session, layer);
    uint32_t width = rt_ssm_in_dim(hp), inner = hp->ssm_d_inner, rank = hp->ssm_dt_rank;
    size_t n = session->batch.n;
    const rt_conv conv = {inner, hp->ssm_d_conv, false, l->ssm_conv1d, l->ssm_conv1d_bias};
    const rt_mamba mamba = {inner, hp->ssm_d_state, l->ssm_a, l->ssm_d};
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->ssm_in, at->ssm_in);
    ops->conv(session->backend, &conv, &state, &session->batch, at->ssm_in, width, RT_NO_OFF,
              RT_NO_OFF);
    project(session, l);
    state.off += rt_ssm_conv_bytes(hp);
    ops->mamba(session->backend, &mamba, &state, &session->batch, at->ssm_in, width,
               rt_op_at(at->ssm_x, rank), rank + 2 * (size_t)hp->ssm_d_state, at->ssm_dt,
               at->ssm_out);
    rt_op_copy(session, rt_op_at(at->ssm_in, inner), width, n, inner, at->ssm_z, inner);
    ops->activate(session->backend, RT_ACT_SILU, at->ssm_z, at->ssm_out, n, inner);
    rt_op_input(session, at->ssm_z, n, inner);
    rt_op_multiply(session, &l->ssm_out, at->out);
}
