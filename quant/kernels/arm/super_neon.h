/* Super-blocks as vectors, for the NEON product kernels. */
#ifndef QUANT_KERNELS_ARM_SUPER_NEON_H
#define QUANT_KERNELS_ARM_SUPER_NEON_H

#include "quant/kernels/arm/vec_neon.h"
#include "quant/kernels/books.h"
#include "quant/kernels/unpack.h"

/* y = d s q - dmin m with s, m for 16 sub-blocks of 16, or 8 of 32 in types that say so. */
typedef struct super {
    int8x16_t q[16];
    int16x8_t s[2], m[2]; /* 8 sub-blocks: the first of the two */
    float d, dmin;
} super;

typedef super super_fn(const void *block);

/* ---- codes: k is the number of a vector of 16 ----------------------------------------------- */

static ALWAYS_INLINE void or_codes(super *p, int k, uint8x16_t bits) {
    p->q[k] = vorrq_s8(p->q[k], vreinterpretq_s8_u8(bits));
}

/* n vectors of nibbles: the low ones are n vectors of codes, the high ones those after them. */
static ALWAYS_INLINE void unpack_nibbles_neon(const uint8_t *qs, int n, int8x16_t *q) {
    for (int k = 0; k < n; k++) {
        uint8x16_t v = vld1q_u8(qs + 16 * k);
        q[k] = vreinterpretq_s8_u8(bits_at(v, 0, 15));
        q[n + k] = vreinterpretq_s8_u8(bits_at(v, -4, 15));
    }
}

/* The two-bit codes of Q2_K and Q3_K. */
static ALWAYS_INLINE void unpack_two_bits_neon(const uint8_t qs[64], super *p) {
    for (int k = 0; k < 16; k++) {
        uint8x16_t v = vld1q_u8(qs + k / 8 * 32 + k % 2 * 16);
        p->q[k] = vreinterpretq_s8_u8(bits_at(v, -(k % 8 / 2 * 2), 3));
    }
}

/* ---- scales --------------------------------------------------------------------------------- */

/* 16 signed 8-bit scales; m = zero * s. */
static ALWAYS_INLINE void widen_scales(int8x16_t scales, int16_t zero, super *p) {
    p->s[0] = vmovl_s8(vget_low_s8(scales));
    p->s[1] = vmovl_high_s8(scales);
    for (int j = 0; j < 2; j++) p->m[j] = vmulq_n_s16(p->s[j], zero);
}

/* Six-bit S and M of 8 sub-blocks. */
static ALWAYS_INLINE void unpack_scales(const uint8_t packed[12], super *p) {
    uint8_t s[8], m[8];
    unpack_scales_k(packed, s, m);
    p->s[0] = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(s)));
    p->m[0] = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(m)));
}

/* ---- types ---------------------------------------------------------------------------------- */

static ALWAYS_INLINE super super_q4_k(const void *block) {
    const block_q4_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->dmin)};
    unpack_scales(b->scales, &p);
    for (int j = 0; j < 4; j++) unpack_nibbles_neon(b->qs + 32 * j, 2, p.q + 4 * j);
    return p;
}

static ALWAYS_INLINE super super_q5_k(const void *block) {
    const block_q5_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->dmin)};
    unpack_scales(b->scales, &p);
    for (int j = 0; j < 4; j++) unpack_nibbles_neon(b->qs + 32 * j, 2, p.q + 4 * j);
    for (int k = 0; k < 16; k++)
        or_codes(&p, k, bits_at(vld1q_u8(b->qh + k % 2 * 16), 4 - k / 2, 16));
    return p;
}

static ALWAYS_INLINE super super_q6_k(const void *block) {
    const block_q6_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->d)};
    widen_scales(vld1q_s8(b->scales), 32, &p);
    for (int half = 0; half < 2; half++) unpack_nibbles_neon(b->ql + 64 * half, 4, p.q + 8 * half);
    for (int k = 0; k < 16; k++) {
        uint8x16_t high = vld1q_u8(b->qh + k / 8 * 32 + k % 2 * 16);
        or_codes(&p, k, bits_at(high, 4 - k % 8 / 2 * 2, 0x30));
    }
    return p;
}

static ALWAYS_INLINE super super_q3_k(const void *block) {
    const block_q3_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->d)};
    int8_t s[16];
    unpack_scales_q3_k(b->scales, s);
    widen_scales(vld1q_s8(s), 4, &p);
    unpack_two_bits_neon(b->qs, &p);
    for (int k = 0; k < 16; k++)
        or_codes(&p, k, bits_at(vld1q_u8(b->hmask + k % 2 * 16), 2 - k / 2, 4));
    return p;
}

static ALWAYS_INLINE super super_q2_k(const void *block) {
    const block_q2_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->dmin)};
    int8x16_t both[2];
    unpack_nibbles_neon(b->scales, 1, both);
    widen_scales(both[0], 0, &p);
    p.m[0] = vmovl_s8(vget_low_s8(both[1]));
    p.m[1] = vmovl_high_s8(both[1]);
    unpack_two_bits_neon(b->qs, &p);
    return p;
}

/* No minimums. */
static ALWAYS_INLINE super super_iq4_xs(const void *block) {
    const block_iq4_xs *b = block;
    super p = {.d = quant_f16_to_f32(b->d)};
    int8_t s[8];
    unpack_scales_iq4_xs(b, s);
    p.s[0] = vmovl_s8(vld1_s8(s));
    p.m[0] = vdupq_n_s16(0);
    for (int j = 0; j < 8; j++) unpack_nibbles_neon(b->qs + 16 * j, 1, p.q + 2 * j);
    for (int k = 0; k < 16; k++) p.q[k] = look_up(quant_iq4_values, vreinterpretq_u8_s8(p.q[k]));
    return p;
}

/* Codebooks: codes up to 124, minimums for zero. */
static ALWAYS_INLINE super super_of_codes(quant_codes_fn *codes, const void *block) {
    quant_codes b;
    codes(block, &b);
    super p = {.d = b.d, .dmin = b.d};
    for (int k = 0; k < 16; k++) p.q[k] = vreinterpretq_s8_u8(vld1q_u8(b.q + 16 * k));
    for (int k = 0; k < 2; k++) {
        p.s[k] = vmovl_s8(vld1_s8(b.s + 8 * k));
        p.m[k] = vmulq_n_s16(p.s[k], (int16_t)b.zero);
    }
    return p;
}

#define SUPER_BOOK(type)                                         \
    static ALWAYS_INLINE super super_##type(const void *block) { \
        return super_of_codes(quant_codes_##type, block);        \
    }
FOR_EACH_BOOK(SUPER_BOOK)

#endif
