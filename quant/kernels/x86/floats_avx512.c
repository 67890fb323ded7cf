/* AVX-512 products of floats: column c goes to lane c % 16 of its product's sum. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/reduce_avx512.h"

typedef __m512 load16_fn(__mmask16 mask, const uint8_t *p); /* 16 weights; 0 where not in mask */

static ALWAYS_INLINE __m512 load16_f32(__mmask16 mask, const uint8_t *p) {
    return _mm512_maskz_loadu_ps(mask, p);
}

static ALWAYS_INLINE __m512 load16_f16(__mmask16 mask, const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}

static ALWAYS_INLINE __m512 load16_bf16(__mmask16 mask, const uint8_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static ALWAYS_INLINE void add_columns(const quant_floats *m, size_t n_bytes, load16_fn *load,
                                      size_t i, __mmask16 mask, size_t n_rows, size_t n_acts,
                                      __m512 sum[QUANT_FLOAT_ACTS][QUANT_FLOAT_ROWS]) {
    __m512 a[QUANT_FLOAT_ACTS];
    UNROLL(4)
    for (size_t t = 0; t < n_acts; t++)
        a[t] = load16_f32(mask, m->acts + t * m->act_bytes + i * sizeof(float));
    UNROLL(6)
    for (size_t r = 0; r < n_rows; r++) {
        __m512 x = load(mask, m->rows + r * m->row_bytes + i * n_bytes);
        UNROLL(4)
        for (size_t t = 0; t < n_acts; t++) sum[t][r] = _mm512_fmadd_ps(x, a[t], sum[t][r]);
    }
}

static ALWAYS_INLINE void store_sums(const quant_floats *m, const __m512 *sum, size_t n_rows,
                                     float *out) {
    for (size_t r = 0; r < n_rows; r += 4) {
        __m512 none = _mm512_setzero_ps();
        __mmask8 mask = n_rows - r < 4 ? (__mmask8)((1u << (n_rows - r)) - 1) : 15;
        __m128 sums =
            sum_four(sum[r], r + 1 < n_rows ? sum[r + 1] : none, r + 2 < n_rows ? sum[r + 2] : none,
                     r + 3 < n_rows ? sum[r + 3] : none);
        if (m->add) sums = _mm_add_ps(_mm_maskz_loadu_ps(mask, out + r), sums);
        _mm_mask_storeu_ps(out + r, mask, sums);
    }
}

static ALWAYS_INLINE void multiply(const quant_floats *m, size_t n_bytes, load16_fn *load,
                                   size_t n_rows, size_t n_acts) {
    __m512 sum[QUANT_FLOAT_ACTS][QUANT_FLOAT_ROWS];
    UNROLL(4)
    for (size_t t = 0; t < n_acts; t++) UNROLL(6)
    for (size_t r = 0; r < n_rows; r++) sum[t][r] = _mm512_setzero_ps();
    size_t i = 0, rest = m->n_cols % 16;
    for (; i + 16 <= m->n_cols; i += 16) {
        prefetch_ahead(m, i * n_bytes, 16 * n_bytes, n_rows, n_acts);
        add_columns(m, n_bytes, load, i, 0xFFFF, n_rows, n_acts, sum);
    }
    if (rest) add_columns(m, n_bytes, load, i, (__mmask16)((1u << rest) - 1), n_rows, n_acts, sum);
    UNROLL(4)
    for (size_t t = 0; t < n_acts; t++) store_sums(m, sum[t], n_rows, m->out + t * m->out_stride);
}

#define FLOATS(name, n_bytes)                                                   \
    void quant_floats_##name##_avx512(const quant_floats *m) {                  \
        FLOATS_BY_SHAPE(m, multiply, QUANT_FLOAT_ACTS, n_bytes, load16_##name); \
    }

FLOATS(f32, 4)
FLOATS(f16, 2)
FLOATS(bf16, 2)
