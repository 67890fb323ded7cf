/* Every fixture model converted to F32: tensors and keys against what llama.cpp's converter writes
 * for it (expected-gguf.json), the differences on purpose listed here. */
#include "libgguf/ends.h"
#include "libgguf/hash.h"
#include "libgguf/json.h"
#include "unit_model.h"

#include <math.h>
#include <sys/stat.h>

static const char *const fixtures[] = {
    "bert", "deepseek_v2", "deepseek_v3", "gemma2", "gemma3", "gpt_oss", "granite", "llama",
    "llama3", "mistral", "mixtral", "gpt_oss_mxfp4", "olmo2", "phi3", "qwen2", "qwen3", "qwen3_fp8",
    "smollm3", "llama3_bin", "qwen3_moe_wide",
    /* made by scripts/make_import_models.py */
    "cohere2", "stablelm", "stablelm_parallel", "starcoder2", "olmoe", "ernie4_5", "exaone4",
    "glm4_moe", "mamba2", "nemotron_h", "qwen3_next", "qwen3_5", "deepseek_v3_mtp", "deepseek_yarn",
    "phi3_longrope", "llama_linear", "llama_tf4", "gemma3_vision", "qwen3_embedding",
    "llama_embedding", "bert_sentence", "gptq4", "gptq2", "gptq3", "gptq8", "awq", "ct_int4",
    "ct_int4_zero", "ct_int8_packed", "ct_int8", "ct_fp8", "fp8_tensor", "fp8_e5m2",
    "deepseek_wide", "gemma2_wide", "llama_lora", "deepseek_int4",
    /* families that differ from those above in some kind of arithmetic, or in how config says it */
    "hunyuan_dense", "falcon_new", "nemotron_h_latent", "roberta", "olmo", "gemma4", "gemma4_moe",
    "step3p5", "llama4", "lfm2", "jamba", "falcon_h1", "kimi_linear", "bloom", "apertus"};
#define N_FIXTURES (int)(sizeof fixtures / sizeof fixtures[0])

/* Keys of ours, behind the architecture's name, that the other converter does not write. */
static const char *const own_keys[] = {
    /* what follows from other keys, stated always */
    "vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count",
    "rope.freq_base",
    /* facts that it loses */
    "attention.sliding_window", "attention.sliding_window_pattern", "attention.scale",
    "expert_group_count", "expert_weights_norm", "pooling_type", "ggufkit.rope_layers",
    "ggufkit.yarn_truncate", "ggufkit.plain_qk_norm", "attention.temperature_scale",
    "attention.temperature_length"};

static json_t *expected_of(const char *fixture) {
    gguf_error err = {0};
    json_t *root;
    char path[512];
    snprintf(path, sizeof path, "%s/models/%s/expected-gguf.json", TEST_DATA, fixture);
    unit_ok(gguf_json_load(path, 0, &root, &err), err);
    return root;
}

/* A fixture converted and opened; its file is removed already. */
static gguf_file *open_converted(const char *fixture) {
    gguf_error err = {0};
    gguf_file *file;
    char folder[256];
    snprintf(folder, sizeof folder, "models/%s", fixture);
    const char *path = unit_convert(folder, GGUF_TYPE_F32);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    unlink(path);
    return file;
}

static gguf_hash *hash_all(const gguf_file *file) {
    gguf_error err = {0};
    gguf_pool *pool;
    gguf_hash whole, *hashes = calloc(gguf_file_n_tensors(file), sizeof *hashes);
    ck_assert_ptr_nonnull(hashes);
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(gguf_hash_tensors(file, GGUF_HASH_SHA256, pool, NULL, hashes, &whole, &err), err);
    gguf_pool_free(pool);
    return hashes;
}

static void check_tensor(const char *fixture, const json_t *want, const gguf_tensor *t,
                         const gguf_hash *hash) {
    const json_t *shape = json_object_get(want, "shape");
    ck_assert_msg(want != NULL, "%s: %s is not expected", fixture, t->name.ptr);
    ck_assert_str_eq(gguf_type_name(t->type), json_string_value(json_object_get(want, "type")));
    ck_assert_uint_eq(t->n_dims, json_array_size(shape));
    for (uint32_t i = 0; i < t->n_dims; i++)
        ck_assert_uint_eq(t->dims[i], json_number_value(json_array_get(shape, i)));
    /* -exp of a matrix: rounded exactly, where torch's vector code misses the last place. */
    if (strcmp(fixture, "jamba") == 0 && gguf_str_ends(t->name, ".ssm_a")) return;
    ck_assert_msg(strcmp(hash->hex, json_string_value(json_object_get(want, "sha256"))) == 0,
                  "%s: the data of %.*s differ", fixture, (int)t->name.len, t->name.ptr);
}

