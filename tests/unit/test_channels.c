/* Answers that go on with a message in channels, and texts around an answer that are not part of
 * it.
 */
#include "runtime/chat/answer_text.h"
#include "runtime/chat/grammar.h"
#include "runtime/chat/token_table.h"
#include "runtime/chat/tools.h"
#include "unit.h"

#include <sys/stat.h>

static rt_tool_styles *styles;
static rt_tokenizer *tok;
static rt_token_table *table;

/* A grammar of answers with calls of a tool without arguments. */
static rt_grammar *calls_of_now(bool required) {
    gguf_error err = {0};
    rt_grammar *g;
    json_t *left_out = json_array();
    json_t *tools = json_loads("[{\"function\": {\"name\": \"now\"}}]", 0, NULL);
    rt_tool_demand demand = {.tools = tools, .required = required};
    ck_assert(
        !rt_grammar_tools(rt_tool_styles_find(styles, "gpt-oss"), &demand, left_out, &g, &err));
    json_decref(tools);
    json_decref(left_out);
    return g;
}

#define M(token) "\xFF<|" token "|>"
#define THOUGHT  M("channel") "analysis" M("message") "a < b" M("end") M("start") "assistant"
#define CALL     M("channel") "commentary to=functions.now " M("constrain") "json" M("message")

