/* Every allocation fails once, alone and with all behind it: no crash, no leak (LeakSanitizer), and
 * the error says that memory ran out. Sanitizers are slow, and so is reading all descriptions: of a
 * long run those see every one of the first allocations and then ever fewer. */
#include "tests/unit/unit.h"
#include "tests/unit/unit_alloc.h"

#include "libgguf/checkpoint.h"
#include "libgguf/json.h"
#include "libgguf/yaml.h"
#include "quant/imatrix.h"
#include "quant/recipe.h"
#include "runtime/model/arch.h"
#include "runtime/sizing/fit.h"
#include "runtime/tokenizer/tokenizer.h"

typedef gguf_code (*scenario)(const void *input, gguf_error *err);

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#if !defined(SANITIZED)
#define SANITIZED false
#endif

/* Run until nothing fails any more. What succeeds in spite of a failure lost at most a warning. */
static void torture_some(const char *name, scenario run, const void *input, bool sampled) {
    for (int and_after = 0; and_after < 2; and_after++)
        for (size_t n = 1;; n += sampled ? 1 + n / 100 : 1) {
            gguf_error err = {0};
            unit_alloc_start(n, and_after);
            gguf_code code = run(input, &err);
            bool failed = unit_alloc.failed;
            size_t n_allocs = unit_alloc.n;
            unit_alloc_start(0, false);
            ck_assert_msg(!code || code == GGUF_E_NOMEM, "%s, allocation %zu of %zu: %s: %s", name,
                          n, n_allocs, gguf_code_name(code), err.message);
            ck_assert_msg(code == err.code, "%s, allocation %zu: code %d, error %d", name, n, code,
                          err.code);
            if (failed) continue;
            ck_assert_msg(code == GGUF_OK, "%s: %s", name, err.message);
            ck_assert_msg(n > 1, "%s allocates nothing", name);
            break;
        }
}

static void torture(const char *name, scenario run, const void *input) {
    torture_some(name, run, input, SANITIZED);
}

static unsigned char *corpus(const char *name, size_t *n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", TEST_CORPUS, name);
    return unit_read(path, n);
}

static gguf_memory_file corpus_file(const char *name, const char *as) {
    gguf_memory_file f = {.name = as};
    f.bytes = corpus(name, &f.n_bytes);
    return f;
}

static void release(const gguf_memory_file *f) {
    free((void *)(uintptr_t)f->bytes);
}

/* ---- GGUF -------------------------------------------------------------------------------- */

static gguf_code open_gguf(const void *input, gguf_error *err) {
    const gguf_memory_file *f = input;
    gguf_file *file;
    gguf_code code =
        gguf_file_from_memory(f->bytes, f->n_bytes, f->name, GGUF_OPEN_DEFAULT, &file, err);
    if (!code) gguf_file_close(file);
    return code;
}

static gguf_code open_gguf_path(const void *input, gguf_error *err) {
    gguf_file *file;
    gguf_code code = gguf_file_open(input, GGUF_OPEN_DEFAULT, &file, err);
    if (!code) gguf_file_close(file);
    return code;
}

static void fill_meta(gguf_meta *meta) {
    gguf_str words[] = {{"a", 1}, {"", 0}, {"longer", 6}};
    float numbers[] = {1, 2, 3};
    char key[32];
    gguf_meta_set_str(meta, "general.name", gguf_str_of("a model"));
    gguf_meta_set_str_array(meta, "words", 3, words);
    gguf_meta_set_array(meta, "numbers", GGUF_VALUE_F32, 3, numbers);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        gguf_meta_set_u32(meta, key, (uint32_t)i);
    }
    gguf_meta_set_bool(meta, "key.7", true);
    gguf_meta_unset(meta, "key.8");
}

static gguf_code encode_header(const void *input, gguf_error *err) {
    uint8_t *header;
    size_t n;
    uint64_t data_bytes;
    gguf_tensor tensor = {.name = gguf_str_of(input), .n_dims = 1, .dims = {8, 1, 1, 1}};
    gguf_meta *meta = gguf_meta_new();
    if (!meta) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no memory for the test");
    fill_meta(meta);
    gguf_code code = gguf_layout(&tensor, 1, GGUF_DEFAULT_ALIGNMENT, &data_bytes, err);
    if (!code) code = gguf_header_encode(meta, &tensor, 1, 32, &header, &n, err);
    if (!code) free(header);
    gguf_meta_free(meta);
    return code;
}

