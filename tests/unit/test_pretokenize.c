/* Normalisers and pre-tokenizers against the pieces of the original library, and expressions. */
#include "libgguf/json.h"
#include "runtime/tokenizer/normalize.h"
#include "runtime/tokenizer/pretokenize.h"
#include "runtime/tokenizer/uniset.h"
#include "tests/unit/unit.h"

static gguf_error err;

static void check_case(const rt_normalizer *nm, const rt_pretokenizer *pre, const json_t *text,
                       const json_t *expected) {
    rt_pieces pieces;
    const char *s = json_string_value(text);
    rt_pieces_init(&pieces);
    pieces.at_start = true;
    gguf_dynbuf_put(&pieces.text, s, json_string_length(text));
    unit_ok(rt_normalize(nm, &pieces.text, &pieces.spare_text, &pieces.scratch, &err), err);
    if (pieces.text.len) rt_spans_add(&pieces.spans, 0, pieces.text.len, false);
    unit_ok(rt_pretokenize(pre, &pieces, &err), err);
    ck_assert_msg(pieces.spans.n == json_array_size(expected), "'%s': %zu pieces", s,
                  pieces.spans.n);
    for (size_t i = 0; i < pieces.spans.n; i++) {
        rt_text_span span = pieces.spans.items[i];
        const json_t *piece = json_array_get(expected, i);
        ck_assert_msg(span.end - span.start == json_string_length(piece), "'%s': piece %zu", s, i);
        ck_assert_mem_eq(pieces.text.data + span.start, json_string_value(piece),
                         span.end - span.start);
    }
    rt_pieces_clear(&pieces);
}

START_TEST(test_pieces) {
    json_t *specs, *spec, *item;
    size_t i, k;
    unit_ok(gguf_json_load(TEST_DATA "/tokenizers/pieces.json", GGUF_JSON_EXACT_INTS, &specs, &err),
            err);
    ck_assert_uint_gt(json_array_size(specs), 40);
    json_array_foreach(specs, i, spec) {
        rt_normalizer *nm;
        rt_pretokenizer *pre;
        unit_ok(rt_normalizer_new(json_object_get(spec, "normalizer"), &nm, &err), err);
        unit_ok(rt_pretokenizer_new(json_object_get(spec, "pre_tokenizer"), &pre, &err), err);
        json_array_foreach(json_object_get(spec, "cases"), k, item)
            check_case(nm, pre, json_array_get(item, 0), json_array_get(item, 1));
        rt_normalizer_free(nm);
        rt_pretokenizer_free(pre);
    }
    json_decref(specs);
}
END_TEST

/* Every known name is its own: no two of them, unless meant alike, are described alike. */
START_TEST(test_known_names) {
    const rt_known_pre *known;
    for (size_t i = 0; (known = rt_known_pre_at(i)); i++) {
        rt_pretokenizer *pre;
        json_t *spec = rt_known_pre_spec(known);
        unit_ok(rt_pretokenizer_new(spec, &pre, &err), err);
        ck_assert(rt_pretokenizer_is_byte_level(pre));
        ck_assert_ptr_eq(rt_known_pre_find(known->name), known);
        rt_pretokenizer_free(pre);
        json_decref(spec);
    }
    ck_assert_ptr_null(rt_known_pre_find("foo"));
}
END_TEST

/* What names of pre-tokenizers stand for cuts as the tokenizers of their models do. */
START_TEST(test_known_pieces) {
    json_t *names, *cases, *item;
    const char *name;
    size_t k;
    unit_ok(gguf_json_load(TEST_DATA "/tokenizers/known_pieces.json", GGUF_JSON_EXACT_INTS, &names,
                           &err),
            err);
    ck_assert_uint_gt(json_object_size(names), 25);
    json_object_foreach(names, name, cases) {
        const rt_known_pre *known = rt_known_pre_find(name);
        rt_pretokenizer *pre;
        rt_normalizer *nm;
        ck_assert_msg(known != NULL, "'%s' is not known", name);
        json_t *spec = rt_known_pre_spec(known);
        unit_ok(rt_normalizer_new(NULL, &nm, &err), err);
        unit_ok(rt_pretokenizer_new(spec, &pre, &err), err);
        json_array_foreach(cases, k, item)
            check_case(nm, pre, json_array_get(item, 0), json_array_get(item, 1));
        rt_pretokenizer_free(pre);
        rt_normalizer_free(nm);
        json_decref(spec);
    }
    json_decref(names);
}
END_TEST

