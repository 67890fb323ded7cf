/* AVX-512 products of plain blocks, with VNNI. Codes without minimums are unsigned here too, with
 * 2^n more than they stand for; the activations bring what that is too much. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"
#include "quant/kernels/x86/reduce_avx512.h"

enum { CHUNK = 8, PAIRS = CHUNK / 2 };

/* ---- codes of a pair of blocks, as bytes in the order of their columns ------------------- */

typedef __m512i pair_fn(const uint8_t *first, const uint8_t *second);

static ALWAYS_INLINE __m512i join_128(const uint8_t *first, const uint8_t *second) {
    __m512i v = _mm512_broadcast_i32x4(load_128(first));
    return _mm512_mask_broadcast_i32x4(v, 0xFF00, load_128(second));
}

/* Low nibbles of 16 bytes, then the high ones, which stay where they are: 16 times too large. */
static ALWAYS_INLINE __m512i pair_q4(const uint8_t *first, const uint8_t *second) {
    __m512i which =
        _mm512_broadcast_i64x4(_mm256_set_m128i(_mm_set1_epi8((char)0xF0), _mm_set1_epi8(0x0F)));
    return _mm512_and_si512(join_128(first, second), which);
}

static ALWAYS_INLINE __m512i pair_nibbles(const uint8_t *first, const uint8_t *second) {
    __m512i v = join_128(first, second);
    v = _mm512_mask_srli_epi16(v, 0xFF00FF00, v, 4);
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

static ALWAYS_INLINE __m512i pair_q4_0(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_q4_0, qs);
    return pair_q4(first + at, second + at);
}

static ALWAYS_INLINE __m512i pair_q4_1(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_q4_1, qs);
    return pair_q4(first + at, second + at);
}

static ALWAYS_INLINE __m512i add_fifth_bits(__m512i q, const uint8_t *first,
                                            const uint8_t *second) {
    uint32_t low, high;
    memcpy(&low, first, sizeof low);
    memcpy(&high, second, sizeof high);
    return _mm512_mask_add_epi8(q, (uint64_t)high << 32 | low, q, _mm512_set1_epi8(16));
}

static ALWAYS_INLINE __m512i pair_q5_0(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_q5_0, qs), bits = offsetof(block_q5_0, qh);
    return add_fifth_bits(pair_nibbles(first + at, second + at), first + bits, second + bits);
}

static ALWAYS_INLINE __m512i pair_q5_1(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_q5_1, qs), bits = offsetof(block_q5_1, qh);
    return add_fifth_bits(pair_nibbles(first + at, second + at), first + bits, second + bits);
}

static ALWAYS_INLINE __m512i add_128(__m512i signed_codes) {
    return _mm512_xor_si512(signed_codes, _mm512_set1_epi8((char)0x80));
}

static ALWAYS_INLINE __m512i pair_q8_0(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_q8_0, qs);
    __m512i v = _mm512_castsi256_si512(load_256(first + at));
    return add_128(_mm512_inserti64x4(v, load_256(second + at), 1));
}

static ALWAYS_INLINE __m512i look_up(const int8_t values[16], __m512i codes) {
    __m512i table = add_128(_mm512_broadcast_i32x4(load_128(values)));
    return _mm512_shuffle_epi8(table, codes);
}

static ALWAYS_INLINE __m512i pair_iq4_nl(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_iq4_nl, qs);
    return look_up(quant_iq4_values, pair_nibbles(first + at, second + at));
}

static ALWAYS_INLINE __m512i pair_mxfp4(const uint8_t *first, const uint8_t *second) {
    const size_t at = offsetof(block_mxfp4, qs);
    return look_up(quant_mxfp4_values, pair_nibbles(first + at, second + at));
}

/* ---- chunks ------------------------------------------------------------------------------ */

/* What a type needs besides its codes; see dot_plain.inc. */
typedef struct manner {
    size_t block_bytes;
    pair_fn *pair;
    bool high_16; /* high nibbles count 16 times */
    bool has_min;
    int offset_log;
    bool powers; /* scales are bytes, exponents of two */
} manner;

/* Halves that lie a block apart, as floats. */
static ALWAYS_INLINE __m256 load_halves(const uint8_t *w, size_t block_bytes) {
    uint16_t h[CHUNK];
    UNROLL(8)
    for (size_t k = 0; k < CHUNK; k++) memcpy(&h[k], w + k * block_bytes, sizeof h[k]);
    return _mm256_cvtph_ps(_mm_set_epi16((short)h[7], (short)h[6], (short)h[5], (short)h[4],
                                         (short)h[3], (short)h[2], (short)h[1], (short)h[0]));
}

static ALWAYS_INLINE __m256 load_powers(const uint8_t *w, size_t block_bytes) {
    __m256 d = _mm256_setzero_ps();
    UNROLL(8)
    for (size_t k = 0; k < CHUNK; k++) d[k] = quant_power_of_two(w[k * block_bytes] - 128);
    return d;
}

/* Eight blocks: codes of each pair, scales and minimums. */
typedef struct chunk {
    __m512i q[PAIRS];
    __m256 d, m;
} chunk;

