/* The forward pass: what is computed, in which order. How is the backend's business. */
#include "runtime/engine/ops.h"
#include "runtime/model/rope_freqs.h"
#include "runtime/model/weights_check.h"

#include <math.h>
#include <string.h>

/* ---- places ------------------------------------------------------------------------------------
 */

void rt_session_enter(rt_session *session, uint32_t place) {
    session->backend = session->places[place];
}

void rt_session_move(rt_session *session, uint32_t place) {
    rt_backend *from = session->backend, *to = session->places[place];
    if (from == to) return;
    for (size_t i = 0; i < session->layout.n_stream_parts; i++) {
        const rt_stream_part *part = &session->layout.stream_parts[i];
        uint64_t n_bytes = session->batch.n * part->n_cols * sizeof(float);
        from->ops->read(from, part->off, n_bytes, session->stream);
        to->ops->write(to, session->stream, n_bytes, part->off);
    }
    session->backend = to;
}

/* A weight that is not finite is the cause of whatever else went wrong. */
gguf_code rt_session_sync(rt_session *session, gguf_error *err) {
    gguf_error failure = {0};
    const uint8_t *fault = NULL;
    for (uint32_t p = 0; p < session->layout.n_places; p++) {
        rt_backend *place = session->places[p];
        place->ops->sync(place, failure.code ? NULL : &failure);
        const uint8_t *found = place->ops->take_fault(place);
        if (!fault) fault = found;
    }
    if (fault) return rt_weights_fail(session->model, fault, err);
    if (failure.code && err && !err->code) *err = failure;
    return failure.code;
}

/* ---- layers ------------------------------------------------------------------------------------
 */

/* Add what a block made to the stream, with the norms around that. */
static void add_residual(rt_session *session, const rt_norm_weights *before,
                         const rt_norm_weights *after) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    if (before->n_cols)
        session->backend->ops->norm(session->backend,
                                    rt_arch_compute_of(session->model->arch)->norm, before,
                                    hp->post_norm_eps, at->out, n, hp->n_embd, at->out);
    session->backend->ops->add(session->backend, at->x, at->out, hp->residual_scale, RT_NO_OFF, n,
                               hp->n_embd);
    rt_op_norm(session, after, at->x, n, at->x);
}

/* The second block reads what the first one read, so that one is added at once. */
static void mix_both(rt_session *session, uint32_t layer, rt_off in) {
    const rt_norm_weights none = {0};
    rt_block_attention(session, layer, in);
    add_residual(session, &none, &none);
    rt_block_mamba2(session, layer, in);
}

static void mix(rt_session *session, uint32_t layer, rt_off in) {
    switch (session->model->hparams.layers[layer].mixer) {
    case RT_MIXER_ATTENTION:
        rt_block_attention(session, layer, in);
        break;
    case RT_MIXER_LATENT:
        rt_block_latent(session, layer, in);
        break;
    case RT_MIXER_EXPANDED:
        rt_block_expanded(session, layer, in);
        break;
    case RT_MIXER_COMPRESSED:
        rt_block_compressed(session, layer, in);
        break;
    case RT_MIXER_GATED_DELTA:
        rt_block_delta(session, layer, in);
        break;
    case RT_MIXER_SHORT_CONV:
        rt_block_shortconv(session, layer, in);
        break;
    case RT_MIXER_MAMBA:
        rt_block_mamba(session, layer, in);
        break;
    case RT_MIXER_KDA:
        rt_block_kda(session, layer, in);
        break;
    case RT_MIXER_MAMBA2:
        rt_block_mamba2(session, layer, in);
        break;
    case RT_MIXER_ATTENTION_MAMBA2:
        mix_both(session, layer, in);
        break;
    case RT_MIXER_NONE:
        break;
    }
}

/* Experts and a dense block, each with norms of its own; what they make is added. */
static void feed_both(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n, n_embd = session->model->hparams.n_embd;
    rt_block_ffn(session, layer, in);
    rt_op_norm(session, &l->dense_post_norm, at->out, n, at->out);
    rt_op_copy(session, at->out, n_embd, n, n_embd, at->beside, n_embd);
    if (l->experts_norm.n_cols) in = rt_op_norm(session, &l->experts_norm, at->x, n, at->h);
    rt_block_experts(session, layer, in);
    rt_op_norm(session, &l->experts_post_norm, at->out, n, at->out);
    ops->add(session->backend, at->out, at->beside, 1, RT_NO_OFF, n, n_embd);
}

static void feed(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    if (l->router.data && l->ffn_up.data)
        feed_both(session, layer, in);
    else if (l->router.data)
        rt_block_experts(session, layer, in);
    else
        rt_block_ffn(session, layer, in);
}

