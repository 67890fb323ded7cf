/* Perplexity and divergence. Logits are scored in small steps, so that a large vocabulary needs
 * little memory; every token's score is kept and summed in order at the end. */
#include "runtime/quality.h"

#include "runtime/session_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_STEP_TOKENS = 32, MAX_LOGITS_BYTES = 16 << 20, DEFAULT_CHUNK = 512 };

typedef struct token_score {
    double nll, base_nll; /* -ln p of the token */
    double kld;
    bool same_top;
} token_score;

/* One of the two models. */
typedef struct runner {
    rt_session *session; /* NULL: there is no such model */
    float *logits;       /* [step][n_vocab] */
} runner;

typedef struct meter {
    const rt_quality_opts *opts;
    const int32_t *tokens;
    uint32_t n_ctx, n_vocab;
    uint32_t step;               /* tokens scored at once */
    uint64_t n_chunks, n_scored; /* n_scored tokens have their score */
    runner model, base;
    token_score *scores; /* [n_chunks * scored_per_chunk] */
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

/* What turns logits into ln p: ln p[i] = logits[i] - offset. */
typedef struct distribution {
    const float *logits;
    double offset;
    uint32_t top;
} distribution;

static distribution distribution_of(const float *logits, uint32_t n_vocab) {
    distribution d = {.logits = logits};
    double sum = 0;
    for (uint32_t i = 1; i < n_vocab; i++)
        if (logits[i] > logits[d.top]) d.top = i;
    double max = logits[d.top];
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp(logits[i] - max);
    d.offset = max + log(sum);
    return d;
}

/* sum p ln(p / q) >= 0; rounding may leave a little less. */
static double divergence(const distribution *p, const distribution *q, uint32_t n_vocab) {
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double ln_p = p->logits[i] - p->offset, ln_q = q->logits[i] - q->offset;
        if (ln_p != ln_q) sum += exp(ln_p) * (ln_p - ln_q);
    }
    return sum;
}

static void score_task(void *ctx, size_t i, unsigned worker) {
    meter *m = ctx;
    token_score *score = &m->scores[m->n_scored + i];
    int32_t target = m->targets[i];
    (void)worker;
    distribution q = distribution_of(m->model.logits + i * m->n_vocab, m->n_vocab);
    score->nll = q.offset - q.logits[target];
    if (!m->base.session) return;
    distribution p = distribution_of(m->base.logits + i * m->n_vocab, m->n_vocab);
    score->base_nll = p.offset - p.logits[target];
    score->kld = divergence(&p, &q, m->n_vocab);
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
        const token_score *score = &m->scores[first + i];
        if (!isfinite(score->nll) || !isfinite(score->base_nll) || !isfinite(score->kld))
            return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                             "the logits of scored token %" PRIu64 " are not finite", first + i);
    }
    return GGUF_OK;
}

/* Run n tokens and score the ones that follow them. */
static gguf_code run_step(meter *m, const int32_t *tokens, size_t n, gguf_error *err) {
    gguf_code code = run(m, tokens, n, RT_LOGITS_ALL, err);
    if (code) return code;
    m->targets = tokens + 1;
    gguf_pool_run(m->model.session->pool, n, score_task, m);
    code = check_scores(m, m->n_scored, n, err);
    for (size_t i = 0; i < n; i++) m->nll_sum += m->scores[m->n_scored + i].nll;
    m->n_scored += n;
    return code;
}

static gguf_code run_chunk(meter *m, uint64_t number, gguf_error *err) {
    const int32_t *chunk = m->tokens + number * m->n_ctx;
    gguf_code code = run_context(m, chunk, err);
    for (uint32_t pos = m->n_ctx / 2; pos + 1 < m->n_ctx && !code;) {
        uint32_t left = m->n_ctx - 1 - pos, n = left < m->step ? left : m->step;
        code = run_step(m, chunk + pos, n, err);
        pos += n;
        if (!code && m->opts->progress)
            m->opts->progress(m->opts->progress_ctx, number * m->n_ctx + pos + 1,
                              m->n_chunks * m->n_ctx, exp(m->nll_sum / (double)m->n_scored));
    }
    return code;
}

/* ---- statistics ---------------------------------------------------------------------------------
 */

typedef struct moments {
    double mean, stderr_mean, rms;
} moments;

static double nll_of(const token_score *s) {
    return s->nll;
}

static double base_nll_of(const token_score *s) {
    return s->base_nll;
}

static double kld_of(const token_score *s) {
    return s->kld;
}

static double delta_p_of(const token_score *s) {
    return exp(-s->nll) - exp(-s->base_nll);
}

static double same_top_of(const token_score *s) {
    return s->same_top;
}

static moments moments_of(const meter *m, double (*value)(const token_score *)) {
    double sum = 0, squares = 0, n = (double)m->n_scored;
    for (uint64_t i = 0; i < m->n_scored; i++) {
        double x = value(&m->scores[i]);
        sum += x;
        squares += x * x;
    }
    double mean = sum / n, variance = squares / n - mean * mean;
    double error = n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0;
    return (moments){mean, error, sqrt(squares / n)};
}

