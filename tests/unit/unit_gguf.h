/* GGUF files built by hand, so that readers are checked apart from our writer. */
#ifndef TESTS_UNIT_UNIT_GGUF_H
#define TESTS_UNIT_UNIT_GGUF_H

#include "libgguf/gguf.h"
#include "tests/unit/unit.h"

#include <stdint.h>

typedef struct unit_bytes {
    uint8_t data[4096];
    size_t n;
    int64_t mark; /* for tests: where an error is expected */
} unit_bytes;

static inline void unit_put(unit_bytes *b, const void *p, size_t n) {
    ck_assert_uint_le(b->n + n, sizeof b->data);
    memcpy(b->data + b->n, p, n);
    b->n += n;
}

static inline void unit_put_u32(unit_bytes *b, uint32_t v) {
    unit_put(b, &v, 4);
}

static inline void unit_put_u64(unit_bytes *b, uint64_t v) {
    unit_put(b, &v, 8);
}

static inline void unit_put_text(unit_bytes *b, const char *text) {
    unit_put_u64(b, strlen(text));
    unit_put(b, text, strlen(text));
}

static inline void unit_put_head(unit_bytes *b, uint32_t version, uint64_t n_tensors,
                                 uint64_t n_kv) {
    unit_put(b, "GGUF", 4);
    unit_put_u32(b, version);
    unit_put_u64(b, n_tensors);
    unit_put_u64(b, n_kv);
}

/* A key and its type; the value follows. */
static inline void unit_put_key(unit_bytes *b, const char *key, uint32_t type) {
    unit_put_text(b, key);
    unit_put_u32(b, type);
}

static inline void unit_put_u32_key(unit_bytes *b, const char *key, uint32_t value) {
    unit_put_key(b, key, GGUF_VALUE_U32);
    unit_put_u32(b, value);
}

static inline void unit_put_text_key(unit_bytes *b, const char *key, const char *value) {
    unit_put_key(b, key, GGUF_VALUE_STRING);
    unit_put_text(b, value);
}

/* The head of an array; its elements follow. */
static inline void unit_put_array_key(unit_bytes *b, const char *key, uint32_t type,
                                      uint64_t count) {
    unit_put_key(b, key, GGUF_VALUE_ARRAY);
    unit_put_u32(b, type);
    unit_put_u64(b, count);
}

static inline void unit_put_info(unit_bytes *b, const char *name, uint32_t n_dims,
                                 const uint64_t *dims, uint32_t type, uint64_t off) {
    unit_put_text(b, name);
    unit_put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) unit_put_u64(b, dims[i]);
    unit_put_u32(b, type);
    unit_put_u64(b, off);
}

/* Padding up to 32 bytes, then n bytes that count up from 0. */
static inline void unit_put_data(unit_bytes *b, size_t n) {
    static const uint8_t zeros[32];
    unit_put(b, zeros, -b->n & 31);
    for (size_t i = 0; i < n; i++) unit_put(b, &(uint8_t){(uint8_t)i}, 1);
}

#endif
