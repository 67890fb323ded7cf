/* The tensors that a description and config.json imply where there are no weights: names, shapes
 * and types, enough to compute sizes; nothing can be read from them. */
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <string.h>

/* Optional tensors are there if one of these flags of the config is set. */
typedef struct option_rule {
    const char *part; /* of the GGUF name */
    const char *flags[4];
} option_rule;

static const option_rule option_rules[] = {
    {".attn_output.bias", {"attention_out_bias", "attention_bias", "use_bias", NULL}},
    {".attn_", {"attention_bias", "use_qkv_bias", "qkv_bias", "use_bias"}},
    {".ffn_", {"mlp_bias", "use_bias", NULL, NULL}},
};

static bool has_flag(const rt_import *import, const char *const flags[4]) {
    for (size_t i = 0; i < 4 && flags[i]; i++) {
        const json_t *value = rt_config_get(import, flags[i]);
        if (value) return json_is_true(value);
    }
    return false;
}

static bool is_there(const rt_import *import, const rt_arch_tensor *entry, const char *gguf_name) {
    if (!entry->entry.optional) return true;
    if (strstr(gguf_name, ".exp_probs_b.")) {
        const char *method = json_string_value(rt_config_get(import, "topk_method"));
        return method && strcmp(method, "noaux_tc") == 0;
    }
    for (size_t i = 0; i < sizeof option_rules / sizeof option_rules[0]; i++)
        if (strstr(gguf_name, option_rules[i].part)) return has_flag(import, option_rules[i].flags);
    return false;
}

static bool is_mxfp4(const rt_import *import) {
    const json_t *config = rt_config_get(import, "quantization_config");
    const char *method = json_string_value(json_object_get(config, "quant_method"));
    return method && strcmp(method, "mxfp4") == 0;
}

/* The type that keeps the weights' precision: BF16 where the config does not say. */
static uint32_t type_of(const rt_import *import) {
    static const char *const keys[] = {"dtype", "torch_dtype"};
    for (size_t i = 0; i < 2; i++) {
        const char *name = json_string_value(rt_config_get(import, keys[i]));
        if (!name) continue;
        if (strcmp(name, "float16") == 0) return GGUF_TYPE_F16;
        if (strcmp(name, "float32") == 0) return GGUF_TYPE_F32;
    }
    return GGUF_TYPE_BF16;
}

gguf_code rt_import_stored_layout(const rt_import *import, const rt_arch_tensor *entry,
                                  uint64_t layer, rt_tensor_layout *out, gguf_error *err) {
    const rt_scalars *shape = &entry->shape;
    uint64_t dims[GGUF_MAX_DIMS] = {0};
    gguf_code code = GGUF_OK;
    if (shape->n == 0 || shape->n > GGUF_MAX_DIMS)
        return rt_place_fail(&entry->entry.at, err,
                             "without the weights the shape of this tensor is unknown");
    for (size_t i = 0; i < shape->n && !code; i++)
        code = rt_import_eval(import, &shape->list[i], layer, &dims[i], err);
    *out = rt_tensor_layout_of(dims, (uint32_t)shape->n);
    out->name = entry->hf;
    out->file = import->config_path;
    out->off = GGUF_NO_OFFSET;
    return code;
}

gguf_code rt_import_shape(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                          const char *gguf_name, gguf_error *err) {
    bool mxfp4 = rt_tensor_has(entry, RT_TRANSFORM_mxfp4);
    uint64_t n_stacked = 0;
    rt_tensor_layout l;
    if (!is_there(import, entry, gguf_name) || (mxfp4 && !is_mxfp4(import))) return GGUF_OK;
    gguf_code code = rt_import_stored_layout(import, entry, layer, &l, err);
    if (!code) code = rt_import_transform(import, entry, layer, &l, err);
    if (!code) code = rt_import_n_stacked(import, entry, layer, &n_stacked, err);
    if (code) return code;
    if (n_stacked) rt_tensor_layout_stack(&l, n_stacked);
    uint32_t type = entry->integers ? (uint32_t)GGUF_TYPE_I32
                    : mxfp4         ? (uint32_t)GGUF_TYPE_MXFP4
                                    : type_of(import);
    quant_plan_tensor t = {.out = {.name = gguf_str_of(gguf_name), .n_dims = l.n_dims + l.n_outer},
                           .source_type = type,
                           .n_rows = l.rows * l.mats,
                           .n_cols = l.cols};
    rt_tensor_layout_dims(&l, t.out.dims);
    return rt_import_add(import, &t, type, err);
}
