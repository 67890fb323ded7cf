/* Grammars: which texts GBNF, expressions and JSON schemas admit, what is refused, and masks of
 * tokens that follow from them. */
#include "libgguf/dynbuf.h"
#include "libgguf/json.h"
#include "runtime/chat/grammar.h"
#include "unit.h"

#include <time.h>

/* ---- what matches ------------------------------------------------------------------------ */

static gguf_code compile(char kind, const char *source, rt_grammar **out, gguf_error *err) {
    if (kind == 'g') return rt_grammar_gbnf(source, strlen(source), out, err);
    if (kind == 'r') return rt_grammar_regex(source, strlen(source), out, err);
    json_t *schema = json_loads(source, JSON_DECODE_ANY, NULL);
    ck_assert_msg(schema != NULL, "%s", source);
    gguf_code code = rt_grammar_schema(schema, out, err);
    json_decref(schema);
    return code;
}

static bool matches(rt_grammar *g, const char *text) {
    rt_matcher m;
    rt_matcher_init(&m, g);
    bool good = rt_matcher_take(&m, text, strlen(text)) && rt_matcher_may_end(&m);
    rt_matcher_clear(&m);
    return good;
}

static const struct {
    char kind; /* gbnf, regex, schema */
    const char *source;
    const char *good[8], *bad[8];
} cases[] = {
    {'g', "root ::= \"a\" | \"bc\"", {"a", "bc"}, {"", "b", "ab", "bca"}},
    {'g', "root ::= [a-c]+ x?\nx ::= \"\\n\" # end", {"abc", "a\n"}, {"", "d", "a\n\n"}},
    {'g', "root ::= \"(\" root \")\" | \"x\"", {"x", "((x))"}, {"(x", "x)", "()"}},
    {'g', "root ::= \"a\" root | \"\"", {"", "aaaa"}, {"b"}},
    {'g', "root ::= (\"a\"? \"b\"?)* \"!\"", {"!", "abba!"}, {"ab"}},
    {'g',
     "root ::= [^\\n\"]{2,3} | .",
     {"ab", "abc", "\"", "\xC3\xA9", "\xC3\xA9\xE2\x82\xAC"},
     {"", "a\"", "abcd", "\xC3", "\xED\xA0\x80"}},
    {'g', "root ::= \"a\"{2} | \"b\"{1,}", {"aa", "b", "bbb"}, {"a", "aaa", ""}},
    {'g',
     "root ::= \"\\u00e9\\x41\\U0001F600\"",
     {"\xC3\xA9"
      "A\xF0\x9F\x98\x80"},
     {"A"}},
    {'r', "a|b*", {"a", "bb", ""}, {"ab"}},
    {'r', "\\d{3}-\\w+?", {"123-x_9"}, {"12-x", "123-"}},
    {'r', "(?:ab)+[^a-y]", {"abz", "abab\xE2\x82\xAC"}, {"ab", "abb"}},
    {'r', "(?<n>x)\\.", {"x."}, {"xa"}},
    {'s',
     "true",
     {"1", "\"x\"", "null", "[1, {\"a\": []}]", "{\"a\":1,\"b\":-2.5e3}"},
     {"", "01", "{a:1}", "[1,]", "[1,  2]", "\"\n\"", "\"\\ud800\"", "nul"}},
    {'s',
     "{\"type\":\"string\"}",
     {"\"\"", "\"\\u00e9\\n\"", "\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\""},
     {"\"", "\"\\ude00\"", "\"\xED\xA0\x80\"", "\"\\x\"", "1"}},
    {'s', "{\"type\":\"integer\"}", {"0", "-12"}, {"1.0", "00", "-", "1e2"}},
    {'s',
     "{\"type\":\"integer\",\"minimum\":-3,\"maximum\":12}",
     {"-3", "-1", "0", "9", "10", "12"},
     {"-4", "-0", "13", "20", "100", "01"}},
    {'s', "{\"type\":\"integer\",\"exclusiveMinimum\":98}", {"99", "100", "1000"}, {"98", "9"}},
    {'s',
     "{\"type\":\"number\",\"minimum\":0.5,\"exclusiveMaximum\":2}",
     {"0.5", "0.50", "1", "1.99", "0.75"},
     {"0.49", "0", "2", "2.0", "-1", "0.", "1e0"}},
    {'s',
     "{\"type\":\"number\",\"maximum\":-1.5}",
     {"-1.5", "-2", "-100.25"},
     {"-1.49", "-1", "1.5", "0"}},
    {'s',
     "{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}",
     {"\"a\"", "\"\\n\xC3\xA9\"", "\"\\ud83d\\ude00x\""},
     {"\"\"", "\"abc\""}},
    {'s',
     "{\"type\":\"string\",\"pattern\":\"^a\\\\.b$|\\\"x\"}",
     {"\"a.b\"", "\"\\\"x\"", "\"--\\\"x--\""},
     {"\"axb\"", "\"a.b.\"", "\"x\""}},
    {'s',
     "{\"format\":\"date\"}",
     {"\"2024-12-31\"", "\"2024-02-28\""},
     {"\"2024-02-30\"", "\"2024-13-01\"", "\"24-01-01\""}},
    {'s', "{\"enum\":[1,\"a\",null,[1,2]]}", {"1", "\"a\"", "null", "[1,2]"}, {"2", "a", "[]"}},
    {'s', "{\"const\":{\"a\":\"\xC3\xA9\"}}", {"{\"a\":\"\xC3\xA9\"}"}, {"{}"}},
    {'s', "{\"type\":[\"integer\",\"null\"]}", {"5", "null"}, {"\"\"", "[]"}},
    {'s', "{\"type\":\"integer\",\"nullable\":true}", {"5", "null"}, {"true"}},
    {'s',
     "{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
     {"[1]", "[1, 2]", "[1,2,3]"},
     {"[]", "[1,2,3,4]", "[\"a\"]"}},
    {'s',
     "{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3}}",
     {"[]", "[1]", "[1,2]", "[1,2,3,3]"},
     {"[2]", "[1,3]", "[1,2,4]"}},
    {'s',
     "{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":false,\"minItems\":1}",
     {"[1]", "[1,2]"},
     {"[]", "[1,2,3]"}},
    {'s',
     "{\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{\"const\":3}},"
     "\"required\":[\"b\"]}",
     {"{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\": 2, \"c\": 3}", "{\"a\":1,\"b\":2,\"c\":3}"},
     {"{}", "{\"a\":1}", "{\"c\":3,\"b\":2}", "{\"b\":2,}", "{,\"b\":2}", "{\"b\":2,\"d\":4}"}},
    {'s',
     "{\"properties\":{\"ab\":{\"const\":1},\"ac\":{\"const\":1}},"
     "\"additionalProperties\":{\"type\":\"boolean\"}}",
     {"{}", "{\"ab\":1}", "{\"ad\":true}", "{\"a\":true,\"abc\":false}", "{\"ac\":1,\"\":true}"},
     {"{\"ab\":true}", "{\"ad\":1}", "{\"\\u0061b\":true}"}},
    {'s',
     "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"null\"}}",
     {"{}", "{\"x\":null,\"y\":null}"},
     {"{\"x\":1}"}},
    {'s',
     "{\"type\":\"object\",\"required\":[\"x\"],\"additionalProperties\":{\"const\":1}}",
     {"{\"x\":1}", "{\"x\":1,\"y\":1}"},
     {"{}", "{\"y\":1}"}},
    {'s',
     "{\"anyOf\":[{\"const\":1},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
     {"1", "[]", "[1, [1]]"},
     {"2", "[2]"}},
    {'s',
     "{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"properties\":{\"n\":{\"$ref\":\"#/$defs/t\"}"
     "}}}}",
     {"{}", "{\"n\":{\"n\":{}}}"},
     {"{\"n\":1}"}},
    {'s',
     "{\"allOf\":[{\"properties\":{\"a\":{\"minimum\":1,\"type\":\"integer\"}}},"
     "{\"properties\":{\"a\":{\"maximum\":2},\"b\":{\"const\":0}},\"required\":[\"a\"]}]}",
     {"{\"a\":1}", "{\"a\":2,\"b\":0}"},
     {"{}", "{\"a\":3}", "{\"a\":0}"}},
    {'s',
     "{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\"}},\"oneOf\":["
     "{\"required\":[\"k\"]},{\"properties\":{\"z\":{\"const\":1}},\"required\":[\"z\"]}]}",
     {"{\"k\":\"\"}", "{\"k\":\"\",\"z\":1}", "{\"z\":1}"},
     {"{}"}},
};

