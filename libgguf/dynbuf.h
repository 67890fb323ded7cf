/* A growing byte buffer with a cap given at birth; failures stick. */
#ifndef LIBGGUF_DYNBUF_H
#define LIBGGUF_DYNBUF_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct gguf_dynbuf {
    uint8_t *data;
    size_t len;
    size_t room;
    size_t cap;     /* largest length allowed */
    gguf_code code; /* GGUF_E_NOMEM or GGUF_E_LIMIT once a write failed */
} gguf_dynbuf;

void gguf_dynbuf_init(gguf_dynbuf *buf, size_t cap);
void gguf_dynbuf_clear(gguf_dynbuf *buf);
void gguf_dynbuf_put(gguf_dynbuf *buf, const void *bytes, size_t n);
void gguf_dynbuf_put_u32(gguf_dynbuf *buf, uint32_t value);
void gguf_dynbuf_put_u64(gguf_dynbuf *buf, uint64_t value);
void gguf_dynbuf_put_zeros(gguf_dynbuf *buf, size_t n);
void gguf_dynbuf_put_text(gguf_dynbuf *buf, const char *text); /* without its NUL */

#endif
