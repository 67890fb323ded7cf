/* The feed-forward block of a layer: down(activation(gate) * up), or down(activation(up)). */
#include "runtime/engine/session_internal.h"

float *rt_block_activate(rt_session *session, const rt_weight *gate_weight, float *gate, float *up,
                         size_t n, size_t n_cols) {
    rt_activation activation = rt_arch_compute_of(session->model->arch)->activation;
    const rt_backend_ops *ops = session->backend->ops;
    bool gated = gate_weight->data != NULL;
    float *x = gated ? gate : up;
    ops->activate(session->backend, activation, x, gated ? up : NULL, n, n_cols);
    return x;
}

/* down(activation(gate(in)) * up(in)) of one set of weights. */
static void feed_forward(rt_session *session, const rt_weight *gate, const rt_weight *up,
                         const rt_weight *down, const float *in, float *out) {
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n;
    rt_session_input(session, in, n, up->n_cols);
    if (gate->data) rt_session_multiply(session, gate, buf->gate);
    rt_session_multiply(session, up, buf->up);
    const float *x = rt_block_activate(session, gate, buf->gate, buf->up, n, up->n_rows);
    rt_session_input(session, x, n, up->n_rows);
    rt_session_multiply(session, down, out);
}

void rt_block_ffn(rt_session *session, uint32_t layer, const float *in) {
    const rt_layer *l = &session->model->layers[layer];
    feed_forward(session, &l->ffn_gate, &l->ffn_up, &l->ffn_down, in, session->buf.out);
}

/* ---- experts ------------------------------------------------------------------------------------
 */

/* Choose experts for every token; the groups have one row for each expert of each token. */
static rt_groups route(rt_session *session, const rt_layer *l, const float *in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n;
    const rt_route_rule rule = {.n_expert = hp->n_expert,
                                .n_used = hp->n_expert_used,
                                .n_group = hp->n_expert_group,
                                .n_group_used = hp->n_expert_group_used,
                                .gating = hp->gating,
                                .bias = l->selection_bias,
                                .norm = hp->norm_experts,
                                .scale = hp->expert_scale};
    rt_session_input(session, in, n, hp->n_embd);
    rt_session_multiply(session, &l->router, buf->router);
    session->backend->ops->route(session->backend, &rule, buf->router, n, buf->experts,
                                 buf->weights);
    rt_groups_sort(buf->experts, n * hp->n_expert_used, hp->n_expert, buf->first, buf->rows);
    return (rt_groups){.n_mats = hp->n_expert,
                       .first = buf->first,
                       .rows = buf->rows,
                       .n_share = hp->n_expert_used};
}

/* Experts that every token passes through; what they make is added. */
static void add_shared(rt_session *session, const rt_layer *l, const float *in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    const float *gates = NULL;
    if (!l->up_shared.data) return;
    feed_forward(session, &l->gate_shared, &l->up_shared, &l->down_shared, in, buf->expert_out);
    if (l->shared_gate.data) {
        rt_session_input(session, in, session->batch.n, hp->n_embd);
        rt_session_multiply(session, &l->shared_gate, buf->shared_gate);
        gates = buf->shared_gate;
    }
    session->backend->ops->add(session->backend, buf->out, buf->expert_out, 1, gates,
                               session->batch.n, hp->n_embd);
}

void rt_block_experts(rt_session *session, uint32_t layer, const float *in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n, n_rows = n * hp->n_expert_used;
    rt_groups groups = route(session, l, in);
    if (l->gate_exps.data)
        rt_session_multiply_experts(session, &l->gate_exps, &groups, buf->expert_gate);
    rt_session_multiply_experts(session, &l->up_exps, &groups, buf->expert_up);
    const float *x = rt_block_activate(session, &l->gate_exps, buf->expert_gate, buf->expert_up,
                                       n_rows, hp->n_ff_expert);
    groups.n_share = 1;
    rt_session_input(session, x, n_rows, hp->n_ff_expert);
    rt_session_multiply_experts(session, &l->down_exps, &groups, buf->expert_out);
    session->backend->ops->combine(session->backend, buf->expert_out, buf->weights,
                                   hp->n_expert_used, n, hp->n_embd, buf->out);
    add_shared(session, l, in);
}
