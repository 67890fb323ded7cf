/* Choosing the next tokens: the samplers of tasks, and how likely the model found what they took.
 */
#include "runtime/serve/serve_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The request's biases, and while the answer must not end, bans of the tokens that end it. */
static gguf_code set_bias(const rt_serve *s, rt_task *t, bool may_end, gguf_error *err) {
    const rt_request_opts *o = &t->request->opts;
    size_t n = o->n_bias, n_bans = may_end ? 0 : s->n_end_ids;
    if (n + n_bans == 0 && may_end && !t->bans_end) return GGUF_OK;
    rt_logit_bias *all = malloc((n + n_bans + 1) * sizeof *all);
    if (!all) return gguf_fail_memory(err);
    if (n) memcpy(all, o->bias, n * sizeof *all);
    for (size_t i = 0; i < n_bans; i++) all[n++] = (rt_logit_bias){s->end_ids[i], -INFINITY};
    gguf_code code = rt_sampler_set_bias(t->sampler, all, n, err);
    t->bans_end = !may_end;
    free(all);
    return code;
}

gguf_code rt_choose_begin(rt_serve *s, rt_task *t, gguf_error *err) {
    const rt_request_opts *o = &t->request->opts;
    rt_sampler_opts opts = o->sampler;
    opts.seed += t->index % o->n_choices;
    gguf_code code = rt_sampler_new(&opts, s->n_vocab, &t->sampler, err);
    if (!code && o->grammar)
        code = rt_constraint_init(&t->constraint, o->grammar, s->tok, s->table, t->ids.data,
                                  t->n_prompt, err);
    if (!code && o->grammar) rt_constraint_limit(&t->constraint, o->max_tokens);
    return code ? code : set_bias(s, t, !o->ignore_end && o->min_tokens == 0, err);
}

void rt_choose_end(rt_task *t) {
    rt_sampler_free(t->sampler);
    rt_constraint_clear(&t->constraint);
    t->sampler = NULL;
}

static gguf_code add_token(rt_serve *s, rt_task *t, const float *logits, int32_t id,
                           gguf_error *err) {
    if (t->n_tokens == t->tokens_room) {
        size_t room = t->tokens_room ? 2 * t->tokens_room : 4;
        rt_serve_token *grown = realloc(t->tokens, room * sizeof *grown);
        if (!grown) return gguf_fail_memory(err);
        t->tokens = grown;
        t->tokens_room = room;
    }
    rt_serve_token *token = &t->tokens[t->n_tokens++];
    token->id = id;
    token->n_top =
        rt_logprobs(s->sampling, logits, id, &token->logprob, token->top, t->request->opts.n_top);
    return GGUF_OK;
}

static gguf_code hold(rt_task *t, gguf_error *err) {
    const rt_answer_text *text = &t->text;
    t->held = rt_constraint_holds(&t->constraint, rt_answer_text_thinks(text));
    gguf_code code = t->held ? rt_constraint_next(&t->constraint, err) : GGUF_OK;
    const char *open = t->n_generated == 0 ? rt_answer_text_opens(text) : NULL;
    if (t->held && !code && !t->constraint.in_channels && open)
        rt_constraint_admit(&t->constraint, open);
    rt_sampler_set_mask(t->sampler, t->held && !code ? t->constraint.mask : NULL);
    return code;
}

static void hold_all(rt_serve *s, rt_task *const *tasks, size_t n) {
    double start = rt_serve_now(s);
    for (size_t i = 0; i < n; i++) {
        gguf_error err = {0};
        /* No token is taken of such an answer: the id says so. */
        if (hold(tasks[i], &err)) tasks[i]->stuck = true;
    }
    s->now_stats.mask_seconds += rt_serve_now(s) - start;
}

gguf_code rt_choose_rows(rt_serve *s, rt_task *const *tasks, float *const *logits, size_t n,
                         int32_t *ids, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n && !code; i++) {
        const rt_request_opts *o = &tasks[i]->request->opts;
        s->samplers[i] = tasks[i]->sampler;
        if (tasks[i]->bans_end && !o->ignore_end && tasks[i]->n_generated >= o->min_tokens)
            code = set_bias(s, tasks[i], true, err);
    }
    if (!code) hold_all(s, tasks, n);
    if (!code) code = rt_sample_rows(s->sampling, s->samplers, logits, n, ids, err);
    for (size_t i = 0; i < n && !code; i++)
        if (tasks[i]->request->opts.logprobs && ids[i] >= 0)
            code = add_token(s, tasks[i], logits[i], ids[i], err);
    return code;
}
