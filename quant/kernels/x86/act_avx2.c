/* AVX2 activation encoders, with the bytes of the scalar ones, and scans. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/numeric.h"
#include "quant/kernels/x86/vec_avx2.h"

/* ---- activations ------------------------------------------------------------------------- */

/* Greatest magnitude of n numbers, n % 8 == 0; NaNs are passed over. */
static float greatest_abs(const float *x, size_t n) {
    __m256 most = _mm256_setzero_ps(), sign = _mm256_set1_ps(-0.0f);
    for (size_t i = 0; i < n; i += 8)
        most = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), most);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* 8 codes as 32-bit numbers. */
static ALWAYS_INLINE __m256i codes8(const float *x, __m256 inv) {
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x), inv);
    v = _mm256_max_ps(v, _mm256_set1_ps(-127.0f));
    v = _mm256_min_ps(v, _mm256_set1_ps(127.0f));
    return _mm256_cvtps_epi32(v);
}

/* 32 codes in order. */
static ALWAYS_INLINE __m256i codes32(const float *x, float inv) {
    __m256 f = _mm256_set1_ps(inv);
    __m256i a = _mm256_packs_epi32(codes8(x, f), codes8(x + 8, f));
    __m256i b = _mm256_packs_epi32(codes8(x + 16, f), codes8(x + 24, f));
    __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
}

/* Sums of the codes 0..15 and 16..31. */
static ALWAYS_INLINE void sum_codes(__m256i codes, int16_t sums[2]) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    for (int half = 0; half < 2; half++) {
        __m128i v = half ? _mm256_extracti128_si256(fours, 1) : _mm256_castsi256_si128(fours);
        v = _mm_add_epi32(v, _mm_unpackhi_epi64(v, v));
        sums[half] = (int16_t)(_mm_cvtsi128_si32(v) + _mm_extract_epi32(v, 1));
    }
}

void quant_act_q8_avx2(const float *src, size_t n_cols, void *dst) {
    block_act_q8 *chunk = dst;
    size_t n_blocks = n_cols / QUANT_BLOCK;
    memset(chunk, 0, quant_act_row_bytes(QUANT_ACT_Q8, n_cols));
    for (size_t i = 0; i < n_blocks; i++, src += QUANT_BLOCK) {
        block_act_q8 *b = chunk + i / 8;
        size_t k = i % 8;
        int16_t sums[2];
        b->d[k] = greatest_abs(src, QUANT_BLOCK) / 127.0f;
        __m256i codes = codes32(src, quant_inverse(b->d[k]));
        _mm256_storeu_si256((__m256i *)(void *)b->qs[k], codes);
        sum_codes(codes, sums);
        b->s[k] = b->d[k] * (float)(sums[0] + sums[1]);
        b->shift[k] = -128 * (sums[0] + sums[1]);
    }
}

void quant_act_q8_k_avx2(const float *src, size_t n_cols, void *dst) {
    block_act_q8_k *b = dst;
    for (size_t i = 0; i < n_cols; i += QUANT_SUPER, b++) {
        memset(b, 0, sizeof *b);
        b->d = greatest_abs(src + i, QUANT_SUPER) / 127.0f;
        float inv = quant_inverse(b->d);
        for (size_t j = 0; j < 8; j++) {
            int16_t sums[2];
            __m256i codes = codes32(src + i + 32 * j, inv);
            _mm256_storeu_si256((__m256i *)(void *)(b->qs + 32 * j), codes);
            sum_codes(codes, sums);
            memcpy(b->sums + 2 * j, sums, sizeof sums);
            b->sums32[j] = (int16_t)(sums[0] + sums[1]);
        }
    }
}

/* ---- scans: whole vectors, then the first hit or the tail one by one --------------------- */

size_t quant_beyond_avx2(const void *x, size_t n, float limit) {
    const uint8_t *p = x;
    __m256 most = _mm256_set1_ps(limit), sign = _mm256_set1_ps(-0.0f);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256 bad = _mm256_setzero_ps();
        for (size_t k = 0; k < 4; k++) {
            __m256 v = _mm256_castsi256_ps(load_256(p + 4 * (i + 8 * k)));
            v = _mm256_cmp_ps(_mm256_andnot_ps(sign, v), most, _CMP_NLE_UQ);
            bad = _mm256_or_ps(bad, v);
        }
        if (_mm256_movemask_ps(bad)) break;
    }
    return i + quant_beyond_scalar(p + 4 * i, n - i, limit);
}

size_t quant_masked_avx2(const void *x, size_t n, uint16_t mask) {
    const uint8_t *p = x;
    __m256i bits = _mm256_set1_epi16((short)mask);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m256i bad = _mm256_setzero_si256();
        for (size_t k = 0; k < 4; k++) {
            __m256i v = _mm256_and_si256(load_256(p + 2 * (i + 16 * k)), bits);
            bad = _mm256_or_si256(bad, _mm256_cmpeq_epi16(v, bits));
        }
        if (!_mm256_testz_si256(bad, bad)) break;
    }
    return i + quant_masked_scalar(p + 2 * i, n - i, mask);
}
