/* Speculation: the same answers with drafts as without, whatever is drafted. */
#include "runtime/chat/answer.h"
#include "runtime/engine/pages.h"
#include "runtime/serve/serve.h"
#include "unit_model.h"

#include <sched.h>

#define N_DRAFT 8
#define MAX_IDS 256

/* ---- copies and their odds --------------------------------------------------------------- */

static const struct {
    const char *text, *copy; /* a letter is a token */
    size_t n_match;
} copies[] = {
    {"abcdefabc", "defabc", 3},   /* and goes on into what is copied */
    {"abcxbcabc", "xbcabc", 3},   /* the longer place, */
    {"abcxabcyabc", "yabcya", 3}, /* the later one */
    {"aaaa", "aaaaaa", 3},
    {"ababab", "ababab", 4},
    {"xabcdefghijabcdefghij", "abcdef", 8},
    {"abcdefg", "", 1},
    {"abcb", "", 1}, /* one token tells nothing */
    {"a", "", 1},
    {"", "", 1},
};

START_TEST(copied) {
    int32_t text[32], out[6];
    size_t n = strlen(copies[_i].text), n_match;
    for (size_t i = 0; i < n; i++) text[i] = copies[_i].text[i];
    ck_assert_uint_eq(rt_draft_copy(text, n, out, 6, &n_match), strlen(copies[_i].copy));
    ck_assert_uint_eq(n_match, copies[_i].n_match);
    for (size_t i = 0; copies[_i].copy[i]; i++) ck_assert_int_eq(out[i], copies[_i].copy[i]);
}
END_TEST

static size_t propose(rt_drafter *d, const char *text, size_t n_answer, double cost) {
    int32_t ids[64];
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) ids[i] = text[i];
    return rt_drafter_propose(d, ids, n, n_answer, 64, cost, 1);
}

/* More where drafts were right, none where they were wrong; those count that were not evaluated. */
START_TEST(only_what_pays) {
    rt_drafter d = {.opts = {.lookup = true, .n_most = N_DRAFT}};
    rt_drafter_begin(&d);
    ck_assert_uint_eq(propose(&d, "abcdefgabcd", 4, 0.5), 0);
    size_t first = propose(&d, "abcdefgabcd", 4, 0.2);
    ck_assert_uint_gt(first, 0);
    ck_assert_uint_lt(first, N_DRAFT);
    for (int i = 0; i < 50; i++) {
        propose(&d, "abcdefgabcd", 4, 1e9);
        ck_assert(!rt_drafter_check(&d, 'e')); /* as drafted, but not evaluated */
    }
    ck_assert_uint_eq(propose(&d, "abcdefgabcd", 4, 0.2), N_DRAFT);
    for (size_t i = 0; i < N_DRAFT; i++) ck_assert(rt_drafter_check(&d, "efgabcde"[i]));
    ck_assert(!rt_drafter_check(&d, 'f'));
    ck_assert_uint_eq(d.counts.n_accepted, N_DRAFT);
    for (int i = 0; i < 50; i++) {
        propose(&d, "abcdefgabcd", 4, 0.2);
        ck_assert(!rt_drafter_check(&d, 'x'));
        ck_assert(!rt_drafter_check(&d, 'f')); /* after a wrong one none is right */
    }
    ck_assert_uint_eq(propose(&d, "abcdefgabcd", 4, 0.2), 0);
    rt_drafter_begin(&d); /* what was learnt stays */
    ck_assert_uint_eq(propose(&d, "abcdefgabcd", 4, 0.2), 0);
}
END_TEST

