/* Small pieces shared by the x86 product kernels. */
#ifndef QUANT_KERNELS_X86_VEC_AVX2_H
#define QUANT_KERNELS_X86_VEC_AVX2_H

#include "quant/kernels/dot_args.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* Call multiply(part, ..., n_rows, n_acts), n_rows being QUANT_FLOAT_ROWS or 1 and n_acts `most` or
 * 1, as constants, until all is done. */
#define FLOATS_BY_SHAPE(m, multiply, most, ...)                      \
    for (size_t t_ = 0, n_; t_ < (m)->n_acts; t_ += n_) {            \
        quant_floats part_ = *(m);                                   \
        n_ = (m)->n_acts - t_ >= (most) ? (most) : 1;                \
        part_.acts += t_ * part_.act_bytes;                          \
        part_.out += t_ * part_.out_stride;                          \
        if (part_.n_rows == QUANT_FLOAT_ROWS && n_ == (most))        \
            multiply(&part_, __VA_ARGS__, QUANT_FLOAT_ROWS, (most)); \
        else if (part_.n_rows == QUANT_FLOAT_ROWS)                   \
            multiply(&part_, __VA_ARGS__, QUANT_FLOAT_ROWS, 1);      \
        else                                                         \
            for (size_t r_ = 0; r_ < (m)->n_rows;                    \
                 r_++, part_.rows += part_.row_bytes, part_.out++) { \
                if (n_ == (most))                                    \
                    multiply(&part_, __VA_ARGS__, 1, (most));        \
                else                                                 \
                    multiply(&part_, __VA_ARGS__, 1, 1);             \
            }                                                        \
    }

/* What one step over `n_bytes` of each row needs next, for the second cache. Memory foresees one
 * stream, not the rows of a call side by side; many activations do not wait for it. */
static ALWAYS_INLINE void prefetch_ahead(const quant_floats *m, size_t from, size_t n_bytes,
                                         size_t n_rows, size_t n_acts) {
    const uint8_t *p = m->ahead + from * n_rows;
    for (size_t i = 0; i < n_rows * n_bytes && n_acts == 1 && n_rows > 1; i += 64)
        __builtin_prefetch(p + i, 0, 2);
}

static ALWAYS_INLINE __m128i load_128(const void *p) {
    return _mm_loadu_si128(p);
}

static ALWAYS_INLINE __m256i load_256(const void *p) {
    return _mm256_loadu_si256(p);
}

static ALWAYS_INLINE float sum_lanes(__m256 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/* 32 nibbles: those of the lower half of the bytes, then those of the upper half. */
static ALWAYS_INLINE __m256i nibbles(const void *qs) {
    __m128i low = load_128(qs);
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(low, 4), low);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Bit i as 16 in byte i. */
static ALWAYS_INLINE __m256i fifth_bits(uint32_t qh) {
    __m256i byte_of =
        _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)qh), byte_of);
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

#endif
