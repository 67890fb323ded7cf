/* The block formats: structs as they lie in files, little-endian, and their sizes.
 * All structs are packed, so that a row may start at any address. */
#ifndef QUANT_KERNELS_BLOCKS_H
#define QUANT_KERNELS_BLOCKS_H

#include <stdint.h>

#define QUANT_PACKED __attribute__((packed))
#define QUANT_BLOCK  32  /* elements of a plain block */
#define QUANT_SUPER  256 /* elements of a super-block */

/* ---- plain blocks of 32; d, m are f16 ---------------------------------------------------- */

/* y = d (q - 8); element i is nibble i / 16 of qs[i % 16] */
typedef struct QUANT_PACKED block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
} block_q4_0;

/* y = d q + m */
typedef struct QUANT_PACKED block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
} block_q4_1;

/* y = d (q - 16); bit i of qh is the fifth bit of element i */
typedef struct QUANT_PACKED block_q5_0 {
    uint16_t d;
    uint32_t qh;
    uint8_t qs[16];
} block_q5_0;

/* y = d q + m */
typedef struct QUANT_PACKED block_q5_1 {
    uint16_t d, m;
    uint32_t qh;
    uint8_t qs[16];
} block_q5_1;

/* y = d q */
typedef struct QUANT_PACKED block_q8_0 {
    uint16_t d;
    int8_t qs[32];
} block_q8_0;

/* y = d K[q], K the 16 levels of quant_iq4_levels */
typedef struct QUANT_PACKED block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
} block_iq4_nl;

/* y = 2^(e - 128) F[q], F the 16 doubled E2M1 levels of quant_mxfp4_levels */
typedef struct QUANT_PACKED block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
} block_mxfp4;

/* 4 sub-blocks of 16: y = u(d) F[q], u of quant_ue4m3_to_f32; nibble i / 8 of qs[8 s + i % 8] */
typedef struct QUANT_PACKED block_nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
} block_nvfp4;

/* 128 elements: y = d or -d, where bit i is set or not */
typedef struct QUANT_PACKED block_q1_0 {
    uint16_t d;
    uint8_t qs[16];
} block_q1_0;

/* 64 elements: y = d (q - 1), four codes in a byte, the first in its lowest bits */
typedef struct QUANT_PACKED block_q2_0 {
    uint16_t d;
    uint8_t qs[16];
} block_q2_0;

/* ---- super-blocks of 256; d, dmin are f16 ------------------------------------------------ */

/* 16 sub-blocks of 16: y = d (sc & 15) q - dmin (sc >> 4) */
typedef struct QUANT_PACKED block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} block_q2_k;

/* 16 sub-blocks of 16: y = d (S - 32) (q - 4), third bit of q in hmask, 6-bit S packed in 12 bytes
 */
typedef struct QUANT_PACKED block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} block_q3_k;

/* 8 sub-blocks of 32: y = d S q - dmin M, 6-bit S and M packed in 12 bytes */
typedef struct QUANT_PACKED block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} block_q4_k;

/* As Q4_K; bit j of qh[i % 32] is the fifth bit of element i of sub-block j */
typedef struct QUANT_PACKED block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} block_q5_k;

/* 16 sub-blocks of 16: y = d scales (q - 32); low nibbles in ql, two high bits in qh */
typedef struct QUANT_PACKED block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} block_q6_k;

/* 8 sub-blocks of 32: y = d (S - 32) K[q], 6-bit S: low nibbles in scales_l, two high bits in
 * scales_h */
typedef struct QUANT_PACKED block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} block_iq4_xs;

/* ---- super-blocks of 256 with codebooks and ternary numbers; d is f16 ----------------------
 *
 * A word of the codebooks in codebooks.h gives the magnitudes of 8 elements (IQ1, IQ2) or 4 (IQ3).
 * Seven sign bits stand for eight: the eighth makes their number even. */

/* 8 sub-blocks of 32, 4 uint16 each: 4 word numbers of 8 bits, then 4 times seven sign bits and the
 * scale S in 4 bits; y = d (S + 1/2) / 4 word */
typedef struct QUANT_PACKED block_iq2_xxs {
    uint16_t d;
    uint32_t qs[16];
} block_iq2_xxs;

/* 16 sub-blocks of 16 with 4-bit S; a group: word number in 9 bits, seven sign bits */
typedef struct QUANT_PACKED block_iq2_xs {
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8];
} block_iq2_xs;

/* The same with two more bits of the word number in qh, and all signs */
typedef struct QUANT_PACKED block_iq2_s {
    uint16_t d;
    uint8_t qs[32], signs[32], qh[8], scales[8];
} block_iq2_s;

