/* The forward pass: what is computed, in which order. How is the backend's business. */
#include "runtime/rope.h"
#include "runtime/session_internal.h"
#include "runtime/weights_check.h"

#include <string.h>

/* ---- products -----------------------------------------------------------------------------------
 */

void rt_session_input(rt_session *session, const float *x, size_t n, size_t n_cols) {
    session->input = x;
    session->n_inputs = n;
    session->backend->ops->set_input(session->backend, x, n, n_cols);
}

static void call_hook(const rt_session *session, const rt_product *product) {
    if (session->hook && product->weight.len) session->hook(session->hook_ctx, product);
}

void rt_session_multiply(rt_session *session, const rt_weight *weight, float *out) {
    const rt_product product = {.weight = weight->name,
                                .rows = session->input,
                                .n_rows = session->n_inputs,
                                .n_cols = weight->n_cols};
    call_hook(session, &product);
    session->backend->ops->matmul(session->backend, weight, out);
}

void rt_session_multiply_experts(rt_session *session, const rt_weight *weight,
                                 const rt_groups *groups, float *out) {
    const rt_product product = {.weight = weight->name,
                                .rows = session->input,
                                .n_rows = session->n_inputs,
                                .n_cols = weight->n_cols,
                                .n_experts = weight->n_mats,
                                .first = groups->first,
                                .routed = groups->rows,
                                .n_share = groups->n_share};
    call_hook(session, &product);
    session->backend->ops->matmul_groups(session->backend, weight, groups, out, weight->n_rows);
}

void rt_session_multiply_heads(rt_session *session, const rt_weight *weight,
                               const rt_groups *groups, float *out, size_t stride) {
    const rt_product product = {.weight = weight->name,
                                .rows = session->input,
                                .n_rows = session->n_inputs / weight->n_mats,
                                .n_cols = (size_t)weight->n_cols * weight->n_mats,
                                .n_heads = weight->n_mats};
    call_hook(session, &product);
    session->backend->ops->matmul_groups(session->backend, weight, groups, out, stride);
}

/* ---- layers -------------------------------------------------------------------------------------
 */

const float *rt_session_norm(rt_session *session, const rt_scale *scale, const float *x, size_t n,
                             float *out) {
    rt_norm kind = rt_arch_compute_of(session->model->arch)->norm;
    if (scale->n_cols == 0) return x;
    session->backend->ops->norm(session->backend, kind, scale, session->model->hparams.norm_eps, x,
                                n, scale->n_cols, out);
    return out;
}

/* Add what a block made to the stream, with the norms around that. */
static void join(rt_session *session, const rt_scale *before, const rt_scale *after) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n;
    rt_session_norm(session, before, buf->out, n, buf->out);
    session->backend->ops->add(session->backend, buf->x, buf->out, hp->residual_scale, NULL, n,
                               hp->n_embd);
    rt_session_norm(session, after, buf->x, n, buf->x);
}

static gguf_code forward_layer(rt_session *session, uint32_t layer, gguf_error *err) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_buffers *buf = &session->buf;
    size_t n = session->batch.n;
    const float *in = rt_session_norm(session, &l->attn_norm, buf->x, n, buf->h);
    gguf_code code = hp->n_latent ? rt_block_latent(session, layer, in, err)
                                  : rt_block_attention(session, layer, in, err);
    if (code) return code;
    /* In parallel, the second block reads what the first one read, or its own norm of that. */
    if (hp->parallel && l->ffn_norm.n_cols)
        in = rt_session_norm(session, &l->ffn_norm, buf->x, n, buf->h);
    join(session, &l->attn_post_norm, &l->attn_output_norm);
    if (!hp->parallel) in = rt_session_norm(session, &l->ffn_norm, buf->x, n, buf->h);
    if (l->router.data)
        rt_block_experts(session, layer, in);
    else
        rt_block_ffn(session, layer, in);
    join(session, &l->ffn_post_norm, &l->layer_output_norm);
    return GGUF_OK;
}

/* ---- input --------------------------------------------------------------------------------------
 */

static void add_table(rt_session *session, const rt_weight *table) {
    const rt_buffers *buf = &session->buf;
    const rt_backend_ops *ops = session->backend->ops;
    ops->embed(session->backend, table, buf->ids, session->batch.n, buf->out);
    ops->add(session->backend, buf->x, buf->out, 1, NULL, session->batch.n, table->n_cols);
}

/* Learned positions, and the first of the token types. */
static void add_positions(rt_session *session) {
    const rt_model *model = session->model;
    const rt_batch *batch = &session->batch;
    int32_t *ids = session->buf.ids;
    if (model->position_embd.data) {
        for (size_t c = 0; c < batch->n_chunks; c++)
            for (uint32_t t = 0; t < batch->chunks[c].n; t++)
                ids[batch->chunks[c].row + t] = (int32_t)(batch->chunks[c].pos + t);
        add_table(session, &model->position_embd);
    }
    if (model->token_types.data) {
        memset(ids, 0, batch->n * sizeof *ids);
        add_table(session, &model->token_types);
    }
}

