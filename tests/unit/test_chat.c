/* Chats: whole characters and stop texts, answers that go on from the cache, several at once. */
#include "runtime/chat/answer.h"
#include "unit_model.h"

/* ---- channels ---------------------------------------------------------------------------- */

/* Tokens, the special ones in <>; expected: what is answer, and in brackets what is reasoning. */
static const struct {
    const char *tokens, *expected;
} channel_texts[] = {
    {"a b", "a b"},
    {"<|channel|>analysis<|message|>why not<|end|><|start|>assistant<|channel|>final<|message|>yes",
     "[why][ ][not]yes"},
    {"<|channel|>fin al<|message|>x", "[x]"}, /* names are whole */
    {"<|channel|>final<|message|>x<|return|>", "x"},
    {"<|channel|>final answer<|message|>x", "[x]"},
    {"<|channel|>final <|constrain|>json<|message|>x", "x"},
    {"<|channel|>final<|constrain|>json<|message|>x", "x"},
    {"<|channel|>analysis <|constrain|>json<|message|>x", "[x]"},
    {"<|channel|>commentary to=f<|constrain|>json<|message|>{}<|call|>", "[{}]"},
    {"<|message|>a<|im_end|>b", "ab"}, /* of other models */
};

START_TEST(channels_of_an_answer) {
    char out[256] = "";
    size_t len = 0;
    rt_channels c = {0};
    for (const char *p = channel_texts[_i].tokens; *p;) {
        bool special = *p == '<';
        size_t n = special ? strcspn(p, ">") + 1 : *p == ' ' ? 1 : strcspn(p, "< ");
        rt_channel part = rt_channels_next(&c, (gguf_str){p, n}, special);
        const char *format = part == RT_CHANNEL_ANSWER ? "%.*s" : "[%.*s]";
        if (part != RT_CHANNEL_MARKUP)
            len += (size_t)snprintf(out + len, sizeof out - len, format, (int)n, p);
        p += n;
    }
    ck_assert_str_eq(out, channel_texts[_i].expected);
}
END_TEST

/* A special token ends a recipient, which may stand before the channel too. */
START_TEST(recipients_of_calls) {
    static const char *const tokens[] = {"<|start|>",     "assistant to=functions.f",
                                         "<|channel|>",   "commentary",
                                         "<|constrain|>", "json",
                                         "<|message|>",   "{}"};
    rt_channels c = {0};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        rt_channels_next(&c, gguf_str_of(tokens[i]), *tokens[i] == '<');
    ck_assert_int_eq(c.part, RT_CHANNEL_CALL);
    ck_assert(gguf_str_eq(rt_channels_recipient(&c), "f"));
}
END_TEST

/* ---- text streams ------------------------------------------------------------------------ */

/* Feed a text in pieces of n bytes; what came out piece by piece, separated by '|'. */
static const char *stream(const char *text, size_t n_piece, const char *const *stops,
                          size_t n_stops, bool *stopped) {
    static char out[256];
    size_t len = 0, n = strlen(text);
    rt_text_stream s;
    rt_text_stream_init(&s, stops, n_stops);
    for (size_t i = 0; i <= n; i += n_piece) {
        bool ended = i + n_piece > n;
        rt_text_stream_add(&s, text + i, ended ? n - i : n_piece);
        if (ended) rt_text_stream_end(&s);
        gguf_str part = rt_text_stream_take(&s, ended);
        if (part.len)
            len += (size_t)snprintf(out + len, sizeof out - len, "%s%.*s", len ? "|" : "",
                                    (int)part.len, part.ptr);
    }
    out[len] = '\0';
    *stopped = s.stopped;
    rt_text_stream_clear(&s);
    return out;
}

