/* Lanes of the AVX2 encoders: eight numbers. See lanes_scalar.h for what each function means. */
#ifndef QUANT_KERNELS_X86_LANES_AVX2_H
#define QUANT_KERNELS_X86_LANES_AVX2_H

#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"
#include "quant/kernels/x86/transpose_avx2.h"

#define LANES                 8
#define KERNEL_NAME(op, type) quant_##op##_##type##_avx2

typedef __m256 lanes;

static inline lanes lanes_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes a) {
    _mm256_storeu_ps(p, a);
}
static inline lanes lanes_set(float a) {
    return _mm256_set1_ps(a);
}
static inline lanes lanes_max(lanes a, lanes b) {
    return _mm256_max_ps(a, b);
}
static inline lanes lanes_min(lanes a, lanes b) {
    return _mm256_min_ps(a, b);
}
static inline lanes lanes_abs(lanes a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline lanes lanes_sqrt(lanes a) {
    return _mm256_sqrt_ps(a);
}
static inline lanes lanes_round(lanes a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline lanes lanes_if_greater(lanes a, lanes b, lanes yes, lanes no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
static inline float lanes_greatest(lanes a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
static inline void lanes_store_codes(void *dst, lanes a) {
    __m256i wide = _mm256_cvtps_epi32(a);
    __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(dst, _mm_packs_epi16(words, words));
}
static inline lanes lanes_load_codes(const uint8_t *src) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)src)));
}
static inline void lanes_store_f16(void *dst, lanes a) {
    _mm_storeu_si128(dst, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline lanes lanes_load_f16(const void *src) {
    return _mm256_cvtph_ps(_mm_loadu_si128(src));
}
static inline lanes lanes_nearest_level(const quant_levels *levels, lanes a) {
    __m256 upper = _mm256_loadu_ps(levels->tree), lower = _mm256_loadu_ps(levels->tree + 8);
    __m256i node = _mm256_set1_epi32(1);
    for (int depth = 0; depth < 4; depth++) { /* the permutation uses three bits of a node */
        __m256 middle = _mm256_permutevar8x32_ps(depth < 3 ? upper : lower, node);
        __m256i greater = _mm256_castps_si256(_mm256_cmp_ps(a, middle, _CMP_GT_OQ));
        node = _mm256_sub_epi32(_mm256_add_epi32(node, node), greater);
    }
    return _mm256_cvtepi32_ps(_mm256_and_si256(node, _mm256_set1_epi32(15)));
}
static inline lanes lanes_level(const quant_levels *levels, lanes index) {
    __m256i i = _mm256_cvtps_epi32(index);
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(levels->level), i);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(levels->level + 8), i);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
static inline lanes lanes_lookup(const float table[16], const uint16_t *words, int shift) {
    __m256i i = _mm256_srli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)words)),
                                  shift); /* a permutation uses three bits */
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), i);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
static inline lanes lanes_indices(int first) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_set1_epi32(first), lane));
}
static inline void lanes_load_columns(const float *src, int n, lanes *columns) {
    for (int i = 0; i < n; i += 8) transpose_8x8(src + i, n, columns + i);
}

#endif
