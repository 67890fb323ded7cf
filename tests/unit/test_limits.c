/* The limits of docs/limits.md: what lies beyond is refused, and before memory is taken for it. */
#include "tests/unit/unit.h"
#include "tests/unit/unit_alloc.h"

#include "libgguf/checkpoint.h"
#include "libgguf/json.h"
#include "libgguf/yaml.h"
#include "runtime/tokenizer/tokenizer.h"

#define SMALL (8 << 20) /* bytes that a refusal may take beyond a multiple of its input */

static void check_refused(gguf_code code, const gguf_error *err, const char *text, size_t input) {
    ck_assert_msg(code == GGUF_E_LIMIT, "got %s: %s", gguf_code_name(code), err->message);
    ck_assert_msg(strstr(err->message, text) != NULL, "'%s' is not in '%s'", text, err->message);
    ck_assert_msg(unit_alloc.peak < SMALL + 64 * (long long)input, "%lld bytes for %zu",
                  unit_alloc.peak, input);
}

/* A file of this size without data on disk. */
static const char *sparse(off_t n) {
    const char *path = unit_temp("sparse");
    unit_write(path, "", 0);
    ck_assert_int_eq(truncate(path, n), 0);
    return path;
}

static char *repeated(const char *before, const char *part, size_t n, const char *after) {
    size_t a = strlen(before), p = strlen(part), z = strlen(after);
    char *text = malloc(a + n * p + z + 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, before, a);
    for (size_t i = 0; i < n; i++) memcpy(text + a + i * p, part, p);
    memcpy(text + a + n * p, after, z + 1);
    return text;
}

START_TEST(sizes_of_files) {
    gguf_error err = {0}, yaml_err = {0};
    json_t *json;
    gguf_yaml_doc *doc;
    const char *path = sparse(((off_t)512 << 20) + 1);
    unit_alloc_start(0, false);
    check_refused(gguf_json_load(path, GGUF_JSON_WIDE_INTS, &json, &err), &err, "over the limit",
                  0);
    path = sparse(((off_t)16 << 20) + 1);
    unit_alloc_start(0, false);
    check_refused(gguf_yaml_load(path, &doc, &yaml_err), &yaml_err, "over the limit", 0);
    unlink(path);
}
END_TEST

START_TEST(header_of_safetensors) {
    gguf_error err = {0};
    gguf_checkpoint *c;
    uint64_t length = 100000001;
    gguf_memory_file f = {"model.safetensors", &length, 8};
    unit_alloc_start(0, false);
    check_refused(gguf_checkpoint_from_memory(&f, 1, &c, &err), &err, "over the limit", 0);
}
END_TEST

START_TEST(yaml_trees) {
    gguf_yaml_doc *doc;
    gguf_error err = {0}, nodes_err = {0};
    char *deep = repeated("", "[", 66, "]"), *wide = repeated("[", "1,", 1000001, "]");
    unit_alloc_start(0, false);
    check_refused(gguf_yaml_parse(deep, strlen(deep), "x", &doc, &err), &err, "nested", 66);
    unit_alloc_start(0, false);
    check_refused(gguf_yaml_parse(wide, strlen(wide), "x", &doc, &nodes_err), &nodes_err, "nodes",
                  strlen(wide));
    free(deep);
    free(wide);
}
END_TEST

static gguf_code import_json(const char *tokenizer, const char *config, gguf_error *err) {
    gguf_memory_file files[] = {{"tokenizer.json", tokenizer, strlen(tokenizer)},
                                {"tokenizer_config.json", config, strlen(config)}};
    rt_vocab_report report = {0};
    gguf_meta *meta = gguf_meta_new();
    ck_assert_ptr_nonnull(meta);
    unit_alloc_start(0, false);
    gguf_code code = rt_vocab_import_memory(files, 2, 0, meta, &report, err);
    rt_vocab_report_clear(&report);
    gguf_meta_free(meta);
    return code;
}

#define MODEL      "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}"
#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"

