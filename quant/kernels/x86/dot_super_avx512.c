/* AVX-512 products of super-blocks. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/reduce_avx512.h"
#include "quant/kernels/x86/super_avx2.h"

enum { GROUP = QUANT_STRIP_COLS / QUANT_SUPER };

/* A super-block: 4 x 64 unsigned codes, and the 16-bit scales of each pair of them. Vector k has
 * codes of sub-blocks (of 32) 2 k and 2 k + 1, or, `apart`, of two that are two apart. */
typedef struct wide {
    __m512i q[4], s[4];
    __m256i m;       /* as in super */
    uint32_t halves; /* d, and above it dmin */
} wide;

typedef wide wide_fn(const void *block);

static ALWAYS_INLINE uint32_t two_halves(uint16_t d, uint16_t dmin) {
    return (uint32_t)dmin << 16 | d;
}

/* Words `first` and `second` of v, 16 times each. */
static ALWAYS_INLINE __m512i spread_words(__m512i v, int first, int second) {
    __m512i which = _mm512_set1_epi16((short)first);
    which = _mm512_mask_mov_epi16(which, 0xFFFF0000, _mm512_set1_epi16((short)second));
    return _mm512_permutexvar_epi16(which, v);
}

/* The first sub-block of vector k when two are apart; the other comes two later. */
static ALWAYS_INLINE int first_apart(int k) {
    return k / 2 * 4 + k % 2;
}

/* S and M of 8 sub-blocks, six bits each. Reads 16 bytes. */
static ALWAYS_INLINE void scales_k(const uint8_t *packed, wide *p) {
    __m128i x = load_128(packed), low = _mm_shuffle_epi32(x, 0x50), high = _mm_set1_epi8(15);
    low = _mm_and_si128(_mm_srlv_epi32(low, _mm_set_epi32(2, 0, 2, 0)),
                        _mm_set_epi32(0x30303030, 0x3F3F3F3F, 0x30303030, 0x3F3F3F3F));
    high = _mm_and_si128(_mm_srlv_epi32(_mm_shuffle_epi32(x, 0xAA), _mm_set_epi32(4, 0, 0, 0)),
                         _mm_set_epi32(0x0F0F0F0F, 0, 0x0F0F0F0F, 0));
    __m256i words = _mm256_cvtepu8_epi16(_mm_or_si128(low, high));
    __m512i both = _mm512_castsi256_si512(words);
    for (int k = 0; k < 4; k++) p->s[k] = spread_words(both, first_apart(k), first_apart(k) + 2);
    p->m = _mm256_permutexvar_epi16(
        _mm256_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8), words);
}

static ALWAYS_INLINE void nibbles_k(const uint8_t qs[128], wide *p) {
    __m512i low = _mm512_set1_epi8(15);
    for (int k = 0; k < 4; k += 2) {
        __m512i v = _mm512_loadu_si512(qs + 32 * k);
        p->q[k] = _mm512_and_si512(v, low);
        p->q[k + 1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
}

static ALWAYS_INLINE wide wide_q4_k(const void *block) {
    const block_q4_k *b = block;
    wide p;
    p.halves = two_halves(b->d, b->dmin);
    scales_k(b->scales, &p);
    nibbles_k(b->qs, &p);
    return p;
}

static ALWAYS_INLINE wide wide_q5_k(const void *block) {
    const block_q5_k *b = block;
    wide p;
    p.halves = two_halves(b->d, b->dmin);
    scales_k(b->scales, &p);
    nibbles_k(b->qs, &p);
    __m512i high = _mm512_broadcast_i64x4(load_256(b->qh)), fifth = _mm512_set1_epi8(16);
    for (int k = 0; k < 4; k++) {
        char first = (char)(1 << first_apart(k)), second = (char)(4 << first_apart(k));
        __m512i bit = _mm512_mask_mov_epi8(_mm512_set1_epi8(first), 0xFFFFFFFF00000000u,
                                           _mm512_set1_epi8(second));
        p.q[k] = _mm512_mask_add_epi8(p.q[k], _mm512_test_epi8_mask(high, bit), p.q[k], fifth);
    }
    return p;
}

/* Scales of four sub-blocks of 16 for each vector. */
static ALWAYS_INLINE __m512i spread_four(__m512i words, int k) {
    __m512i which =
        _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002,
                         0x0002000200020002, 0x0001000100010001, 0x0001000100010001, 0, 0);
    return _mm512_permutexvar_epi16(_mm512_add_epi16(which, _mm512_set1_epi16((short)(4 * k))),
                                    words);
}

static ALWAYS_INLINE wide wide_q6_k(const void *block) {
    const block_q6_k *b = block;
    wide p = {.halves = two_halves(b->d, b->d)};
    __m256i words = _mm256_cvtepi8_epi16(load_128(b->scales));
    __m512i low = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
    p.m = _mm256_slli_epi16(words, 5);
    for (int k = 0; k < 4; k++) p.s[k] = spread_four(_mm512_castsi256_si512(words), k);
    for (int k = 0; k < 4; k += 2) {
        __m512i v = _mm512_loadu_si512(b->ql + 32 * k);
        __m512i high = _mm512_broadcast_i64x4(load_256(b->qh + 16 * k));
        __m512i by = _mm512_mask_mov_epi16(_mm512_set1_epi16(4), 0xFFFF0000, _mm512_set1_epi16(2));
        __m512i first = _mm512_and_si512(_mm512_sllv_epi16(high, by), upper);
        by = _mm512_mask_mov_epi16(_mm512_setzero_si512(), 0xFFFF0000, _mm512_set1_epi16(2));
        __m512i second = _mm512_and_si512(_mm512_srlv_epi16(high, by), upper);
        p.q[k] = _mm512_or_si512(_mm512_and_si512(v, low), first);
        p.q[k + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(v, 4), low), second);
    }
    return p;
}

