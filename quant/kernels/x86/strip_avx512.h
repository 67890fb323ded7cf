/* What the AVX-512 multipliers of strips share. */
#ifndef QUANT_KERNELS_X86_STRIP_AVX512_H
#define QUANT_KERNELS_X86_STRIP_AVX512_H

#include "quant/kernels/x86/strip_x86.h"

/* Four columns of an activation, for every row. */
static ALWAYS_INLINE __m512i spread(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

static ALWAYS_INLINE void clear(__m512 sum[ACTS], size_t n) {
    UNROLL(8)
    for (size_t t = 0; t < n; t++) sum[t] = _mm512_setzero_ps();
}

/* sum[t] += parts[t] */
static ALWAYS_INLINE void add_parts(__m512 sum[ACTS], const __m512 parts[ACTS], size_t n) {
    UNROLL(8)
    for (size_t t = 0; t < n; t++) sum[t] = _mm512_add_ps(sum[t], parts[t]);
}

/* sum + d a dot, a being an activation's scale. */
static ALWAYS_INLINE __m512 add_scaled(__m512 sum, __m512 d, float a, __m512i dot) {
    return _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(a)), _mm512_cvtepi32_ps(dot), sum);
}

static ALWAYS_INLINE void store_sums(float *out, size_t stride, size_t n, bool add,
                                     const __m512 sum[ACTS]) {
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        __m512 before = add ? _mm512_loadu_ps(out + t * stride) : _mm512_setzero_ps();
        _mm512_storeu_ps(out + t * stride, _mm512_add_ps(before, sum[t]));
    }
}

/* Call body(..., strip, n_cols, ...) for eight, or up to four activations together: five to seven
 * read a strip twice, from the nearest cache. */
#define MULTIPLY_CASE(k, body, ...)                                            \
    case k:                                                                    \
        body(__VA_ARGS__, strip, n_cols, rows, act_bytes, k, to, stride, add); \
        n = k;                                                                 \
        break
#define MULTIPLY(body, ...)                                                           \
    for (size_t t = 0, n; t < n_acts; t += n) {                                       \
        const uint8_t *rows = (const uint8_t *)acts + t * act_bytes;                  \
        float *to = out + t * stride;                                                 \
        size_t left = n_acts - t;                                                     \
        switch (left >= ACTS ? ACTS : left >= 4 ? 4 : left) {                         \
            MULTIPLY_CASE(1, body, __VA_ARGS__);                                      \
            MULTIPLY_CASE(2, body, __VA_ARGS__);                                      \
            MULTIPLY_CASE(3, body, __VA_ARGS__);                                      \
            MULTIPLY_CASE(4, body, __VA_ARGS__);                                      \
        default:                                                                      \
            body(__VA_ARGS__, strip, n_cols, rows, act_bytes, ACTS, to, stride, add); \
            n = ACTS;                                                                 \
        }                                                                             \
    }

#endif
