/* Facts of config.json: where a value is looked for, and a word where two places disagree. */
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUE 64

/* `{KIND}` in a path stands for the number of the first layer of that kind. */
static const json_t *step(const rt_import *import, const json_t *value, const char *name,
                          size_t len) {
    char number[24];
    if (*name != '{' && json_is_array(value)) return json_array_get(value, strtoul(name, NULL, 10));
    if (*name != '{') return json_object_getn(value, name, len);
    for (uint64_t i = 0; i < import->n_layer_kinds; i++) {
        const char *kind = import->arch->kinds.names[import->layer_kinds[i]];
        if (strlen(kind) + 2 != len || strncmp(kind, name + 1, len - 2) != 0) continue;
        snprintf(number, sizeof number, "%" PRIu64, i);
        return json_is_array(value) ? json_array_get(value, i) : json_object_get(value, number);
    }
    return NULL;
}

static const json_t *walk(const rt_import *import, const json_t *value, const char *path) {
    while (*path && value) {
        size_t len = strcspn(path, ".");
        value = step(import, value, path, len);
        path += len + (path[len] == '.');
    }
    return value && !json_is_null(value) ? value : NULL;
}

const json_t *rt_config_get(const rt_import *import, const char *path) {
    const json_t *value = import->inner_config ? walk(import, import->inner_config, path) : NULL;
    if (!value) value = walk(import, import->config, path);
    return value ? value : walk(import, import->class_defaults, path);
}

static bool comparable(const json_t *a, const json_t *b) {
    return (json_is_number(a) && json_is_number(b)) || (json_is_boolean(a) && json_is_boolean(b)) ||
           (json_is_string(a) && json_is_string(b));
}

static bool same(const json_t *a, const json_t *b) {
    if (json_is_number(a)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static void value_text(const json_t *value, char *out) {
    const char *text = gguf_json_nonfinite(value);
    if (!text && json_is_boolean(value)) text = json_is_true(value) ? "true" : "false";
    if (!text) text = json_string_value(value);
    if (text)
        snprintf(out, MAX_VALUE, "%s", text);
    else
        snprintf(out, MAX_VALUE, "%.10g", json_number_value(value));
}

void rt_import_compare(rt_import *import, const char *name, const json_t *value,
                       const char *other_name, const json_t *other) {
    char used[MAX_VALUE], unused[MAX_VALUE];
    if (!comparable(value, other) || same(value, other)) return;
    value_text(value, used);
    value_text(other, unused);
    rt_import_add_warning_once(import,
                               "config.json: '%s' is %s, which counts; '%s' is %s, which "
                               "does not",
                               name, used, other_name, unused);
}

void rt_import_compare_inner(rt_import *import, const char *path) {
    char name[200];
    const json_t *outer = import->inner_config ? walk(import, import->config, path) : NULL;
    if (!outer) return;
    snprintf(name, sizeof name, "%s.%s", import->inner_name, path);
    rt_import_compare(import, name, walk(import, import->inner_config, path), path, outer);
}
