/* AVX-512 products of float weights, and of plain blocks with VNNI. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"

/* ---- float weights: 4 sums of 16 lanes --------------------------------------------------- */

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

/* Add the products of up to 16 columns from column i on. */
static ALWAYS_INLINE void add_columns(const uint8_t *w, size_t n_bytes, load16_fn *load, size_t i,
                                      __mmask16 mask, const uint8_t *acts, size_t act_bytes,
                                      size_t n_acts, __m512 *sum, size_t sum_stride) {
    __m512 x = load(mask, w + i * n_bytes);
    for (size_t t = 0; t < n_acts; t++) {
        __m512 a = load16_f32(mask, acts + t * act_bytes + i * sizeof(float));
        sum[t * sum_stride] = _mm512_fmadd_ps(x, a, sum[t * sum_stride]);
    }
}

static ALWAYS_INLINE void dot_floats(const uint8_t *w, size_t n_bytes, load16_fn *load,
                                     size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                     size_t n_acts, float *out) {
    __m512 sum[QUANT_DOT_ACTS][4];
    for (size_t t = 0; t < n_acts; t++)
        for (int k = 0; k < 4; k++) sum[t][k] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 64 <= n_cols; i += 64)
        for (size_t k = 0; k < 4; k++)
            add_columns(w, n_bytes, load, i + 16 * k, 0xFFFF, acts, act_bytes, n_acts, &sum[0][k],
                        4);
    for (; i < n_cols; i += 16) {
        __mmask16 mask = n_cols - i < 16 ? (__mmask16)((1u << (n_cols - i)) - 1) : 0xFFFF;
        add_columns(w, n_bytes, load, i, mask, acts, act_bytes, n_acts, &sum[0][0], 4);
    }
    for (size_t t = 0; t < n_acts; t++)
        out[t] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[t][0], sum[t][1]),
                                                    _mm512_add_ps(sum[t][2], sum[t][3])));
}

#define FLOAT_DOT(type, n_bytes)                               \
    void quant_dot_##type##_avx512(DOT_ARGS) {                 \
        FOR_N_ACTS(dot_floats, weight, n_bytes, load16_##type) \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

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