START_TEST(predicted) {
    int32_t ids[] = {'o', 'n', 'c', 'e', ' ', 'u', 'p', 'o', 'n', 'c', 'e', '!'};
    const rt_ids prediction = {ids, sizeof ids / sizeof *ids, 0};
    rt_drafter d = {.opts = {.lookup = true, .n_most = 4}, .prediction = &prediction};
    rt_drafter_begin(&d);
    ck_assert_uint_eq(propose(&d, "tell:o", 1, 0.1), 4); /* it begins like the answer */
    for (size_t i = 0; i < 3; i++) ck_assert(rt_drafter_check(&d, "nce"[i]));
    ck_assert(!rt_drafter_check(&d, '-'));
    ck_assert_uint_eq(propose(&d, "tell:once- upon", 10, 0.1), 3); /* it is found again: */
    for (size_t i = 0; i < 3; i++) ck_assert(rt_drafter_check(&d, "ce!"[i]));
    ck_assert_uint_eq(d.counts.n_predicted, 7);
    ck_assert_uint_eq(d.counts.n_foreseen, 6);
    ck_assert_uint_eq(propose(&d, "tell:zz", 2, 0.1), 0);
    propose(&d, "tell:once", 4, 0.1);
    rt_drafter_drop(&d);
    ck_assert_uint_eq(d.counts.n_predicted, 7);
    ck_assert(!rt_drafter_check(&d, ' '));
}
END_TEST

START_TEST(cost_of_drafts) {
    rt_step_budget b = {0};
    ck_assert_double_gt(rt_budget_draft_cost(&b, 1), 0); /* nothing is known */
    for (int i = 0; i < 50; i++) {
        rt_budget_learn(&b, 1, 0, 0, 0.010);
        rt_budget_learn(&b, 1, 0, 4, 0.018);
        rt_budget_learn(&b, 2, 0, 0, 0.012);
    }
    ck_assert_double_eq_tol(rt_budget_draft_cost(&b, 1), 0.2, 1e-6);
    ck_assert_double_eq_tol(rt_budget_draft_cost(&b, 2), 2 * 0.002 / 0.012, 1e-6);
    for (int i = 0; i < 50; i++) rt_budget_learn(&b, 1, 0, 4, 0.001);
    ck_assert_double_gt(rt_budget_draft_cost(&b, 1), 0.01); /* a draft never costs nothing */
}
END_TEST

/* ---- models ------------------------------------------------------------------------------ */

static const struct {
    const char *folder;
    bool drafts;        /* the others keep states, and drafts are only looked up */
    const char *window; /* a key that gives all layers with attention a window */
} models[] = {{"demo-model", true, NULL},
              {"models/gemma3", true, NULL},
              {"models/llama4", true, NULL},
              {"models/deepseek_v3", true, NULL},
              {"models/gpt_oss", true, NULL},
              {"models/qwen3_next", false, NULL},
              {"models/mamba2", false, NULL},
              {"models/falcon_h1", false, NULL},
              {"models/jamba", false, NULL},
              {"models/lfm2", false, NULL},
              {"models/kimi_linear", false, NULL},
              {"models/nemotron_h", false, NULL},
              {"models/qwen3_5", false, NULL},
              {"models/qwen3_next", false, "qwen3next.attention.sliding_window"},
              {"models/falcon_h1", false, "falcon-h1.attention.sliding_window"},
              {"models/lfm2", false, "lfm2.attention.sliding_window"}};
#define N_MODELS (sizeof models / sizeof models[0])
#define WINDOW   24

typedef struct fixture {
    rt_model *model;
    rt_tokenizer *tok;
    rt_draft_model *draft;
    uint32_t n_vocab;
} fixture;

/* The draft model is the model itself: what it drafts without chance is right. */
static void open_model(fixture *f, rt_model *model, bool drafts) {
    gguf_error err = {0};
    *f = (fixture){.model = model};
    f->n_vocab = rt_model_hparams(f->model)->n_vocab;
    unit_ok(rt_tokenizer_new(gguf_file_meta(rt_model_file(f->model)), &f->tok, &err), err);
    if (!drafts) return;
    rt_session_opts like = rt_session_defaults();
    like.n_ctx = MAX_IDS;
    like.n_threads = 2;
    rt_session_opts own = rt_draft_session_opts(&like, 2);
    unit_ok(rt_draft_model_new(f->model, &own, f->n_vocab, &f->draft, &err), err);
}

static void open_fixture(fixture *f, const char *folder, bool drafts) {
    open_model(f, unit_model(folder, GGUF_TYPE_Q8_0), drafts);
}

