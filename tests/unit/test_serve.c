/* The engine of a server: the same answers in any company, the cache, memory, cancelling, queues.
 */
#include "runtime/serve/serve.h"
#include "runtime/serve/serve_internal.h"
#include "unit_model.h"

#include <sched.h>

#define MAX_IDS 4096

/* What came of a request. */
typedef struct outcome {
    int32_t ids[MAX_IDS]; /* of all choices, in order of their events */
    size_t n_ids, n_cached, n_prompt, n_generated;
    uint32_t n_started, n_finished;
    rt_serve_finish finish;
    int stop;
    char text[4 * MAX_IDS];
    size_t len;
    float vectors[8][512];
    size_t n_vectors;
    gguf_code code;
    atomic_bool ended;
} outcome;

static void on_event(void *ctx, const rt_serve_event *e) {
    outcome *o = ctx;
    ck_assert(!o->ended);
    if (e->kind == RT_SERVE_STARTED) {
        o->n_started++;
        o->n_prompt = e->n_prompt;
        o->n_cached += e->n_cached;
    }
    for (size_t i = 0; e->kind == RT_SERVE_PART && i < e->n_tokens; i++)
        o->ids[o->n_ids++] = e->tokens[i].id;
    if (e->kind == RT_SERVE_PART) {
        memcpy(o->text + o->len, e->text.ptr, e->text.len);
        o->len += e->text.len;
    }
    if (e->kind == RT_SERVE_VECTOR) {
        ck_assert_uint_lt(e->index, 8);
        memcpy(o->vectors[e->index], e->vector, e->n_vector * sizeof(float));
        o->n_vectors++;
    }
    if (e->kind == RT_SERVE_FINISHED) {
        o->n_finished++;
        o->finish = e->finish;
        o->stop = e->stop;
        o->n_generated += e->n_generated;
    }
    o->code = e->code;
    o->ended = e->kind == RT_SERVE_ENDED;
}

/* ---- models and requests ----------------------------------------------------------------- */

typedef struct fixture {
    rt_model *model;
    rt_tokenizer *tok;
    rt_serve *serve;
} fixture;

static void open_fixture(fixture *f, const char *folder, const rt_serve_opts *opts) {
    gguf_error err = {0};
    f->model = unit_model(folder, GGUF_TYPE_Q8_0);
    unit_ok(rt_tokenizer_new(gguf_file_meta(rt_model_file(f->model)), &f->tok, &err), err);
    unit_ok(rt_serve_new(f->model, f->tok, opts, &f->serve, &err), err);
}

static void close_fixture(fixture *f) {
    rt_serve_free(f->serve);
    rt_tokenizer_free(f->tok);
    rt_model_close(f->model);
}

static rt_serve_opts small_opts(void) {
    rt_serve_opts o = rt_serve_defaults();
    o.n_ctx = 256;
    o.n_parallel = 8;
    o.n_parked = 8;
    o.n_threads = 2;
    return o;
}

/* A prompt of n tokens that depends on a number; the first n_same depend on it not. */
static void make_prompt(int32_t *ids, size_t n, size_t n_same, unsigned number) {
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(3 + (i * 37 + (i < n_same ? 0 : number * 101)) % 50);
}

static rt_request_opts request_opts(const rt_ids *prompt, float temp, uint64_t seed, outcome *o) {
    rt_request_opts r = {.prompts = prompt,
                         .n_prompts = 1,
                         .n_choices = 1,
                         .sampler = rt_sampler_defaults(),
                         .max_tokens = 24,
                         .ignore_end = true,
                         .logprobs = true,
                         .event = on_event,
                         .ctx = o};
    r.sampler.temp = temp;
    r.sampler.seed = seed;
    return r;
}

static rt_request *submit(fixture *f, const rt_request_opts *opts) {
    gguf_error err = {0};
    rt_request *request;
    unit_ok(rt_serve_submit(f->serve, opts, &request, &err), err);
    return request;
}

static void run_all(fixture *f) {
    for (int i = 0; i < 100000 && rt_serve_step(f->serve); i++) continue;
}

static outcome *new_outcome(void) {
    outcome *o = calloc(1, sizeof *o);
    ck_assert_ptr_nonnull(o);
    return o;
}

