/* The numbers that a block can hold: y = d s v - dmin m, with a code number v per element and
 * integers s, m per sub-block. Reads the steps of a block and writes steps and codes back, so that
 * codes can be chosen by other rules than the nearest. Internal to quant. */
#ifndef QUANT_KERNELS_LATTICE_H
#define QUANT_KERNELS_LATTICE_H

#include "quant/kernels/levels.h"

#include <stdbool.h>
#include <stdint.h>

#define QUANT_MAX_SUBS 16 /* sub-blocks of a stored block */

/* How d and dmin are stored, so which values a refit may take. */
typedef enum quant_lattice_kind {
    QUANT_LATTICE_FLAT,       /* f16 d (and dmin) per block, s = m = 1 */
    QUANT_LATTICE_POWER,      /* d is a power of two, s = 1 */
    QUANT_LATTICE_UE4M3,      /* d = 1, s of quant_ue4m3_to_f32 per sub-block */
    QUANT_LATTICE_SUPER_BLOCK /* f16 d (and dmin), integers s (and m) per sub-block */
} quant_lattice_kind;

typedef struct quant_lattice {
    quant_lattice_kind kind;
    int n_elems, n_subs;        /* of a stored block */
    bool has_min;               /* m and dmin exist */
    float lo, hi;               /* code numbers, integers between; or those of levels */
    const quant_levels *levels; /* NULL = integers */
    float s_lo, s_hi;           /* integers s and m of a super-block */
} quant_lattice;

/* NULL for types whose codes are no choice (floats). */
const quant_lattice *quant_lattice_of(uint32_t type);

typedef struct quant_steps {
    float d, dmin;
    float s[QUANT_MAX_SUBS], m[QUANT_MAX_SUBS];
} quant_steps;

void quant_lattice_read(uint32_t type, const void *block, quant_steps *steps);

/* Write a whole block.
 *   numbers  [n_elems] code numbers, `numbers_stride` floats apart */
void quant_lattice_write(uint32_t type, const quant_steps *steps, const float *numbers,
                         int numbers_stride, void *block);

#endif
