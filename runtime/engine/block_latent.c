/* Latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads are products of
 * one latent row per token. In the absorbed form the cache holds that row; a query is taken to the
 * latent space before attention, a head's result back from it afterwards. Files that hold the
 * product as a whole are computed as it says, with keys and values of all heads in the cache. */
#include "runtime/engine/ops.h"

/* Not yet rotated. */
static void project_queries(rt_session *session, const rt_layer *l, rt_off in, rt_off q) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_op_input(session, in, n, hp->n_embd);
    if (hp->q_lora_rank == 0) {
        rt_op_multiply(session, &l->attn_q, q);
        return;
    }
    rt_op_multiply(session, &l->q_a, at->q_low);
    session->backend->ops->norm(session->backend, RT_NORM_RMS, &l->q_a_norm, hp->latent_norm_eps,
                                at->q_low, n, hp->q_lora_rank, at->q_low);
    rt_op_input(session, at->q_low, n, hp->q_lora_rank);
    rt_op_multiply(session, &l->q_b, q);
}

/* Take the queries to the latent space: q = [k_b * plain part, rotated part]. */
static void absorb_queries(rt_session *session, uint32_t layer) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    uint32_t n_head = hp->layers[layer].n_head, head_dim = hp->layers[layer].head_dim_k;
    size_t n_rows = session->batch.n * n_head;
    uint32_t nope = hp->qk_nope_head_dim, width = nope + hp->n_rot;
    rt_op_rope(session, layer, rt_op_at(at->q_heads, nope), n_head, width);
    rt_op_grow_queries(session, layer, at->q_heads, n_head * width);
    rt_op_copy(session, at->q_heads, width, n_rows, nope, at->plain, nope);
    if (hp->n_rot)
        rt_op_copy(session, rt_op_at(at->q_heads, nope), width, n_rows, hp->n_rot,
                   rt_op_at(at->q, hp->kv_lora_rank), head_dim);
    rt_op_input(session, at->plain, n_rows, nope);
    rt_op_multiply_heads(session, &session->model->layers[layer].k_b, at->q, head_dim);
}

/* The latent row of every token, normed, and the part of its key that rotates. */
static void store_latent(rt_session *session, uint32_t layer, const rt_kv_layer *kv, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n;
    uint32_t head_dim = hp->layers[layer].head_dim_k;
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->kv_a, at->k);
    ops->norm(session->backend, RT_NORM_RMS, &l->kv_a_norm, hp->latent_norm_eps, at->k, n, head_dim,
              at->k);
    rt_op_rope(session, layer, rt_op_at(at->k, hp->kv_lora_rank), 1, head_dim);
    ops->kv_store(session->backend, kv, &session->batch, at->k, RT_NO_OFF);
}

/* What each head gives times its gate, if there are gates. */
static void gate_heads(rt_session *session, uint32_t layer, rt_off in) {
    const rt_weight *gate = &session->model->layers[layer].head_gate;
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    uint32_t n_head = hp->layers[layer].n_head;
    size_t n = session->batch.n;
    if (!gate->data) return;
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, gate, at->gates);
    ops->activate(session->backend, rt_arch_compute_of(session->model->arch)->head_gate, at->gates,
                  RT_NO_OFF, n, n_head);
    ops->scale_rows(session->backend, at->plain, at->gates, n * n_head, hp->v_head_dim);
}

void rt_block_latent(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    uint32_t n_head = hp->layers[layer].n_head;
    size_t n = session->batch.n;
    rt_kv_layer kv = rt_op_kv(session, layer);
    store_latent(session, layer, &kv, in);
    project_queries(session, l, in, at->q_heads);
    rt_block_index_latent(session, layer, in);
    absorb_queries(session, layer);
    rt_block_attend(session, layer, &kv, NULL, at->q);
    rt_op_input(session, at->heads, n * n_head, hp->kv_lora_rank);
    rt_op_multiply_heads(session, &l->v_b, at->plain, hp->v_head_dim);
    gate_heads(session, layer, in);
    rt_op_input(session, at->plain, n, (size_t)n_head * hp->v_head_dim);
    rt_op_multiply(session, &l->attn_output, at->out);
}

/* ---- keys and values of every head -------------------------------------------------------------
 */

/* A key is what the latent row makes for its head, then the part that rotates, the same for all. */
static void expand_rows(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n, n_rows = n * of->n_head;
    uint32_t rank = hp->kv_expand_rank, row = rank + hp->n_rot;
    uint32_t nope = hp->qk_nope_head_dim, v_dim = of->head_dim_v;
    rt_op_input(session, in, n, hp->n_embd);
    rt_op_multiply(session, &l->kv_a, at->kv_row);
    rt_op_rope(session, layer, rt_op_at(at->kv_row, rank), 1, row);
    rt_op_copy(session, at->kv_row, row, n, rank, at->kv_low, rank);
    session->backend->ops->norm(session->backend, RT_NORM_RMS, &l->kv_a_norm, hp->latent_norm_eps,
                                at->kv_low, n, rank, at->kv_low);
    rt_op_input(session, at->kv_low, n, rank);
    rt_op_multiply(session, &l->kv_b, at->kv_heads);
    rt_op_copy(session, at->kv_heads, nope + (size_t)v_dim, n_rows, nope, at->k, of->head_dim_k);
    rt_op_copy(session, rt_op_at(at->kv_heads, nope), nope + (size_t)v_dim, n_rows, v_dim, at->v,
               v_dim);
    for (uint32_t head = 0; head < of->n_head; head++)
        rt_op_copy(session, rt_op_at(at->kv_row, rank), row, n, hp->n_rot,
                   rt_op_at(at->k, (uint64_t)head * of->head_dim_k + nope),
                   (size_t)of->n_head * of->head_dim_k);
}

void rt_block_expanded(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    rt_kv_layer kv = rt_op_kv(session, layer);
    expand_rows(session, layer, in);
    session->backend->ops->kv_store(session->backend, &kv, &session->batch, at->k, at->v);
    project_queries(session, l, in, at->q);
    rt_op_rope(session, layer, rt_op_at(at->q, hp->qk_nope_head_dim), of->n_head, of->head_dim_k);
    rt_op_grow_queries(session, layer, at->q, of->n_head * of->head_dim_k);
    rt_block_attend(session, layer, &kv, NULL, at->q);
    rt_op_input(session, at->heads, session->batch.n, (size_t)of->n_head * of->head_dim_v);
    rt_op_multiply(session, &l->attn_output, at->out);
}
