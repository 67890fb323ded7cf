/* Normalisers of tokenizer.json: text in, text out. */
#ifndef RUNTIME_TOKENIZER_NORMALIZE_H
#define RUNTIME_TOKENIZER_NORMALIZE_H

#include "libgguf/dynbuf.h"
#include "runtime/tokenizer/regex.h"

#include <jansson.h>

typedef struct rt_normalizer rt_normalizer;

/* Build from the JSON value of the key "normalizer"; null gives a normaliser that changes nothing.
 * Errors: GGUF_E_FORMAT, GGUF_E_UNSUPPORTED (a type that is not known), GGUF_E_NOMEM. */
gguf_code rt_normalizer_new(const json_t *spec, rt_normalizer **out, gguf_error *err);
void rt_normalizer_free(rt_normalizer *normalizer);           /* accepts NULL */
bool rt_normalizer_is_empty(const rt_normalizer *normalizer); /* changes nothing */

/* Normalise valid UTF-8 `text` in place; `spare` is working memory. Threads: safe. */
gguf_code rt_normalize(const rt_normalizer *normalizer, gguf_dynbuf *text, gguf_dynbuf *spare,
                       rt_regex_scratch *scratch, gguf_error *err);

#endif
