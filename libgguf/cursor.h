/* Bounded little-endian reads from memory with a sticky error: after the first failure every read
 * returns zero and the error keeps the byte where it happened. */
#ifndef LIBGGUF_CURSOR_H
#define LIBGGUF_CURSOR_H

#include "libgguf/gguf.h"

typedef struct gguf_cursor {
    const uint8_t *base;
    uint64_t len;
    uint64_t pos;
    const char *file;
    gguf_error *err;
    gguf_code code; /* of the first failure */
} gguf_cursor;

static inline uint64_t gguf_cursor_left(const gguf_cursor *c) {
    return c->code ? 0 : c->len - c->pos;
}

/* The next n bytes, or NULL. `what` names them in the error. */
const uint8_t *gguf_cursor_take(gguf_cursor *c, uint64_t n, const char *what);
uint32_t gguf_cursor_u32(gguf_cursor *c, const char *what);
uint64_t gguf_cursor_u64(gguf_cursor *c, const char *what);
/* u64 length, then bytes; at most max_len. */
gguf_str gguf_cursor_str(gguf_cursor *c, uint64_t max_len, const char *what);
/* Record a failure at byte `pos`. */
gguf_code gguf_cursor_fail(gguf_cursor *c, gguf_code code, uint64_t pos, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
