/* Blocks of ik_llama.cpp's types, as blocks.h has those of ggml. Where a row begins with a head, it
 * holds d: an f16 if it has two bytes, otherwise an f32. */
#ifndef QUANT_KERNELS_BLOCKS_IK_H
#define QUANT_KERNELS_BLOCKS_IK_H

#include "quant/kernels/blocks.h"

/* y = d (q - 32): low nibbles in qs, two upper bits of element i in bits 4 (i / 8 % 2) + 2 (i / 16)
 * of qh[i % 8] */
typedef struct QUANT_PACKED block_q6_0 {
    uint16_t d;
    uint8_t qh[8], qs[16];
} block_q6_0;

/* ---- levels: a bit of `extra` per sub-block chooses between two sets of them ---------------- */

/* 16 sub-blocks of 16: y = d (S - 8) K[q], 4-bit S, codes as in Q2_K */
typedef struct QUANT_PACKED block_iq2_k {
    uint16_t d, extra;
    uint8_t scales[8], qs[64];
} block_iq2_k;

/* 16 sub-blocks of 16: y = d (2 S + 1) K[q] or the negative by a bit of scales_h; codes as in Q3_K
 */
typedef struct QUANT_PACKED block_iq3_k {
    uint16_t d, extra, scales_h;
    uint8_t scales_l[8], qs[64], qh[32];
} block_iq3_k;

/* 16 sub-blocks of 16: y = d (S - 32) K[q], 6-bit S; 32 codes in each 16 bytes */
typedef struct QUANT_PACKED block_iq4_k {
    uint16_t d, extra;
    uint8_t scales_h[4], scales_l[8], qs[128];
} block_iq4_k;

/* The same with codes as in Q5_K */
typedef struct QUANT_PACKED block_iq5_k {
    uint16_t d, extra;
    uint8_t scales_h[4], scales_l[8], qs[128], qh[32];
} block_iq5_k;

/* 16 sub-blocks of 16: y = d S (P(q) + extra), P a polynomial; nibbles as in Q5_K, two upper bits
 * in qh */
typedef struct QUANT_PACKED block_iq6_k {
    uint16_t d, extra;
    int8_t scales[16];
    uint8_t qs[128], qh[64];
} block_iq6_k;

/* ---- the same with d in the row's head, 8 sub-blocks of 32 ---------------------------------- */

/* y = d (S - 16) K[q], 5-bit S, its upper bit and the choice of K in `extra` */
typedef struct QUANT_PACKED block_iq2_ks {
    uint16_t extra;
    uint8_t scales[4], qs[64];
} block_iq2_ks;

typedef struct QUANT_PACKED block_iq3_ks {
    uint16_t extra;
    uint8_t scales[4], qs[64], qh[32];
} block_iq3_ks;

/* y = d ((s & 254) - 127) K[q], bit 0 of s chooses K */
typedef struct QUANT_PACKED block_iq4_ks {
    uint8_t scales[8], qs[128];
} block_iq4_ks;

typedef struct QUANT_PACKED block_iq5_ks {
    uint8_t scales[8], qs[128], qh[32];
} block_iq5_ks;

/* As IQ4_KS; the bits of s are bit 0 of each of 8 uint16, whose other bits hold the codes: each
 * number exclusive or itself shifted right */
typedef struct QUANT_PACKED block_iq4_kss {
    uint16_t qs[64];
} block_iq4_kss;

/* y = d (S - 32) and a pair of levels by a 5-bit code, 6-bit S */
typedef struct QUANT_PACKED block_iq2_kl {
    uint16_t scales_h;
    uint8_t scales_l[4], qs[64], qh[16];
} block_iq2_kl;

/* ---- trellises: a seed gives the numbers of a group of 8 or 4, d in the row's head ----------- */

/* Seeds of 13 bits; 4 bits of `sh` choose the scale of a sub-block of 32 among the levels of IQ4 */
typedef struct QUANT_PACKED block_iq1_kt {
    uint8_t sh[8], ql[32], qh[16];
} block_iq1_kt;

/* Seeds of 16 bits */
typedef struct QUANT_PACKED block_iq2_kt {
    uint8_t scales[4];
    uint16_t seeds[32];
} block_iq2_kt;

/* Magnitudes by seed, 4-bit scales, and signs */
typedef struct QUANT_PACKED block_iq3_kt {
    uint8_t scales[4];
    uint16_t seeds[32];
    uint8_t qh[32];
} block_iq3_kt;

/* Groups of 4 with seeds of 15 bits; of the first 8 numbers bit 0 shifts the seeds, 7 bits are the
 * scale, and 3 bits belong to each of 8 seeds */
typedef struct QUANT_PACKED block_iq4_kt {
    uint32_t sh[8];
    uint8_t ql[64], qh[32];
} block_iq4_kt;

/* ---- ternary and bytes, d in the row's head ------------------------------------------------- */

/* 64 elements: y = d (t - 1); bytes as in TQ1_0, five digits each; `extra` has every 16th */
typedef struct QUANT_PACKED block_iq1_bn {
    uint8_t ql[12], extra;
} block_iq1_bn;

/* 64 elements: y = d (q - 1), element i in bits 2 (i / 16) of qs[i % 16] */
typedef struct QUANT_PACKED block_iq2_bn {
    uint8_t qs[16];
} block_iq2_bn;

_Static_assert(sizeof(block_q6_0) == 26, "Q6_0");
_Static_assert(sizeof(block_iq2_k) == 76, "IQ2_K");
_Static_assert(sizeof(block_iq3_k) == 110, "IQ3_K");
_Static_assert(sizeof(block_iq4_k) == 144, "IQ4_K");
_Static_assert(sizeof(block_iq5_k) == 176, "IQ5_K");
_Static_assert(sizeof(block_iq6_k) == 212, "IQ6_K");
_Static_assert(sizeof(block_iq2_ks) == 70, "IQ2_KS");
_Static_assert(sizeof(block_iq3_ks) == 102, "IQ3_KS");
_Static_assert(sizeof(block_iq4_ks) == 136, "IQ4_KS");
_Static_assert(sizeof(block_iq5_ks) == 168, "IQ5_KS");
_Static_assert(sizeof(block_iq4_kss) == 128, "IQ4_KSS");
_Static_assert(sizeof(block_iq2_kl) == 86, "IQ2_KL");
_Static_assert(sizeof(block_iq1_kt) == 56, "IQ1_KT");
_Static_assert(sizeof(block_iq2_kt) == 68, "IQ2_KT");
_Static_assert(sizeof(block_iq3_kt) == 100, "IQ3_KT");
_Static_assert(sizeof(block_iq4_kt) == 128, "IQ4_KT");
_Static_assert(sizeof(block_iq1_bn) == 13, "IQ1_BN");
_Static_assert(sizeof(block_iq2_bn) == 16, "IQ2_BN");

#endif
