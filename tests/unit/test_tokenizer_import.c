/* Broken and unusual tokenizer folders and metadata: each gives its error, none a crash. */
#include "libgguf/json.h"
#include "runtime/tokenizer/tokenizer_internal.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <sys/stat.h>

static gguf_error err;
static rt_vocab_report report;
static gguf_meta *meta;
static const char *folder;

static const char *source(const char *family, const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/tokenizers/%s/%s", TEST_DATA, family, name);
    return path;
}

static const char *in_folder(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const char *const names[] = {
    "tokenizer.json",          "tokenizer.model",     "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json",   "config.json",
    "generation_config.json",  "chat_template.jinja", "chat_template.json"};

static void empty_folder(void) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_folder(names[i]));
}

static void setup(void) {
    static char path[512];
    snprintf(path, sizeof path, "%s", unit_temp("folder"));
    folder = path;
    mkdir(folder, 0700);
    empty_folder();
}

static void teardown(void) {
    empty_folder();
    rmdir(folder);
}

/* Import the folder into fresh metadata, valid until the next call. */
static gguf_code import(void) {
    err = (gguf_error){0};
    gguf_meta_free(meta);
    rt_vocab_report_clear(&report);
    meta = gguf_meta_new();
    return rt_vocab_import(folder, 0, meta, &report, &err);
}

static void import_end(void) {
    gguf_meta_free(meta);
    meta = NULL;
    rt_vocab_report_clear(&report);
}

static void put_text(const char *name, const char *text) {
    unit_write(in_folder(name), text, strlen(text));
}

static void put_json(const char *name, json_t *value) {
    char *text = json_dumps(value, 0);
    ck_assert_ptr_nonnull(text);
    put_text(name, text);
    free(text);
}

static json_t *load(const char *family) {
    json_t *root;
    unit_ok(gguf_json_load(source(family, "tokenizer.json"), GGUF_JSON_EXACT_INTS, &root, &err),
            err);
    return root;
}

static void put_source(const char *family) {
    size_t n;
    unsigned char *bytes = unit_read(source(family, "tokenizer.json"), &n);
    unit_write(in_folder("tokenizer.json"), bytes, n);
    free(bytes);
}

/* ---- broken tokenizer.json --------------------------------------------------------------- */

/* Replace the value at a path such as "model/vocab/the" by JSON text (NULL: remove it). */
static void change(json_t *root, const char *path, const char *json) {
    char part[256];
    json_t *at = root;
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        at = json_is_array(at) ? json_array_get(at, (size_t)strtol(part, NULL, 10))
                               : json_object_get(at, part);
        ck_assert_ptr_nonnull(at);
    }
    if (!json) {
        json_object_del(at, path);
        return;
    }
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    ck_assert_ptr_nonnull(value);
    if (json_is_array(at))
        json_array_set_new(at, (size_t)strtol(path, NULL, 10), value);
    else
        json_object_set_new(at, path, value);
}

