/* Products of a few rows of float weights with a few activation rows at once: each number that is
 * loaded serves several products. A product's sum is the same alone or in a tile. The sums
 * stay in registers only where the loops over them are unrolled. */
#ifndef QUANT_FLOAT_TILE_H
#define QUANT_FLOAT_TILE_H

#include "quant/kernels.h"
#include "quant/x86/vec_avx2.h"

/* See quant_tile_fn. */
typedef struct float_tile {
    const uint8_t *weight, *acts;
    size_t row_bytes, act_bytes, n_cols, out_stride;
    float *out;
} float_tile;

/* The dot and the tile kernel of a type over tile_floats(m, n_bytes, load, n_rows, n_acts). */
#define DEFINE_FLOAT_TILE(name, n_bytes, load, isa)                                               \
    static void rows_##name(const float_tile *m, size_t n_acts) {                                 \
        if (n_acts == QUANT_DOT_ACTS)                                                             \
            tile_floats(m, n_bytes, load, QUANT_TILE_ROWS, QUANT_DOT_ACTS);                       \
        else                                                                                      \
            for (float_tile one = *m; n_acts > 0; n_acts--, one.acts += m->act_bytes, one.out++)  \
                tile_floats(&one, n_bytes, load, QUANT_TILE_ROWS, 1);                             \
    }                                                                                             \
    void quant_dot_##name##_##isa(DOT_ARGS) {                                                     \
        float_tile m = {weight, acts, 0, act_bytes, n_cols, 0, out};                              \
        if (n_acts == QUANT_DOT_ACTS)                                                             \
            tile_floats(&m, n_bytes, load, 1, QUANT_DOT_ACTS);                                    \
        else                                                                                      \
            for (; n_acts > 0; n_acts--, m.acts += act_bytes, m.out++)                            \
                tile_floats(&m, n_bytes, load, 1, 1);                                             \
    }                                                                                             \
    void quant_tile_##name##_##isa(const void *weight, size_t row_bytes, size_t n_cols,           \
                                   const void *acts, size_t act_bytes, size_t n_acts, float *out, \
                                   size_t out_stride) {                                           \
        rows_##name(&(float_tile){weight, acts, row_bytes, act_bytes, n_cols, out_stride, out},   \
                    n_acts);                                                                      \
    }

#endif
