/* AVX2 products of float weights and of plain blocks. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"

/* ---- float weights: 4 sums of 8 lanes, column c in lane c % 8 of sum c / 8 % 4 ----------- */

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

static ALWAYS_INLINE void dot_floats(const uint8_t *w, size_t n_bytes, load8_fn *load,
                                     size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                     size_t n_acts, float *out) {
    __m256 sum[2][4];
    for (size_t t = 0; t < n_acts; t++)
        for (int k = 0; k < 4; k++) sum[t][k] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= n_cols; i += 32)
        for (int k = 0; k < 4; k++) {
            __m256 x = load(w + (i + 8 * (size_t)k) * n_bytes);
            for (size_t t = 0; t < n_acts; t++) {
                __m256 a = load8_f32(acts + t * act_bytes + (i + 8 * (size_t)k) * sizeof(float));
                sum[t][k] = _mm256_fmadd_ps(x, a, sum[t][k]);
            }
        }
    for (int k = 0; i < n_cols; k++, i += 8) {
        size_t n = n_cols - i < 8 ? n_cols - i : 8;
        __m256 x = load_tail(w + i * n_bytes, n_bytes, n, load);
        for (size_t t = 0; t < n_acts; t++) {
            __m256 a = load_tail(acts + t * act_bytes + i * 4, 4, n, load8_f32);
            sum[t][0] = _mm256_fmadd_ps(x, a, sum[t][0]);
        }
    }
    for (size_t t = 0; t < n_acts; t++)
        out[t] = sum_lanes(_mm256_add_ps(_mm256_add_ps(sum[t][0], sum[t][1]),
                                         _mm256_add_ps(sum[t][2], sum[t][3])));
}

/* Activations in pairs: more would not leave enough registers. */
#define FLOAT_DOT(type, n_bytes)                                                             \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                                 \
        const uint8_t *a = acts;                                                             \
        for (; n_acts >= 2; n_acts -= 2, a += 2 * act_bytes, out += 2)                       \
            dot_floats(weight, n_bytes, load8_##type, n_cols, a, act_bytes, 2, out);         \
        if (n_acts) dot_floats(weight, n_bytes, load8_##type, n_cols, a, act_bytes, 1, out); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

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
