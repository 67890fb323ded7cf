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

/* ---- tables of fields --------------------------------------------------------------------- */

static const char *const sizes[] = {"small", "large", NULL};
static const gguf_yaml_field part_fields[] = {
    {"name", .form = GGUF_YAML_TEXT, .needed = true},
    {"size", .form = GGUF_YAML_TEXT, .words = sizes},
    {"range", .form = GGUF_YAML_TEXTS, .least = 2, .most = 2},
    {0}};
static const gguf_yaml_field file_fields[] = {
    {"flag", .form = GGUF_YAML_FLAG},
    {"share", .form = GGUF_YAML_NUMBER},
    {"count", .form = GGUF_YAML_COUNT},
    {"from", .form = GGUF_YAML_ANY_TEXTS},
    {"map", .form = GGUF_YAML_VALUES},
    {"one", .form = GGUF_YAML_RECORD, .fields = part_fields, .what = "a part"},
    {"parts", .form = GGUF_YAML_RECORDS, .fields = part_fields, .what = "a part"},
    {0}};

static gguf_code check_text(const char *text, gguf_error *err) {
    gguf_yaml_doc *doc;
    gguf_code code = parse(text, &doc, err);
    ck_assert_int_eq(code, GGUF_OK);
    code = gguf_yaml_check(doc, gguf_yaml_root(doc), file_fields, "the file", err);
    gguf_yaml_free(doc);
    return code;
}

START_TEST(known_fields_pass) {
    gguf_error err = {0};
    unit_ok(check_text("flag: yes\nshare: 0.5\ncount: 3\nfrom: [a, b]\nmap: {x: 1, y: z}\n"
                       "one: {name: n}\nparts:\n  - name: a\n    size: small\n    range: [1, 2]\n",
                       &err),
            err);
    unit_ok(check_text("from: a\nparts: []\n", &err), err);
}
END_TEST

static const struct {
    const char *text, *message;
} bad_fields[] = {
    {"flag: yes\nother_thing: 1\n",
     "line 2, column 1: the file has no field 'other_thing' (there are flag, share, count"},
    {"cuont: 1\n", "line 1, column 1: the file has no field 'cuont'; did you mean 'count'?"},
    {"parts:\n  - name: a\n  - name: b\n    sise: small\n",
     "line 4, column 5: a part has no field 'sise'; did you mean 'size'?"},
    {"one: {name: a, zzzzzz: 1}\n", "line 1, column 16: a part has no field 'zzzzzz'"},
    {"parts: [{size: small}]\n", "line 1, column 9: a part has no 'name'"},
    {"parts: [a]\n", "a part must be a map"},
    {"parts: {name: a}\n", "'parts' must be a list of maps"},
    {"one: [1]\n", "'one' must be a map"},
    {"flag: maybe\n", "'flag' must be true or false"},
    {"share: half\n", "'share' must be a number"},
    {"count: -1\n", "'count' must be a whole number from 0 on"},
    {"from: {a: b}\n", "'from' must be a value or a list of values"},
    {"map: {a: [b]}\n", "'map' must be a map of names and values"},
    {"one: {name: a, size: huge}\n", "line 1, column 16: 'size' must be one of small, large"},
    {"one: {name: a, range: [1]}\n", "'range' must be a list of values, 2 in all"},
};

START_TEST(unknown_fields_are_named) {
    gguf_error err = {0};
    unit_fails(check_text(bad_fields[_i].text, &err), GGUF_E_FORMAT, bad_fields[_i].message, err);
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

START_TEST(json_as_python_writes_it) {
    static const char text[] = "{\"a\": NaN, \"b\": [Infinity, -Infinity], \"NaN\": \"\\\"NaN\"}";
    static const char cut[] = "{\"a\": NaN, \"b\": Nan}";
    json_t *root;
    gguf_error err = {0};
    unit_ok(gguf_json_parse(text, strlen(text), GGUF_JSON_WIDE_INTS, "t", 0, &root, &err), err);
    const json_t *list = json_object_get(root, "b");
    ck_assert_str_eq(gguf_json_nonfinite(json_object_get(root, "a")), "NaN");
    ck_assert_str_eq(gguf_json_nonfinite(json_array_get(list, 0)), "Infinity");
    ck_assert_str_eq(gguf_json_nonfinite(json_array_get(list, 1)), "-Infinity");
    ck_assert(!json_is_number(json_object_get(root, "a")));
    ck_assert_str_eq(json_string_value(json_object_get(root, "NaN")), "\"NaN");
    ck_assert_ptr_null(gguf_json_nonfinite(json_object_get(root, "NaN")));
    json_decref(root);
    unit_fails(gguf_json_parse(cut, strlen(cut), GGUF_JSON_WIDE_INTS, "t", 0, &root, &err),
               GGUF_E_FORMAT, "'Nan'", err);
    ck_assert_int_eq(err.offset, 19);
    err = (gguf_error){0};
    unit_fails(gguf_json_parse(text, strlen(text), GGUF_JSON_EXACT_INTS, "t", 0, &root, &err),
               GGUF_E_FORMAT, "'NaN'", err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("text formats");
    TCase *tests = tcase_create("yaml and json");
    tcase_add_test(tests, reads_a_tree);
    tcase_add_test(tests, refuses_with_position);
    tcase_add_test(tests, nesting_is_bounded);
    tcase_add_test(tests, json_numbers_and_duplicates);
    tcase_add_test(tests, json_as_python_writes_it);
    tcase_add_test(tests, known_fields_pass);
    tcase_add_loop_test(tests, unknown_fields_are_named, 0,
                        (int)(sizeof bad_fields / sizeof bad_fields[0]));
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
