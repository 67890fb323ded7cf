/* Plain blocks of 32 as vectors, for the NEON product kernels. */
#ifndef QUANT_KERNELS_ARM_PLAIN_NEON_H
#define QUANT_KERNELS_ARM_PLAIN_NEON_H

#include "quant/kernels/arm/vec_neon.h"

/* y = d q + m */
typedef struct plain {
    int8x16_t q[2];
    float d, m;
} plain;

typedef plain plain_fn(const void *block);

/* y = d q + m with the nibbles q: those of the lower half of the bytes, then of the upper half. */
static ALWAYS_INLINE plain nibbles(const uint8_t qs[16], float d, float m) {
    uint8x16_t both = vld1q_u8(qs);
    return (plain){
        {vreinterpretq_s8_u8(bits_at(both, 0, 15)), vreinterpretq_s8_u8(bits_at(both, -4, 15))},
        d,
        m};
}

/* The same with bit i of qh as the fifth bit of element i. */
static ALWAYS_INLINE plain five_bits(const uint8_t qs[16], uint32_t qh, float d, float m) {
    plain p = nibbles(qs, d, m);
    uint8x16_t own = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    for (int half = 0; half < 2; half++) {
        uint8_t first = (uint8_t)(qh >> 16 * half), last = (uint8_t)(qh >> (16 * half + 8));
        uint8x16_t set = vtstq_u8(vcombine_u8(vdup_n_u8(first), vdup_n_u8(last)), own);
        p.q[half] = vorrq_s8(p.q[half], vreinterpretq_s8_u8(bits_at(set, 0, 16)));
    }
    return p;
}

static ALWAYS_INLINE plain minus(plain p, int8_t zero) {
    for (int half = 0; half < 2; half++) p.q[half] = vsubq_s8(p.q[half], vdupq_n_s8(zero));
    return p;
}

static ALWAYS_INLINE plain levels(const uint8_t qs[16], const int8_t values[16], float d) {
    plain p = nibbles(qs, d, 0.0f);
    for (int half = 0; half < 2; half++)
        p.q[half] = look_up(values, vreinterpretq_u8_s8(p.q[half]));
    return p;
}

static ALWAYS_INLINE plain plain_q4_0(const void *block) {
    const block_q4_0 *b = block;
    return minus(nibbles(b->qs, quant_f16_to_f32(b->d), 0.0f), 8);
}

static ALWAYS_INLINE plain plain_q4_1(const void *block) {
    const block_q4_1 *b = block;
    return nibbles(b->qs, quant_f16_to_f32(b->d), quant_f16_to_f32(b->m));
}

static ALWAYS_INLINE plain plain_q5_0(const void *block) {
    const block_q5_0 *b = block;
    return minus(five_bits(b->qs, b->qh, quant_f16_to_f32(b->d), 0.0f), 16);
}

static ALWAYS_INLINE plain plain_q5_1(const void *block) {
    const block_q5_1 *b = block;
    return five_bits(b->qs, b->qh, quant_f16_to_f32(b->d), quant_f16_to_f32(b->m));
}

static ALWAYS_INLINE plain plain_q8_0(const void *block) {
    const block_q8_0 *b = block;
    return (plain){{vld1q_s8(b->qs), vld1q_s8(b->qs + 16)}, quant_f16_to_f32(b->d), 0.0f};
}

static ALWAYS_INLINE plain plain_iq4_nl(const void *block) {
    const block_iq4_nl *b = block;
    return levels(b->qs, quant_iq4_values, quant_f16_to_f32(b->d));
}

static ALWAYS_INLINE plain plain_mxfp4(const void *block) {
    const block_mxfp4 *b = block;
    return levels(b->qs, quant_mxfp4_values, quant_power_of_two(b->e - 128));
}

/* 32 elements of NVFP4 from 16 bytes: of each 8 bytes the low nibbles, then the high ones. */
static ALWAYS_INLINE void codes_nvfp4(const uint8_t qs[16], int8x16_t q[2]) {
    uint8x16_t both = vld1q_u8(qs);
    uint64x2_t low = vreinterpretq_u64_u8(bits_at(both, 0, 15));
    uint64x2_t high = vreinterpretq_u64_u8(bits_at(both, -4, 15));
    q[0] = look_up(quant_mxfp4_values, vreinterpretq_u8_u64(vzip1q_u64(low, high)));
    q[1] = look_up(quant_mxfp4_values, vreinterpretq_u8_u64(vzip2q_u64(low, high)));
}

#endif
