/* The gated delta net of a layer (arXiv 2412.06464): projections to [q k v], gate and [beta alpha],
 * convolution, delta rule, norm of each head, gate, output. */
#include "runtime/engine/ops.h"

/* Into layout.ssm_ba: of all heads' betas and alphas, or of each key head. */
static void project_gates(rt_session *session, const rt_layer *l) {
    const rt_layout *at = &session->layout;
    uint32_t n_head = session->model->hparams.ssm_dt_rank;
    size_t n = session->batch.n;
    if (l->ssm_ba.data) {
        rt_op_multiply(session, &l->ssm_ba, at->ssm_ba);
        return;
    }
    rt_op_multiply(session, &l->ssm_beta, at->ssm_out);
    rt_op_copy(session, at->ssm_out, n_head, n, n_head, at->ssm_ba, 2 * (size_t)n_head);
    rt_op_multiply(session, &l->ssm_alpha, at->ssm_out);
    rt_op_copy(session, at->ssm_out, n_head, n, n_head, rt_op_at(at->ssm_ba, n_head),
               2 * (size_t)n_head);
}

void rt_block_delta(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    rt_state_layer state = rt_op_state(session, layer);
    uint32_t width = rt_ssm_conv_dim(hp), inner = hp->ssm_d_inner, dim = hp->ssm_d_state;
    size_t n = session->batch.n;
    const rt_conv conv = {width, hp->ssm_d_conv, false, l->ssm_conv1d, l->ssm_conv1d_bias};
    const rt_gated_delta delta = {.n_head = hp->ssm_dt_rank,
                                  .n_head_k = hp->ssm_n_group,
                                  .n_state = dim,
                                  .tiled = l->ssm_ba.data == NULL,
                                  .a = l->ssm_a,
                                  .dt_bias = l->ssm_dt_bias};
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->ssm_qkv, at->ssm_in);
    rt_op_multiply(session, &l->ssm_gate, at->ssm_z);
    project_gates(session, l);
    ops->conv(session->backend, &conv, &state, &session->batch, at->ssm_in, width, RT_NO_OFF,
              RT_NO_OFF);
    state.off += rt_ssm_conv_bytes(hp);
    ops->gated_delta(session->backend, &delta, &state, &session->batch, at->ssm_in, width,
                     at->ssm_ba, at->ssm_out);
    ops->norm(session->backend, RT_NORM_RMS, &l->ssm_norm, hp->norm_eps, at->ssm_out,
              n * hp->ssm_dt_rank, dim, at->ssm_out);
    ops->activate(session->backend, RT_ACT_SILU, at->ssm_z, at->ssm_out, n, inner);
    rt_op_input(session, at->ssm_z, n, inner);
    rt_op_multiply(session, &l->ssm_out, at->out);
}
