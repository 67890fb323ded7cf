/* Plain C views of packed fields, used by every scalar kernel. */
#ifndef QUANT_KERNELS_UNPACK_H
#define QUANT_KERNELS_UNPACK_H

#include "quant/kernels/blocks.h"
#include "quant/kernels/numeric.h"
#include "quant/kernels/pack.h"

/* n bytes of nibbles: the low ones are n codes, the high ones the n codes after them. */
static inline void unpack_nibbles(const uint8_t *qs, int n, uint8_t *codes) {
    for (int i = 0; i < n; i += 8) {
        uint64_t pairs = load_u64(qs + i);
        store_u64(codes + i, pairs & BYTES_OF(15));
        store_u64(codes + n + i, pairs >> 4 & BYTES_OF(15));
    }
}

/* The 32 codes of a plain block with a fifth bit from qh. A byte of qh is copied to eight bytes,
 * each keeps its own bit, and the sum with 127 brings it to the top. */
static inline void unpack_five_bits(const uint8_t qs[16], uint32_t qh, uint8_t codes[32]) {
    unpack_nibbles(qs, 16, codes);
    for (int i = 0; i < 32; i += 8) {
        uint64_t own = BYTES_OF((uint64_t)(qh >> i & 255)) & 0x8040201008040201u;
        uint64_t fifth = (own + BYTES_OF(127)) >> 3 & BYTES_OF(16);
        store_u64(codes + i, load_u64(codes + i) | fifth);
    }
}

/* Six-bit S and M of the 8 sub-blocks of Q4_K and Q5_K. */
static inline void unpack_scales_k(const uint8_t packed[12], uint8_t s[8], uint8_t m[8]) {
    for (int j = 0; j < 4; j++) {
        s[j] = packed[j] & 63;
        m[j] = packed[j + 4] & 63;
        s[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        m[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

static inline void unpack_q4_k(const block_q4_k *b, uint8_t codes[256]) {
    for (int j = 0; j < 4; j++) unpack_nibbles(b->qs + 32 * j, 32, codes + 64 * j);
}

static inline void unpack_q5_k(const block_q5_k *b, uint8_t codes[256]) {
    for (int j = 0; j < 4; j++) unpack_nibbles(b->qs + 32 * j, 32, codes + 64 * j);
    for (int i = 0; i < 256; i += 8) {
        uint64_t fifth = load_u64(b->qh + i % 32) >> i / 32 & BYTES_OF(1);
        store_u64(codes + i, load_u64(codes + i) | fifth << 4);
    }
}

/* Codes 0..63, that is 32 more than the number meant. */
static inline void unpack_q6_k(const block_q6_k *b, uint8_t codes[256]) {
    for (int half = 0; half < 2; half++) unpack_nibbles(b->ql + 64 * half, 64, codes + 128 * half);
    for (int i = 0; i < 256; i += 8) {
        uint64_t upper = load_u64(b->qh + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & BYTES_OF(3);
        store_u64(codes + i, load_u64(codes + i) | upper << 4);
    }
}

/* Two-bit codes of 256 elements, as in Q2_K and Q3_K. */
static inline void unpack_two_bits(const uint8_t qs[64], uint8_t codes[256]) {
    for (int i = 0; i < 256; i += 8) {
        uint64_t bits = load_u64(qs + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2;
        store_u64(codes + i, bits & BYTES_OF(3));
    }
}

/* Codes 0..7, that is 4 more than the number meant. */
static inline void unpack_q3_k(const block_q3_k *b, uint8_t codes[256]) {
    unpack_two_bits(b->qs, codes);
    for (int i = 0; i < 256; i += 8) {
        uint64_t third = load_u64(b->hmask + i % 32) >> i / 32 & BYTES_OF(1);
        store_u64(codes + i, load_u64(codes + i) | third << 2);
    }
}

/* The 16 scales of Q3_K, in [-32, 31]. */
static inline void unpack_scales_q3_k(const uint8_t packed[12], int8_t s[16]) {
    uint8_t low[16];
    unpack_nibbles(packed, 8, low);
    for (int j = 0; j < 16; j++)
        s[j] = (int8_t)((low[j] | (packed[8 + j % 4] >> j / 4 * 2 & 3) << 4) - 32);
}

/* The 8 scales of IQ4_XS, in [-32, 31]. */
static inline void unpack_scales_iq4_xs(const block_iq4_xs *b, int8_t s[8]) {
    for (int j = 0; j < 8; j++) {
        int low = b->scales_l[j / 2] >> 4 * (j % 2) & 15, high = b->scales_h >> 2 * j & 3;
        s[j] = (int8_t)((low | high << 4) - 32);
    }
}

static inline float quant_iq1_m_scale(const block_iq1_m *b) {
    uint32_t d = 0;
    for (int j = 0; j < 4; j++) d |= (uint32_t)(b->scales[j] >> 12) << 4 * j;
    return quant_f16_to_f32((uint16_t)d);
}

#endif
