/* What the AVX2 multipliers of repacked rows share. */
#ifndef QUANT_KERNELS_X86_REPACKED_AVX2_H
#define QUANT_KERNELS_X86_REPACKED_AVX2_H

#include "quant/kernels/x86/strip_avx2.h"

/* The same four bytes of a block of eight rows, from `row` on. */
static ALWAYS_INLINE __m256i word(const uint8_t *block, size_t row, size_t i) {
    if (row == 0) __builtin_prefetch(block + i * ROWS * 4 + PREFETCH_AHEAD);
    return load_256(block + (i * ROWS + row) * 4);
}

/* The same of a word that was read already. */
static ALWAYS_INLINE __m256i word_again(const uint8_t *block, size_t row, size_t i) {
    return load_256(block + (i * ROWS + row) * 4);
}

static ALWAYS_INLINE __m256i nibbles_at(__m256i v, bool upper) {
    return upper ? high_nibbles(v) : low_nibbles(v);
}

/* Codes of columns 4 g .. 4 g + 3 of part j of a block: 32 columns. */
typedef __m256i codes_fn(const uint8_t *block, size_t row, size_t j, size_t g);

/* Codes of a type. */
typedef struct code_kind {
    codes_fn *codes;
    bool is_signed; /* safe is 1 */
    size_t safe;    /* groups of four columns whose products fit 16 bits together */
} code_kind;

/* dot[t] += scales times the products of n_groups groups of part j.
 *   scales  words
 *   acts    of the part */
static ALWAYS_INLINE void add_groups(code_kind kind, const uint8_t *block, size_t row, size_t j,
                                     size_t first, size_t n_groups, __m256i scales,
                                     const int8_t *acts, size_t act_bytes, size_t n,
                                     __m256i dot[PART]) {
    UNROLL(8)
    for (size_t at = first; at < first + n_groups; at += kind.safe) {
        __m256i words[PART];
        UNROLL(4)
        for (size_t t = 0; t < n; t++) words[t] = _mm256_setzero_si256();
        UNROLL(8)
        for (size_t g = at; g < at + kind.safe; g++) {
            __m256i q = kind.codes(block, row, j, g), size = _mm256_abs_epi8(q);
            UNROLL(4)
            for (size_t t = 0; t < n; t++) {
                __m256i a = spread(acts + t * act_bytes + 4 * g);
                if (kind.is_signed)
                    words[t] = _mm256_maddubs_epi16(size, _mm256_sign_epi8(a, q));
                else
                    words[t] = add_products(words[t], q, a);
            }
        }
        UNROLL(4)
        for (size_t t = 0; t < n; t++) dot[t] = add_scaled(dot[t], words[t], scales);
    }
}

/* d of eight rows, or what is `shift` bits above it. */
static ALWAYS_INLINE __m256 half_of(__m256i word, int shift) {
    __m256i low = _mm256_and_si256(_mm256_srli_epi32(word, shift), _mm256_set1_epi32(0xFFFF));
    __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    return _mm256_cvtph_ps(halves);
}

/* Halves of eight rows behind n words. */
static ALWAYS_INLINE __m256 halves_behind(const uint8_t *block, size_t row, size_t n) {
    return _mm256_cvtph_ps(load_128(block + n * ROWS * 4 + row * 2));
}

/* Bytes `first` and `second` of every word in its halves. */
static ALWAYS_INLINE __m256i two_bytes(__m256i v, unsigned first, unsigned second) {
    __m256i in_order = _mm256_broadcastsi128_si256(_mm_set_epi32(0x0C000C, 0x080008, 0x040004, 0));
    __m256i which = _mm256_set1_epi32((int)(0x80008000u | first | second << 16));
    return _mm256_shuffle_epi8(v, _mm256_add_epi32(in_order, which));
}

/* The same of bytes with a sign. */
static ALWAYS_INLINE __m256i two_signed(__m256i v, unsigned first, unsigned second) {
    __m256i in_order =
        _mm256_broadcastsi128_si256(_mm_set_epi32(0x0C000C00, 0x08000800, 0x04000400, 0));
    __m256i which = _mm256_set1_epi32((int)(0x00800080u | first << 8 | second << 24));
    return _mm256_srai_epi16(_mm256_shuffle_epi8(v, _mm256_add_epi32(in_order, which)), 8);
}

/* ---- kernels ----------------------------------------------------------------------------- */

typedef void multiply_fn(const uint8_t *rows, size_t row, size_t n_cols, const uint8_t *acts,
                         size_t act_bytes, size_t n, __m256 sum[PART]);

static ALWAYS_INLINE void multiply_some(multiply_fn *body, const uint8_t *rows, size_t n_cols,
                                        const uint8_t *acts, size_t act_bytes, size_t n, float *out,
                                        size_t stride, bool add) {
    for (size_t row = 0; row < ROWS; row += HALF) {
        __m256 sum[PART];
        for (size_t t = 0; t < n; t++) sum[t] = _mm256_setzero_ps();
        body(rows, row, n_cols, acts, act_bytes, n, sum);
        store_half(out + row, stride, n, add, sum);
    }
}

#define REPACKED_CASE(k, type)                                                            \
    case k:                                                                               \
        multiply_some(multiply_##type, rows, n_cols, act, act_bytes, k, to, stride, add); \
        break

/* Up to four activations together. */
#define REPACKED(type, isa)                                                                        \
    void quant_repacked_##type##_##isa(const void *rows, size_t n_cols, const void *acts,          \
                                       size_t act_bytes, size_t n_acts, float *out, size_t stride, \
                                       bool add) {                                                 \
        for (size_t t = 0; t < n_acts; t += PART) {                                                \
            const uint8_t *act = (const uint8_t *)acts + t * act_bytes;                            \
            float *to = out + t * stride;                                                          \
            switch (n_acts - t) {                                                                  \
                REPACKED_CASE(1, type);                                                            \
                REPACKED_CASE(2, type);                                                            \
                REPACKED_CASE(3, type);                                                            \
            default:                                                                               \
                multiply_some(multiply_##type, rows, n_cols, act, act_bytes, PART, to, stride,     \
                              add);                                                                \
            }                                                                                      \
        }                                                                                          \
    }

#endif
