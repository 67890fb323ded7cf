/* Context shift: a sequence goes on without some of its tokens. Their pages are dropped, and the
 * keys after them are rotated back to their new positions. */
#include "runtime/engine/ops.h"
#include "runtime/model/rope_freqs.h"

#include <inttypes.h>

bool rt_model_can_shift(const rt_model *model) {
    const rt_hparams *hp = &model->hparams;
    return hp->causal && !model->position_embd.data && !hp->n_recurrent && !hp->index_n_head &&
           !hp->n_encoder_layer;
}

static gguf_code check_shift(const rt_session *session, uint32_t seq, uint32_t first, uint32_t n,
                             gguf_error *err) {
    uint32_t n_past = rt_seq_n_past(session, seq);
    if (seq >= session->kv.n_seqs || first % RT_PAGE_TOKENS || n % RT_PAGE_TOKENS ||
        first > n_past || n > n_past - first)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "positions %" PRIu32 " to %" PRIu32 " are not whole pages of %d tokens of "
                         "sequence %" PRIu32,
                         first, first + n, RT_PAGE_TOKENS, seq);
    if (rt_model_can_shift(session->model)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "the positions of this model cannot be shifted");
}

/* Rotate the keys of a layer, from position `from` to n_past, by the table at layout.rope. */
static void rotate_layer(rt_session *session, uint32_t layer, uint32_t seq, uint32_t from,
                         uint32_t n_rows) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layer_hparams *of = &hp->layers[layer];
    const rt_layout *at = &session->layout;
    rt_rope kind = rt_arch_compute_of(session->model->arch)->rope;
    bool windowed = rt_layers_has(&hp->windowed, layer);
    rt_kv_layer kv = rt_op_kv(session, layer);
    uint32_t n_past = session->kv.seqs[seq].n_past;
    rt_tile tile = {.pages[RT_KV_FULL] = rt_kv_table(&session->kv, RT_KV_FULL, seq),
                    .pages[RT_KV_WINDOW] = rt_kv_table(&session->kv, RT_KV_WINDOW, seq)};
    rt_batch batch = {.tiles = &tile, .n_tiles = 1};
    rt_session_enter(session, at->layers[layer].place);
    rt_backend *backend = session->backend;
    for (uint32_t pos = from; pos < n_past; pos += n_rows) {
        tile.pos = pos;
        batch.n = tile.n = n_past - pos < n_rows ? n_past - pos : n_rows;
        backend->ops->kv_load(backend, &kv, &batch, at->k);
        backend->ops->rope(
            backend, kind, at->rope[windowed], windowed ? hp->n_rot_window : hp->n_rot,
            rt_op_at(at->k, rt_hparams_rope_first(hp)), tile.n, of->n_head_kv, of->head_dim_k);
        backend->ops->kv_store(backend, &kv, &batch, at->k, RT_NO_OFF);
    }
}

/* The angles back by n positions, to all places. */
static void write_angles(rt_session *session, rt_rope_kind kind, rt_off table, uint32_t n,
                         uint32_t n_rows) {
    rt_rope_back(session->model, kind, n, n_rows, session->angles);
    for (uint32_t p = 0; p < session->layout.n_places; p++)
        session->places[p]->ops->write(
            session->places[p], session->angles,
            (uint64_t)n_rows * rt_rope_dims(&session->model->hparams, kind) * sizeof(float), table);
}

gguf_code rt_seq_shift(rt_session *session, uint32_t seq, uint32_t first, uint32_t n,
                       gguf_error *err) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    const rt_layout *at = &session->layout;
    uint32_t n_rows = at->n_batch < RT_TILE_TOKENS ? at->n_batch : RT_TILE_TOKENS;
    gguf_code code = check_shift(session, seq, first, n, err);
    if (!code) code = rt_kv_drop(&session->kv, seq, first, n, err);
    if (code) return code;
    write_angles(session, rt_rope_usual(model, at->n_ctx), at->rope[0], n, n_rows);
    write_angles(session, RT_ROPE_WINDOW, at->rope[1], n, n_rows);
    for (uint32_t layer = 0; layer < hp->n_layer; layer++) {
        bool windowed = rt_layers_has(&hp->windowed, layer);
        uint32_t held = session->kv.seqs[seq].first[windowed ? RT_KV_WINDOW : RT_KV_FULL];
        uint32_t from = held * RT_PAGE_TOKENS > first ? held * RT_PAGE_TOKENS : first;
        if (rt_layers_has(&hp->rotated, layer) && at->layers[layer].keeps_rows)
            rotate_layer(session, layer, seq, from, n_rows);
    }
    return rt_session_sync(session, err);
}
