/* Operations on the session's current backend. */
#include "runtime/engine/ops.h"

#include <math.h>

/* ---- what hooks see ---------------------------------------------------------------------------
 */

/* The input of the product, read once for all products that share it. */
static const float *input_rows(rt_session *session) {
    if (!session->hook_input)
        session->hook_input = session->backend->ops->look(
            session->backend, session->input,
            session->n_inputs * session->n_input_cols * sizeof(float), session->hook_rows);
    return session->hook_input;
}

static bool is_hooked(const rt_session *session, const rt_weight *weight) {
    return session->hook && weight->name.len;
}

void rt_op_show(rt_session *session, const rt_weight *weight) {
    if (!is_hooked(session, weight)) return;
    const rt_product product = {.weight = weight->name,
                                .rows = input_rows(session),
                                .n_rows = session->n_inputs,
                                .n_cols = weight->n_cols};
    session->hook(session->hook_ctx, &product);
}

static void call_heads_hook(rt_session *session, const rt_weight *weight) {
    if (!is_hooked(session, weight)) return;
    const rt_product product = {.weight = weight->name,
                                .rows = input_rows(session),
                                .n_rows = session->n_inputs / weight->n_mats,
                                .n_cols = (size_t)weight->n_cols * weight->n_mats,
                                .n_heads = weight->n_mats};
    session->hook(session->hook_ctx, &product);
}

static void call_experts_hook(rt_session *session, const rt_weight *weight,
                              const rt_grouping *grouping) {
    rt_backend *backend = session->backend;
    if (!is_hooked(session, weight)) return;
    uint32_t n_mats = grouping->n_mats, *room = session->hook_groups;
    backend->ops->read(backend, grouping->first, (n_mats + UINT64_C(1)) * sizeof *room, room);
    backend->ops->read(backend, grouping->rows, (uint64_t)room[n_mats] * sizeof *room,
                       room + n_mats + 1);
    const rt_product product = {.weight = weight->name,
                                .rows = input_rows(session),
                                .n_rows = session->n_inputs,
                                .n_cols = weight->n_cols,
                                .n_experts = n_mats,
                                .first = room,
                                .routed = room + n_mats + 1,
                                .n_share = grouping->n_share};
    session->hook(session->hook_ctx, &product);
}

/* ---- products ---------------------------------------------------------------------------------
 */

void rt_op_input(rt_session *session, rt_off x, size_t n, size_t n_cols) {
    session->input = x;
    session->n_inputs = n;
    session->n_input_cols = n_cols;
    session->hook_input = NULL;
    session->backend->ops->set_input(session->backend, x, n, n_cols);
}

void rt_op_adapt(rt_session *session, const rt_weight *weight, rt_off in, size_t n, rt_off out,
                 rt_off room) {
    rt_backend *backend = session->backend;
    for (const rt_lora *lora = weight->lora; lora; lora = lora->next) {
        backend->ops->set_input(backend, in, n, lora->a.n_cols);
        backend->ops->matmul(backend, &lora->a, session->layout.lora_low);
        backend->ops->set_input(backend, session->layout.lora_low, n, lora->b.n_cols);
        backend->ops->matmul(backend, &lora->b, room);
        backend->ops->add(backend, out, room, lora->scale, RT_NO_OFF, n, lora->b.n_rows);
    }
}

void rt_op_multiply(rt_session *session, const rt_weight *weight, rt_off out) {
    rt_backend *backend = session->backend;
    rt_op_show(session, weight);
    backend->ops->matmul(backend, weight, out);
    if (!weight->lora) return;
    rt_op_adapt(session, weight, session->input, session->n_inputs, out, session->layout.lora_rows);
    backend->ops->set_input(backend, session->input, session->n_inputs, session->n_input_cols);
}

void rt_op_embed(rt_session *session, const rt_weight *table, const int32_t *ids, size_t n,
                 rt_off out) {
    rt_backend *backend = session->backend;
    const rt_layout *at = &session->layout;
    backend->ops->embed(backend, table, ids, n, out);
    for (const rt_lora *lora = table->lora; lora; lora = lora->next) {
        backend->ops->embed(backend, &lora->a, ids, n, at->lora_low);
        backend->ops->set_input(backend, at->lora_low, n, lora->b.n_cols);
        backend->ops->matmul(backend, &lora->b, at->lora_rows);
        backend->ops->add(backend, out, at->lora_rows, lora->scale, RT_NO_OFF, n, lora->b.n_rows);
    }
}

void rt_op_multiply_experts(rt_session *session, const rt_weight *weight,
                            const rt_grouping *grouping, rt_off out) {
    call_experts_hook(session, weight, grouping);
    session->backend->ops->matmul_groups(session->backend, weight, grouping, out);
}

void rt_op_multiply_heads(rt_session *session, const rt_weight *weight, rt_off out, size_t stride) {
    if (weight->whole)
        rt_op_show(session, weight);
    else
        call_heads_hook(session, weight);
    session->backend->ops->matmul_heads(session->backend, weight, out, stride);
}

/* ---- rows -------------------------------------------------------------------------------------
 */

rt_off rt_op_norm(rt_session *session, const rt_norm_weights *norm, rt_off x, size_t n,
                  rt_off out) {
    rt_norm kind = rt_arch_compute_of(session->model->arch)->norm;
    if (norm->n_cols == 0) return x;
    session->backend->ops->norm(session->backend, kind, norm, session->model->hparams.norm_eps, x,
                                n, norm->n_cols, out);
    return out;
}

