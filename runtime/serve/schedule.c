/* One step: who gets tokens, computing them, choosing the next ones. */
#include "runtime/serve/serve_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A prompt that got nothing in so many steps goes first. */
#define MAX_PASSED 8
/* An answer is admitted if this much of it finds room beside its prompt. */
#define ADMIT_ANSWER 256

static bool reads(const rt_serve *s, const rt_task *t) {
    return !t->read && t->ids.n > rt_seq_n_past(s->session, t->seq);
}

static bool is_paused(const rt_task *t) {
    return atomic_load(&t->request->paused);
}

/* ---- leaving ----------------------------------------------------------------------------- */

static void remove_running(rt_serve *s, size_t i) {
    memmove(s->running + i, s->running + i + 1, (--s->n_running - i) * sizeof *s->running);
}

static void leave(rt_serve *s, size_t i) {
    rt_task *t = s->running[i];
    rt_cache_end(s, t, !t->request->opts.no_cache);
    remove_running(s, i);
}

static void stop_running(rt_serve *s, rt_task *t) {
    for (size_t i = 0; i < s->n_running; i++)
        if (s->running[i] == t) {
            leave(s, i);
            return;
        }
}

/* Take a request out of everything and end it with an error. */
static void abandon(rt_serve *s, rt_request *r, gguf_code code, const char *message) {
    for (size_t i = 0; i < r->n_tasks; i++) {
        rt_task *t = &r->tasks[i];
        if (t->ended) continue;
        if (t->seq != RT_NO_SEQ)
            stop_running(s, t);
        else if (!t->waits)
            rt_queue_remove(&s->queue, t);
    }
    rt_request_fail(r, code, message);
}

static void finish(rt_serve *s, rt_task *t, rt_serve_finish how, int stop) {
    double now = rt_serve_now(s);
    rt_stats_observe(&s->now_stats.request, rt_serve_time_bounds, now - t->request->submitted_s);
    stop_running(s, t);
    rt_task_finish(t, how, stop);
}

/* ---- coming ------------------------------------------------------------------------------ */

static void enqueue(rt_serve *s, rt_request *r) {
    for (size_t i = 0; i < r->n_tasks; i++) {
        if (r->tasks[i].waits || !rt_queue_put(&s->queue, &r->tasks[i])) continue;
        abandon(s, r, GGUF_E_NOMEM, "out of memory");
        return;
    }
}

static void take_inbox(rt_serve *s) {
    pthread_mutex_lock(&s->lock);
    rt_request *r = s->inbox;
    s->inbox = NULL;
    s->inbox_tail = &s->inbox;
    pthread_mutex_unlock(&s->lock);
    while (r) {
        rt_request *next = r->next;
        enqueue(s, r);
        r = next;
    }
}

/* The first task of a request that was cancelled, or NULL. */
static rt_request *find_cancelled(rt_serve *s) {
    for (size_t i = 0; i < s->n_running; i++)
        if (atomic_load(&s->running[i]->request->cancelled)) return s->running[i]->request;
    for (rt_task *t = s->queue.front; t; t = t->next)
        if (atomic_load(&t->request->cancelled)) return t->request;
    for (size_t i = 0; i < s->queue.n_keys; i++)
        for (rt_task *t = s->queue.keys[i].first; t; t = t->next)
            if (atomic_load(&t->request->cancelled)) return t->request;
    return NULL;
}

static void drop_cancelled(rt_serve *s) {
    for (rt_request *r; (r = find_cancelled(s));) {
        s->now_stats.n_cancelled++;
        abandon(s, r, GGUF_E_CANCELLED, "cancelled");
    }
}

static uint32_t pages_for(size_t n_tokens) {
    return (uint32_t)((n_tokens + RT_PAGE_TOKENS - 1) / RT_PAGE_TOKENS);
}

/* Whether the pages that running tasks leave suffice for a prompt and the beginning of its answer;
 * what is parked gives way. */
static bool has_room(rt_serve *s, const rt_task *t) {
    uint32_t n_total = rt_session_pages(s->session).n_total;
    if (n_total == 0 || s->n_running == 0) return true;
    size_t left = t->request->n_ctx - t->ids.n, answer = t->request->opts.max_tokens;
    if (answer > ADMIT_ANSWER) answer = ADMIT_ANSWER;
    if (answer > left) answer = left;
    size_t cached = rt_cache_find(s, t) / RT_PAGE_TOKENS;
    uint32_t needed = pages_for(t->ids.n + answer) - (uint32_t)cached + 1;
    uint32_t held = rt_cache_held(s), watermark = n_total / 50;
    return held + needed + watermark <= n_total;
}

