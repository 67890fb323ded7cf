/* Super-blocks of codebooks as vectors: a 64-bit word gives eight codes. */
#ifndef QUANT_KERNELS_X86_SUPER_BOOKS_AVX2_H
#define QUANT_KERNELS_X86_SUPER_BOOKS_AVX2_H

#include "quant/kernels/books.h"
#include "quant/kernels/x86/super_avx2.h"

#include <stddef.h>

static ALWAYS_INLINE __m256i four_of(const uint64_t *words, size_t a, size_t b, size_t c,
                                     size_t d) {
    return _mm256_set_epi64x((long long)words[d], (long long)words[c], (long long)words[b],
                             (long long)words[a]);
}

/* Words of IQ3 have four codes. Numbers of words in memory: loads of single ones are faster than a
 * gathering one (AMD Zen 3). */
static ALWAYS_INLINE __m256i eight_of(const uint32_t *words, __m256i which) {
    uint32_t at[8];
    _mm256_storeu_si256((__m256i *)(void *)at, which);
    return _mm256_set_epi32((int)words[at[7]], (int)words[at[6]], (int)words[at[5]],
                            (int)words[at[4]], (int)words[at[3]], (int)words[at[2]],
                            (int)words[at[1]], (int)words[at[0]]);
}

static ALWAYS_INLINE __m256i eight_of_bytes(const uint32_t *words, const uint8_t *at) {
    return _mm256_set_epi32((int)words[at[7]], (int)words[at[6]], (int)words[at[5]],
                            (int)words[at[4]], (int)words[at[3]], (int)words[at[2]],
                            (int)words[at[1]], (int)words[at[0]]);
}

/* Bytes of ones for the bits of a word. */
static ALWAYS_INLINE __m256i mask_of(uint32_t bits) {
    __m256i bytes =
        _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    __m256i own = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), bytes);
    return _mm256_cmpeq_epi8(_mm256_and_si256(v, own), own);
}

/* The same for four times seven bits, which stand for eight. */
static ALWAYS_INLINE __m256i mask_of_even(uint32_t bits) {
    return four_of(quant_spread_books.even_signs, bits & 127, bits >> 7 & 127, bits >> 14 & 127,
                   bits >> 21 & 127);
}

/* zero + or - the magnitudes. */
static ALWAYS_INLINE __m256i signed_codes(__m256i magnitudes, __m256i signs, int zero) {
    __m256i codes = _mm256_sub_epi8(_mm256_xor_si256(magnitudes, signs), signs);
    return _mm256_add_epi8(codes, _mm256_set1_epi8((char)zero));
}

/* Scales S of 8 sub-blocks of 32 as 2 S + 1. */
static ALWAYS_INLINE void odd_scales_8(__m128i s, int zero, super *p) {
    s = _mm_add_epi8(_mm_add_epi8(s, s), _mm_set1_epi8(1));
    widen_scales(_mm_unpacklo_epi8(s, s), zero, p);
}

static ALWAYS_INLINE __m128i nibbles_of_8(const uint8_t *packed) {
    __m128i bytes = _mm_loadl_epi64((const void *)packed), low = _mm_set1_epi8(15);
    return _mm_unpacklo_epi8(_mm_and_si128(bytes, low),
                             _mm_and_si128(_mm_srli_epi16(bytes, 4), low));
}

/* 16 of them. */
static ALWAYS_INLINE void odd_scales_16(__m128i s, int zero, super *p) {
    widen_scales(_mm_add_epi8(_mm_add_epi8(s, s), _mm_set1_epi8(1)), zero, p);
}

/* A field of a block, which need not be aligned. */
#define FIELD(block, type, field) ((const uint8_t *)(block) + offsetof(type, field))

static ALWAYS_INLINE float scale_of(uint16_t d, float factor) {
    return quant_f16_to_f32(d) * factor;
}

/* Upper four bits of every second word of 16. */
static ALWAYS_INLINE __m128i top_nibbles(__m256i words) {
    __m256i top = _mm256_srli_epi32(words, 28);
    __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    return _mm_packus_epi16(halves, halves);
}

/* ---- IQ2 --------------------------------------------------------------------------------- */

