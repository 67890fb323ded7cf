/* Super-blocks as vectors, for the x86 product kernels: y = d s q - dmin m with unsigned 8-bit q
 * and 16-bit s, m for 16 sub-blocks of 16. */
#ifndef QUANT_KERNELS_X86_SUPER_AVX2_H
#define QUANT_KERNELS_X86_SUPER_AVX2_H

#include "quant/kernels/unpack.h"
#include "quant/kernels/x86/plain_avx2.h"

typedef struct super {
    __m256i q[8];
    __m256i s; /* s of the even sub-blocks, then of the odd ones */
    __m256i m; /* in order */
    float d, dmin;
} super;

typedef super super_fn(const void *block);

/* The scales of q[j]: of its first 16 elements in the lower half, of the others in the upper. */
static ALWAYS_INLINE __m256i scales_of(__m256i s, int j) {
    return _mm256_shuffle_epi8(s, _mm256_set1_epi16((short)(0x0100 + 0x0202 * j)));
}

/* Six-bit S and M of 8 sub-blocks of 32, each for two sub-blocks of 16. */
static ALWAYS_INLINE void unpack_scales(const uint8_t packed[12], super *p) {
    uint32_t a, b, c;
    memcpy(&a, packed, 4), memcpy(&b, packed + 4, 4), memcpy(&c, packed + 8, 4);
    uint32_t s_high = (c & 0x0F0F0F0F) | (a >> 2 & 0x30303030);
    uint32_t m_high = (c >> 4 & 0x0F0F0F0F) | (b >> 2 & 0x30303030);
    __m128i bytes =
        _mm_set_epi32((int)m_high, (int)(b & 0x3F3F3F3F), (int)s_high, (int)(a & 0x3F3F3F3F));
    __m256i words = _mm256_cvtepu8_epi16(bytes);
    __m128i m = _mm256_extracti128_si256(words, 1);
    p->s = _mm256_permute2x128_si256(words, words, 0);
    p->m = _mm256_set_m128i(_mm_unpackhi_epi16(m, m), _mm_unpacklo_epi16(m, m));
}

/* 16 signed 8-bit scales; m = zero * s. */
static ALWAYS_INLINE void widen_scales(__m128i scales, int zero, super *p) {
    __m128i even_odd = _mm_set_epi8(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
    p->s = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, even_odd));
    p->m = _mm256_mullo_epi16(_mm256_cvtepi8_epi16(scales), _mm256_set1_epi16((short)zero));
}

static ALWAYS_INLINE __m256i low_nibbles(__m256i v) {
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

static ALWAYS_INLINE __m256i high_nibbles(__m256i v) {
    return low_nibbles(_mm256_srli_epi16(v, 4));
}

/* Bits of v selected by mask after a shift left by n (to the right if negative). */
static ALWAYS_INLINE __m256i bits_at(__m256i v, int n, int mask) {
    v = n >= 0 ? _mm256_slli_epi16(v, n) : _mm256_srli_epi16(v, -n);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

static ALWAYS_INLINE super super_q4_k(const void *block) {
    const block_q4_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->dmin)};
    unpack_scales(b->scales, &p);
    for (int j = 0; j < 4; j++) {
        __m256i v = load_256(b->qs + 32 * j);
        p.q[2 * j] = low_nibbles(v);
        p.q[2 * j + 1] = high_nibbles(v);
    }
    return p;
}

static ALWAYS_INLINE super super_q5_k(const void *block) {
    const block_q5_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->dmin)};
    unpack_scales(b->scales, &p);
    __m256i high = load_256(b->qh);
    for (int j = 0; j < 4; j++) {
        __m256i v = load_256(b->qs + 32 * j);
        p.q[2 * j] = _mm256_or_si256(low_nibbles(v), bits_at(high, 4 - 2 * j, 16));
        p.q[2 * j + 1] = _mm256_or_si256(high_nibbles(v), bits_at(high, 3 - 2 * j, 16));
    }
    return p;
}

static ALWAYS_INLINE super super_q6_k(const void *block) {
    const block_q6_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->d)};
    widen_scales(load_128(b->scales), 32, &p);
    for (int half = 0; half < 2; half++) {
        __m256i v0 = load_256(b->ql + 64 * half), v1 = load_256(b->ql + 64 * half + 32);
        __m256i high = load_256(b->qh + 32 * half), *q = p.q + 4 * half;
        q[0] = _mm256_or_si256(low_nibbles(v0), bits_at(high, 4, 0x30));
        q[1] = _mm256_or_si256(low_nibbles(v1), bits_at(high, 2, 0x30));
        q[2] = _mm256_or_si256(high_nibbles(v0), bits_at(high, 0, 0x30));
        q[3] = _mm256_or_si256(high_nibbles(v1), bits_at(high, -2, 0x30));
    }
    return p;
}