static size_t n_reading(const rt_serve *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++) n += reads(s, s->running[i]);
    return n;
}

static void admit(rt_serve *s) {
    while (s->n_running < s->opts.n_parallel && (s->embedder || n_reading(s) < RT_MAX_READING)) {
        double now = rt_serve_now(s);
        rt_task *t = rt_queue_first(&s->queue, now);
        if (!t || !has_room(s, t)) return;
        rt_queue_remove(&s->queue, t);
        rt_cache_begin(s, t);
        t->n_passed = 0;
        s->running[s->n_running++] = t;
        if (t->started) continue;
        rt_request_left_queue(t->request);
        rt_queue_spend(&s->queue, t->request->opts.key, (double)(t->n_prompt - t->n_cached));
        s->now_stats.n_prompt_tokens += t->n_prompt;
        s->now_stats.n_cached_tokens += t->n_cached;
        rt_stats_observe(&s->now_stats.queue, rt_serve_time_bounds, now - t->request->submitted_s);
        rt_task_tell_started(t);
    }
}

/* ---- pages ------------------------------------------------------------------------------- */

/* The youngest task goes back to the queue; its tokens are computed again later. */
static void preempt(rt_serve *s) {
    size_t i = s->n_running - 1;
    for (size_t j = 0; j < s->n_running; j++)
        if (is_paused(s->running[j])) i = j;
    rt_task *t = s->running[i];
    rt_cache_end(s, t, false);
    remove_running(s, i);
    t->read = false;
    s->now_stats.n_preempted++;
    rt_queue_put_front(&s->queue, t);
}

static uint32_t pages_needed(const rt_serve *s) {
    uint32_t n = 0;
    for (size_t i = 0; i < s->n_running; i++)
        n += rt_seq_pages_needed(s->session, s->running[i]->seq, (uint32_t)s->running[i]->n_now);
    return n;
}

/* Make room for what the step will append; for drafts nothing gives way. */
static void make_room(rt_serve *s) {
    if (pages_needed(s) > rt_session_pages(s->session).n_free) rt_serve_drop_drafts(s);
    while (pages_needed(s) > rt_session_pages(s->session).n_free)
        if (!rt_cache_evict(s)) {
            if (s->n_running < 2) return;
            preempt(s);
        }
}

/* ---- what a step computes ---------------------------------------------------------------- */

static size_t left_of(const rt_serve *s, const rt_task *t) {
    return t->ids.n - rt_seq_n_past(s->session, t->seq);
}

/* The prompt to go on with: the one that waited too long, or the shortest rest. */
static rt_task *next_prompt(const rt_serve *s) {
    rt_task *best = NULL;
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        if (!reads(s, t) || t->n_now || is_paused(t)) continue;
        bool late = t->n_passed >= MAX_PASSED, best_late = best && best->n_passed >= MAX_PASSED;
        if (!best || late > best_late || (late == best_late && left_of(s, t) < left_of(s, best)))
            best = t;
    }
    return best;
}

/* A part of a prompt ends where a page ends, if that is possible. */
static size_t part_of(const rt_serve *s, const rt_task *t, size_t most) {
    size_t left = left_of(s, t), past = rt_seq_n_past(s->session, t->seq);
    if (left <= most) return left;
    size_t end = (past + most) / RT_PAGE_TOKENS * RT_PAGE_TOKENS;
    return end > past ? end - past : most;
}

static void plan_prompts(rt_serve *s, size_t n_decoding) {
    size_t most = s->n_batch > n_decoding ? s->n_batch - n_decoding : 0;
    size_t left = rt_budget_chunk(&s->budget, s->opts.step_s, n_decoding, most);
    for (rt_task *t; left && (t = next_prompt(s));) {
        t->n_now = part_of(s, t, left);
        t->n_passed = 0;
        left -= t->n_now < left ? t->n_now : left;
    }
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        if (t->n_now == 0 && reads(s, t) && !is_paused(t)) t->n_passed++;
    }
}

/* Texts are computed whole; together up to a batch. */
static void plan_texts(rt_serve *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        if (n && n + t->ids.n > s->n_batch) continue;
        t->n_now = t->ids.n;
        n += t->n_now;
    }
}