static outcome *answer(fixture *f, const rt_request_opts *opts) {
    outcome *o = new_outcome();
    rt_request_opts own = *opts;
    own.ctx = o;
    rt_request *r = submit(f, &own);
    run_all(f);
    ck_assert(o->ended);
    rt_request_release(r);
    return o;
}

static void same_ids(const outcome *a, const outcome *b) {
    ck_assert_uint_eq(a->n_ids, b->n_ids);
    ck_assert_mem_eq(a->ids, b->ids, a->n_ids * sizeof *a->ids);
}

/* ---- the same answers in any company ----------------------------------------------------- */

static const struct {
    const char *folder;
    uint32_t n_crowd;
} models[] = {{"demo-model", 64},
              {"models/gemma2", 12},
              {"models/qwen3_next", 12},
              {"models/mamba2", 12},
              {"models/llama4", 12}};

/* Number of the prompt, greedy or seeded. */
static outcome *crowd_member(fixture *f, unsigned number, bool wait, rt_request **request) {
    int32_t ids[150];
    rt_ids prompt = {ids, 20 + number * 2 % 120, 0};
    make_prompt(ids, prompt.n, number % 3 * 10, number);
    rt_request_opts opts = request_opts(&prompt, number % 2 ? 0.9f : 0, number, NULL);
    if (wait) return answer(f, &opts);
    outcome *o = new_outcome();
    opts.ctx = o;
    *request = submit(f, &opts);
    return o;
}

START_TEST(alone_and_in_a_crowd) {
    fixture f;
    rt_serve_opts opts = small_opts();
    uint32_t n = models[_i].n_crowd;
    outcome *alone[64], *crowd[64];
    rt_request *requests[64];
    opts.n_parallel = n < 16 ? 4 : n;
    open_fixture(&f, models[_i].folder, &opts);
    for (uint32_t i = 0; i < n; i++) alone[i] = crowd_member(&f, i, true, NULL);
    close_fixture(&f);
    open_fixture(&f, models[_i].folder, &opts);
    for (uint32_t i = 0; i < n; i++) crowd[i] = crowd_member(&f, i, false, &requests[i]);
    run_all(&f);
    for (uint32_t i = 0; i < n; i++) {
        ck_assert(crowd[i]->ended);
        ck_assert_uint_eq(crowd[i]->n_ids, 24);
        same_ids(alone[i], crowd[i]);
        rt_request_release(requests[i]);
    }
    /* Again, now from the cache. */
    for (uint32_t i = 0; i < n; i++) {
        outcome *again = crowd_member(&f, i, true, NULL);
        same_ids(alone[i], again);
        free(again);
        free(alone[i]);
        free(crowd[i]);
    }
    close_fixture(&f);
}
END_TEST

/* ---- the cache --------------------------------------------------------------------------- */

START_TEST(prefixes_are_computed_once) {
    fixture f;
    int32_t ids[200];
    rt_serve_opts opts = small_opts();
    open_fixture(&f, "demo-model", &opts);
    make_prompt(ids, 200, 150, 1);
    rt_ids prompt = {ids, 200, 0};
    rt_request_opts r = request_opts(&prompt, 0, 0, NULL);
    outcome *first = answer(&f, &r), *again = answer(&f, &r);
    ck_assert_uint_eq(first->n_cached, 0);
    ck_assert_uint_eq(again->n_cached, 199);
    same_ids(first, again);
    make_prompt(ids, 200, 150, 2);
    outcome *other = answer(&f, &r);
    ck_assert_uint_eq(other->n_cached, 150);
    r.no_cache = true;
    outcome *cold = answer(&f, &r);
    ck_assert_uint_eq(cold->n_cached, 0);
    same_ids(other, cold);
    free(first), free(again), free(other), free(cold);
    close_fixture(&f);
}
END_TEST

/* The next turn of a conversation goes on where its prompt ended, also where layers have windows or
 * states, and gives what a cold start gives. */