static void feed_forward(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    feed(session, layer, in);
    add_residual(session, &l->ffn_post_norm, &l->layer_output_norm);
}

/* Blocks that read mixtures of streams. */
static void pass_streams(rt_session *session, uint32_t layer) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_hyper_enter(session, &l->hyper_attn);
    mix(session, layer, rt_op_norm(session, &l->attn_norm, at->x, n, at->h));
    rt_hyper_leave(session);
    rt_hyper_enter(session, &l->hyper_ffn);
    feed(session, layer, rt_op_norm(session, &l->ffn_norm, at->x, n, at->h));
    rt_hyper_leave(session);
}

/* The stream becomes the mean of both, times sqrt(2). */
static void add_laurel(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    session->backend->ops->add(session->backend, at->x, at->laurel, 1, RT_NO_OFF, n, hp->n_embd);
    rt_op_scale_softcap(session, at->x, sqrtf(0.5f), 0, 0, n, hp->n_embd);
}

/* What the layer gets of each token; of several streams the others do. */
static void add_layer_embd(rt_session *session, uint32_t layer) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    bool streams = session->model->hparams.n_stream > 1;
    rt_block_layer_embd(session, layer, streams ? rt_altup_scaled(session, layer) : at->x);
    if (!streams) {
        add_residual(session, &l->embd_post_norm, &(rt_norm_weights){0});
        return;
    }
    rt_op_norm(session, &l->embd_post_norm, at->out, session->batch.n, at->out);
    rt_altup_add(session);
}

void rt_forward_layer(rt_session *session, uint32_t layer) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    bool mixes = hp->layers[layer].mixer != RT_MIXER_NONE;
    bool feeds = l->router.data || l->ffn_up.data;
    size_t n = session->batch.n;
    rt_session_move(session, at->layers[layer].place);
    if (hp->n_hyper) {
        pass_streams(session, layer);
        return;
    }
    if (hp->n_stream > 1) rt_altup_predict(session, layer);
    rt_off in = rt_op_norm(session, &l->attn_norm, at->x, n, at->h);
    if (l->laurel_l.data) rt_altup_laurel(session, layer, in);
    mix(session, layer, in);
    /* In parallel, the second block reads what the first one read, or its own norm of that. */
    if (hp->parallel && l->ffn_norm.n_cols) in = rt_op_norm(session, &l->ffn_norm, at->x, n, at->h);
    if (mixes) add_residual(session, &l->attn_post_norm, &l->attn_output_norm);
    if (l->laurel_l.data) add_laurel(session);
    if (l->cross_q.data) {
        rt_block_cross(session, layer, rt_op_norm(session, &l->cross_norm, at->x, n, at->h));
        add_residual(session, &(rt_norm_weights){0}, &(rt_norm_weights){0});
    }
    /* A layer that only feeds forward has one norm. */
    if (!hp->parallel && mixes) in = rt_op_norm(session, &l->ffn_norm, at->x, n, at->h);
    if (feeds) feed_forward(session, layer, in);
    if (hp->n_stream > 1) rt_altup_correct(session, layer);
    if (hp->n_embd_layer) add_layer_embd(session, layer);
    if (l->output_scale) rt_op_scale_softcap(session, at->x, *l->output_scale, 0, 0, n, hp->n_embd);
}

/* ---- input -------------------------------------------------------------------------------------
 */

static void add_table(rt_session *session, const rt_weight *table) {
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    ops->embed(session->backend, table, session->ids, session->batch.n, at->out);
    ops->add(session->backend, at->x, at->out, 1, RT_NO_OFF, session->batch.n, table->n_cols);
}

/* The first token type, up to a text's first separator, and behind that the second one. Texts come
 * whole, tile after tile. */
static void add_token_types(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_batch *batch = &session->batch;
    int32_t *ids = session->ids, type = 0;
    for (size_t i = 0; i < batch->n_tiles; i++) {
        if (batch->tiles[i].pos == 0) type = 0;
        for (uint32_t t = 0; t < batch->tiles[i].n; t++) {
            int32_t *id = &ids[batch->tiles[i].row + t];
            bool ends = hp->n_token_types > 1 && *id == hp->separator_token;
            *id = type;
            if (ends) type = 1;
        }
    }
    add_table(session, &session->model->token_types);
}

static void add_positions(rt_session *session) {
    const rt_model *model = session->model;
    const rt_batch *batch = &session->batch;
    int32_t *ids = session->ids;
    if (model->token_types.data) add_token_types(session);
    if (model->position_embd.data) {
        for (size_t i = 0; i < batch->n_tiles; i++)
            for (uint32_t t = 0; t < batch->tiles[i].n; t++)
                ids[batch->tiles[i].row + t] = (int32_t)(batch->tiles[i].pos + t);
        add_table(session, &model->position_embd);
    }
}

