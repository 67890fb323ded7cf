/* NEON activation encoders, with the bytes of the scalar ones. */
#include "quant/kernels/arm/codes_neon.h"
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"

void quant_act_q8_neon(const float *src, size_t n_cols, void *dst) {
    block_act_q8 *chunk = dst;
    memset(chunk, 0, quant_act_row_bytes(QUANT_ACT_Q8, n_cols));
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++, src += QUANT_BLOCK) {
        block_act_q8 *b = chunk + i / 8;
        size_t k = i % 8;
        b->d[k] = greatest_abs(src, QUANT_BLOCK) / 127.0f;
        encode_codes(src, QUANT_BLOCK, quant_inverse(b->d[k]), b->qs[k]);
        int sum = vaddlvq_s8(vld1q_s8(b->qs[k])) + vaddlvq_s8(vld1q_s8(b->qs[k] + 16));
        b->s[k] = b->d[k] * (float)sum;
        b->shift[k] = -128 * sum;
    }
}

void quant_act_q8_k_neon(const float *src, size_t n_cols, void *dst) {
    block_act_q8_k *b = dst;
    for (size_t i = 0; i < n_cols; i += QUANT_SUPER, b++) {
        memset(b, 0, sizeof *b);
        b->d = greatest_abs(src + i, QUANT_SUPER) / 127.0f;
        encode_codes(src + i, QUANT_SUPER, quant_inverse(b->d), b->qs);
        for (int j = 0; j < 16; j++) b->sums[j] = vaddlvq_s8(vld1q_s8(b->qs + 16 * j));
        for (int j = 0; j < 8; j++) b->sums32[j] = (int16_t)(b->sums[2 * j] + b->sums[2 * j + 1]);
    }
}
