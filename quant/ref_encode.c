/* Scalar encoders: they define the bytes. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/lanes_scalar.h"

#include "quant/encode.inc"

void quant_encode_f16_scalar(const float *src, size_t n_cols, const float *imp, void *dst) {
    (void)imp;
    uint8_t *out = dst;
    for (size_t i = 0; i < n_cols; i++) {
        uint16_t h = quant_f32_to_f16(src[i]);
        memcpy(out + 2 * i, &h, sizeof h);
    }
}
