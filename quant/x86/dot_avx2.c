/* AVX2 products of float weights and of plain blocks. */
#include "quant/kernels.h"
#include "quant/x86/float_tile.h"
#include "quant/x86/plain_avx2.h"

/* ---- float weights: a sum of 8 lanes per product ------------------------------------------ */

typedef __m256 load8_fn(const uint8_t *p); /* 8 weights */

static ALWAYS_INLINE __m256 load8_f32(const uint8_t *p) {
    return _mm256_loadu_ps((const float *)(const void *)p);
}

static ALWAYS_INLINE __m256 load8_f16(const uint8_t *p) {
    return _mm256_cvtph_ps(load_128(p));
}

static ALWAYS_INLINE __m256 load8_bf16(const uint8_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_128(p)), 16));
}

/* The last columns, fewer than 8, as a vector filled up with zeros. */
static ALWAYS_INLINE __m256 load_tail(const uint8_t *p, size_t n_bytes, size_t n, load8_fn *load) {
    uint8_t buffer[32] = {0};
    memcpy(buffer, p, n * n_bytes);
    return load(buffer);
}

/* Add the products of 8 columns from column i on, or of the last n, to sum[row][activation]. */
static ALWAYS_INLINE void add_columns(const float_tile *m, size_t n_bytes, load8_fn *load, size_t i,
                                      size_t n, size_t n_rows, size_t n_acts,
                                      __m256 sum[QUANT_TILE_ROWS][2]) {
    __m256 a[2];
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++) {
        const uint8_t *p = m->acts + t * m->act_bytes + i * sizeof(float);
        a[t] = n < 8 ? load_tail(p, sizeof(float), n, load8_f32) : load8_f32(p);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *p = m->weight + r * m->row_bytes + i * n_bytes;
        __m256 x = n < 8 ? load_tail(p, n_bytes, n, load) : load(p);
#pragma GCC unroll 4
        for (size_t t = 0; t < n_acts; t++) sum[r][t] = _mm256_fmadd_ps(x, a[t], sum[r][t]);
    }
}

/* Column c goes to lane c % 8; at most two activations, for more would not leave enough registers.
 */
static ALWAYS_INLINE void tile_pair(const float_tile *m, size_t n_bytes, load8_fn *load,
                                    size_t n_rows, size_t n_acts) {
    __m256 sum[QUANT_TILE_ROWS][2];
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (size_t t = 0; t < n_acts; t++) sum[r][t] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= m->n_cols; i += 8) add_columns(m, n_bytes, load, i, 8, n_rows, n_acts, sum);
    if (i < m->n_cols) add_columns(m, n_bytes, load, i, m->n_cols - i, n_rows, n_acts, sum);
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (size_t t = 0; t < n_acts; t++) m->out[r * m->out_stride + t] = sum_lanes(sum[r][t]);
}

static ALWAYS_INLINE void tile_floats(const float_tile *m, size_t n_bytes, load8_fn *load,
                                      size_t n_rows, size_t n_acts) {
    float_tile pair = *m;
    for (; n_acts >= 2; n_acts -= 2) {
        tile_pair(&pair, n_bytes, load, n_rows, 2);
        pair.acts += 2 * pair.act_bytes;
        pair.out += 2;
    }
    if (n_acts) tile_pair(&pair, n_bytes, load, n_rows, 1);
}

#define FLOAT_TILE(name, n_bytes) DEFINE_FLOAT_TILE(name, n_bytes, load8_##name, avx2)

FLOAT_TILE(f32, 4)
FLOAT_TILE(f16, 2)
FLOAT_TILE(bf16, 2)

/* ---- plain blocks ------------------------------------------------------------------------ */

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_unsigned(__m256i q, __m256i a) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
}

static ALWAYS_INLINE __m256i dot_signed(__m256i q, __m256i a) {
    return dot_unsigned(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
}

#define KERNEL_NAME(op, type) quant_##op##_##type##_avx2
#include "quant/x86/dot_plain.inc"
