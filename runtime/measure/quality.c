/* Perplexity and divergence. Logits are scored in small steps, so that a large vocabulary needs
 * little memory; every token's score is kept and summed in order at the end. */
#include "libgguf/hash.h"
#include "libgguf/outfile.h"
#include "runtime/engine/session_internal.h"
#include "runtime/measure/quality_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_STEP_TOKENS = 32, MAX_LOGITS_BYTES = 16 << 20, DEFAULT_CHUNK = 512 };

/* One of the two models. */
typedef struct runner {
    rt_session *session; /* NULL: there is no such model */
    float *logits;       /* [step][n_vocab] */
} runner;

/* A base that is being written. */
typedef struct saver {
    bool wanted;
    gguf_outfile *file; /* of the one that saves */
    rt_base_layout layout;
    uint8_t *rows; /* [step], of a rank that does not save [per_chunk] */
    double *room;  /* [workers][n_vocab] */
    gguf_hasher *hasher;
} saver;

typedef struct meter {
    const rt_quality_opts *opts;
    const int32_t *tokens;
    size_t n_tokens;
    uint32_t n_ctx, n_vocab;
    uint32_t step; /* tokens scored at once */
    uint64_t n_chunks;
    uint64_t n_scored; /* the number of the token that is scored next */
    uint64_t n_summed; /* tokens in nll_sum */
    runner model, base;
    saver save;
    rt_token_score *scores; /* [n_chunks * per_chunk] */
    uint32_t per_chunk;     /* scored tokens */
    double nll_sum;
    const int32_t *targets; /* of the current step */
} meter;

rt_quality_opts rt_quality_defaults(void) {
    rt_quality_opts opts = {.session = rt_session_defaults(), .bos = -1};
    opts.session.n_ctx = DEFAULT_CHUNK;
    return opts;
}

/* ---- scoring one token --------------------------------------------------------------------------
 */

rt_distribution rt_distribution_of(const float *logits, uint32_t n) {
    rt_distribution d = {.logits = logits, .n = n};
    double sum = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[d.top]) d.top = i;
    double max = logits[d.top];
    for (uint32_t i = 0; i < n; i++) sum += exp(logits[i] - max);
    d.offset = max + log(sum);
    return d;
}

double rt_divergence(const rt_distribution *p, const rt_distribution *q) {
    double sum = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        double ln_p = rt_ln_p(p, i), ln_q = rt_ln_p(q, i);
        if (ln_p != ln_q) sum += exp(ln_p) * (ln_p - ln_q);
    }
    return sum;
}

/* A rank that does not save keeps the rows of its chunk. */
static uint64_t first_kept(const meter *m) {
    return m->save.file ? 0 : m->n_scored % m->per_chunk;
}

static void score_task(void *ctx, size_t i, unsigned worker) {
    meter *m = ctx;
    uint64_t number = m->n_scored + i;
    rt_token_score *score = &m->scores[number];
    int32_t target = m->targets[i];
    rt_distribution q = rt_distribution_of(m->model.logits + i * m->n_vocab, m->n_vocab);
    score->nll = -rt_ln_p(&q, (uint32_t)target);
    if (m->save.wanted && isfinite(score->nll))
        rt_base_put_row(&m->save.layout, &q, target, number,
                        m->save.room + (size_t)worker * m->n_vocab,
                        m->save.rows + (first_kept(m) + i) * m->save.layout.row_bytes);
    if (m->opts->saved_base) {
        const rt_base_layout *l = &m->opts->saved_base->layout;
        rt_base_score(l, m->opts->saved_base->rows + number * l->row_bytes, &q, score);
    }
    if (!m->base.session) return;
    rt_distribution p = rt_distribution_of(m->base.logits + i * m->n_vocab, m->n_vocab);
    score->base_nll = -rt_ln_p(&p, (uint32_t)target);
    score->kld = rt_divergence(&p, &q);
    score->same_top = p.top == q.top;
}

/* ---- running ------------------------------------------------------------------------------------
 */

static gguf_code run(meter *m, const int32_t *tokens, size_t n, rt_logits which, gguf_error *err) {
    if (m->opts->cancel && atomic_load(m->opts->cancel))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "cancelled");
    gguf_code code = rt_session_eval(m->model.session, tokens, n, which, m->model.logits, err);
    if (!code && m->base.session)
        code = rt_session_eval(m->base.session, tokens, n, which, m->base.logits, err);
    return code;
}

