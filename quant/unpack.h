/* Plain C views of packed fields, used by every scalar kernel. */
#ifndef QUANT_UNPACK_H
#define QUANT_UNPACK_H

#include "quant/blocks.h"
#include "quant/numeric.h"

/* Nibbles of a plain block: the low ones are elements 0..15. */
static inline void unpack_nibbles(const uint8_t qs[16], uint8_t codes[32]) {
    for (int i = 0; i < 16; i++) {
        codes[i] = qs[i] & 15;
        codes[i + 16] = qs[i] >> 4;
    }
}

/* The same with a fifth bit from qh. */
static inline void unpack_five_bits(const uint8_t qs[16], uint32_t qh, uint8_t codes[32]) {
    unpack_nibbles(qs, codes);
    for (int i = 0; i < 32; i++) codes[i] = (uint8_t)(codes[i] | (qh >> i & 1) << 4);
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

/* The 64 codes that share 32 bytes. */
static inline void unpack_nibbles_k(const uint8_t qs[32], uint8_t codes[64]) {
    for (int i = 0; i < 32; i++) {
        codes[i] = qs[i] & 15;
        codes[i + 32] = qs[i] >> 4;
    }
}

static inline void unpack_q4_k(const block_q4_k *b, uint8_t codes[256]) {
    for (int j = 0; j < 4; j++) unpack_nibbles_k(b->qs + 32 * j, codes + 64 * j);
}

static inline void unpack_q5_k(const block_q5_k *b, uint8_t codes[256]) {
    for (int j = 0; j < 4; j++) unpack_nibbles_k(b->qs + 32 * j, codes + 64 * j);
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i++)
            codes[32 * j + i] = (uint8_t)(codes[32 * j + i] | (b->qh[i] >> j & 1) << 4);
}

/* Codes 0..63, that is 32 more than the number meant. */
static inline void unpack_q6_k(const block_q6_k *b, uint8_t codes[256]) {
    for (int half = 0; half < 2; half++) {
        const uint8_t *ql = b->ql + 64 * half, *qh = b->qh + 32 * half;
        uint8_t *out = codes + 128 * half;
        for (int i = 0; i < 32; i++) {
            out[i] = (uint8_t)((ql[i] & 15) | (qh[i] & 3) << 4);
            out[i + 32] = (uint8_t)((ql[i + 32] & 15) | (qh[i] >> 2 & 3) << 4);
            out[i + 64] = (uint8_t)(ql[i] >> 4 | (qh[i] >> 4 & 3) << 4);
            out[i + 96] = (uint8_t)(ql[i + 32] >> 4 | (qh[i] >> 6) << 4);
        }
    }
}

#endif