static void open_listed(fixture *f, int i) {
    rt_model *model = unit_model_with(models[i].folder, GGUF_TYPE_Q8_0, models[i].window, WINDOW);
    ck_assert(!models[i].window ||
              rt_layers_count(&rt_model_hparams(model)->windowed, RT_MAX_LAYERS));
    open_model(f, model, models[i].drafts);
}

static void close_fixture(fixture *f) {
    rt_draft_model_free(f->draft);
    rt_tokenizer_free(f->tok);
    rt_model_close(f->model);
}

/* Some tokens that come again and again. */
static rt_ids prompt_of(const fixture *f, size_t n, unsigned salt) {
    rt_ids ids = {malloc(n * sizeof(int32_t)), n, n};
    ck_assert_ptr_nonnull(ids.data);
    for (size_t i = 0; i < n; i++)
        ids.data[i] = (int32_t)((i % 11 * (i % 11) * 31 + salt) % (f->n_vocab - 3) + 3);
    return ids;
}

/* ---- one answer -------------------------------------------------------------------------- */

static const rt_sampler_opts samplers[] = {
    {.temp = 0},
    {.temp = 0.9f, .top_k = 4, .top_p = 1, .seed = 7},
    {.temp = 0.7f, .top_p = 0.9f, .seed = 3, .repeat_penalty = 1.3f, .repeat_last_n = 16},
    {.temp = 0, .top_p = 1, .presence_penalty = 0.6f, .frequency_penalty = 0.3f},
};
#define N_SAMPLERS (sizeof samplers / sizeof samplers[0])

typedef struct how {
    rt_draft_opts draft;
    bool model, predicts;     /* from the answer without drafts, which is wrong here and there */
    const rt_ids *prediction; /* or NULL */
    const char *stop;
    rt_grammar *grammar;
    uint32_t n_ctx, n_predict;
} how;

static rt_answer answer_to(fixture *f, const rt_ids *prompt, const rt_sampler_opts *sampler,
                           const how *h) {
    gguf_error err = {0};
    rt_session_opts opts = rt_session_defaults();
    rt_session *session;
    rt_generator g;
    rt_answer a;
    const rt_answer_opts answer = {.n_predict = h->n_predict,
                                   .stops = &h->stop,
                                   .n_stops = h->stop != NULL,
                                   .grammar = h->grammar};
    opts.n_ctx = h->n_ctx;
    opts.n_threads = 2;
    rt_answer_session_opts(rt_model_hparams(f->model), &opts, h->draft.n_most);
    unit_ok(rt_session_new(f->model, &opts, &session, &err), err);
    unit_ok(rt_generator_init(&g, f->model, session, 0, f->tok, sampler, &err), err);
    if (h->draft.n_most) rt_generator_draft(&g, &h->draft, h->model ? f->draft : NULL);
    g.drafter.prediction = h->prediction;
    unit_ok(rt_generator_answer(&g, prompt, &answer, &a, &err), err);
    /* The sequence holds the prompt and the answer, but for its last token. */
    uint32_t n_past = rt_seq_n_past(session, 0);
    if (!rt_model_hparams(f->model)->n_recurrent)
        ck_assert_uint_ge(n_past, prompt->n + a.ids.n - (a.ids.n > 0));
    ck_assert_uint_le(n_past, prompt->n + a.ids.n);
    rt_generator_clear(&g);
    rt_session_free(session);
    return a;
}

