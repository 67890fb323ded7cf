/* Tokenizers of all families: imported from their folder, through a GGUF file, every reference id.
 */
#include "libgguf/json.h"
#include "libgguf/outfile.h"
#include "libgguf/pool.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/unit/unit.h"

#include <stdatomic.h>

static const char *const families[] = {"llama3",    "gpt2",        "qwen2",      "spm-llama",
                                       "smollm",    "deepseek-v3", "gpt-4o",     "tekken",
                                       "spm-gemma", "bert",        "spm-unigram"};
#define N_FAMILIES (int)(sizeof families / sizeof *families)

static gguf_error err;

static const char *family_path(const char *family, const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/tokenizers/%s%s%s", TEST_DATA, family, *name ? "/" : "", name);
    return path;
}

static json_t *load(const char *family, const char *name) {
    json_t *value = NULL;
    unit_ok(gguf_json_load(family_path(family, name), GGUF_JSON_WIDE_INTS, &value, &err), err);
    return value;
}

static gguf_meta *import_family(const char *family, uint32_t n_vocab) {
    gguf_meta *meta = gguf_meta_new();
    rt_vocab_report report = {0};
    unit_ok(rt_vocab_import(family_path(family, ""), n_vocab, meta, &report, &err), err);
    ck_assert_uint_eq(report.n_warnings, 0);
    ck_assert_uint_gt(report.n_tokens, 600);
    rt_vocab_report_clear(&report);
    return meta;
}

static rt_tokenizer *open_family(const char *family) {
    rt_tokenizer *tok = NULL;
    gguf_meta *meta = import_family(family, 0);
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    gguf_meta_free(meta);
    return tok;
}

/* In the SentencePiece families special tokens in a text are plain text. */
static unsigned parse_flag(const char *family) {
    return strncmp(family, "spm-", 4) == 0 ? 0 : RT_TOKENIZE_PARSE_SPECIAL;
}

/* ---- reference ids ----------------------------------------------------------------------- */

/* Whether a text gives these ids. Check's macros are not for threads: what is wrong is printed. */
static bool gives_ids(const rt_tokenizer *tok, const json_t *text, const json_t *expected,
                      unsigned flags) {
    rt_ids ids = {0};
    gguf_error own = {0};
    bool same = rt_tokenize(tok, json_string_value(text), json_string_length(text), flags, &ids,
                            &own) == GGUF_OK &&
                ids.n == json_array_size(expected);
    for (size_t i = 0; i < ids.n && same; i++)
        same = ids.data[i] == json_number_value(json_array_get(expected, i));
    if (!same) fprintf(stderr, "'%s': %zu ids %s\n", json_string_value(text), ids.n, own.message);
    rt_ids_clear(&ids);
    return same;
}

static size_t count_wrong(const rt_tokenizer *tok, const json_t *cases, unsigned flags) {
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i), *text = json_object_get(item, "text"),
                     *ids = json_object_get(item, "ids"),
                     *special = json_object_get(item, "ids_special"); /* where some are added */
        n += !gives_ids(tok, text, ids, flags);
        n += !gives_ids(tok, text, special ? special : ids, flags | RT_TOKENIZE_ADD_SPECIAL);
    }
    return n;
}

static json_t *load_cases(const char *family) {
    json_t *cases = load(family, "cases.json");
    ck_assert_uint_gt(json_array_size(cases), 200);
    return cases;
}

static void check_cases(const rt_tokenizer *tok, const char *family) {
    json_t *cases = load_cases(family);
    ck_assert_uint_eq(count_wrong(tok, cases, parse_flag(family)), 0);
    json_decref(cases);
}

START_TEST(test_cases) {
    rt_tokenizer *tok = open_family(families[_i]);
    check_cases(tok, families[_i]);
    rt_tokenizer_free(tok);
}
END_TEST

/* The same metadata written to a file and read back. */
START_TEST(test_cases_from_file) {
    gguf_meta *meta = import_family(families[_i], 0);
    uint8_t *header;
    size_t n_bytes;
    gguf_file *file;
    rt_tokenizer *tok;
    const char *path = unit_temp("vocab.gguf");
    unit_ok(gguf_header_encode(meta, NULL, 0, GGUF_DEFAULT_ALIGNMENT, &header, &n_bytes, &err),
            err);
    unit_ok(gguf_outfile_save(path, header, n_bytes, true, &err), err);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    unit_ok(rt_tokenizer_new(gguf_file_meta(file), &tok, &err), err);
    gguf_file_close(file); /* nothing of it is kept */
    gguf_meta_free(meta);
    free(header);
    unlink(path);
    check_cases(tok, families[_i]);
    rt_tokenizer_free(tok);
}
END_TEST