START_TEST(gguf) {
    gguf_memory_file f = corpus_file("gguf/seeds/types", "types");
    torture("gguf_file_from_memory", open_gguf, &f);
    torture("gguf_file_open", open_gguf_path, TEST_CORPUS "/gguf/seeds/arrays");
    torture("gguf_header_encode", encode_header, "tensor");
    release(&f);
}
END_TEST

/* ---- checkpoints, JSON, YAML ------------------------------------------------------------- */

static gguf_code open_shards(const void *input, gguf_error *err) {
    gguf_checkpoint *c;
    gguf_code code = gguf_checkpoint_from_memory(input, 3, &c, err);
    if (!code) gguf_checkpoint_close(c);
    return code;
}

static gguf_code open_folder(const void *input, gguf_error *err) {
    gguf_checkpoint *c;
    gguf_code code = gguf_checkpoint_open(input, &c, err);
    if (!code) gguf_checkpoint_close(c);
    return code;
}

static size_t make_shard(char *out, const char *name) {
    char header[128];
    int n = snprintf(header, sizeof header,
                     "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", name);
    uint64_t len = (uint64_t)n;
    memcpy(out, &len, 8);
    memcpy(out + 8, header, len);
    memset(out + 8 + len, 0, 8);
    return 16 + len;
}

static gguf_code parse_json(const void *input, gguf_error *err) {
    json_t *root;
    gguf_code code =
        gguf_json_parse(input, strlen(input), GGUF_JSON_WIDE_INTS, "text", 0, &root, err);
    json_decref(root);
    return code;
}

static gguf_code parse_yaml(const void *input, gguf_error *err) {
    gguf_yaml_doc *doc;
    gguf_code code = gguf_yaml_parse(input, strlen(input), "text", &doc, err);
    if (!code) gguf_yaml_free(doc);
    return code;
}

static gguf_code open_arch(const void *input, gguf_error *err) {
    rt_arch *arch;
    gguf_code code = rt_arch_open(gguf_str_of(input), NULL, &arch, err);
    rt_arch_close(arch);
    return code;
}

START_TEST(readers) {
    char one[256], two[256];
    static const char map[] = "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}";
    gguf_memory_file files[] = {{"model.safetensors.index.json", map, sizeof map - 1},
                                {"1.safetensors", one, make_shard(one, "a")},
                                {"2.safetensors", two, make_shard(two, "b")}};
    torture("gguf_checkpoint_from_memory", open_shards, files);
    torture("gguf_checkpoint_open", open_folder, TEST_DATA "/models/llama");
    torture(
        "gguf_json_parse", parse_json,
        "{\"a\":[1,2.5,true,null,\"text\\u00e9\"],\"b\":{\"c\":{}},\"long\":\"0123456789012345678"
        "901234567890123456789\"}");
    torture("gguf_yaml_parse", parse_yaml,
            "a: [1, 2, {b: c}]\nd: text\ne: {1: x, 2: x, 3: x, 4: x, 5: x, 6: x, 7: x, 8: x, 9: x, "
            "10: x, 11: x, 12: x, 13: x, 14: x, 15: x, 16: x, 17: x, 18: x}\n");
    torture("rt_arch_open", open_arch, "nemotron_h"); /* which is like another one */
}
END_TEST

/* ---- importance and recipes -------------------------------------------------------------- */

static gguf_code load_imatrix(const void *input, gguf_error *err) {
    quant_imatrix *im;
    gguf_code code = quant_imatrix_load(input, &im, err);
    if (!code) quant_imatrix_free(im);
    return code;
}

static gguf_code save_imatrix(const void *input, gguf_error *err) {
    return quant_imatrix_save(input, unit_temp("alloc.gguf"), true, err);
}