static int by_kld(const void *a, const void *b) {
    double x = ((const token_score *)a)->kld, y = ((const token_score *)b)->kld;
    return (x > y) - (x < y);
}

/* Of sorted scores, between neighbours in proportion. */
static double kld_quantile(const meter *m, double share) {
    double place = share * (double)(m->n_scored - 1);
    uint64_t i = (uint64_t)place, next = i + 1 < m->n_scored ? i + 1 : i;
    double part = place - (double)i;
    return (1 - part) * m->scores[i].kld + part * m->scores[next].kld;
}

static void summarise_base(meter *m, rt_quality *out) {
    moments nll = moments_of(m, base_nll_of), kld = moments_of(m, kld_of);
    moments delta = moments_of(m, delta_p_of);
    out->base_ppl = exp(nll.mean);
    out->base_ppl_stderr = out->base_ppl * nll.stderr_mean;
    out->kld_mean = kld.mean;
    out->kld_stderr = kld.stderr_mean;
    out->delta_p_mean = delta.mean;
    out->delta_p_rms = delta.rms;
    out->top1_agreement = moments_of(m, same_top_of).mean;
    qsort(m->scores, m->n_scored, sizeof *m->scores, by_kld);
    out->kld_median = kld_quantile(m, 0.5);
    out->kld_p99 = kld_quantile(m, 0.99);
    out->kld_p999 = kld_quantile(m, 0.999);
    out->kld_max = kld_quantile(m, 1);
}

static void summarise(meter *m, rt_quality *out) {
    moments nll = moments_of(m, nll_of);
    out->n_chunks = m->n_chunks;
    out->n_tokens = m->n_scored;
    out->ppl = exp(nll.mean);
    out->ppl_stderr = out->ppl * nll.stderr_mean;
    if (m->base.session) summarise_base(m, out);
}

/* ---- measuring ----------------------------------------------------------------------------------
 */

static gguf_code check_input(const rt_model *model, const rt_model *base, size_t n_tokens,
                             const rt_quality_opts *opts, gguf_error *err) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab, n_ctx = opts->session.n_ctx;
    if (rt_model_is_embedder(model) || (base && rt_model_is_embedder(base)))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "an embedding model predicts no tokens");
    if (n_ctx < 3 || n_tokens < n_ctx)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%zu tokens do not fill one chunk of %" PRIu32 " (a chunk has at least 3)",
                         n_tokens, n_ctx);
    if (base && rt_model_hparams(base)->n_vocab != n_vocab)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "the model has %" PRIu32 " tokens in its vocabulary, the base %" PRIu32,
                         n_vocab, rt_model_hparams(base)->n_vocab);
    return GGUF_OK;
}

static gguf_code start_runner(const meter *m, runner *r, const rt_model *model, gguf_error *err) {
    if (!model) return GGUF_OK;
    r->logits = malloc(sizeof(float) * m->step * m->n_vocab);
    if (!r->logits) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    return rt_session_new(model, &m->opts->session, &r->session, err);
}

static gguf_code start(meter *m, const rt_model *model, const rt_model *base, size_t n_tokens,
                       gguf_error *err) {
    const rt_quality_opts *opts = m->opts;
    uint32_t per_chunk = m->n_ctx - 1 - m->n_ctx / 2;
    m->n_chunks = n_tokens / m->n_ctx;
    if (opts->n_chunks && opts->n_chunks < m->n_chunks) m->n_chunks = opts->n_chunks;
    m->step = MAX_LOGITS_BYTES / ((uint32_t)sizeof(float) * m->n_vocab);
    if (m->step < MIN_STEP_TOKENS) m->step = MIN_STEP_TOKENS;
    if (m->step > per_chunk) m->step = per_chunk;
    m->scores = calloc(m->n_chunks * per_chunk, sizeof *m->scores);
    if (!m->scores) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    gguf_code code = start_runner(m, &m->model, model, err);
    return code ? code : start_runner(m, &m->base, base, err);
}

static void stop(meter *m) {
    rt_session_free(m->model.session);
    rt_session_free(m->base.session);
    free(m->model.logits);
    free(m->base.logits);
    free(m->scores);
}

gguf_code rt_quality_measure(const rt_model *model, const rt_model *base, const int32_t *tokens,
                             size_t n_tokens, const rt_quality_opts *opts, rt_quality *out,
                             gguf_error *err) {
    meter m = {.opts = opts, .tokens = tokens, .n_ctx = opts->session.n_ctx};
    m.n_vocab = rt_model_hparams(model)->n_vocab;
    *out = (rt_quality){0};
    gguf_code code = check_input(model, base, n_tokens, opts, err);
    if (code) return code;
    code = start(&m, model, base, n_tokens, err);
    for (uint64_t chunk = 0; chunk < m.n_chunks && !code; chunk++) code = run_chunk(&m, chunk, err);
    if (!code) summarise(&m, out);
    stop(&m);
    return code;
}