/* A file by another program has none of our keys; these families do not need them. */
START_TEST(test_cases_without_our_keys) {
    static const char *const plain[] = {"gpt2",   "spm-llama", "smollm",     "deepseek-v3",
                                        "gpt-4o", "bert",      "spm-unigram"};
    gguf_meta *all = import_family(plain[_i], 0), *meta = gguf_meta_new();
    rt_tokenizer *tok;
    for (size_t i = 0; i < gguf_meta_count(all); i++) {
        const gguf_kv *kv = gguf_meta_at(all, i);
        bool ours = kv->key.len > 18 && memcmp(kv->key.ptr, "tokenizer.ggufkit.", 18) == 0;
        if (!ours) gguf_meta_set_kv(meta, kv);
    }
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    check_cases(tok, plain[_i]);
    rt_tokenizer_free(tok);
    gguf_meta_free(meta);
    gguf_meta_free(all);
}
END_TEST

typedef struct shared_tokenizer {
    const rt_tokenizer *tok;
    const json_t *cases;
    atomic_size_t n_wrong;
} shared_tokenizer;

static void check_family_task(void *ctx, size_t task, unsigned worker) {
    shared_tokenizer *shared = ctx;
    (void)worker;
    (void)task;
    atomic_fetch_add(&shared->n_wrong,
                     count_wrong(shared->tok, shared->cases, parse_flag(families[0])));
}

START_TEST(test_threads) {
    gguf_pool *pool;
    rt_tokenizer *tok = open_family(families[0]);
    json_t *cases = load_cases(families[0]);
    shared_tokenizer shared = {.tok = tok, .cases = cases};
    unit_ok(gguf_pool_new(4, &pool, &err), err);
    gguf_pool_run(pool, 8, check_family_task, &shared);
    gguf_pool_free(pool);
    ck_assert_uint_eq(atomic_load(&shared.n_wrong), 0);
    json_decref(cases);
    rt_tokenizer_free(tok);
}
END_TEST

/* ---- the metadata ------------------------------------------------------------------------ */

static void type_of(const gguf_kv *kv, char *out, size_t room) {
    static const char *const names[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                        "int32",  "float32", "bool",   "string", "array",
                                        "uint64", "int64",   "float64"};
    bool array = kv->type == GGUF_VALUE_ARRAY;
    snprintf(out, room, "%s%s", array ? "array " : "", names[kv->elem_type]);
}

static void check_value(gguf_kv_iter *it, const json_t *expected, const char *key) {
    gguf_str text;
    double number = 0;
    int64_t integer;
    if (json_is_string(expected)) {
        ck_assert(gguf_kv_next_str(it, &text));
        ck_assert_uint_eq(text.len, json_string_length(expected));
        ck_assert_mem_eq(text.ptr, json_string_value(expected), text.len);
    } else if (json_is_boolean(expected)) {
        ck_assert(gguf_kv_next_i64(it, &integer));
        ck_assert_int_eq(integer, json_is_true(expected));
    } else {
        ck_assert(gguf_kv_next_f64(it, &number));
        ck_assert_msg(number == json_number_value(expected), "%s: %g", key, number);
    }
}

/* Key, type and values of llama.cpp's converter, in the same order; keys of ours may stand between.
 * The differences on purpose are additions only:
 *   - unknown_token_id and padding_token_id from tokenizer.model, which its converter leaves out;
 *   - tokenizer.ggufkit.*: ignore_merges where the model's setting is not the one that the name of
 *     the pre-tokenizer implies, normalizer (NFC), user_defined (the pieces that its converter
 * calls normal, and so do we), space_after_special. */
