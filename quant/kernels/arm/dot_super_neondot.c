/* NEON products of super-blocks, with the bits of the scalar ones. */
#include "quant/kernels/arm/super_neon.h"
#include "quant/kernels/kernels.h"

#include <stddef.h>

/* Sums of the products of one sub-block, in four parts. */
static ALWAYS_INLINE int32x4_t dot_sub(const int8x16_t *q, const int8_t *codes, int n_vectors) {
    int32x4_t dot = vdotq_s32(vdupq_n_s32(0), q[0], vld1q_s8(codes));
    return n_vectors == 2 ? vdotq_s32(dot, q[1], vld1q_s8(codes + 16)) : dot;
}

/* The sums of four sub-blocks of n vectors each. */
static ALWAYS_INLINE int32x4_t dot_four(const int8x16_t *q, const int8_t *codes, int n) {
    int32x4_t part[4];
    for (int j = 0; j < 4; j++) part[j] = dot_sub(q + j * n, codes + 16 * j * n, n);
    return vpaddq_s32(vpaddq_s32(part[0], part[1]), vpaddq_s32(part[2], part[3]));
}

static ALWAYS_INLINE int32x4_t multiply_add(int32x4_t sum, int16x8_t a, int16x8_t b) {
    sum = vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b));
    return vmlal_high_s16(sum, a, b);
}

static ALWAYS_INLINE float dot_block(const super *p, int n_subs, const block_act_q8_k *a) {
    int32x4_t dot = vdupq_n_s32(0), mins = vdupq_n_s32(0);
    int n = 16 / n_subs;
    const uint8_t *sums = (const uint8_t *)a + (n_subs == 16 ? offsetof(block_act_q8_k, sums)
                                                             : offsetof(block_act_q8_k, sums32));
    for (int j = 0; j < n_subs; j += 8) {
        const int8x16_t *q = p->q + j * n;
        const int8_t *codes = a->qs + 16 * j * n;
        int16x8_t s = p->s[j / 8];
        dot = vmlaq_s32(dot, dot_four(q, codes, n), vmovl_s16(vget_low_s16(s)));
        dot = vmlaq_s32(dot, dot_four(q + 4 * n, codes + 64 * n, n), vmovl_high_s16(s));
        mins = multiply_add(mins, p->m[j / 8], vreinterpretq_s16_u8(vld1q_u8(sums + 2 * j)));
    }
    return p->d * a->d * (float)vaddvq_s32(dot) - p->dmin * a->d * (float)vaddvq_s32(mins);
}

static ALWAYS_INLINE void dot_super(const uint8_t *w, size_t block_bytes, super_fn *unpack,
                                    int n_subs, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    float sum[QUANT_DOT_ACTS] = {0.0f};
    for (size_t i = 0; i < n_cols / QUANT_SUPER; i++, w += block_bytes) {
        super p = unpack(w);
        for (size_t t = 0; t < n_acts; t++)
            sum[t] += dot_block(&p, n_subs, (const block_act_q8_k *)(acts + t * act_bytes) + i);
    }
    memcpy(out, sum, n_acts * sizeof *out);
}

#define SUPER_DOT(type, n_subs)                                                    \
    void quant_dot_##type##_neondot(DOT_ARGS) {                                    \
        FOR_N_ACTS(dot_super, weight, sizeof(block_##type), super_##type, n_subs); \
    }

SUPER_DOT(q2_k, 16)
SUPER_DOT(q3_k, 16)
SUPER_DOT(q4_k, 8)
SUPER_DOT(q5_k, 8)
SUPER_DOT(q6_k, 16)
SUPER_DOT(iq4_xs, 8)

#define BOOK_DOT(type) SUPER_DOT(type, 16)
FOR_EACH_BOOK(BOOK_DOT)
