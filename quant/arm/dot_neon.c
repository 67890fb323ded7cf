/* NEON products of float weights. Those of block types need none of their own: the compiler makes
 * vectors of the integer loops in ref_dot.c, for NEON belongs to every 64-bit ARM processor. */
#include "quant/kernels.h"
#include "quant/numeric.h"

#include <arm_neon.h>

typedef float32x4_t load4_fn(const uint8_t *p); /* 4 weights */

static inline float32x4_t load4_f32(const uint8_t *p) {
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

static inline float32x4_t load4_f16(const uint8_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

static inline float32x4_t load4_bf16(const uint8_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

/* The last columns, fewer than 4, as a vector filled up with zeros. */
static inline float32x4_t load_tail(const uint8_t *p, size_t n_bytes, size_t n, load4_fn *load) {
    uint8_t buffer[16] = {0};
    memcpy(buffer, p, n * n_bytes);
    return load(buffer);
}

/* 4 sums of 4 lanes: column c in lane c % 4 of sum c / 4 % 4. */
static inline float dot_floats(const uint8_t *w, size_t n_bytes, load4_fn *load, size_t n_cols,
                               const uint8_t *acts) {
    float32x4_t sum[4];
    for (int k = 0; k < 4; k++) sum[k] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + 16 <= n_cols; i += 16)
        for (size_t k = 0; k < 4; k++)
            sum[k] = vfmaq_f32(sum[k], load(w + (i + 4 * k) * n_bytes),
                               load4_f32(acts + (i + 4 * k) * sizeof(float)));
    for (size_t k = 0; i < n_cols; k++, i += 4) {
        size_t n = n_cols - i < 4 ? n_cols - i : 4;
        sum[k] = vfmaq_f32(sum[k], load_tail(w + i * n_bytes, n_bytes, n, load),
                           load_tail(acts + i * sizeof(float), sizeof(float), n, load4_f32));
    }
    return vaddvq_f32(vaddq_f32(vaddq_f32(sum[0], sum[1]), vaddq_f32(sum[2], sum[3])));
}

#define FLOAT_DOT(type, n_bytes)                                                      \
    void quant_dot_##type##_neon(const void *weight, size_t n_cols, const void *acts, \
                                 size_t act_bytes, size_t n_acts, float *out) {       \
        for (size_t t = 0; t < n_acts; t++)                                           \
            out[t] = dot_floats(weight, n_bytes, load4_##type, n_cols,                \
                                (const uint8_t *)acts + t * act_bytes);               \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)