START_TEST(texts) {
    gguf_error err = {0};
    rt_grammar *g;
    gguf_code code = compile(cases[_i].kind, cases[_i].source, &g, &err);
    ck_assert_msg(code == GGUF_OK, "%s: %s", cases[_i].source, err.message);
    for (size_t i = 0; i < 8 && cases[_i].good[i]; i++)
        ck_assert_msg(matches(g, cases[_i].good[i]), "%s must match %s", cases[_i].source,
                      cases[_i].good[i]);
    for (size_t i = 0; i < 8 && cases[_i].bad[i]; i++)
        ck_assert_msg(!matches(g, cases[_i].bad[i]), "%s must not match %s", cases[_i].source,
                      cases[_i].bad[i]);
    rt_grammar_unref(g);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------- */

static const struct {
    char kind;
    const char *source;
    gguf_code code;
    const char *message; /* a part of it */
} refused[] = {
    {'g', "", GGUF_E_FORMAT, "no rule 'root'"},
    {'g', "x ::= \"a\"", GGUF_E_FORMAT, "no rule 'root'"},
    {'g', "root ::= y", GGUF_E_FORMAT, "'y' is not defined"},
    {'g', "root ::= root \"a\" | \"b\"", GGUF_E_FORMAT, "left recursion: the rule 'root'"},
    {'g', "root ::= \"b\" | e x\nx ::= y\ny ::= e x \"c\"\ne ::= \"a\"?", GGUF_E_FORMAT,
     "left recursion"},
    {'g', "root ::= \"a\" root", GGUF_E_FORMAT, "no text matches"},
    {'g', "root ::= \"a", GGUF_E_FORMAT, "byte 11: '\"' is missing"},
    {'g', "root ::= [b-a]", GGUF_E_FORMAT, "ends before it begins"},
    {'g', "root ::= \"a\"{1,999}{1,999}", GGUF_E_FORMAT, "put brackets around it"},
    {'g', "root ::= (\"a\"{1,999}){1,999}", GGUF_E_LIMIT, "more than 200000 states"},
    {'g', "root ::= <think>", GGUF_E_UNSUPPORTED, "tokens in a grammar"},
    {'g', "root ::= \"a\"\nroot ::= \"b\"", GGUF_E_FORMAT, "there already"},
    {'r', "(a", GGUF_E_FORMAT, "')' is missing"},
    {'r', "a)", GGUF_E_FORMAT, "')' closes nothing"},
    {'r', "*", GGUF_E_FORMAT, "nothing to repeat"},
    {'r', "(?=a)", GGUF_E_UNSUPPORTED, "looking ahead"},
    {'r', "(a)\\1", GGUF_E_UNSUPPORTED, "reference"},
    {'r', "\\bx", GGUF_E_UNSUPPORTED, "boundary"},
    {'r', "a^b", GGUF_E_UNSUPPORTED, "at the ends only"},
    {'s', "3", GGUF_E_FORMAT, "a schema is an object"},
    {'s', "false", GGUF_E_FORMAT, "no text matches"},
    {'s', "{\"not\":{}}", GGUF_E_UNSUPPORTED, "$: the keyword 'not'"},
    {'s', "{\"properties\":{\"a\":{\"items\":{\"uniqueItems\":true}}}}", GGUF_E_UNSUPPORTED,
     "$.properties.a.items: the keyword 'uniqueItems'"},
    {'s', "{\"type\":\"text\"}", GGUF_E_FORMAT, "'type' must be"},
    {'s', "{\"pattern\":\"(?!x)\"}", GGUF_E_UNSUPPORTED, "the schema, $: the expression"},
    {'s', "{\"format\":\"iri\"}", GGUF_E_UNSUPPORTED, "the format 'iri'"},
    {'s', "{\"$ref\":\"http://x/y\"}", GGUF_E_UNSUPPORTED, "only references within"},
    {'s', "{\"$ref\":\"#/nowhere\"}", GGUF_E_FORMAT, "there is no '#/nowhere'"},
    {'s', "{\"$ref\":\"#\"}", GGUF_E_FORMAT, "no text matches"},
    {'s', "{\"properties\":{\"n\":{\"$ref\":\"#\"}},\"required\":[\"n\"]}", GGUF_E_FORMAT,
     "no text matches"},
    {'s', "{\"maxLength\":-1}", GGUF_E_FORMAT, "'maxLength' must be"},
    {'s', "{\"pattern\":\"a\",\"maxLength\":3}", GGUF_E_UNSUPPORTED, "'pattern' together with"},
    {'s', "{\"enum\":[\"a\"],\"maxLength\":3}", GGUF_E_UNSUPPORTED, "'maxLength' together with"},
    {'s', "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", GGUF_E_FORMAT, "no text matches"},
    {'s', "{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}", GGUF_E_UNSUPPORTED,
     "'pattern' stands in several"},
};

START_TEST(refusals) {
    gguf_error err = {0};
    rt_grammar *g;
    gguf_code code = compile(refused[_i].kind, refused[_i].source, &g, &err);
    ck_assert_msg(code == refused[_i].code && strstr(err.message, refused[_i].message),
                  "%s: %s, %s", refused[_i].source, gguf_code_name(code), err.message);
    ck_assert_ptr_null(g);
}
END_TEST

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Texts repeated n times around another. */
static char *nested(const char *open, const char *middle, const char *close, size_t n) {
    gguf_dynbuf out;
    gguf_dynbuf_init(&out, SIZE_MAX / 4);
    for (size_t i = 0; i < n; i++) gguf_dynbuf_put_text(&out, open);
    gguf_dynbuf_put_text(&out, middle);
    for (size_t i = 0; i < n; i++) gguf_dynbuf_put_text(&out, close);
    gguf_dynbuf_put(&out, "", 1);
    return (char *)out.data;
}

START_TEST(bombs) {
    static const struct {
        char kind;
        const char *open, *middle, *close;
        size_t n;
    } all[] = {{'g', "", "root ::= ", "(", 20000},
               {'r', "(", "a", ")", 20000},
               {'s', "{\"items\":", "{}", "}", 500},
               {'s', "{\"anyOf\":[{\"type\":\"null\"},", "{}", "]}", 200}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char *source = nested(all[i].open, all[i].middle, all[i].close, all[i].n);
        gguf_error err = {0};
        rt_grammar *g;
        double start = seconds();
        ck_assert_int_eq(compile(all[i].kind, source, &g, &err), GGUF_E_LIMIT);
        ck_assert(seconds() - start < 1);
        free(source);
    }
}
END_TEST

/* 2,000 optional properties take a few states each. */
START_TEST(many_properties) {
    json_t *properties = json_object();
    for (int i = 0; i < 2000; i++) {
        char name[32];
        snprintf(name, sizeof name, "property_%d", i);
        json_object_set_new(properties, name, json_pack("{s:s}", "type", "integer"));
    }
    json_t *schema = json_pack("{s:s, s:o}", "type", "object", "properties", properties);
    gguf_error err = {0};
    rt_grammar *g;
    double start = seconds();
    ck_assert_msg(!rt_grammar_schema(schema, &g, &err), "%s", err.message);
    ck_assert(matches(g, "{}"));
    ck_assert(matches(g, "{\"property_3\": 1, \"property_1999\": 2}"));
    ck_assert(!matches(g, "{\"property_1999\": 1, \"property_3\": 2}"));
    ck_assert(seconds() - start < 1);
    rt_grammar_unref(g);
    json_decref(schema);
}
END_TEST

/* Following a text that is ambiguous without end fails, and does not take all memory. */
START_TEST(ambiguity) {
    gguf_error err = {0};
    rt_grammar *g;
    const char *source = "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"";
    ck_assert(!rt_grammar_gbnf(source, strlen(source), &g, &err));
    ck_assert(matches(g, "aaabcb"));
    char *text = nested("a", "", "b", 64);
    double start = seconds();
    ck_assert(!matches(g, text));
    ck_assert(seconds() - start < 1);
    free(text);
    rt_grammar_unref(g);
}
END_TEST

/* ---- masks ------------------------------------------------------------------------------- */

typedef struct vocabulary {
    gguf_meta *meta;
    rt_vocab_report report;
    rt_tokenizer *tok;
    rt_token_table *table;
    uint32_t n;
    uint64_t *mask;
} vocabulary;

static void open_vocabulary(vocabulary *v, const char *folder) {
    gguf_error err = {0};
    *v = (vocabulary){.meta = gguf_meta_new()};
    ck_assert(!rt_vocab_import(folder, 0, v->meta, &v->report, &err));
    ck_assert(!rt_tokenizer_new(v->meta, &v->tok, &err));
    v->n = (uint32_t)rt_tokenizer_n_tokens(v->tok);
    ck_assert(!rt_token_table_new(v->tok, v->n, &v->table, &err));
    v->mask = calloc(v->n / 64 + 1, sizeof *v->mask);
}

static void close_vocabulary(vocabulary *v) {
    free(v->mask);
    rt_token_table_free(v->table);
    rt_tokenizer_free(v->tok);
    gguf_meta_free(v->meta);
    rt_vocab_report_clear(&v->report);
}

/* A token is in the mask if and only if the matcher takes it. */
static void check_mask(vocabulary *v, rt_matcher *m, const char *source, size_t at) {
    bool some = rt_matcher_mask(m, v->table, v->mask), any = false;
    for (uint32_t id = 0; id < v->n; id++) {
        rt_matcher ahead = *m;
        gguf_str piece = rt_token_text(v->tok, (int32_t)id);
        bool good = !rt_token_is_special(v->tok, (int32_t)id) && piece.len &&
                    rt_matcher_take(&ahead, piece.ptr, piece.len);
        if (rt_tokenizer_is_end(v->tok, (int32_t)id)) good = rt_matcher_may_end(m);
        any |= good;
        ck_assert_msg(good == (bool)(v->mask[id / 64] >> id % 64 & 1), "%s: place %zu, token %u",
                      source, at, (unsigned)id);
    }
    ck_assert(some == any);
}

START_TEST(masks) {
    static const char text[] = "{\"name\": \"\xC3\xA9 x\", \"n\": 12}";
    gguf_error err = {0};
    vocabulary v;
    rt_grammar *g;
    rt_matcher m;
    open_vocabulary(&v, TEST_DATA "/models/llama3");
    ck_assert(!compile('s',
                       "{\"properties\":{\"name\":{\"type\":\"string\"},"
                       "\"n\":{\"type\":\"integer\"}},\"required\":[\"name\",\"n\"]}",
                       &g, &err));
    rt_matcher_init(&m, g);
    for (size_t at = 0; at < sizeof text; at++) {
        check_mask(&v, &m, "text", at);
        if (at + 1 < sizeof text) ck_assert(rt_matcher_take(&m, text + at, 1));
    }
    ck_assert(rt_matcher_must_end(&m));
    rt_matcher_clear(&m);
    rt_grammar_unref(g);
    close_vocabulary(&v);
}
END_TEST

static const struct {
    char kind;
    const char *source;
} counted[] = {
    {'s', "{\"type\":\"string\",\"maxLength\":9}"},
    {'s', "{\"type\":\"string\",\"minLength\":3,\"maxLength\":40}"},
    {'s', "{\"type\":\"string\",\"minLength\":12}"},
    {'s', "{\"type\":\"array\",\"minItems\":9,\"items\":{\"type\":\"string\",\"minLength\":1,"
          "\"maxLength\":4}}"},
    {'s', "{\"type\":\"string\",\"pattern\":\"^.{2,11}$\"}"},
    {'s', "{\"type\":\"string\",\"pattern\":\"^[a-z \u0430-\u044f]{2,11}$\"}"},
    {'r', "[^\"\\\\]{4,17}"},
    {'r', "[^\\x00-\\x1f]{3}x{2,5}.{0,7}"},
    {'r', ".{2,6}[a-z]{3,8}"},
    {'r', "(.{1,3}[\\n\"]){2,4}"},
    {'r', "[\\u0020-\\u00ff]{3,30}"},
    {'g', "root ::= \"<\" [^<>]{2,8} \">\""},
    {'g', "root ::= .{0,5} | [^a]{3,14} \"!\""},
    {'g', "root ::= ([ -~]{2,9} | [\\u0080-\\U0010FFFF]{1,7}) \"\\n\""},
};

/* Texts of random tokens, through places that count their characters. */
START_TEST(counted_masks) {
    static const char *const folders[] = {TEST_DATA "/tokenizers/llama3",
                                          TEST_DATA "/tokenizers/spm-llama",
                                          TEST_DATA "/tokenizers/spm-gemma"};
    const char *source = counted[_i].source;
    uint64_t random = 7;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        gguf_error err = {0};
        vocabulary v;
        rt_grammar *g;
        open_vocabulary(&v, folders[i]);
        unit_ok(compile(counted[_i].kind, source, &g, &err), err);
        for (int text = 0; text < 6; text++) {
            rt_matcher m;
            rt_matcher_init(&m, g);
            for (size_t at = 0; at < 40 && !rt_matcher_must_end(&m); at++) {
                uint32_t n_seen = 0, chosen = 0;
                check_mask(&v, &m, source, at);
                for (uint32_t id = 0; id < v.n; id++) {
                    bool good = v.mask[id / 64] >> id % 64 & 1;
                    if (!good || rt_tokenizer_is_end(v.tok, (int32_t)id)) continue;
                    random = random * UINT64_C(6364136223846793005) + 1;
                    if ((random >> 33) % ++n_seen == 0) chosen = id;
                }
                if (n_seen == 0) break; /* only the end is left */
                gguf_str piece = rt_token_text(v.tok, (int32_t)chosen);
                ck_assert(rt_matcher_take(&m, piece.ptr, piece.len));
            }
            rt_matcher_clear(&m);
        }
        rt_grammar_unref(g);
        close_vocabulary(&v);
    }
}
END_TEST