/* Returns how many drafted tokens came true. */
static uint64_t check_same(fixture *f, const rt_ids *prompt, const rt_sampler_opts *sampler,
                           how h) {
    how plain = h;
    plain.draft = (rt_draft_opts){0};
    rt_answer without = answer_to(f, prompt, sampler, &plain);
    rt_ids prediction = {malloc((without.ids.n + 1) * sizeof(int32_t)), without.ids.n, 0};
    for (size_t i = 0; i < prediction.n; i++)
        prediction.data[i] = i % 7 == 6 ? 3 : without.ids.data[i];
    if (h.predicts) h.prediction = &prediction;
    rt_answer with = answer_to(f, prompt, sampler, &h);
    rt_ids_clear(&prediction);
    ck_assert_uint_eq(with.ids.n, without.ids.n);
    if (with.ids.n)
        ck_assert_mem_eq(with.ids.data, without.ids.data, with.ids.n * sizeof *with.ids.data);
    ck_assert_int_eq(with.finish, without.finish);
    ck_assert_int_eq(with.context_full, without.context_full);
    ck_assert_uint_eq(with.text.said.text.len, without.text.said.text.len);
    if (with.text.said.text.len)
        ck_assert_mem_eq(with.text.said.text.data, without.text.said.text.data,
                         with.text.said.text.len);
    ck_assert_uint_eq(without.n_drafts, 0);
    ck_assert_uint_le(with.n_accepted, with.n_drafts);
    uint64_t n = with.n_accepted;
    rt_answer_clear(&with);
    rt_answer_clear(&without);
    return n;
}

START_TEST(same_answers) {
    fixture f;
    uint64_t n_accepted = 0;
    bool drafts = models[_i].drafts;
    open_listed(&f, _i);
    rt_ids prompt = prompt_of(&f, 40, 5);
    for (size_t i = 0; i < N_SAMPLERS; i++) {
        how h = {.draft = {true, N_DRAFT, true}, .n_ctx = 160, .n_predict = 90};
        check_same(&f, &prompt, &samplers[i], h);
        h.predicts = true;
        n_accepted += check_same(&f, &prompt, &samplers[i], h);
        h.predicts = false;
        h.draft.lookup = false;
        h.model = drafts;
        n_accepted += check_same(&f, &prompt, &samplers[i], h);
    }
    ck_assert_uint_gt(n_accepted, 100);
    rt_ids_clear(&prompt);
    close_fixture(&f);
}
END_TEST

/* As many drafts as what a stop text, the limit and the context leave. */
START_TEST(ends_of_answers) {
    fixture f;
    gguf_error err = {0};
    open_fixture(&f, "demo-model", true);
    rt_ids prompt = prompt_of(&f, 40, 5);
    how h = {.draft = {true, N_DRAFT, true}, .model = true, .n_ctx = MAX_IDS};
    for (h.n_predict = 0; h.n_predict < 20; h.n_predict++) check_same(&f, &prompt, &samplers[0], h);
    h.n_predict = 100;
    for (h.n_ctx = 40; h.n_ctx < 60; h.n_ctx++) check_same(&f, &prompt, &samplers[0], h);
    h.n_ctx = MAX_IDS;
    h.stop = "e";
    for (size_t i = 0; i < N_SAMPLERS; i++) check_same(&f, &prompt, &samplers[i], h);
    h.stop = NULL;
    static const char digits[] = "root ::= (\"0\" | \"1\" | \", \"){12}";
    unit_ok(rt_grammar_gbnf(digits, strlen(digits), &h.grammar, &err), err);
    for (size_t i = 0; i < N_SAMPLERS; i++) check_same(&f, &prompt, &samplers[i], h);
    rt_grammar_unref(h.grammar);
    rt_ids_clear(&prompt);
    close_fixture(&f);
}
END_TEST

/* What the draft model itself would say is always right: a step makes several tokens. */
START_TEST(always_right) {
    fixture f;
    open_fixture(&f, "demo-model", true);
    rt_ids prompt = prompt_of(&f, 30, 2);
    how h = {.draft = {false, N_DRAFT, true}, .model = true, .n_ctx = MAX_IDS, .n_predict = 100};
    rt_answer a = answer_to(&f, &prompt, &samplers[0], &h);
    ck_assert_uint_gt(a.n_drafts, 0);
    ck_assert_uint_eq(a.n_accepted, a.n_drafts);
    rt_answer_clear(&a);
    rt_ids_clear(&prompt);
    close_fixture(&f);
}
END_TEST

