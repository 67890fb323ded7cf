/* Metadata keys from config.json, as the description lists them. */
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY    160
#define MAX_LAYERS 1024

/* Present and neither false, nor zero, nor empty. */
static bool config_says(const rt_import *import, const char *path) {
    const json_t *value = rt_config_get(import, path);
    if (json_is_number(value)) return json_number_value(value) != 0;
    if (json_is_array(value)) return json_array_size(value) != 0;
    return value && !json_is_false(value);
}

bool rt_import_applies(const rt_import *import, const gguf_yaml *node) {
    const char *when = gguf_yaml_text(node, "when", NULL);
    const char *unless = gguf_yaml_text(node, "unless", NULL);
    return (!when || config_says(import, when)) && (!unless || !config_says(import, unless));
}

static void full_key(const rt_import *import, const char *key, char *out) {
    snprintf(out, MAX_KEY, "%s.%s", import->architecture, key);
}

bool rt_import_key_u64(const rt_import *import, const char *key, uint64_t *out) {
    char full[MAX_KEY];
    full_key(import, key, full);
    return gguf_kv_u64(gguf_meta_find(import->plan.meta, full), out);
}

/* ---- expressions ------------------------------------------------------------------------- */

static gguf_code eval_operand(const rt_import *import, const gguf_yaml *node, const char *text,
                              uint64_t *out, gguf_error *err) {
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (end != text && !*end) {
        *out = number;
        return GGUF_OK;
    }
    if (rt_import_key_u64(import, text, out)) return GGUF_OK;
    const json_t *value = rt_config_get(import, text);
    if (gguf_json_u64(value, out)) return GGUF_OK;
    return gguf_yaml_fail(rt_arch_doc(import->arch), node, err,
                          "'%s' is not a number, a key above or a number of the config", text);
}

