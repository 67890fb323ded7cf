/* AVX2 products of repacked plain blocks: as repacked_avx512.c, eight rows at a time. 16 bits hold
 * the products of 32 columns of one row pair by pair, 16 * 15 * 127, before a scale widens them. */
#include "quant/kernels/x86/repacked_avx2.h"

/* What a block has besides its codes. */
typedef struct plain_kind {
    code_kind kind;
    size_t block_bytes;
    bool has_min; /* y = d q + m, d and m in word 0; else y = d (q - offset), d behind n_words */
    bool has_e8m0;
    int offset;
    size_t n_words;
} plain_kind;

/* ---- codes ------------------------------------------------------------------------------- */

/* Four words of nibbles from word `at` on. */
static ALWAYS_INLINE __m256i plain_nibbles(const uint8_t *block, size_t row, size_t at, size_t g) {
    return nibbles_at(g < 4 ? word(block, row, at + g) : word_again(block, row, at + g - 4),
                      g >= 4);
}

/* Fifth bits: bit i of a word for column i. */
static ALWAYS_INLINE __m256i fifth_of_four(__m256i bits, size_t g) {
    __m256i bytes =
        _mm256_broadcastsi128_si256(_mm_set_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0));
    bytes = _mm256_add_epi8(bytes, _mm256_set1_epi8((char)(g / 2)));
    __m256i own = _mm256_set1_epi32(g % 2 ? (int)0x80402010 : 0x08040201);
    __m256i spread_bits = _mm256_and_si256(_mm256_shuffle_epi8(bits, bytes), own);
    return _mm256_and_si256(_mm256_cmpeq_epi8(spread_bits, own), _mm256_set1_epi8(16));
}

static ALWAYS_INLINE __m256i levels_at(const int8_t levels[16], __m256i codes) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_128(levels)), codes);
}

static ALWAYS_INLINE __m256i codes_q4_0(const uint8_t *block, size_t row, size_t j, size_t g) {
    (void)j;
    return plain_nibbles(block, row, 0, g);
}

static ALWAYS_INLINE __m256i codes_q4_1(const uint8_t *block, size_t row, size_t j, size_t g) {
    (void)j;
    return plain_nibbles(block, row, 1, g);
}

static ALWAYS_INLINE __m256i codes_q5_0(const uint8_t *block, size_t row, size_t j, size_t g) {
    (void)j;
    return _mm256_or_si256(plain_nibbles(block, row, 1, g),
                           fifth_of_four(word_again(block, row, 0), g));
}

static ALWAYS_INLINE __m256i codes_q5_1(const uint8_t *block, size_t row, size_t j, size_t g) {
    (void)j;
    return _mm256_or_si256(plain_nibbles(block, row, 2, g),
                           fifth_of_four(word_again(block, row, 1), g));
}

static ALWAYS_INLINE __m256i codes_iq4_nl(const uint8_t *block, size_t row, size_t j, size_t g) {
    return levels_at(quant_iq4_values, codes_q4_0(block, row, j, g));
}

static ALWAYS_INLINE __m256i codes_mxfp4(const uint8_t *block, size_t row, size_t j, size_t g) {
    __m256i level = levels_at(quant_mxfp4_values, codes_q4_0(block, row, j, g));
    return _mm256_add_epi8(level, _mm256_set1_epi8(12));
}

static ALWAYS_INLINE __m256i codes_q8_0(const uint8_t *block, size_t row, size_t j, size_t g) {
    (void)j;
    return word(block, row, g);
}

/* 2^(e - 128) of eight rows. */
static ALWAYS_INLINE __m256 powers_behind(const uint8_t *block, size_t row, size_t n_words) {
    __m128i bytes = _mm_loadl_epi64((const void *)(block + n_words * ROWS * 4 + row));
    __m256i e = _mm256_cvtepu8_epi32(bytes), one = _mm256_set1_epi32(1);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(1 << 21), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(small, normal, _mm256_cmpgt_epi32(e, one)));
}

/* ---- products ---------------------------------------------------------------------------- */

static ALWAYS_INLINE __m256 scales_of_block(plain_kind how, const uint8_t *block, size_t row) {
    if (how.has_min) return half_of(word(block, row, 0), 0);
    return how.has_e8m0 ? powers_behind(block, row, how.n_words)
                        : halves_behind(block, row, how.n_words);
}

