/* Strips of BF16 weights: a vector holds two neighbouring columns of 16 rows, and one instruction
 * adds both products to each row's sum. It rounds as AVX512_BF16 does: no subnormals. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/strip_avx512.h"

void quant_strip_bf16_avx512bf16(const void *weight, size_t row_bytes, size_t n_rows, size_t n_cols,
                                 quant_strip *out) {
    uint16_t rows[QUANT_STRIP_ROWS][16];
    for (size_t c = 0; c < n_cols; c += 16) {
        if (n_rows == QUANT_STRIP_ROWS && c + 16 <= n_cols && row_bytes % sizeof(float) == 0) {
            turn((const uint8_t *)weight + c * sizeof rows[0][0], row_bytes / sizeof(float), 8,
                 out->pairs[c / 2]);
            continue;
        }
        size_t n = n_cols - c < 16 ? n_cols - c : 16;
        memset(rows, 0, sizeof rows);
        for (size_t r = 0; r < QUANT_STRIP_ROWS; r++)
            memcpy(rows[r], strip_row(weight, row_bytes, n_rows, r) + c * sizeof rows[0][0],
                   n * sizeof rows[0][0]);
        turn(rows, 8, 8, out->pairs[c / 2]);
    }
}

static ALWAYS_INLINE __m512bh pair_of(const uint8_t *act, size_t c, size_t n_cols) {
    uint32_t two = 0;
    memcpy(&two, act + c * 2, n_cols - c < 2 ? 2 : 4);
    return (__m512bh)_mm512_set1_epi32((int32_t)two);
}

static ALWAYS_INLINE void multiply_pairs(size_t n_bytes, const quant_strip *strip, size_t n_cols,
                                         const uint8_t *acts, size_t act_bytes, size_t n,
                                         float *out, size_t stride, bool add) {
    __m512 sum[ACTS];
    size_t c = 0;
    clear(sum, n);
    for (; c + 2 <= n_cols; c += 2) {
        __m512bh w = (__m512bh)_mm512_load_si512(strip->pairs[c / 2]);
        UNROLL(8)
        for (size_t t = 0; t < n; t++)
            sum[t] =
                _mm512_dpbf16_ps(sum[t], w, (__m512bh)spread(acts + t * act_bytes + c * n_bytes));
    }
    if (c < n_cols)
        for (size_t t = 0; t < n; t++)
            sum[t] = _mm512_dpbf16_ps(sum[t], (__m512bh)_mm512_load_si512(strip->pairs[c / 2]),
                                      pair_of(acts + t * act_bytes, c, n_cols));
    store_sums(out, stride, n, add, sum);
}

void quant_strip_mul_bf16_avx512bf16(MULTIPLY_ARGS) {
    MULTIPLY(multiply_pairs, sizeof(uint16_t));
}
