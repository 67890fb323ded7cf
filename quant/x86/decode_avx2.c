/* AVX2 decoders: the scalar ones with more lanes, and F16 with the processor's own conversion. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/unpack.h"
#include "quant/x86/lanes_avx2.h"

#include "quant/decode.inc"

void quant_decode_f16_avx2(const void *src, size_t n_cols, float *dst) {
    const uint8_t *in = src;
    size_t i = 0;
    for (; i + 8 <= n_cols; i += 8) {
        __m128i h = _mm_loadu_si128((const __m128i *)(const void *)(in + 2 * i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
    }
    for (; i < n_cols; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, sizeof h);
        dst[i] = quant_f16_to_f32(h);
    }
}
