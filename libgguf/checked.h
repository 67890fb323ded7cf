/* Arithmetic on sizes that reports overflow. Each returns false and leaves *out alone on overflow.
 */
#ifndef LIBGGUF_CHECKED_H
#define LIBGGUF_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool gguf_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

static inline bool gguf_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

/* Round up to a multiple of `alignment`, a power of two. */
static inline bool gguf_align_u64(uint64_t value, uint64_t alignment, uint64_t *out) {
    uint64_t sum;
    if (!gguf_add_u64(value, alignment - 1, &sum)) return false;
    *out = sum & ~(alignment - 1);
    return true;
}

static inline bool gguf_is_power_of_two(uint64_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

#endif
