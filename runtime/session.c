/* Sessions: their memory, and the division of tokens into batches. */
#include "runtime/memory.h"
#include "runtime/session_internal.h"

#include <inttypes.h>
#include <stdlib.h>

rt_session_opts rt_session_defaults(void) {
    return (rt_session_opts){.n_batch = 512, .kv_type = GGUF_TYPE_F16};
}

/* ---- memory -------------------------------------------------------------------------------------
 */

static void *at(const rt_session *session, uint64_t off) {
    return session->compute + off;
}

static void place_buffers(rt_session *session) {
    const rt_layout *l = &session->layout;
    size_t n_table = (size_t)l->n_batch * session->model->hparams.n_rot;
    session->buf = (rt_buffers){
        .x = at(session, l->x),
        .h = at(session, l->h),
        .out = at(session, l->out),
        .q = at(session, l->q),
        .k = at(session, l->k),
        .v = at(session, l->v),
        .heads = at(session, l->heads),
        .q_heads = at(session, l->q_heads),
        .q_low = at(session, l->q_low),
        .plain = at(session, l->plain),
        .head_first = at(session, l->head_groups),
        .gate = at(session, l->gate),
        .up = at(session, l->up),
        .router = at(session, l->router),
        .experts = at(session, l->experts),
        .weights = at(session, l->weights),
        .first = at(session, l->first),
        .rows = at(session, l->rows),
        .expert_gate = at(session, l->expert_gate),
        .expert_up = at(session, l->expert_up),
        .expert_out = at(session, l->expert_out),
        .shared_gate = at(session, l->shared_gate),
        .rope = {at(session, l->rope), (float *)at(session, l->rope) + n_table},
        .ids = at(session, l->ids),
        .out_rows = at(session, l->out_rows),
        .chunks = at(session, l->chunks),
    };
}

static void place_cache(rt_session *session) {
    const rt_layout *l = &session->layout;
    rt_kv *kv = &session->kv;
    *kv = (rt_kv){.seqs = at(session, l->seqs),
                  .n_seqs = l->n_seqs,
                  .n_table = l->n_table,
                  .n_window = session->model->hparams.n_window};
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        const rt_pool_layout *p = &l->pools[c];
        kv->pools[c] = (rt_kv_pool){.base = session->kv_bytes + p->off,
                                    .page_bytes = p->page_bytes,
                                    .n_pages = p->n_pages,
                                    .free = at(session, p->free),
                                    .refs = at(session, p->refs),
                                    .tables = at(session, p->tables)};
    }
    rt_kv_clear(kv);
}

static gguf_code allocate_all(rt_session *session, gguf_error *err) {
    const rt_layout *l = &session->layout;
    gguf_code code = rt_allocate(l->kv_bytes, &session->kv_bytes, err);
    if (!code) code = rt_allocate(l->compute_bytes, &session->compute, err);
    if (!code) code = gguf_pool_new(l->n_threads, &session->pool, err);
    if (code) return code;
    place_buffers(session);
    place_cache(session);
    return rt_cpu_new(&session->model->hparams, l->n_batch, session->opts.precision, session->pool,
                      session->compute + l->work, &session->backend, err);
}

static gguf_code check_positions(const rt_session *session, gguf_error *err) {
    const rt_model *model = session->model;
    if (!model->position_embd.data || session->layout.n_ctx <= model->hparams.n_ctx_train)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "a context of %" PRIu32 ": the model has learned %" PRIu32 " positions",
                     session->layout.n_ctx, model->hparams.n_ctx_train);
}

gguf_code rt_session_new(const rt_model *model, const rt_session_opts *opts, rt_session **out,
                         gguf_error *err) {
    rt_session *session = calloc(1, sizeof *session);
    *out = NULL;
    if (!session) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    session->model = model;
    session->opts = opts ? *opts : rt_session_defaults();
    gguf_code code = rt_layout_make(&model->hparams, &session->opts, &session->layout, err);
    if (!code) code = check_positions(session, err);
    if (!code) code = allocate_all(session, err);
    if (code)
        rt_session_free(session);
    else
        *out = session;
    return code;
}

void rt_session_free(rt_session *session) {
    if (!session) return;
    if (session->backend) session->backend->ops->free(session->backend);
    gguf_pool_free(session->pool);
    free(session->compute);
    free(session->kv_bytes);
    free(session);
}