static void forward_input(rt_session *session) {
    const rt_model *model = session->model;
    const rt_buffers *buf = &session->buf;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n;
    ops->embed(session->backend, &model->token_embd, buf->ids, n, buf->x);
    if (model->hparams.embedding_scale != 1)
        ops->shape(session->backend, buf->x, model->hparams.embedding_scale, 0, 0, n,
                   model->hparams.n_embd);
    add_positions(session);
    rt_session_norm(session, &model->token_embd_norm, buf->x, n, buf->x);
}

/* ---- positions ----------------------------------------------------------------------------------
 */

static void fill_tables(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_turn turns[2] = {rt_rope_usual(session->model, session->layout.n_ctx), RT_TURN_WINDOW};
    for (int kind = 0; kind < (hp->n_window ? 2 : 1) && hp->n_rot; kind++)
        for (size_t c = 0; c < session->batch.n_chunks; c++) {
            const rt_chunk *chunk = &session->batch.chunks[c];
            rt_rope_table(session->model, turns[kind], chunk->pos, chunk->n,
                          session->buf.rope[kind] + (size_t)chunk->row * hp->n_rot);
        }
}

void rt_session_turn(rt_session *session, uint32_t layer, float *x, uint32_t n_head,
                     uint32_t head_dim) {
    const rt_hparams *hp = &session->model->hparams;
    rt_rope kind = rt_arch_compute_of(session->model->arch)->rope;
    const float *table = session->buf.rope[rt_layers_has(&hp->windowed, layer)];
    if (!rt_layers_has(&hp->rotated, layer)) return;
    session->backend->ops->rope(session->backend, kind, table, hp->n_rot, x, session->batch.n,
                                n_head, head_dim);
}

/* ---- output -------------------------------------------------------------------------------------
 */

/* Bring the wanted rows of the stream together at the front of buf.out. */
static void gather_rows(rt_session *session, size_t n_out) {
    const rt_buffers *buf = &session->buf;
    size_t n_embd = session->model->hparams.n_embd;
    for (size_t i = 0; i < n_out; i++)
        memcpy(buf->out + i * n_embd, buf->x + buf->out_rows[i] * n_embd, n_embd * sizeof(float));
}

static void forward_output(rt_session *session, size_t n_out, float *logits) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    gather_rows(session, n_out);
    const float *rows =
        rt_session_norm(session, &model->output_norm, session->buf.out, n_out, session->buf.h);
    if (rt_model_is_embedder(model)) {
        memcpy(logits, rows, n_out * hp->n_embd * sizeof *logits);
        return;
    }
    rt_session_input(session, rows, n_out, hp->n_embd);
    rt_session_multiply(session, &model->output, logits);
    if (hp->logit_factor != 1 || hp->logit_cap != 0)
        session->backend->ops->shape(session->backend, logits, hp->logit_factor, hp->logit_cap, 0,
                                     n_out, hp->n_vocab);
}

/* A weight that is not finite is the cause of whatever else went wrong. */
static gguf_code check_weights(rt_session *session, const gguf_error *failure, gguf_error *err) {
    const uint8_t *fault = session->backend->ops->take_fault(session->backend);
    if (fault) return rt_weights_fail(session->model, fault, err);
    if (failure->code && err) *err = *failure;
    return failure->code;
}

static gguf_code forward_all(rt_session *session, size_t n_out, float *logits, gguf_error *err) {
    forward_input(session);
    fill_tables(session);
    const atomic_bool *cancel = session->opts.cancel;
    for (uint32_t layer = 0; layer < session->model->hparams.n_layer; layer++) {
        if (cancel && atomic_load(cancel))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        gguf_code code = forward_layer(session, layer, err);
        if (code) return code;
    }
    if (n_out) forward_output(session, n_out, logits);
    return GGUF_OK;
}

gguf_code rt_forward(rt_session *session, size_t n_out, float *logits, gguf_error *err) {
    gguf_error failure = {0};
    forward_all(session, n_out, logits, &failure);
    return check_weights(session, &failure, err);
}

/* ---- layer by layer ---------------------------------------------------------------------- */

static size_t stream_bytes(const rt_session *session, size_t n) {
    return n * session->model->hparams.n_embd * sizeof(float);
}

gguf_code rt_session_embed(rt_session *session, const int32_t *tokens, size_t n, float *x,
                           gguf_error *err) {
    gguf_code code = rt_session_begin(session, tokens, n, err);
    if (code) return code;
    forward_input(session);
    memcpy(x, session->buf.x, stream_bytes(session, n));
    return check_weights(session, &(gguf_error){0}, err);
}

gguf_code rt_session_layer(rt_session *session, uint32_t layer, float *x, size_t n,
                           gguf_error *err) {
    gguf_code code = rt_session_begin(session, NULL, n, err);
    if (code) return code;
    memcpy(session->buf.x, x, stream_bytes(session, n));
    fill_tables(session);
    gguf_error failure = {0};
    forward_layer(session, layer, &failure);
    memcpy(x, session->buf.x, stream_bytes(session, n));
    return check_weights(session, &failure, err);
}

gguf_code rt_session_head(rt_session *session, const float *x, size_t n, float *logits,
                          gguf_error *err) {
    gguf_code code = rt_session_begin(session, NULL, n, err);
    if (code) return code;
    memcpy(session->buf.x, x, stream_bytes(session, n));
    for (size_t i = 0; i < n; i++) session->buf.out_rows[i] = (uint32_t)i;
    forward_output(session, n, logits);
    return check_weights(session, &(gguf_error){0}, err);
}