void rt_op_rope(rt_session *session, uint32_t layer, rt_off x, uint32_t n_head, uint32_t head_dim) {
    const rt_hparams *hp = &session->model->hparams;
    rt_rope kind = rt_arch_compute_of(session->model->arch)->rope;
    bool windowed = rt_layer_turns_windowed(hp, layer);
    if (!rt_layers_has(&hp->rotated, layer)) return;
    session->backend->ops->rope(session->backend, kind, session->layout.rope[windowed],
                                windowed ? hp->n_rot_window : hp->n_rot, x, session->batch.n,
                                n_head, head_dim);
}

void rt_op_scale_softcap(rt_session *session, rt_off x, float factor, float cap, float limit,
                         size_t n, size_t n_cols) {
    if (factor != 1 || cap != 0 || limit != 0)
        session->backend->ops->scale_softcap(session->backend, x, factor, cap, limit, n, n_cols);
}

/* A query's factor is the same for query_period positions. */
static void grow_tile(rt_session *session, const rt_tile *tile, rt_off x, uint32_t n_cols) {
    const rt_hparams *hp = &session->model->hparams;
    for (uint32_t t = 0, n; t < tile->n; t += n) {
        uint32_t pos = tile->pos + t + hp->query_offset, steps = pos / hp->query_period;
        n = hp->query_period - pos % hp->query_period;
        if (n > tile->n - t) n = tile->n - t;
        float factor = 1 + hp->query_growth * logf(1 + (float)steps);
        rt_op_scale_softcap(session, rt_op_at(x, (uint64_t)(tile->row + t) * n_cols), factor, 0, 0,
                            n, n_cols);
    }
}

void rt_op_grow_queries(rt_session *session, uint32_t layer, rt_off x, uint32_t n_cols) {
    const rt_hparams *hp = &session->model->hparams;
    if (hp->query_growth == 0 || (hp->grow_unrotated && rt_layers_has(&hp->rotated, layer))) return;
    for (size_t i = 0; i < session->batch.n_tiles; i++)
        grow_tile(session, &session->batch.tiles[i], x, n_cols);
}

/* The gate has an upper limit, before its activation or after it. Returns the activation that is
 * still to be made. */
static rt_activation limit_gate(rt_session *session, rt_off gate, rt_off up, float limit, size_t n,
                                size_t n_cols) {
    const rt_arch_compute *compute = rt_arch_compute_of(session->model->arch);
    const rt_backend_ops *ops = session->backend->ops;
    ops->clamp(session->backend, up, -limit, limit, n, n_cols);
    if (!compute->clamps_before)
        ops->activate(session->backend, compute->activation, gate, RT_NO_OFF, n, n_cols);
    ops->clamp(session->backend, gate, -INFINITY, limit, n, n_cols);
    return compute->clamps_before ? compute->activation : RT_ACT_IDENTITY;
}

rt_off rt_op_activate(rt_session *session, const rt_weight *gate_weight, rt_off gate, rt_off up,
                      float limit, size_t n, size_t n_cols) {
    rt_activation activation = rt_arch_compute_of(session->model->arch)->activation;
    rt_activation ungated = rt_arch_compute_of(session->model->arch)->ungated_activation;
    bool gated = gate_weight->data != NULL;
    rt_off x = gated ? gate : up;
    if (!gated && ungated != RT_ACT_IDENTITY) activation = ungated;
    if (gated && limit != 0) activation = limit_gate(session, gate, up, limit, n, n_cols);
    session->backend->ops->activate(session->backend, activation, x, gated ? up : RT_NO_OFF, n,
                                    n_cols);
    return x;
}

void rt_op_copy(rt_session *session, rt_off x, size_t x_stride, size_t n, size_t n_cols, rt_off out,
                size_t out_stride) {
    session->backend->ops->copy(session->backend, x, x_stride, n, n_cols, out, out_stride);
}

/* ---- the cache --------------------------------------------------------------------------------
 */

rt_kv_layer rt_op_kv(const rt_session *session, uint32_t layer) {
    const rt_layout *l = &session->layout;
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_layout *at = &l->layers[layer];
    const rt_layer_hparams *of = &hp->layers[layer];
    rt_kv_class kv_class = rt_layers_has(&hp->windowed, layer) ? RT_KV_WINDOW : RT_KV_FULL;
    bool own_v = at->row_bytes_v != 0;
    return (rt_kv_layer){
        .kv_class = kv_class,
        .off = l->pools[kv_class].off[at->place],
        .page_bytes = l->pools[kv_class].page_bytes[at->place],
        .k_off = at->k_off,
        .v_off = at->v_off,
        .type = session->opts.kv_type,
        .n_cols_k = of->n_head_kv * of->head_dim_k,
        .n_cols_v = own_v ? of->n_head_kv * of->head_dim_v : 0,
        .row_bytes_k = at->row_bytes_k,
        .row_bytes_v = own_v ? at->row_bytes_v : at->row_bytes_k,
    };
}

rt_state_layer rt_op_state(const rt_session *session, uint32_t layer) {
    const rt_layout *l = &session->layout;
    const rt_layer_layout *at = &l->layers[layer];
    return (rt_state_layer){.off = l->slots.off[at->place] + at->state_off,
                            .slot_bytes = l->slots.slot_bytes[at->place]};
}
