/* Scalar decoders. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/lanes_scalar.h"
#include "quant/unpack.h"

#include "quant/decode.inc"

void quant_decode_f16_scalar(const void *src, size_t n_cols, float *dst) {
    const uint8_t *in = src;
    for (size_t i = 0; i < n_cols; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, sizeof h);
        dst[i] = quant_f16_to_f32(h);
    }
}