static gguf_code apply_recipe(const void *input, gguf_error *err) {
    static const float zeros[256];
    quant_recipe *recipe = NULL;
    quant_plan plan = {0};
    quant_plan_tensor t = {
        .out = {.name = gguf_str_of("blk.0.attn_v.weight"), .n_dims = 1, .dims = {256, 1, 1, 1}},
        .tags = {.role = "attn_v"},
        .source = {.memory = zeros, .n_bytes = sizeof zeros},
        .source_type = GGUF_TYPE_F32,
        .n_rows = 1,
        .n_cols = 256};
    gguf_code code = quant_recipe_named(input, &recipe, err);
    if (!code) code = quant_plan_init(&plan, err);
    if (!code) code = quant_plan_add(&plan, &t, err);
    if (!code) code = quant_recipe_override(recipe, "--tensor-type", "attn_v", GGUF_TYPE_Q8_0, err);
    if (!code) code = quant_recipe_apply(recipe, &plan, true, NULL, err);
    if (!code) code = quant_plan_finish(&plan, err);
    quant_plan_clear(&plan);
    quant_recipe_free(recipe);
    return code;
}

START_TEST(importance_and_recipes) {
    static const char path[] = TEST_CORPUS "/imatrix/seeds/experts";
    gguf_error err = {0};
    quant_imatrix *im;
    torture("quant_imatrix_load", load_imatrix, path);
    unit_ok(quant_imatrix_load(path, &im, &err), err);
    torture("quant_imatrix_save", save_imatrix, im);
    quant_imatrix_free(im);
    unlink(unit_temp("alloc.gguf"));
    torture("quant_recipe_apply", apply_recipe, "Q4_K_M");
}
END_TEST

/* ---- tokenizers and whole models --------------------------------------------------------- */

static gguf_code import_vocab(const void *input, gguf_error *err) {
    rt_vocab_report report = {0};
    gguf_meta *meta = gguf_meta_new();
    if (!meta) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no memory for the test");
    gguf_code code = rt_vocab_import_memory(input, 1, 0, meta, &report, err);
    rt_vocab_report_clear(&report);
    gguf_meta_free(meta);
    return code;
}

static gguf_code use_tokenizer(const void *input, gguf_error *err) {
    static const char text[] = "Hello w\xC3\xB6rld\xFF 12 ab<s>";
    rt_tokenizer *tok;
    rt_ids ids = {0};
    char *back;
    size_t n;
    gguf_code code = rt_tokenizer_new(input, &tok, err);
    if (code) return code;
    code = rt_tokenize(tok, text, sizeof text - 1, RT_TOKENIZE_ADD_SPECIAL, &ids, err);
    if (!code) code = rt_detokenize(tok, ids.data, ids.n, true, &back, &n, err);
    if (!code) free(back);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
    return code;
}

START_TEST(tokenizers) {
    static const struct {
        const char *file, *as;
    } seeds[] = {{"tokenizer_json/seeds/bpe_template", "tokenizer.json"},
                 {"tokenizer_json/seeds/bpe_chars", "tokenizer.json"},
                 {"tokenizer_json/seeds/wordpiece", "tokenizer.json"},
                 {"tokenizer_json/seeds/unigram", "tokenizer.json"},
                 {"tokenizer_model/seeds/bpe", "tokenizer.model"},
                 {"tokenizer_model/seeds/unigram", "tokenizer.model"}};
    const size_t i = (size_t)_i;
    gguf_memory_file f = corpus_file(seeds[i].file, seeds[i].as);
    torture(seeds[i].file, import_vocab, &f);
    gguf_error err = {0};
    rt_vocab_report report = {0};
    gguf_meta *meta = gguf_meta_new();
    unit_ok(rt_vocab_import_memory(&f, 1, 0, meta, &report, &err), err);
    torture(seeds[i].file, use_tokenizer, meta);
    rt_vocab_report_clear(&report);
    gguf_meta_free(meta);
    release(&f);
}
END_TEST

/* The description names the tensors; a config that asks for no layers needs only three. */
static gguf_code import_with(const void *input, const rt_import_opts *opts, gguf_error *err) {
    rt_import *import;
    gguf_code code = rt_import_from_memory(input, 3, opts, &import, err);
    if (code) return code;
    code = quant_plan_finish(rt_import_plan(import), err);
    rt_import_close(import);
    return code;
}

static gguf_code import_model(const void *input, gguf_error *err) {
    return import_with(input, NULL, err);
}