/* The two-bit codes of Q2_K and Q3_K. */
static ALWAYS_INLINE void unpack_two_bits_256(const uint8_t qs[64], super *p) {
    for (int half = 0; half < 2; half++) {
        __m256i v = load_256(qs + 32 * half);
        for (int j = 0; j < 4; j++) p->q[4 * half + j] = bits_at(v, -2 * j, 3);
    }
}

/* The 16 scales of Q3_K, in [-32, 31]. */
static ALWAYS_INLINE __m128i scales_q3_k(const uint8_t packed[12]) {
    int a, b, c;
    memcpy(&a, packed, 4), memcpy(&b, packed + 4, 4), memcpy(&c, packed + 8, 4);
    __m128i low = _mm_srlv_epi32(_mm_set_epi32(b, a, b, a), _mm_set_epi32(4, 4, 0, 0));
    __m128i high = _mm_srlv_epi32(_mm_set1_epi32(c), _mm_set_epi32(6, 4, 2, 0));
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
    return _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32));
}

static ALWAYS_INLINE super super_q3_k(const void *block) {
    const block_q3_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->d)};
    widen_scales(scales_q3_k(b->scales), 4, &p);
    unpack_two_bits_256(b->qs, &p);
    __m256i third = load_256(b->hmask);
    for (int j = 0; j < 8; j++) p.q[j] = _mm256_or_si256(p.q[j], bits_at(third, 2 - j, 4));
    return p;
}

static ALWAYS_INLINE super super_q2_k(const void *block) {
    const block_q2_k *b = block;
    super p = {.d = quant_f16_to_f32(b->d), .dmin = quant_f16_to_f32(b->dmin)};
    __m128i both = load_128(b->scales), low = _mm_set1_epi8(15);
    widen_scales(_mm_and_si128(both, low), 0, &p);
    p.m = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), low));
    unpack_two_bits_256(b->qs, &p);
    return p;
}

/* The 8 scales of IQ4_XS, in [-32, 31]. */
static ALWAYS_INLINE __m128i scales_iq4_xs(const block_iq4_xs *b) {
    int packed;
    memcpy(&packed, b->scales_l, 4);
    __m128i bytes = _mm_cvtsi32_si128(packed), low = _mm_set1_epi8(15);
    bytes =
        _mm_unpacklo_epi8(_mm_and_si128(bytes, low), _mm_and_si128(_mm_srli_epi16(bytes, 4), low));
    __m128i to_top = _mm_set_epi16(1, 1 << 2, 1 << 4, 1 << 6, 1 << 8, 1 << 10, 1 << 12, 1 << 14);
    __m128i high = _mm_mullo_epi16(_mm_set1_epi16((short)b->scales_h), to_top);
    high = _mm_slli_epi16(_mm_srli_epi16(high, 14), 4);
    return _mm_sub_epi16(_mm_or_si128(_mm_cvtepu8_epi16(bytes), high), _mm_set1_epi16(32));
}

/* q is signed here; no minimums. */
static ALWAYS_INLINE super super_iq4_xs(const void *block) {
    const block_iq4_xs *b = block;
    super p = {.m = _mm256_setzero_si256(), .d = quant_f16_to_f32(b->d)};
    p.s = _mm256_broadcastsi128_si256(scales_iq4_xs(b));
    for (int j = 0; j < 8; j++) p.q[j] = look_up(quant_iq4_values, nibbles(b->qs + 16 * j));
    return p;
}

/* The same with codes that are 128 more. */
static ALWAYS_INLINE super super_iq4_xs_shifted(const void *block) {
    super p = super_iq4_xs(block);
    __m256i low = _mm256_unpacklo_epi16(p.s, p.s), high = _mm256_unpackhi_epi16(p.s, p.s);
    p.m = _mm256_slli_epi16(_mm256_permute2x128_si256(low, high, 0x20), 7);
    p.dmin = p.d;
    for (int j = 0; j < 8; j++) p.q[j] = _mm256_xor_si256(p.q[j], _mm256_set1_epi8((char)128));
    return p;
}

#endif
