/* Operations as the blocks of a layer ask for them: on the session's current backend, for the rows
 * of its batch, with its hook. */
#ifndef RUNTIME_ENGINE_OPS_H
#define RUNTIME_ENGINE_OPS_H

#include "runtime/engine/session_internal.h"

/* Offset of element i behind x. */
static inline rt_off rt_op_at(rt_off x, uint64_t i) {
    return x + i * sizeof(float);
}

/* Set the n rows that the next products multiply. */
void rt_op_input(rt_session *session, rt_off x, size_t n, size_t n_cols);
/* Let the hook see a product of the input, which then is carried out in slices. */
void rt_op_show(rt_session *session, const rt_weight *weight);
/* Multiply, with what adapters add; the hook is called first. */
void rt_op_multiply(rt_session *session, const rt_weight *weight, rt_off out);
/* Add to n rows of products what the weight's adapters make of its input. Changes the input of
 * later products.
 *   room  [n][n_rows of the weight] */
void rt_op_adapt(rt_session *session, const rt_weight *weight, rt_off in, size_t n, rt_off out,
                 rt_off room);
/* Rows of a table, with what adapters add.
 *   ids  [n] in host memory */
void rt_op_embed(rt_session *session, const rt_weight *table, const int32_t *ids, size_t n,
                 rt_off out);
void rt_op_multiply_experts(rt_session *session, const rt_weight *weight,
                            const rt_grouping *grouping, rt_off out);
void rt_op_multiply_heads(rt_session *session, const rt_weight *weight, rt_off out, size_t stride);

/* The model's kind of norm on n rows; x itself where there is no such norm. */
rt_off rt_op_norm(rt_session *session, const rt_norm_weights *norm, rt_off x, size_t n, rt_off out);
/* Rotate heads at x, head_dim apart, as the layer does. */
void rt_op_rope(rt_session *session, uint32_t layer, rt_off x, uint32_t n_head, uint32_t head_dim);
/* Queries x [batch.n, n_cols] by what the model multiplies them with at their positions. */
void rt_op_grow_queries(rt_session *session, uint32_t layer, rt_off x, uint32_t n_cols);
void rt_op_scale_softcap(rt_session *session, rt_off x, float factor, float cap, float limit,
                         size_t n, size_t n_cols);
/* activation(gate) * up of n rows, both limited if `limit` is not 0. Returns where the result lies:
 * in gate, or in up where the weights have no gate. */
rt_off rt_op_activate(rt_session *session, const rt_weight *gate_weight, rt_off gate, rt_off up,
                      float limit, size_t n, size_t n_cols);
/* Columns of every row of the batch. */
void rt_op_copy(rt_session *session, rt_off x, size_t x_stride, size_t n, size_t n_cols, rt_off out,
                size_t out_stride);

/* The layer's part of the cache. */
rt_kv_layer rt_op_kv(const rt_session *session, uint32_t layer);
rt_state_layer rt_op_state(const rt_session *session, uint32_t layer);

#endif
