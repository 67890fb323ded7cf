/* The attention block of a layer: projections, positions, KV cache, attention, output. */
#include "runtime/engine/ops.h"

static rt_attention shape_of(const rt_session *session, uint32_t layer) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    return (rt_attention){
        .n_head = of->n_head,
        .n_head_kv = of->n_head_kv,
        .head_dim_k = of->head_dim_k,
        .head_dim_v = of->head_dim_v,
        .n_window = rt_layers_has(&hp->windowed, layer) ? hp->n_window : 0,
        .chunked = hp->chunked,
        .causal = hp->causal && !session->encodes,
        .scale = hp->score_scale,
        .cap = hp->score_cap,
        .sinks = session->model->layers[layer].sinks,
        .selection = of->selects ? session->layout.selection : RT_NO_OFF,
        .n_choices = hp->index_choices,
        .n_words = session->layout.selection_words,
        .slopes = session->model->slopes,
        .bias = session->model->layers[layer].bias,
        .bias_reach = rt_bias_reach(hp),
    };
}

void rt_block_attend(rt_session *session, uint32_t layer, const rt_kv_layer *kv,
                     const rt_kv_layer *blocks, rt_off q) {
    rt_attention shape = shape_of(session, layer);
    shape.blocks = blocks;
    session->backend->ops->attention(session->backend, &shape, kv, &session->batch, q,
                                     session->layout.heads);
}

static void clamp(rt_session *session, rt_off x, uint32_t n_cols) {
    rt_op_scale_softcap(session, x, 1, 0, session->model->hparams.qkv_clamp, session->batch.n,
                        n_cols);
}

/* Norm of all heads side by side, or of each. */
static void norm_heads(rt_session *session, const rt_norm_weights *norm, rt_off x,
                       uint32_t n_cols) {
    size_t n_parts = norm->n_cols ? n_cols / norm->n_cols : 0;
    rt_op_norm(session, norm, x, session->batch.n * n_parts, x);
}

/* Queries and, where a gate lies behind each head's query, those apart. */
static void project_queries(rt_session *session, uint32_t layer) {
    const rt_weight *weight = &session->model->layers[layer].attn_q;
    const rt_layer_hparams *of = &session->model->hparams.layers[layer];
    const rt_layout *at = &session->layout;
    size_t n_rows = session->batch.n * of->n_head;
    uint32_t dim = of->head_dim_k;
    if (!session->model->hparams.gated_queries) {
        rt_op_multiply(session, weight, at->q);
        return;
    }
    rt_op_multiply(session, weight, at->q_gated);
    rt_op_copy(session, at->q_gated, 2 * (size_t)dim, n_rows, dim, at->q, dim);
    rt_op_copy(session, rt_op_at(at->q_gated, dim), 2 * (size_t)dim, n_rows, dim, at->gates, dim);
}

/* Attention's result times its gates: one of each head, or of each value. Returns where it lies. */
static rt_off gate_heads(rt_session *session, uint32_t layer) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    rt_activation gate = rt_arch_compute_of(session->model->arch)->head_gate;
    size_t n = session->batch.n, n_values = (size_t)of->n_head * of->head_dim_v;
    if (!hp->gated_queries && !hp->gated_heads) return at->heads;
    if (hp->gated_heads && session->model->layers[layer].head_gate.n_rows == of->n_head) {
        ops->activate(session->backend, gate, at->gates, RT_NO_OFF, n, of->n_head);
        ops->scale_rows(session->backend, at->heads, at->gates, n * of->n_head, of->head_dim_v);
        return at->heads;
    }
    ops->activate(session->backend, hp->gated_heads ? gate : RT_ACT_SIGMOID, at->gates, at->heads,
                  n, n_values);
    return at->gates;
}

/* Keys and values that later layers share go with the stream. */
static rt_off keys_at(const rt_session *session, uint32_t layer) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    bool shared = hp->layers[layer].kv_shared;
    return shared ? at->shared_k[rt_layers_has(&hp->windowed, layer)] : at->k;
}