START_TEST(tensors_are_as_expected) {
    json_t *root = expected_of(fixtures[_i]), *list = json_object_get(root, "tensors"), *entry;
    gguf_file *file = open_converted(fixtures[_i]);
    gguf_hash *hashes = hash_all(file);
    size_t index;
    ck_assert_uint_eq(gguf_file_n_tensors(file), json_array_size(list));
    json_array_foreach(list, index, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const gguf_tensor *t = gguf_file_find_tensor(file, name);
        ck_assert_msg(t != NULL, "%s: %s is missing", fixtures[_i], name);
        check_tensor(fixtures[_i], entry, t, &hashes[t - gguf_file_tensor(file, 0)]);
    }
    free(hashes);
    gguf_file_close(file);
    json_decref(root);
}
END_TEST

/* The number of elements, their type, and the first ones if they are numbers. */
static bool same_array(const gguf_kv *kv, const json_t *type, const json_t *want) {
    static const struct {
        const char *name;
        gguf_value_type type;
    } types[] = {{"INT32", GGUF_VALUE_I32},
                 {"UINT32", GGUF_VALUE_U32},
                 {"FLOAT32", GGUF_VALUE_F32},
                 {"BOOL", GGUF_VALUE_BOOL},
                 {"STRING", GGUF_VALUE_STRING}};
    const char *name = json_string_value(json_array_get(type, 1));
    const json_t *first = json_object_get(want, "first");
    gguf_kv_iter it = {.kv = kv};
    int64_t element;
    if (kv->type != GGUF_VALUE_ARRAY ||
        (json_int_t)kv->count != json_integer_value(json_object_get(want, "n")))
        return false;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (name && strcmp(name, types[i].name) == 0 && kv->elem_type != types[i].type)
            return false;
    for (size_t i = 0; i < json_array_size(first); i++)
        if (json_is_integer(json_array_get(first, i)) &&
            (!gguf_kv_next_i64(&it, &element) ||
             element != json_integer_value(json_array_get(first, i))))
            return false;
    return true;
}

static void check_value(const char *fixture, const char *key, const gguf_kv *kv,
                        const json_t *entry) {
    const json_t *want = json_object_get(entry, "value");
    gguf_str text;
    double number;
    bool flag, same = true;
    ck_assert_msg(kv != NULL, "%s: the key %s is missing", fixture, key);
    if (json_is_string(want))
        same = gguf_kv_str(kv, &text) && gguf_str_eq(text, json_string_value(want));
    else if (json_is_boolean(want))
        same = gguf_kv_bool(kv, &flag) && flag == json_is_true(want);
    else if (json_is_number(want))
        same = gguf_kv_f64(kv, &number) &&
               fabs(number - json_number_value(want)) <= 1e-7 * fabs(json_number_value(want));
    else if (json_is_object(want))
        same = same_array(kv, json_object_get(entry, "type"), want);
    ck_assert_msg(same, "%s: the key %s has another value", fixture, key);
}

static bool is_own_key(const char *architecture, gguf_str key) {
    char full[128];
    if (key.len >= 10 && strncmp(key.ptr, "tokenizer.", 10) == 0) return true;
    for (size_t i = 0; i < sizeof own_keys / sizeof own_keys[0]; i++) {
        snprintf(full, sizeof full, "%s.%s", architecture, own_keys[i]);
        if (gguf_str_eq(key, full)) return true;
    }
    return false;
}

/* Facts that the other converter assumes of all models of a class, and ours reads from the folder's
 * tokenizer: the end of a turn, the end of a text, the name of the pre-tokenizer. The file type is
 * named by the tool that chooses the types. */
