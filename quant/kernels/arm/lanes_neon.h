/* Lanes of the NEON kernels: eight numbers in two registers. See lanes_scalar.h for what each
 * function means. */
#ifndef QUANT_KERNELS_ARM_LANES_NEON_H
#define QUANT_KERNELS_ARM_LANES_NEON_H

#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"

#include <arm_neon.h>

#define LANES                 8
#define KERNEL_NAME(op, type) quant_##op##_##type##_neon

/* Operators + - * / work on it, each number on its own. */
typedef float lanes __attribute__((vector_size(32), aligned(16)));

static inline lanes lanes_join(float32x4_t low, float32x4_t high) {
    lanes a;
    memcpy(&a, &low, 16);
    memcpy((char *)&a + 16, &high, 16);
    return a;
}
static inline float32x4_t lanes_half(lanes a, int half) {
    float32x4_t h;
    memcpy(&h, (const char *)&a + 16 * half, 16);
    return h;
}
static inline lanes lanes_load(const float *p) {
    return lanes_join(vld1q_f32(p), vld1q_f32(p + 4));
}
static inline void lanes_store(float *p, lanes a) {
    memcpy(p, &a, sizeof a);
}
static inline lanes lanes_set(float a) {
    return lanes_join(vdupq_n_f32(a), vdupq_n_f32(a));
}
/* Per half: a > b ? yes : no. The maximum of NEON would take a NaN from either side. */
static inline lanes lanes_if_greater(lanes a, lanes b, lanes yes, lanes no) {
    float32x4_t half[2];
    for (int h = 0; h < 2; h++)
        half[h] = vbslq_f32(vcgtq_f32(lanes_half(a, h), lanes_half(b, h)), lanes_half(yes, h),
                            lanes_half(no, h));
    return lanes_join(half[0], half[1]);
}
static inline lanes lanes_max(lanes a, lanes b) {
    return lanes_if_greater(a, b, a, b);
}
static inline lanes lanes_min(lanes a, lanes b) {
    return lanes_if_greater(b, a, a, b);
}
static inline lanes lanes_abs(lanes a) {
    return lanes_join(vabsq_f32(lanes_half(a, 0)), vabsq_f32(lanes_half(a, 1)));
}
static inline lanes lanes_sqrt(lanes a) {
    return lanes_join(vsqrtq_f32(lanes_half(a, 0)), vsqrtq_f32(lanes_half(a, 1)));
}
static inline lanes lanes_round(lanes a) {
    return lanes_join(vrndnq_f32(lanes_half(a, 0)), vrndnq_f32(lanes_half(a, 1)));
}
static inline float lanes_greatest(lanes a) {
    return vmaxnmvq_f32(vmaxnmq_f32(lanes_half(a, 0), lanes_half(a, 1)));
}
static inline void lanes_store_codes(void *dst, lanes a) {
    int16x4_t low = vmovn_s32(vcvtq_s32_f32(lanes_half(a, 0)));
    int16x4_t high = vmovn_s32(vcvtq_s32_f32(lanes_half(a, 1)));
    vst1_s8(dst, vmovn_s16(vcombine_s16(low, high)));
}
static inline lanes lanes_load_codes(const uint8_t *src) {
    uint16x8_t wide = vmovl_u8(vld1_u8(src));
    return lanes_join(vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))),
                      vcvtq_f32_u32(vmovl_u16(vget_high_u16(wide))));
}
static inline void lanes_store_f16(void *dst, lanes a) {
    float16x4_t half[2] = {vcvt_f16_f32(lanes_half(a, 0)), vcvt_f16_f32(lanes_half(a, 1))};
    memcpy(dst, half, sizeof half);
}
static inline lanes lanes_load_f16(const void *src) {
    float16x4_t half[2];
    memcpy(half, src, sizeof half);
    return lanes_join(vcvt_f32_f16(half[0]), vcvt_f32_f16(half[1]));
}
static inline lanes lanes_nearest_level(const quant_levels *levels, lanes a) {
    float x[LANES];
    memcpy(x, &a, sizeof x);
    for (int i = 0; i < LANES; i++) {
        int node = 1;
        while (node < 16) node = 2 * node + (x[i] > levels->tree[node]);
        x[i] = (float)(node - 16);
    }
    return lanes_load(x);
}
static inline lanes lanes_level(const quant_levels *levels, lanes index) {
    float x[LANES];
    memcpy(x, &index, sizeof x);
    for (int i = 0; i < LANES; i++) x[i] = levels->level[(int)x[i]];
    return lanes_load(x);
}
static inline lanes lanes_lookup(const float table[16], const uint16_t *words, int shift) {
    float x[LANES];
    for (int i = 0; i < LANES; i++) x[i] = table[words[i] >> shift & 15];
    return lanes_load(x);
}
static inline lanes lanes_indices(int first) {
    float x[LANES];
    for (int i = 0; i < LANES; i++) x[i] = (float)(first + i);
    return lanes_load(x);
}
static inline void lanes_load_columns(const float *src, int n, lanes *columns) {
    for (int i = 0; i < n; i++) {
        float column[LANES];
        for (int row = 0; row < LANES; row++) column[row] = src[row * n + i];
        columns[i] = lanes_load(column);
    }
}

#endif