static ALWAYS_INLINE chunk load_chunk(const uint8_t *w, manner how) {
    chunk c;
    UNROLL(4)
    for (size_t k = 0; k < PAIRS; k++) {
        const uint8_t *first = w + 2 * k * how.block_bytes;
        c.q[k] = how.pair(first, first + how.block_bytes);
    }
    c.d = how.powers ? load_powers(w, how.block_bytes) : load_halves(w, how.block_bytes);
    c.m = how.has_min ? load_halves(w + sizeof(uint16_t), how.block_bytes) : _mm256_setzero_ps();
    return c;
}

/* The sum of each block's 8 lanes, in their order; 4 vectors of two blocks. */
static ALWAYS_INLINE __m256i sum_pairs(const __m512i v[PAIRS], bool high_16) {
    __m512i ab =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    __m512i cd =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    if (high_16) all = _mm512_mask_srai_epi32(all, 0xF0F0, all, 4);
    all = _mm512_add_epi32(all, _mm512_shuffle_i32x4(all, all, 0xB1));
    const __m512i order = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 11, 3, 10, 2, 9, 1, 8, 0);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, all));
}

static ALWAYS_INLINE __m256i dot_chunk(const chunk *c, manner how, const block_act_q8 *a) {
    __m512i dot[PAIRS];
    UNROLL(4)
    for (size_t k = 0; k < PAIRS; k++)
        dot[k] =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), c->q[k], _mm512_loadu_si512(a->qs[2 * k]));
    return sum_pairs(dot, how.high_16);
}

#include "quant/kernels/x86/dot_plain.inc"

#define PLAIN_DOT(type, ...)                                                        \
    void quant_dot_##type##_avx512(DOT_ARGS) {                                      \
        const manner how = {                                                        \
            .block_bytes = sizeof(block_##type), .pair = pair_##type, __VA_ARGS__}; \
        FOR_N_ACTS(dot_plain, weight, how);                                         \
    }

PLAIN_DOT(q4_0, .high_16 = true, .offset_log = 3)
PLAIN_DOT(q4_1, .high_16 = true, .has_min = true)
PLAIN_DOT(q5_0, .offset_log = 4)
PLAIN_DOT(q5_1, .has_min = true)
PLAIN_DOT(q8_0, .offset_log = 7)
PLAIN_DOT(iq4_nl, .offset_log = 7)
PLAIN_DOT(mxfp4, .offset_log = 7, .powers = true)

/* ---- NVFP4: four scales to a block, two to one of activations ----------------------------- */

/* A block's 64 codes: each 8 bytes twice, the second time their high nibbles. */
static ALWAYS_INLINE __m512i codes_nvfp4(const uint8_t qs[32]) {
    const __m512i twice = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    __m512i v = _mm512_permutexvar_epi64(twice, _mm512_castsi256_si512(load_256(qs)));
    v = _mm512_and_si512(_mm512_mask_srli_epi16(v, 0xF0F0F0F0, v, 4), _mm512_set1_epi8(15));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load_128(quant_mxfp4_values)), v);
}

static ALWAYS_INLINE __m512 scales_nvfp4(const uint8_t d[4]) {
    const __m512i each = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    __m128 four = _mm_set_ps(quant_ue4m3_to_f32(d[3]), quant_ue4m3_to_f32(d[2]),
                             quant_ue4m3_to_f32(d[1]), quant_ue4m3_to_f32(d[0]));
    return _mm512_permutexvar_ps(each, _mm512_castps128_ps512(four));
}

static ALWAYS_INLINE __m512 two_halves(float low, float high) {
    return _mm512_mask_mov_ps(_mm512_set1_ps(low), 0xFF00, _mm512_set1_ps(high));
}

static ALWAYS_INLINE void dot_nvfp4(const block_nvfp4 *w, size_t n_cols, const uint8_t *acts,
                                    size_t act_bytes, size_t n_acts, float *out) {
    __m512 sums[QUANT_DOT_ACTS];
    for (size_t t = 0; t < n_acts; t++) sums[t] = _mm512_setzero_ps();
    for (size_t i = 0; i < n_cols / 64; i++) {
        __m512i q = codes_nvfp4(w[i].qs), size = _mm512_abs_epi8(q);
        __mmask64 negative = _mm512_movepi8_mask(q);
        __m512 scales = scales_nvfp4(w[i].d);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a = (const block_act_q8 *)(acts + t * act_bytes) + i / 4;
            const float *d = a->d + i % 4 * 2;
            __m512i x = _mm512_loadu_si512(a->qs[i % 4 * 2]);
            x = _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x);
            __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), size, x);
            __m512 part = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scales);
            sums[t] = _mm512_add_ps(sums[t], _mm512_mul_ps(part, two_halves(d[0], d[1])));
        }
    }
    for (size_t t = 0; t < n_acts; t++)
        out[t] = sum_lanes(
            _mm256_add_ps(_mm512_castps512_ps256(sums[t]), _mm512_extractf32x8_ps(sums[t], 1)));
}

void quant_dot_nvfp4_avx512(DOT_ARGS) {
    FOR_N_ACTS(dot_nvfp4, weight);
}
