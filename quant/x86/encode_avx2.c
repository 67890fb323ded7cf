/* AVX2 encoders: the scalar ones with more lanes. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/x86/lanes_avx2.h"

#include "quant/encode.inc"

void quant_encode_f16_avx2(const float *src, size_t n_cols, const float *imp, void *dst) {
    (void)imp;
    uint8_t *out = dst;
    for (size_t i = 0; i < n_cols; i++) {
        uint16_t h = _cvtss_sh(src[i], _MM_FROUND_TO_NEAREST_INT);
        memcpy(out + 2 * i, &h, sizeof h);
    }
}
