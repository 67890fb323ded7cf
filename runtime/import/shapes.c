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

static bool is_there(const rt_import *import, const gguf_yaml *node, const char *gguf_name) {
    bool optional = false;
    gguf_yaml_bool(gguf_yaml_get(node, "optional"), &optional);
    if (!optional) return true;
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

/* Of [first, count, step] the count. */
static gguf_code take_part(const rt_import *import, const gguf_yaml *node, const char *key,
                           uint64_t *n, gguf_error *err) {
    const gguf_yaml *part = gguf_yaml_get(node, key);
    const gguf_yaml *count = part && part->first ? part->first->next : NULL;
    return count ? rt_import_eval(import, count, n, err) : GGUF_OK;
}

typedef struct shape {
    uint64_t mats, rows, cols;
    uint32_t n_dims;
} shape;

static gguf_code read_shape(const rt_import *import, const gguf_yaml *node, shape *s,
                            gguf_error *err) {
    uint64_t dims[3] = {1, 1, 1};
    const gguf_yaml *list = gguf_yaml_get(node, "shape");
    gguf_code code = GGUF_OK;
    if (!list || list->n_children == 0 || list->n_children > 3)
        return gguf_yaml_fail(rt_arch_doc(import->arch), node, err,
                              "without the weights the shape of this tensor is unknown");
    size_t i = 3 - list->n_children;
    for (const gguf_yaml *dim = list->first; dim && !code; dim = dim->next)
        code = rt_import_eval(import, dim, &dims[i++], err);
    *s = (shape){dims[0], dims[1], dims[2], (uint32_t)list->n_children};
    return code;
}

/* What the entry makes of the stored tensor: parts of it, several matrices, transposed. */
static gguf_code change_shape(const rt_import *import, const gguf_yaml *node, shape *s,
                              gguf_error *err) {
    const gguf_yaml *matrices = gguf_yaml_get(node, "matrices");
    bool transpose = false;
    gguf_code code = matrices ? rt_import_eval(import, matrices, &s->mats, err) : GGUF_OK;
    if (!code && matrices) {
        if (s->mats == 0 || s->rows % s->mats)
            return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                             "%" PRIu64 " rows are not %" PRIu64 " matrices", s->rows, s->mats);
        s->rows /= s->mats;
        s->n_dims = 3;
    }
    if (!code) code = take_part(import, node, "rows", &s->rows, err);
    if (!code) code = take_part(import, node, "columns", &s->cols, err);
    gguf_yaml_bool(gguf_yaml_get(node, "transpose"), &transpose);
    if (!transpose) return code;
    uint64_t rows = s->rows;
    s->rows = s->cols;
    s->cols = rows;
    return code;
}

/* One tensor per expert in the checkpoint makes a stack. */
static gguf_code stack_experts(const rt_import *import, const gguf_yaml *node, shape *s,
                               gguf_error *err) {
    const gguf_yaml *count = gguf_yaml_get(node, "count");
    uint64_t n = 0;
    if (!strstr(gguf_yaml_text(node, "hf", ""), "{expert}")) return GGUF_OK;
    gguf_code code = count ? rt_import_eval(import, count, &n, err) : GGUF_OK;
    if (code || (!count && !rt_import_key_u64(import, "expert_count", &n)) || !n) return code;
    if (s->n_dims == 1)
        s->rows = n;
    else
        s->mats = n;
    s->n_dims++;
    return GGUF_OK;
}

gguf_code rt_import_shape(rt_import *import, const gguf_yaml *node, const char *gguf_name,
                          gguf_error *err) {
    bool mxfp4 = false;
    shape s = {0};
    gguf_yaml_bool(gguf_yaml_get(node, "mxfp4"), &mxfp4);
    if (!is_there(import, node, gguf_name) || (mxfp4 && !is_mxfp4(import))) return GGUF_OK;
    gguf_code code = read_shape(import, node, &s, err);
    if (!code) code = change_shape(import, node, &s, err);
    if (!code) code = stack_experts(import, node, &s, err);
    if (code) return code;
    uint32_t type = mxfp4 ? (uint32_t)GGUF_TYPE_MXFP4 : type_of(import);
    quant_plan_tensor t = {.out = {.name = gguf_str_of(gguf_name),
                                   .n_dims = s.n_dims,
                                   .dims = {s.cols, s.rows, s.mats, 1}},
                           .source_type = type,
                           .n_rows = s.rows * s.mats,
                           .n_cols = s.cols};
    return rt_import_add(import, &t, type, err);
}