static void plan(rt_serve *s) {
    size_t n_decoding = 0;
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        t->n_now = 0;
        if (s->embedder || reads(s, t) || is_paused(t)) continue;
        t->n_now = left_of(s, t); /* one, but for what comes again behind wrong drafts */
        n_decoding++;
    }
    if (s->embedder)
        plan_texts(s);
    else
        plan_prompts(s, n_decoding);
    rt_serve_draft(s, n_decoding);
}

/* ---- computing --------------------------------------------------------------------------- */

/* The spans of the step; *n_rows rows of logits come of them. */
static size_t make_spans(rt_serve *s, size_t *n_rows) {
    size_t n = 0;
    *n_rows = 0;
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        if (!t->n_now) continue;
        uint32_t past = rt_seq_n_past(s->session, t->seq);
        bool ends = past + t->n_now - t->n_drafted == t->ids.n, all = s->embedder || t->n_drafted;
        rt_logits which = all ? RT_LOGITS_ALL : ends ? RT_LOGITS_LAST : RT_LOGITS_NONE;
        s->spans[n] = (rt_span){t->seq, t->ids.data + past, t->n_now, which};
        s->span_tasks[n++] = t;
        *n_rows += all ? t->n_now : ends;
    }
    return n;
}

static bool has_logits_room(rt_serve *s, size_t n_rows) {
    size_t n = n_rows * rt_model_hparams(s->model)->n_out;
    if (n <= s->logits_room) return true;
    free(s->logits);
    s->logits = malloc(n * sizeof *s->logits);
    s->logits_room = s->logits ? n : 0;
    return s->logits != NULL;
}

static gguf_code push_id(rt_task *t, int32_t id) {
    if (t->ids.n == t->ids.room) {
        size_t room = 2 * t->ids.room;
        int32_t *grown = realloc(t->ids.data, room * sizeof *grown);
        if (!grown) return GGUF_E_NOMEM;
        t->ids.data = grown;
        t->ids.room = room;
    }
    t->ids.data[t->ids.n++] = id;
    return GGUF_OK;
}

static void count_token(rt_serve *s, rt_task *t) {
    double now = rt_serve_now(s);
    if (t->n_generated == 0)
        rt_stats_observe(&s->now_stats.first_token, rt_serve_time_bounds,
                         now - t->request->submitted_s);
    else
        rt_stats_observe(&s->now_stats.inter_token, rt_serve_time_bounds, now - t->last_token_s);
    t->last_token_s = now;
    t->n_generated++;
    s->now_stats.n_generated_tokens++;
    rt_queue_spend(&s->queue, t->request->opts.key, 1);
}

/* Whether the answer ends with this token, which is not part of it. */
static bool ends_with(const rt_serve *s, const rt_task *t, int32_t id) {
    const rt_request_opts *o = &t->request->opts;
    for (size_t i = 0; i < o->n_stop_ids; i++)
        if (o->stop_ids[i] == id) return true;
    return !o->ignore_end && id >= 0 && rt_tokenizer_is_end(s->tok, id);
}

static void take_token(rt_serve *s, rt_task *t, int32_t id) {
    const rt_request_opts *o = &t->request->opts;
    if (t->stuck) {
        abandon(s, t->request, GGUF_E_LIMIT,
                "no token of the vocabulary goes on as the grammar wants, or it is so ambiguous "
                "that following it takes too much");
        return;
    }
    if (id < 0) {
        abandon(s, t->request, GGUF_E_NONFINITE, "no logit is finite");
        return;
    }
    count_token(s, t);
    if (ends_with(s, t, id)) {
        finish(s, t, RT_SERVE_END, -1);
        return;
    }
    t->n_reasoning += rt_answer_text_thinks(&t->text);
    rt_answer_text_add(&t->text, s->tok, id);
    if (push_id(t, id) || rt_answer_text_code(&t->text)) {
        abandon(s, t->request, GGUF_E_NOMEM, "out of memory");
        return;
    }
    /* The marker that opens the reasoning is none of the grammar's tokens. */
    bool taken = t->held && rt_constraint_holds(&t->constraint, rt_answer_text_thinks(&t->text));
    bool complete = taken && rt_constraint_take(&t->constraint, id);
    rt_task_tell_part(t);
    if (complete)
        finish(s, t, RT_SERVE_END, -1);
    else if (rt_answer_text_stopped(&t->text))
        finish(s, t, RT_SERVE_STOP, (int)t->text.said.stop);
    else if (t->n_generated >= o->max_tokens)
        finish(s, t, RT_SERVE_LENGTH, -1);
    else if (t->ids.n > t->request->n_ctx)
        finish(s, t, RT_SERVE_FULL, -1);
}

