/* YAML and JSON reading: trees, limits, duplicates, positions. */
#include "libgguf/json.h"
#include "libgguf/yaml.h"
#include "tests/unit/unit.h"

static gguf_code parse(const char *text, gguf_yaml_doc **doc, gguf_error *err) {
    *err = (gguf_error){0};
    return gguf_yaml_parse(text, strlen(text), "t.yaml", doc, err);
}

START_TEST(reads_a_tree) {
    gguf_yaml_doc *doc;
    gguf_error err;
    int64_t n = 0;
    double f = 0;
    bool flag = false;
    unit_ok(parse("n: 3\nf: 1e-6\nflag: yes\nlist: [a, {b: c}]\nquoted: '3'\n", &doc, &err), err);
    const gguf_yaml *root = gguf_yaml_root(doc);
    ck_assert(gguf_yaml_i64(gguf_yaml_get(root, "n"), &n) && n == 3);
    ck_assert(gguf_yaml_f64(gguf_yaml_get(root, "f"), &f) && f == 1e-6);
    ck_assert(gguf_yaml_bool(gguf_yaml_get(root, "flag"), &flag) && flag);
    ck_assert(!gguf_yaml_i64(gguf_yaml_get(root, "quoted"), &n));
    const gguf_yaml *list = gguf_yaml_get(root, "list");
    ck_assert_uint_eq(list->n_children, 2);
    ck_assert_str_eq(gguf_yaml_text(list->first->next, "b", "-"), "c");
    ck_assert_str_eq(gguf_yaml_text(root, "absent", "-"), "-");
    gguf_yaml_free(doc);
}
END_TEST

START_TEST(refuses_with_position) {
    gguf_yaml_doc *doc;
    gguf_error err;
    unit_fails(parse("a: 1\nb: 2\na: 3\n", &doc, &err), GGUF_E_DUPLICATE, "'a' occurs twice", err);
    ck_assert_int_eq(err.offset, 13);
    unit_fails(parse("a: [1, 2\nb: 3\n", &doc, &err), GGUF_E_FORMAT, "YAML, line", err);
    unit_fails(parse("", &doc, &err), GGUF_E_FORMAT, "empty", err);
    unit_fails(parse("a: &x 1\nb: *x\n", &doc, &err), GGUF_E_UNSUPPORTED, "aliases", err);
    unit_fails(parse("--- 1\n--- 2\n", &doc, &err), GGUF_E_FORMAT, "more than one", err);
}
END_TEST

START_TEST(nesting_is_bounded) {
    char text[400];
    gguf_yaml_doc *doc;
    gguf_error err;
    memset(text, '[', 200);
    memset(text + 200, ']', 199);
    text[399] = '\0';
    unit_fails(parse(text, &doc, &err), GGUF_E_LIMIT, "nested deeper", err);
}
END_TEST

START_TEST(json_numbers_and_duplicates) {
    static const char wide[] = "{\"n\": 1000000000000000019884624838656}";
    json_t *root;
    gguf_error err = {0};
    uint64_t n = 0;
    unit_fails(gguf_json_parse(wide, strlen(wide), GGUF_JSON_EXACT_INTS, "t", 0, &root, &err),
               GGUF_E_FORMAT, "too big", err);
    err = (gguf_error){0};
    unit_ok(gguf_json_parse(wide, strlen(wide), GGUF_JSON_WIDE_INTS, "t", 0, &root, &err), err);
    ck_assert(!gguf_json_u64(json_object_get(root, "n"), &n));
    json_decref(root);
    static const char twice[] = "{\"a\": 1, \"a\": 2}";
    unit_fails(gguf_json_parse(twice, strlen(twice), GGUF_JSON_WIDE_INTS, "t", 100, &root, &err),
               GGUF_E_DUPLICATE, "duplicate", err);
    ck_assert_int_gt(err.offset, 100);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("text formats");
    TCase *tests = tcase_create("yaml and json");
    tcase_add_test(tests, reads_a_tree);
    tcase_add_test(tests, refuses_with_position);
    tcase_add_test(tests, nesting_is_bounded);
    tcase_add_test(tests, json_numbers_and_duplicates);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
