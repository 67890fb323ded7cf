/* Requests: their tasks, and the events that they cause. */
#include "runtime/serve/serve_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ------------------------------------------------------------------------------ */

static gguf_code check_prompts(const rt_serve *s, const rt_request_opts *o, uint32_t n_ctx,
                               gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < o->n_prompts && !code; i++) {
        const rt_ids *ids = &o->prompts[i];
        if (ids->n == 0)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the prompt has no tokens");
        if (ids->n > n_ctx)
            return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                             "the prompt has %zu tokens and exceeds the available context size: "
                             "this model's maximum context length is %" PRIu32 " tokens",
                             ids->n, n_ctx);
        code = rt_check_tokens(s->model, ids->data, ids->n, err);
    }
    return code;
}

static gguf_code check_opts(const rt_serve *s, const rt_request_opts *o, gguf_error *err) {
    if (o->n_prompts == 0 || o->n_choices == 0 || o->n_top > RT_SERVE_MAX_TOP)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%zu prompts, %" PRIu32 " choices, %" PRIu32 " top tokens: the first two "
                         "are at least 1, the last at most %d",
                         o->n_prompts, o->n_choices, o->n_top, RT_SERVE_MAX_TOP);
    if (o->embed == s->embedder) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s",
                     s->embedder ? "the model makes vectors, not answers"
                                 : "the model makes answers, not vectors");
}

static bool copy_prediction(rt_request *r) {
    const rt_ids *from = r->opts.prediction;
    r->opts.prediction = NULL;
    if (!from || from->n == 0) return true;
    r->prediction.data = malloc(from->n * sizeof *from->data);
    if (!r->prediction.data) return false;
    memcpy(r->prediction.data, from->data, from->n * sizeof *from->data);
    r->prediction.n = r->prediction.room = from->n;
    return true;
}

static gguf_code copy_lists(rt_request *r, gguf_error *err) {
    size_t n = r->opts.text.n_stops;
    r->stops = calloc(n + 1, sizeof *r->stops);
    if (!r->stops) return gguf_fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        r->stops[i] = strdup(r->opts.text.stops[i]);
        if (!r->stops[i]) return gguf_fail_memory(err);
    }
    r->opts.text.stops = (const char *const *)r->stops;
    if (r->opts.grammar) rt_grammar_ref(r->opts.grammar);
    r->grammar = r->opts.grammar;
    if (!copy_prediction(r)) return gguf_fail_memory(err);
    n = r->opts.n_stop_ids;
    r->stop_ids = malloc((n + 1) * sizeof *r->stop_ids);
    if (!r->stop_ids) return gguf_fail_memory(err);
    if (n) memcpy(r->stop_ids, r->opts.stop_ids, n * sizeof *r->stop_ids);
    r->opts.stop_ids = r->stop_ids;
    if (r->opts.n_bias == 0) return GGUF_OK;
    r->bias = malloc(r->opts.n_bias * sizeof *r->bias);
    if (!r->bias) return gguf_fail_memory(err);
    memcpy(r->bias, r->opts.bias, r->opts.n_bias * sizeof *r->bias);
    r->opts.bias = r->bias;
    return GGUF_OK;
}

static gguf_code init_task(rt_serve *s, rt_request *r, uint32_t index, const rt_ids *prompt,
                           gguf_error *err) {
    rt_task *t = &r->tasks[index];
    *t = (rt_task){.request = r, .index = index, .seq = RT_NO_SEQ, .n_prompt = prompt->n};
    rt_answer_text_init(&t->text, &r->opts.text);
    t->waits = index % r->opts.n_choices != 0;
    t->ids.data = malloc((prompt->n + 64) * sizeof *t->ids.data);
    if (!t->ids.data) return gguf_fail_memory(err);
    memcpy(t->ids.data, prompt->data, prompt->n * sizeof *prompt->data);
    t->ids.n = prompt->n;
    t->ids.room = prompt->n + 64;
    rt_serve_draft_begin(s, t);
    return r->opts.embed ? GGUF_OK : rt_choose_begin(s, t, err);
}

gguf_code rt_request_new(rt_serve *s, const rt_request_opts *opts, rt_request **out,
                         gguf_error *err) {
    uint32_t n_ctx = opts->n_ctx && opts->n_ctx < s->n_ctx ? opts->n_ctx : s->n_ctx;
    gguf_code code = check_opts(s, opts, err);
    if (!code) code = check_prompts(s, opts, n_ctx, err);
    if (code) return code;
    rt_request *r = calloc(1, sizeof *r);
    if (!r) return gguf_fail_memory(err);
    *r = (rt_request){.serve = s, .opts = *opts, .n_ctx = n_ctx, .submitted_s = rt_serve_now(s)};
    atomic_init(&r->n_refs, 1);
    code = copy_lists(r, err);
    size_t n = opts->n_prompts * opts->n_choices;
    if (!code) r->tasks = calloc(n, sizeof *r->tasks);
    if (!code && !r->tasks) code = gguf_fail_memory(err);
    for (; r->n_tasks < n && !code; r->n_tasks++)
        code = init_task(s, r, (uint32_t)r->n_tasks, &opts->prompts[r->n_tasks / opts->n_choices],
                         err);
    r->opts.prompts = NULL;
    if (code)
        rt_request_unref(r);
    else
        *out = r;
    return code;
}

static void clear_task(rt_task *t) {
    rt_choose_end(t);
    rt_answer_text_clear(&t->text);
    rt_ids_clear(&t->ids);
    free(t->tokens);
}

