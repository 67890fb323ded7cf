/* The growing buffer. */
#include "libgguf/dynbuf.h"

#include <stdlib.h>
#include <string.h>

void gguf_dynbuf_init(gguf_dynbuf *buf, size_t cap) {
    *buf = (gguf_dynbuf){.cap = cap};
}

void gguf_dynbuf_clear(gguf_dynbuf *buf) {
    free(buf->data);
    *buf = (gguf_dynbuf){.cap = buf->cap};
}

static uint8_t *reserve(gguf_dynbuf *buf, size_t n) {
    if (buf->code) return NULL;
    if (n > buf->cap - buf->len) {
        buf->code = GGUF_E_LIMIT;
        return NULL;
    }
    if (n > buf->room - buf->len) {
        size_t room = buf->room ? buf->room : 256;
        while (room - buf->len < n) room = room > buf->cap / 2 ? buf->cap : room * 2;
        uint8_t *data = realloc(buf->data, room);
        if (!data) {
            buf->code = GGUF_E_NOMEM;
            return NULL;
        }
        buf->data = data;
        buf->room = room;
    }
    uint8_t *p = buf->data + buf->len;
    buf->len += n;
    return p;
}

void gguf_dynbuf_put(gguf_dynbuf *buf, const void *bytes, size_t n) {
    uint8_t *p = n ? reserve(buf, n) : NULL; /* no arithmetic on a buffer without memory */
    if (p) memcpy(p, bytes, n);
}

void gguf_dynbuf_put_u32(gguf_dynbuf *buf, uint32_t value) {
    gguf_dynbuf_put(buf, &value, sizeof value);
}

void gguf_dynbuf_put_u64(gguf_dynbuf *buf, uint64_t value) {
    gguf_dynbuf_put(buf, &value, sizeof value);
}

void gguf_dynbuf_put_zeros(gguf_dynbuf *buf, size_t n) {
    uint8_t *p = reserve(buf, n);
    if (p && n) memset(p, 0, n);
}

void gguf_dynbuf_put_text(gguf_dynbuf *buf, const char *text) {
    gguf_dynbuf_put(buf, text, strlen(text));
}