rt_kv_layer rt_session_kv(const rt_session *session, uint32_t layer) {
    const rt_layout *l = &session->layout;
    const rt_hparams *hp = &session->model->hparams;
    bool windowed = rt_layers_has(&hp->windowed, layer);
    rt_kv_class kv_class = windowed ? RT_KV_WINDOW : RT_KV_FULL;
    uint32_t index = rt_layers_count(&hp->windowed, layer);
    if (!windowed) index = layer - index;
    uint64_t layer_bytes = RT_KV_PAGE_TOKENS * (l->row_bytes_k + l->row_bytes_v);
    uint64_t off = index * layer_bytes;
    bool own_v = l->row_bytes_v != 0;
    return (rt_kv_layer){
        .base = session->kv.pools[kv_class].base,
        .kv_class = kv_class,
        .page_bytes = l->pools[kv_class].page_bytes,
        .k_off = off,
        .v_off = own_v ? off + RT_KV_PAGE_TOKENS * l->row_bytes_k : off,
        .type = session->opts.kv_type,
        .n_cols_k = hp->n_head_kv * hp->head_dim_k,
        .n_cols_v = own_v ? hp->n_head_kv * hp->head_dim_v : 0,
        .row_bytes_k = l->row_bytes_k,
        .row_bytes_v = own_v ? l->row_bytes_v : l->row_bytes_k,
    };
}

/* ---- state --------------------------------------------------------------------------------------
 */

void rt_session_reset(rt_session *session) {
    rt_kv_clear(&session->kv);
}

uint32_t rt_session_n_past(const rt_session *session) {
    return session->kv.seqs[0].n_past;
}

uint32_t rt_session_n_ctx(const rt_session *session) {
    return session->layout.n_ctx;
}

void rt_session_set_hook(rt_session *session, rt_hook_fn fn, void *ctx) {
    session->hook = fn;
    session->hook_ctx = ctx;
}

uint32_t rt_seq_n_past(const rt_session *session, uint32_t seq) {
    return seq < session->kv.n_seqs ? session->kv.seqs[seq].n_past : 0;
}

static gguf_code check_seq(const rt_session *session, uint32_t seq, gguf_error *err) {
    if (seq < session->kv.n_seqs) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "there is no sequence %" PRIu32 ": the session has %" PRIu32, seq,
                     session->kv.n_seqs);
}

gguf_code rt_seq_truncate(rt_session *session, uint32_t seq, uint32_t n, gguf_error *err) {
    gguf_code code = check_seq(session, seq, err);
    return code ? code : rt_kv_truncate(&session->kv, seq, n, err);
}

gguf_code rt_seq_share(rt_session *session, uint32_t from, uint32_t to, uint32_t n,
                       gguf_error *err) {
    gguf_code code = check_seq(session, from, err);
    if (!code) code = check_seq(session, to, err);
    return code ? code : rt_kv_share(&session->kv, from, to, n, err);
}

/* ---- what may be evaluated ----------------------------------------------------------------------
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
    if (!session->model->hparams.causal && n_past != 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the model sees in both directions: a sequence cannot be continued");
    return rt_check_tokens(session->model, span->tokens, span->n, err);
}

static gguf_code check_spans(const rt_session *session, const rt_span *spans, size_t n_spans,
                             gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n_spans && !code; i++) {
        code = check_seq(session, spans[i].seq, err);
        for (size_t j = 0; j < i && !code; j++)
            if (spans[j].seq == spans[i].seq)
                code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                                 "sequence %" PRIu32 " occurs twice", spans[i].seq);
        if (!code) code = check_tokens(session, &spans[i], err);
    }
    return code;
}

/* ---- batches ------------------------------------------------------------------------------------
 */

/* The next token to compute, and what the current batch holds. */
typedef struct evaluation {
    rt_session *session;
    const rt_span *spans;
    size_t n_spans;
    size_t span, done; /* the next token is tokens[done] of the span */
    size_t n_out;      /* rows of logits in this batch */
} evaluation;