static rt_off values_at(const rt_session *session, uint32_t layer) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    bool shared = hp->layers[layer].kv_shared;
    return shared ? at->shared_v[rt_layers_has(&hp->windowed, layer)] : at->v;
}

static void project(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layer_hparams *of = &session->model->hparams.layers[layer];
    const rt_layout *at = &session->layout;
    uint32_t n_q = of->n_head * of->head_dim_k, n_k = of->n_head_kv * of->head_dim_k;
    uint32_t n_v = of->n_head_kv * of->head_dim_v;
    rt_op_input(session, in, session->batch.n, session->model->hparams.n_embd);
    project_queries(session, layer);
    if (l->head_gate.data) rt_op_multiply(session, &l->head_gate, at->gates);
    clamp(session, at->q, n_q);
    if (of->kv_layer != layer) return;
    rt_off k = keys_at(session, layer), v = values_at(session, layer);
    rt_op_multiply(session, &l->attn_k, k);
    if (l->attn_v.data)
        rt_op_multiply(session, &l->attn_v, v);
    else
        rt_op_copy(session, k, n_k, session->batch.n, n_k, v, n_k);
    clamp(session, k, n_k);
    clamp(session, v, n_v);
    rt_op_scale_softcap(session, v, session->model->hparams.value_scale, 0, 0, session->batch.n,
                        n_v);
    norm_heads(session, &l->v_norm, v, n_v);
}

static void norm_both(rt_session *session, uint32_t layer) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layer_hparams *of = &session->model->hparams.layers[layer];
    norm_heads(session, &l->q_norm, session->layout.q, of->n_head * of->head_dim_k);
    norm_heads(session, &l->k_norm, keys_at(session, layer), of->n_head_kv * of->head_dim_k);
}

void rt_block_attention(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layer_hparams *of = &session->model->hparams.layers[layer];
    const rt_layout *at = &session->layout;
    rt_kv_layer kv = rt_op_kv(session, layer);
    bool rotated_first = rt_arch_compute_of(session->model->arch)->norm_rotated_heads;
    rt_block_index_heads(session, layer, in);
    project(session, layer, in);
    if (!rotated_first) norm_both(session, layer);
    rt_op_rope(session, layer, at->q, of->n_head, of->head_dim_k);
    if (of->kv_layer == layer)
        rt_op_rope(session, layer, keys_at(session, layer), of->n_head_kv, of->head_dim_k);
    if (rotated_first) norm_both(session, layer);
    rt_op_grow_queries(session, layer, at->q, of->n_head * of->head_dim_k);
    if (at->layers[layer].keeps_rows || session->alone)
        session->backend->ops->kv_store(session->backend, &kv, &session->batch,
                                        keys_at(session, layer), values_at(session, layer));
    rt_block_attend(session, layer, &kv, NULL, at->q);
    rt_op_input(session, gate_heads(session, layer), session->batch.n,
                (size_t)of->n_head * of->head_dim_v);
    rt_op_multiply(session, &l->attn_output, at->out);
}

void rt_block_cross(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layer_hparams *of = &session->model->hparams.layers[layer];
    const rt_layout *at = &session->layout;
    rt_kv_layer kv = rt_op_kv(session, layer);
    rt_attention shape = shape_of(session, layer);
    shape.of_source = true;
    shape.causal = false;
    shape.bias = NULL;
    rt_op_input(session, in, session->batch.n, session->model->hparams.n_embd);
    rt_op_multiply(session, &l->cross_q, at->q);
    session->backend->ops->attention(session->backend, &shape, &kv, &session->batch, at->q,
                                     at->heads);
    rt_op_input(session, at->heads, session->batch.n, (size_t)of->n_head * of->head_dim_v);
    rt_op_multiply(session, &l->cross_output, at->out);
}

void rt_block_keep_source(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    rt_kv_layer kv = rt_op_kv(session, layer);
    rt_op_input(session, in, session->batch.n, session->model->hparams.n_embd);
    rt_op_multiply(session, &l->cross_k, at->k);
    rt_op_multiply(session, &l->cross_v, at->v);
    session->backend->ops->kv_store(session->backend, &kv, &session->batch, at->k, at->v);
}
