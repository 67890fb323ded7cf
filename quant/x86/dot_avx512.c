/* AVX-512 products of plain blocks, with VNNI. Codes without minimums are stored with 128 more, so
 * that all are unsigned; the activations bring what that is too much. Every eighth block goes to
 * the same lane; the lanes are added in order every 1024 columns, a strip's width. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"
#include "quant/x86/reduce_avx512.h"

enum { CHUNK = 8, PIECE_CHUNKS = QUANT_STRIP_COLS / QUANT_BLOCK / CHUNK };

/* Activations lie at any address. */
static ALWAYS_INLINE __m256i load_field(const block_act_q8 *a, size_t offset) {
    return load_256((const uint8_t *)a + offset);
}

static ALWAYS_INLINE __m256 add_chunk(const __m256i q[CHUNK], __m256 d, __m256 m, bool has_min,
                                      const block_act_q8 *a, __m256 sum) {
    __m256i dot[CHUNK];
#pragma GCC unroll 8
    for (size_t k = 0; k < CHUNK; k++)
        dot[k] = _mm256_dpbusd_epi32(_mm256_setzero_si256(), q[k], load_256(a->qs[k]));
    __m256i whole = sum_eight(dot);
    if (!has_min) whole = _mm256_add_epi32(whole, load_field(a, offsetof(block_act_q8, shift)));
    __m256 scale = _mm256_mul_ps(d, _mm256_castsi256_ps(load_field(a, offsetof(block_act_q8, d))));
    sum = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), sum);
    return has_min ? _mm256_fmadd_ps(
                         m, _mm256_castsi256_ps(load_field(a, offsetof(block_act_q8, s))), sum)
                   : sum;
}

/* The n first blocks of a chunk. */
static ALWAYS_INLINE void multiply_chunk(const uint8_t *w, size_t block_bytes, plain_fn *unpack,
                                         int shift, bool has_min, size_t n, const uint8_t *acts,
                                         size_t act_bytes, size_t n_acts,
                                         __m256 sum[QUANT_DOT_ACTS]) {
    __m256i q[CHUNK];
    __m256 d = _mm256_setzero_ps(), m = d;
#pragma GCC unroll 8
    for (size_t k = 0; k < CHUNK; k++) q[k] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t k = 0; k < n; k++) {
        plain p = unpack(w + k * block_bytes);
        q[k] = _mm256_add_epi8(p.q, _mm256_set1_epi8((char)shift));
        d[k] = p.d, m[k] = p.m;
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++)
        sum[t] = add_chunk(q, d, m, has_min, (const block_act_q8 *)(acts + t * act_bytes), sum[t]);
}

/* Up to PIECE_CHUNKS chunks; a last one that is not whole has its blocks one by one. */
static ALWAYS_INLINE void multiply_piece(const uint8_t *w, size_t block_bytes, plain_fn *unpack,
                                         int shift, bool has_min, size_t n_blocks,
                                         const uint8_t *acts, size_t act_bytes, size_t n_acts,
                                         float *out) {
    __m256 sum[QUANT_DOT_ACTS];
    uint8_t rest[CHUNK * 64] = {0};
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++) sum[t] = _mm256_setzero_ps();
    for (; n_blocks >= CHUNK; n_blocks -= CHUNK) {
        multiply_chunk(w, block_bytes, unpack, shift, has_min, CHUNK, acts, act_bytes, n_acts, sum);
        w += CHUNK * block_bytes;
        acts += sizeof(block_act_q8);
    }
    if (n_blocks > 0) {
        memcpy(rest, w, n_blocks * block_bytes);
        multiply_chunk(rest, block_bytes, unpack, shift, has_min, CHUNK, acts, act_bytes, n_acts,
                       sum);
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < n_acts; t++) {
        float whole = sum[t][0];
        for (int k = 1; k < CHUNK; k++) whole += sum[t][k];
        out[t] += whole;
    }
}

static ALWAYS_INLINE void dot_plain(const uint8_t *w, size_t block_bytes, plain_fn *unpack,
                                    int shift, bool has_min, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    enum { PIECE = PIECE_CHUNKS * CHUNK };
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (size_t i = 0, n = n_cols / QUANT_BLOCK; i < n; i += PIECE)
        multiply_piece(w + i * block_bytes, block_bytes, unpack, shift, has_min,
                       n - i < PIECE ? n - i : PIECE, acts + i / CHUNK * sizeof(block_act_q8),
                       act_bytes, n_acts, out);
}

#define PLAIN_DOT(type, shift, has_min)                                                    \
    void quant_dot_##type##_avx512(DOT_ARGS) {                                             \
        FOR_N_ACTS(dot_plain, weight, sizeof(block_##type), plain_##type, shift, has_min); \
    }

PLAIN_DOT(q4_0, 120, false)
PLAIN_DOT(q4_1, 0, true)
PLAIN_DOT(q5_0, 112, false)
PLAIN_DOT(q5_1, 0, true)
PLAIN_DOT(q8_0, 128, false)
PLAIN_DOT(iq4_nl, 128, false)
PLAIN_DOT(mxfp4, 128, false)
