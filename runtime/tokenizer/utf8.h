/* UTF-8, one code point at a time. */
#ifndef RUNTIME_TOKENIZER_UTF8_H
#define RUNTIME_TOKENIZER_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_UTF8_INVALID UINT32_MAX

/* Bytes of a character by its first byte; 1 for a byte that cannot start one. */
static inline size_t rt_utf8_len(uint8_t first) {
    return first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF8 ? 4 : 1;
}

static inline bool rt_utf8_is_tail(uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

/* Decode the code point at s, n > 0. RT_UTF8_INVALID if it is malformed, too long, a surrogate or
 * cut off; *len is then the number of bytes that belong together (at least 1). */
static inline uint32_t rt_utf8_decode(const uint8_t *s, size_t n, size_t *len) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    *len = 1;
    if (s[0] < 0x80) return s[0];
    size_t want = rt_utf8_len(s[0]);
    if (want == 1) return RT_UTF8_INVALID;
    uint32_t c = s[0] & (0xFFu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if (i >= n || !rt_utf8_is_tail(s[i])) return RT_UTF8_INVALID;
        c = c << 6 | (s[i] & 0x3F);
        if (i == 1 && want > 2) { /* the second byte tells most malformed ones */
            uint32_t top = c << (6 * (want - 2));
            if (top + (1u << (6 * (want - 2))) <= smallest[want] || top > 0x10FFFF)
                return RT_UTF8_INVALID;
            if (top >= 0xD800 && top <= 0xDFFF && want == 3) return RT_UTF8_INVALID;
        }
        *len = i + 1;
    }
    return c < smallest[want] ? (*len = 1, RT_UTF8_INVALID) : c;
}

/* Encode c at dst (room for 4 bytes); returns the number of bytes. */
static inline size_t rt_utf8_encode(uint32_t c, char *dst) {
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6) dst[i] = (char)(0x80 | (c & 0x3F));
    dst[0] = (char)(mark[n] | c);
    return n;
}

#endif
