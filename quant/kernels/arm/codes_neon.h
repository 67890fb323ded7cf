/* Floats rounded to codes of 8 bits, for activations and for strips of floats. */
#ifndef QUANT_KERNELS_ARM_CODES_NEON_H
#define QUANT_KERNELS_ARM_CODES_NEON_H

#include "quant/kernels/arm/lanes_neon.h"

static inline float greatest_abs(const float *x, size_t n) {
    lanes most = lanes_set(0.0f);
    for (size_t i = 0; i < n; i += LANES) most = lanes_max(lanes_abs(lanes_load(x + i)), most);
    return lanes_greatest(most);
}

static inline void encode_codes(const float *x, size_t n, float inv, int8_t *codes) {
    for (size_t i = 0; i < n; i += LANES) {
        lanes v = lanes_max(lanes_load(x + i) * lanes_set(inv), lanes_set(-127.0f));
        lanes_store_codes(codes + i, lanes_round(lanes_min(v, lanes_set(127.0f))));
    }
}

#endif
