/* Shared by the parser and the runner of expressions. */
#ifndef RUNTIME_TOKENIZER_REGEX_INTERNAL_H
#define RUNTIME_TOKENIZER_REGEX_INTERNAL_H

#include "libgguf/dynbuf.h"
#include "runtime/tokenizer/uniset.h"

#define RT_REGEX_MAX_ATOMS   256
#define RT_REGEX_MAX_PATTERN 65536
#define RT_REGEX_ATOM        0xFF /* in `skeleton`: the next byte is the number of a set */

typedef struct rt_regex_parsed {
    gguf_dynbuf skeleton; /* operators in ASCII, sets as RT_REGEX_ATOM and a number */
    rt_uniset atoms[RT_REGEX_MAX_ATOMS]; /* tidy, all different; the first is the line feed */
    size_t n_atoms;
} rt_regex_parsed;

/* Errors: as rt_regex_new. `parsed` is cleared by the caller also after an error. */
gguf_code rt_regex_parse(const char *pattern, size_t len, rt_regex_parsed *parsed, gguf_error *err);
void rt_regex_parsed_clear(rt_regex_parsed *parsed);

#endif
