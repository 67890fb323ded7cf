/* NEON products of plain blocks, with the bits of the scalar ones. */
#include "quant/kernels/arm/plain_neon.h"
#include "quant/kernels/kernels.h"

static ALWAYS_INLINE void dot_plain(const uint8_t *w, size_t block_bytes, plain_fn *unpack,
                                    size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                    size_t n_acts, float *out) {
    float sum[QUANT_DOT_ACTS] = {0.0f};
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++, w += block_bytes) {
        plain p = unpack(w);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a = (const block_act_q8 *)(acts + t * act_bytes) + i / 8;
            const int8_t *codes = a->qs[i % 8];
            int32x4_t dot = vdotq_s32(vdupq_n_s32(0), p.q[0], vld1q_s8(codes));
            dot = vdotq_s32(dot, p.q[1], vld1q_s8(codes + 16));
            sum[t] += p.d * a->d[i % 8] * (float)vaddvq_s32(dot) + p.m * a->s[i % 8];
        }
    }
    memcpy(out, sum, n_acts * sizeof *out);
}

#define PLAIN_DOT(type)                                                    \
    void quant_dot_##type##_neondot(DOT_ARGS) {                            \
        FOR_N_ACTS(dot_plain, weight, sizeof(block_##type), plain_##type); \
    }

PLAIN_DOT(q4_0)
PLAIN_DOT(q4_1)
PLAIN_DOT(q5_0)
PLAIN_DOT(q5_1)
PLAIN_DOT(q8_0)
PLAIN_DOT(iq4_nl)
PLAIN_DOT(mxfp4)