START_TEST(tokenizers) {
    static const struct {
        const char *before, *part;
        size_t n;
        const char *after, *message;
    } cases[] = {
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", "{\"type\":\"Lowercase\"},",
         64, "{\"type\":\"Lowercase\"}]}," MODEL "}", "normaliser steps"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[", "{\"type\":\"Digits\"},",
         64, "{\"type\":\"Digits\"}]}," MODEL "}", "pre-tokenizer steps"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"",
         "a", 65537, "\"}}," MODEL "}", "an expression of"},
        {"{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":1048578}", "",
         0, "}}", "only 1 tokens"},
        {"{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":4294967296}",
         "", 0, "}}", "ids up to"},
    };
    gguf_error err = {0};
    char *text = repeated(cases[_i].before, cases[_i].part, cases[_i].n, cases[_i].after);
    gguf_code code = import_json(text, "{}", &err);
    check_refused(code, &err, cases[_i].message, strlen(text));
    free(text);
}
END_TEST

START_TEST(chat_templates) {
    gguf_error err = {0};
    char *list = malloc(8192);
    ck_assert_ptr_nonnull(list);
    size_t n = (size_t)snprintf(list, 8192, "{\"chat_template\":[");
    for (int i = 0; i < 65; i++)
        n += (size_t)snprintf(list + n, 8192 - n, "%s{\"name\":\"t%d\",\"template\":\"x\"}",
                              i ? "," : "", i);
    snprintf(list + n, 8192 - n, "]}");
    gguf_code code = import_json("{" BYTE_LEVEL "," MODEL "}", list, &err);
    check_refused(code, &err, "chat templates", 8192);
    free(list);
}
END_TEST

START_TEST(one_chat_template) {
    gguf_error err = {0}, inline_err = {0};
    char *large = repeated("", "x", (16u << 20) + 1, "");
    static const char tokenizer[] = "{" BYTE_LEVEL "," MODEL "}";
    gguf_memory_file files[] = {{"tokenizer.json", tokenizer, sizeof tokenizer - 1},
                                {"chat_template.jinja", large, strlen(large)}};
    rt_vocab_report report = {0};
    gguf_meta *meta = gguf_meta_new();
    unit_alloc_start(0, false);
    gguf_code code = rt_vocab_import_memory(files, 2, 0, meta, &report, &err);
    check_refused(code, &err, "over the limit", 0);
    rt_vocab_report_clear(&report);
    gguf_meta_free(meta);
    char *config = repeated("{\"chat_template\":\"", "x", (16u << 20) + 1, "\"}");
    code = import_json(tokenizer, config, &inline_err);
    check_refused(code, &inline_err, "chat template", strlen(config));
    free(config);
    free(large);
}
END_TEST

START_TEST(length_of_a_text) {
    gguf_error err = {0};
    rt_tokenizer *tok;
    rt_ids ids = {0};
    gguf_str texts[] = {gguf_str_of("<unk>"), gguf_str_of("a")};
    float scores[2] = {0};
    gguf_meta *meta = gguf_meta_new();
    gguf_meta_set_str(meta, "tokenizer.ggml.model", gguf_str_of("llama"));
    gguf_meta_set_str_array(meta, "tokenizer.ggml.tokens", 2, texts);
    gguf_meta_set_array(meta, "tokenizer.ggml.scores", GGUF_VALUE_F32, 2, scores);
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    unit_alloc_start(0, false);
    check_refused(rt_tokenize(tok, "a", ((size_t)1 << 30) + 1, 0, &ids, &err), &err, "too long", 0);
    rt_tokenizer_free(tok);
    gguf_meta_free(meta);
}
END_TEST

int main(void) {
    unit_alloc_hook_json();
    Suite *suite = suite_create("limits");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, sizes_of_files);
    tcase_add_test(c, header_of_safetensors);
    tcase_add_test(c, yaml_trees);
    tcase_add_loop_test(c, tokenizers, 0, 5);
    tcase_add_test(c, chat_templates);
    tcase_add_test(c, one_chat_template);
    tcase_add_test(c, length_of_a_text);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