/* Chunks of n tokens that continue a span at row `row` of the batch. */
static void add_chunks(evaluation *e, const rt_span *span, uint32_t pos, size_t n) {
    rt_session *session = e->session;
    rt_batch *batch = &session->batch;
    for (size_t i = 0; i < n; i += RT_CHUNK_TOKENS) {
        rt_chunk *chunk = &session->buf.chunks[batch->n_chunks++];
        uint32_t n_now = n - i < RT_CHUNK_TOKENS ? (uint32_t)(n - i) : RT_CHUNK_TOKENS;
        *chunk = (rt_chunk){.row = (uint32_t)(batch->n + i), .n = n_now, .pos = pos + (uint32_t)i};
        bool causal = session->model->hparams.causal;
        chunk->n_seen = causal ? chunk->pos + n_now : pos + (uint32_t)n;
        for (int c = 0; c < RT_N_KV_CLASSES; c++)
            chunk->pages[c] = rt_kv_table(&session->kv, (rt_kv_class)c, span->seq);
    }
}

/* Rows of these tokens whose logits are wanted. */
static void add_out_rows(evaluation *e, const rt_span *span, size_t n) {
    uint32_t row = (uint32_t)e->session->batch.n;
    bool ends = e->done + n == span->n;
    for (size_t i = 0; i < n; i++)
        if (span->which == RT_LOGITS_ALL || (span->which == RT_LOGITS_LAST && ends && i == n - 1))
            e->session->buf.out_rows[e->n_out++] = row + (uint32_t)i;
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
    gguf_code code = GGUF_OK;
    slide_all(&session->kv);
    session->batch = (rt_batch){.chunks = session->buf.chunks};
    e->n_out = 0;
    while (e->span < e->n_spans && !code) {
        const rt_span *span = &e->spans[e->span];
        size_t left = span->n - e->done, room = session->layout.n_batch - session->batch.n;
        size_t n = left < room ? left : room;
        if (left && (n == 0 || (!session->model->hparams.causal && n < left))) break;
        uint32_t pos = session->kv.seqs[span->seq].n_past;
        code = rt_kv_reserve(&session->kv, RT_KV_WINDOW, span->seq, (uint32_t)n, err);
        add_chunks(e, span, pos, n);
        add_out_rows(e, span, n);
        for (size_t i = 0; i < n && span->tokens; i++)
            session->buf.ids[session->batch.n + i] = span->tokens[e->done + i];
        session->batch.n += n;
        e->done += n;
        if (e->done < span->n) break;
        e->span++;
        e->done = 0;
    }
    return code;
}

/* Count the batch's tokens as computed. */
static void advance(evaluation *e, size_t span, size_t done) {
    for (; span <= e->span && span < e->n_spans; span++, done = 0) {
        size_t end = span < e->span ? e->spans[span].n : e->done;
        e->session->kv.seqs[e->spans[span].seq].n_past += (uint32_t)(end - done);
    }
}

static gguf_code reserve_all(const evaluation *e, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < e->n_spans && !code; i++)
        code = rt_kv_reserve(&e->session->kv, RT_KV_FULL, e->spans[i].seq, (uint32_t)e->spans[i].n,
                             err);
    return code;
}

gguf_code rt_session_eval_spans(rt_session *session, const rt_span *spans, size_t n_spans,
                                float *logits, gguf_error *err) {
    evaluation e = {.session = session, .spans = spans, .n_spans = n_spans};
    gguf_code code = check_spans(session, spans, n_spans, err);
    if (code) return code;
    code = reserve_all(&e, err);
    while (e.span < n_spans && !code) {
        size_t span = e.span, done = e.done;
        code = fill_batch(&e, err);
        if (!code && session->batch.n) code = rt_forward(session, e.n_out, logits, err);
        if (!code) advance(&e, span, done);
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

gguf_code rt_session_begin(rt_session *session, const int32_t *tokens, size_t n, gguf_error *err) {
    const rt_span span = {0, tokens, n, RT_LOGITS_NONE};
    evaluation e = {.session = session, .spans = &span, .n_spans = 1};
    gguf_code code = GGUF_OK;
    if (n == 0 || n > session->layout.n_batch || n > session->layout.n_ctx)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%zu tokens do not fit into one batch", n);
    rt_session_reset(session);
    if (tokens) code = check_tokens(session, &span, err);
    if (!code) code = reserve_all(&e, err);
    return code ? code : fill_batch(&e, err);
}
