/* Making strips with 256-bit vectors; what the multipliers share. */
#ifndef QUANT_KERNELS_X86_STRIP_X86_H
#define QUANT_KERNELS_X86_STRIP_X86_H

#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/super_books_avx2.h"
#include "quant/kernels/x86/transpose_avx2.h"

#define ROWS QUANT_STRIP_ROWS
#define ACTS QUANT_STRIP_ACTS

/* Repacked rows are asked for so many bytes ahead: the processor alone foresees too few of them
 * once several activations meet each. */
#define PREFETCH_AHEAD 4096

/* Row r of a strip; the last of n_rows stands in for those that are missing. */
static ALWAYS_INLINE const uint8_t *strip_row(const uint8_t *weight, size_t row_bytes,
                                              size_t n_rows, size_t r) {
    return weight + (r < n_rows ? r : n_rows - 1) * row_bytes;
}

/* to[c][row] = from[row][c] for n columns of 32 bits, rows `stride` of those apart; n a multiple
 * of 8 */
static ALWAYS_INLINE void turn(const void *from, size_t stride, size_t n, void *to) {
    for (size_t c = 0; c < n; c += 8)
        for (size_t r = 0; r < ROWS; r += 8) {
            __m256 columns[8];
            transpose_8x8((const float *)from + r * stride + c, (int)stride, columns);
            for (size_t j = 0; j < 8; j++)
                _mm256_storeu_ps((float *)to + (c + j) * ROWS + r, columns[j]);
        }
}

/* 16 words as 32-bit numbers. */
static ALWAYS_INLINE void store_words(__m256i words, int32_t out[16]) {
    __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(words));
    __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1));
    _mm256_storeu_si256((__m256i *)(void *)out, low);
    _mm256_storeu_si256((__m256i *)(void *)(out + 8), high);
}

/* ---- making ------------------------------------------------------------------------------ */

/* Every other one of 16 words; all are there twice. What is behind them does not matter. */
static ALWAYS_INLINE __m256i once(__m256i words) {
    __m256i low = _mm256_and_si256(words, _mm256_set1_epi32(0xFFFF));
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0xD8);
}

/* Scales come as those of even sub-blocks, then those of odd ones. */
static ALWAYS_INLINE void make_supers(const uint8_t *w, size_t row_bytes, size_t n_rows,
                                      size_t block_bytes, super_fn *unpack, size_t n_subs,
                                      size_t n_cols, quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++) {
        strip_super *s = &out->supers[b];
        uint8_t codes[ROWS][QUANT_SUPER];
        int32_t scales[ROWS][16];
        int16_t mins[ROWS][16];
        for (size_t r = 0; r < ROWS; r++) {
            super p = unpack(strip_row(w, row_bytes, n_rows, r) + b * block_bytes);
            for (int j = 0; j < 8; j++)
                _mm256_storeu_si256((__m256i *)(void *)(codes[r] + 32 * j), p.q[j]);
            store_words(p.s, scales[r]);
            _mm256_storeu_si256((__m256i *)(void *)mins[r], n_subs == 16 ? p.m : once(p.m));
            s->d[r] = p.d;
            s->dmin[r] = p.dmin;
        }
        turn(codes, QUANT_SUPER / 4, QUANT_SUPER / 4, s->codes);
        turn(scales, 16, 16, s->scales);
        turn(mins, 8, 8, s->mins);
    }
}

/* Scale of sub-block j of n in the order of make_supers. */
static ALWAYS_INLINE size_t scale_index(size_t j, size_t n) {
    return n == 16 ? j % 2 * 8 + j / 2 : j;
}

/* Codes are stored with `shift` more. */
static ALWAYS_INLINE void make_plains(const uint8_t *w, size_t row_bytes, size_t n_rows,
                                      size_t block_bytes, plain_fn *unpack, int shift, bool has_min,
                                      size_t n_cols, quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_BLOCK; b++) {
        strip_plain *s = &out->plains[b];
        uint8_t codes[ROWS][QUANT_BLOCK];
        for (size_t r = 0; r < ROWS; r++) {
            plain p = unpack(strip_row(w, row_bytes, n_rows, r) + b * block_bytes);
            __m256i q = _mm256_add_epi8(p.q, _mm256_set1_epi8((char)shift));
            _mm256_storeu_si256((__m256i *)(void *)codes[r], q);
            s->d[r] = p.d;
            s->m[r] = has_min ? p.m : 0.0f;
        }
        turn(codes, QUANT_BLOCK / 4, QUANT_BLOCK / 4, s->codes);
    }
}

/* ---- multiplying ------------------------------------------------------------------------- */

#define MULTIPLY_ARGS                                                                           \
    const quant_strip *strip, size_t n_cols, const void *acts, size_t act_bytes, size_t n_acts, \
        float *out, size_t stride, bool add

#endif