START_TEST(conversations_go_on) {
    fixture f;
    int32_t ids[220];
    rt_serve_opts opts = small_opts();
    if (_i % 2) opts.draft = (rt_draft_opts){true, 8, true}; /* which push nothing out */
    open_fixture(&f, models[_i / 2].folder, &opts);
    make_prompt(ids, 220, 0, 7);
    rt_ids prompt = {ids, 100, 0};
    rt_request_opts r = request_opts(&prompt, 0, 0, NULL);
    free(answer(&f, &r));
    prompt.n = 160;
    outcome *next = answer(&f, &r);
    ck_assert_uint_eq(next->n_cached, 100);
    prompt.n = 220;
    outcome *third = answer(&f, &r);
    ck_assert_uint_eq(third->n_cached, 160);
    r.no_cache = true;
    outcome *cold = answer(&f, &r);
    ck_assert_uint_eq(cold->n_cached, 0);
    same_ids(third, cold);
    free(next), free(third), free(cold);
    close_fixture(&f);
}
END_TEST

START_TEST(choices_share_their_prompt) {
    fixture f;
    int32_t ids[130];
    rt_serve_opts opts = small_opts();
    open_fixture(&f, "demo-model", &opts);
    make_prompt(ids, 130, 0, 3);
    rt_ids prompt = {ids, 130, 0};
    rt_request_opts r = request_opts(&prompt, 0.9f, 5, NULL);
    r.n_choices = 4;
    r.max_tokens = 8;
    outcome *four = answer(&f, &r);
    ck_assert_uint_eq(four->n_finished, 4);
    ck_assert_uint_eq(four->n_cached, 3 * 129);
    rt_serve_stats stats;
    rt_serve_stats_get(f.serve, &stats);
    ck_assert_uint_eq(stats.n_prompt_tokens - stats.n_cached_tokens, 133);
    free(four);
    close_fixture(&f);
}
END_TEST

/* Requests that do not fit together take turns, and their answers stay what they are. */
START_TEST(little_memory) {
    fixture f;
    outcome *alone[6], *crowd[6];
    rt_request *requests[6];
    rt_serve_opts opts = small_opts();
    opts.n_kv_tokens = 6 * 64;
    rt_request_opts r[6];
    int32_t ids[6][100];
    rt_ids prompts[6];
    open_fixture(&f, "demo-model", &opts);
    for (unsigned i = 0; i < 6; i++) {
        make_prompt(ids[i], 40, 0, i);
        prompts[i] = (rt_ids){ids[i], 40, 0};
        r[i] = request_opts(&prompts[i], i % 2 ? 0.8f : 0, i, NULL);
        r[i].max_tokens = i == 5 ? 200 : 100;
        alone[i] = answer(&f, &r[i]);
    }
    rt_serve_stats before, after;
    rt_serve_stats_get(f.serve, &before);
    for (unsigned i = 0; i < 6; i++) {
        r[i].ctx = crowd[i] = new_outcome();
        requests[i] = submit(&f, &r[i]);
    }
    run_all(&f);
    rt_serve_stats_get(f.serve, &after);
    for (unsigned i = 0; i < 6; i++) {
        ck_assert(crowd[i]->ended);
        same_ids(alone[i], crowd[i]);
        rt_request_release(requests[i]);
        free(alone[i]), free(crowd[i]);
    }
    close_fixture(&f);
}
END_TEST

