/* AVX-512 products of float weights, and of plain blocks with VNNI. */
#include "quant/kernels.h"
#include "quant/x86/float_tile.h"
#include "quant/x86/plain_avx2.h"

/* ---- float weights: a sum of 16 lanes per product
 * --------------------------------------------------- */

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

/* Add the products of up to 16 columns from column i on to sum[row][activation]. */
static ALWAYS_INLINE void add_columns(const float_tile *m, size_t n_bytes, load16_fn *load,
                                      size_t i, __mmask16 mask, size_t n_rows, size_t n_acts,
                                      __m512 sum[QUANT_TILE_ROWS][QUANT_DOT_ACTS]) {
    __m512 x[QUANT_TILE_ROWS];
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
        x[r] = load(mask, m->weight + r * m->row_bytes + i * n_bytes);
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++) {
        __m512 a = load16_f32(mask, m->acts + t * m->act_bytes + i * sizeof(float));
#pragma GCC unroll 4
        for (size_t r = 0; r < n_rows; r++) sum[r][t] = _mm512_fmadd_ps(x[r], a, sum[r][t]);
    }
}

/* Column c goes to lane c % 16. */
static ALWAYS_INLINE void tile_floats(const float_tile *m, size_t n_bytes, load16_fn *load,
                                      size_t n_rows, size_t n_acts) {
    __m512 sum[QUANT_TILE_ROWS][QUANT_DOT_ACTS];
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (size_t t = 0; t < n_acts; t++) sum[r][t] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= m->n_cols; i += 16)
        add_columns(m, n_bytes, load, i, 0xFFFF, n_rows, n_acts, sum);
    if (i < m->n_cols)
        add_columns(m, n_bytes, load, i, (__mmask16)((1u << (m->n_cols - i)) - 1), n_rows, n_acts,
                    sum);
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (size_t t = 0; t < n_acts; t++)
            m->out[r * m->out_stride + t] = _mm512_reduce_add_ps(sum[r][t]);
}

#define FLOAT_TILE(name, n_bytes) DEFINE_FLOAT_TILE(name, n_bytes, load16_##name, avx512)
FLOAT_TILE(f32, 4)
FLOAT_TILE(f16, 2)
FLOAT_TILE(bf16, 2)

/* ---- plain blocks ------------------------------------------------------------------------ */

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_unsigned(__m256i q, __m256i a) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), q, a);
}

static ALWAYS_INLINE __m256i dot_signed(__m256i q, __m256i a) {
    return dot_unsigned(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
}

#define KERNEL_NAME(op, type) quant_##op##_##type##_avx512
#include "quant/x86/dot_plain.inc"
