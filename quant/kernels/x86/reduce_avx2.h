/* Sums over the lanes of several vectors of integers at once. */
#ifndef QUANT_KERNELS_X86_REDUCE_AVX2_H
#define QUANT_KERNELS_X86_REDUCE_AVX2_H

#include "quant/kernels/x86/vec_avx2.h"

static ALWAYS_INLINE __m256i add_pairs(__m256i a, __m256i b) {
    return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}

static ALWAYS_INLINE __m128i sum_four_256(__m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i ab = add_pairs(a, b), cd = add_pairs(c, d);
    __m256i all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* Lane k: the sum of v[k]. */
static ALWAYS_INLINE __m256i sum_eight(const __m256i v[8]) {
    __m256i ab = add_pairs(v[0], v[1]), cd = add_pairs(v[2], v[3]);
    __m256i ef = add_pairs(v[4], v[5]), gh = add_pairs(v[6], v[7]);
    __m256i low = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    __m256i high = _mm256_add_epi32(_mm256_unpacklo_epi64(ef, gh), _mm256_unpackhi_epi64(ef, gh));
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                            _mm256_permute2x128_si256(low, high, 0x31));
}

#endif