/* The first half of a chunk, whose first token is replaced. */
static gguf_code run_context(meter *m, const int32_t *chunk, gguf_error *err) {
    uint32_t done = 0, n_context = m->n_ctx / 2;
    gguf_code code = GGUF_OK;
    rt_session_reset(m->model.session);
    if (m->base.session) rt_session_reset(m->base.session);
    if (m->opts->bos >= 0) {
        code = run(m, &m->opts->bos, 1, RT_LOGITS_NONE, err);
        done = 1;
    }
    while (done < n_context && !code) {
        uint32_t n_batch = m->opts->session.n_batch;
        uint32_t n = n_context - done < n_batch ? n_context - done : n_batch;
        code = run(m, chunk + done, n, RT_LOGITS_NONE, err);
        done += n;
    }
    return code;
}

static gguf_code check_scores(const meter *m, uint64_t first, size_t n, gguf_error *err) {
    for (size_t i = 0; i < n; i++) {
        const rt_token_score *score = &m->scores[first + i];
        if (!isfinite(score->nll) || !isfinite(score->base_nll) || !isfinite(score->kld))
            return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                             "the logits of scored token %" PRIu64 " are not finite", first + i);
    }
    return GGUF_OK;
}

static gguf_code save_rows(meter *m, uint64_t first, size_t n, gguf_error *err) {
    size_t n_bytes = n * m->save.layout.row_bytes;
    uint64_t off = RT_BASE_HEADER_BYTES + first * m->save.layout.row_bytes;
    gguf_hasher_add(m->save.hasher, m->save.rows, n_bytes);
    return gguf_outfile_write(m->save.file, m->save.rows, n_bytes, off, err);
}

static void add_scores(meter *m, uint64_t first, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) m->nll_sum += m->scores[first + i].nll;
    m->n_summed += n;
}

/* Run n tokens and score the ones that follow them. */
static gguf_code run_step(meter *m, const int32_t *tokens, size_t n, gguf_error *err) {
    gguf_code code = run(m, tokens, n, RT_LOGITS_ALL, err);
    if (code) return code;
    m->targets = tokens + 1;
    gguf_pool_run(m->model.session->pool, n, score_task, m);
    code = check_scores(m, m->n_scored, n, err);
    if (!code && m->save.file) code = save_rows(m, m->n_scored, n, err);
    add_scores(m, m->n_scored, n);
    m->n_scored += n;
    return code;
}

static gguf_code run_chunk(meter *m, uint64_t number, gguf_error *err) {
    const int32_t *chunk = m->tokens + number * m->n_ctx;
    m->n_scored = number * m->per_chunk;
    gguf_code code = run_context(m, chunk, err);
    for (uint32_t pos = m->n_ctx / 2; pos + 1 < m->n_ctx && !code;) {
        uint32_t left = m->n_ctx - 1 - pos, n = left < m->step ? left : m->step;
        code = run_step(m, chunk + pos, n, err);
        pos += n;
        if (!code && m->opts->progress)
            m->opts->progress(m->opts->progress_ctx, number * m->n_ctx + pos + 1,
                              m->n_chunks * m->n_ctx, exp(m->nll_sum / (double)m->n_summed));
    }
    return code;
}

/* ---- ranks ---- */

static gguf_code send_chunk(meter *m, uint64_t number, gguf_error *err) {
    gguf_ranks *ranks = m->opts->ranks;
    size_t n_rows = m->save.wanted ? (size_t)m->per_chunk * m->save.layout.row_bytes : 0;
    gguf_code code = gguf_ranks_send(ranks, 0, m->scores + number * m->per_chunk,
                                     m->per_chunk * sizeof *m->scores, err);
    return code || !n_rows ? code : gguf_ranks_send(ranks, 0, m->save.rows, n_rows, err);
}

/* The rows come in steps, as there is room. */
static gguf_code take_rows(meter *m, uint32_t from, uint64_t first, gguf_error *err) {
    size_t n_bytes = (size_t)m->per_chunk * m->save.layout.row_bytes;
    uint8_t *rows = malloc(n_bytes), *own = m->save.rows;
    if (!rows) return gguf_fail_memory(err);
    gguf_code code = gguf_ranks_receive(m->opts->ranks, from, rows, n_bytes, err);
    m->save.rows = rows;
    if (!code) code = save_rows(m, first, m->per_chunk, err);
    m->save.rows = own;
    free(rows);
    return code;
}