static bool differs_on_purpose(const char *fixture, const char *key) {
    static const struct {
        const char *fixture, *key;
    } list[] = {{"hunyuan_dense", "tokenizer.ggml.eos_token_id"},
                {"falcon_new", "tokenizer.ggml.pre"},
                /* made without a vocabulary */
                {"gemma4", "tokenizer.ggml.model"},
                {"gemma4_moe", "tokenizer.ggml.model"}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (strcmp(list[i].fixture, fixture) == 0 && strcmp(list[i].key, key) == 0) return true;
    return strcmp(key, "general.file_type") == 0;
}

START_TEST(keys_are_as_expected) {
    json_t *root = expected_of(fixtures[_i]), *keys = json_object_get(root, "metadata"), *entry;
    gguf_file *file = open_converted(fixtures[_i]);
    const gguf_meta *meta = gguf_file_meta(file);
    const char *name;
    char architecture[64];
    gguf_str text;
    ck_assert(gguf_kv_str(gguf_meta_find(meta, "general.architecture"), &text));
    snprintf(architecture, sizeof architecture, "%.*s", (int)text.len, text.ptr);
    json_object_foreach(keys, name, entry) {
        if (!differs_on_purpose(fixtures[_i], name))
            check_value(fixtures[_i], name, gguf_meta_find(meta, name), entry);
    }
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        gguf_str key = gguf_meta_at(meta, i)->key;
        ck_assert_msg(json_object_getn(keys, key.ptr, key.len) || is_own_key(architecture, key),
                      "%s: the key %.*s is not expected", fixtures[_i], (int)key.len, key.ptr);
    }
    gguf_file_close(file);
    json_decref(root);
}
END_TEST

/* ---- facts that only our keys hold -------------------------------------------------------- */

static void check_layers(const char *fixture, const char *key, const bool want[3]) {
    gguf_file *file = open_converted(fixture);
    const gguf_kv *kv = gguf_meta_find(gguf_file_meta(file), key);
    gguf_kv_iter it = {.kv = kv};
    ck_assert(kv && kv->type == GGUF_VALUE_ARRAY && kv->count == 3);
    for (int i = 0; i < 3; i++) {
        int64_t flag;
        ck_assert(gguf_kv_next_i64(&it, &flag) && (flag != 0) == want[i]);
    }
    gguf_file_close(file);
}

START_TEST(lost_facts_are_kept) {
    bool flag;
    uint64_t window;
    check_layers("gemma3", "gemma3.attention.sliding_window_pattern",
                 (const bool[]){true, true, false});
    check_layers("gpt_oss", "gpt-oss.attention.sliding_window_pattern",
                 (const bool[]){true, false, true});
    check_layers("smollm3", "smollm3.ggufkit.rope_layers", (const bool[]){true, true, false});
    gguf_file *file = open_converted("gpt_oss");
    ck_assert(gguf_kv_bool(gguf_meta_find(gguf_file_meta(file), "gpt-oss.ggufkit.yarn_truncate"),
                           &flag) &&
              !flag);
    gguf_file_close(file);
    file = open_converted("mistral");
    ck_assert(gguf_kv_u64(gguf_meta_find(gguf_file_meta(file), "llama.attention.sliding_window"),
                          &window) &&
              window == 16);
    gguf_file_close(file);
}
END_TEST

/* Convolutions and the numbers of a state have too few values per row, and matter too much. */
START_TEST(small_parts_of_recurrent_layers_stay_floats) {
    gguf_error err = {0};
    rt_import *import;
    size_t n_quantised = 0;
    unit_ok(rt_import_open(TEST_DATA "/models/mamba2", NULL, &import, &err), err);
    const quant_plan *plan = rt_import_plan(import);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const char *name = plan->tensors[i].out.name.ptr;
        bool product = strstr(name, "ssm_in") || strstr(name, "ssm_out");
        if (strstr(name, "ssm_")) ck_assert_msg(plan->tensors[i].tags.keep == !product, "%s", name);
        n_quantised += product;
    }
    ck_assert_uint_eq(n_quantised, 6);
    rt_import_close(import);
}
END_TEST

