/* What the AVX2 multipliers of strips share. Lane r of a vector belongs to row r of eight. */
#ifndef QUANT_KERNELS_X86_STRIP_AVX2_H
#define QUANT_KERNELS_X86_STRIP_AVX2_H

#include "quant/kernels/x86/strip_x86.h"

#define HALF 8 /* rows of a vector */
#define PART 4 /* activations together */

/* Four columns of an activation, or two sums, for every row. */
static ALWAYS_INLINE __m256i spread(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

/* The compiler shall not put the additions off: all products at once take more registers than there
 * are. */
static ALWAYS_INLINE __m256i add_products(__m256i words, __m256i q, __m256i a) {
    words = _mm256_add_epi16(words, _mm256_maddubs_epi16(q, a));
    __asm__("" : "+x"(words));
    return words;
}

/* The same of products that a scale widens. */
static ALWAYS_INLINE __m256i add_scaled(__m256i dot, __m256i words, __m256i scales) {
    dot = _mm256_add_epi32(dot, _mm256_madd_epi16(words, scales));
    __asm__("" : "+x"(dot));
    return dot;
}

static ALWAYS_INLINE void store_half(float *out, size_t stride, size_t n, bool add,
                                     const __m256 sum[PART]) {
    for (size_t t = 0; t < n; t++) {
        __m256 before = add ? _mm256_loadu_ps(out + t * stride) : _mm256_setzero_ps();
        _mm256_storeu_ps(out + t * stride, _mm256_add_ps(before, sum[t]));
    }
}

#endif
