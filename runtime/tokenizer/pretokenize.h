/* Pre-tokenizers of tokenizer.json: cut a text into the pieces that the model sees. */
#ifndef RUNTIME_TOKENIZER_PRETOKENIZE_H
#define RUNTIME_TOKENIZER_PRETOKENIZE_H

#include "libgguf/dynbuf.h"
#include "runtime/tokenizer/regex.h"

#include <jansson.h>

typedef struct rt_pretokenizer rt_pretokenizer;

/* Build from the JSON value of the key "pre_tokenizer"; null gives one piece per text.
 * Errors: GGUF_E_FORMAT, GGUF_E_UNSUPPORTED (a type or expression that is not known),
 * GGUF_E_NOMEM. */
gguf_code rt_pretokenizer_new(const json_t *spec, rt_pretokenizer **out, gguf_error *err);
void rt_pretokenizer_free(rt_pretokenizer *pre); /* accepts NULL */
bool rt_pretokenizer_is_byte_level(const rt_pretokenizer *pre);

/* A text and the pieces that it is cut into; start with the text and one span over it. */
typedef struct rt_pieces {
    gguf_dynbuf text, spare_text;
    rt_text_spans spans, spare_spans;
    rt_regex_scratch scratch;
    bool at_start; /* the text is the beginning of what the user gave */
} rt_pieces;

void rt_pieces_init(rt_pieces *pieces);
void rt_pieces_clear(rt_pieces *pieces);

/* Cut further; steps may change the text. Threads: safe. */
gguf_code rt_pretokenize(const rt_pretokenizer *pre, rt_pieces *pieces, gguf_error *err);

/* Append bytes that are equal for specifications that cut alike, to recognise known ones. */
gguf_code rt_pretokenizer_describe(const json_t *spec, gguf_dynbuf *out, gguf_error *err);

/* ---- known names (known_pre.c) ----------------------------------------------------------------
 */

/* What a value of tokenizer.ggml.pre stands for. */
typedef struct rt_known_pre {
    const char *name;
    const char *const *splits; /* expressions, each isolated, then bytes; ends with NULL */
    bool digits;               /* single digits are cut out first */
    bool gpt2;                 /* then the expression of GPT-2 */
    bool ignore_merges;        /* a piece that is a token is not merged from its parts */
    bool add_bos;
} rt_known_pre;

const rt_known_pre *rt_known_pre_find(const char *name); /* NULL if unknown */
const rt_known_pre *rt_known_pre_at(size_t i);           /* NULL behind the last */
/* As the value of "pre_tokenizer"; NULL when out of memory; json_decref by the caller. */
json_t *rt_known_pre_spec(const rt_known_pre *known);

#endif
