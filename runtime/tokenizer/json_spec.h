/* Reading the small JSON objects that describe normalisers and pre-tokenizers. */
#ifndef RUNTIME_TOKENIZER_JSON_SPEC_H
#define RUNTIME_TOKENIZER_JSON_SPEC_H

#include "libgguf/error.h"

#include <jansson.h>
#include <stdbool.h>

/* A member, or `fallback` if it is absent or of another type. */
const char *rt_spec_text(const json_t *spec, const char *key, const char *fallback);
bool rt_spec_bool(const json_t *spec, const char *key, bool fallback);

typedef struct rt_pattern {
    char *text; /* an expression; malloc'ed, free by the caller */
    size_t len;
} rt_pattern;

/* The member "pattern": {"Regex": ...} or {"String": ...}, the latter with operators escaped. */
gguf_code rt_spec_pattern(const json_t *spec, rt_pattern *out, gguf_error *err);
/* An expression that finds a text as it stands. */
gguf_code rt_spec_literal(const char *text, size_t len, rt_pattern *out, gguf_error *err);

#endif
