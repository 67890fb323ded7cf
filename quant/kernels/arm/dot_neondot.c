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

/* Two scales to a block of activations. */
static ALWAYS_INLINE void dot_nvfp4(const block_nvfp4 *w, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    float sum[QUANT_DOT_ACTS] = {0.0f};
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++) {
        const uint8_t *d = w[i / 2].d + i % 2 * 2;
        float low = quant_ue4m3_to_f32(d[0]), high = quant_ue4m3_to_f32(d[1]);
        int8x16_t q[2];
        codes_nvfp4(w[i / 2].qs + i % 2 * 16, q);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a = (const block_act_q8 *)(acts + t * act_bytes) + i / 8;
            const int8_t *codes = a->qs[i % 8];
            int32x4_t first = vdotq_s32(vdupq_n_s32(0), q[0], vld1q_s8(codes));
            int32x4_t second = vdotq_s32(vdupq_n_s32(0), q[1], vld1q_s8(codes + 16));
            sum[t] +=
                a->d[i % 8] * (low * (float)vaddvq_s32(first) + high * (float)vaddvq_s32(second));
        }
    }
    memcpy(out, sum, n_acts * sizeof *out);
}

void quant_dot_nvfp4_neondot(DOT_ARGS) {
    FOR_N_ACTS(dot_nvfp4, weight);
}
