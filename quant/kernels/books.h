/* Super-blocks of codebooks (IQ1, IQ2, IQ3) and of ternary numbers (TQ) as codes. What stands here
 * is the same C for every instruction set: vectors begin at the codes. */
#ifndef QUANT_KERNELS_BOOKS_H
#define QUANT_KERNELS_BOOKS_H

#include "quant/kernels/blocks.h"

#include <stdbool.h>

/* y = d s (q - zero), s for 16 sub-blocks of 16. */
typedef struct quant_codes {
    uint8_t q[QUANT_SUPER];
    int8_t s[16];
    float d;
    int zero;
} quant_codes;

/* The codes of one block. */
typedef void quant_codes_fn(const void *block, quant_codes *out);

quant_codes_fn quant_codes_iq2_xxs, quant_codes_iq2_xs, quant_codes_iq2_s, quant_codes_iq3_xxs,
    quant_codes_iq3_s, quant_codes_iq1_s, quant_codes_iq1_m, quant_codes_tq1_0, quant_codes_tq2_0;

/* F(type) for each type that has such codes. */
#define FOR_EACH_BOOK(F) \
    F(iq2_xxs)           \
    F(iq2_xs)            \
    F(iq2_s)             \
    F(iq3_xxs)           \
    F(iq3_s)             \
    F(iq1_s)             \
    F(iq1_m)             \
    F(tq1_0)             \
    F(tq2_0)

/* The words of the codebooks with a byte for each element, in those of IQ1 what makes an eighth
 * below -1, 0, 1 of codes; and of sign bits, eight or the seven that stand for eight, a byte of
 * ones for each that is set. */
typedef struct quant_books {
    uint64_t iq1[2048], iq2_xxs[256], iq2_xs[512], iq2_s[1024];
    uint32_t iq3_xxs[256], iq3_s[512];
    uint64_t signs[256], even_signs[128];
} quant_books;

extern quant_books quant_spread_books;

/* Fill quant_spread_books; once, before the first use of any function above. */
void quant_books_spread(void);

/* Repacked, such a block is one of nibbles: numbers of levels, which are codes. */
typedef struct QUANT_PACKED quant_nibbles {
    float d;
    int8_t s[16];
    uint8_t qs[128]; /* of each 32 elements the first 16 in low nibbles */
} quant_nibbles;

extern const uint8_t quant_levels_iq1[16], quant_levels_iq2[16], quant_levels_iq3_xxs[16],
    quant_levels_iq3_s[16], quant_levels_ternary[16];

/* Whether a type is one of FOR_EACH_BOOK. */
bool quant_is_book(uint32_t type);

/* A block of such a type as nibbles. */
void quant_nibbles_of(uint32_t type, const void *block, quant_nibbles *out);

/* Greatest magnitudes, which are added to make codes that have no sign. */
enum {
    QUANT_ZERO_IQ1 = 9,
    QUANT_ZERO_IQ2 = 43,
    QUANT_ZERO_IQ3_XXS = 62,
    QUANT_ZERO_IQ3_S = 15,
    QUANT_ZERO_TERNARY = 1
};

#endif
