/* AVX2 products of super-blocks. */
#include "quant/kernels.h"
#include "quant/x86/super_avx2.h"

static ALWAYS_INLINE __m256 add_super(const super *p, bool is_signed, const block_act_q8_k *a,
                                      __m256 sum) {
    __m256i dot = _mm256_setzero_si256();
    for (int j = 0; j < 8; j++) {
        __m256i q = p->q[j], codes = load_256(a->qs + 32 * j);
        if (is_signed) codes = _mm256_sign_epi8(codes, q), q = _mm256_abs_epi8(q);
        __m256i products = _mm256_maddubs_epi16(q, codes);
        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(products, scales_of(p->s, j)));
    }
    __m256i mins = _mm256_madd_epi16(p->m, load_256(a->sums));
    sum = _mm256_fmadd_ps(_mm256_set1_ps(p->d * a->d), _mm256_cvtepi32_ps(dot), sum);
    return _mm256_fnmadd_ps(_mm256_set1_ps(p->dmin * a->d), _mm256_cvtepi32_ps(mins), sum);
}

static ALWAYS_INLINE void dot_super(const uint8_t *w, size_t block_bytes, super_fn *unpack,
                                    bool is_signed, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    __m256 sum[QUANT_DOT_ACTS];
    for (size_t t = 0; t < n_acts; t++) sum[t] = _mm256_setzero_ps();
    for (size_t i = 0; i < n_cols / QUANT_SUPER; i++, w += block_bytes) {
        super p = unpack(w);
        for (size_t t = 0; t < n_acts; t++)
            sum[t] = add_super(&p, is_signed, (const block_act_q8_k *)(acts + t * act_bytes) + i,
                               sum[t]);
    }
    for (size_t t = 0; t < n_acts; t++) out[t] = sum_lanes(sum[t]);
}

#define SUPER_DOT(type, is_signed)                                                    \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                          \
        FOR_N_ACTS(dot_super, weight, sizeof(block_##type), super_##type, is_signed); \
    }

SUPER_DOT(q2_k, false)
SUPER_DOT(q3_k, false)
SUPER_DOT(q4_k, false)
SUPER_DOT(q5_k, false)
SUPER_DOT(q6_k, false)
SUPER_DOT(iq4_xs, true)
