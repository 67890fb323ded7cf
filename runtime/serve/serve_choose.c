/* Choosing the next tokens: the samplers of tasks, and how likely the model found what they took.
 */
#include "runtime/serve/serve_internal.h"

#include <math.h>
#include <stdlib.h>

gguf_code rt_choose_begin(rt_serve *s, rt_task *t, gguf_error *err) {
    rt_sampler_opts opts = t->request->opts.sampler;
    opts.seed += t->index % t->request->opts.n_choices;
    return rt_sampler_new(&opts, s->n_vocab, &t->sampler, err);
}

void rt_choose_end(rt_task *t) {
    rt_sampler_free(t->sampler);
    t->sampler = NULL;
}

/* ---- probabilities ----------------------------------------------------------------------- */

static float log_sum_exp(const float *logits, uint32_t n) {
    float max = -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if (isfinite(logits[i]) && logits[i] > max) max = logits[i];
    for (uint32_t i = 0; i < n; i++)
        if (isfinite(logits[i])) sum += exp((double)(logits[i] - max));
    return max + (float)log(sum);
}

/* The most likely tokens, sorted; of equal ones the smaller id first. */
static void find_top(rt_serve_token *out, const float *logits, uint32_t n, uint32_t n_top) {
    out->n_top = 0;
    for (uint32_t id = 0; id < n && n_top; id++) {
        float logit = logits[id];
        uint32_t at = out->n_top;
        if (!isfinite(logit)) continue;
        if (at == n_top) {
            if (logit <= out->top_logprobs[at - 1]) continue;
            at--;
        } else {
            out->n_top++;
        }
        for (; at > 0 && out->top_logprobs[at - 1] < logit; at--) {
            out->top_ids[at] = out->top_ids[at - 1];
            out->top_logprobs[at] = out->top_logprobs[at - 1];
        }
        out->top_ids[at] = (int32_t)id;
        out->top_logprobs[at] = logit;
    }
}

static rt_serve_token *add_token(rt_task *t) {
    if (t->n_tokens == t->tokens_room) {
        size_t room = t->tokens_room ? 2 * t->tokens_room : 4;
        rt_serve_token *grown = realloc(t->tokens, room * sizeof *grown);
        if (!grown) return NULL;
        t->tokens = grown;
        t->tokens_room = room;
    }
    return &t->tokens[t->n_tokens++];
}

/* ---- choice ------------------------------------------------------------------------------ */

static void forbid_end(const rt_serve *s, const rt_task *t, float *logits) {
    const rt_request_opts *o = &t->request->opts;
    if (!o->ignore_end && t->n_generated >= o->min_tokens) return;
    for (size_t i = 0; i < s->n_end_ids; i++) logits[s->end_ids[i]] = -INFINITY;
}

static gguf_code choose(rt_serve *s, rt_task *t, float *logits, int32_t *id, gguf_error *err) {
    const rt_request_opts *o = &t->request->opts;
    rt_serve_token *token = NULL;
    float norm = 0;
    if (o->logprobs) {
        token = add_token(t);
        if (!token) return gguf_fail_memory(err);
        norm = log_sum_exp(logits, s->n_vocab);
        find_top(token, logits, s->n_vocab, o->n_top);
        for (uint32_t i = 0; i < token->n_top; i++) token->top_logprobs[i] -= norm;
    }
    forbid_end(s, t, logits);
    *id = rt_sampler_next(t->sampler, logits);
    if (token) {
        token->id = *id;
        token->logprob = *id < 0 ? 0 : logits[*id] - norm;
    }
    return GGUF_OK;
}

gguf_code rt_choose_rows(rt_serve *s, rt_task *const *tasks, float *const *logits, size_t n,
                         int32_t *ids, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n && !code; i++) code = choose(s, tasks[i], logits[i], &ids[i], err);
    return code;
}