static ALWAYS_INLINE __m256 mins_of_block(plain_kind how, const uint8_t *block, size_t row) {
    return how.has_min ? half_of(word_again(block, row, 0), 16) : _mm256_setzero_ps();
}

/* Block k of eight. */
static ALWAYS_INLINE void add_plain(plain_kind how, const uint8_t *block, size_t row,
                                    const uint8_t *acts, size_t k, size_t act_bytes, size_t n,
                                    __m256 sum[PART]) {
    __m256 d = scales_of_block(how, block, row), m = mins_of_block(how, block, row);
    __m256i dot[PART];
    UNROLL(4)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        dot[t] = _mm256_set1_epi32((at->shift[k] >> 7) * how.offset); /* shift is for 128 */
    }
    add_groups(how.kind, block, row, 0, 0, 8, _mm256_set1_epi16(1),
               ((const block_act_q8 *)acts)->qs[k], act_bytes, n, dot);
    UNROLL(4)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(at->d[k]));
        sum[t] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(dot[t]), sum[t]);
        if (how.has_min) sum[t] = _mm256_fmadd_ps(m, _mm256_set1_ps(at->s[k]), sum[t]);
    }
}

/* Every eighth block, and so eight times: in this order they lie. */
static ALWAYS_INLINE void multiply_plains(plain_kind how, const uint8_t *rows, size_t row,
                                          size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                          size_t n, __m256 sum[PART]) {
    for (size_t k = 0; k < 8; k++) {
        __m256 part[PART];
        UNROLL(4)
        for (size_t t = 0; t < n; t++) part[t] = _mm256_setzero_ps();
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8, rows += ROWS * how.block_bytes)
            add_plain(how, rows, row, acts + b / 8 * sizeof(block_act_q8), k, act_bytes, n, part);
        UNROLL(4)
        for (size_t t = 0; t < n; t++) sum[t] = _mm256_add_ps(sum[t], part[t]);
    }
}

/* The blocks lie in the order of the products, in a strip as in the file. */
static ALWAYS_INLINE void unpack_plains(plain_kind how, const uint8_t *rows, size_t n_cols,
                                        quant_strip *out) {
    for (size_t k = 0; k < 8; k++)
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8, rows += ROWS * how.block_bytes)
            for (size_t row = 0; row < ROWS; row += HALF) {
                strip_plain *s = &out->plains[b];
                UNROLL(8)
                for (size_t g = 0; g < 8; g++)
                    _mm256_storeu_si256((__m256i *)(void *)(s->codes[g] + 4 * row),
                                        how.kind.codes(rows, row, 0, g));
                _mm256_storeu_ps(s->d + row, scales_of_block(how, rows, row));
                _mm256_storeu_ps(s->m + row, mins_of_block(how, rows, row));
            }
}

#define PLAIN(type, is_signed, safe, ...)                                                      \
    static const plain_kind kind_##type = {                                                    \
        {codes_##type, is_signed, safe}, sizeof(block_##type), __VA_ARGS__};                   \
    static ALWAYS_INLINE void multiply_##type(const uint8_t *rows, size_t row, size_t n_cols,  \
                                              const uint8_t *acts, size_t act_bytes, size_t n, \
                                              __m256 sum[PART]) {                              \
        multiply_plains(kind_##type, rows, row, n_cols, acts, act_bytes, n, sum);              \
    }                                                                                          \
    REPACKED(type, avx2)

#define UNPACK(type)                                                                       \
    void quant_unpack_##type##_avx2(const void *packed, size_t n_cols, quant_strip *out) { \
        unpack_plains(kind_##type, packed, n_cols, out);                                   \
    }

PLAIN(q4_0, false, 8, .offset = 8, .n_words = 4)
PLAIN(q4_1, false, 8, .has_min = true)
PLAIN(q5_0, false, 4, .offset = 16, .n_words = 5)
PLAIN(q5_1, false, 4, .has_min = true)
UNPACK(q4_0)
UNPACK(q4_1)
UNPACK(q5_0)
UNPACK(q5_1)

PLAIN(q8_0, true, 1, .n_words = 8)
PLAIN(iq4_nl, true, 1, .n_words = 4)
PLAIN(mxfp4, false, 4, .has_e8m0 = true, .offset = 12, .n_words = 4)
UNPACK(q8_0)
UNPACK(iq4_nl)
UNPACK(mxfp4)