static const struct {
    const char *text, *expected;
} characters[] = {
    {"abc", "a|b|c"},
    {"a\xC3\xA9z", "a|\xC3\xA9|z"},
    {"\xE2\x82\xAC!", "\xE2\x82\xAC|!"},
    {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
    {"\xFFz", "\xEF\xBF\xBD|z"},
    {"\x80z", "\xEF\xBF\xBD|z"},
    {"\xE2\x82z", "\xEF\xBF\xBDz"},              /* cut off by a character */
    {"\xC3\xC3\xA9", "\xEF\xBF\xBD|\xC3\xA9"},   /* cut off by another start */
    {"\xE2\x82", "\xEF\xBF\xBD"},                /* cut off by the end */
    {"\xC0\xAF", "\xEF\xBF\xBD|\xEF\xBF\xBD"},   /* longer than needed */
    {"\xED\xA0z", "\xEF\xBF\xBD\xEF\xBF\xBD|z"}, /* a surrogate */
    {"\xF4\x90z", "\xEF\xBF\xBD\xEF\xBF\xBD|z"}, /* beyond U+10FFFF */
    {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\xEF\xBF\xBD|\xF0\x9F\x98\x80"},
};

START_TEST(whole_characters) {
    bool stopped;
    ck_assert_str_eq(stream(characters[_i].text, 1, NULL, 0, &stopped), characters[_i].expected);
    ck_assert(!stopped);
}
END_TEST

/* Pieces of any size give the same text, and each of them is whole. */
START_TEST(pieces) {
    const char *text = "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 end\xE2\x82";
    for (size_t n = 1; n < 20; n++) {
        bool stopped;
        char joined[256];
        size_t len = 0;
        for (const char *p = stream(text, n, NULL, 0, &stopped); *p; p++) {
            ck_assert(p[0] != '|' || (p[1] & 0xC0) != 0x80);
            if (*p != '|') joined[len++] = *p;
        }
        joined[len] = '\0';
        ck_assert_str_eq(joined, "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 end\xEF\xBF\xBD");
    }
}
END_TEST

static const char *const two_stops[] = {"END", "\nUser:"};
static const struct {
    const char *text, *expected;
    bool stopped;
} stop_texts[] = {
    {"abENDcd", "a|b", true}, {"abENcd", "a|b|ENc|d", false},      {"abEN", "a|b|EN", false},
    {"EENDx", "E", true},     {"a\nUse\nUser:b", "a|\nUse", true}, {"END", "", true},
};

START_TEST(stops) {
    bool stopped;
    ck_assert_str_eq(stream(stop_texts[_i].text, 1, two_stops, 2, &stopped),
                     stop_texts[_i].expected);
    ck_assert_int_eq(stopped, stop_texts[_i].stopped);
    /* All at once: the first of two in the text counts. */
    ck_assert_str_eq(stream("1\nUser: 2 END", 20, two_stops, 2, &stopped), "1");
}
END_TEST

/* ---- answers ----------------------------------------------------------------------------- */

typedef struct fixture {
    rt_model *model;
    rt_tokenizer *tok;
    rt_session *session;
    rt_generator g;
    atomic_bool cancel;
} fixture;

static void open_fixture(fixture *f, const char *folder, uint32_t n_ctx) {
    gguf_error err = {0};
    rt_session_opts session = rt_session_defaults();
    rt_sampler_opts sampler = rt_sampler_defaults();
    sampler.temp = 0;
    atomic_init(&f->cancel, false);
    session.n_ctx = n_ctx;
    session.n_threads = 2;
    session.cancel = &f->cancel;
    f->model = unit_model(folder, GGUF_TYPE_Q8_0);
    rt_answer_session_opts(rt_model_hparams(f->model), &session, 0);
    unit_ok(rt_tokenizer_new(gguf_file_meta(rt_model_file(f->model)), &f->tok, &err), err);
    unit_ok(rt_session_new(f->model, &session, &f->session, &err), err);
    unit_ok(rt_generator_init(&f->g, f->model, f->session, 0, f->tok, &sampler, &err), err);
}

static void close_fixture(fixture *f) {
    rt_generator_clear(&f->g);
    rt_session_free(f->session);
    rt_tokenizer_free(f->tok);
    rt_model_close(f->model);
}

/* n ids that repeat in no simple way. */
static rt_ids prompt_of(const fixture *f, size_t n, unsigned salt) {
    rt_ids ids = {malloc(n * sizeof(int32_t)), n, n};
    uint32_t n_vocab = rt_model_hparams(f->model)->n_vocab;
    for (size_t i = 0; i < n; i++) ids.data[i] = (int32_t)((i * i * 31 + i * 7 + salt) % n_vocab);
    return ids;
}

static rt_answer answer_to(fixture *f, const rt_ids *prompt, uint32_t n_predict) {
    gguf_error err = {0};
    rt_answer a;
    const rt_answer_opts opts = {.n_predict = n_predict};
    unit_ok(rt_generator_answer(&f->g, prompt, &opts, &a, &err), err);
    return a;
}

static void check_same(const rt_answer *a, const rt_answer *b) {
    ck_assert_uint_eq(a->ids.n, b->ids.n);
    ck_assert_mem_eq(a->ids.data, b->ids.data, a->ids.n * sizeof *a->ids.data);
}

/* Append the ids of an answer and one more. */
static void extend(rt_ids *prompt, const rt_answer *a, int32_t more) {
    prompt->data = realloc(prompt->data, (prompt->n + a->ids.n + 1) * sizeof *prompt->data);
    memcpy(prompt->data + prompt->n, a->ids.data, a->ids.n * sizeof *a->ids.data);
    prompt->n += a->ids.n;
    prompt->data[prompt->n++] = more;
}

static const char *const families[] = {"models/llama", "models/gemma3", "models/deepseek_v3",
                                       "models/mamba2"};

/* The second prompt goes on from the first answer, the third parts from it in the middle: each gets
 * the answer of a cache that was empty. */
START_TEST(prefix_is_reused) {
    fixture f, fresh;
    open_fixture(&f, families[_i], 128);
    rt_ids prompt = prompt_of(&f, 24, 3);
    rt_answer first = answer_to(&f, &prompt, 8);
    ck_assert_uint_eq(first.n_reused, 0);
    size_t n_known = prompt.n + first.ids.n - 1; /* the last token was not evaluated */
    extend(&prompt, &first, 5);
    for (int round = 0; round < 2; round++) {
        rt_answer again = answer_to(&f, &prompt, 8);
        open_fixture(&fresh, families[_i], 128);
        rt_answer alone = answer_to(&fresh, &prompt, 8);
        check_same(&again, &alone);
        /* A window may have passed position 10; a state is there at the end, and at snapshots. */
        if (_i != 1) ck_assert_uint_eq(again.n_reused, round == 0 ? n_known : _i == 3 ? 0 : 10);
        close_fixture(&fresh);
        rt_answer_clear(&alone);
        rt_answer_clear(&again);
        prompt.data[10] ^= 1;
    }
    rt_answer_clear(&first);
    rt_ids_clear(&prompt);
    close_fixture(&f);
}
END_TEST

/* A model with states goes back to the last snapshot before the prompts part. */
START_TEST(states_go_back) {
    fixture f, fresh;
    open_fixture(&f, "models/mamba2", 256);
    rt_ids prompt = prompt_of(&f, 150, 1);
    rt_answer first = answer_to(&f, &prompt, 4);
    prompt.data[140] ^= 1;
    rt_answer again = answer_to(&f, &prompt, 8);
    ck_assert_uint_eq(again.n_reused, 128);
    open_fixture(&fresh, "models/mamba2", 256);
    rt_answer alone = answer_to(&fresh, &prompt, 8);
    check_same(&again, &alone);
    rt_answer_clear(&first);
    rt_answer_clear(&again);
    rt_answer_clear(&alone);
    rt_ids_clear(&prompt);
    close_fixture(&fresh);
    close_fixture(&f);
}
END_TEST

START_TEST(same_prompt_again) {
    fixture f;
    open_fixture(&f, "models/llama", 128);
    rt_ids prompt = prompt_of(&f, 20, 1);
    rt_answer first = answer_to(&f, &prompt, 10), again = answer_to(&f, &prompt, 10);
    ck_assert_uint_eq(again.n_reused, 19);
    check_same(&first, &again);
    rt_answer_clear(&first);
    rt_answer_clear(&again);
    rt_ids_clear(&prompt);
    close_fixture(&f);
}
END_TEST

START_TEST(context_ends) {
    gguf_error err = {0};
    fixture f;
    open_fixture(&f, "models/llama", 30);
    rt_ids prompt = prompt_of(&f, 20, 1);
    rt_answer a = answer_to(&f, &prompt, RT_ANSWER_NO_LIMIT);
    ck_assert(a.context_full);
    ck_assert_int_eq(a.finish, RT_FINISH_LENGTH);
    ck_assert_uint_eq(a.ids.n, 11); /* the last one is not evaluated */
    rt_answer_clear(&a);
    rt_ids_clear(&prompt);
    prompt = prompt_of(&f, 31, 1);
    const rt_answer_opts opts = {.n_predict = 1};
    unit_fails(rt_generator_answer(&f.g, &prompt, &opts, &a, &err), GGUF_E_USAGE, "31 tokens", err);
    rt_answer_clear(&a);
    rt_ids_clear(&prompt);
    close_fixture(&f);
}
END_TEST

/* A full context loses its older half; what is left then is not taken for an untouched prefix. */
START_TEST(context_shifts) {
    gguf_error err = {0};
    fixture f, fresh;
    rt_answer a, alone;
    open_fixture(&f, "models/llama", 256);
    rt_ids prompt = prompt_of(&f, 250, 1);
    const rt_answer_opts opts = {.n_predict = 40, .shift = true};
    unit_ok(rt_generator_answer(&f.g, &prompt, &opts, &a, &err), err);
    ck_assert_uint_eq(a.n_shifted, 128);
    ck_assert(!a.context_full);
    ck_assert_uint_eq(rt_session_n_past(f.session), 250 + 39 - 128);
    rt_ids seen = {malloc(f.g.past.n * sizeof(int32_t)), f.g.past.n, f.g.past.n};
    memcpy(seen.data, f.g.past.data, seen.n * sizeof *seen.data);
    rt_answer_clear(&a);
    a = answer_to(&f, &seen, 8);
    ck_assert_uint_eq(a.n_reused, 64);
    open_fixture(&fresh, "models/llama", 256);
    alone = answer_to(&fresh, &seen, 8);
    check_same(&a, &alone);
    rt_answer_clear(&a);
    rt_answer_clear(&alone);
    rt_ids_clear(&prompt);
    rt_ids_clear(&seen);
    close_fixture(&fresh);
    close_fixture(&f);
}
END_TEST

typedef struct interruption {
    atomic_bool *cancel;
    int n_left;
} interruption;

static void count_down(void *ctx, gguf_str text, bool reasoning) {
    interruption *i = ctx;
    ck_assert_uint_gt(text.len, 0);
    ck_assert(!reasoning);
    if (--i->n_left == 0) atomic_store(i->cancel, true);
}

/* An interrupted answer keeps what it has; the next one goes on from the cache. */
START_TEST(interrupted) {
    gguf_error err = {0};
    fixture f, fresh;
    rt_answer a;
    open_fixture(&f, "models/llama", 128);
    rt_ids prompt = prompt_of(&f, 20, 4);
    interruption stop = {&f.cancel, 3};
    const rt_answer_opts opts = {
        .n_predict = 50, .cancel = &f.cancel, .show = count_down, .ctx = &stop};
    unit_ok(rt_generator_answer(&f.g, &prompt, &opts, &a, &err), err);
    ck_assert_int_eq(a.finish, RT_FINISH_INTERRUPTED);
    ck_assert_uint_lt(a.ids.n, 50);
    ck_assert_uint_gt(a.ids.n, 0);
    rt_answer_clear(&a);
    /* With the flag still set, nothing is evaluated. */
    unit_ok(rt_generator_answer(&f.g, &prompt, &opts, &a, &err), err);
    ck_assert_int_eq(a.finish, RT_FINISH_INTERRUPTED);
    ck_assert_uint_eq(a.ids.n, 0);
    rt_answer_clear(&a);
    atomic_store(&f.cancel, false);
    a = answer_to(&f, &prompt, 12);
    open_fixture(&fresh, "models/llama", 128);
    rt_answer alone = answer_to(&fresh, &prompt, 12);
    check_same(&a, &alone);
    rt_answer_clear(&a);
    rt_answer_clear(&alone);
    rt_ids_clear(&prompt);
    close_fixture(&fresh);
    close_fixture(&f);
}
END_TEST

/* ---- several answers at once --------------------------------------------------------------- */

#define N_SIDE 3

/* One evaluation for all answers that have not ended. */
static void step_together(rt_session *session, rt_answer *answers, float *logits, size_t n_vocab) {
    gguf_error err = {0};
    rt_span spans[N_SIDE];
    rt_answer *asking[N_SIDE];
    size_t n = 0;
    for (size_t i = 0; i < N_SIDE; i++) {
        if (!answers[i].ended) unit_ok(rt_answer_next(&answers[i], &spans[n], &err), err);
        if (!answers[i].ended) asking[n++] = &answers[i];
    }
    if (n) unit_ok(rt_session_eval_spans(session, spans, n, logits, &err), err);
    for (size_t i = 0; i < n; i++) {
        unit_ok(rt_answer_take(asking[i], logits, &err), err);
        if (spans[i].which == RT_LOGITS_LAST) logits += n_vocab;
    }
}

/* Answers of several sequences, made step by step side by side, are those of each alone, also the
 * second time, where each goes on from its cache. */
START_TEST(side_by_side) {
    gguf_error err = {0};
    fixture f;
    open_fixture(&f, "models/llama", 640);
    size_t n_vocab = rt_model_hparams(f.model)->n_vocab;
    rt_session_opts several = rt_session_defaults();
    rt_sampler_opts sampler = rt_sampler_defaults();
    several.n_ctx = 640, several.n_seqs = N_SIDE, several.n_threads = 2;
    rt_session *session;
    rt_generator generators[N_SIDE];
    float *logits = malloc(N_SIDE * n_vocab * sizeof *logits);
    sampler.temp = 0;
    unit_ok(rt_session_new(f.model, &several, &session, &err), err);
    for (uint32_t i = 0; i < N_SIDE; i++)
        unit_ok(rt_generator_init(&generators[i], f.model, session, i, f.tok, &sampler, &err), err);
    for (int round = 0; round < 2; round++) {
        const rt_answer_opts opts = {.n_predict = 12};
        rt_ids prompts[N_SIDE];
        rt_answer answers[N_SIDE];
        /* The second prompt takes two evaluations, the first has ended before the third. */
        for (unsigned i = 0; i < N_SIDE; i++) {
            prompts[i] = prompt_of(&f, i == 1 ? 600 : 20 + 5 * i, i);
            unit_ok(rt_answer_begin(&generators[i], &prompts[i], &opts, &answers[i], &err), err);
            ck_assert_uint_eq(answers[i].n_reused, round ? prompts[i].n - 1 : 0);
        }
        for (int step = 0; step < 20; step++) step_together(session, answers, logits, n_vocab);
        for (size_t i = 0; i < N_SIDE; i++) {
            rt_answer alone = answer_to(&f, &prompts[i], 12);
            ck_assert(answers[i].ended);
            ck_assert_int_eq(answers[i].finish, alone.finish);
            check_same(&answers[i], &alone);
            rt_answer_clear(&alone);
            rt_answer_clear(&answers[i]);
            rt_ids_clear(&prompts[i]);
        }
    }
    for (size_t i = 0; i < N_SIDE; i++) rt_generator_clear(&generators[i]);
    rt_session_free(session);
    free(logits);
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("chat");
    TCase *text = tcase_create("text"), *answers = tcase_create("answers");
    tcase_add_loop_test(text, channels_of_an_answer, 0,
                        (int)(sizeof channel_texts / sizeof channel_texts[0]));
    tcase_add_test(text, recipients_of_calls);
    tcase_add_loop_test(text, whole_characters, 0, (int)(sizeof characters / sizeof characters[0]));
    tcase_add_test(text, pieces);
    tcase_add_loop_test(text, stops, 0, (int)(sizeof stop_texts / sizeof stop_texts[0]));
    tcase_set_timeout(answers, 120);
    tcase_add_loop_test(answers, prefix_is_reused, 0, 4);
    tcase_add_test(answers, states_go_back);
    tcase_add_test(answers, same_prompt_again);
    tcase_add_test(answers, context_ends);
    tcase_add_test(answers, context_shifts);
    tcase_add_test(answers, interrupted);
    tcase_add_test(answers, side_by_side);
    suite_add_tcase(suite, text);
    suite_add_tcase(suite, answers);
    return unit_run(suite);
}
