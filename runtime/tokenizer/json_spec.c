/* Reading the small JSON objects that describe normalisers and pre-tokenizers. */
#include "runtime/tokenizer/json_spec.h"

#include <stdlib.h>
#include <string.h>

const char *rt_spec_text(const json_t *spec, const char *key, const char *fallback) {
    const json_t *value = json_object_get(spec, key);
    return json_is_string(value) ? json_string_value(value) : fallback;
}

bool rt_spec_bool(const json_t *spec, const char *key, bool fallback) {
    const json_t *value = json_object_get(spec, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

gguf_code rt_spec_literal(const char *text, size_t len, rt_pattern *out, gguf_error *err) {
    out->len = 0;
    out->text = malloc(2 * len + 1);
    if (!out->text) return gguf_fail_memory(err);
    for (size_t i = 0; i < len; i++) {
        if (text[i] && strchr("\\|*+?^$.[]{}()", text[i])) out->text[out->len++] = '\\';
        out->text[out->len++] = text[i];
    }
    return GGUF_OK;
}

gguf_code rt_spec_pattern(const json_t *spec, rt_pattern *out, gguf_error *err) {
    const json_t *pattern = json_object_get(spec, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    if (json_is_string(regex) == json_is_string(literal))
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "a 'pattern' that is neither a Regex nor a String");
    if (json_is_string(literal))
        return rt_spec_literal(json_string_value(literal), json_string_length(literal), out, err);
    size_t n = json_string_length(regex);
    out->text = malloc(n + 1);
    if (!out->text) return gguf_fail_memory(err);
    memcpy(out->text, json_string_value(regex), n);
    out->len = n;
    return GGUF_OK;
}
