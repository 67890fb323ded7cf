/* How a text ends. */
#ifndef LIBGGUF_ENDS_H
#define LIBGGUF_ENDS_H

#include "libgguf/gguf.h"

#include <stdbool.h>
#include <string.h>

/* A text ends with itself too. */
static inline bool gguf_str_ends(gguf_str text, const char *end) {
    size_t n = strlen(end);
    return text.len >= n && memcmp(text.ptr + text.len - n, end, n) == 0;
}

static inline bool gguf_text_ends(const char *text, const char *end) {
    return gguf_str_ends((gguf_str){text, strlen(text)}, end);
}

#endif