/* A vocabulary that is no multiple of 16 is filled up with rows of zeros. */
START_TEST(vocabularies_are_filled_up) {
    static const char config[] =
        "{\"architectures\":[\"Mamba2ForCausalLM\"],\"num_hidden_layers\":0,\"hidden_size\":2,"
        "\"num_heads\":1,\"head_dim\":4,\"vocab_size\":3,\"tie_word_embeddings\":true}";
    static const float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    char bytes[512];
    uint64_t n =
        (uint64_t)snprintf(bytes + 8, sizeof bytes - 8,
                           "{\"backbone.embeddings.weight\":{\"dtype\":\"F32\",\"shape\":[3,2],"
                           "\"data_offsets\":[0,24]},\"backbone.norm_f.weight\":{\"dtype\":\"F32\","
                           "\"shape\":[2],\"data_offsets\":[24,32]}}");
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8 + n, x, sizeof x);
    const gguf_memory_file files[] = {{"config.json", config, sizeof config - 1},
                                      {"model.safetensors", bytes, 8 + n + sizeof x}};
    const rt_import_opts opts = {.shapes_suffice = true};
    gguf_error err = {0};
    rt_import *import;
    unit_ok(rt_import_from_memory(files, 2, &opts, &import, &err), err);
    const quant_plan *plan = rt_import_plan(import);
    ck_assert_uint_eq(plan->n_tensors, 2);
    const quant_plan_tensor *t = &plan->tensors[1];
    ck_assert_str_eq(t->out.name.ptr, "token_embd.weight");
    ck_assert_uint_eq(t->out.dims[1], 16);
    ck_assert_uint_eq(t->n_stored_rows, 3);
    uint64_t n_vocab = 0;
    gguf_kv_u64(gguf_meta_find(plan->meta, "mamba2.vocab_size"), &n_vocab);
    ck_assert_uint_eq(n_vocab, 16);
    rt_import_close(import);
}
END_TEST

/* ---- what is left out is said -------------------------------------------------------------- */

static void check_warning(const char *fixture, const char *text) {
    gguf_error err = {0};
    rt_import *import;
    char path[512];
    bool found = false;
    snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, fixture);
    unit_ok(rt_import_open(path, NULL, &import, &err), err);
    for (size_t i = 0; i < rt_import_n_warnings(import); i++)
        found = found || strstr(rt_import_warning(import, i), text);
    ck_assert_msg(found, "%s: no warning says '%s'", fixture, text);
    rt_import_close(import);
}

START_TEST(parts_are_left_out_with_a_word) {
    check_warning("gemma3_vision", "tensors are left out: vision encoder");
    check_warning("gemma3_vision", "tensors are left out: projector from vision to text");
    check_warning("deepseek_v3_mtp", "tensors are left out: multi-token prediction");
    check_warning("glm4_moe", "tensors are left out: multi-token prediction");
}
END_TEST

static uint64_t number_of(const char *fixture, const char *key) {
    uint64_t number = UINT64_MAX;
    gguf_file *file = open_converted(fixture);
    gguf_kv_u64(gguf_meta_find(gguf_file_meta(file), key), &number);
    gguf_file_close(file);
    return number;
}

START_TEST(pooling_is_kept) {
    ck_assert_uint_eq(number_of("bert_sentence", "bert.pooling_type"), 1);
    ck_assert_uint_eq(number_of("llama_embedding", "llama.pooling_type"), 1);
    ck_assert_uint_eq(number_of("qwen3_embedding", "qwen3.pooling_type"), 3);
}
END_TEST

static void check_refused(const char *fixture, const char *key, json_t *value, gguf_code code,
                          const char *message);
static void check_edited(const char *fixture, const char *file, const char *from, const char *to,
                         gguf_code code, const char *message);

/* ---- quantised checkpoints ------------------------------------------------------------------ */

static void check_method(const char *method, const char *key, const char *value, gguf_code code,
                         const char *message) {
    check_refused("ct_int8", "quantization_config",
                  json_pack("{s:s, s:s}", "quant_method", method, key, value), code, message);
}

START_TEST(unknown_methods_are_named) {
    check_method("bitsandbytes", "x", "", GGUF_E_UNSUPPORTED, "'bitsandbytes'");
    check_method("hqq", "x", "", GGUF_E_UNSUPPORTED, "'hqq'");
    check_method("compressed-tensors", "format", "nvfp4-pack-quantized", GGUF_E_UNSUPPORTED,
                 "in the form nvfp4-pack-quantized");
    check_method("gptq", "checkpoint_format", "marlin", GGUF_E_UNSUPPORTED, "in the form marlin");
    check_method("awq", "version", "gemv", GGUF_E_UNSUPPORTED, "in the form gemv");
}
END_TEST

