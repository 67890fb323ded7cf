/* AVX-512 products of super-blocks. Those of 1024 columns, a strip's width, are added in order, and
 * then to the row's sum. */
#include "quant/kernels.h"
#include "quant/x86/reduce_avx512.h"
#include "quant/x86/super_avx2.h"

enum { GROUP = QUANT_STRIP_COLS / QUANT_SUPER };

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

/* Sums of two products must fit 16 bits unless `wide`. */
static ALWAYS_INLINE __m512i add_codes(__m512i dot, __m512i q, __m512i scales, bool wide,
                                       __m512i codes) {
    if (!wide) return _mm512_dpwssd_epi32(dot, _mm512_maddubs_epi16(q, codes), scales);
    __m512i part = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q, codes);
    return _mm512_add_epi32(dot, _mm512_mullo_epi32(part, _mm512_srai_epi32(scales, 16)));
}

/* A group of super-blocks times one activation: integer sums still spread over lanes. */
typedef struct group_sums {
    __m512i dot[GROUP];
    __m256i mins[GROUP];
} group_sums;

static ALWAYS_INLINE void multiply_codes(const super *p, bool wide, const uint8_t *acts,
                                         size_t act_bytes, size_t n_acts, size_t j,
                                         group_sums sums[QUANT_DOT_ACTS]) {
    __m512i q[4], s[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) q[k] = codes_of(p, k), s[k] = scales_512(p, k);
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++) {
        const block_act_q8_k *a = (const block_act_q8_k *)(acts + t * act_bytes) + j;
        __m512i dot = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++)
            dot = add_codes(dot, q[k], s[k], wide, _mm512_loadu_si512(a->qs + 64 * k));
        sums[t].dot[j] = dot;
        sums[t].mins[j] = _mm256_madd_epi16(p->m, load_256(a->sums));
    }
}

static ALWAYS_INLINE float add_group(const group_sums *s, __m128 d, __m128 dmin, __m128 scale) {
    __m128i dot = sum_four_512(s->dot[0], s->dot[1], s->dot[2], s->dot[3]);
    __m128i mins = sum_four_256(s->mins[0], s->mins[1], s->mins[2], s->mins[3]);
    __m128 part = _mm_mul_ps(_mm_mul_ps(d, scale), _mm_cvtepi32_ps(dot));
    part = _mm_fnmadd_ps(_mm_mul_ps(dmin, scale), _mm_cvtepi32_ps(mins), part);
    return ((part[0] + part[1]) + part[2]) + part[3];
}

/* n super-blocks, n <= GROUP. */
static ALWAYS_INLINE void multiply_group(const uint8_t *w, size_t block_bytes, super_fn *unpack,
                                         bool wide, size_t n, const uint8_t *acts, size_t act_bytes,
                                         size_t n_acts, float *out) {
    group_sums sums[QUANT_DOT_ACTS] = {0};
    __m128 d = _mm_setzero_ps(), dmin = d;
#pragma GCC unroll 4
    for (size_t j = 0; j < n; j++) {
        super p = unpack(w + j * block_bytes);
        multiply_codes(&p, wide, acts, act_bytes, n_acts, j, sums);
        d[j] = p.d, dmin[j] = p.dmin;
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++) {
        const block_act_q8_k *a = (const block_act_q8_k *)(acts + t * act_bytes);
        __m128 scale = _mm_setzero_ps();
#pragma GCC unroll 4
        for (size_t j = 0; j < n; j++) scale[j] = a[j].d;
        out[t] += add_group(&sums[t], d, dmin, scale);
    }
}

static ALWAYS_INLINE void dot_super(const uint8_t *w, size_t block_bytes, super_fn *unpack,
                                    bool wide, size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                    size_t n_acts, float *out) {
    size_t n = n_cols / QUANT_SUPER;
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (; n >= GROUP; n -= GROUP) {
        multiply_group(w, block_bytes, unpack, wide, GROUP, acts, act_bytes, n_acts, out);
        w += GROUP * block_bytes;
        acts += GROUP * sizeof(block_act_q8_k);
    }
    if (n == 3) multiply_group(w, block_bytes, unpack, wide, 3, acts, act_bytes, n_acts, out);
    if (n == 2) multiply_group(w, block_bytes, unpack, wide, 2, acts, act_bytes, n_acts, out);
    if (n == 1) multiply_group(w, block_bytes, unpack, wide, 1, acts, act_bytes, n_acts, out);
}

#define SUPER_DOT(type, super, wide)                                      \
    void quant_dot_##type##_avx512(DOT_ARGS) {                            \
        FOR_N_ACTS(dot_super, weight, sizeof(block_##type), super, wide); \
    }

SUPER_DOT(q2_k, super_q2_k, false)
SUPER_DOT(q3_k, super_q3_k, false)
SUPER_DOT(q4_k, super_q4_k, false)
SUPER_DOT(q5_k, super_q5_k, false)
SUPER_DOT(q6_k, super_q6_k, false)
SUPER_DOT(iq4_xs, super_iq4_xs_shifted, true)