static const struct {
    const char *family, *path, *json;
    gguf_code code;
    const char *message;
} changes[] = {
    {"llama3", "model", NULL, GGUF_E_FORMAT, "'model'"},
    {"llama3", "model/type", "\"Foo\"", GGUF_E_UNSUPPORTED, "'Foo'"},
    {"llama3", "model/vocab", NULL, GGUF_E_FORMAT, "'model.vocab'"},
    {"llama3", "model/vocab", "{}", GGUF_E_FORMAT, "names or makes"},
    {"llama3", "model/vocab", "[1]", GGUF_E_FORMAT, "'model.vocab'"},
    {"llama3", "model/vocab/!", "1", GGUF_E_DUPLICATE, "id 1 is both"},
    {"llama3", "model/vocab/!", "\"x\"", GGUF_E_FORMAT, "'!' without a number"},
    {"llama3", "model/vocab/!", "-1", GGUF_E_FORMAT, "'!' without a number"},
    {"llama3", "model/vocab/!", "4000000000", GGUF_E_LIMIT, "only 640 tokens"},
    {"llama3", "model/merges", NULL, GGUF_E_FORMAT, "'model.merges'"},
    {"llama3", "model/merges/3", "[\"no\", \"such\"]", GGUF_E_FORMAT, "merge 3 'no such'"},
    {"llama3", "model/merges/3", "[\"q\", \"z\"]", GGUF_E_FORMAT, "merge 3 'q z'"},
    {"llama3", "model/merges/3", "\"t h e\"", GGUF_E_FORMAT, "merge 3 is not a pair"},
    {"llama3", "model/merges/3", "7", GGUF_E_FORMAT, "merge 3 is not a pair"},
    {"llama3", "model/continuing_subword_prefix", "\"##\"", GGUF_E_UNSUPPORTED,
     "continuing_subword_prefix"},
    {"llama3", "added_tokens", "{}", GGUF_E_FORMAT, "'added_tokens'"},
    {"llama3", "added_tokens/0", "{\"id\": 637}", GGUF_E_FORMAT, "added token 0"},
    {"llama3", "added_tokens/0/id", "638", GGUF_E_DUPLICATE, "id 638 is both"},
    {"llama3", "added_tokens/0/content", "\"!\"", GGUF_E_DUPLICATE, "are both '!'"},
    {"llama3", "pre_tokenizer", "{\"type\": \"Foo\"}", GGUF_E_UNSUPPORTED, "'Foo'"},
    {"llama3", "pre_tokenizer", "{\"type\": \"Sequence\"}", GGUF_E_FORMAT, "'pretokenizers'"},
    {"llama3", "pre_tokenizer", "{\"type\": \"Split\", \"behavior\": \"Isolated\"}", GGUF_E_FORMAT,
     "'pattern'"},
    {"llama3", "pre_tokenizer", "{\"type\": \"Split\", \"behavior\": \"Foo\"}", GGUF_E_UNSUPPORTED,
     "'Foo'"},
    {"llama3", "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(a\"", GGUF_E_UNSUPPORTED,
     "unfinished group"},
    {"llama3", "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"[a\"", GGUF_E_UNSUPPORTED,
     "unfinished bracket"},
    {"llama3", "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"\\\\p{Foo}\"", GGUF_E_UNSUPPORTED,
     "unknown property"},
    {"llama3", "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(a)\\\\1\"", GGUF_E_UNSUPPORTED,
     "unsupported escape"},
    {"llama3", "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"a**+\"", GGUF_E_UNSUPPORTED, ""},
    {"llama3", "normalizer", "{\"type\": \"Foo\"}", GGUF_E_UNSUPPORTED, "'Foo'"},
    {"llama3", "normalizer", "{\"type\": \"Replace\"}", GGUF_E_FORMAT, "'content'"},
    {"llama3", "normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"A*\"}",
     GGUF_E_FORMAT, "character map"},
    {"llama3", "normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}",
     GGUF_E_FORMAT, "character map"},
    {"llama3", "pre_tokenizer", "{\"type\": \"CharDelimiterSplit\"}", GGUF_E_FORMAT, "'delimiter'"},
    {"llama3", "pre_tokenizer", "{\"type\": \"FixedLength\", \"length\": 0}", GGUF_E_FORMAT,
     "'length'"},
    {"llama3", "post_processor", "{\"type\": \"Foo\"}", GGUF_E_UNSUPPORTED, "'Foo'"},
    {"llama3", "post_processor/special_tokens/<|begin_of_text|>/ids", "[9999]", GGUF_E_FORMAT,
     "does not exist"},
    {"llama3", "post_processor/special_tokens", "{}", GGUF_E_FORMAT, "has no ids"},
    {"bert", "model/continuing_subword_prefix", "\"@@\"", GGUF_E_UNSUPPORTED, "'##'"},
};
#define N_CHANGES (int)(sizeof changes / sizeof *changes)

START_TEST(test_changed_json) {
    json_t *root = load(changes[_i].family);
    change(root, changes[_i].path, changes[_i].json);
    put_json("tokenizer.json", root);
    unit_fails(import(), changes[_i].code, changes[_i].message, err);
    ck_assert_ptr_nonnull(strstr(err.file, "tokenizer.json"));
    json_decref(root);
}
END_TEST

START_TEST(test_no_tokenizer) {
    unit_fails(import(), GGUF_E_MISSING, "neither tokenizer.model nor tokenizer.json", err);
    put_text("tokenizer.json", "[]");
    unit_fails(import(), GGUF_E_FORMAT, "no JSON object", err);
    put_text("tokenizer.json", "{\"model\": {}");
    ck_assert_int_ne(import(), GGUF_OK);
    put_text("tokenizer.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"a\": 1}}}");
    ck_assert_int_ne(import(), GGUF_OK); /* a name that occurs twice */
}
END_TEST

/* Every prefix (in steps) of a file that is fine as a whole. */
START_TEST(test_prefixes_json) {
    size_t n;
    unsigned char *bytes = unit_read(source("llama3", "tokenizer.json"), &n);
    for (size_t len = 0; len < n - 2; len += 1 + len / 50) {
        unit_write(in_folder("tokenizer.json"), bytes, len);
        ck_assert_msg(import() != GGUF_OK, "%zu bytes", len);
        ck_assert_ptr_nonnull(strstr(err.file, "tokenizer.json"));
    }
    free(bytes);
}
END_TEST

/* ---- rarer parts of tokenizer.json --------------------------------------------------------- */

static void check_part_case(const rt_tokenizer *tok, const char *name, const json_t *item) {
    const json_t *text = json_object_get(item, "text"), *want = json_object_get(item, "ids");
    rt_ids ids = {0};
    unit_ok(rt_tokenize(tok, json_string_value(text), json_string_length(text), 0, &ids, &err),
            err);
    ck_assert_msg(ids.n == json_array_size(want), "%s: '%s': %zu ids", name,
                  json_string_value(text), ids.n);
    for (size_t i = 0; i < ids.n; i++)
        ck_assert_msg(ids.data[i] == json_number_value(json_array_get(want, i)),
                      "%s: '%s': id %zu is %d", name, json_string_value(text), i, ids.data[i]);
    rt_ids_clear(&ids);
}

START_TEST(test_parts) {
    json_t *list, *part, *item;
    size_t p, i;
    unit_ok(gguf_json_load(TEST_DATA "/tokenizers/parts.json", GGUF_JSON_EXACT_INTS, &list, &err),
            err);
    json_array_foreach(list, p, part) {
        const char *name = json_string_value(json_object_get(part, "name"));
        rt_tokenizer *tok = NULL;
        put_json("tokenizer.json", json_object_get(part, "tokenizer"));
        unit_ok(import(), err);
        unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
        json_array_foreach(json_object_get(part, "cases"), i, item)
            check_part_case(tok, name, item);
        rt_tokenizer_free(tok);
    }
    ck_assert_uint_eq(p, 6);
    json_decref(list);
}
END_TEST

/* ---- broken tokenizer.model -------------------------------------------------------------- */

START_TEST(test_prefixes_model) {
    static const char *const families[] = {"spm-llama", "spm-gemma", "spm-unigram"};
    size_t n;
    unsigned char *bytes = unit_read(source(families[_i], "tokenizer.model"), &n);
    size_t step = n > 20000 ? 97 : 1, denormalizer = 2; /* an empty last field may be missing */
    for (size_t len = 0; len < n - denormalizer; len += step) {
        unit_write(in_folder("tokenizer.model"), bytes, len);
        ck_assert_msg(import() != GGUF_OK, "%zu bytes", len);
        ck_assert_ptr_nonnull(strstr(err.file, "tokenizer.model"));
        ck_assert_int_le(err.offset, (int64_t)len);
    }
    free(bytes);
}
END_TEST

/* A model with every single byte changed must be refused or understood, never crash. */
START_TEST(test_flipped_model) {
    size_t n;
    unsigned char *bytes = unit_read(source("spm-llama", "tokenizer.model"), &n);
    for (size_t i = 0; i < n; i += 7) {
        rt_tokenizer *tok = NULL;
        bytes[i] ^= 0x55;
        unit_write(in_folder("tokenizer.model"), bytes, n);
        if (import() == GGUF_OK && rt_tokenizer_new(meta, &tok, &err) == GGUF_OK) {
            rt_ids ids = {0};
            unit_ok(rt_tokenize(tok, "Hello world", 11, 3, &ids, &err), err);
            rt_ids_clear(&ids);
            rt_tokenizer_free(tok);
        }
        bytes[i] ^= 0x55;
    }
    free(bytes);
}
END_TEST

static const struct {
    const char *bytes;
    size_t n;
    gguf_code code;
    const char *message;
} models[] = {
    {"\n\x03\n\x01"
     "a",
     5, GGUF_E_TRUNCATED, "trainer_spec"},
    {"\n\x03\n\x01"
     "a\x12\x00",
     7, GGUF_E_TRUNCATED, "normalizer_spec"},
    {"\n\x03\n\x01"
     "a\x12\x02\x18\x03\x1a\x00",
     11, GGUF_E_UNSUPPORTED, "model type 3"},
    {"\n\x05\n\x01"
     "a\x18\x09",
     7, GGUF_E_FORMAT, "unknown type 9"},
    {"\n\x08\n\x01"
     "a\x15\x00\x00\xC0\x7F",
     10, GGUF_E_NONFINITE, "NaN"},
    {"\n\x02\x08\x01", 4, GGUF_E_FORMAT, "of kind 0"},
    {"\n\x01\x0f", 3, GGUF_E_FORMAT, "unknown kind 7"},
    {"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, GGUF_E_FORMAT, "longer than 10 bytes"},
    {"\n\x7f"
     "a",
     3, GGUF_E_TRUNCATED, ""},
    {"\n\x03\n\x01"
     "a\n\x03\n\x01"
     "a\x12\x02\x18\x02\x1a\x00",
     16, GGUF_E_DUPLICATE, "both 'a'"},
    {"\x12\x02\x18\x02\x1a\x00", 6, GGUF_E_TRUNCATED, "no pieces"},
};
#define N_MODELS (int)(sizeof models / sizeof *models)

START_TEST(test_broken_model) {
    unit_write(in_folder("tokenizer.model"), models[_i].bytes, models[_i].n);
    unit_fails(import(), models[_i].code, models[_i].message, err);
    ck_assert_ptr_nonnull(strstr(err.file, "tokenizer.model"));
}
END_TEST

/* ---- what other files say ---------------------------------------------------------------- */

static uint64_t number(const char *key) {
    uint64_t value = UINT64_MAX;
    gguf_kv_u64(gguf_meta_find(meta, key), &value);
    return value;
}

START_TEST(test_special_ids) {
    put_source("llama3");
    put_text("generation_config.json", "{\"bos_token_id\": 3, \"eos_token_id\": [638, 639]}");
    put_text("config.json", "{\"bos_token_id\": 4, \"pad_token_id\": 5, \"eos_token_id\": 7}");
    unit_ok(import(), err);
    ck_assert_uint_eq(number("tokenizer.ggml.bos_token_id"), 637); /* the post-processor's */
    ck_assert_uint_eq(number("tokenizer.ggml.eos_token_id"), 638);
    ck_assert_uint_eq(number("tokenizer.ggml.padding_token_id"), 5);
    ck_assert_uint_eq(gguf_meta_find(meta, "tokenizer.ggufkit.end_ids")->count, 3);
    put_text("tokenizer_config.json",
             "{\"bos_token\": {\"content\": \"<|begin_of_text|>\"}, \"eos_token\": \"<|eot_id|>\", "
             "\"add_bos_token\": false}");
    put_text("special_tokens_map.json", "{\"pad_token\": \"!\"}");
    unit_ok(import(), err);
    ck_assert_uint_eq(number("tokenizer.ggml.eos_token_id"), 639);
    ck_assert_uint_eq(number("tokenizer.ggml.padding_token_id"), 0);
    rt_tokenizer *tok;
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    ck_assert(!rt_tokenizer_adds_bos(tok));
    ck_assert(rt_tokenizer_is_end(tok, 7));
    rt_tokenizer_free(tok);
    put_text("config.json", "{\"pad_token_id\": 99999}");
    unlink(in_folder("special_tokens_map.json"));
    unit_ok(import(), err);
    ck_assert_uint_eq(report.n_warnings, 1);
    ck_assert_ptr_nonnull(strstr(report.warnings[0], "99999"));
}
END_TEST

START_TEST(test_token_types_of_bert) {
    put_source("bert");
    put_text("config.json", "{\"type_vocab_size\": 2}");
    unit_ok(import(), err);
    ck_assert_uint_eq(number("tokenizer.ggml.token_type_count"), 2);
    ck_assert(gguf_str_eq(gguf_meta_at(meta, 0)->key, "tokenizer.ggml.token_type_count"));
}
END_TEST

static void check_text(const char *key, const char *expected) {
    gguf_str text;
    ck_assert(gguf_kv_str(gguf_meta_find(meta, key), &text));
    ck_assert(gguf_str_eq(text, expected));
}

START_TEST(test_chat_templates) {
    put_source("gpt2");
    put_text("tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"}, "
             "{\"name\": \"tool_use\", \"template\": \"T\"}]}");
    unit_ok(import(), err);
    check_text("tokenizer.chat_template", "D");
    check_text("tokenizer.chat_template.tool_use", "T");
    ck_assert_uint_eq(gguf_meta_find(meta, "tokenizer.chat_templates")->count, 1);
    put_text("chat_template.json", "{\"chat_template\": \"J\"}");
    unit_ok(import(), err);
    check_text("tokenizer.chat_template", "J");
    put_text("chat_template.jinja", "{{ 'x' }}\n");
    unit_ok(import(), err);
    check_text("tokenizer.chat_template", "{{ 'x' }}\n");
    put_text("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"x\"}]}");
    unit_fails(import(), GGUF_E_FORMAT, "chat template 0", err);
}
END_TEST

/* Expressions without a known name are stored themselves, with a warning, and run. */
START_TEST(test_unknown_expressions) {
    json_t *root = load("llama3");
    rt_tokenizer *tok;
    rt_ids ids = {0};
    change(root, "pre_tokenizer/pretokenizers/0/pattern/Regex", "\"\\\\p{N}|[^\\\\p{N}]+\"");
    put_json("tokenizer.json", root);
    unit_ok(import(), err);
    ck_assert_str_eq(report.pre, "ggufkit");
    ck_assert_uint_eq(report.n_warnings, 1);
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    unit_ok(rt_tokenize(tok, "12", 2, 0, &ids, &err), err);
    ck_assert_uint_eq(ids.n, 2);
    gguf_meta_unset(meta, "tokenizer.ggufkit.pre_tokenizer");
    rt_tokenizer *none = NULL;
    unit_fails(rt_tokenizer_new(meta, &none, &err), GGUF_E_UNSUPPORTED, "'ggufkit' is not known",
               err);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
    json_decref(root);
}
END_TEST

START_TEST(test_holes) {
    put_source("gpt2");
    err = (gguf_error){0};
    meta = gguf_meta_new();
    unit_ok(rt_vocab_import(folder, 650, meta, &report, &err), err);
    ck_assert_uint_eq(report.n_tokens, 650);
    gguf_kv_iter it = {gguf_meta_find(meta, "tokenizer.ggml.tokens"), 0, 0};
    gguf_str text;
    while (gguf_kv_next_str(&it, &text)) continue;
    ck_assert(gguf_str_eq(text, "[PAD649]"));
    import_end();
    meta = gguf_meta_new();
    unit_fails(rt_vocab_import(folder, 4000000, meta, &report, &err), GGUF_E_LIMIT, "4000000", err);
}
END_TEST

/* ---- broken metadata --------------------------------------------------------------------- */

static void import_family(const char *family) {
    static char path[512];
    snprintf(path, sizeof path, "%s", source(family, ""));
    err = (gguf_error){0};
    gguf_meta_free(meta);
    meta = gguf_meta_new();
    unit_ok(rt_vocab_import(path, 0, meta, &report, &err), err);
    rt_vocab_report_clear(&report);
}

static void metadata_fails(gguf_code code, const char *message) {
    rt_tokenizer *tok = NULL;
    err = (gguf_error){0};
    unit_fails(rt_tokenizer_new(meta, &tok, &err), code, message, err);
    ck_assert_ptr_null(tok);
}

START_TEST(test_broken_metadata) {
    const gguf_str twice[] = {{"a", 1}, {"b", 1}, {"a", 1}}, merge[] = {{"t q", 3}},
                   word[] = {{"the", 3}};
    const int32_t type[] = {1, 9, 1};
    import_family("llama3");
    gguf_meta_set_str_array(meta, "tokenizer.ggml.merges", 1, merge);
    metadata_fails(GGUF_E_FORMAT, "merge 0");
    gguf_meta_set_str_array(meta, "tokenizer.ggml.merges", 1, word);
    metadata_fails(GGUF_E_FORMAT, "merge 0 'the'");
    gguf_meta_unset(meta, "tokenizer.ggml.merges");
    metadata_fails(GGUF_E_MISSING, "tokenizer.ggml.merges");
    gguf_meta_set_str(meta, "tokenizer.ggml.pre", gguf_str_of("foo"));
    metadata_fails(GGUF_E_UNSUPPORTED, "pre-tokenizer 'foo'");
    gguf_meta_set_array(meta, "tokenizer.ggml.token_type", GGUF_VALUE_I32, 3, type);
    metadata_fails(GGUF_E_FORMAT, "token_type");
    gguf_meta_set_str_array(meta, "tokenizer.ggml.tokens", 3, twice);
    metadata_fails(GGUF_E_DUPLICATE, "0 and 2 are both 'a'");
    gguf_meta_set_u32(meta, "tokenizer.ggml.tokens", 3);
    metadata_fails(GGUF_E_TYPE, "tokenizer.ggml.tokens");
    gguf_meta_set_str(meta, "tokenizer.ggml.model", gguf_str_of("hybriddna"));
    metadata_fails(GGUF_E_UNSUPPORTED, "'hybriddna'");
    gguf_meta_unset(meta, "tokenizer.ggml.model");
    metadata_fails(GGUF_E_MISSING, "tokenizer.ggml.model");
}
END_TEST

/* ---- models that no folder of ours has ------------------------------------------------------ */

/* A vocabulary of 256 bytes as <0x00> ... <0xFF> behind three control tokens, then `words`. */
static void byte_vocabulary(const char *model, const char *const *words, const float *scores,
                            size_t n_words) {
    static char spelt[256][8];
    gguf_str tokens[300] = {{"<unk>", 5}, {"<bos>", 5}, {"<eos>", 5}};
    int32_t types[300] = {RT_TOKEN_UNKNOWN, RT_TOKEN_CONTROL, RT_TOKEN_CONTROL};
    float all[300] = {0};
    for (size_t b = 0; b < 256; b++) {
        snprintf(spelt[b], sizeof spelt[b], "<0x%02X>", (unsigned)b);
        tokens[3 + b] = gguf_str_of(spelt[b]);
        types[3 + b] = RT_TOKEN_BYTE;
    }
    for (size_t i = 0; i < n_words; i++) {
        tokens[259 + i] = gguf_str_of(words[i]);
        types[259 + i] = RT_TOKEN_NORMAL;
        all[259 + i] = scores ? scores[i] : 0;
    }
    err = (gguf_error){0};
    gguf_meta_free(meta);
    meta = gguf_meta_new();
    gguf_meta_set_str(meta, "tokenizer.ggml.model", gguf_str_of(model));
    gguf_meta_set_str_array(meta, "tokenizer.ggml.tokens", 259 + n_words, tokens);
    gguf_meta_set_array(meta, "tokenizer.ggml.token_type", GGUF_VALUE_I32, 259 + n_words, types);
    gguf_meta_set_array(meta, "tokenizer.ggml.scores", GGUF_VALUE_F32, 259 + n_words, all);
}

/* The ids of a text, and the text again from them. */
static void gives(const char *text, const char *back, const int32_t *ids, size_t n) {
    rt_tokenizer *tok = NULL;
    rt_ids got = {0};
    char *made = NULL;
    size_t len;
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    unit_ok(rt_tokenize(tok, text, strlen(text), RT_TOKENIZE_ADD_SPECIAL, &got, &err), err);
    ck_assert_uint_eq(got.n, n);
    for (size_t i = 0; i < n; i++) ck_assert_int_eq(got.data[i], ids[i]);
    unit_ok(rt_detokenize(tok, got.data, got.n, true, &made, &len, &err), err);
    ck_assert_str_eq(made, back);
    free(made);
    rt_ids_clear(&got);
    rt_tokenizer_free(tok);
}

#define GIVES(text, back, ...)                        \
    gives(text, back, (const int32_t[]){__VA_ARGS__}, \
          sizeof(const int32_t[]){__VA_ARGS__} / sizeof(int32_t))

/* The longest token at each place, over bytes; escapes are those of Python; a control token in a
 * text is text. */
START_TEST(test_rwkv) {
    static const char *const words[] = {"\\n",   "\\n\\n", "a",   " a",      "ab",  "\\xe4\\xbd",
                                        "\\xa0", "\\\\",   "\\'", "\\t\\xZ", "<s>", "\\"};
    byte_vocabulary("rwkv", words, NULL, sizeof words / sizeof *words);
    GIVES("a ab\n\n\n", "a a\n\n\n", 261, 262, 0, 260, 259);
    GIVES("\xE4\xBD\xA0'\\\txZ<s>", "\xE4\xBD\xA0'\\\txZ<s>", 264, 265, 267, 270, 268, 269);
}
END_TEST

/* Scores count from the end of the text, and of equal sums the longer token goes first. */
START_TEST(test_plamo2) {
    static const char *const words[] = {"a", "b",  "ab", "abc",         "bc",
                                        "c", " a", "aa", "\xE5\xA5\xBD"};
    static const float scores[] = {-1, -1, -3, -2, -1, -1, -1, -2, -1};
    byte_vocabulary("plamo2", words, scores, sizeof words / sizeof *words);
    GIVES("abc", "abc", 262);
    GIVES("ab", "ab", 259, 260);
    GIVES("aab a", "aab a", 266, 260, 265);
    GIVES("\xEF\xBB\xBF\xE4\xBD\xA0\xE5\xA5\xBD", "\xE4\xBD\xA0\xE5\xA5\xBD", 231, 192, 163, 267);
    gguf_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", true);
    GIVES("a", "a", 1, 259);
    byte_vocabulary("plamo2", words, scores, 2);
    gguf_meta_unset(meta, "tokenizer.ggml.scores");
    metadata_fails(GGUF_E_MISSING, "scores");
    byte_vocabulary("bert", words, scores, 2);
    gguf_str few[] = {{"<unk>", 5}, {"a", 1}};
    const float few_scores[] = {0, -1};
    gguf_meta_set_str(meta, "tokenizer.ggml.model", gguf_str_of("plamo2"));
    gguf_meta_unset(meta, "tokenizer.ggml.token_type");
    gguf_meta_set_str_array(meta, "tokenizer.ggml.tokens", 2, few);
    gguf_meta_set_array(meta, "tokenizer.ggml.scores", GGUF_VALUE_F32, 2, few_scores);
    metadata_fails(GGUF_E_MISSING, "no token for the byte <0x00>");
}
END_TEST

/* Words between spaces; the spaces and what is in no token are passed over. */
START_TEST(test_whitespace_model) {
    static const char *const words[] = {"t", "h", "e", "th", "the", "A"};
    const gguf_str merges[] = {{"t h", 3}, {"th e", 4}};
    byte_vocabulary("whitespace", words, NULL, sizeof words / sizeof *words);
    gguf_meta_set_str(meta, "tokenizer.ggml.pre", gguf_str_of("whitespace"));
    gguf_meta_set_str_array(meta, "tokenizer.ggml.merges", 2, merges);
    GIVES("the \n thA t\xC3\xA9h", "thethAt\xC3\xA9h", 263, 262, 264, 259, 198, 172, 260);
    gguf_meta_set_bool(meta, "tokenizer.ggml.normalizer.lowercase", true);
    GIVES("THE tH", "theth", 263, 262);
}
END_TEST

/* Byte-pair encoding over characters under the name gpt2. */
START_TEST(test_pre_by_lines) {
    /* A letter behind a hexadecimal escape would belong to it: octal ones have three digits. */
    static const char *const words[] = {"\342\226\201", "a", "b", "\342\226\201a", "\n", "\n\n"};
    const gguf_str merges[] = {{"\xE2\x96\x81 a", 5}, {"\n \n", 3}};
    byte_vocabulary("gpt2", words, NULL, sizeof words / sizeof *words);
    gguf_meta_set_u32(meta, "tokenizer.ggml.bos_token_id", 1);
    gguf_meta_set_str_array(meta, "tokenizer.ggml.merges", 2, merges);
    gguf_meta_set_str(meta, "tokenizer.ggml.pre", gguf_str_of("sarvam-moe"));
    GIVES("a b a\n\nx", "a b a\n\nx", 260, 259, 261, 262, 264, 123);
    gguf_meta_set_str(meta, "tokenizer.ggml.pre", gguf_str_of("granite-embed-multi-311m"));
    GIVES(" a", " a", 1, 262);
}
END_TEST

START_TEST(test_broken_sentencepiece_metadata) {
    const uint32_t far[] = {99999};
    const uint8_t map[] = {8, 0, 0, 0, 1, 2};
    import_family("spm-llama");
    gguf_meta_set_array(meta, "tokenizer.ggml.precompiled_charsmap", GGUF_VALUE_U8, sizeof map,
                        map);
    metadata_fails(GGUF_E_FORMAT, "character map");
    gguf_meta_set_array(meta, "tokenizer.ggufkit.user_defined", GGUF_VALUE_U32, 1, far);
    metadata_fails(GGUF_E_FORMAT, "99999");
    gguf_meta_unset(meta, "tokenizer.ggml.scores");
    metadata_fails(GGUF_E_MISSING, "scores");
    import_family("gpt2");
    gguf_meta_set_array(meta, "tokenizer.ggufkit.added_ids", GGUF_VALUE_U32, 1, far);
    metadata_fails(GGUF_E_FORMAT, "differ in length");
    gguf_meta_set_str(meta, "tokenizer.ggufkit.normalizer", gguf_str_of("{\"type\":\"NFQ\"}"));
    metadata_fails(GGUF_E_UNSUPPORTED, "'NFQ'");
    gguf_meta_set_str(meta, "tokenizer.ggufkit.normalizer", gguf_str_of("{"));
    metadata_fails(GGUF_E_FORMAT, "");
}
END_TEST

/* A character map whose links lead out of it. */
START_TEST(test_wild_charsmap) {
    uint8_t map[4 + 64 + 2] = {64};
    rt_tokenizer *tok;
    rt_ids ids = {0};
    import_family("spm-unigram");
    for (size_t i = 4; i < sizeof map - 1; i++) map[i] = (uint8_t)(i * 37 + i / 3);
    gguf_meta_set_array(meta, "tokenizer.ggml.precompiled_charsmap", GGUF_VALUE_U8, sizeof map,
                        map);
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    unit_ok(rt_tokenize(tok, "abc \xC3\xA9", 6, 0, &ids, &err), err);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
}
END_TEST

/* ---- Gemma 4's: BPE over characters with spaces as U+2581 ---------------------------------- */

/* Bytes are tokens 0 to 255. */
static json_t *spaced_bpe(void) {
    static const char *const texts[] = {"\u2581", "a",  "b",       "\n",
                                        "\n\n",   "ab", "\u2581a", "\u2581ab"};
    json_t *vocab = json_object();
    char name[8];
    for (int byte = 0; byte < 256; byte++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        json_object_set_new(vocab, name, json_integer(byte));
    }
    for (int i = 0; i < 8; i++) json_object_set_new(vocab, texts[i], json_integer(256 + i));
    json_t *merges = json_pack("[[s,s],[s,s],[s,s]]", "a", "b", "\n", "\n", "\u2581", "a");
    json_t *model = json_pack("{s:s,s:b,s:b,s:o,s:o}", "type", "BPE", "byte_fallback", 1,
                              "fuse_unk", 1, "vocab", vocab, "merges", merges);
    json_t *normalizer = json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", " ",
                                   "content", "\u2581");
    json_t *pre = json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "String", " ",
                            "behavior", "MergedWithPrevious", "invert", 0);
    return json_pack("{s:o,s:o,s:o}", "model", model, "normalizer", normalizer, "pre_tokenizer",
                     pre);
}

