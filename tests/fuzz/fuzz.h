/* What the fuzz targets share: an input that is split into files, and reads that may not be
 * optimised away. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "libgguf/gguf.h"
#include "libgguf/map.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The entry that libFuzzer, AFL++ and tests/fuzz/replay.c call. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process loudly: a property of ours does not hold. */
#define fuzz_check(condition)      \
    do {                           \
        if (!(condition)) abort(); \
    } while (0)

static inline void fuzz_read(const void *bytes, size_t n) {
    static volatile uint8_t sink;
    uint8_t sum = 0;
    for (size_t i = 0; i < n; i++) sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
    sink = (uint8_t)(sink ^ sum);
}

/* An error must carry a known code and a message; success none. */
static inline void fuzz_check_error(gguf_code code, const gguf_error *err) {
    fuzz_check(code == err->code && gguf_code_name(code));
    fuzz_check(!code || err->message[0]);
}

/* Parts of an input, divided by FF FE FF FE; at most `room`. */
static inline size_t fuzz_split(const uint8_t *data, size_t size, const uint8_t **parts,
                                size_t *sizes, size_t room) {
    static const uint8_t mark[4] = {0xFF, 0xFE, 0xFF, 0xFE};
    size_t n = 0;
    while (n + 1 < room) {
        const uint8_t *end = size ? memmem(data, size, mark, sizeof mark) : NULL;
        if (!end) break;
        parts[n] = data;
        sizes[n++] = (size_t)(end - data);
        size -= sizes[n - 1] + sizeof mark;
        data = end + sizeof mark;
    }
    parts[n] = data;
    sizes[n++] = size;
    return n;
}

/* The metadata of a file or an import: every value in every way that it can be read. */
static inline void fuzz_walk_kv(const gguf_kv *kv) {
    gguf_str text;
    int64_t i;
    uint64_t u;
    double f;
    bool b;
    fuzz_read(kv->key.ptr, kv->key.len);
    fuzz_read(kv->data, kv->n_bytes);
    for (gguf_kv_iter it = {.kv = kv}; gguf_kv_next_str(&it, &text);) fuzz_read(text.ptr, text.len);
    for (gguf_kv_iter it = {.kv = kv}; gguf_kv_next_i64(&it, &i);) fuzz_read(&i, 1);
    for (gguf_kv_iter it = {.kv = kv}; gguf_kv_next_f64(&it, &f);) fuzz_read(&f, 1);
    if (gguf_kv_u64(kv, &u)) fuzz_read(&u, 1);
    if (gguf_kv_f64(kv, &f)) fuzz_read(&f, 1);
    if (gguf_kv_bool(kv, &b)) fuzz_read(&b, 1);
    if (gguf_kv_str(kv, &text)) fuzz_read(text.ptr, text.len);
}

static inline void fuzz_walk_meta(const gguf_meta *meta) {
    for (size_t i = 0; i < gguf_meta_count(meta); i++) fuzz_walk_kv(gguf_meta_at(meta, i));
}

#endif
