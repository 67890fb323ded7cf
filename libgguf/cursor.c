/* Bounded reads with a sticky error. */
#include "libgguf/cursor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

gguf_code gguf_cursor_fail(gguf_cursor *c, gguf_code code, uint64_t pos, const char *format, ...) {
    if (c->code) return c->code;
    c->code = code;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gguf_fail(c->err, code, c->file, (int64_t)pos, "%s", text);
}

const uint8_t *gguf_cursor_take(gguf_cursor *c, uint64_t n, const char *what) {
    if (c->code) return NULL;
    if (n > c->len - c->pos) {
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, c->pos,
                         "%s needs %" PRIu64 " bytes, but the file ends after %" PRIu64, what, n,
                         c->len - c->pos);
        return NULL;
    }
    const uint8_t *p = c->base + c->pos;
    c->pos += n;
    return p;
}

uint32_t gguf_cursor_u32(gguf_cursor *c, const char *what) {
    uint32_t value = 0;
    const uint8_t *p = gguf_cursor_take(c, sizeof value, what);
    if (p) memcpy(&value, p, sizeof value);
    return value;
}

uint64_t gguf_cursor_u64(gguf_cursor *c, const char *what) {
    uint64_t value = 0;
    const uint8_t *p = gguf_cursor_take(c, sizeof value, what);
    if (p) memcpy(&value, p, sizeof value);
    return value;
}

gguf_str gguf_cursor_str(gguf_cursor *c, uint64_t max_len, const char *what) {
    uint64_t start = c->pos;
    uint64_t len = gguf_cursor_u64(c, what);
    if (c->code) return (gguf_str){"", 0};
    if (len > c->len - c->pos) {
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, start,
                         "%s claims %" PRIu64 " bytes, but only %" PRIu64 " are left", what, len,
                         c->len - c->pos);
        return (gguf_str){"", 0};
    }
    if (len > max_len) {
        gguf_cursor_fail(c, GGUF_E_LIMIT, start,
                         "%s of %" PRIu64 " bytes is over the limit of %" PRIu64, what, len,
                         max_len);
        return (gguf_str){"", 0};
    }
    return (gguf_str){(const char *)gguf_cursor_take(c, len, what), (size_t)len};
}