/* The other choices of the prompt find it in the cache now. */
static void free_choices(rt_serve *s, const rt_task *first) {
    rt_request *r = first->request;
    for (uint32_t i = r->opts.n_choices - 1; i > 0; i--) {
        rt_task *t = &r->tasks[first->index + i];
        if (!t->waits) continue;
        t->waits = false;
        rt_queue_put_front(&s->queue, t);
    }
}

static void prompt_is_read(rt_serve *s, rt_task *t) {
    bool first_time = t->read_s == 0;
    t->read = true;
    if (!first_time) return; /* after it was preempted */
    t->read_s = rt_serve_now(s);
    rt_cache_checkpoint(s, t);
    if (t->index % t->request->opts.n_choices == 0) free_choices(s, t);
}

/* Where each task's rows lie. */
static void find_rows(rt_serve *s, size_t n_spans) {
    float *row = s->logits;
    for (size_t i = 0; i < n_spans; i++) {
        rt_task *t = s->span_tasks[i];
        t->row = s->spans[i].which == RT_LOGITS_NONE ? NULL : row;
        t->agrees = true;
        t->n_doubtful = t->n_drafted;
        if (!t->row) {
            rt_task_tell_read(t, rt_seq_n_past(s->session, t->seq));
            continue;
        }
        size_t n_rows = s->spans[i].which == RT_LOGITS_ALL ? s->spans[i].n : 1;
        t->row += (n_rows - 1 - t->n_drafted) * s->n_vocab; /* behind what came again */
        row += n_rows * s->n_vocab;
        if (!t->read) prompt_is_read(s, t);
    }
}

/* The tasks that get a token from their next row: all at first, then those whose last token is the
 * one that was drafted. */
static size_t next_rows(rt_serve *s, size_t n_spans) {
    size_t n = 0;
    for (size_t i = 0; i < n_spans; i++) {
        rt_task *t = s->span_tasks[i];
        if (!t->row || !t->agrees || t->ended) continue;
        s->rows[n] = t->row;
        s->row_tasks[n++] = t;
        t->row += s->n_vocab;
    }
    return n;
}

static void take_drafted(rt_serve *s, rt_task *t, int32_t id) {
    t->agrees = !t->stuck && rt_drafter_check(&t->drafter, id);
    /* The token that ends an answer is not part of it. */
    if (t->agrees && !ends_with(s, t, id)) t->n_doubtful--;
    s->now_stats.n_accepted += t->agrees;
    take_token(s, t, id);
}

/* Give each task what its span made. */
static gguf_code take_rows(rt_serve *s, size_t n_spans, gguf_error *err) {
    gguf_code code = GGUF_OK;
    find_rows(s, n_spans);
    for (size_t n; !code && (n = next_rows(s, n_spans));) {
        code = rt_choose_rows(s, s->row_tasks, s->rows, n, s->chosen, err);
        for (size_t i = 0; i < n && !code; i++)
            if (!s->row_tasks[i]->ended) take_drafted(s, s->row_tasks[i], s->chosen[i]);
    }
    for (size_t i = 0; i < n_spans; i++)
        if (!s->span_tasks[i]->ended) rt_cache_retract(s, s->span_tasks[i]);
    return code;
}

static void take_vectors(rt_serve *s, size_t n_spans) {
    const float *rows = s->logits;
    uint32_t n_out = rt_model_hparams(s->model)->n_out;
    for (size_t i = 0; i < n_spans; i++) {
        rt_task *t = s->span_tasks[i];
        gguf_error err = {0};
        const float *own = rows;
        rows += s->spans[i].n * n_out;
        if (t->ended) continue;
        gguf_code code = rt_pool(s->model, own, s->spans[i].n, s->vector, &err);
        stop_running(s, t);
        if (code)
            abandon(s, t->request, code, err.message);
        else
            rt_task_vector(t, s->vector, rt_pooled_size(s->model));
    }
}