void rt_request_unref(rt_request *r) {
    if (!r || atomic_fetch_sub(&r->n_refs, 1) != 1) return;
    for (size_t i = 0; i < r->n_tasks; i++) clear_task(&r->tasks[i]);
    for (size_t i = 0; r->stops && r->stops[i]; i++) free(r->stops[i]);
    free(r->stops);
    rt_grammar_unref(r->grammar);
    free(r->bias);
    free(r->stop_ids);
    rt_ids_clear(&r->prediction);
    free(r->tasks);
    free(r);
}

void rt_request_left_queue(rt_request *r) {
    if (!r->queued) return;
    r->queued = false;
    pthread_mutex_lock(&r->serve->lock);
    r->serve->n_waiting_requests--;
    pthread_mutex_unlock(&r->serve->lock);
}

void rt_request_release(rt_request *request) {
    rt_request_unref(request);
}

static void wake(rt_serve *s) {
    pthread_mutex_lock(&s->lock);
    s->wake_up = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void rt_request_cancel(rt_request *request) {
    atomic_store(&request->cancelled, true);
    wake(request->serve);
}

void rt_request_pause(rt_request *request, bool paused) {
    atomic_store(&request->paused, paused);
    if (!paused) wake(request->serve);
}

/* ---- events ------------------------------------------------------------------------------ */

static void tell(rt_request *r, const rt_serve_event *event) {
    if (r->opts.event) r->opts.event(r->opts.ctx, event);
}

void rt_task_tell_started(rt_task *t) {
    const rt_serve_event event = {.kind = RT_SERVE_STARTED,
                                  .index = t->index,
                                  .n_prompt = t->n_prompt,
                                  .n_cached = t->n_cached};
    if (t->started) return;
    t->started = true;
    t->started_s = rt_serve_now(t->request->serve);
    tell(t->request, &event);
}

void rt_task_tell_read(rt_task *t, size_t n_read) {
    const rt_serve_event event = {.kind = RT_SERVE_READING,
                                  .index = t->index,
                                  .n_prompt = t->n_prompt,
                                  .n_cached = t->n_cached,
                                  .n_read = n_read,
                                  .prompt_s = rt_serve_now(t->request->serve) - t->started_s};
    if (t->request->opts.progress && n_read < t->n_prompt) tell(t->request, &event);
}

/* Tokens wait for text that they are part of. */
void rt_task_tell_part(rt_task *t) {
    rt_serve_event event = {.kind = RT_SERVE_PART, .index = t->index};
    event.thought = rt_answer_text_take_thought(&t->text);
    event.text = rt_answer_text_take_said(&t->text);
    if (!event.thought.len && !event.text.len && !(t->ended && t->n_tokens)) return;
    event.n_generated = t->n_generated;
    event.n_reasoning = t->n_reasoning;
    event.prompt_s = t->read_s - t->started_s;
    event.answer_s = rt_serve_now(t->request->serve) - t->read_s;
    event.tokens = t->tokens;
    event.n_tokens = t->n_tokens;
    tell(t->request, &event);
    t->n_tokens = 0;
}

/* The engine forgets the request with its last event. */
static void end_task(rt_task *t) {
    rt_request *r = t->request;
    rt_serve_event event = {.kind = RT_SERVE_ENDED, .code = r->code, .message = r->message};
    if (++r->n_ended < r->n_tasks) return;
    rt_request_left_queue(r);
    tell(r, &event);
    rt_request_unref(r);
}

void rt_task_finish(rt_task *t, rt_serve_finish finish, int stop) {
    double now = rt_serve_now(t->request->serve);
    const rt_draft_counts *drafts = &t->drafter.counts;
    rt_serve_event event = {.kind = RT_SERVE_FINISHED,
                            .index = t->index,
                            .finish = finish,
                            .stop = stop,
                            .n_prompt = t->n_prompt,
                            .n_cached = t->n_cached,
                            .n_generated = t->n_generated,
                            .n_reasoning = t->n_reasoning,
                            .n_foreseen = (size_t)drafts->n_foreseen,
                            .n_unforeseen = (size_t)(drafts->n_predicted - drafts->n_foreseen),
                            .ids = t->ids.data,
                            .n_ids = t->ids.n,
                            .queue_s = t->started_s - t->request->submitted_s,
                            .prompt_s = t->read_s - t->started_s,
                            .answer_s = now - t->read_s};
    t->ended = true;
    rt_answer_text_end(&t->text);
    rt_task_tell_part(t);
    tell(t->request, &event);
    end_task(t);
}

void rt_task_vector(rt_task *t, const float *vector, size_t n) {
    const rt_serve_event event = {.kind = RT_SERVE_VECTOR,
                                  .index = t->index,
                                  .n_prompt = t->n_prompt,
                                  .vector = vector,
                                  .n_vector = n};
    t->ended = true;
    tell(t->request, &event);
    end_task(t);
}

void rt_request_fail(rt_request *r, gguf_code code, const char *message) {
    size_t n_left = r->n_tasks - r->n_ended;
    if (!r->code) {
        r->code = code;
        snprintf(r->message, sizeof r->message, "%s", message);
    }
    for (size_t i = 0; n_left && i < r->n_tasks; i++) {
        if (r->tasks[i].ended) continue;
        r->tasks[i].ended = true;
        n_left--;
        end_task(&r->tasks[i]); /* the last one may free the request */
    }
}