static void check_spaced(void) {
    static const int32_t expected[] = {261, 256, 261, 260, 262, 0xC3, 0xA9, 258};
    const char *text = "ab ab\n\n a\xC3\xA9"
                       "b";
    rt_tokenizer *tok;
    rt_ids ids = {0};
    char *back;
    size_t len;
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    unit_ok(rt_tokenize(tok, text, strlen(text), 0, &ids, &err), err);
    ck_assert_uint_eq(ids.n, sizeof expected / sizeof *expected);
    ck_assert_mem_eq(ids.data, expected, sizeof expected);
    unit_ok(rt_detokenize(tok, ids.data, ids.n, false, &back, &len, &err), err);
    ck_assert_uint_eq(len, strlen(text));
    ck_assert_mem_eq(back, text, len);
    free(back);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
}

static bool model_is(const char *name) {
    gguf_str model;
    return gguf_kv_str(gguf_meta_find(meta, "tokenizer.ggml.model"), &model) &&
           gguf_str_eq(model, name);
}

/* The same ids under the name that other programs know and, where a token goes from one line into
 * the next, under keys of our own. */
START_TEST(test_spaced_bpe) {
    json_t *root = spaced_bpe();
    put_json("tokenizer.json", root);
    unit_ok(import(), err);
    ck_assert(model_is("gemma4"));
    ck_assert_ptr_nonnull(gguf_meta_find(meta, "tokenizer.ggml.merges"));
    ck_assert_ptr_null(gguf_meta_find(meta, "tokenizer.ggufkit.merges"));
    check_spaced();
    json_object_set_new(json_object_get(json_object_get(root, "model"), "vocab"), "\nb",
                        json_integer(264));
    put_json("tokenizer.json", root);
    unit_ok(import(), err);
    ck_assert(model_is("llama"));
    check_spaced();
    json_decref(root);
}
END_TEST

