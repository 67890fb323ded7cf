/* AVX-512 products of super-blocks: the vectors of super_avx2.h in pairs. Signed
 * codes stay with AVX2: there is no sign transfer between vectors here. */
#include "quant/kernels.h"
#include "quant/x86/super_avx2.h"

/* The pair q[2 k], q[2 k + 1] and its scales. */
static ALWAYS_INLINE __m512i codes_of(const super *p, int k) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(p->q[2 * k]), p->q[2 * k + 1], 1);
}

static ALWAYS_INLINE __m512i scales_512(const super *p, int k) {
    __m512i both = _mm512_broadcast_i64x4(p->s);
    __m512i first = _mm512_set1_epi16((short)(0x0100 + 0x0404 * k));
    __m512i which = _mm512_mask_add_epi16(first, 0xFFFF0000, first, _mm512_set1_epi16(0x0202));
    return _mm512_shuffle_epi8(both, which);
}

static ALWAYS_INLINE __m512 add_super(const __m512i q[4], const __m512i s[4], const super *p,
                                      const block_act_q8_k *a, __m512 sum) {
    __m512i dot = _mm512_setzero_si512();
    for (int k = 0; k < 4; k++) {
        __m512i codes = _mm512_loadu_si512(a->qs + 64 * k);
        dot = _mm512_dpwssd_epi32(dot, _mm512_maddubs_epi16(q[k], codes), s[k]);
    }
    __m256i mins = _mm256_madd_epi16(p->m, load_256(a->sums));
    __m512 wide_mins = _mm512_cvtepi32_ps(_mm512_zextsi256_si512(mins));
    sum = _mm512_fmadd_ps(_mm512_set1_ps(p->d * a->d), _mm512_cvtepi32_ps(dot), sum);
    return _mm512_fnmadd_ps(_mm512_set1_ps(p->dmin * a->d), wide_mins, sum);
}

static ALWAYS_INLINE void dot_super(const uint8_t *w, size_t block_bytes, super_fn *unpack,
                                    size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                    size_t n_acts, float *out) {
    __m512 sum[QUANT_DOT_ACTS];
    for (size_t t = 0; t < n_acts; t++) sum[t] = _mm512_setzero_ps();
    for (size_t i = 0; i < n_cols / QUANT_SUPER; i++, w += block_bytes) {
        super p = unpack(w);
        __m512i q[4], s[4];
        for (int k = 0; k < 4; k++) q[k] = codes_of(&p, k), s[k] = scales_512(&p, k);
        for (size_t t = 0; t < n_acts; t++)
            sum[t] =
                add_super(q, s, &p, (const block_act_q8_k *)(acts + t * act_bytes) + i, sum[t]);
    }
    for (size_t t = 0; t < n_acts; t++) out[t] = _mm512_reduce_add_ps(sum[t]);
}

#define SUPER_DOT(type)                                                    \
    void quant_dot_##type##_avx512(DOT_ARGS) {                             \
        FOR_N_ACTS(dot_super, weight, sizeof(block_##type), super_##type); \
    }

SUPER_DOT(q2_k)
SUPER_DOT(q3_k)
SUPER_DOT(q4_k)
SUPER_DOT(q5_k)
SUPER_DOT(q6_k)
