/* Strips: pieces of 16 weight rows unpacked so that one vector holds four neighbouring columns of
 * every row. Worth their making where many activations meet them. Layouts are those of x86;
 * arm/strip_neon.inc says where its own differ. Internal to quant. */
#ifndef QUANT_KERNELS_STRIP_H
#define QUANT_KERNELS_STRIP_H

#include "quant/kernels/blocks.h"

#include <stdbool.h>
#include <stddef.h>

#define QUANT_STRIP_ROWS 16
#define QUANT_STRIP_ACTS 8    /* most activation rows of one call */
#define QUANT_STRIP_COLS 1024 /* most columns of one strip */

/* A super-block of each row: y = d s q - dmin m. Codes [columns / 4][row][4]; scales of n
 * sub-blocks [n][row]; minimums of pairs of
 * sub-blocks [n / 2][row][2]. */
typedef struct strip_super {
    uint8_t codes[QUANT_SUPER / 4][QUANT_STRIP_ROWS * 4];
    int32_t scales[16][QUANT_STRIP_ROWS];
    int16_t mins[8][QUANT_STRIP_ROWS * 2];
    float d[QUANT_STRIP_ROWS], dmin[QUANT_STRIP_ROWS];
} strip_super;

/* A plain block of each row: y = d (q - 128) + m with m 0, or y = d q + m. */
typedef struct strip_plain {
    uint8_t codes[QUANT_BLOCK / 4][QUANT_STRIP_ROWS * 4];
    float d[QUANT_STRIP_ROWS], m[QUANT_STRIP_ROWS];
} strip_plain;

/* BF16: a pair of columns of each row in `pairs`. */
typedef union quant_strip {
    strip_super supers[QUANT_STRIP_COLS / QUANT_SUPER];
    strip_plain plains[QUANT_STRIP_COLS / QUANT_BLOCK];
    uint16_t pairs[QUANT_STRIP_COLS / 2][QUANT_STRIP_ROWS * 2];
} __attribute__((aligned(64))) quant_strip;

#endif