/* A batch failed: each span alone tells whose fault it is. The others are computed again. */
static void find_fault(rt_serve *s, size_t n_spans) {
    for (size_t i = 0; i < n_spans; i++) {
        rt_task *t = s->span_tasks[i];
        gguf_error err = {0};
        rt_span span = s->spans[i];
        if (t->ended) continue;
        span.which = RT_LOGITS_NONE;
        span.n -= t->n_drafted;
        if (t->n_drafted) t->drafter.opts.n_most = 0; /* it may be the drafts' fault */
        gguf_code code = rt_session_eval_spans(s->session, &span, 1, NULL, &err);
        if (code == GGUF_E_CANCELLED) return;
        if (code) abandon(s, t->request, code, err.message);
    }
    while (s->n_running) preempt(s);
}

/* Ending a request in the midst of a step must not free what the step still looks at. */
static void hold(const rt_serve *s, size_t n_spans) {
    for (size_t i = 0; i < n_spans; i++) atomic_fetch_add(&s->span_tasks[i]->request->n_refs, 1);
}

static void let_go(const rt_serve *s, size_t n_spans) {
    for (size_t i = 0; i < n_spans; i++) rt_request_unref(s->span_requests[i]);
}

static void abandon_all(rt_serve *s, size_t n_spans, gguf_code code, const char *message) {
    for (size_t i = 0; i < n_spans; i++)
        if (!s->span_tasks[i]->ended) abandon(s, s->span_tasks[i]->request, code, message);
}

/* The tokens of a step; n_again are those that come again behind wrong drafts. */
typedef struct step_counts {
    size_t n_decoding, n_prompt, n_drafted, n_again;
} step_counts;

static step_counts count_step(const rt_serve *s, size_t n_spans) {
    step_counts c = {0};
    for (size_t i = 0; i < n_spans; i++) {
        const rt_task *t = s->span_tasks[i];
        c.n_drafted += t->n_drafted;
        if (!t->read) {
            c.n_prompt += s->spans[i].n;
            continue;
        }
        c.n_decoding++;
        c.n_again += s->spans[i].n - t->n_drafted - 1;
    }
    return c;
}

static void learn(rt_serve *s, const step_counts *c, double seconds) {
    if (c->n_prompt)
        rt_budget_learn(&s->budget, c->n_decoding, c->n_prompt + c->n_again, 0, seconds);
    else
        rt_budget_learn(&s->budget, c->n_decoding, 0, c->n_drafted + c->n_again, seconds);
    s->now_stats.n_steps++;
    s->now_stats.n_drafted += c->n_drafted;
    s->now_stats.step_seconds += seconds;
    rt_stats_observe(&s->now_stats.step_tokens, rt_serve_count_bounds,
                     (double)(c->n_prompt + c->n_decoding + c->n_drafted + c->n_again));
}

static void compute(rt_serve *s, size_t n_spans) {
    gguf_error err = {0};
    const step_counts counts = count_step(s, n_spans);
    double start = rt_serve_now(s);
    gguf_code code = rt_session_eval_spans(s->session, s->spans, n_spans, s->logits, &err);
    if (code == GGUF_E_CANCELLED) return;
    if (code) {
        find_fault(s, n_spans);
        return;
    }
    if (s->embedder)
        take_vectors(s, n_spans);
    else
        code = take_rows(s, n_spans, &err);
    if (code) abandon_all(s, n_spans, code, err.message);
    learn(s, &counts, rt_serve_now(s) - start);
}

bool rt_serve_do_step(rt_serve *s) {
    size_t n_rows;
    take_inbox(s);
    drop_cancelled(s);
    admit(s);
    plan(s);
    make_room(s);
    size_t n_spans = make_spans(s, &n_rows);
    if (n_spans && !has_logits_room(s, n_rows)) {
        abandon_all(s, n_spans, GGUF_E_NOMEM, "out of memory");
        n_spans = 0;
    }
    for (size_t i = 0; i < n_spans; i++) s->span_requests[i] = s->span_tasks[i]->request;
    hold(s, n_spans);
    if (n_spans) compute(s, n_spans);
    let_go(s, n_spans);
    rt_serve_publish(s);
    return n_spans > 0;
}

void rt_serve_abandon_all(rt_serve *s) {
    take_inbox(s);
    while (s->n_running) abandon(s, s->running[0]->request, GGUF_E_CANCELLED, "the server ends");
    for (rt_task *t; (t = rt_queue_first(&s->queue, 0));)
        abandon(s, t->request, GGUF_E_CANCELLED, "the server ends");
}
