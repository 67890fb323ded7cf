/* AVX2 products of plain blocks. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_unsigned(__m256i q, __m256i a) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
}

static ALWAYS_INLINE __m256i dot_signed(__m256i q, __m256i a) {
    return dot_unsigned(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
}

static ALWAYS_INLINE void dot_plain(const uint8_t *w, size_t block_bytes, plain_fn *unpack,
                                    bool is_signed, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    __m256 sum[QUANT_DOT_ACTS];
    float mins[QUANT_DOT_ACTS];
    for (size_t t = 0; t < n_acts; t++) sum[t] = _mm256_setzero_ps(), mins[t] = 0.0f;
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++, w += block_bytes) {
        plain p = unpack(w);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a = (const block_act_q8 *)(acts + t * act_bytes) + i / 8;
            __m256i codes = load_256(a->qs[i % 8]);
            __m256i dot = is_signed ? dot_signed(p.q, codes) : dot_unsigned(p.q, codes);
            sum[t] =
                _mm256_fmadd_ps(_mm256_set1_ps(p.d * a->d[i % 8]), _mm256_cvtepi32_ps(dot), sum[t]);
            if (!is_signed) mins[t] += p.m * a->s[i % 8];
        }
    }
    for (size_t t = 0; t < n_acts; t++) out[t] = sum_lanes(sum[t]) + mins[t];
}

#define PLAIN_DOT(type, is_signed)                                                    \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                          \
        FOR_N_ACTS(dot_plain, weight, sizeof(block_##type), plain_##type, is_signed); \
    }

PLAIN_DOT(q4_0, false)
PLAIN_DOT(q4_1, false)
PLAIN_DOT(q5_0, false)
PLAIN_DOT(q5_1, false)
PLAIN_DOT(q8_0, true)
PLAIN_DOT(iq4_nl, true)
PLAIN_DOT(mxfp4, true)