static ALWAYS_INLINE super super_iq2_xxs(const void *block) {
    const block_iq2_xxs *b = block;
    super p = {.d = scale_of(b->d, 0.125f), .dmin = scale_of(b->d, 0.125f)};
    const uint8_t *qs = FIELD(b, block_iq2_xxs, qs);
    __m256 first = _mm256_castsi256_ps(load_256(qs)),
           second = _mm256_castsi256_ps(load_256(qs + 32));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xDD));
    odd_scales_8(top_nibbles(_mm256_permute4x64_epi64(odd, 0xD8)), QUANT_ZERO_IQ2, &p);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        uint32_t words = b->qs[2 * j];
        __m256i codes = four_of(quant_spread_books.iq2_xxs, words & 255, words >> 8 & 255,
                                words >> 16 & 255, words >> 24);
        p.q[j] = signed_codes(codes, mask_of_even(b->qs[2 * j + 1]), QUANT_ZERO_IQ2);
    }
    return p;
}

static ALWAYS_INLINE super super_iq2_xs(const void *block) {
    const block_iq2_xs *b = block;
    super p = {.d = scale_of(b->d, 0.125f), .dmin = scale_of(b->d, 0.125f)};
    odd_scales_16(nibbles_of_8(b->scales), QUANT_ZERO_IQ2, &p);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        uint64_t words = load_u64(FIELD(b, block_iq2_xs, qs) + 8 * j);
        __m256i codes = four_of(quant_spread_books.iq2_xs, words & 511, words >> 16 & 511,
                                words >> 32 & 511, words >> 48 & 511);
        __m256i signs = four_of(quant_spread_books.even_signs, words >> 9 & 127, words >> 25 & 127,
                                words >> 41 & 127, words >> 57);
        p.q[j] = signed_codes(codes, signs, QUANT_ZERO_IQ2);
    }
    return p;
}

static ALWAYS_INLINE uint32_t word_32(const void *p) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static ALWAYS_INLINE super super_iq2_s(const void *block) {
    const block_iq2_s *b = block;
    super p = {.d = scale_of(b->d, 0.125f), .dmin = scale_of(b->d, 0.125f)};
    odd_scales_16(nibbles_of_8(b->scales), QUANT_ZERO_IQ2, &p);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        uint32_t words = word_32(b->qs + 4 * j), upper = b->qh[j];
        __m256i codes =
            four_of(quant_spread_books.iq2_s, (words & 255) | (upper << 8 & 768),
                    (words >> 8 & 255) | (upper << 6 & 768),
                    (words >> 16 & 255) | (upper << 4 & 768), words >> 24 | (upper << 2 & 768));
        p.q[j] = signed_codes(codes, mask_of(word_32(b->signs + 4 * j)), QUANT_ZERO_IQ2);
    }
    return p;
}

/* ---- IQ3 --------------------------------------------------------------------------------- */

static ALWAYS_INLINE __m256i eight_bytes(const uint8_t *bytes) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)bytes));
}

static ALWAYS_INLINE super super_iq3_xxs(const void *block) {
    const block_iq3_xxs *b = block;
    super p = {.d = scale_of(b->d, 0.25f), .dmin = scale_of(b->d, 0.25f)};
    odd_scales_8(top_nibbles(load_256(FIELD(b, block_iq3_xxs, signs))), QUANT_ZERO_IQ3_XXS, &p);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        __m256i codes = eight_of_bytes(quant_spread_books.iq3_xxs, b->qs + 8 * j);
        p.q[j] = signed_codes(codes, mask_of_even(b->signs[j]), QUANT_ZERO_IQ3_XXS);
    }
    return p;
}

