/* RoPE scaling of config.json (`rope_parameters` of transformers 5, `rope_scaling` of 4). */
#include "runtime/import/import_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_ROTARY    8192
#define ALPHA_CONTEXT 262144 /* tokens that models with a fixed alpha were trained for */

static const char *rope_type(const json_t *object) {
    const json_t *type = json_object_get(object, "rope_type");
    if (!type || json_is_null(type)) type = json_object_get(object, "type");
    return json_is_string(type) ? json_string_value(type) : "default";
}

/* Every scalar that one of the two has and the other says otherwise. */
static void compare_objects(rt_import *import, const char *name, const json_t *object,
                            const char *other_name, const json_t *other) {
    const char *key;
    json_t *value;
    json_t *const kinds[] = {json_string(rope_type(object)), json_string(rope_type(other))};
    char kind[64], other_kind[64];
    snprintf(kind, sizeof kind, "%s.rope_type", name);
    snprintf(other_kind, sizeof other_kind, "%s.rope_type", other_name);
    rt_import_compare(import, kind, kinds[0], other_kind, kinds[1]);
    json_object_foreach((json_t *)(uintptr_t)other, key, value) {
        char full[128], other_full[128];
        if (strcmp(key, "rope_type") == 0 || strcmp(key, "type") == 0) continue;
        if (strcmp(key, "rope_theta") == 0) continue; /* the description says where it is */
        snprintf(full, sizeof full, "%s.%s", name, key);
        snprintf(other_full, sizeof other_full, "%s.%s", other_name, key);
        rt_import_compare(import, full, json_object_get(object, key), other_full, value);
    }
    json_decref(kinds[0]);
    json_decref(kinds[1]);
}

/* Descriptions take the base from elsewhere. */
static void compare_base(rt_import *import, const json_t *scaling) {
    const char *const names[] = {"rope_parameters.rope_theta", "rope_theta"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *base = rt_config_get(import, names[i]);
        rt_import_compare(import, names[i], base, "rope_scaling.rope_theta",
                          json_object_get(scaling, "rope_theta"));
        if (base) return;
    }
}

/* rope_scaling counts where a config has both: so does the original library, and who edits a config
 * by older instructions adds it. */
static const json_t *rope_object(rt_import *import) {
    /* One set of parameters per kind of layer: the other kind's base is a key of its own. */
    const char *name = "rope_parameters.full_attention";
    const json_t *object = rt_config_get(import, name);
    if (!object) object = rt_config_get(import, name = "rope_parameters");
    const json_t *scaling = rt_config_get(import, "rope_scaling");
    if (json_object_size(scaling) == 0) return object;
    if (object) compare_objects(import, "rope_scaling", scaling, name, object);
    compare_base(import, scaling);
    rt_import_compare(import, "rope_scaling.rope_type", json_object_get(scaling, "rope_type"),
                      "rope_scaling.type", json_object_get(scaling, "type"));
    return scaling;
}

/* A number of the rope object; absent = the default, or an error if that is NaN. */
static gguf_code rope_number(const rt_import *import, const json_t *object, const char *name,
                             double absent, double *out, gguf_error *err) {
    const json_t *value = json_object_get(object, name);
    bool is_absent = !value || json_is_null(value);
    *out = is_absent ? absent : json_is_number(value) ? json_number_value(value) : NAN;
    if (isfinite(*out)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET,
                     "RoPE scaling has no number '%s'", name);
}

static void scaling_key(const rt_import *import, const char *name, char *out, size_t n) {
    snprintf(out, n, "%s.rope.scaling.%s", import->architecture, name);
}

static void set_scaling_f32(rt_import *import, const char *name, double value) {
    char key[160];
    scaling_key(import, name, key, sizeof key);
    gguf_meta_set_f32(import->plan.meta, key, (float)value);
}

static void set_scaling_type(rt_import *import, const char *type, double factor) {
    char key[160];
    scaling_key(import, "type", key, sizeof key);
    gguf_meta_set_str(import->plan.meta, key, gguf_str_of(type));
    set_scaling_f32(import, "factor", factor);
}

static gguf_code import_linear(rt_import *import, const json_t *object, gguf_error *err) {
    double factor;
    gguf_code code = rope_number(import, object, "factor", NAN, &factor, err);
    if (!code) set_scaling_type(import, "linear", factor);
    return code;
}

/* A number of the rope object that is kept only if it is there. */
static void copy_scaling(rt_import *import, const json_t *object, const char *from,
                         const char *to) {
    const json_t *value = json_object_get(object, from);
    if (json_is_number(value)) set_scaling_f32(import, to, json_number_value(value));
}

static void set_original_context(rt_import *import, double original) {
    char key[160];
    scaling_key(import, "original_context_length", key, sizeof key);
    gguf_meta_set_u32(import->plan.meta, key, (uint32_t)original);
}