/* 8 sub-blocks of 32: 8 word numbers, and in `signs` 4 times seven sign bits and 4-bit S;
 * y = d (S + 1/2) / 2 word */
typedef struct QUANT_PACKED block_iq3_xxs {
    uint16_t d;
    uint8_t qs[64];
    uint32_t signs[8];
} block_iq3_xxs;

/* 8 sub-blocks of 32 with 4-bit S; a ninth bit of each word number in qh; y = d (2 S + 1) word */
typedef struct QUANT_PACKED block_iq3_s {
    uint16_t d;
    uint8_t qs[64], qh[8], signs[32], scales[4];
} block_iq3_s;

/* 8 sub-blocks of 32: qh has 4 times three upper bits of the word numbers, 3-bit S, and the sign of
 * the shift; y = d (2 S + 1) (word + shift / 8) */
typedef struct QUANT_PACKED block_iq1_s {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
} block_iq1_s;

/* The same with 16 scales of 3 bits, four in each uint16, whose upper four bits together are d; a
 * nibble of qh per group: three upper bits of the word number and the sign of the shift */
typedef struct QUANT_PACKED block_iq1_m {
    uint8_t qs[32], qh[16];
    uint16_t scales[4];
} block_iq1_m;

/* y = d (t - 1), t ternary: byte q stands for the fraction q / 256, whose ternary digits are 5 (in
 * qh 4) elements, 32, 16 or 4 apart */
typedef struct QUANT_PACKED block_tq1_0 {
    uint8_t qs[48], qh[4];
    uint16_t d;
} block_tq1_0;

/* y = d (q - 1), codes as in Q2_K */
typedef struct QUANT_PACKED block_tq2_0 {
    uint8_t qs[64];
    uint16_t d;
} block_tq2_0;

/* ---- activations (in memory only; whole cache lines) ------------------------------------- */

/* 8 blocks of 32, the last ones of a row all zero if it has no more: y = d[b] q; s = d * sum of q;
 * shift = -128 * sum of q, what weight codes that are stored with 128 more need */
typedef struct QUANT_PACKED block_act_q8 {
    int8_t qs[8][32];
    float d[8], s[8];
    int32_t shift[8];
    uint8_t unused[32];
} block_act_q8;

/* y = d q; sums[j] is the sum of qs[16 j .. 16 j + 15], sums32[j] that of qs[32 j .. 32 j + 31] */
typedef struct QUANT_PACKED block_act_q8_k {
    int8_t qs[256];
    int16_t sums[16], sums32[8];
    float d;
    uint8_t unused[12];
} block_act_q8_k;

_Static_assert(sizeof(block_q4_0) == 18, "Q4_0");
_Static_assert(sizeof(block_q4_1) == 20, "Q4_1");
_Static_assert(sizeof(block_q5_0) == 22, "Q5_0");
_Static_assert(sizeof(block_q5_1) == 24, "Q5_1");
_Static_assert(sizeof(block_q8_0) == 34, "Q8_0");
_Static_assert(sizeof(block_iq4_nl) == 18, "IQ4_NL");
_Static_assert(sizeof(block_mxfp4) == 17, "MXFP4");
_Static_assert(sizeof(block_nvfp4) == 36, "NVFP4");
_Static_assert(sizeof(block_q1_0) == 18, "Q1_0");
_Static_assert(sizeof(block_q2_0) == 18, "Q2_0");
_Static_assert(sizeof(block_q2_k) == 84, "Q2_K");
_Static_assert(sizeof(block_q3_k) == 110, "Q3_K");
_Static_assert(sizeof(block_q4_k) == 144, "Q4_K");
_Static_assert(sizeof(block_q5_k) == 176, "Q5_K");
_Static_assert(sizeof(block_q6_k) == 210, "Q6_K");
_Static_assert(sizeof(block_iq4_xs) == 136, "IQ4_XS");
_Static_assert(sizeof(block_iq2_xxs) == 66, "IQ2_XXS");
_Static_assert(sizeof(block_iq2_xs) == 74, "IQ2_XS");
_Static_assert(sizeof(block_iq2_s) == 82, "IQ2_S");
_Static_assert(sizeof(block_iq3_xxs) == 98, "IQ3_XXS");
_Static_assert(sizeof(block_iq3_s) == 110, "IQ3_S");
_Static_assert(sizeof(block_iq1_s) == 50, "IQ1_S");
_Static_assert(sizeof(block_iq1_m) == 56, "IQ1_M");
_Static_assert(sizeof(block_tq1_0) == 54, "TQ1_0");
_Static_assert(sizeof(block_tq2_0) == 66, "TQ2_0");
_Static_assert(sizeof(block_act_q8) == 384, "activations per 8 blocks");
_Static_assert(sizeof(block_act_q8_k) == 320, "activations per 256");

#endif
