/* What the makers and multipliers of strips share. */
#ifndef QUANT_STRIP_AVX512_H
#define QUANT_STRIP_AVX512_H

#include "quant/kernels.h"
#include "quant/x86/transpose_avx2.h"
#include "quant/x86/vec_avx2.h"

#define ROWS QUANT_STRIP_ROWS
#define ACTS QUANT_STRIP_ACTS

/* Row r of a strip; the last of n_rows stands in for those that are missing. */
static ALWAYS_INLINE const uint8_t *strip_row(const uint8_t *weight, size_t row_bytes,
                                              size_t n_rows, size_t r) {
    return weight + (r < n_rows ? r : n_rows - 1) * row_bytes;
}

/* to[c][row] = from[row][c] for n columns of 32 bits; n a multiple of 8 */
static ALWAYS_INLINE void turn(const void *from, size_t n, void *to) {
    for (size_t c = 0; c < n; c += 8)
        for (size_t r = 0; r < ROWS; r += 8) {
            __m256 columns[8];
            transpose_8x8((const float *)from + r * n + c, (int)n, columns);
            for (size_t j = 0; j < 8; j++)
                _mm256_storeu_ps((float *)to + (c + j) * ROWS + r, columns[j]);
        }
}

/* Four columns of an activation, for every row. */
static ALWAYS_INLINE __m512i spread(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

static ALWAYS_INLINE void clear(__m512 sum[ACTS], size_t n) {
#pragma GCC unroll 8
    for (size_t t = 0; t < n; t++) sum[t] = _mm512_setzero_ps();
}

static ALWAYS_INLINE void store_sums(float *out, size_t stride, size_t n, bool add,
                                     const __m512 sum[ACTS]) {
#pragma GCC unroll 8
    for (size_t t = 0; t < n; t++) {
        __m512 before = add ? _mm512_loadu_ps(out + t * stride) : _mm512_setzero_ps();
        _mm512_storeu_ps(out + t * stride, _mm512_add_ps(before, sum[t]));
    }
}

/* Call body(..., strip, n_cols, ...) for eight activations together, and what is left one by one.
 */
#define MULTIPLY(body, ...)                                                                      \
    for (size_t t = 0; t < n_acts;) {                                                            \
        const uint8_t *rows = (const uint8_t *)acts + t * act_bytes;                             \
        if (n_acts - t == ACTS) {                                                                \
            body(__VA_ARGS__, strip, n_cols, rows, act_bytes, ACTS, out + t * stride, stride,    \
                 add);                                                                           \
            t += ACTS;                                                                           \
        } else {                                                                                 \
            body(__VA_ARGS__, strip, n_cols, rows, act_bytes, 1, out + t * stride, stride, add); \
            t++;                                                                                 \
        }                                                                                        \
    }

#define MULTIPLY_ARGS                                                                           \
    const quant_strip *strip, size_t n_cols, const void *acts, size_t act_bytes, size_t n_acts, \
        float *out, size_t stride, bool add

#endif