/* What every layer gets of a token: its row of a table, and a projection of its embedding. */
static void embed_layers(rt_session *session) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n, width = (size_t)hp->n_layer * hp->n_embd_layer;
    if (width == 0) return;
    /* Tokens behind the table are none of a text: they get the first row. */
    for (size_t i = 0; i < n; i++)
        if ((uint32_t)session->ids[i] >= hp->n_layer_embedded) session->ids[i] = 0;
    rt_op_input(session, at->x, n, hp->n_embd);
    rt_op_multiply(session, &model->layer_embd_proj, at->layer_embd);
    rt_op_scale_softcap(session, at->layer_embd, 1 / sqrtf((float)hp->n_embd), 0, 0, n, width);
    rt_op_norm(session, &model->layer_embd_norm, at->layer_embd, n * hp->n_layer, at->layer_embd);
    ops->embed(session->backend, &model->layer_embd, session->ids, n, at->looked_up);
    ops->add(session->backend, at->layer_embd, at->looked_up, sqrtf((float)hp->n_embd_layer),
             RT_NO_OFF, n, width);
    rt_op_scale_softcap(session, at->layer_embd, sqrtf(0.5f), 0, 0, n, width);
}

void rt_forward_input(rt_session *session) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_session_enter(session, 0);
    rt_op_embed(session, &model->token_embd, session->ids, n, at->x);
    rt_op_scale_softcap(session, at->x, hp->embedding_scale, 0, 0, n, hp->n_embd);
    embed_layers(session);
    add_positions(session);
    rt_op_norm(session, &model->token_embd_norm, at->x, n, at->x);
    if (hp->n_stream > 1) rt_altup_start(session);
    if (hp->n_hyper) rt_hyper_start(session);
}

/* ---- positions ---------------------------------------------------------------------------------
 */

/* To all places. */
static void write_all(rt_session *session, const float *x, uint64_t n, rt_off to) {
    for (uint32_t p = 0; p < session->layout.n_places; p++)
        session->places[p]->ops->write(session->places[p], x, n * sizeof *x, to);
}

/* The angles that were written last, the other way round. */
static void write_back(rt_session *session, size_t n, rt_off to) {
    for (size_t i = 1; i < n; i += 2) session->angles[i] = -session->angles[i];
    write_all(session, session->angles, n, to);
}

/* The blocks of one size that a run completes, at most a tile's tokens in a tile. */
static void add_blocks(rt_session *session, const rt_run *run, uint32_t n_block, rt_batch *blocks,
                       rt_tile *tiles) {
    uint32_t first = run->pos / n_block, end = (run->pos + run->n) / n_block;
    for (; first < end; first += tiles[blocks->n_tiles++].n) {
        uint32_t n = end - first < RT_TILE_TOKENS ? end - first : RT_TILE_TOKENS;
        tiles[blocks->n_tiles] = (rt_tile){.row = (uint32_t)blocks->n, .n = n, .pos = first};
        for (int c = 0; c < RT_N_KV_CLASSES; c++)
            tiles[blocks->n_tiles].pages[c] = rt_kv_table(&session->kv, (rt_kv_class)c, run->seq);
        blocks->n += n;
    }
}

/* Which blocks end in the batch, and the angles of their first positions. */
static void find_blocks(rt_session *session, uint32_t which) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    rt_tile *tiles = (rt_tile *)(void *)(session->host + at->block_tiles[which]);
    rt_batch *blocks = &session->blocks[which];
    *blocks = (rt_batch){.tiles = tiles};
    for (size_t i = 0; i < session->batch.n_runs; i++)
        add_blocks(session, &session->batch.runs[i], hp->n_compress[which], blocks, tiles);
    for (size_t i = 0; i < blocks->n_tiles; i++)
        for (uint32_t k = 0; k < tiles[i].n; k++)
            rt_rope_table(session->model, RT_ROPE_USUAL, (tiles[i].pos + k) * hp->n_compress[which],
                          1, session->angles + (size_t)(tiles[i].row + k) * hp->n_rot);
    write_all(session, session->angles, blocks->n * hp->n_rot, at->rope_blocks[which]);
}

