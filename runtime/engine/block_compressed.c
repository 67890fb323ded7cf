/* Attention of DeepSeek V4: to the tokens of a window, and to blocks of tokens before it, of which
 * each has become one key; where blocks are small, an indexer chooses among them. A key is its own
 * value, and all heads share it. As values were rotated with their keys, results are rotated back.
 * Projections of the result are of low rank, apart for each group of heads. */
#include "runtime/engine/ops.h"

#include <math.h>

/* Rotate the last dimensions of rows. */
static void rotate(rt_session *session, rt_off table, rt_off x, size_t n, uint32_t n_head,
                   uint32_t head_dim) {
    uint32_t n_rot = session->model->hparams.n_rot;
    session->backend->ops->rope(session->backend, rt_arch_compute_of(session->model->arch)->rope,
                                table, n_rot, rt_op_at(x, head_dim - n_rot), n, n_head, head_dim);
}

static void norm(rt_session *session, const rt_norm_weights *weights, rt_off x, size_t n) {
    session->backend->ops->norm(session->backend, RT_NORM_RMS, weights,
                                session->model->hparams.norm_eps, x, n, weights->n_cols, x);
}

/* Which of the sizes of blocks a layer has. */
static uint32_t size_of(const rt_hparams *hp, uint32_t layer) {
    uint32_t i = 0;
    while (hp->n_compress[i] != hp->layers[layer].n_compress) i++;
    return i;
}

/* Rows of blocks of the layer's cache: their keys, or an indexer's. */
static rt_kv_layer block_rows(const rt_session *session, uint32_t layer, uint64_t off,
                              uint64_t row_bytes, uint32_t n_cols) {
    const rt_layout *at = &session->layout;
    uint32_t place = at->layers[layer].place;
    const rt_pool_layout *pool = &at->pools[RT_KV_FULL];
    return (rt_kv_layer){.kv_class = RT_KV_FULL,
                         .off = pool->off[place],
                         .page_bytes = pool->page_bytes[place],
                         .k_off = off,
                         .v_off = off,
                         .type = session->opts.kv_type,
                         .n_cols_k = n_cols,
                         .row_bytes_k = row_bytes,
                         .row_bytes_v = row_bytes,
                         .n_block = session->model->hparams.layers[layer].n_compress};
}

/* Keys of the blocks that end in the batch, from the layer's input to the cache. */
static void compress(rt_session *session, uint32_t layer, const rt_compressor *c,
                     uint64_t state_off, rt_off in, const rt_kv_layer *rows) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    uint32_t size = size_of(hp, layer);
    const rt_batch *blocks = &session->blocks[size];
    const rt_block_pool pool = {.n_block = rows->n_block,
                                .n_channels = rows->n_cols_k,
                                .overlaps = hp->layers[layer].overlaps,
                                .ape = c->ape};
    rt_state_layer state = rt_op_state(session, layer);
    state.off += state_off;
    rt_op_input(session, in, session->batch.n, hp->n_embd);
    rt_op_multiply(session, &c->kv, at->block_values);
    rt_op_multiply(session, &c->gate, at->block_scores);
    ops->pool_blocks(session->backend, &pool, &state, &session->batch, at->block_values,
                     at->block_scores, at->block_rows);
    if (blocks->n == 0) return;
    norm(session, &c->norm, at->block_rows, blocks->n);
    rotate(session, at->rope_blocks[size], at->block_rows, blocks->n, 1, rows->n_cols_k);
    ops->kv_store(session->backend, rows, blocks, at->block_rows, RT_NO_OFF);
}

/* The blocks that count, by queries from the latent ones and a weight of each head. */
static void choose(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    rt_kv_layer rows = block_rows(session, layer, at->layers[layer].index_off,
                                  at->layers[layer].row_bytes_index, hp->index_head_dim);
    size_t n = session->batch.n;
    float scale = 1 / sqrtf((float)hp->index_n_head * (float)hp->index_head_dim);
    if (!of->indexes) return;
    compress(session, layer, &l->index_compressor, rt_compressor_bytes(of, of->head_dim_k), in,
             &rows);
    rt_op_input(session, at->q_low, n, hp->q_lora_rank);
    rt_op_multiply(session, &l->index_q, at->index_q);
    rotate(session, at->rope[0], at->index_q, n, hp->index_n_head, hp->index_head_dim);
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->index_w, at->index_w);
    rt_op_scale_softcap(session, at->index_w, scale, 0, 0, n, hp->index_n_head);
    rt_index_select(session, &rows, at->index_w);
}

static void project(rt_session *session, uint32_t layer, rt_off in, const rt_kv_layer *kv) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    rt_off table = at->rope[rt_layer_turns_windowed(hp, layer)];
    size_t n = session->batch.n;
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->attn_kv, at->k);
    rt_op_multiply(session, &l->q_a, at->q_low);
    norm(session, &l->kv_a_norm, at->k, n);
    norm(session, &l->q_a_norm, at->q_low, n);
    rotate(session, table, at->k, n, 1, of->head_dim_k);
    session->backend->ops->kv_store(session->backend, kv, &session->batch, at->k, RT_NO_OFF);
    rt_op_input(session, at->q_low, n, hp->q_lora_rank);
    rt_op_multiply(session, &l->q_b, at->q);
    norm(session, &l->q_plain_norm, at->q, n * of->n_head);
    rotate(session, table, at->q, n, of->n_head, of->head_dim_k);
}

void rt_block_compressed(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    rt_kv_layer kv = rt_op_kv(session, layer);
    rt_kv_layer blocks = block_rows(session, layer, at->layers[layer].block_off,
                                    at->layers[layer].row_bytes_block, of->head_dim_k);
    size_t n = session->batch.n, n_low = (size_t)hp->n_out_group * hp->out_group_rank;
    project(session, layer, in, &kv);
    choose(session, layer, in);
    if (of->n_compress) compress(session, layer, &l->compressor, 0, in, &blocks);
    rt_block_attend(session, layer, &kv, of->n_compress ? &blocks : NULL, at->q);
    rotate(session, at->rope_back[rt_layer_turns_windowed(hp, layer)], at->heads, n, of->n_head,
           of->head_dim_v);
    rt_op_input(session, at->heads, n * hp->n_out_group, l->output_a.n_cols);
    rt_op_multiply_heads(session, &l->output_a, at->out_low, hp->out_group_rank);
    rt_op_input(session, at->out_low, n, n_low);
    rt_op_multiply(session, &l->output_b, at->out);
}
