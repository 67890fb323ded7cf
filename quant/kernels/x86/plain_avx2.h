/* Plain blocks of 32 as vectors, for the x86 product kernels. */
#ifndef QUANT_KERNELS_X86_PLAIN_AVX2_H
#define QUANT_KERNELS_X86_PLAIN_AVX2_H

#include "quant/kernels/blocks.h"
#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"
#include "quant/kernels/x86/vec_avx2.h"

/* y = d q + m, or y = d (q - offset) with the type's offset; q is signed in Q8_0, IQ4_NL, MXFP4. */
typedef struct plain {
    __m256i q;
    float d, m;
} plain;

typedef plain plain_fn(const void *block);

static ALWAYS_INLINE plain plain_q4_0(const void *block) {
    const block_q4_0 *b = block;
    return (plain){nibbles(b->qs), quant_f16_to_f32(b->d), 0.0f};
}

static ALWAYS_INLINE plain plain_q4_1(const void *block) {
    const block_q4_1 *b = block;
    return (plain){nibbles(b->qs), quant_f16_to_f32(b->d), quant_f16_to_f32(b->m)};
}

static ALWAYS_INLINE plain plain_q5_0(const void *block) {
    const block_q5_0 *b = block;
    return (plain){_mm256_or_si256(nibbles(b->qs), fifth_bits(b->qh)), quant_f16_to_f32(b->d),
                   0.0f};
}

static ALWAYS_INLINE plain plain_q5_1(const void *block) {
    const block_q5_1 *b = block;
    return (plain){_mm256_or_si256(nibbles(b->qs), fifth_bits(b->qh)), quant_f16_to_f32(b->d),
                   quant_f16_to_f32(b->m)};
}

static ALWAYS_INLINE plain plain_q8_0(const void *block) {
    const block_q8_0 *b = block;
    return (plain){load_256(b->qs), quant_f16_to_f32(b->d), 0.0f};
}

/* Signed codes by table. */
static ALWAYS_INLINE __m256i look_up(const int8_t values[16], __m256i codes) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_128(values)), codes);
}

static ALWAYS_INLINE plain plain_iq4_nl(const void *block) {
    const block_iq4_nl *b = block;
    return (plain){look_up(quant_iq4_values, nibbles(b->qs)), quant_f16_to_f32(b->d), 0.0f};
}

static ALWAYS_INLINE plain plain_mxfp4(const void *block) {
    const block_mxfp4 *b = block;
    return (plain){look_up(quant_mxfp4_values, nibbles(b->qs)), quant_power_of_two(b->e - 128),
                   0.0f};
}

/* 32 elements of NVFP4 from 16 bytes: of each 8 bytes the low nibbles, then the high ones. */
static ALWAYS_INLINE __m256i codes_nvfp4(const uint8_t qs[16]) {
    __m128i both = load_128(qs), mask = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(both, mask), high = _mm_and_si128(_mm_srli_epi16(both, 4), mask);
    return look_up(quant_mxfp4_values,
                   _mm256_set_m128i(_mm_unpackhi_epi64(low, high), _mm_unpacklo_epi64(low, high)));
}

#endif
