/* Latent attention (DeepSeek-V2, arXiv 2405.04434) in its absorbed form: keys and values of all
 * heads are products of one latent row per token, which is what the cache holds. A query is taken
 * to the latent space before attention, a head's result back from it behind. */
#include "runtime/engine/session_internal.h"

/* Every matrix of a stack of heads once per token: row t * n_head + h belongs to head h. */
static rt_groups group_heads(rt_session *session) {
    uint32_t n_head = session->model->hparams.n_head, n = (uint32_t)session->batch.n;
    uint32_t *first = session->buf.head_first, *rows = first + n_head + 1;
    for (uint32_t h = 0; h < n_head; h++) {
        first[h] = h * n;
        for (uint32_t t = 0; t < n; t++) rows[h * n + t] = t * n_head + h;
    }
    first[n_head] = n_head * n;
    return (rt_groups){.n_mats = n_head, .first = first, .rows = rows, .n_share = 1};
}

/* Into buf.q_heads, not yet turned. */
static void project_queries(rt_session *session, const rt_layer *l, const float *in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n;
    rt_session_input(session, in, n, hp->n_embd);
    if (hp->q_lora_rank == 0) {
        rt_session_multiply(session, &l->attn_q, buf->q_heads);
        return;
    }
    rt_session_multiply(session, &l->q_a, buf->q_low);
    rt_session_norm(session, &l->q_a_norm, buf->q_low, n, buf->q_low);
    rt_session_input(session, buf->q_low, n, hp->q_lora_rank);
    rt_session_multiply(session, &l->q_b, buf->q_heads);
}

/* Take the queries to the latent space: q = [k_b * plain part, turned part]. */
static void absorb_queries(rt_session *session, uint32_t layer, const rt_groups *groups) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n_rows = session->batch.n * hp->n_head;
    uint32_t width = hp->qk_nope_head_dim + hp->n_rot;
    rt_session_turn(session, layer, buf->q_heads + hp->qk_nope_head_dim, hp->n_head, width);
    ops->copy(session->backend, buf->q_heads, width, n_rows, hp->qk_nope_head_dim, buf->plain,
              hp->qk_nope_head_dim);
    ops->copy(session->backend, buf->q_heads + hp->qk_nope_head_dim, width, n_rows, hp->n_rot,
              buf->q + hp->kv_lora_rank, hp->head_dim_k);
    rt_session_input(session, buf->plain, n_rows, hp->qk_nope_head_dim);
    rt_session_multiply_heads(session, &session->model->layers[layer].k_b, groups, buf->q,
                              hp->head_dim_k);
}

/* The latent row of every token, normed, and the part of its key that turns. */
static gguf_code store_latent(rt_session *session, uint32_t layer, const rt_kv_layer *kv,
                              const float *in, gguf_error *err) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n;
    rt_session_input(session, in, n, hp->n_embd);
    rt_session_multiply(session, &l->kv_a, buf->k);
    ops->norm(session->backend, RT_NORM_RMS, &l->kv_a_norm, hp->norm_eps, buf->k, n, hp->head_dim_k,
              buf->k);
    rt_session_turn(session, layer, buf->k + hp->kv_lora_rank, 1, hp->head_dim_k);
    return ops->kv_store(session->backend, kv, &session->batch, buf->k, NULL, err);
}

gguf_code rt_block_latent(rt_session *session, uint32_t layer, const float *in, gguf_error *err) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n;
    rt_kv_layer kv = rt_session_kv(session, layer);
    gguf_code code = store_latent(session, layer, &kv, in, err);
    if (code) return code;
    rt_groups groups = group_heads(session);
    project_queries(session, l, in);
    absorb_queries(session, layer, &groups);
    rt_session_attend(session, layer, &kv, buf->q);
    rt_session_input(session, buf->heads, n * hp->n_head, hp->kv_lora_rank);
    rt_session_multiply_heads(session, &l->v_b, &groups, buf->plain, hp->v_head_dim);
    rt_session_input(session, buf->plain, n, (size_t)hp->n_head * hp->v_head_dim);
    rt_session_multiply(session, &l->attn_output, buf->out);
    return GGUF_OK;
}