START_TEST(broken_packings_are_refused) {
    check_edited("gptq4", "model.safetensors", "q_proj.scales", "q_proj.scalez", GGUF_E_MISSING,
                 "its scales are missing");
    check_edited("ct_int4", "model.safetensors", "v_proj.weight_shape", "v_proj.weight_shapz",
                 GGUF_E_MISSING, "weight_shape is missing");
    check_edited("awq", "model.safetensors", "q_proj.qzeros", "q_proj.qzeroz", GGUF_E_MISSING,
                 "its zeros are missing");
}
END_TEST

/* One row at a time, and all rows at once: the same file. */
START_TEST(packed_rows_stream) {
    static const char *const packed[] = {"gptq4", "gptq3", "awq", "ct_int4_zero", "ct_int8"};
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        size_t n[2];
        unsigned char *bytes[2];
        for (int small = 0; small < 2; small++) {
            gguf_error err = {0};
            rt_import *import;
            gguf_pool *pool;
            char path[512];
            snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, packed[i]);
            unit_ok(rt_import_open(path, NULL, &import, &err), err);
            quant_execute_opts opts = quant_execute_defaults();
            opts.replace = true;
            if (small) opts.max_memory_bytes = 1;
            const char *out = unit_temp("stream.gguf");
            unit_ok(gguf_pool_new(1, &pool, &err), err);
            unit_ok(quant_plan_finish(rt_import_plan(import), &err), err);
            unit_ok(quant_execute(rt_import_plan(import), out, pool, &opts, &err), err);
            bytes[small] = unit_read(out, &n[small]);
            unlink(out);
            gguf_pool_free(pool);
            rt_import_close(import);
        }
        ck_assert_uint_eq(n[0], n[1]);
        ck_assert_mem_eq(bytes[0], bytes[1], n[0]);
        free(bytes[0]);
        free(bytes[1]);
    }
}
END_TEST

/* ---- methods that are known by name only ----------------------------------------------------- */

/* A checkpoint in memory with two tensors of one element. */
static gguf_code open_two(const char *a, const char *a_dtype, const char *b, const char *b_dtype,
                          gguf_error *err) {
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,\"intermediate_size\":16,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"vocab_size\":4,"
        "\"max_position_embeddings\":64}";
    char bytes[1024];
    rt_import *import = NULL;
    int n_a = a_dtype[1] == '8' ? 1 : 4, n_all = n_a + (b_dtype[1] == '8' ? 1 : 4);
    uint64_t n =
        (uint64_t)snprintf(bytes + 8, sizeof bytes - 8,
                           "{\"x%s\":{\"dtype\":\"%s\",\"shape\":[1,1],\"data_offsets\":[0,%d]},"
                           "\"x%s\":{\"dtype\":\"%s\",\"shape\":[1,1],\"data_offsets\":[%d,%d]}}",
                           a, a_dtype, n_a, b, b_dtype, n_a, n_all);
    memcpy(bytes, &n, 8);
    memset(bytes + 8 + n, 0, 8);
    const gguf_memory_file files[] = {{"config.json", config, sizeof config - 1},
                                      {"model.safetensors", bytes, 8 + n + (uint64_t)n_all}};
    *err = (gguf_error){0};
    gguf_code code = rt_import_from_memory(files, 2, NULL, &import, err);
    rt_import_close(import);
    return code;
}

static const struct {
    const char *a, *a_dtype, *b, *b_dtype, *method;
} foreign[] = {
    {".weight", "I8", ".SCB", "F32", "bitsandbytes (8 bits)"},
    {".weight", "U8", ".weight.absmax", "F32", "bitsandbytes (4 bits)"},
    {".weight", "U8", ".weight.quant_state.bitsandbytes__nf4", "U8", "bitsandbytes (4 bits)"},
    {".weight", "U32", ".scales", "F32", "MLX"},
    {".q_weight", "I32", ".q_scale", "I32", "EXL2"},
    {".trellis", "I32", ".suh", "F32", "EXL3"},
    {".W_q", "U8", ".scale", "F32", "HQQ"},
    {".weight._data", "I8", ".weight._scale", "F32", "quanto"},
    {".codes", "I8", ".codebooks", "F32", "AQLM"},
    {".Qidxs", "I32", ".SU", "F32", "QuIP#"},
    {".indices", "I32", ".centroids.weight", "F32", "VPTQ"},
    {".qweight", "I32", ".lookup_table", "F32", "SqueezeLLM"},
    {".weight", "U8", ".weight_scale_2", "F32", "ModelOpt NVFP4"},
    {".weight_packed", "U8", ".weight_global_scale", "F32", "NVFP4"},
    {".weight", "I8", ".weight_scales", "F32", "EETQ"},
    {".B", "I32", ".s", "F32", "Marlin"},
    {".weight:qdata", "I8", ".weight:scale", "F32", "torchao"},
};

