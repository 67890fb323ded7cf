/* The feed-forward block of a layer: down(activation(gate) * up), or down(activation(up)). */
#include "runtime/engine/ops.h"

#include <math.h>

static float softplus(float x) {
    return x > 20 ? x : log1pf(expf(x));
}

/* down(xielu(up(in))), whose numbers the layer has. */
static void feed_xielu(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layer_hparams *of = &session->model->hparams.layers[layer];
    const rt_layout *at = &session->layout;
    const rt_xielu xielu = {softplus(of->xielu_p), of->xielu_beta + softplus(of->xielu_n),
                            of->xielu_beta, of->xielu_eps};
    size_t n = session->batch.n;
    rt_op_input(session, in, n, l->ffn_up.n_cols);
    rt_op_multiply(session, &l->ffn_up, at->up);
    session->backend->ops->xielu(session->backend, &xielu, at->up, n, l->ffn_up.n_rows);
    rt_op_input(session, at->up, n, l->ffn_up.n_rows);
    rt_op_multiply(session, &l->ffn_down, at->out);
}

/* down(activation(gate(in)) * up(in)) of one set of weights. */
static void feed_forward(rt_session *session, const rt_weight *gate, const rt_weight *up,
                         const rt_weight *down, const rt_layer_hparams *of, rt_off in, rt_off out) {
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_op_input(session, in, n, up->n_cols);
    if (gate->data) rt_op_multiply(session, gate, at->gate);
    rt_op_multiply(session, up, at->up);
    if (gate->data && of->sparsity > -INFINITY)
        session->backend->ops->cut_rows(session->backend, at->gate, of->sparsity, n, up->n_rows);
    rt_off x = rt_op_activate(session, gate, at->gate, at->up, of->clamp_dense, n, up->n_rows);
    rt_op_input(session, x, n, up->n_rows);
    rt_op_multiply(session, down, out);
}

void rt_block_ffn(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    if (rt_arch_compute_of(session->model->arch)->activation == RT_ACT_XIELU) {
        feed_xielu(session, layer, in);
        return;
    }
    feed_forward(session, &l->ffn_gate, &l->ffn_up, &l->ffn_down,
                 &session->model->hparams.layers[layer], in, session->layout.out);
}

/* ---- experts -----------------------------------------------------------------------------------
 */

/* The experts of the batch's tokens, which the file has for every id. */
static void write_experts(rt_session *session, const rt_layer *l) {
    uint32_t n_used = session->model->hparams.n_expert_used;
    rt_backend *backend = session->backend;
    for (size_t i = 0; i < session->batch.n; i++)
        backend->ops->write(backend, l->token_experts + (size_t)session->ids[i] * n_used,
                            n_used * sizeof *l->token_experts,
                            session->layout.experts + i * n_used * sizeof(uint32_t));
}

/* Choose experts for every token; the grouping has one row for each expert of each token. */
static rt_grouping route(rt_session *session, const rt_layer *l, rt_off in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n;
    const rt_route_rule rule = {.n_expert = hp->n_expert,
                                .n_used = hp->n_expert_used,
                                .n_group = hp->n_expert_group,
                                .n_group_used = hp->n_expert_group_used,
                                .gating = hp->gating,
                                .chosen = l->token_experts != NULL,
                                .bias = l->selection_bias,
                                .scales = l->expert_scales,
                                .norm = hp->norm_experts,
                                .scale = hp->expert_scale};
    const rt_grouping grouping = {hp->n_expert, at->first, at->rows, hp->n_expert_used};
    if (l->router_norm.n_cols) in = rt_op_norm(session, &l->router_norm, at->x, n, at->expert_out);
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->router, at->router);
    if (l->router_norm.n_cols)
        rt_op_scale_softcap(session, at->router, 1 / sqrtf((float)hp->n_embd), 0, 0, n,
                            hp->n_expert);
    rt_op_scale_softcap(session, at->router, 1, hp->router_cap, 0, n, hp->n_expert);
    if (rule.chosen) write_experts(session, l);
    ops->route(session->backend, &rule, at->router, n, at->experts, at->weights);
    ops->group(session->backend, at->experts, n * hp->n_expert_used, &grouping);
    return grouping;
}

/* Experts that every token passes through; what they make is added. */
static void add_shared(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    rt_off gates = RT_NO_OFF;
    if (!l->up_shared.data) return;
    feed_forward(session, &l->gate_shared, &l->up_shared, &l->down_shared, &hp->layers[layer], in,
                 at->expert_out);
    if (l->shared_gate.data) {
        rt_op_input(session, in, session->batch.n, hp->n_embd);
        rt_op_multiply(session, &l->shared_gate, at->shared_gate);
        gates = at->shared_gate;
    }
    session->backend->ops->add(session->backend, at->out, at->expert_out, 1, gates,
                               session->batch.n, hp->n_embd);
    if (rt_arch_compute_of(session->model->arch)->average_shared)
        rt_op_scale_softcap(session, at->out, 0.5f, 0, 0, session->batch.n, hp->n_embd);
}

/* What experts read is projected to their width, what they make comes back from there. */
static void enter_latent(rt_session *session, const rt_layer *l) {
    if (!l->latent_down.data) return;
    rt_op_multiply(session, &l->latent_down, session->layout.latent);
    rt_op_input(session, session->layout.latent, session->batch.n,
                session->model->hparams.n_expert_in);
}

static void leave_latent(rt_session *session, const rt_layer *l) {
    if (!l->latent_up.data) return;
    rt_op_input(session, session->layout.latent, session->batch.n,
                session->model->hparams.n_expert_in);
    rt_op_multiply(session, &l->latent_up, session->layout.out);
}

/* What an expert reads is multiplied with its weight, and so are these products of it. What it
 * makes then counts once. */
static void weigh_inputs(rt_session *session, const rt_layer *l, size_t n_rows) {
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n_cols = session->model->hparams.n_ff_expert;
    if (l->gate_exps.data)
        ops->scale_rows(session->backend, at->expert_gate, at->weights, n_rows, n_cols);
    ops->scale_rows(session->backend, at->expert_up, at->weights, n_rows, n_cols);
    ops->clamp(session->backend, at->weights, 1, 1, n_rows, 1);
}

void rt_block_experts(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n, n_rows = n * hp->n_expert_used;
    rt_grouping grouping = route(session, l, in);
    if (l->router_norm.n_cols) rt_op_input(session, in, n, hp->n_embd);
    enter_latent(session, l);
    if (l->gate_exps.data)
        rt_op_multiply_experts(session, &l->gate_exps, &grouping, at->expert_gate);
    rt_op_multiply_experts(session, &l->up_exps, &grouping, at->expert_up);
    if (rt_arch_compute_of(session->model->arch)->weight_expert_inputs)
        weigh_inputs(session, l, n_rows);
    rt_off x = rt_op_activate(session, &l->gate_exps, at->expert_gate, at->expert_up,
                              hp->layers[layer].clamp_experts, n_rows, hp->n_ff_expert);
    grouping.n_share = 1;
    rt_op_input(session, x, n_rows, hp->n_ff_expert);
    rt_op_multiply_experts(session, &l->down_exps, &grouping, at->expert_out);
    session->backend->ops->combine(session->backend, at->expert_out, at->weights, hp->n_expert_used,
                                   n, hp->n_expert_in, l->latent_up.data ? at->latent : at->out);
    leave_latent(session, l);
    add_shared(session, layer, in);
}