/* Answers that outgrow what they were admitted with: the youngest gives way and comes back. */
START_TEST(preemption) {
    fixture f;
    outcome *alone[3], *crowd[3];
    rt_request *requests[3];
    rt_serve_opts opts = small_opts();
    opts.n_ctx = 640;
    opts.n_kv_tokens = 18 * 64;
    rt_request_opts r[3];
    int32_t ids[3][100];
    rt_ids prompts[3];
    open_fixture(&f, "demo-model", &opts);
    for (unsigned i = 0; i < 3; i++) {
        make_prompt(ids[i], 30, 0, i);
        prompts[i] = (rt_ids){ids[i], 30, 0};
        r[i] = request_opts(&prompts[i], i % 2 ? 0.8f : 0, i, NULL);
        r[i].max_tokens = 600;
        alone[i] = answer(&f, &r[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        r[i].ctx = crowd[i] = new_outcome();
        requests[i] = submit(&f, &r[i]);
    }
    run_all(&f);
    rt_serve_stats stats;
    rt_serve_stats_get(f.serve, &stats);
    ck_assert_uint_gt(stats.n_preempted, 0);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(crowd[i]->ended);
        ck_assert_uint_eq(crowd[i]->n_ids, 600);
        same_ids(alone[i], crowd[i]);
        rt_request_release(requests[i]);
        free(alone[i]), free(crowd[i]);
    }
    close_fixture(&f);
}
END_TEST

static double fixed_time(void *ctx) {
    return *(const double *)ctx;
}

/* While a long prompt is read, part by part, the answers of others get their token in every step.
 * The clock stands still, so that nothing is known of what a step takes. */
START_TEST(long_prompts_hold_up_nobody) {
    fixture f;
    double time = 100;
    int32_t ids[3][230];
    outcome o[3] = {{.n_ids = 0}};
    rt_request *requests[3];
    rt_serve_opts opts = small_opts();
    opts.now = fixed_time;
    opts.now_ctx = &time;
    open_fixture(&f, "demo-model", &opts);
    for (unsigned i = 0; i < 3; i++) {
        rt_ids prompt = {ids[i], i == 2 ? 230 : 10, 0};
        make_prompt(ids[i], prompt.n, 0, i);
        rt_request_opts r = request_opts(&prompt, 0, 0, &o[i]);
        if (i == 2) /* the others decode already */
            for (int j = 0; j < 3; j++) ck_assert(rt_serve_step(f.serve));
        requests[i] = submit(&f, &r);
    }
    size_t n_steps = 0;
    for (; o[2].n_ids == 0 && n_steps < 100; n_steps++) {
        size_t before[2] = {o[0].n_ids, o[1].n_ids};
        ck_assert(rt_serve_step(f.serve));
        ck_assert_uint_eq(o[0].n_ids, before[0] + 1);
        ck_assert_uint_eq(o[1].n_ids, before[1] + 1);
    }
    ck_assert_uint_eq(n_steps, 4); /* 64 tokens each, then the rest */
    run_all(&f);
    for (int i = 0; i < 3; i++) {
        ck_assert(o[i].ended);
        rt_request_release(requests[i]);
    }
    close_fixture(&f);
}
END_TEST

/* ---- the course of a request ------------------------------------------------------------- */

START_TEST(cancelling_frees_within_a_step) {
    fixture f;
    int32_t ids[60];
    outcome o = {0};
    rt_serve_stats stats;
    rt_serve_opts opts = small_opts();
    open_fixture(&f, "demo-model", &opts);
    make_prompt(ids, 60, 0, 1);
    rt_ids prompt = {ids, 60, 0};
    rt_request_opts r = request_opts(&prompt, 0, 0, &o);
    r.max_tokens = 150;
    r.no_cache = true;
    rt_request *request = submit(&f, &r);
    for (int i = 0; i < 5; i++) ck_assert(rt_serve_step(f.serve));
    rt_serve_stats_get(f.serve, &stats);
    ck_assert_uint_eq(stats.n_running, 1);
    ck_assert_uint_gt(stats.n_pages_used, 0);
    rt_request_cancel(request);
    rt_serve_step(f.serve);
    ck_assert(o.ended);
    ck_assert_int_eq(o.code, GGUF_E_CANCELLED);
    rt_serve_stats_get(f.serve, &stats);
    ck_assert_uint_eq(stats.n_running, 0);
    ck_assert_uint_eq(stats.n_pages_used, 0);
    ck_assert_uint_eq(stats.n_cancelled, 1);
    rt_request_release(request);
    close_fixture(&f);
}
END_TEST

START_TEST(a_slow_reader_pauses_alone) {
    fixture f;
    int32_t ids[2][30];
    outcome o[2] = {{.n_ids = 0}};
    rt_request *requests[2];
    rt_serve_opts opts = small_opts();
    open_fixture(&f, "demo-model", &opts);
    for (unsigned i = 0; i < 2; i++) {
        make_prompt(ids[i], 30, 0, i);
        rt_ids prompt = {ids[i], 30, 0};
        rt_request_opts r = request_opts(&prompt, 0, 0, &o[i]);
        requests[i] = submit(&f, &r);
    }
    rt_serve_step(f.serve);
    rt_serve_step(f.serve);
    rt_request_pause(requests[0], true);
    size_t n = o[0].n_ids;
    run_all(&f);
    ck_assert_uint_eq(o[0].n_ids, n);
    ck_assert(!o[0].ended && o[1].ended);
    rt_request_pause(requests[0], false);
    run_all(&f);
    ck_assert(o[0].ended);
    ck_assert_uint_eq(o[0].n_ids, 24);
    rt_request_release(requests[0]);
    rt_request_release(requests[1]);
    close_fixture(&f);
}
END_TEST

START_TEST(ends_of_answers) {
    fixture f;
    int32_t ids[250];
    rt_serve_opts opts = small_opts();
    open_fixture(&f, "demo-model", &opts);
    make_prompt(ids, 250, 0, 1);
    rt_ids prompt = {ids, 250, 0};
    rt_request_opts r = request_opts(&prompt, 0, 0, NULL);
    outcome *full = answer(&f, &r);
    ck_assert_int_eq(full->finish, RT_SERVE_FULL);
    ck_assert_uint_eq(full->n_ids, 7);
    prompt.n = 30;
    outcome *whole = answer(&f, &r);
    ck_assert_int_eq(whole->finish, RT_SERVE_LENGTH);
    ck_assert_uint_eq(whole->n_generated, 24);
    ck_assert_uint_gt(whole->len, 12);
    /* A stop text from the middle of the answer ends it before that. */
    char stop[8] = {0};
    memcpy(stop, whole->text + 8, 3);
    const char *const stops[] = {"never in a text", stop};
    r.text.stops = stops;
    r.text.n_stops = 2;
    outcome *stopped = answer(&f, &r);
    ck_assert_int_eq(stopped->finish, RT_SERVE_STOP);
    ck_assert_int_eq(stopped->stop, 1);
    ck_assert_uint_le(stopped->len, 8);
    ck_assert_mem_eq(stopped->text, whole->text, stopped->len);
    free(full), free(whole), free(stopped);
    close_fixture(&f);
}
END_TEST

START_TEST(refusals) {
    fixture f;
    gguf_error err = {0};
    int32_t ids[300];
    rt_request *request;
    rt_serve_opts opts = small_opts();
    opts.n_parallel = 1;
    opts.n_queue = 2;
    open_fixture(&f, "demo-model", &opts);
    make_prompt(ids, 300, 0, 1);
    rt_ids prompt = {ids, 257, 0};
    outcome o[3] = {{.n_ids = 0}};
    rt_request_opts r = request_opts(&prompt, 0, 0, &o[0]);
    unit_fails(rt_serve_submit(f.serve, &r, &request, &err), GGUF_E_LIMIT,
               "the prompt has 257 tokens and exceeds the available context size: this model's "
               "maximum context length is 256 tokens",
               err);
    prompt.n = 0;
    err = (gguf_error){0};
    unit_fails(rt_serve_submit(f.serve, &r, &request, &err), GGUF_E_USAGE, "no tokens", err);
    prompt.n = 4;
    ids[2] = 1 << 20;
    err = (gguf_error){0};
    unit_fails(rt_serve_submit(f.serve, &r, &request, &err), GGUF_E_USAGE, "vocabulary", err);
    ids[2] = 3;
    r.embed = true;
    err = (gguf_error){0};
    unit_fails(rt_serve_submit(f.serve, &r, &request, &err), GGUF_E_USAGE, "not vectors", err);
    r.embed = false;
    rt_request *accepted[3];
    for (int i = 0; i < 3; i++) {
        r.ctx = &o[i];
        accepted[i] = submit(&f, &r);
    }
    err = (gguf_error){0};
    unit_fails(rt_serve_submit(f.serve, &r, &request, &err), GGUF_E_EXISTS, "queue is full", err);
    run_all(&f);
    for (int i = 0; i < 3; i++) {
        ck_assert(o[i].ended);
        rt_request_release(accepted[i]);
    }
    close_fixture(&f);
}
END_TEST

/* Everything that has not ended ends with the engine. */
START_TEST(the_end_of_the_engine) {
    fixture f;
    int32_t ids[30];
    outcome o[12] = {{.n_ids = 0}};
    rt_serve_opts opts = small_opts();
    gguf_error err = {0};
    open_fixture(&f, "demo-model", &opts);
    unit_ok(rt_serve_start(f.serve, &err), err);
    make_prompt(ids, 30, 0, 1);
    rt_ids prompt = {ids, 30, 0};
    for (int i = 0; i < 12; i++) {
        rt_request_opts r = request_opts(&prompt, 0, 0, &o[i]);
        r.max_tokens = 200;
        rt_request_release(submit(&f, &r));
    }
    while (o[0].n_started == 0 && !o[0].ended) sched_yield();
    close_fixture(&f);
    for (int i = 0; i < 12; i++) ck_assert(o[i].ended);
}
END_TEST

START_TEST(vectors_do_not_depend_on_company) {
    fixture f;
    static const char *const folders[] = {"models/bert_sentence", "models/qwen3_embedding"};
    rt_serve_opts opts = small_opts();
    opts.n_ctx = 64;
    int32_t ids[3][40];
    rt_ids prompts[3];
    open_fixture(&f, folders[_i], &opts);
    for (unsigned i = 0; i < 3; i++) {
        prompts[i] = (rt_ids){ids[i], 5 + 11 * i, 0};
        make_prompt(ids[i], prompts[i].n, 0, i);
    }
    rt_request_opts r = {.prompts = prompts, .n_prompts = 3, .n_choices = 1, .embed = true};
    r.event = on_event;
    outcome *list = answer(&f, &r);
    ck_assert_uint_eq(list->n_vectors, 3);
    size_t n = rt_pooled_size(f.model);
    ck_assert_uint_le(n, 512);
    for (unsigned i = 0; i < 3; i++) {
        r.prompts = &prompts[i];
        r.n_prompts = 1;
        outcome *alone = answer(&f, &r);
        ck_assert_mem_eq(alone->vectors[0], list->vectors[i], n * sizeof(float));
        free(alone);
    }
    free(list);
    close_fixture(&f);
}
END_TEST

/* ---- parts ------------------------------------------------------------------------------- */

START_TEST(keys_take_turns) {
    rt_serve_queue q = {0};
    rt_request heavy = {.opts.key = 1, .submitted_s = 0}, light = {.opts.key = 2, .submitted_s = 5};
    rt_task a[3] = {{.request = &heavy}, {.request = &heavy}, {.request = &heavy}};
    rt_task b = {.request = &light}, front = {.request = &heavy};
    for (int i = 0; i < 3; i++) ck_assert_int_eq(rt_queue_put(&q, &a[i]), GGUF_OK);
    ck_assert_ptr_eq(rt_queue_first(&q, 10), &a[0]);
    rt_queue_remove(&q, &a[0]);
    rt_queue_spend(&q, 1, 100);
    ck_assert_int_eq(rt_queue_put(&q, &b), GGUF_OK);
    rt_queue_spend(&q, 1, 1); /* the newcomer began level with those that wait */
    ck_assert_ptr_eq(rt_queue_first(&q, 10), &b);
    ck_assert_ptr_eq(rt_queue_first(&q, 31), &a[1]); /* waited for too long */
    rt_queue_put_front(&q, &front);
    ck_assert_ptr_eq(rt_queue_first(&q, 10), &front);
    rt_queue_remove(&q, &front);
    rt_queue_remove(&q, &b);
    rt_queue_remove(&q, &a[2]);
    ck_assert_ptr_eq(rt_queue_first(&q, 10), &a[1]);
    rt_queue_remove(&q, &a[1]);
    ck_assert_ptr_null(rt_queue_first(&q, 10));
    ck_assert_uint_eq(q.n_tasks, 0);
    rt_queue_clear(&q);
}
END_TEST

START_TEST(time_of_a_step) {
    rt_step_budget b = {0};
    ck_assert_uint_eq(rt_budget_chunk(&b, 0.1, 0, 512), 512); /* nobody is delayed */
    ck_assert_uint_eq(rt_budget_chunk(&b, 0.1, 8, 504), 64);  /* nothing is known */
    for (int i = 0; i < 100; i++) {
        rt_budget_learn(&b, 8, 0, 0, 0.032);
        rt_budget_learn(&b, 8, 64, 0, 0.032 + 64 * 0.0005);
    }
    ck_assert_double_eq_tol(rt_budget_decode_s(&b, 8), 0.032, 1e-6);
    ck_assert_double_eq_tol(b.token_s, 0.0005, 1e-6);
    /* Up to two and a half ordinary steps, and up to the time that was asked for. */
    ck_assert_uint_eq(rt_budget_chunk(&b, 0.2, 8, 504), 96);
    ck_assert_uint_eq(rt_budget_chunk(&b, 0.05, 8, 504), 36);
    ck_assert_uint_eq(rt_budget_chunk(&b, 0.01, 8, 504), 16);
    ck_assert_uint_eq(rt_budget_chunk(&b, 0.2, 8, 20), 20);
}
END_TEST

/* ---- what the model thinks --------------------------------------------------------------- */

/* The text of an answer from pieces of n bytes: thoughts in brackets. */
static void divide(const char *text, size_t n_piece, bool inside, char *out, size_t room) {
    static const rt_reasoning_markers markers = {.open = "<think>", .close = "</think>"};
    const rt_answer_text_opts opts = {.markers = markers, .split = true, .inside = inside};
    rt_answer_text t;
    size_t n = strlen(text), len = 0;
    rt_answer_text_init(&t, &opts);
    for (size_t i = 0; i <= n; i += n_piece) {
        size_t now = n - i < n_piece ? n - i : n_piece;
        rt_answer_text_put(&t, (gguf_str){text + i, now});
        if (i + n_piece > n) rt_answer_text_end(&t);
        gguf_str thought = rt_answer_text_take_thought(&t);
        for (size_t j = 0; j < thought.len; j++)
            len += (size_t)snprintf(out + len, room - len, "(%c)", thought.ptr[j]);
        gguf_str said = rt_answer_text_take_said(&t);
        len += (size_t)snprintf(out + len, room - len, "%.*s", (int)said.len, said.ptr);
    }
    rt_answer_text_clear(&t);
}

static const struct {
    const char *text;
    bool inside;
    const char *expected;
} thoughts[] = {
    {"abc", false, "abc"},
    {"<think>\na b\n</think>\n\nc", false, "(a)( )(b)c"},
    {"\n<think>a</think>c", false, "(a)c"},
    {" <thin", false, " <thin"},
    {"a<think>b", false, "a<think>b"},
    {"a\n</think>c", true, "(a)c"},
    {"a</thin", true, "(a)(<)(/)(t)(h)(i)(n)"},
    {"</think>c", true, "c"},
    {"<think></think>", false, ""},
    {"\n</think>\n c", false, "c"},
    {"</thinc", false, "</thinc"},
};

START_TEST(thoughts_apart) {
    for (size_t n = 1; n < 9; n++) {
        char out[256] = "";
        divide(thoughts[_i].text, n, thoughts[_i].inside, out, sizeof out);
        ck_assert_str_eq(out, thoughts[_i].expected);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("serve");
    TCase *answers = tcase_create("answers"), *parts = tcase_create("parts");
    tcase_set_timeout(answers, 0);
    tcase_add_loop_test(answers, alone_and_in_a_crowd, 0, sizeof models / sizeof models[0]);
    tcase_add_test(answers, prefixes_are_computed_once);
    tcase_add_loop_test(answers, conversations_go_on, 0,
                        2 * (int)(sizeof models / sizeof models[0]));
    tcase_add_test(answers, choices_share_their_prompt);
    tcase_add_test(answers, little_memory);
    tcase_add_test(answers, preemption);
    tcase_add_test(answers, long_prompts_hold_up_nobody);
    tcase_add_test(answers, cancelling_frees_within_a_step);
    tcase_add_test(answers, a_slow_reader_pauses_alone);
    tcase_add_test(answers, ends_of_answers);
    tcase_add_test(answers, refusals);
    tcase_add_test(answers, the_end_of_the_engine);
    tcase_add_loop_test(answers, vectors_do_not_depend_on_company, 0, 2);
    tcase_add_test(parts, keys_take_turns);
    tcase_add_test(parts, time_of_a_step);
    tcase_add_loop_test(parts, thoughts_apart, 0, sizeof thoughts / sizeof thoughts[0]);
    suite_add_tcase(suite, answers);
    suite_add_tcase(suite, parts);
    return unit_run(suite);
}
