/* Lanes of the AVX-512 encoders: sixteen numbers. See lanes_scalar.h for what each function means.
 */
#ifndef QUANT_KERNELS_X86_LANES_AVX512_H
#define QUANT_KERNELS_X86_LANES_AVX512_H

#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"
#include "quant/kernels/x86/transpose_avx2.h"

#define LANES                 16
#define KERNEL_NAME(op, type) quant_##op##_##type##_avx512

typedef __m512 lanes;

static inline lanes lanes_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes a) {
    _mm512_storeu_ps(p, a);
}
static inline lanes lanes_set(float a) {
    return _mm512_set1_ps(a);
}
static inline lanes lanes_max(lanes a, lanes b) {
    return _mm512_max_ps(a, b);
}
static inline lanes lanes_min(lanes a, lanes b) {
    return _mm512_min_ps(a, b);
}
static inline lanes lanes_abs(lanes a) {
    return _mm512_abs_ps(a);
}
static inline lanes lanes_sqrt(lanes a) {
    return _mm512_sqrt_ps(a);
}
static inline lanes lanes_round(lanes a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline lanes lanes_if_greater(lanes a, lanes b, lanes yes, lanes no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
static inline float lanes_greatest(lanes a) {
    return _mm512_reduce_max_ps(a);
}
static inline void lanes_store_codes(void *dst, lanes a) {
    _mm_storeu_si128(dst, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}
static inline lanes lanes_load_codes(const uint8_t *src) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)src)));
}
static inline void lanes_store_f16(void *dst, lanes a) {
    _mm256_storeu_si256(dst, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline lanes lanes_load_f16(const void *src) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(src));
}
static inline lanes lanes_nearest_level(const quant_levels *levels, lanes a) {
    __m512 tree = _mm512_loadu_ps(levels->tree);
    __m512i node = _mm512_set1_epi32(1), one = node;
    for (int depth = 0; depth < 4; depth++) {
        __m512 middle = _mm512_permutexvar_ps(node, tree);
        __mmask16 greater = _mm512_cmp_ps_mask(a, middle, _CMP_GT_OQ);
        node = _mm512_add_epi32(node, node);
        node = _mm512_mask_add_epi32(node, greater, node, one);
    }
    return _mm512_cvtepi32_ps(_mm512_and_epi32(node, _mm512_set1_epi32(15)));
}
static inline lanes lanes_level(const quant_levels *levels, lanes index) {
    return _mm512_permutexvar_ps(_mm512_cvtps_epi32(index), _mm512_loadu_ps(levels->level));
}
static inline lanes lanes_lookup(const float table[16], const uint16_t *words, int shift) {
    __m512i i = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)words));
    i = _mm512_srli_epi32(i, (unsigned)shift); /* a permutation uses four bits */
    return _mm512_permutexvar_ps(i, _mm512_loadu_ps(table));
}
static inline lanes lanes_indices(int first) {
    __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_set1_epi32(first), lane));
}
static inline void lanes_load_columns(const float *src, int n, lanes *columns) {
    for (int i = 0; i < n; i += 8) {
        __m256 lower[8], upper[8];
        transpose_8x8(src + i, n, lower);
        transpose_8x8(src + 8 * n + i, n, upper);
        for (int j = 0; j < 8; j++)
            columns[i + j] = _mm512_insertf32x8(_mm512_castps256_ps512(lower[j]), upper[j], 1);
    }
}

#endif