/* Readers round the bounds of the ramp; a config may say not to. */
static void keep_truncation(rt_import *import, const json_t *object) {
    char key[160];
    if (!json_is_false(json_object_get(object, "truncate"))) return;
    snprintf(key, sizeof key, "%s.ggufkit.yarn_truncate", import->architecture);
    gguf_meta_set_bool(import->plan.meta, key, false);
}

/* DeepSeek's variant scales the attention scores instead of cosine and sine. Files of latent models
 * hold a tenth of the multiplier. */
static gguf_code import_mscale(rt_import *import, const json_t *object, bool *found,
                               gguf_error *err) {
    double all, one;
    uint64_t rank;
    *found = false;
    gguf_code code = rope_number(import, object, "mscale_all_dim", 0, &all, err);
    if (!code) code = rope_number(import, object, "mscale", 0, &one, err);
    if (code || all == 0) return code;
    *found = true;
    if (all != one)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                         "YaRN with mscale %g and mscale_all_dim %g is not supported", one, all);
    bool latent = rt_import_key_u64(import, "attention.kv_lora_rank", &rank);
    set_scaling_f32(import, "yarn_log_multiplier", latent ? 0.1 * all : all);
    return GGUF_OK;
}

/* YaRN (arXiv 2309.00071). The file's attn_factor multiplies the 0.1 ln(factor) + 1 that readers
 * apply. */
static gguf_code import_yarn(rt_import *import, const json_t *object, gguf_error *err) {
    double factor, original, attention, context = 0;
    uint64_t n_ctx = 0;
    bool log_multiplier = false;
    if (rt_import_key_u64(import, "context_length", &n_ctx)) context = (double)n_ctx;
    gguf_code code = rope_number(import, object, "factor", NAN, &factor, err);
    if (!code)
        code = rope_number(import, object, "original_max_position_embeddings", context, &original,
                           err);
    if (!code && !(original >= 0 && original <= UINT32_MAX))
        code = gguf_fail(err, GGUF_E_FORMAT, import->config_path, GGUF_NO_OFFSET,
                         "the original context of RoPE scaling is not a 32-bit number");
    if (!code) code = import_mscale(import, object, &log_multiplier, err);
    if (code) return code;
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1;
    code = rope_number(import, object, "attention_factor", usual, &attention, err);
    if (code) return code;
    set_scaling_type(import, "yarn", factor);
    set_original_context(import, original);
    if (attention != usual && !log_multiplier)
        set_scaling_f32(import, "attn_factor", attention / usual);
    copy_scaling(import, object, "beta_fast", "yarn_beta_fast");
    copy_scaling(import, object, "beta_slow", "yarn_beta_slow");
    keep_truncation(import, object);
    return GGUF_OK;
}

/* ---- LongRoPE (arXiv 2402.13753): divisors of the angles for short and for long contexts -------
 */

static gguf_code import_factors(rt_import *import, const json_t *object, const char *from,
                                const char *to, uint64_t n, gguf_error *err) {
    float factors[MAX_ROTARY / 2];
    const json_t *list = json_object_get(object, from);
    if (n > MAX_ROTARY / 2 || json_array_size(list) != n)
        return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                         "'%s' does not have one number per rotated pair", from);
    for (size_t i = 0; i < n; i++) {
        factors[i] = (float)json_number_value(json_array_get(list, i));
        if (!(factors[i] > 0))
            return gguf_fail(err, GGUF_E_FORMAT, import->config_path, GGUF_NO_OFFSET,
                             "'%s' has a number that is not positive", from);
    }
    return rt_import_add_vector(import, to, factors, n, err);
}

static gguf_code import_longrope(rt_import *import, const json_t *object, gguf_error *err) {
    uint64_t n_rot = 0, n_ctx = 0, n_original = 0;
    double original, attention;
    rt_import_key_u64(import, "rope.dimension_count", &n_rot);
    rt_import_key_u64(import, "context_length", &n_ctx);
    gguf_json_u64(rt_config_get(import, "original_max_position_embeddings"), &n_original);
    gguf_code code = rope_number(import, object, "original_max_position_embeddings",
                                 n_original ? (double)n_original : NAN, &original, err);
    if (code) return code;
    double stretch = original > 1 ? (double)n_ctx / original : 1;
    double usual = stretch > 1 ? sqrt(1 + log(stretch) / log(original)) : 1;
    code = rope_number(import, object, "attention_factor", usual, &attention, err);
    if (code) return code;
    set_original_context(import, original);
    set_scaling_f32(import, "attn_factor", attention);
    code =
        import_factors(import, object, "long_factor", "rope_factors_long.weight", n_rot / 2, err);
    if (code) return code;
    return import_factors(import, object, "short_factor", "rope_factors_short.weight", n_rot / 2,
                          err);
}

/* Llama 3.1's rule: long wavelengths are stretched by `factor`, short ones kept, between them a
 * blend. In f32 throughout, as the original implementation computes it. */
float rt_import_llama3_factor(float frequency, float factor, float low, float high,
                              float original) {
    float wavelength = (float)(2 * M_PI) / frequency;
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    float blend = (original / wavelength - low) / (high - low);
    return 1 / ((1 - blend) / factor + blend);
}