/* Of pieces that are there twice the last one counts. */
START_TEST(test_spaced_bpe_with_doubles) {
    json_t *root = spaced_bpe();
    gguf_str texts[265];
    char bytes[256][8];
    static const char *const more[] = {"\u2581", "a",       "b",        "\n", "\n\n",
                                       "ab",     "\u2581a", "\u2581ab", "b"};
    const int32_t expected[] = {261, 264};
    rt_tokenizer *tok;
    rt_ids ids = {0};
    put_json("tokenizer.json", root);
    unit_ok(import(), err);
    for (int i = 0; i < 265; i++) {
        if (i < 256) snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", (unsigned)i);
        texts[i] = gguf_str_of(i < 256 ? bytes[i] : more[i - 256]);
    }
    gguf_meta_set_str_array(meta, "tokenizer.ggml.tokens", 265, texts);
    gguf_meta_unset(meta, "tokenizer.ggml.scores");
    gguf_meta_unset(meta, "tokenizer.ggml.token_type");
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    unit_ok(rt_tokenize(tok, "abb", 3, 0, &ids, &err), err);
    ck_assert_uint_eq(ids.n, 2);
    ck_assert_mem_eq(ids.data, expected, sizeof expected);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
    json_decref(root);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer import");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_checked_fixture(tc, NULL, import_end);
    tcase_add_loop_test(tc, test_changed_json, 0, N_CHANGES);
    tcase_add_test(tc, test_no_tokenizer);
    tcase_add_test(tc, test_parts);
    tcase_add_test(tc, test_prefixes_json);
    tcase_add_loop_test(tc, test_prefixes_model, 0, 3);
    tcase_add_test(tc, test_flipped_model);
    tcase_add_loop_test(tc, test_broken_model, 0, N_MODELS);
    tcase_add_test(tc, test_special_ids);
    tcase_add_test(tc, test_token_types_of_bert);
    tcase_add_test(tc, test_chat_templates);
    tcase_add_test(tc, test_unknown_expressions);
    tcase_add_test(tc, test_holes);
    tcase_add_test(tc, test_broken_metadata);
    tcase_add_test(tc, test_rwkv);
    tcase_add_test(tc, test_plamo2);
    tcase_add_test(tc, test_whitespace_model);
    tcase_add_test(tc, test_pre_by_lines);
    tcase_add_test(tc, test_broken_sentencepiece_metadata);
    tcase_add_test(tc, test_wild_charsmap);
    tcase_add_test(tc, test_spaced_bpe);
    tcase_add_test(tc, test_spaced_bpe_with_doubles);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