void rt_forward_angles(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_batch *batch = &session->batch;
    const rt_rope_kind kinds[2] = {rt_rope_usual(session->model, session->layout.n_ctx),
                                   RT_ROPE_WINDOW};
    for (int kind = 0; kind < (hp->n_window ? 2 : 1); kind++) {
        size_t n_rot = rt_rope_dims(hp, kinds[kind]);
        if (n_rot == 0) continue;
        for (size_t i = 0; i < batch->n_tiles; i++)
            rt_rope_table(session->model, kinds[kind], batch->tiles[i].pos, batch->tiles[i].n,
                          session->angles + batch->tiles[i].row * n_rot);
        write_all(session, session->angles, batch->n * n_rot, session->layout.rope[kind]);
        if (hp->n_out_group) write_back(session, batch->n * n_rot, session->layout.rope_back[kind]);
    }
    for (uint32_t i = 0; i < RT_MAX_COMPRESS && hp->n_compress[i]; i++) find_blocks(session, i);
}

/* ---- output ------------------------------------------------------------------------------------
 */

/* Logits of n normed rows at `in`. */
static void output_logits(rt_session *session, rt_off in, size_t n, float *logits) {
    const rt_hparams *hp = &session->model->hparams;
    rt_backend *backend = session->backend;
    rt_off out = session->layout.logits;
    backend->ops->set_input(backend, in, n, hp->n_embd);
    backend->ops->matmul(backend, &session->model->output, out);
    rt_op_adapt(session, &session->model->output, in, n, out, session->layout.lora_logits);
    rt_op_scale_softcap(session, out, hp->logit_factor, hp->logit_cap, 0, n, hp->n_vocab);
    backend->ops->read(backend, out, n * hp->n_vocab * sizeof *logits, logits);
}

void rt_forward_output(rt_session *session, size_t n_out, float *logits) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    const rt_layout *at = &session->layout;
    rt_backend *backend = session->backend;
    if (n_out == 0) return;
    if (hp->n_stream > 1)
        rt_altup_end(session, n_out);
    else if (hp->n_hyper)
        rt_hyper_end(session, n_out);
    else
        backend->ops->gather(backend, at->x, session->out_rows, n_out, hp->n_embd, at->out);
    rt_off in = rt_op_norm(session, &model->output_norm, at->out, n_out, at->h);
    if (rt_model_is_embedder(model)) {
        backend->ops->read(backend, in, n_out * hp->n_embd * sizeof *logits, logits);
        return;
    }
    rt_op_input(session, in, n_out, hp->n_embd);
    rt_op_show(session, &model->output);
    /* Slices of about the same size: a product of many rows may take another form than that of a
     * few. */
    size_t n_slices = (n_out + at->n_out - 1) / at->n_out;
    for (size_t i = 0; i < n_slices; i++) {
        size_t first = n_out * i / n_slices, n = n_out * (i + 1) / n_slices - first;
        output_logits(session, rt_op_at(in, first * hp->n_embd), n, logits + first * hp->n_vocab);
    }
}

/* What the encoder made of a text: rows that are wanted, and what each layer of the decoder keeps.
 */
static void forward_source(rt_session *session, size_t n_out, float *hidden) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    if (n_out) {
        rt_off in = rt_op_norm(session, &model->encoder_norm, at->x, n, at->h);
        session->backend->ops->read(session->backend, in, n * hp->n_embd * sizeof *hidden, hidden);
    }
    for (uint32_t i = hp->n_encoder_layer; i < hp->n_layer; i++) {
        rt_session_move(session, at->layers[i].place);
        rt_block_keep_source(session, i,
                             rt_op_norm(session, &model->encoder_norm, at->x, n, at->h));
    }
}

gguf_code rt_forward(rt_session *session, size_t n_out, float *logits, gguf_error *err) {
    const atomic_bool *cancel = session->opts.cancel;
    const rt_hparams *hp = &session->model->hparams;
    uint32_t first = session->encodes ? 0 : hp->n_encoder_layer;
    uint32_t end = session->encodes ? hp->n_encoder_layer : rt_hparams_end(hp);
    gguf_code code = GGUF_OK;
    if (hp->n_layer_before) {
        rt_session_enter(session, 0);
        code = rt_pipeline_receive(session, err);
        first = hp->n_layer_before;
    } else {
        rt_forward_input(session);
    }
    if (code) return code;
    rt_forward_angles(session);
    for (uint32_t layer = first; layer < end; layer++) {
        if (cancel && atomic_load(cancel)) {
            rt_session_sync(session, NULL);
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        }
        rt_forward_layer(session, layer);
    }
    if (session->encodes)
        forward_source(session, n_out, logits);
    else if (end == hp->n_layer)
        rt_forward_output(session, n_out, logits);
    else
        code = rt_pipeline_send(session, err);
    if (!code) code = rt_session_sync(session, err);
    return code ? code : rt_pipeline_share(session, n_out, logits, err);
}