static gguf_code import_llama3(rt_import *import, const json_t *object, gguf_error *err) {
    double factor, low, high, original;
    uint64_t n_rot = 0;
    float factors[MAX_ROTARY / 2];
    gguf_code code = rope_number(import, object, "factor", 8, &factor, err);
    if (!code) code = rope_number(import, object, "low_freq_factor", 1, &low, err);
    if (!code) code = rope_number(import, object, "high_freq_factor", 4, &high, err);
    if (!code)
        code =
            rope_number(import, object, "original_max_position_embeddings", 8192, &original, err);
    if (code) return code;
    char key[160];
    double base = 10000;
    snprintf(key, sizeof key, "%s.rope.freq_base", import->architecture);
    gguf_kv_f64(gguf_meta_find(import->plan.meta, key), &base);
    if (!rt_import_key_u64(import, "rope.dimension_count", &n_rot) || n_rot > MAX_ROTARY ||
        factor <= 0 || high <= low)
        return gguf_fail(err, GGUF_E_FORMAT, import->config_path, GGUF_NO_OFFSET,
                         "RoPE scaling 'llama3' has impossible numbers");
    for (uint64_t i = 0; i < n_rot / 2; i++) {
        float exponent = (float)(2 * i) / (float)n_rot;
        factors[i] = rt_import_llama3_factor(1.0f / powf((float)base, exponent), (float)factor,
                                             (float)low, (float)high, (float)original);
    }
    return rt_import_add_vector(import, "rope_freqs.weight", factors, n_rot / 2, err);
}

/* Gemma 4's: the first pairs turn as they do in a head that turns as a whole, the others stand
 * still. */
static gguf_code import_proportional(rt_import *import, const json_t *object, gguf_error *err) {
    const float still = 1e30f;
    double share, factor;
    uint64_t n_rot = 0;
    float factors[MAX_ROTARY / 2];
    gguf_code code = rope_number(import, object, "partial_rotary_factor", 1, &share, err);
    if (!code) code = rope_number(import, object, "factor", 1, &factor, err);
    if (code) return code;
    if (!rt_import_key_u64(import, "rope.dimension_count", &n_rot) || n_rot > MAX_ROTARY ||
        share < 0 || share > 1 || factor <= 0)
        return gguf_fail(err, GGUF_E_FORMAT, import->config_path, GGUF_NO_OFFSET,
                         "RoPE scaling 'proportional' has impossible numbers");
    uint64_t n_turning = (uint64_t)(share * (double)n_rot / 2);
    for (uint64_t i = 0; i < n_rot / 2; i++) factors[i] = i < n_turning ? (float)factor : still;
    return rt_import_add_vector(import, "rope_freqs.weight", factors, n_rot / 2, err);
}

/* Hunyuan's form of dynamic NTK: a fixed alpha, which raises the base once and for all. The keys
 * are what llama.cpp writes. */
static gguf_code import_alpha(rt_import *import, const json_t *object, gguf_error *err) {
    double alpha, base = 10000;
    uint64_t n_rot = 0;
    char key[160];
    gguf_code code = rope_number(import, object, "alpha", NAN, &alpha, err);
    if (code) return code;
    if (!rt_import_key_u64(import, "rope.dimension_count", &n_rot) || n_rot < 4 || alpha <= 0)
        return gguf_fail(err, GGUF_E_FORMAT, import->config_path, GGUF_NO_OFFSET,
                         "RoPE scaling 'dynamic' has impossible numbers");
    snprintf(key, sizeof key, "%s.rope.freq_base", import->architecture);
    gguf_kv_f64(gguf_meta_find(import->plan.meta, key), &base);
    gguf_meta_set_f32(import->plan.meta, key,
                      (float)(base * pow(alpha, (double)n_rot / (double)(n_rot - 2))));
    set_scaling_type(import, "none", 1);
    set_original_context(import, ALPHA_CONTEXT);
    snprintf(key, sizeof key, "%s.context_length", import->architecture);
    gguf_meta_set_u32(import->plan.meta, key, ALPHA_CONTEXT);
    return GGUF_OK;
}

gguf_code rt_import_rope(rt_import *import, gguf_error *err) {
    const json_t *object = rope_object(import);
    if (!object) return GGUF_OK;
    const char *type = rope_type(object);
    if (!rt_texts_have(import->arch->rope_scaling, type))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                         "RoPE scaling '%s' is not supported for this architecture", type);
    if (strcmp(type, "linear") == 0) return import_linear(import, object, err);
    if (strcmp(type, "yarn") == 0) return import_yarn(import, object, err);
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0)
        return import_longrope(import, object, err);
    if (strcmp(type, "dynamic") == 0) return import_alpha(import, object, err);
    if (strcmp(type, "llama3") == 0) return import_llama3(import, object, err);
    if (strcmp(type, "proportional") == 0) return import_proportional(import, object, err);
    return GGUF_OK;
}