START_TEST(foreign_methods_are_named) {
    char message[128];
    gguf_error err;
    snprintf(message, sizeof message, "weights quantised by %s ('x.", foreign[_i].method);
    unit_fails(
        open_two(foreign[_i].a, foreign[_i].a_dtype, foreign[_i].b, foreign[_i].b_dtype, &err),
        GGUF_E_UNSUPPORTED, message, err);
}
END_TEST

START_TEST(plain_tensors_are_no_method) {
    gguf_error err;
    unit_fails(open_two(".weight", "F32", ".scales", "F32", &err), GGUF_E_MISSING,
               "whose names are 'x.*'", err);
}
END_TEST

/* ---- tied heads ----------------------------------------------------------------------------- */

/* llama_linear as two shards without an index, the second with a head that is its embedding but
 * for `change` of the last value. */
static void make_tied(char *folder, size_t room, uint16_t change) {
    static const char header[] =
        "{\"lm_head.weight\":{\"dtype\":\"BF16\",\"shape\":[264,32],\"data_offsets\":[0,16896]}}  ";
    gguf_error err = {0};
    gguf_checkpoint *ckpt;
    uint64_t n_bytes, n_header = sizeof header - 1;
    char from[512], to[600];
    unit_ok(gguf_checkpoint_open(TEST_DATA "/models/llama_linear", &ckpt, &err), err);
    uint16_t *head = unit_read_tensor(ckpt, "model.embed_tokens.weight", &n_bytes);
    ck_assert_uint_eq(n_bytes, 16896);
    head[n_bytes / 2 - 1] ^= change;
    snprintf(folder, room, "%s", unit_temp(change ? "untied" : "tied"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    static const char *const linked[] = {"model.safetensors", "config.json", "tokenizer.json",
                                         "tokenizer_config.json"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(from, sizeof from, "%s/models/llama_linear/%s", TEST_DATA, linked[i]);
        snprintf(to, sizeof to, "%s/%s", folder,
                 i ? linked[i] : "model-00001-of-00002.safetensors");
        ck_assert_int_eq(symlink(from, to), 0);
    }
    snprintf(to, sizeof to, "%s/model-00002-of-00002.safetensors", folder);
    FILE *file = fopen(to, "wb");
    ck_assert(file && fwrite(&n_header, 8, 1, file) == 1 &&
              fwrite(header, n_header, 1, file) == 1 && fwrite(head, n_bytes, 1, file) == 1);
    fclose(file);
    free(head);
    gguf_checkpoint_close(ckpt);
}

static void check_tied(uint16_t change, size_t n_tensors, const char *warning) {
    gguf_error err = {0};
    rt_import *import;
    char folder[500];
    bool said = false;
    make_tied(folder, sizeof folder, change);
    unit_ok(rt_import_open(folder, NULL, &import, &err), err);
    ck_assert_uint_eq(rt_import_plan(import)->n_tensors, n_tensors);
    for (size_t i = 0; i < rt_import_n_warnings(import); i++)
        said = said || strstr(rt_import_warning(import, i), warning);
    ck_assert_msg(said, "no warning says '%s'", warning);
    rt_import_close(import);
}

START_TEST(a_head_that_differs_counts) {
    check_tied(0, 20, "'lm_head.weight' is left out: it is equal to 'model.embed_tokens.weight'");
    check_tied(1, 21, "they differ (element 8447 is");
}
END_TEST

/* ---- glm4: nothing is moved ---------------------------------------------------------------- */

static const char *const glm4_names[][2] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"post_self_attn_layernorm.weight", "post_attention_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"post_mlp_layernorm.weight", "post_ffw_norm.weight"}};

START_TEST(glm4_tensors_keep_their_rows) {
    gguf_error err = {0};
    gguf_checkpoint *ckpt;
    gguf_file *file = open_converted("glm4");
    unit_ok(gguf_checkpoint_open(TEST_DATA "/models/glm4", &ckpt, &err), err);
    ck_assert_uint_eq(gguf_file_n_tensors(file), gguf_checkpoint_n_tensors(ckpt));
    for (size_t i = 0; i < sizeof glm4_names / sizeof glm4_names[0]; i++) {
        char hf[128], name[64];
        uint64_t n_bytes;
        snprintf(hf, sizeof hf, "model.layers.2.%s", glm4_names[i][0]);
        snprintf(name, sizeof name, "blk.2.%s", glm4_names[i][1]);
        uint16_t *source = unit_read_tensor(ckpt, hf, &n_bytes);
        const gguf_tensor *t = gguf_file_find_tensor(file, name);
        const uint32_t *out = gguf_file_data(file, t);
        ck_assert(t && t->n_bytes == 2 * n_bytes);
        for (size_t k = 0; k < n_bytes / 2; k++)
            ck_assert_uint_eq(out[k], (uint32_t)source[k] << 16);
        free(source);
    }
    gguf_checkpoint_close(ckpt);
    gguf_file_close(file);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------ */

/* A folder with a fixture's files as links, but for those that a test writes itself. */
static void make_folder(char *folder, size_t n, const char *fixture, const char *config) {
    static const char *const linked[] = {"model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json"};
    char from[512], to[512];
    snprintf(folder, n, "%s", unit_temp("import"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        snprintf(from, sizeof from, "%s/models/%s/%s", TEST_DATA, fixture, linked[i]);
        snprintf(to, sizeof to, "%.400s/%s", folder, linked[i]);
        ck_assert_int_eq(symlink(from, to), 0);
    }
    snprintf(to, sizeof to, "%.400s/config.json", folder);
    unit_write(to, config, strlen(config));
}

static void remove_folder(const char *folder) {
    static const char *const names[] = {"model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json", "config.json"};
    char path[512];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%.400s/%s", folder, names[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

/* The fixture's config with one value replaced must be refused. */
static void check_refused(const char *fixture, const char *key, json_t *value, gguf_code code,
                          const char *message) {
    gguf_error err = {0};
    rt_import *import;
    json_t *config;
    char folder[512], path[512];
    snprintf(path, sizeof path, "%s/models/%s/config.json", TEST_DATA, fixture);
    unit_ok(gguf_json_load(path, 0, &config, &err), err);
    ck_assert_int_eq(json_object_set_new(config, key, value), 0);
    char *text = json_dumps(config, 0);
    make_folder(folder, sizeof folder, fixture, text);
    unit_fails(rt_import_open(folder, NULL, &import, &err), code, message, err);
    remove_folder(folder);
    free(text);
    json_decref(config);
}

START_TEST(broken_checkpoints_are_refused) {
    check_refused("qwen3_moe_wide", "num_local_experts", json_integer(5), GGUF_E_SHAPE,
                  "dimension 0");
    check_refused("qwen3_moe_wide", "num_hidden_layers", json_integer(3), GGUF_E_MISSING,
                  "model.layers.2");
    check_refused("deepseek_v3", "v_head_dim", json_integer(33), GGUF_E_SHAPE, "kv_b_proj");
    check_refused("qwen3_fp8", "quantization_config",
                  json_pack("{s:[i,i]}", "weight_block_size", 16, 32), GGUF_E_SHAPE,
                  "does not fit");
    check_refused("smollm3", "no_rope_layers", json_pack("[i,i]", 1, 0), GGUF_E_TYPE,
                  "no_rope_layers");
    check_refused("deepseek_v3", "scoring_func", json_string("tanh"), GGUF_E_TYPE, "scoring_func");
}
END_TEST

/* A fixture's weights with one text replaced by another of the same length. */
static void check_edited(const char *fixture, const char *file, const char *from, const char *to,
                         gguf_code code, const char *message) {
    gguf_error err = {0};
    rt_import *import;
    char folder[512], path[512];
    size_t n, n_config;
    snprintf(path, sizeof path, "%s/models/%s/config.json", TEST_DATA, fixture);
    unsigned char *config = unit_read(path, &n_config);
    config[n_config] = '\0';
    make_folder(folder, sizeof folder, fixture, (char *)config);
    snprintf(path, sizeof path, "%s/models/%s/%s", TEST_DATA, fixture, file);
    unsigned char *bytes = unit_read(path, &n);
    for (unsigned char *at = bytes;
         (at = memmem(at, n - (size_t)(at - bytes), from, strlen(from)));)
        memcpy(at, to, strlen(to));
    snprintf(path, sizeof path, "%.400s/%s", folder, file);
    unlink(path);
    unit_write(path, bytes, n);
    if (strcmp(file, "model.safetensors") != 0) {
        snprintf(path, sizeof path, "%.400s/model.safetensors", folder);
        unlink(path);
    }
    unit_fails(rt_import_open(folder, NULL, &import, &err), code, message, err);
    snprintf(path, sizeof path, "%.400s/%s", folder, file);
    unlink(path);
    remove_folder(folder);
    free(config);
    free(bytes);
}

START_TEST(broken_weights_are_refused) {
    check_edited("qwen3_moe_wide", "model.safetensors", "experts.3.up_proj", "experts.3.xx_proj",
                 GGUF_E_MISSING, "experts.3.up_proj.weight");
    check_edited("gpt_oss_mxfp4", "model.safetensors", "down_proj_scales", "down_proj_scaled",
                 GGUF_E_MISSING, "scales of tensor");
    check_edited("llama3_bin", "pytorch_model.bin", "_rebuild_tensor_v2", "_rebuild_tensor_v9",
                 GGUF_E_UNSUPPORTED, "not allowed");
    check_edited("llama3_bin", "pytorch_model.bin", "torch\nBFloat16Storage",
                 "posix\nBFloat16System", GGUF_E_UNSUPPORTED, "unknown type");
    check_edited("llama3_bin", "pytorch_model.bin", "PK\1\2", "PK\1\3", GGUF_E_FORMAT, "directory");
}
END_TEST

/* T5 says in one word what is computed and whether there is a gate. */
START_TEST(other_projections_are_refused) {
    check_refused("t5", "feed_forward_proj", json_string("gated-silu"), GGUF_E_UNSUPPORTED,
                  "'feed_forward_proj' is 'gated-silu', but");
    check_refused("t5", "feed_forward_proj", json_string("gelu"), GGUF_E_UNSUPPORTED,
                  "'feed_forward_proj' is 'gelu', but");
}
END_TEST

START_TEST(planned_families_are_named) {
    check_refused("qwen3_moe_wide", "architectures", json_pack("[s]", "Qwen4ExpForCausalLM"),
                  GGUF_E_UNSUPPORTED, "is not supported yet: several streams");
    check_refused("qwen3_moe_wide", "architectures", json_pack("[s]", "NoSuchModel"),
                  GGUF_E_UNSUPPORTED, "'NoSuchModel' is not supported (");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("import");
    TCase *tests = tcase_create("fixtures");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, tensors_are_as_expected, 0, N_FIXTURES);
    tcase_add_loop_test(tests, keys_are_as_expected, 0, N_FIXTURES);
    tcase_add_test(tests, lost_facts_are_kept);
    tcase_add_test(tests, small_parts_of_recurrent_layers_stay_floats);
    tcase_add_test(tests, vocabularies_are_filled_up);
    tcase_add_test(tests, parts_are_left_out_with_a_word);
    tcase_add_test(tests, pooling_is_kept);
    tcase_add_test(tests, other_projections_are_refused);
    tcase_add_test(tests, unknown_methods_are_named);
    tcase_add_test(tests, broken_packings_are_refused);
    tcase_add_test(tests, packed_rows_stream);
    tcase_add_test(tests, a_head_that_differs_counts);
    tcase_add_loop_test(tests, foreign_methods_are_named, 0,
                        (int)(sizeof foreign / sizeof foreign[0]));
    tcase_add_test(tests, plain_tensors_are_no_method);
    tcase_add_test(tests, glm4_tensors_keep_their_rows);
    tcase_add_test(tests, broken_checkpoints_are_refused);
    tcase_add_test(tests, broken_weights_are_refused);
    tcase_add_test(tests, planned_families_are_named);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
