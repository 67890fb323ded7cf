/* Small pieces shared by the NEON product kernels. */
#ifndef QUANT_KERNELS_ARM_VEC_NEON_H
#define QUANT_KERNELS_ARM_VEC_NEON_H

#include "quant/kernels/blocks.h"
#include "quant/kernels/dot_args.h"
#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"

#include <arm_neon.h>

/* Bits of each byte selected by mask after a shift left by n (to the right if negative). */
static ALWAYS_INLINE uint8x16_t bits_at(uint8x16_t v, int n, int mask) {
    return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)n)), vdupq_n_u8((uint8_t)mask));
}

static ALWAYS_INLINE int8x16_t look_up(const int8_t values[16], uint8x16_t codes) {
    return vqtbl1q_s8(vld1q_s8(values), codes);
}

#endif
