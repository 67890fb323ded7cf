/* Continuations: the shared beginning lies in sequence 0, each choice goes on from it in sequence
 * 1. Logits are taken in small steps, so that a large vocabulary needs little memory. */
#include "runtime/measure/choices.h"

#include "runtime/engine/session_internal.h"
#include "runtime/measure/quality_internal.h"

#include <math.h>
#include <stdlib.h>

enum { STEP = 32 };

typedef struct scorer {
    rt_session *session;
    uint32_t n_vocab;
    size_t n_shared; /* tokens that all choices begin with, and none of them scores */
    float *shared;   /* [n_vocab] logits behind these */
    float *logits;   /* [STEP][n_vocab] */
    gguf_error *err;
} scorer;

static size_t shared_start(const rt_choice *choices, size_t n) {
    size_t shared = choices[0].first;
    for (size_t c = 1; c < n; c++) {
        size_t same = 0;
        while (same < shared && same < choices[c].first &&
               choices[c].tokens[same] == choices[0].tokens[same])
            same++;
        shared = same;
    }
    return shared;
}

/* Add ln p of a token, if it belongs to the continuation. */
static void add_token(const scorer *s, const rt_choice *choice, size_t place, const float *logits,
                      double *ln_p) {
    if (place < choice->first) return;
    rt_distribution d = rt_distribution_of(logits, s->n_vocab);
    *ln_p += rt_ln_p(&d, (uint32_t)choice->tokens[place]);
}

/* The last token is only predicted, never evaluated. */
static gguf_code score_choice(scorer *s, const rt_choice *choice, double *ln_p) {
    gguf_code code = rt_seq_share(s->session, 0, 1, (uint32_t)s->n_shared, NULL, s->err);
    *ln_p = 0;
    if (s->n_shared) add_token(s, choice, s->n_shared, s->shared, ln_p);
    for (size_t done = s->n_shared; done + 1 < choice->n && !code;) {
        size_t left = choice->n - 1 - done, n = left < STEP ? left : STEP;
        rt_span span = {.seq = 1, .tokens = choice->tokens + done, .n = n, .which = RT_LOGITS_ALL};
        code = rt_session_eval_spans(s->session, &span, 1, s->logits, s->err);
        for (size_t i = 0; i < n && !code; i++)
            add_token(s, choice, done + i + 1, s->logits + i * s->n_vocab, ln_p);
        done += n;
    }
    if (!code && !isfinite(*ln_p))
        code = gguf_fail(s->err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                         "the logits of a continuation are not finite");
    return code;
}

static gguf_code check(const scorer *s, const rt_choice *choices, size_t n) {
    if (rt_model_is_embedder(s->session->model))
        return gguf_fail(s->err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "an embedding model does not predict tokens");
    gguf_code code = GGUF_OK;
    for (size_t c = 0; c < n && !code; c++) {
        if (choices[c].first < 1 || choices[c].first >= choices[c].n)
            return gguf_fail(s->err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "choice %zu of %zu tokens cannot start at %zu", c, choices[c].n,
                             choices[c].first);
        code = rt_check_tokens(s->session->model, choices[c].tokens, choices[c].n, s->err);
    }
    return code;
}

gguf_code rt_choices_score(rt_session *session, const rt_choice *choices, size_t n_choices,
                           double *ln_p, gguf_error *err) {
    scorer s = {.session = session, .n_vocab = session->model->hparams.n_vocab, .err = err};
    gguf_code code = check(&s, choices, n_choices);
    if (code || !n_choices) return code;
    s.n_shared = shared_start(choices, n_choices);
    s.shared = malloc(sizeof(float) * s.n_vocab);
    s.logits = malloc(sizeof(float) * s.n_vocab * STEP);
    if (!s.shared || !s.logits) code = gguf_fail_memory(err);
    rt_session_reset(session);
    if (!code && s.n_shared)
        code =
            rt_session_eval(session, choices[0].tokens, s.n_shared, RT_LOGITS_LAST, s.shared, err);
    for (size_t c = 0; c < n_choices && !code; c++) code = score_choice(&s, &choices[c], &ln_p[c]);
    free(s.shared);
    free(s.logits);
    return code;
}
