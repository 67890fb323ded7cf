/* Metadata keys from config.json, as the description lists them. */
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY 160

const json_t *rt_config_get(const rt_import *import, const char *path) {
    const json_t *value = import->config;
    while (*path && value) {
        size_t len = strcspn(path, ".");
        value = json_object_getn(value, path, len);
        path += len + (path[len] == '.');
    }
    return value && !json_is_null(value) ? value : NULL;
}

static void full_key(const rt_import *import, const char *key, char *out) {
    snprintf(out, MAX_KEY, "%s.%s", import->architecture, key);
}

bool rt_import_key_u64(const rt_import *import, const char *key, uint64_t *out) {
    char full[MAX_KEY];
    full_key(import, key, full);
    return gguf_kv_u64(gguf_meta_find(import->plan.meta, full), out);
}

/* ---- expressions
 * ------------------------------------------------------------------------------------ */

static gguf_code eval_operand(const rt_import *import, const gguf_yaml *node, const char *text,
                              uint64_t *out, gguf_error *err) {
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (end != text && !*end) {
        *out = number;
        return GGUF_OK;
    }
    if (rt_import_key_u64(import, text, out)) return GGUF_OK;
    return gguf_yaml_fail(rt_arch_doc(import->arch), node, err,
                          "'%s' is no number and no key above", text);
}

static gguf_code apply_operator(const rt_import *import, const gguf_yaml *node, char op,
                                uint64_t right, uint64_t *value, gguf_error *err) {
    uint64_t left = *value;
    if (op == '*' && !__builtin_mul_overflow(left, right, value)) return GGUF_OK;
    if (op == '/' && right && left % right == 0) {
        *value = left / right;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is not a whole number: %" PRIu64 " %c %" PRIu64, node->text, left, op,
                     right);
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

/* ---- one key
 * ---------------------------------------------------------------------------------------- */

/* The first config key of `from` that is present. */
static const json_t *find_source(const rt_import *import, const gguf_yaml *from,
                                 const char **name) {
    const json_t *value = NULL;
    if (!from) return NULL;
    if (from->kind == GGUF_YAML_SCALAR) {
        *name = from->text;
        return rt_config_get(import, from->text);
    }
    for (const gguf_yaml *child = from->first; child && !value; child = child->next) {
        *name = child->text;
        value = rt_config_get(import, child->text);
    }
    return value;
}

static gguf_code fail_config(const rt_import *import, const char *name, const char *what,
                             gguf_error *err) {
    return gguf_fail(err, GGUF_E_TYPE, import->config_path, GGUF_NO_OFFSET, "'%s' %s", name, what);
}

static gguf_code set_value(rt_import *import, const char *key, const char *type,
                           const json_t *value, const char *name, gguf_error *err) {
    gguf_meta *meta = import->plan.meta;
    uint64_t number = 0;
    if (strcmp(type, "u32") == 0) {
        if (!gguf_json_u64(value, &number) || number > UINT32_MAX)
            return fail_config(import, name, "is no 32-bit number", err);
        gguf_meta_set_u32(meta, key, (uint32_t)number);
    } else if (strcmp(type, "f32") == 0) {
        if (!json_is_number(value)) return fail_config(import, name, "is no number", err);
        gguf_meta_set_f32(meta, key, (float)json_number_value(value));
    } else if (strcmp(type, "bool") == 0) {
        if (!json_is_boolean(value)) return fail_config(import, name, "is not true or false", err);
        gguf_meta_set_bool(meta, key, json_is_true(value));
    } else {
        return fail_config(import, key, "has a type that the description may not use", err);
    }
    return GGUF_OK;
}

static gguf_code set_default(rt_import *import, const char *key, const char *type,
                             const gguf_yaml *node, gguf_error *err) {
    gguf_meta *meta = import->plan.meta;
    if (strcmp(type, "f32") == 0) {
        double number;
        if (!gguf_yaml_f64(node, &number))
            return gguf_yaml_fail(rt_arch_doc(import->arch), node, err, "the default is no number");
        gguf_meta_set_f32(meta, key, (float)number);
        return GGUF_OK;
    }
    uint64_t number = 0;
    gguf_code code = rt_import_eval(import, node, &number, err);
    if (!code && number > UINT32_MAX) code = fail_config(import, key, "is over 32 bits", err);
    if (!code) gguf_meta_set_u32(meta, key, (uint32_t)number);
    return code;
}

static gguf_code import_key(rt_import *import, const gguf_yaml *node, gguf_error *err) {
    const char *key = gguf_yaml_text(node, "key", ""), *type = gguf_yaml_text(node, "type", "");
    const char *name = key;
    char full[MAX_KEY];
    bool optional = false;
    full_key(import, key, full);
    const json_t *value = find_source(import, gguf_yaml_get(node, "from"), &name);
    if (value) return set_value(import, full, type, value, name, err);
    const gguf_yaml *fallback = gguf_yaml_get(node, "default");
    if (fallback) return set_default(import, full, type, fallback, err);
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