START_TEST(other_vocabularies) {
    gguf_error err = {0};
    fixture a, b;
    open_fixture(&a, "demo-model", false);
    open_fixture(&b, "models/qwen3_next", false);
    unit_ok(rt_check_same_tokens(a.tok, a.tok, "draft.gguf", &err), err);
    unit_fails(rt_check_same_tokens(a.tok, b.tok, "draft.gguf", &err), GGUF_E_UNSUPPORTED,
               "another vocabulary", err);
    err = (gguf_error){0};
    unit_fails(rt_check_drafts(b.model, &err), GGUF_E_UNSUPPORTED, "keep a state", err);
    unit_ok(rt_check_drafts(a.model, &err), err);
    close_fixture(&a);
    close_fixture(&b);
}
END_TEST

/* Wherever it is allowed, a sequence with a window can go back. */
START_TEST(windows_go_back) {
    gguf_error err = {0};
    rt_session_opts opts = rt_session_defaults();
    rt_session *session;
    fixture f;
    opts.n_ctx = MAX_IDS;
    opts.n_threads = 1;
    open_fixture(&f, models[1 + _i].folder, false);
    ck_assert_uint_gt(rt_layers_count(&rt_model_hparams(f.model)->windowed, RT_MAX_LAYERS), 0);
    unit_ok(rt_session_new(f.model, &opts, &session, &err), err);
    rt_ids ids = prompt_of(&f, MAX_IDS, 1);
    bool limited = false;
    for (uint32_t n_past = 0; n_past + 1 + N_DRAFT <= MAX_IDS; n_past++) {
        uint32_t n = rt_seq_returnable(session, 0, N_DRAFT);
        limited |= n < N_DRAFT;
        unit_ok(rt_session_eval(session, ids.data + n_past, 1 + n, RT_LOGITS_NONE, NULL, &err),
                err);
        unit_ok(rt_seq_truncate(session, 0, n_past + 1, NULL, &err), err);
    }
    ck_assert(limited);
    rt_ids_clear(&ids);
    rt_session_free(session);
    close_fixture(&f);
}
END_TEST

/* ---- the engine -------------------------------------------------------------------------- */

typedef struct outcome {
    int32_t ids[4 * MAX_IDS];
    float logprobs[4 * MAX_IDS];
    size_t n_ids, n_foreseen, n_unforeseen, n_finished;
    rt_serve_finish finish;
    gguf_code code;
    atomic_bool ended;
} outcome;

static void on_event(void *ctx, const rt_serve_event *e) {
    outcome *o = ctx;
    for (size_t i = 0; e->kind == RT_SERVE_PART && i < e->n_tokens; i++, o->n_ids++) {
        o->ids[o->n_ids] = e->tokens[i].id;
        o->logprobs[o->n_ids] = e->tokens[i].logprob;
    }
    if (e->kind == RT_SERVE_FINISHED) {
        o->n_finished++;
        o->finish = e->finish;
        o->n_foreseen += e->n_foreseen;
        o->n_unforeseen += e->n_unforeseen;
    }
    o->code = e->code;
    o->ended = e->kind == RT_SERVE_ENDED;
}

typedef struct crowd {
    rt_serve *serve;
    rt_serve_stats stats;
    outcome *outcomes; /* [n] */
    size_t n;
} crowd;

static void open_crowd(crowd *c, fixture *f, rt_draft_opts draft, bool model, size_t n) {
    gguf_error err = {0};
    rt_serve_opts opts = rt_serve_defaults();
    *c = (crowd){.n = n, .outcomes = calloc(n, sizeof *c->outcomes)};
    ck_assert_ptr_nonnull(c->outcomes);
    opts.n_ctx = MAX_IDS;
    opts.n_parallel = 4;
    opts.n_parked = 4;
    opts.n_threads = 2;
    opts.draft = draft;
    opts.draft_model = model ? f->draft : NULL;
    opts.n_kv_tokens = 2 * MAX_IDS; /* so that some give way */
    unit_ok(rt_serve_new(f->model, f->tok, &opts, &c->serve, &err), err);
}

static void close_crowd(crowd *c) {
    rt_serve_free(c->serve);
    free(c->outcomes);
}