/* Random tokens of those that a schema admits never come to a dead end, and what they end with is
 * JSON. */
START_TEST(walks) {
    gguf_error err = {0};
    vocabulary v;
    uint64_t random = 5;
    uint32_t n_ended = 0;
    open_vocabulary(&v, TEST_DATA "/models/llama3");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rt_grammar *g;
        rt_matcher m;
        gguf_dynbuf text;
        if (cases[i].kind != 's') continue;
        ck_assert(!compile('s', cases[i].source, &g, &err));
        rt_matcher_init(&m, g);
        gguf_dynbuf_init(&text, SIZE_MAX / 4);
        for (int n = 0; n < 300 && !rt_matcher_must_end(&m); n++) {
            uint32_t n_seen = 0, chosen = 0;
            ck_assert(rt_matcher_mask(&m, v.table, v.mask));
            for (uint32_t id = 0; id < v.n; id++) {
                if (!(v.mask[id / 64] >> id % 64 & 1) || rt_tokenizer_is_end(v.tok, (int32_t)id))
                    continue;
                random = random * UINT64_C(6364136223846793005) + 1;
                if ((random >> 33) % ++n_seen == 0) chosen = id;
            }
            if (n_seen == 0) break; /* only the end is left */
            gguf_str piece = rt_token_text(v.tok, (int32_t)chosen);
            ck_assert(rt_matcher_take(&m, piece.ptr, piece.len));
            gguf_dynbuf_put(&text, piece.ptr, piece.len);
        }
        if (rt_matcher_may_end(&m)) {
            json_t *value =
                json_loadb((char *)text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            ck_assert_msg(value != NULL, "%.*s", (int)text.len, (char *)text.data);
            json_decref(value);
            n_ended++;
        }
        gguf_dynbuf_clear(&text);
        rt_matcher_clear(&m);
        rt_grammar_unref(g);
    }
    ck_assert_uint_gt(n_ended, 10);
    close_vocabulary(&v);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("grammar");
    TCase *all = tcase_create("grammar");
    tcase_set_timeout(all, 60);
    tcase_add_loop_test(all, texts, 0, (int)(sizeof cases / sizeof cases[0]));
    tcase_add_loop_test(all, refusals, 0, (int)(sizeof refused / sizeof refused[0]));
    tcase_add_test(all, bombs);
    tcase_add_test(all, many_properties);
    tcase_add_test(all, ambiguity);
    tcase_add_test(all, masks);
    tcase_add_loop_test(all, counted_masks, 0, (int)(sizeof counted / sizeof counted[0]));
    tcase_add_test(all, walks);
    suite_add_tcase(suite, all);
    return unit_run(suite);
}
