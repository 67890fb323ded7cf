/* Transposition of eight rows of eight numbers. */
#ifndef QUANT_KERNELS_X86_TRANSPOSE_AVX2_H
#define QUANT_KERNELS_X86_TRANSPOSE_AVX2_H

#include <immintrin.h>

/* rows at src, src + stride, ...; columns[j] gets number j of every row */
static inline void transpose_8x8(const float *src, int stride, __m256 columns[8]) {
    __m256 halves[8], pairs[8];
    for (int i = 0; i < 4; i++) { /* row i beside row i + 4: left and right half of each */
        __m256 a = _mm256_loadu_ps(src + i * stride), b = _mm256_loadu_ps(src + (i + 4) * stride);
        halves[i] = _mm256_permute2f128_ps(a, b, 0x20);
        halves[i + 4] = _mm256_permute2f128_ps(a, b, 0x31);
    }
    for (int i = 0; i < 8; i += 4) {
        pairs[i] = _mm256_unpacklo_ps(halves[i], halves[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(halves[i], halves[i + 1]);
        pairs[i + 2] = _mm256_unpacklo_ps(halves[i + 2], halves[i + 3]);
        pairs[i + 3] = _mm256_unpackhi_ps(halves[i + 2], halves[i + 3]);
    }
    for (int i = 0; i < 8; i += 4) {
        columns[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        columns[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
        columns[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        columns[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
}

#endif