static size_t n_matches(const char *pattern, const char *text) {
    rt_regex *regex;
    rt_regex_scratch scratch = {0};
    rt_text_spans spans = {0};
    size_t n = 0;
    unit_ok(rt_regex_new(pattern, strlen(pattern), &regex, &err), err);
    unit_ok(rt_regex_find(regex, &scratch, text, strlen(text), 0, &spans, &err), err);
    for (size_t i = 0; i < spans.n; i++) n += spans.items[i].is_match;
    rt_spans_clear(&spans);
    rt_regex_scratch_clear(&scratch);
    rt_regex_free(regex);
    return n;
}

START_TEST(test_expressions) {
    ck_assert_uint_eq(n_matches("\\p{L}", "a\xE1\xB2\x89"), 2);  /* U+1C89, new in Unicode 16 */
    ck_assert_uint_eq(n_matches("\\s", " \xE1\xA0\x8E"), 1);     /* U+180E is no white space */
    ck_assert_uint_eq(n_matches("(?i:k)", "kK\xE2\x84\xAA"), 3); /* U+212A folds to k */
    ck_assert_uint_eq(n_matches("(?i)a(?-i)b|c", "abABAbcC"), 3);
    ck_assert_uint_eq(n_matches("[]a-]", "]a-b"), 3);
    ck_assert_uint_eq(n_matches("[^\\W\\d_]", "a1_b\xC3\xA9"), 3);
    ck_assert_uint_eq(n_matches("a{2}|b{,2}c|d{x}", "aabbcd{x}"), 3);
    ck_assert_uint_eq(n_matches("\\x41|\\x{1F600}|\\u00e9", "A\xF0\x9F\x98\x80\xC3\xA9"), 3);
    ck_assert_uint_eq(n_matches("[^\\s\\S]", "abc"), 0);
    ck_assert_uint_eq(n_matches("^a$", "a\nb\na"), 2);
}
END_TEST

START_TEST(test_too_many_steps) {
    char text[64];
    rt_regex *regex;
    rt_regex_scratch scratch = {0};
    rt_text_spans spans = {0};
    const char *pattern = "(?:a+)+(?:a+)+(?:b|c)";
    memset(text, 'a', sizeof text);
    unit_ok(rt_regex_new(pattern, strlen(pattern), &regex, &err), err);
    unit_fails(rt_regex_find(regex, &scratch, text, sizeof text, 0, &spans, &err), GGUF_E_LIMIT,
               "too many steps", err);
    rt_spans_clear(&spans);
    rt_regex_scratch_clear(&scratch);
    rt_regex_free(regex);
    err = (gguf_error){0};
}
END_TEST

START_TEST(test_sets) {
    rt_uniset a = {0}, b = {0};
    rt_uniset_add(&a, 10, 20);
    rt_uniset_add(&a, 0, 5);
    rt_uniset_add(&a, 6, 12);
    rt_uniset_add(&b, 15, RT_LAST_CODE_POINT);
    rt_uniset_intersect(&a, &b);
    ck_assert_uint_eq(a.n, 1);
    ck_assert(rt_uniset_has(&a, 15) && rt_uniset_has(&a, 20));
    ck_assert(!rt_uniset_has(&a, 14) && !rt_uniset_has(&a, 21));
    rt_uniset_negate(&a);
    ck_assert(rt_uniset_has(&a, 0) && rt_uniset_has(&a, RT_LAST_CODE_POINT));
    ck_assert(!rt_unicode_set("Foo", &b));
    ck_assert_uint_eq(rt_unicode_lower(0x10D50), 0x10D70); /* Garay, new in Unicode 16 */
    ck_assert_uint_eq(rt_unicode_lower(0x100), 0x101);
    ck_assert_uint_eq(rt_unicode_lower(0x101), 0x101);
    rt_uniset_clear(&a);
    rt_uniset_clear(&b);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pretokenize");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_pieces);
    tcase_add_test(tc, test_known_names);
    tcase_add_test(tc, test_known_pieces);
    tcase_add_test(tc, test_expressions);
    tcase_add_test(tc, test_too_many_steps);
    tcase_add_test(tc, test_sets);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
