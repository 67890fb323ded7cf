/* Steps: the division of tokens into batches, and what a batch changes when it is accepted. */
#include "runtime/engine/session_internal.h"

#include <inttypes.h>

/* ---- what may be evaluated ---------------------------------------------------------------------
 */

gguf_code rt_check_tokens(const rt_model *model, const int32_t *tokens, size_t n, gguf_error *err) {
    uint32_t n_vocab = model->hparams.n_vocab;
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "token %zu has the id %" PRId32 ", the vocabulary has %" PRIu32
                             " tokens",
                             i, tokens[i], n_vocab);
    return GGUF_OK;
}

static gguf_code check_tokens(const rt_session *session, const rt_span *span, gguf_error *err) {
    uint32_t n_past = session->kv.seqs[span->seq].n_past;
    if (span->n > session->layout.n_ctx - n_past)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "%zu tokens do not fit: the context of %" PRIu32 " holds %" PRIu32
                         " already",
                         span->n, session->layout.n_ctx, n_past);
    if (session->model->hparams.n_encoder_layer && !session->encodes && n_past == 0)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the model answers a text that its encoder reads: it cannot continue "
                         "tokens alone");
    if (session->encodes && n_past != 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "an encoder reads a text into an empty sequence");
    if (!session->model->hparams.causal && n_past != 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the model sees in both directions: a sequence cannot be continued");
    return rt_check_tokens(session->model, span->tokens, span->n, err);
}

static gguf_code check_span(const rt_session *session, const rt_span *spans, size_t i,
                            gguf_error *err) {
    uint32_t seq = spans[i].seq;
    if (seq >= session->kv.n_seqs)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "there is no sequence %" PRIu32 ": the session has %" PRIu32, seq,
                         session->kv.n_seqs);
    for (size_t j = 0; j < i; j++)
        if (spans[j].seq == seq)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "sequence %" PRIu32 " occurs twice", seq);
    return check_tokens(session, &spans[i], err);
}

/* ---- batches -----------------------------------------------------------------------------------
 */

/* The next token to compute, and what the current batch holds. */
typedef struct evaluation {
    rt_session *session;
    const rt_span *spans;
    size_t n_spans;
    size_t room;       /* tokens of a batch */
    size_t span, done; /* the next token is tokens[done] of the span */
    size_t n_out;      /* rows of logits in this batch */
} evaluation;

/* Tiles of n tokens that continue a span at row batch.n of the batch. */
static void add_tiles(evaluation *e, const rt_span *span, uint32_t pos, size_t n) {
    rt_session *session = e->session;
    rt_batch *batch = &session->batch;
    for (size_t i = 0; i < n; i += RT_TILE_TOKENS) {
        rt_tile *tile = &session->tiles[batch->n_tiles++];
        uint32_t n_now = n - i < RT_TILE_TOKENS ? (uint32_t)(n - i) : RT_TILE_TOKENS;
        *tile = (rt_tile){.row = (uint32_t)(batch->n + i), .n = n_now, .pos = pos + (uint32_t)i};
        bool causal = session->model->hparams.causal && !session->encodes;
        tile->n_source = session->kv.seqs[span->seq].n_source;
        tile->n_seen = causal ? tile->pos + n_now : pos + (uint32_t)n;
        for (int c = 0; c < RT_N_KV_CLASSES; c++)
            tile->pages[c] = rt_kv_table(&session->kv, (rt_kv_class)c, span->seq);
    }
}

/* The same tokens as layers with a state take them. */
static void add_runs(rt_session *session, const rt_span *span, uint32_t pos, size_t n) {
    rt_batch *batch = &session->batch;
    if (session->state.n_slots && n)
        batch->n_runs += rt_state_plan(&session->state, span->seq, pos, (uint32_t)batch->n,
                                       (uint32_t)n, &session->runs[batch->n_runs]);
}

/* Rows of these tokens whose logits are wanted. */
static void add_out_rows(evaluation *e, const rt_span *span, size_t n) {
    uint32_t row = (uint32_t)e->session->batch.n;
    bool ends = e->done + n == span->n;
    for (size_t i = 0; i < n; i++)
        if (span->which == RT_LOGITS_ALL || (span->which == RT_LOGITS_LAST && ends && i == n - 1))
            e->session->out_rows[e->n_out++] = row + (uint32_t)i;
}

static void add_tokens(evaluation *e, const rt_span *span, uint32_t pos, size_t n) {
    rt_session *session = e->session;
    add_tiles(e, span, pos, n);
    add_runs(session, span, pos, n);
    add_out_rows(e, span, n);
    for (size_t i = 0; i < n && span->tokens; i++)
        session->ids[session->batch.n + i] = span->tokens[e->done + i];
    session->batch.n += n;
}

/* Every sequence gives back what its window has passed, whether it is fed again or not: the pages
 * suffice for all windows and one batch. Not before, so that a sequence can be truncated to any
 * place in the batch that was accepted last. */
static void slide_all(rt_kv *kv) {
    for (uint32_t seq = 0; seq < kv->n_seqs; seq++) rt_kv_slide(kv, seq);
}

