/* AVX2 products of super-blocks. Those of 1024 columns, a strip's width, are added in order, and
 * then to the row's sum. */
#include "quant/kernels.h"
#include "quant/x86/reduce_avx2.h"
#include "quant/x86/super_avx2.h"

enum { GROUP = QUANT_STRIP_COLS / QUANT_SUPER };

/* A group of super-blocks times one activation: integer sums still spread over lanes. */
typedef struct group_sums {
    __m256i dot[GROUP], mins[GROUP];
} group_sums;

static ALWAYS_INLINE __m256i dot_codes(const super *p, bool is_signed, const block_act_q8_k *a) {
    __m256i dot = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i q = p->q[j], codes = load_256(a->qs + 32 * j);
        if (is_signed) codes = _mm256_sign_epi8(codes, q), q = _mm256_abs_epi8(q);
        __m256i products = _mm256_maddubs_epi16(q, codes);
        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(products, scales_of(p->s, j)));
    }
    return dot;
}

static ALWAYS_INLINE float add_group(const group_sums *s, __m128 d, __m128 dmin, __m128 scale) {
    __m128i dot = sum_four_256(s->dot[0], s->dot[1], s->dot[2], s->dot[3]);
    __m128i mins = sum_four_256(s->mins[0], s->mins[1], s->mins[2], s->mins[3]);
    __m128 part = _mm_mul_ps(_mm_mul_ps(d, scale), _mm_cvtepi32_ps(dot));
    part = _mm_fnmadd_ps(_mm_mul_ps(dmin, scale), _mm_cvtepi32_ps(mins), part);
    return ((part[0] + part[1]) + part[2]) + part[3];
}

/* n super-blocks, n <= GROUP. */
static ALWAYS_INLINE void multiply_group(const uint8_t *w, size_t block_bytes, super_fn *unpack,
                                         bool is_signed, size_t n, const uint8_t *acts,
                                         size_t act_bytes, size_t n_acts, float *out) {
    group_sums sums[QUANT_DOT_ACTS] = {0};
    __m128 d = _mm_setzero_ps(), dmin = d;
#pragma GCC unroll 4
    for (size_t j = 0; j < n; j++) {
        super p = unpack(w + j * block_bytes);
        d[j] = p.d, dmin[j] = p.dmin;
#pragma GCC unroll 4
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8_k *a = (const block_act_q8_k *)(acts + t * act_bytes) + j;
            sums[t].dot[j] = dot_codes(&p, is_signed, a);
            sums[t].mins[j] = _mm256_madd_epi16(p.m, load_256(a->sums));
        }
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
                                    bool is_signed, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    size_t n = n_cols / QUANT_SUPER;
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (; n >= GROUP; n -= GROUP) {
        multiply_group(w, block_bytes, unpack, is_signed, GROUP, acts, act_bytes, n_acts, out);
        w += GROUP * block_bytes;
        acts += GROUP * sizeof(block_act_q8_k);
    }
    if (n == 3) multiply_group(w, block_bytes, unpack, is_signed, 3, acts, act_bytes, n_acts, out);
    if (n == 2) multiply_group(w, block_bytes, unpack, is_signed, 2, acts, act_bytes, n_acts, out);
    if (n == 1) multiply_group(w, block_bytes, unpack, is_signed, 1, acts, act_bytes, n_acts, out);
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
