/* The expressions of pre-tokenizers, as Oniguruma and Unicode 16 understand them, run by PCRE2.
 *
 * An expression only ever asks whether a character belongs to one of its few classes. So the
 * classes are worked out here as sets of code points, characters that no class tells apart share
 * one byte, and PCRE2 runs a byte expression over a text that was translated to those bytes. That
 * makes the result independent of PCRE2's Unicode version, and fast in every script. */
#ifndef RUNTIME_TOKENIZER_REGEX_H
#define RUNTIME_TOKENIZER_REGEX_H

#include "libgguf/dynbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_text_span {
    size_t start, end; /* bytes of the text */
    bool is_match;
} rt_text_span;

/* Start as {0}; clear frees; out of memory sticks. */
typedef struct rt_spans {
    rt_text_span *items;
    size_t n, room;
    bool failed;
} rt_spans;

void rt_spans_clear(rt_spans *spans);
void rt_spans_add(rt_spans *spans, size_t start, size_t end, bool is_match);

typedef struct rt_regex rt_regex;

/* Compile. Besides what Oniguruma knows, \p{...} takes every name of rt_unicode_set.
 * Errors: GGUF_E_UNSUPPORTED (syntax, class, more than 255 kinds of characters), GGUF_E_NOMEM. */
gguf_code rt_regex_new(const char *pattern, size_t len, rt_regex **out, gguf_error *err);
void rt_regex_free(rt_regex *regex); /* accepts NULL */

/* Append bytes that are equal for expressions that differ only in how they spell their characters
 * and classes. Errors: as rt_regex_new. */
gguf_code rt_regex_describe(const char *pattern, size_t len, gguf_dynbuf *out, gguf_error *err);

/* Working memory of one call; start as {0}. */
typedef struct rt_regex_scratch {
    uint8_t *classes;
    size_t room;
    void *match; /* pcre2_match_data */
} rt_regex_scratch;

void rt_regex_scratch_clear(rt_regex_scratch *scratch);

/* Append matches and the gaps between them, in order, `base` added to the positions in `text`.
 *   text  valid UTF-8
 * Errors: GGUF_E_LIMIT (the expression backtracks too much), GGUF_E_NOMEM. Threads: safe. */
gguf_code rt_regex_find(const rt_regex *regex, rt_regex_scratch *scratch, const char *text,
                        size_t len, size_t base, rt_spans *out, gguf_error *err);

#endif
