/* Sparse attention: an indexer scores all keys that a token sees, and attention is paid to the best
 * of them. Layers without an indexer of their own take the choice of the last one before them. */
#include "runtime/engine/ops.h"

#include <math.h>

/* Where the keys of the layer's indexer lie. */
static rt_kv_layer index_rows(const rt_session *session, uint32_t layer) {
    rt_kv_layer kv = rt_op_kv(session, layer);
    kv.k_off = session->layout.layers[layer].index_off;
    kv.n_cols_k = session->model->hparams.index_head_dim;
    kv.n_cols_v = 0;
    kv.n_block = session->model->hparams.index_pool;
    kv.row_bytes_k = kv.row_bytes_v = session->layout.layers[layer].row_bytes_index;
    return kv;
}

static void rotate(rt_session *session, rt_off x, uint32_t n_head) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_arch_compute *compute = rt_arch_compute_of(session->model->arch);
    rt_rope kind = compute->index_rope == RT_ROPE_NONE ? compute->rope : compute->index_rope;
    session->backend->ops->rope(session->backend, kind, session->layout.rope[0], hp->n_rot, x,
                                session->batch.n, n_head, hp->index_head_dim);
}

void rt_index_select(rt_session *session, const rt_kv_layer *kv, rt_off weights) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    uint32_t n_expand = hp->index_pool ? hp->index_pool : 1;
    const rt_indexer indexer = {.n_head = hp->index_n_head,
                                .head_dim = hp->index_head_dim,
                                .n_best = hp->index_top_k / n_expand,
                                .n_block = hp->index_block,
                                .n_expand = n_expand,
                                .n_local = hp->index_local,
                                .n_words = at->selection_words,
                                .scores = at->index_scores,
                                .n_scores = at->n_ctx};
    session->backend->ops->select(session->backend, &indexer, kv, &session->batch, at->index_q,
                                  weights, at->selection);
}

/* Choose for every token of the batch from the queries and keys in the arena. */
static void choose(rt_session *session, uint32_t layer, rt_off weights) {
    const rt_layout *at = &session->layout;
    rt_kv_layer kv = index_rows(session, layer);
    rotate(session, at->index_q, session->model->hparams.index_n_head);
    rotate(session, at->index_k, 1);
    session->backend->ops->kv_store(session->backend, &kv, &session->batch, at->index_k, RT_NO_OFF);
    rt_index_select(session, &kv, weights);
}

/* The same with keys that are pooled, by weights from the layer's input. */
static void choose_pooled(rt_session *session, uint32_t layer, rt_off in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    const rt_compressor *c = &session->model->layers[layer].index_compressor;
    const rt_block_pool pool = {
        .n_block = hp->index_pool, .n_channels = hp->index_head_dim, .ape = c->ape};
    rt_kv_layer kv = index_rows(session, layer);
    rt_state_layer state = rt_op_state(session, layer);
    rt_op_input(session, in, session->batch.n, hp->n_embd);
    rt_op_multiply(session, &c->gate, at->block_scores);
    ops->pool_blocks(session->backend, &pool, &state, &session->batch, at->index_k,
                     at->block_scores, at->block_rows);
    if (session->blocks[0].n)
        ops->kv_store(session->backend, &kv, &session->blocks[0], at->block_rows, RT_NO_OFF);
    rt_index_select(session, &kv, at->index_w);
}

/* Queries from the latent ones; a weight of each head from the layer's input. */
void rt_block_index_latent(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    float scale = 1 / sqrtf((float)hp->index_n_head * (float)hp->index_head_dim);
    if (!hp->layers[layer].indexes) return;
    rt_op_input(session, at->q_low, n, hp->q_lora_rank);
    rt_op_multiply(session, &l->index_q, at->index_q);
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->index_k, at->index_k);
    rt_op_multiply(session, &l->index_w, at->index_w);
    rt_op_scale_softcap(session, at->index_w, scale, 0, 0, n, hp->index_n_head);
    session->backend->ops->norm(session->backend, RT_NORM_LAYER, &l->index_k_norm, 1e-6f,
                                at->index_k, n, hp->index_head_dim, at->index_k);
    if (hp->index_pool)
        choose_pooled(session, layer, in);
    else
        choose(session, layer, at->index_w);
}

/* One query for each KV head, which chooses for itself. */
void rt_block_index_heads(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    if (!hp->layers[layer].indexes) return;
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->index_q, at->index_q);
    rt_op_multiply(session, &l->index_k, at->index_k);
    rt_op_norm(session, &l->index_q_norm, at->index_q, n * hp->index_n_head, at->index_q);
    rt_op_norm(session, &l->index_k_norm, at->index_k, n, at->index_k);
    choose(session, layer, RT_NO_OFF);
}