/* Take as many of the next tokens as the batch has room for. */
static gguf_code fill_batch(evaluation *e, gguf_error *err) {
    rt_session *session = e->session;
    slide_all(&session->kv);
    session->batch = (rt_batch){.tiles = session->tiles, .runs = session->runs};
    e->n_out = 0;
    while (e->span < e->n_spans) {
        const rt_span *span = &e->spans[e->span];
        size_t left = span->n - e->done, room = e->room - session->batch.n;
        size_t n = left < room ? left : room;
        bool whole = !session->model->hparams.causal || session->encodes;
        if (left && (n == 0 || (whole && n < left))) break;
        uint32_t pos = session->kv.seqs[span->seq].n_past;
        gguf_code code = rt_kv_reserve(&session->kv, RT_KV_WINDOW, span->seq, (uint32_t)n, err);
        if (code) return code;
        add_tokens(e, span, pos, n);
        e->done += n;
        if (e->done < span->n) break;
        e->span++;
        e->done = 0;
    }
    return GGUF_OK;
}

/* Count the batch's tokens as computed, from this place in the spans on. */
static void accept(evaluation *e, size_t span, size_t done) {
    rt_session *session = e->session;
    rt_state_accept(&session->state, session->runs, session->batch.n_runs);
    for (; span <= e->span && span < e->n_spans; span++, done = 0) {
        size_t end = span < e->span ? e->spans[span].n : e->done;
        rt_seq *seq = &session->kv.seqs[e->spans[span].seq];
        seq->n_past += (uint32_t)(end - done);
        if (session->encodes) seq->n_source = seq->n_past;
    }
}

static gguf_code reserve_all(const evaluation *e, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < e->n_spans && !code; i++)
        code = rt_kv_reserve(&e->session->kv, RT_KV_FULL, e->spans[i].seq, (uint32_t)e->spans[i].n,
                             err);
    return code;
}

enum { LEAST_SHARED = 64, BATCHES_OF_RANK = 8 };

/* As many as there is room for. Ranks compute batches of a text at the same time, one behind the
 * other: there have to be several for each, but not so small that weights are read too often. */
static size_t batch_room(const rt_session *session, const rt_span *spans, size_t n_spans) {
    uint32_t most = session->layout.n_batch, n_ranks = gguf_ranks_n(session->model->ranks);
    size_t n = 0;
    for (size_t i = 0; i < n_spans; i++) n += spans[i].n;
    size_t room = n / ((size_t)BATCHES_OF_RANK * (n_ranks - 1) + (n_ranks == 1));
    room = (room + RT_TILE_TOKENS - 1) / RT_TILE_TOKENS * RT_TILE_TOKENS;
    if (room < LEAST_SHARED) room = LEAST_SHARED;
    bool whole = n_ranks == 1 || !session->model->hparams.causal || room > most;
    return whole ? most : room;
}

static gguf_code step(evaluation *e, float *logits, gguf_error *err) {
    rt_session *session = e->session;
    size_t span = e->span, done = e->done;
    gguf_code code = fill_batch(e, err);
    if (!code && session->batch.n) code = rt_forward(session, e->n_out, logits, err);
    if (!code)
        accept(e, span, done);
    else
        rt_state_reject(&session->state, session->runs, session->batch.n_runs);
    return code;
}

gguf_code rt_session_eval_spans(rt_session *session, const rt_span *spans, size_t n_spans,
                                float *logits, gguf_error *err) {
    evaluation e = {.session = session, .spans = spans, .n_spans = n_spans};
    e.room = batch_room(session, spans, n_spans);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n_spans && !code; i++) code = check_span(session, spans, i, err);
    if (code) return code;
    code = reserve_all(&e, err);
    while (e.span < n_spans && !code) {
        code = step(&e, logits, err);
        if (logits) logits += e.n_out * session->model->hparams.n_out;
    }
    for (size_t i = 0; i < n_spans && code; i++) rt_kv_trim(&session->kv, spans[i].seq);
    return code;
}

gguf_code rt_session_eval(rt_session *session, const int32_t *tokens, size_t n, rt_logits which,
                          float *logits, gguf_error *err) {
    const rt_span span = {0, tokens, n, which};
    return rt_session_eval_spans(session, &span, 1, logits, err);
}

gguf_code rt_session_encode(rt_session *session, uint32_t seq, const int32_t *tokens, size_t n,
                            float *hidden, gguf_error *err) {
    const rt_span span = {seq, tokens, n, hidden ? RT_LOGITS_ALL : RT_LOGITS_NONE};
    if (!session->model->hparams.n_encoder_layer)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the model has no encoder beside its decoder");
    session->encodes = true;
    gguf_code code = rt_session_eval_spans(session, &span, 1, hidden, err);
    session->encodes = false;
    return code;
}

gguf_code rt_session_begin(rt_session *session, const int32_t *tokens, size_t n, gguf_error *err) {
    const rt_span span = {0, tokens, n, RT_LOGITS_NONE};
    evaluation e = {.session = session, .spans = &span, .n_spans = 1};
    e.room = session->layout.n_batch;
    gguf_code code = GGUF_OK;
    if (n == 0 || n > session->layout.n_batch || n > session->layout.n_ctx)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%zu tokens do not fit into one batch", n);
    if (session->model->hparams.n_encoder_layer)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "a model with an encoder and a decoder is not computed layer by layer");
    rt_session_reset(session);
    if (tokens) code = check_tokens(session, &span, err);
    if (!code) code = reserve_all(&e, err);
    return code ? code : fill_batch(&e, err);
}
