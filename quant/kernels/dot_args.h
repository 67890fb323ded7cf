/* What the dot kernels of all sets share. */
#ifndef QUANT_KERNELS_DOT_ARGS_H
#define QUANT_KERNELS_DOT_ARGS_H

#include "quant/kernels/unroll.h"

#include <stddef.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Parameters of a dot kernel. */
#define DOT_ARGS \
    const void *weight, size_t n_cols, const void *acts, size_t act_bytes, size_t n_acts, float *out

/* Call body(..., n_cols, acts, act_bytes, N, out) with the number of activations as a constant. */
#define FOR_N_ACTS(body, ...)                               \
    switch (n_acts) {                                       \
    case 1:                                                 \
        body(__VA_ARGS__, n_cols, acts, act_bytes, 1, out); \
        break;                                              \
    case 2:                                                 \
        body(__VA_ARGS__, n_cols, acts, act_bytes, 2, out); \
        break;                                              \
    case 3:                                                 \
        body(__VA_ARGS__, n_cols, acts, act_bytes, 3, out); \
        break;                                              \
    default:                                                \
        body(__VA_ARGS__, n_cols, acts, act_bytes, 4, out); \
        break;                                              \
    }

#endif