/* A tokenizer with the special tokens of channels in the place of its last tokens. */
static void make_tokenizer(void) {
    static const char *const names[] = {"<|start|>",   "<|end|>",       "<|message|>",
                                        "<|channel|>", "<|constrain|>", "<|call|>"};
    enum { N = sizeof names / sizeof names[0] };
    gguf_error err = {0};
    rt_vocab_report report = {0};
    gguf_meta *meta = gguf_meta_new();
    json_t *root = json_load_file(TEST_DATA "/models/gpt_oss/tokenizer.json", 0, NULL);
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab"),
           *merges = json_object_get(model, "merges"), *id;
    size_t n = json_object_size(vocab);
    const char *key, *last[N] = {NULL};
    json_object_foreach(vocab, key, id) if (json_integer_value(id) >= (json_int_t)(n - N))
        last[json_integer_value(id) - (json_int_t)(n - N)] = key;
    for (size_t i = 0; i < N; i++) {
        ck_assert_ptr_nonnull(last[i]);
        json_object_del(vocab, last[i]);
        json_array_remove(merges, json_array_size(merges) - 1); /* each has made one of them */
        json_object_set_new(vocab, names[i], json_integer((json_int_t)(n - N + i)));
        json_array_append_new(json_object_get(root, "added_tokens"),
                              json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id",
                                        (int)(n - N + i), "content", names[i], "single_word", 0,
                                        "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    }
    char folder[512], path[600];
    snprintf(folder, sizeof folder, "%s", unit_temp("harmony"));
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    ck_assert_int_eq(json_dump_file(root, path, 0), 0);
    gguf_code code = rt_vocab_import(folder, 0, meta, &report, &err);
    ck_assert_msg(!code, "%s", err.message);
    ck_assert(!rt_tokenizer_new(meta, &tok, &err));
    ck_assert(!rt_token_table_new(tok, (uint32_t)rt_tokenizer_n_tokens(tok), &table, &err));
    unlink(path);
    rmdir(folder);
    json_decref(root);
    gguf_meta_free(meta);
    rt_vocab_report_clear(&report);
}

static void setup(void) {
    gguf_error err = {0};
    ck_assert(!rt_tool_styles_new(&styles, &err));
    make_tokenizer();
}

static void teardown(void) {
    rt_token_table_free(table);
    rt_tokenizer_free(tok);
    rt_tool_styles_free(styles);
}

static rt_ids ids_of(const char *text) {
    gguf_error err = {0};
    rt_ids ids = {0};
    ck_assert(!rt_tokenize(tok, text, strlen(text), RT_TOKENIZE_PARSE_SPECIAL, &ids, &err));
    return ids;
}

/* Whether the constraint takes a text, and the answer may end there. */
static bool goes_on(const rt_constraint *c, const char *text) {
    rt_matcher m = c->matcher;
    return rt_matcher_take(&m, text, strlen(text)) && rt_matcher_may_end(&m);
}

/* A prompt may end in a message, which the answer goes on with. */
START_TEST(messages_that_the_prompt_began) {
#define START "<|start|>user<|message|>Hi<|end|><|start|>assistant"
    static const struct {
        const char *prompt;
        bool follows;
        rt_channel part;
        const char *any, *needed, *digits; /* what goes on; NULL: cannot be asked for */
    } cases[] = {
        {START, true, RT_CHANNEL_MARKUP, THOUGHT CALL "{}", CALL "{}",
         M("channel") "final" M("message") "12"},
        {START "<|channel|>analysis", true, RT_CHANNEL_MARKUP,
         M("message") "x" M("end") M("start") "assistant" CALL "{}",
         M("message") "x" M("end") M("start") "assistant" CALL "{}",
         M("message") "x" M("end") M("start") "assistant" M("channel") "final" M("message") "1"},
        {START "<|channel|>analysis<|message|>so a <", true, RT_CHANNEL_REASONING,
         " b" M("end") M("start") "assistant" M("channel") "final" M("message") "Hi",
         " b" M("end") M("start") "assistant" CALL "{}",
         M("end") M("start") "assistant" M("channel") "final" M("message") "12"},
        {START "<|channel|>commentary to=functions.now<|message|>{", true, RT_CHANNEL_CALL, "}",
         "}", NULL},
        {START "<|channel|>final<|message|>1", true, RT_CHANNEL_ANSWER, "Hi", NULL, "2"},
        {START "<|channel|>analysis<|message|>x<|end|>", false, RT_CHANNEL_ANSWER, "", "", "2"},
        {"<|start|>user<|message|>Hi", false, RT_CHANNEL_ANSWER, "", "", "2"},
    };
    gguf_error err = {0};
    rt_grammar *grammars[3] = {calls_of_now(false), calls_of_now(true)};
    ck_assert(!rt_grammar_regex("[0-9]+", 6, &grammars[2], &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const texts[] = {cases[i].any, cases[i].needed, cases[i].digits};
        rt_ids ids = ids_of(cases[i].prompt);
        rt_channels c;
        size_t from = 0;
        ck_assert_int_eq(rt_channels_follow(tok, ids.data, ids.n, &c, &from), cases[i].follows);
        ck_assert_int_eq(c.part, cases[i].part);
        for (size_t j = 0; j < 3; j++) {
            rt_constraint own;
            gguf_code code =
                rt_constraint_init(&own, grammars[j], tok, table, ids.data, ids.n, &err);
            ck_assert_msg(code == (texts[j] ? GGUF_OK : GGUF_E_USAGE), "%zu, %zu", i, j);
            if (j < 2 && !code) ck_assert_int_eq(own.off, !cases[i].follows);
            bool held = !code && !own.off;
            if (held) ck_assert_msg(goes_on(&own, texts[j]), "%zu: %s", i, texts[j]);
            if (held) ck_assert_msg(!goes_on(&own, "\xFF<|call|>"), "%zu, %zu", i, j);
            rt_constraint_clear(&own);
        }
        rt_ids_clear(&ids);
    }
    for (size_t i = 0; i < 3; i++) rt_grammar_unref(grammars[i]);
}
END_TEST

/* Thoughts and answers that go on keep the spaces at their start. */
START_TEST(texts_that_the_prompt_began) {
    static const struct {
        const char *prompt, *answer, *thought, *said;
    } cases[] = {
        {START "<|channel|>analysis<|message|>so",
         " a<|end|><|start|>assistant<|channel|>final"
         "<|message|>Hi",
         " a", "Hi"},
        {START "<|channel|>final<|message|>so", " a", "", " a"},
        {START,
         "<|channel|>analysis<|message|>b<|end|><|start|>assistant<|channel|>final"
         "<|message|>Hi",
         "b", "Hi"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rt_ids prompt = ids_of(cases[i].prompt), ids = ids_of(cases[i].answer);
        rt_answer_text_opts opts = {.split = true, .trim = true, .goes_on = true};
        rt_answer_text t;
        rt_answer_text_follow(&opts, tok, prompt.data, prompt.n);
        rt_answer_text_init(&t, &opts);
        for (size_t j = 0; j < ids.n; j++) rt_answer_text_add(&t, tok, ids.data[j]);
        rt_answer_text_end(&t);
        gguf_str thought = rt_answer_text_take_thought(&t), said = rt_answer_text_take_said(&t);
        ck_assert_msg(gguf_str_eq(thought, cases[i].thought), "%zu: %.*s", i, (int)thought.len,
                      thought.ptr);
        ck_assert_msg(gguf_str_eq(said, cases[i].said), "%zu: %.*s", i, (int)said.len, said.ptr);
        rt_answer_text_clear(&t);
        rt_ids_clear(&prompt);
        rt_ids_clear(&ids);
    }
}
END_TEST

/* Text around what a model says is dropped, however it comes. */
START_TEST(texts_that_are_dropped) {
    static const struct {
        const char *templates, *text, *thought, *said;
        bool inside;
    } cases[] = {
        {"'<|open|>' '<|sep|>' '<|close|>' 'think'",
         "Hm.<|close|>think<|sep|><|open|>response<|sep|>Yes <|a|>.<|close|>response<|sep|>"
         "<|close|>message<|sep|>",
         "Hm.", "Yes <|a|>.", true},
        {"'<|open|>' '<|sep|>' '<|close|>' 'think'",
         "Yes.<|close|>response<|sep|><|close|>message<|sep|>", "", "Yes.", false},
        {"'<|open|>' '<|sep|>' '<|close|>' 'think'", "a <|open|>respons", "", "a <|open|>respons",
         false},
        {"</think> <response>", "<think>Hm</think>\n<response> Yes </response>", "Hm", "Yes ",
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = cases[i].text;
        rt_answer_text_opts opts = {
            .markers = rt_tool_styles_reasoning(styles, gguf_str_of(cases[i].templates)),
            .split = true,
            .trim = true,
            .inside = cases[i].inside};
        for (size_t cut = 0; cut <= strlen(text); cut++) {
            rt_answer_text t;
            rt_answer_text_init(&t, &opts);
            rt_answer_text_put(&t, (gguf_str){text, cut});
            rt_answer_text_put(&t, gguf_str_of(text + cut));
            rt_answer_text_end(&t);
            gguf_str thought = rt_answer_text_take_thought(&t), said = rt_answer_text_take_said(&t);
            ck_assert_msg(gguf_str_eq(thought, cases[i].thought), "%zu, %zu: %.*s", i, cut,
                          (int)thought.len, thought.ptr);
            ck_assert_msg(gguf_str_eq(said, cases[i].said), "%zu, %zu: %.*s", i, cut, (int)said.len,
                          said.ptr);
            rt_answer_text_clear(&t);
        }
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("channels");
    TCase *tc = tcase_create("channels");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, messages_that_the_prompt_began);
    tcase_add_test(tc, texts_that_the_prompt_began);
    tcase_add_test(tc, texts_that_are_dropped);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