static gguf_code take_chunk(meter *m, uint32_t from, uint64_t number, gguf_error *err) {
    uint64_t first = number * m->per_chunk;
    gguf_code code = gguf_ranks_receive(m->opts->ranks, from, m->scores + first,
                                        m->per_chunk * sizeof *m->scores, err);
    if (!code && m->save.wanted) code = take_rows(m, from, first, err);
    add_scores(m, first, code ? 0 : m->per_chunk);
    return code;
}

/* A chunk for each rank; rank 0, whose chunk is the first, takes the others in order. */
static gguf_code run_round(meter *m, uint64_t first, gguf_error *err) {
    gguf_ranks *ranks = m->opts->ranks;
    uint32_t own = gguf_ranks_own(ranks), n = gguf_ranks_n(ranks);
    uint64_t left = m->n_chunks - first;
    if (left < n) n = (uint32_t)left;
    gguf_code code = own < n ? run_chunk(m, first + own, err) : GGUF_OK;
    code = gguf_ranks_agree(ranks, code, err);
    if (!code && own > 0 && own < n) code = send_chunk(m, first + own, err);
    for (uint32_t from = 1; from < n && !code && own == 0; from++)
        code = take_chunk(m, from, first + from, err);
    return code;
}

/* ---- measuring ----------------------------------------------------------------------------------
 */

static gguf_code check_input(const rt_model *model, const rt_model *base, const int32_t *tokens,
                             size_t n_tokens, const rt_quality_opts *opts, gguf_error *err) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab, n_ctx = opts->session.n_ctx;
    if (rt_model_is_embedder(model) || (base && rt_model_is_embedder(base)))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "an embedding model does not predict tokens");
    if (n_ctx < 3 || n_tokens < n_ctx)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%zu tokens do not fill one chunk of %" PRIu32 " (a chunk has at least 3)",
                         n_tokens, n_ctx);
    if (base && opts->saved_base)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "there are two bases");
    if (base && rt_model_hparams(base)->n_vocab != n_vocab)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "the model has %" PRIu32 " tokens in its vocabulary, the base %" PRIu32,
                         n_vocab, rt_model_hparams(base)->n_vocab);
    /* The last token of a chunk is scored without being evaluated. */
    return rt_check_tokens(model, tokens, n_tokens, err);
}

static gguf_code start_runner(const meter *m, runner *r, const rt_model *model,
                              rt_precision precision, gguf_error *err) {
    rt_session_opts opts = m->opts->session;
    if (!model) return GGUF_OK;
    opts.precision = precision;
    r->logits = malloc(sizeof(float) * m->step * m->n_vocab);
    if (!r->logits) return gguf_fail_memory(err);
    return rt_session_new(model, &opts, &r->session, err);
}

static uint64_t n_chunks_of(const meter *m) {
    return m->n_tokens / m->n_ctx;
}

static uint64_t tokens_hash(const meter *m) {
    return gguf_xxh3(m->tokens, m->n_chunks * m->n_ctx * sizeof *m->tokens, 0);
}

/* The saved base must be of this text, read in this way; it may have more chunks. */
static gguf_code check_saved_base(meter *m, gguf_error *err) {
    const rt_base_layout *l = &m->opts->saved_base->layout;
    uint64_t n_chunks = m->n_chunks, n_saved = l->n_rows / m->per_chunk;
    if (l->n_vocab != m->n_vocab || l->n_ctx != m->n_ctx || l->bos != m->opts->bos)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "the saved base has a vocabulary of %" PRIu32 ", chunks of %" PRIu32
                         " and begin token %" PRId32 "; the model has %" PRIu32 ", %" PRIu32
                         " and %" PRId32,
                         l->n_vocab, l->n_ctx, l->bos, m->n_vocab, m->n_ctx, m->opts->bos);
    m->n_chunks = n_saved;
    if (l->n_rows % m->per_chunk || n_saved > n_chunks_of(m) || tokens_hash(m) != l->tokens_hash)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "the saved base was made from another text or tokenizer");
    if (m->opts->n_chunks && n_chunks < n_saved) m->n_chunks = n_chunks;
    return GGUF_OK;
}

