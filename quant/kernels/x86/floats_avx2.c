/* AVX2 products of floats: column c goes to lane c % 8 of its product's sum. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/vec_avx2.h"

enum { PAIR = 2 }; /* activations at once: more would not leave enough registers */

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

/* 8 columns, or the last n, filled up with zeros. */
static ALWAYS_INLINE __m256 load_columns(const uint8_t *p, size_t n_bytes, size_t n,
                                         load8_fn *load) {
    uint8_t buffer[32] = {0};
    if (n == 8) return load(p);
    memcpy(buffer, p, n * n_bytes);
    return load(buffer);
}

static ALWAYS_INLINE void add_columns(const quant_floats *m, size_t n_bytes, load8_fn *load,
                                      size_t i, size_t n, size_t n_rows, size_t n_acts,
                                      __m256 sum[PAIR][QUANT_FLOAT_ROWS]) {
    __m256 a[PAIR];
    UNROLL(2)
    for (size_t t = 0; t < n_acts; t++)
        a[t] = load_columns(m->acts + t * m->act_bytes + i * sizeof(float), sizeof(float), n,
                            load8_f32);
    UNROLL(6)
    for (size_t r = 0; r < n_rows; r++) {
        __m256 x = load_columns(m->rows + r * m->row_bytes + i * n_bytes, n_bytes, n, load);
        UNROLL(2)
        for (size_t t = 0; t < n_acts; t++) sum[t][r] = _mm256_fmadd_ps(x, a[t], sum[t][r]);
    }
}

static ALWAYS_INLINE void multiply(const quant_floats *m, size_t n_bytes, load8_fn *load,
                                   size_t n_rows, size_t n_acts) {
    __m256 sum[PAIR][QUANT_FLOAT_ROWS];
    UNROLL(2)
    for (size_t t = 0; t < n_acts; t++) UNROLL(6)
    for (size_t r = 0; r < n_rows; r++) sum[t][r] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= m->n_cols; i += 8) {
        prefetch_ahead(m, i * n_bytes, 8 * n_bytes, n_rows, n_acts);
        add_columns(m, n_bytes, load, i, 8, n_rows, n_acts, sum);
    }
    if (i < m->n_cols) add_columns(m, n_bytes, load, i, m->n_cols - i, n_rows, n_acts, sum);
    UNROLL(2)
    for (size_t t = 0; t < n_acts; t++) UNROLL(6)
    for (size_t r = 0; r < n_rows; r++) {
        float *out = m->out + t * m->out_stride + r;
        *out = sum_lanes(sum[t][r]) + (m->add ? *out : 0.0f);
    }
}

#define FLOATS(name, n_bytes)                                      \
    void quant_floats_##name##_avx2(const quant_floats *m) {       \
        FLOATS_BY_SHAPE(m, multiply, PAIR, n_bytes, load8_##name); \
    }

FLOATS(f32, 4)
FLOATS(f16, 2)
FLOATS(bf16, 2)
