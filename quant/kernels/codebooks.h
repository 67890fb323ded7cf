/* The codebooks of the IQ1, IQ2 and IQ3 types: groups of elements by number. */
#ifndef QUANT_KERNELS_CODEBOOKS_H
#define QUANT_KERNELS_CODEBOOKS_H

#include <stdint.h>

/* 8 elements of two bits each, the first lowest: 0, 1, 2 stand for -1, 0, 1. */
extern const uint16_t quant_book_iq1[2048];

/* The same, for 8, 25, 43. */
extern const uint16_t quant_book_iq2_xxs[256];
extern const uint16_t quant_book_iq2_xs[512];
extern const uint16_t quant_book_iq2_s[1024];

/* 4 elements of three bits each: for 4, 12, 20, 28, 36, 44, 52, 62 in IQ3_XXS, for 1, 3, 5 .. 15 in
 * IQ3_S. */
extern const uint16_t quant_book_iq3_xxs[256];
extern const uint16_t quant_book_iq3_s[512];

#endif