static void check_expected(const gguf_meta *meta, const json_t *expected) {
    size_t i, k, at = 0;
    json_t *item, *value;
    json_array_foreach(expected, i, item) {
        const char *key = json_string_value(json_object_get(item, "key"));
        char type[32];
        while (at < gguf_meta_count(meta) && !gguf_str_eq(gguf_meta_at(meta, at)->key, key)) at++;
        ck_assert_msg(at < gguf_meta_count(meta), "%s is missing or out of order", key);
        const gguf_kv *kv = gguf_meta_at(meta, at);
        gguf_kv_iter it = {kv, 0, 0};
        json_t *values = json_object_get(item, "value");
        type_of(kv, type, sizeof type);
        ck_assert_str_eq(type, json_string_value(json_object_get(item, "type")));
        ck_assert_uint_eq(kv->count, json_is_array(values) ? json_array_size(values) : 1);
        if (!json_is_array(values)) check_value(&it, values, key);
        json_array_foreach(values, k, value) check_value(&it, value, key);
    }
}

static bool is_known_addition(gguf_str key) {
    return gguf_str_eq(key, "tokenizer.ggml.unknown_token_id") ||
           gguf_str_eq(key, "tokenizer.ggml.padding_token_id") ||
           (key.len > 18 && memcmp(key.ptr, "tokenizer.ggufkit.", 18) == 0);
}

static void check_additions(const gguf_meta *meta, const json_t *expected) {
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        gguf_str key = gguf_meta_at(meta, i)->key;
        size_t k;
        json_t *item;
        bool found = is_known_addition(key);
        json_array_foreach(expected, k, item) found |=
            gguf_str_eq(key, json_string_value(json_object_get(item, "key")));
        ck_assert_msg(found, "%.*s is not a key of the reference", (int)key.len, key.ptr);
    }
}

START_TEST(test_metadata) {
    if (access(family_path(families[_i], "expected.json"), F_OK) != 0) return; /* no reference */
    json_t *expected = load(families[_i], "expected.json");
    gguf_meta *meta = import_family(families[_i], 0);
    check_expected(meta, expected);
    check_additions(meta, expected);
    gguf_meta_free(meta);
    json_decref(expected);
}
END_TEST

/* ---- back to text ------------------------------------------------------------------------ */

static void check_round_trip(const rt_tokenizer *tok, const json_t *text, unsigned flags) {
    rt_ids ids = {0};
    char *back;
    size_t len;
    unit_ok(rt_tokenize(tok, json_string_value(text), json_string_length(text), flags, &ids, &err),
            err);
    unit_ok(rt_detokenize(tok, ids.data, ids.n, false, &back, &len, &err), err);
    ck_assert_uint_eq(len, json_string_length(text));
    ck_assert_mem_eq(back, json_string_value(text), len);
    free(back);
    rt_ids_clear(&ids);
}

static bool is_ascii(const json_t *text) {
    for (size_t i = 0; i < json_string_length(text); i++)
        if ((unsigned char)json_string_value(text)[i] >= 0x80) return false;
    return true;
}

START_TEST(test_round_trip) {
    const char *family = families[_i];
    if (strcmp(family, "bert") == 0 || strcmp(family, "spm-unigram") == 0)
        return; /* they lose text */
    bool nfc = strcmp(family, "qwen2") == 0;
    rt_tokenizer *tok = open_family(family);
    json_t *cases = load(family, "cases.json"), *item;
    size_t i;
    json_array_foreach(cases, i, item) {
        const json_t *text = json_object_get(item, "text");
        if (!nfc || is_ascii(text)) check_round_trip(tok, text, parse_flag(family));
    }
    json_decref(cases);
    rt_tokenizer_free(tok);
}
END_TEST

START_TEST(test_detokenize_one_by_one) {
    rt_tokenizer *tok = open_family("spm-llama");
    rt_ids ids = {0};
    char joined[64] = "";
    unit_ok(rt_tokenize(tok, "Hi \xF0\x9F\x9A\x80 x", 9, RT_TOKENIZE_ADD_SPECIAL, &ids, &err), err);
    ck_assert_int_eq(ids.data[0], rt_tokenizer_special(tok, RT_SPECIAL_BOS));
    for (size_t i = 1; i < ids.n; i++) {
        gguf_str part = rt_token_text(tok, ids.data[i]);
        strncat(joined, part.ptr, part.len);
    }
    ck_assert_str_eq(joined, " Hi \xF0\x9F\x9A\x80 x"); /* with the space of the tokenizer */
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
}
END_TEST

/* ---- facts ------------------------------------------------------------------------------- */

