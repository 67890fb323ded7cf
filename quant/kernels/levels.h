/* The 16 levels of the types whose codes are no plain integers. */
#ifndef QUANT_KERNELS_LEVELS_H
#define QUANT_KERNELS_LEVELS_H

#include <stdint.h>

/* codes 0..15 in rising order of their levels; tree is a binary search tree of the 15 midpoints:
 * from node n on to node 2 n, or 2 n + 1 if x is greater; leaf 16 + i stands for level i. */
typedef struct quant_levels {
    float level[16];
    float tree[16]; /* tree[0] is unused */
} quant_levels;

extern const quant_levels quant_iq4_levels;
extern const quant_levels quant_mxfp4_levels; /* level -12 first; see quant_mxfp4_codes */

extern const quant_levels quant_sign_levels; /* -1 for all codes but the last; no tree */

/* The integers behind them, by code as stored. */
extern const int8_t quant_iq4_values[16];
extern const int8_t quant_mxfp4_values[16];

/* Code as stored for each level of quant_mxfp4_levels, whose lowest two are the same. */
extern const uint8_t quant_mxfp4_codes[16];

#endif