static gguf_code start_saver(meter *m, gguf_error *err) {
    saver *s = &m->save;
    uint64_t n_rows = m->n_chunks * m->per_chunk;
    uint8_t header[RT_BASE_HEADER_BYTES];
    bool saves = gguf_ranks_own(m->opts->ranks) == 0;
    s->wanted = m->opts->save_base;
    if (!s->wanted) return GGUF_OK;
    s->layout = rt_base_layout_of(m->n_vocab);
    s->layout.tokens_hash = tokens_hash(m);
    s->layout.n_rows = n_rows;
    s->layout.n_ctx = m->n_ctx;
    s->layout.bos = m->opts->bos;
    s->rows = malloc((size_t)(saves ? m->step : m->per_chunk) * s->layout.row_bytes);
    s->room = malloc(sizeof(double) * m->n_vocab * gguf_pool_threads(m->model.session->pool));
    if (!s->rows || !s->room) return gguf_fail_memory(err);
    gguf_code code = saves ? gguf_hasher_new(GGUF_HASH_XXH3, &s->hasher, err) : GGUF_OK;
    if (code || !saves) return code;
    rt_base_put_header(&s->layout, 0, header);
    gguf_hasher_add(s->hasher, header + RT_BASE_HASHED_FROM, sizeof header - RT_BASE_HASHED_FROM);
    return gguf_outfile_open(m->opts->save_base,
                             RT_BASE_HEADER_BYTES + n_rows * s->layout.row_bytes,
                             m->opts->replace ? GGUF_OUT_REPLACE : 0, &s->file, err);
}

static gguf_code finish_saver(meter *m, gguf_error *err) {
    uint8_t header[RT_BASE_HEADER_BYTES];
    if (!m->save.file) return GGUF_OK;
    gguf_hash hash = gguf_hasher_end(m->save.hasher);
    m->save.hasher = NULL;
    rt_base_put_header(&m->save.layout, strtoull(hash.hex, NULL, 16), header);
    gguf_code code = gguf_outfile_write(m->save.file, header, sizeof header, 0, err);
    if (code) return code;
    gguf_outfile *file = m->save.file;
    m->save.file = NULL;
    return gguf_outfile_commit(file, err);
}

static gguf_code start(meter *m, const rt_model *model, const rt_model *base, gguf_error *err) {
    m->n_chunks = n_chunks_of(m);
    if (m->opts->n_chunks && m->opts->n_chunks < m->n_chunks) m->n_chunks = m->opts->n_chunks;
    gguf_code code = m->opts->saved_base ? check_saved_base(m, err) : GGUF_OK;
    if (code) return code;
    m->step = MAX_LOGITS_BYTES / ((uint32_t)sizeof(float) * m->n_vocab);
    if (m->step < MIN_STEP_TOKENS) m->step = MIN_STEP_TOKENS;
    if (m->step > m->per_chunk) m->step = m->per_chunk;
    m->scores = calloc(m->n_chunks * m->per_chunk, sizeof *m->scores);
    if (!m->scores) return gguf_fail_memory(err);
    rt_precision own = m->opts->session.precision,
                 of_base = m->opts->engine ? RT_PRECISION_A16 : own;
    code = start_runner(m, &m->model, model, own, err);
    if (!code) code = start_runner(m, &m->base, base, of_base, err);
    return code ? code : start_saver(m, err);
}

static void stop(meter *m) {
    rt_session_free(m->model.session);
    rt_session_free(m->base.session);
    free(m->model.logits);
    free(m->base.logits);
    gguf_outfile_discard(m->save.file);
    if (m->save.hasher) gguf_hasher_end(m->save.hasher);
    free(m->save.rows);
    free(m->save.room);
    free(m->scores);
}

gguf_code rt_quality_measure(const rt_model *model, const rt_model *base, const int32_t *tokens,
                             size_t n_tokens, const rt_quality_opts *opts, rt_quality *out,
                             gguf_error *err) {
    meter m = {.opts = opts, .tokens = tokens, .n_tokens = n_tokens, .n_ctx = opts->session.n_ctx};
    m.n_vocab = rt_model_hparams(model)->n_vocab;
    m.per_chunk = m.n_ctx - 1 - m.n_ctx / 2;
    *out = (rt_quality){0};
    gguf_code code = check_input(model, base, tokens, n_tokens, opts, err);
    if (code) return code;
    code = start(&m, model, base, err);
    code = gguf_ranks_agree(opts->ranks, code, err);
    for (uint64_t chunk = 0; chunk < m.n_chunks && !code; chunk += gguf_ranks_n(opts->ranks))
        code = run_round(&m, chunk, err);
    if (!code) code = finish_saver(&m, err);
    if (!code) {
        out->n_chunks = m.n_chunks;
        rt_quality_summarise(m.scores, m.n_chunks * m.per_chunk, m.per_chunk, m.n_ctx / 2,
                             base || opts->saved_base, out);
    }
    stop(&m);
    return gguf_ranks_spread(opts->ranks, code, 0, out, sizeof *out, err);
}