static rt_request_opts request_opts(const rt_ids *prompt, size_t i, outcome *o) {
    rt_request_opts r = {.prompts = prompt,
                         .n_prompts = 1,
                         .n_choices = 1,
                         .sampler = samplers[i % N_SAMPLERS],
                         .max_tokens = 60,
                         .min_tokens = i % 3 * 20,
                         .logprobs = true,
                         .event = on_event,
                         .ctx = o};
    return r;
}

/* Requests of different lengths, one with two choices, some of which share prompts. */
static void run_crowd(crowd *c, fixture *f, const rt_ids *prediction, bool cancel) {
    gguf_error err = {0};
    rt_request *requests[8];
    for (size_t i = 0; i < c->n; i++) {
        rt_ids prompt = prompt_of(f, 20 + 13 * i, (unsigned)i / 2);
        rt_request_opts r = request_opts(&prompt, i, &c->outcomes[i]);
        r.n_choices = i == 1 ? 2 : 1;
        r.prediction = prediction;
        unit_ok(rt_serve_submit(c->serve, &r, &requests[i], &err), err);
        rt_ids_clear(&prompt);
    }
    for (int step = 0; rt_serve_step(c->serve); step++)
        if (cancel && step == 8) rt_request_cancel(requests[2]);
    for (size_t i = 0; i < c->n; i++) {
        ck_assert(c->outcomes[i].ended);
        rt_request_release(requests[i]);
    }
    rt_serve_stats_get(c->serve, &c->stats);
}

static void check_crowds(const crowd *a, const crowd *b, size_t but) {
    for (size_t i = 0; i < a->n; i++) {
        const outcome *x = &a->outcomes[i], *y = &b->outcomes[i];
        if (i == but) continue;
        ck_assert_int_eq(x->code, y->code);
        ck_assert_int_eq(x->finish, y->finish);
        ck_assert_uint_eq(x->n_ids, y->n_ids);
        if (x->n_finished > 1) continue; /* events of choices mix */
        ck_assert_mem_eq(x->ids, y->ids, x->n_ids * sizeof *x->ids);
        ck_assert_mem_eq(x->logprobs, y->logprobs, x->n_ids * sizeof *x->logprobs);
    }
}

typedef enum source { COPIES, PREDICTION, MODEL } source;

/* What the first request of a crowd says, which is wrong here and there. */
static rt_ids prediction_of(const crowd *c) {
    rt_ids p = {malloc((c->outcomes->n_ids + 1) * sizeof(int32_t)), c->outcomes->n_ids, 0};
    ck_assert_ptr_nonnull(p.data);
    for (size_t i = 0; i < p.n; i++) p.data[i] = i % 7 == 6 ? 3 : c->outcomes->ids[i];
    return p;
}

static void check_crowd(fixture *f, const crowd *plain, source from, bool cancel) {
    crowd drafts;
    rt_ids prediction = prediction_of(plain);
    open_crowd(&drafts, f, (rt_draft_opts){from != MODEL, N_DRAFT, true}, from == MODEL, plain->n);
    run_crowd(&drafts, f, from == PREDICTION ? &prediction : NULL, cancel);
    check_crowds(plain, &drafts, cancel ? 2 : SIZE_MAX);
    if (from != COPIES) ck_assert_uint_gt(drafts.stats.n_accepted, 0);
    ck_assert_uint_le(drafts.stats.n_accepted, drafts.stats.n_drafted);
    ck_assert_uint_eq(drafts.stats.n_cancelled, cancel);
    rt_ids_clear(&prediction);
    close_crowd(&drafts);
}

START_TEST(same_crowds) {
    fixture f;
    crowd plain;
    open_listed(&f, _i);
    open_crowd(&plain, &f, (rt_draft_opts){0}, false, 6);
    run_crowd(&plain, &f, NULL, false);
    ck_assert_uint_eq(plain.stats.n_drafted, 0);
    for (source from = COPIES; from <= (models[_i].drafts ? MODEL : PREDICTION); from++)
        for (int cancel = 0; cancel < 2; cancel++) check_crowd(&f, &plain, from, cancel);
    close_crowd(&plain);
    close_fixture(&f);
}
END_TEST