START_TEST(test_facts) {
    rt_tokenizer *tok = open_family("llama3");
    ck_assert_uint_eq(rt_tokenizer_n_tokens(tok), 640);
    ck_assert_int_eq(rt_tokenizer_special(tok, RT_SPECIAL_BOS), 637);
    ck_assert_int_eq(rt_tokenizer_special(tok, RT_SPECIAL_EOS), 638);
    ck_assert_int_eq(rt_tokenizer_special(tok, RT_SPECIAL_MASK), -1);
    ck_assert(rt_tokenizer_adds_bos(tok));
    ck_assert(rt_tokenizer_is_end(tok, 638));
    ck_assert(rt_tokenizer_is_end(tok, 639)); /* <|eot_id|> */
    ck_assert(!rt_tokenizer_is_end(tok, 637));
    ck_assert(!rt_tokenizer_is_end(tok, -1));
    ck_assert(rt_token_is_special(tok, 639));
    ck_assert(!rt_token_is_special(tok, 12));
    ck_assert_int_eq(rt_tokenizer_find(tok, gguf_str_of("<|eot_id|>")), 639);
    ck_assert_int_eq(rt_tokenizer_find(tok, gguf_str_of(" the")),
                     rt_tokenizer_find(tok, gguf_str_of("\xC4\xA0the")));
    ck_assert_int_eq(rt_tokenizer_find(tok, gguf_str_of("no such token")), -1);
    ck_assert_uint_eq(rt_token_text(tok, 640).len, 0);
    ck_assert(gguf_str_eq(rt_token_piece(tok, 639), "<|eot_id|>"));
    rt_tokenizer_free(tok);
}
END_TEST

START_TEST(test_special_flags) {
    rt_tokenizer *tok = open_family("llama3");
    rt_ids parsed = {0}, plain = {0};
    unit_ok(rt_tokenize(tok, "<|eot_id|>", 10, RT_TOKENIZE_PARSE_SPECIAL, &parsed, &err), err);
    unit_ok(rt_tokenize(tok, "<|eot_id|>", 10, 0, &plain, &err), err);
    ck_assert_uint_eq(parsed.n, 1);
    ck_assert_int_eq(parsed.data[0], 639);
    ck_assert_uint_gt(plain.n, 3);
    rt_ids_clear(&parsed);
    rt_ids_clear(&plain);
    rt_tokenizer_free(tok);
}
END_TEST

/* Bytes that are not UTF-8 count as U+FFFD. */
START_TEST(test_malformed_text) {
    static const char *const broken[] = {"a\xFFz", "a\xE2\x82z", "a\xF0\x9F\x9Az", "a\xC0z",
                                         "a\x80z"};
    rt_tokenizer *tok = open_family("gpt2");
    rt_ids expected = {0};
    unit_ok(rt_tokenize(tok, "a\xEF\xBF\xBDz", 5, 0, &expected, &err), err);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        rt_ids ids = {0};
        unit_ok(rt_tokenize(tok, broken[i], strlen(broken[i]), 0, &ids, &err), err);
        ck_assert_uint_eq(ids.n, expected.n);
        ck_assert_mem_eq(ids.data, expected.data, ids.n * sizeof *ids.data);
        rt_ids_clear(&ids);
    }
    rt_ids_clear(&expected);
    rt_tokenizer_free(tok);
}
END_TEST

/* A piece that is one long word must not take quadratic time. */
START_TEST(test_long_word) {
    size_t n = 2000000;
    char *text = malloc(n);
    const char *const names[] = {"llama3", "spm-llama", "spm-unigram", "bert"};
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', n);
    for (size_t i = 0; i < 4; i++) {
        rt_tokenizer *tok = open_family(names[i]);
        rt_ids ids = {0};
        unit_ok(rt_tokenize(tok, text, n, 0, &ids, &err), err);
        ck_assert_uint_gt(ids.n, 0);
        rt_ids_clear(&ids);
        rt_tokenizer_free(tok);
    }
    free(text);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_cases, 0, N_FAMILIES);
    tcase_add_loop_test(tc, test_cases_from_file, 0, N_FAMILIES);
    tcase_add_loop_test(tc, test_cases_without_our_keys, 0, 7);
    tcase_add_loop_test(tc, test_metadata, 0, N_FAMILIES);
    tcase_add_loop_test(tc, test_round_trip, 0, N_FAMILIES);
    tcase_add_test(tc, test_threads);
    tcase_add_test(tc, test_detokenize_one_by_one);
    tcase_add_test(tc, test_facts);
    tcase_add_test(tc, test_special_flags);
    tcase_add_test(tc, test_malformed_text);
    tcase_add_test(tc, test_long_word);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