static gguf_code import_one_description(const void *input, gguf_error *err) {
    const rt_import_opts opts = {.arch_file = TEST_DATA "/../../configs/arch/llama.yaml"};
    return import_with(input, &opts, err);
}

#define TENSOR(name, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"F16\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

START_TEST(whole_models) {
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,\"intermediate_size\":16,"
        "\"num_hidden_layers\":0,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
        "\"vocab_size\":7,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
        "\"rope_scaling\":{\"rope_type\":\"llama3\"}}";
    static const char header[] = "{" TENSOR("model.embed_tokens.weight", "7,8", 0, 112) "," TENSOR(
        "model.norm.weight", "8", 112, 128) "," TENSOR("unused", "8", 128, 144) "}";
    char weights[8 + sizeof header - 1 + 144] = {0};
    uint64_t len = sizeof header - 1;
    memcpy(weights, &len, 8);
    memcpy(weights + 8, header, len);
    gguf_memory_file files[] = {{"config.json", config, sizeof config - 1},
                                {"model.safetensors", weights, sizeof weights},
                                corpus_file("tokenizer_json/seeds/bpe", "tokenizer.json")};
    torture("rt_import_from_memory", import_one_description, files);
    torture_some("rt_import_from_memory, all", import_model, files, true);
    release(&files[2]);
}
END_TEST

/* A config without weights and tokenizer. */
static gguf_code size_config(const void *input, gguf_error *err) {
    const rt_import_opts opts = {.shapes_suffice = true, /* one description is read, not all */
                                 .arch_file = TEST_DATA "/../../configs/arch/llama.yaml"};
    rt_import *import;
    rt_fit_model model = {0};
    rt_fit_weights weights = {0};
    gguf_code code = rt_import_from_memory(input, 1, &opts, &import, err);
    if (code) return code;
    code = rt_fit_describe(import, "config.json", &model, err);
    if (!code) code = rt_fit_weigh(rt_import_plan(import), model.hp.n_layer, &weights, err);
    rt_fit_weights_clear(&weights);
    rt_fit_model_clear(&model);
    rt_import_close(import);
    return code;
}

static gguf_code read_devices(const void *input, gguf_error *err) {
    rt_devices devices = {0};
    gguf_code code = rt_devices_parse(&devices, input, strlen(input), "mine.yaml", err);
    rt_devices_clear(&devices);
    return code;
}

START_TEST(sizes) {
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,\"intermediate_size\":16,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
        "\"vocab_size\":7,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5}";
    const gguf_memory_file file = {"config.json", config, sizeof config - 1};
    torture("config.json alone", size_config, &file);
    torture(
        "devices", read_devices,
        "kind: gpu\nsource: s\ndevices:\n  - {name: a, memory_gib: 1, bandwidth_gb_per_s: 1}\n");
}
END_TEST

typedef struct folder_case {
    const char *folder, *arch_file; /* one description is read, not all */
} folder_case;

static gguf_code import_folder(const void *input, gguf_error *err) {
    const folder_case *f = input;
    const rt_import_opts opts = {.arch_file = f->arch_file};
    rt_import *import;
    gguf_code code = rt_import_open(f->folder, &opts, &import, err);
    if (code) return code;
    code = quant_plan_finish(rt_import_plan(import), err);
    rt_import_close(import);
    return code;
}

/* An adapter; deflated shards and a model card; packed integers. */
START_TEST(folders) {
    static const folder_case cases[] = {
        {TEST_DATA "/models/llama_lora", TEST_DATA "/../../configs/arch/llama.yaml"},
        {TEST_DATA "/models/llama_tf4", TEST_DATA "/../../configs/arch/llama.yaml"},
        {TEST_DATA "/models/gptq4", TEST_DATA "/../../configs/arch/qwen2.yaml"}};
    torture("rt_import_open", import_folder, &cases[_i]);
}
END_TEST

int main(void) {
    unit_alloc_hook_json();
    Suite *suite = suite_create("allocation failures");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 900);
    tcase_add_test(c, gguf);
    tcase_add_test(c, readers);
    tcase_add_test(c, importance_and_recipes);
    tcase_add_loop_test(c, tokenizers, 0, 6);
    tcase_add_test(c, whole_models);
    tcase_add_test(c, sizes);
    tcase_add_loop_test(c, folders, 0, 3);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