static ALWAYS_INLINE super super_iq3_s(const void *block) {
    const block_iq3_s *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->d)};
    __m128i bytes = _mm_cvtsi32_si128((int)word_32(b->scales)), low = _mm_set1_epi8(15);
    __m128i scales =
        _mm_unpacklo_epi8(_mm_and_si128(bytes, low), _mm_and_si128(_mm_srli_epi16(bytes, 4), low));
    odd_scales_8(scales, QUANT_ZERO_IQ3_S, &p);
    __m256i to_ninth = _mm256_set_epi32(1, 2, 3, 4, 5, 6, 7, 8), ninth = _mm256_set1_epi32(256);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        __m256i upper = _mm256_sllv_epi32(_mm256_set1_epi32(b->qh[j]), to_ninth);
        __m256i which = _mm256_or_si256(eight_bytes(b->qs + 8 * j), _mm256_and_si256(upper, ninth));
        __m256i codes = eight_of(quant_spread_books.iq3_s, which);
        p.q[j] = signed_codes(codes, mask_of(word_32(b->signs + 4 * j)), QUANT_ZERO_IQ3_S);
    }
    return p;
}

/* ---- IQ1 --------------------------------------------------------------------------------- */

static ALWAYS_INLINE super super_iq1_s(const void *block) {
    const block_iq1_s *b = block;
    super p = {.d = scale_of(b->d, 0.125f), .dmin = scale_of(b->d, 0.125f)};
    __m128i qh = load_128(FIELD(b, block_iq1_s, qh));
    __m128i scales = _mm_and_si128(_mm_srli_epi16(qh, 12), _mm_set1_epi16(7));
    odd_scales_8(_mm_packus_epi16(scales, scales), QUANT_ZERO_IQ1, &p);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        uint32_t words = word_32(b->qs + 4 * j), upper = b->qh[j];
        __m256i codes =
            four_of(quant_spread_books.iq1, (words & 255) | (upper << 8 & 1792),
                    (words >> 8 & 255) | (upper << 5 & 1792),
                    (words >> 16 & 255) | (upper << 2 & 1792), words >> 24 | (upper >> 1 & 1792));
        p.q[j] = _mm256_add_epi8(codes, _mm256_set1_epi8(upper >> 15 ? 0 : 2));
    }
    return p;
}

static ALWAYS_INLINE super super_iq1_m(const void *block) {
    const block_iq1_m *b = block;
    float d = quant_iq1_m_scale(b) * 0.125f;
    super p = {.d = d, .dmin = d};
    __m128i four = _mm_loadl_epi64((const void *)FIELD(b, block_iq1_m, scales)),
            seven = _mm_set1_epi16(7);
    __m128i first = _mm_and_si128(_mm_unpacklo_epi16(four, _mm_srli_epi16(four, 3)), seven);
    __m128i second = _mm_srli_epi16(four, 6);
    second = _mm_and_si128(_mm_unpacklo_epi16(second, _mm_srli_epi16(second, 3)), seven);
    __m128i scales =
        _mm_packus_epi16(_mm_unpacklo_epi32(first, second), _mm_unpackhi_epi32(first, second));
    odd_scales_16(scales, QUANT_ZERO_IQ1, &p);
    __m256i down = _mm256_set_epi64x(0x8000, 0x800, 0x80, 8);
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        uint32_t words = word_32(b->qs + 4 * j), upper = b->qh[2 * j] | b->qh[2 * j + 1] << 8;
        __m256i codes =
            four_of(quant_spread_books.iq1, (words & 255) | (upper << 8 & 1792),
                    (words >> 8 & 255) | (upper << 4 & 1792), (words >> 16 & 255) | (upper & 1792),
                    words >> 24 | (upper >> 4 & 1792));
        __m256i is_up = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(upper), down),
                                           _mm256_setzero_si256());
        p.q[j] = _mm256_add_epi8(codes, _mm256_and_si256(is_up, _mm256_set1_epi8(2)));
    }
    return p;
}

/* ---- ternary ----------------------------------------------------------------------------- */

static ALWAYS_INLINE super super_tq2_0(const void *block) {
    const block_tq2_0 *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->d)};
    p.s = p.m = _mm256_set1_epi16(1);
    unpack_two_bits_256(b->qs, &p);
    return p;
}

/* Codes that are unpacked already. */
static ALWAYS_INLINE super super_tq1_0(const void *block) {
    quant_codes codes;
    quant_codes_tq1_0(block, &codes);
    super p = {.d = codes.d, .dmin = codes.d};
    p.s = p.m = _mm256_set1_epi16(1);
    for (int j = 0; j < 8; j++) p.q[j] = load_256(codes.q + 32 * j);
    return p;
}

#endif
