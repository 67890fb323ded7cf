/* AVX2 products of plain blocks. Every eighth block goes to the same lane; the lanes are added in
 * order every 1024 columns, a strip's width. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"
#include "quant/x86/reduce_avx2.h"

enum { CHUNK = 8, PIECE = QUANT_STRIP_COLS / QUANT_BLOCK };

/* What a type needs besides its codes. */
typedef struct manner {
    size_t block_bytes;
    plain_fn *unpack;
    bool is_signed, has_min;
    int offset_log; /* codes are 2^offset_log more than they stand for; 0: they are not */
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
#pragma GCC unroll 8
    for (size_t k = 0; k < CHUNK; k++) {
        plain p = how.unpack(w + k * how.block_bytes);
        c.q[k] = p.q, c.d[k] = p.d, c.m[k] = p.m;
    }
    return c;
}

/* Activations lie at any address. */
static ALWAYS_INLINE __m256i load_field(const block_act_q8 *a, size_t offset) {
    return load_256((const uint8_t *)a + offset);
}

static ALWAYS_INLINE __m256 add_chunk(const chunk *c, manner how, const block_act_q8 *a,
                                      __m256 sum) {
    __m256i dot[CHUNK];
#pragma GCC unroll 8
    for (size_t k = 0; k < CHUNK; k++)
        dot[k] = dot_block(c->q[k], load_256(a->qs[k]), how.is_signed);
    __m256i whole = sum_eight(dot);
    if (how.offset_log) {
        __m256i shift = load_field(a, offsetof(block_act_q8, shift)); /* for an offset of 128 */
        whole = _mm256_add_epi32(whole, _mm256_srai_epi32(shift, 7 - how.offset_log));
    }
    __m256 scale =
        _mm256_mul_ps(c->d, _mm256_castsi256_ps(load_field(a, offsetof(block_act_q8, d))));
    sum = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), sum);
    if (!how.has_min) return sum;
    return _mm256_fmadd_ps(c->m, _mm256_castsi256_ps(load_field(a, offsetof(block_act_q8, s))),
                           sum);
}

static ALWAYS_INLINE void multiply_chunk(const uint8_t *w, manner how, const uint8_t *acts,
                                         size_t act_bytes, size_t n_acts,
                                         __m256 sum[QUANT_DOT_ACTS]) {
    chunk c = load_chunk(w, how);
    for (size_t t = 0; t < n_acts; t++)
        sum[t] = add_chunk(&c, how, (const block_act_q8 *)(acts + t * act_bytes), sum[t]);
}

/* Up to PIECE blocks; a last chunk that is not whole is filled up with zeros. */
static ALWAYS_INLINE void multiply_piece(const uint8_t *w, manner how, size_t n_blocks,
                                         const uint8_t *acts, size_t act_bytes, size_t n_acts,
                                         float *out) {
    __m256 sum[QUANT_DOT_ACTS];
    uint8_t rest[CHUNK * sizeof(block_q8_0)] = {0};
    for (size_t t = 0; t < n_acts; t++) sum[t] = _mm256_setzero_ps();
    for (; n_blocks >= CHUNK; n_blocks -= CHUNK) {
        multiply_chunk(w, how, acts, act_bytes, n_acts, sum);
        w += CHUNK * how.block_bytes;
        acts += sizeof(block_act_q8);
    }
    if (n_blocks > 0) {
        memcpy(rest, w, n_blocks * how.block_bytes);
        multiply_chunk(rest, how, acts, act_bytes, n_acts, sum);
    }
    for (size_t t = 0; t < n_acts; t++) {
        float whole = sum[t][0];
        for (int k = 1; k < CHUNK; k++) whole += sum[t][k];
        out[t] += whole;
    }
}

static ALWAYS_INLINE void dot_plain(const uint8_t *w, manner how, size_t n_cols,
                                    const uint8_t *acts, size_t act_bytes, size_t n_acts,
                                    float *out) {
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (size_t i = 0, n = n_cols / QUANT_BLOCK; i < n; i += PIECE)
        multiply_piece(w + i * how.block_bytes, how, n - i < PIECE ? n - i : PIECE,
                       acts + i / CHUNK * sizeof(block_act_q8), act_bytes, n_acts, out);
}

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
