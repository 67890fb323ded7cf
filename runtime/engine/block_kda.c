/* Kimi's delta attention of a layer (arXiv 2510.26692): projections to q, k and v, each with a
 * convolution, decays and gates, delta rule, norm of each head, gate, output. */
#include "runtime/engine/ops.h"

/* One product, or two through a narrower one. */
static void project_low(rt_session *session, const rt_weight *a, const rt_weight *b, rt_off in,
                        rt_off out) {
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_op_input(session, in, n, session->model->hparams.n_embd);
    rt_op_multiply(session, a, b->data ? at->ssm_low : out);
    if (!b->data) return;
    rt_op_input(session, at->ssm_low, n, a->n_rows);
    rt_op_multiply(session, b, out);
}

void rt_block_kda(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    rt_state_layer state = rt_op_state(session, layer), conv_state = state;
    uint32_t inner = hp->ssm_d_inner, dim = hp->ssm_d_state;
    size_t n = session->batch.n;
    const rt_weight *const weights[3] = {&l->attn_q, &l->attn_k, &l->attn_v};
    rt_off qkv[3];
    const rt_kda kda = {.n_head = hp->ssm_dt_rank,
                        .n_state = dim,
                        .bound = hp->kda_bound,
                        .a = l->ssm_a,
                        .dt_bias = l->ssm_dt_bias};
    rt_op_input(session, in, n, hp->n_embd);
    for (int i = 0; i < 3; i++) {
        qkv[i] = rt_op_at(at->ssm_in, i * n * inner);
        rt_op_multiply(session, weights[i], qkv[i]);
    }
    rt_op_multiply(session, &l->ssm_beta, at->ssm_ba);
    project_low(session, &l->kda_f_a, &l->kda_f_b, in, at->kda_f);
    project_low(session, &l->kda_g_a, &l->kda_g_b, in, at->ssm_z);
    for (int i = 0; i < 3; i++) {
        const rt_conv conv = {inner, hp->ssm_d_conv, false, l->kda_conv[i], NULL};
        ops->conv(session->backend, &conv, &conv_state, &session->batch, qkv[i], inner, RT_NO_OFF,
                  RT_NO_OFF);
        conv_state.off += (hp->ssm_d_conv - 1) * (uint64_t)inner * sizeof(float);
    }
    state.off += rt_ssm_conv_bytes(hp);
    ops->kda(session->backend, &kda, &state, &session->batch, qkv[0], qkv[1], qkv[2], at->kda_f,
             at->ssm_ba, at->ssm_out);
    ops->norm(session->backend, RT_NORM_RMS, &l->ssm_norm, hp->norm_eps, at->ssm_out,
              n * hp->ssm_dt_rank, dim, at->ssm_out);
    ops->activate(session->backend, RT_ACT_SIGMOID, at->ssm_z, at->ssm_out, n, inner);
    rt_op_input(session, at->ssm_z, n, inner);
    rt_op_multiply(session, &l->attn_output, at->out);
}