/* Pairs of the vectors of super_avx2.h. */
static ALWAYS_INLINE wide widen(super p, uint32_t halves) {
    wide w = {.m = p.m, .halves = halves};
    __m512i both = _mm512_broadcast_i64x4(p.s);
    for (int k = 0; k < 4; k++) {
        __m512i first = _mm512_set1_epi16((short)(0x0100 + 0x0404 * k));
        __m512i which = _mm512_mask_add_epi16(first, 0xFFFF0000, first, _mm512_set1_epi16(0x0202));
        w.q[k] = _mm512_inserti64x4(_mm512_castsi256_si512(p.q[2 * k]), p.q[2 * k + 1], 1);
        w.s[k] = _mm512_shuffle_epi8(both, which);
    }
    return w;
}

static ALWAYS_INLINE wide wide_q2_k(const void *block) {
    const block_q2_k *b = block;
    return widen(super_q2_k(block), two_halves(b->d, b->dmin));
}

static ALWAYS_INLINE wide wide_q3_k(const void *block) {
    const block_q3_k *b = block;
    return widen(super_q3_k(block), two_halves(b->d, b->d));
}

static ALWAYS_INLINE wide wide_iq4_xs(const void *block) {
    const block_iq4_xs *b = block;
    return widen(super_iq4_xs_shifted(block), two_halves(b->d, b->d));
}

/* What a type needs besides its codes. */
typedef struct manner {
    bool apart; /* see wide */
    bool large; /* sums of two products do not fit 16 bits */
} manner;

static ALWAYS_INLINE __m512i act_codes(const block_act_q8_k *a, bool apart, int k) {
    if (!apart) return _mm512_loadu_si512(a->qs + 64 * k);
    const int8_t *first = a->qs + 32 * first_apart(k);
    return _mm512_inserti64x4(_mm512_castsi256_si512(load_256(first)), load_256(first + 64), 1);
}

static ALWAYS_INLINE __m512i add_codes(__m512i dot, __m512i q, __m512i scales, bool large,
                                       __m512i codes) {
    if (!large) return _mm512_dpwssd_epi32(dot, _mm512_maddubs_epi16(q, codes), scales);
    __m512i part = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q, codes);
    return _mm512_add_epi32(dot, _mm512_mullo_epi32(part, _mm512_srai_epi32(scales, 16)));
}

static ALWAYS_INLINE __m512i dot_codes(const wide *p, manner how, const block_act_q8_k *a) {
    __m512i dot = _mm512_setzero_si512();
    UNROLL(4)
    for (int k = 0; k < 4; k++)
        dot = add_codes(dot, p->q[k], p->s[k], how.large, act_codes(a, how.apart, k));
    return dot;
}

static ALWAYS_INLINE __m128i sum_lanes_of(const __m512i v[GROUP]) {
    return sum_four_512(v[0], v[1], v[2], v[3]);
}

typedef struct group_scales {
    uint32_t halves[GROUP];
} group_scales;

static ALWAYS_INLINE void note_scales(group_scales *s, size_t j, const wide *p) {
    s->halves[j] = p->halves;
}

static ALWAYS_INLINE void scales_of_group(const group_scales *s, __m128 *d, __m128 *dmin) {
    __m256 scales = _mm256_cvtph_ps(load_128(s->halves));
    __m128 low = _mm256_castps256_ps128(scales), high = _mm256_extractf128_ps(scales, 1);
    *d = _mm_shuffle_ps(low, high, 0x88);
    *dmin = _mm_shuffle_ps(low, high, 0xDD);
}

typedef wide unpacked;
typedef wide_fn unpack_fn;
typedef __m512i lanes;
#include "quant/kernels/x86/dot_super.inc"

#define SUPER_DOT(type, ...)                                                                     \
    void quant_dot_##type##_avx512(DOT_ARGS) {                                                   \
        FOR_N_ACTS(dot_super, weight, sizeof(block_##type), wide_##type, (manner){__VA_ARGS__}); \
    }

SUPER_DOT(q2_k, false, false)
SUPER_DOT(q3_k, false, false)
SUPER_DOT(q4_k, true, false)
SUPER_DOT(q5_k, true, false)
SUPER_DOT(q6_k, false, false)
SUPER_DOT(iq4_xs, false, true)