static gguf_code apply_operator(const rt_import *import, const gguf_yaml *node, char op,
                                uint64_t right, uint64_t *value, gguf_error *err) {
    uint64_t left = *value;
    if (op == '*' && !__builtin_mul_overflow(left, right, value)) return GGUF_OK;
    if (op == '+' && !__builtin_add_overflow(left, right, value)) return GGUF_OK;
    if (op == '-' && !__builtin_sub_overflow(left, right, value)) return GGUF_OK;
    if (op == '/' && right && left % right == 0) {
        *value = left / right;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is not a count: %" PRIu64 " %c %" PRIu64, node->text, left, op, right);
}

gguf_code rt_import_eval(const rt_import *import, const gguf_yaml *node, uint64_t *out,
                         gguf_error *err) {
    char text[256], *save = NULL;
    snprintf(text, sizeof text, "%s", node->text);
    char *word = strtok_r(text, " ", &save);
    gguf_code code = eval_operand(import, node, word ? word : "", out, err);
    while (!code && (word = strtok_r(NULL, " ", &save))) {
        uint64_t right = 0;
        const char *operand = strtok_r(NULL, " ", &save);
        code = eval_operand(import, node, operand ? operand : "", &right, err);
        if (!code) code = apply_operator(import, node, *word, right, out, err);
    }
    return code;
}

/* ---- one key ----------------------------------------------------------------------------- */

/* The first config key of `from` that is present; others that say something else are named. */
static const json_t *find_source(rt_import *import, const gguf_yaml *from, const char **name) {
    const json_t *value = NULL;
    if (!from) return NULL;
    const gguf_yaml *child = from->kind == GGUF_YAML_SCALAR ? from : from->first;
    for (; child && !value; child = from->first ? child->next : NULL) {
        *name = child->text;
        value = rt_config_get(import, child->text);
        if (value) rt_import_compare_inner(import, child->text);
    }
    for (; value && child; child = child->next)
        rt_import_compare(import, *name, value, child->text, rt_config_get(import, child->text));
    return value;
}

/* `what` says what a value has to be and is not. */
static gguf_code fail_config(const rt_import *import, const char *name, const char *what,
                             gguf_error *err) {
    return gguf_fail(err, GGUF_E_TYPE, import->config_path, GGUF_NO_OFFSET, "'%s' %s", name, what);
}

static gguf_code fail_number(const rt_import *import, const char *name, const json_t *value,
                             const char *what, gguf_error *err) {
    const char *word = gguf_json_nonfinite(value);
    if (!word) return fail_config(import, name, what, err);
    return gguf_fail(err, GGUF_E_TYPE, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is %s, which is no finite number", name, word);
}

static gguf_code set_u32(rt_import *import, const char *key, uint64_t number, const char *name,
                         gguf_error *err) {
    if (number > UINT32_MAX) return fail_config(import, name, "is over 32 bits", err);
    gguf_meta_set_u32(import->plan.meta, key, (uint32_t)number);
    return GGUF_OK;
}

/* `map` gives a number for each text that the config may hold. */
static gguf_code set_mapped(rt_import *import, const char *key, const gguf_yaml *map,
                            const json_t *value, const char *name, gguf_error *err) {
    const char *text = json_string_value(value);
    int64_t number;
    if (!text || !gguf_yaml_i64(gguf_yaml_get(map, text), &number) || number < 0)
        return fail_config(import, name, "has a value that is not known", err);
    return set_u32(import, key, (uint64_t)number, name, err);
}

static bool layer_flag(const json_t *element, const char *is) {
    if (json_is_string(element)) return strcmp(json_string_value(element), is) == 0;
    return json_is_true(element) || json_number_value(element) != 0;
}

/* One flag per layer: an element that is true, not zero, or the text of `is`. A single number is
 * kept as it is: a period. */
static gguf_code set_layers(rt_import *import, const char *key, const gguf_yaml *node,
                            const json_t *value, const char *name, gguf_error *err) {
    bool flags[MAX_LAYERS];
    uint64_t n_layers = 0, period;
    if (gguf_json_u64(value, &period)) return set_u32(import, key, period, name, err);
    rt_import_key_u64(import, "block_count", &n_layers);
    size_t n = json_array_size(value);
    if (n == 0 || n != n_layers || n > MAX_LAYERS)
        return fail_config(import, name, "is not an array with one element per layer", err);
    for (size_t i = 0; i < n; i++)
        flags[i] = layer_flag(json_array_get(value, i), gguf_yaml_text(node, "is", ""));
    gguf_meta_set_array(import->plan.meta, key, GGUF_VALUE_BOOL, n, flags);
    return GGUF_OK;
}

static gguf_code set_f32(rt_import *import, const char *key, const gguf_yaml *node,
                         const json_t *value, const char *name, gguf_error *err) {
    double power = 1;
    if (!json_is_number(value)) return fail_number(import, name, value, "is not a number", err);
    gguf_yaml_f64(gguf_yaml_get(node, "power"), &power);
    gguf_meta_set_f32(import->plan.meta, key, (float)pow(json_number_value(value), power));
    return GGUF_OK;
}

static gguf_code set_value(rt_import *import, const char *key, const gguf_yaml *node,
                           const json_t *value, const char *name, gguf_error *err) {
    const char *type = gguf_yaml_text(node, "type", "");
    const gguf_yaml *map = gguf_yaml_get(node, "map");
    uint64_t number = 0;
    if (map) return set_mapped(import, key, map, value, name, err);
    if (strcmp(type, "str") == 0 && json_is_string(value)) {
        gguf_meta_set_str(import->plan.meta, key, gguf_str_of(json_string_value(value)));
        return GGUF_OK;
    }
    if (strcmp(type, "f32") == 0) return set_f32(import, key, node, value, name, err);
    if (strcmp(type, "layers") == 0) return set_layers(import, key, node, value, name, err);
    if (strcmp(type, "u32") == 0) {
        if (gguf_json_u64(value, &number)) return set_u32(import, key, number, name, err);
        return fail_number(import, name, value, "is not a 32-bit number", err);
    }
    if (strcmp(type, "bool") != 0)
        return fail_config(import, key, "has a type that the description may not use", err);
    if (!json_is_boolean(value)) return fail_config(import, name, "is not true or false", err);
    gguf_meta_set_bool(import->plan.meta, key, json_is_true(value));
    return GGUF_OK;
}

/* `default`, which the config may scale by a fraction (`scale_by`). */
static gguf_code set_default(rt_import *import, const char *key, const char *type,
                             const gguf_yaml *node, const gguf_yaml *scale_by, gguf_error *err) {
    gguf_meta *meta = import->plan.meta;
    const char *key_name = key;
    double real;
    bool flag;
    uint64_t number = 0;
    if (strcmp(type, "f32") == 0 && gguf_yaml_f64(node, &real)) {
        gguf_meta_set_f32(meta, key, (float)real);
        return GGUF_OK;
    }
    if (strcmp(type, "bool") == 0 && gguf_yaml_bool(node, &flag)) {
        gguf_meta_set_bool(meta, key, flag);
        return GGUF_OK;
    }
    if (strcmp(type, "str") == 0) {
        gguf_meta_set_str(meta, key, gguf_str_of(node->text));
        return GGUF_OK;
    }
    if (strcmp(type, "u32") != 0)
        return gguf_yaml_fail(rt_arch_doc(import->arch), node, err, "the default is no %s", type);
    gguf_code code = rt_import_eval(import, node, &number, err);
    const json_t *factor = find_source(import, scale_by, &key_name);
    if (json_is_number(factor)) number = (uint64_t)((double)number * json_number_value(factor));
    return code ? code : set_u32(import, key, number, key_name, err);
}

static gguf_code import_key(rt_import *import, const gguf_yaml *node, gguf_error *err) {
    const char *key = gguf_yaml_text(node, "key", ""), *type = gguf_yaml_text(node, "type", "");
    const char *name = key;
    char full[MAX_KEY];
    bool optional = false;
    if (!rt_import_applies(import, node)) return GGUF_OK;
    full_key(import, key, full);
    const json_t *value = find_source(import, gguf_yaml_get(node, "from"), &name);
    if (value) return set_value(import, full, node, value, name, err);
    const gguf_yaml *fallback = gguf_yaml_get(node, "default");
    if (fallback)
        return set_default(import, full, type, fallback, gguf_yaml_get(node, "scale_by"), err);
    gguf_yaml_bool(gguf_yaml_get(node, "optional"), &optional);
    if (optional) return GGUF_OK;
    return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET, "'%s' is missing",
                     name);
}

gguf_code rt_import_keys(rt_import *import, gguf_error *err) {
    const gguf_yaml *keys = gguf_yaml_get(gguf_yaml_root(rt_arch_doc(import->arch)), "keys");
    gguf_code code = GGUF_OK;
    for (const gguf_yaml *node = keys ? keys->first : NULL; node && !code; node = node->next) {
        code = import_key(import, node, err);
        if (!code) code = gguf_meta_status(import->plan.meta, err);
    }
    return code;
}
