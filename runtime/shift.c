/* Context shift: a sequence goes on without some of its tokens. Their pages are dropped, and the
 * keys behind them are turned back to their new positions. */
#include "runtime/rope.h"
#include "runtime/session_internal.h"

#include <inttypes.h>

static gguf_code check_shift(const rt_session *session, uint32_t seq, uint32_t first, uint32_t n,
                             gguf_error *err) {
    const rt_hparams *hp = &session->model->hparams;
    uint32_t n_past = rt_seq_n_past(session, seq);
    if (seq >= session->kv.n_seqs || first % RT_PAGE_TOKENS || n % RT_PAGE_TOKENS ||
        first > n_past || n > n_past - first)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "positions %" PRIu32 " to %" PRIu32 " are not whole pages of %d tokens of "
                         "sequence %" PRIu32,
                         first, first + n, RT_PAGE_TOKENS, seq);
    if (hp->causal && !session->model->position_embd.data) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "the positions of this model cannot be shifted");
}

/* Turn the keys of a layer, from position `from` to n_past, by the table. */
static gguf_code turn_layer(rt_session *session, uint32_t layer, uint32_t seq, uint32_t from,
                            const float *table, uint32_t n_rows, gguf_error *err) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_backend_ops *ops = session->backend->ops;
    rt_rope kind = rt_arch_compute_of(session->model->arch)->rope;
    rt_kv_layer kv = rt_session_kv(session, layer);
    uint32_t n_past = session->kv.seqs[seq].n_past;
    rt_chunk chunk = {.pages[RT_KV_FULL] = rt_kv_table(&session->kv, RT_KV_FULL, seq),
                      .pages[RT_KV_WINDOW] = rt_kv_table(&session->kv, RT_KV_WINDOW, seq)};
    rt_batch batch = {.chunks = &chunk, .n_chunks = 1};
    gguf_code code = GGUF_OK;
    for (uint32_t pos = from; pos < n_past && !code; pos += n_rows) {
        chunk.pos = pos;
        batch.n = chunk.n = n_past - pos < n_rows ? n_past - pos : n_rows;
        ops->kv_load(session->backend, &kv, &batch, session->buf.k);
        ops->rope(session->backend, kind, table, hp->n_rot, session->buf.k + hp->n_latent, chunk.n,
                  hp->n_head_kv, hp->head_dim_k);
        code = ops->kv_store(session->backend, &kv, &batch, session->buf.k, NULL, err);
    }
    return code;
}

gguf_code rt_seq_shift(rt_session *session, uint32_t seq, uint32_t first, uint32_t n,
                       gguf_error *err) {
    const rt_model *model = session->model;
    const rt_hparams *hp = &model->hparams;
    uint32_t n_batch = session->layout.n_batch;
    uint32_t n_rows = n_batch < RT_CHUNK_TOKENS ? n_batch : RT_CHUNK_TOKENS;
    gguf_code code = check_shift(session, seq, first, n, err);
    if (!code) code = rt_kv_drop(&session->kv, seq, first, n, err);
    if (code) return code;
    rt_rope_back(model, rt_rope_usual(model, session->layout.n_ctx), n, n_rows,
                 session->buf.rope[0]);
    rt_rope_back(model, RT_TURN_WINDOW, n, n_rows, session->buf.rope[1]);
    for (uint32_t layer = 0; layer < hp->n_layer && !code; layer++) {
        bool windowed = rt_layers_has(&hp->windowed, layer);
        uint32_t held = session->kv.seqs[seq].first[windowed ? RT_KV_WINDOW : RT_KV_FULL];
        uint32_t from = held * RT_PAGE_TOKENS > first ? held * RT_PAGE_TOKENS : first;
        if (rt_layers_has(&hp->rotated, layer))
            code = turn_layer(session, layer, seq, from, session->buf.rope[windowed], n_rows, err);
    }
    return code;
}