/* The engine in a thread of its own, while others submit, pause and cancel. */
START_TEST(in_a_thread) {
    gguf_error err = {0};
    fixture f;
    crowd c;
    rt_serve_stats stats;
    rt_request *requests[4];
    open_fixture(&f, "demo-model", true);
    open_crowd(&c, &f, (rt_draft_opts){true, N_DRAFT, true}, true, 4);
    unit_ok(rt_serve_start(c.serve, &err), err);
    for (size_t i = 0; i < c.n; i++) {
        rt_ids prompt = prompt_of(&f, 20 + 13 * i, (unsigned)i);
        rt_request_opts r = request_opts(&prompt, i, &c.outcomes[i]);
        r.max_tokens = 100;
        unit_ok(rt_serve_submit(c.serve, &r, &requests[i], &err), err);
        rt_ids_clear(&prompt);
    }
    rt_request_pause(requests[1], true);
    do rt_serve_stats_get(c.serve, &stats);
    while (stats.n_accepted == 0 && sched_yield() == 0);
    rt_request_cancel(requests[0]);
    rt_request_pause(requests[1], false);
    do rt_serve_stats_get(c.serve, &stats);
    while (stats.n_running + stats.n_waiting > 0);
    rt_serve_end(c.serve);
    for (size_t i = 0; i < c.n; i++) {
        ck_assert(c.outcomes[i].ended);
        if (i > 0) ck_assert_uint_eq(c.outcomes[i].n_finished, 1);
        rt_request_release(requests[i]);
    }
    close_crowd(&c);
    close_fixture(&f);
}
END_TEST

/* The answer itself as its prediction comes true; another text is in vain. */
START_TEST(predictions) {
    fixture f;
    crowd plain, drafts;
    open_fixture(&f, "demo-model", false);
    open_crowd(&plain, &f, (rt_draft_opts){0}, false, 1);
    run_crowd(&plain, &f, NULL, false);
    const outcome *known = &plain.outcomes[0];
    rt_ids right = {malloc(known->n_ids * sizeof(int32_t)), known->n_ids, 0};
    memcpy(right.data, known->ids, right.n * sizeof *right.data);
    for (int wrong = 0; wrong < 2; wrong++) {
        for (size_t i = 1; wrong && i < right.n; i++) right.data[i] = known->ids[i] == 4 ? 5 : 4;
        open_crowd(&drafts, &f, (rt_draft_opts){true, N_DRAFT, true}, false, 1);
        run_crowd(&drafts, &f, &right, false);
        check_crowds(&plain, &drafts, SIZE_MAX);
        const outcome *o = &drafts.outcomes[0];
        if (wrong) {
            ck_assert_uint_eq(o->n_foreseen, 0);
            ck_assert_uint_gt(o->n_unforeseen, 0);
        } else {
            ck_assert_uint_eq(o->n_unforeseen, 0);
            ck_assert_uint_ge(o->n_foreseen, known->n_ids * 3 / 4);
        }
        close_crowd(&drafts);
    }
    rt_ids_clear(&right);
    close_crowd(&plain);
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("drafts");
    TCase *parts = tcase_create("parts"), *answers = tcase_create("answers");
    tcase_add_loop_test(parts, copied, 0, (int)(sizeof copies / sizeof copies[0]));
    tcase_add_test(parts, only_what_pays);
    tcase_add_test(parts, predicted);
    tcase_add_test(parts, cost_of_drafts);
    tcase_set_timeout(answers, 120);
    tcase_add_loop_test(answers, same_answers, 0, (int)N_MODELS);
    tcase_add_test(answers, ends_of_answers);
    tcase_add_test(answers, always_right);
    tcase_add_test(answers, other_vocabularies);
    tcase_add_loop_test(answers, windows_go_back, 0, 2);
    tcase_add_loop_test(answers, same_crowds, 0, (int)N_MODELS);
    tcase_add_test(answers, in_a_thread);
    tcase_add_test(answers, predictions);
    suite_add_tcase(suite, parts);
    suite_add_tcase(suite, answers);
    return unit_run(suite);
}
