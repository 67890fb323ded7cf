/* AVX2 products of plain blocks. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/plain_avx2.h"
#include "quant/kernels/x86/reduce_avx2.h"

enum { CHUNK = 8 };

/* What a type needs besides its codes; see dot_plain.inc. */
typedef struct manner {
    size_t block_bytes;
    plain_fn *unpack;
    bool is_signed, has_min;
    int offset_log;
} manner;

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_block(__m256i q, __m256i a, bool is_signed) {
    if (is_signed) a = _mm256_sign_epi8(a, q), q = _mm256_abs_epi8(q);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
}

/* Eight blocks. */
typedef struct chunk {
    __m256i q[CHUNK];
    __m256 d, m;
} chunk;

static ALWAYS_INLINE chunk load_chunk(const uint8_t *w, manner how) {
    chunk c = {.d = _mm256_setzero_ps(), .m = _mm256_setzero_ps()};
    UNROLL(8)
    for (size_t k = 0; k < CHUNK; k++) {
        plain p = how.unpack(w + k * how.block_bytes);
        c.q[k] = p.q, c.d[k] = p.d, c.m[k] = p.m;
    }
    return c;
}

static ALWAYS_INLINE __m256i dot_chunk(const chunk *c, manner how, const block_act_q8 *a) {
    __m256i dot[CHUNK];
    UNROLL(8)
    for (size_t k = 0; k < CHUNK; k++)
        dot[k] = dot_block(c->q[k], load_256(a->qs[k]), how.is_signed);
    return sum_eight(dot);
}

#include "quant/kernels/x86/dot_plain.inc"

#define PLAIN_DOT(type, ...)                                                           \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                           \
        const manner how = {                                                           \
            .block_bytes = sizeof(block_##type), .unpack = plain_##type, __VA_ARGS__}; \
        FOR_N_ACTS(dot_plain, weight, how);                                            \
    }

PLAIN_DOT(q4_0, .offset_log = 3)
PLAIN_DOT(q4_1, .has_min = true)
PLAIN_DOT(q5_0, .offset_log = 4)
PLAIN_DOT(q5_1, .has_min = true)
PLAIN_DOT(q8_0, .is_signed = true)
PLAIN_DOT(iq4_nl, .is_signed = true)
PLAIN_DOT(mxfp4, .is_signed = true)

/* ---- NVFP4: two scales to a block of activations ----------------------------------------- */

static ALWAYS_INLINE __m256 pair_of(float low, float high) {
    return _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low));
}

static ALWAYS_INLINE void dot_nvfp4(const block_nvfp4 *w, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    __m256 sums[QUANT_DOT_ACTS];
    for (size_t t = 0; t < n_acts; t++) sums[t] = _mm256_setzero_ps();
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++) {
        const uint8_t *d = w[i / 2].d + i % 2 * 2;
        __m256 scales = pair_of(quant_ue4m3_to_f32(d[0]), quant_ue4m3_to_f32(d[1]));
        __m256i q = codes_nvfp4(w[i / 2].qs + i % 2 * 16);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a = (const block_act_q8 *)(acts + t * act_bytes) + i / 8;
            __m256i dot = dot_block(q, load_256(a->qs[i % 8]), true);
            __m256 part = _mm256_mul_ps(_mm256_cvtepi32_ps(dot), scales);
            sums[t] = _mm256_add_ps(sums[t], _mm256_mul_ps(part, _mm256_set1_ps(a->d[i % 8])));
        }
    }
    for (size_t t = 0; t < n_acts; t++) out[t] = sum_lanes(sums[t]);
}

void quant_dot_nvfp4_avx2(DOT_ARGS) {
    FOR_N_ACTS(dot_nvfp4, weight);
}
