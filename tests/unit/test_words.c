/* Patterns of users, and names that a misspelt one may mean. */
#include "libgguf/near.h"
#include "libgguf/pattern.h"
#include "tests/unit/unit.h"

static bool finds(const char *pattern, bool any_case, const char *text) {
    gguf_pattern *p;
    gguf_error err = {0};
    bool found;
    unit_ok(gguf_pattern_new("--tensor", pattern, any_case, &p, &err), err);
    unit_ok(gguf_pattern_find(p, text, strlen(text), &found, &err), err);
    gguf_pattern_free(p);
    return found;
}

START_TEST(patterns_are_perl_compatible) {
    ck_assert(finds("\\.(\\d*[13579])\\.attn_k", false, "blk.13.attn_k.weight"));
    ck_assert(!finds("\\.(\\d*[13579])\\.attn_k", false, "blk.12.attn_k.weight"));
    ck_assert(finds("blk\\.\\d+\\.ffn_down", false, "blk.0.ffn_down.weight"));
    ck_assert(finds("^output(?!_norm)", false, "output.weight"));
    ck_assert(!finds("^output(?!_norm)", false, "output_norm.weight"));
    ck_assert(!finds("ATTN_K", false, "blk.0.attn_k.weight"));
    ck_assert(finds("ATTN_K", true, "blk.0.attn_k.weight"));
    ck_assert(!finds("weight$", false, "weight\n"));
    ck_assert(finds("", false, ""));
}
END_TEST

START_TEST(bad_patterns_are_named) {
    gguf_pattern *p;
    gguf_error err = {0};
    unit_fails(gguf_pattern_new("--tensor", "a(b", false, &p, &err), GGUF_E_USAGE,
               "--tensor: 'a(b' is not a regular expression: missing closing parenthesis", err);
    ck_assert_ptr_null(p);
    gguf_pattern_free(NULL);
}
END_TEST

/* Without the bound this would take longer than anybody waits. */
START_TEST(steps_are_bounded) {
    gguf_pattern *p;
    gguf_error err = {0};
    bool found = true;
    char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    unit_ok(gguf_pattern_new("--tensor", "^(a+)+(a+)+[^a]$", false, &p, &err), err);
    unit_fails(gguf_pattern_find(p, text, strlen(text), &found, &err), GGUF_E_USAGE,
               "takes more than 1000000 steps", err);
    ck_assert(!found);
    gguf_pattern_free(p);
}
END_TEST

START_TEST(distances) {
    ck_assert_uint_eq(gguf_distance("", 0, "abc", 3), 3);
    ck_assert_uint_eq(gguf_distance("abc", 3, "", 0), 3);
    ck_assert_uint_eq(gguf_distance("kitten", 6, "sitting", 7), 3);
    ck_assert_uint_eq(gguf_distance("unste", 5, "UNSET", 5), 1);
    ck_assert_uint_eq(gguf_distance("same", 4, "same", 4), 0);
    char a[200], b[200];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    ck_assert_uint_eq(gguf_distance(a, sizeof a, b, sizeof b), 64);
}
END_TEST

static const char *hint(const char *wanted, const char *const *names) {
    static char text[160];
    gguf_near near = {.wanted = wanted};
    for (; *names; names++) gguf_near_add(&near, *names);
    return gguf_near_hint(&near, text, sizeof text);
}

START_TEST(near_names_are_offered) {
    static const char *const types[] = {"Q4_K_M", "Q4_K_S", "Q5_K_M", "IQ4_XS", "F16", NULL};
    ck_assert_str_eq(hint("q4km", types), "; did you mean 'Q4_K_M'?");
    ck_assert_str_eq(hint("Q4_K", types), "; did you mean 'Q4_K_M' or 'Q4_K_S'?");
    ck_assert_str_eq(hint("F61", types), "; did you mean 'F16'?");
    ck_assert_str_eq(hint("abacus", types), "");
    ck_assert_str_eq(hint("", types), "");
    static const char *const verbs[] = {"tensors", "tokens", "stats", NULL};
    ck_assert_str_eq(hint("tensros", verbs), "; did you mean 'tensors'?");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("words");
    TCase *tests = tcase_create("words");
    tcase_add_test(tests, patterns_are_perl_compatible);
    tcase_add_test(tests, bad_patterns_are_named);
    tcase_add_test(tests, steps_are_bounded);
    tcase_add_test(tests, distances);
    tcase_add_test(tests, near_names_are_offered);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
