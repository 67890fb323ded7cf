/* AVX2 products of repacked super-blocks, eight rows at a time. */
#include "quant/kernels/books.h"
#include "quant/kernels/x86/repacked_avx2.h"

#include <stddef.h>

/* Scales and minimums of the sub-blocks, in bytes: that of sub-block j in byte j % 4 of number
 * j / 4, of IQ4_XS in byte j / 2 of number j % 2. */
typedef struct factors {
    __m256i s[4], m[4];
    __m256 d, dmin;
} factors;

typedef factors factors_fn(const uint8_t *block, size_t row);

typedef struct super_kind {
    code_kind kind;
    factors_fn *factors;
    size_t block_bytes;
    size_t n_subs;
    bool in_turn; /* the order of IQ4_XS */
    int zero;     /* the minimum is zero times the scale; -1: it has its own, 0: there is none */
} super_kind;

/* ---- Q4_K, Q5_K -------------------------------------------------------------------------- */

/* Six-bit S and M of sub-blocks of 32 in bytes, from words 1 to 3. */
static ALWAYS_INLINE factors factors_q4_k(const uint8_t *block, size_t row) {
    __m256i a = word(block, row, 1), b = word(block, row, 2), c = word(block, row, 3);
    __m256i six = _mm256_set1_epi8(0x3F), halves = word(block, row, 0);
    factors f = {.d = half_of(halves, 0), .dmin = half_of(halves, 16)};
    f.s[0] = _mm256_and_si256(a, six);
    f.s[1] = _mm256_or_si256(low_nibbles(c), bits_at(a, -2, 0x30));
    f.m[0] = _mm256_and_si256(b, six);
    f.m[1] = _mm256_or_si256(high_nibbles(c), bits_at(b, -2, 0x30));
    return f;
}

static ALWAYS_INLINE __m256i codes_q4_k(const uint8_t *block, size_t row, size_t j, size_t g) {
    size_t i = 4 + j / 2 * 8 + g;
    return nibbles_at(j % 2 ? word_again(block, row, i) : word(block, row, i), j % 2);
}

static ALWAYS_INLINE __m256i codes_q5_k(const uint8_t *block, size_t row, size_t j, size_t g) {
    size_t i = 12 + j / 2 * 8 + g;
    __m256i low = nibbles_at(j % 2 ? word_again(block, row, i) : word(block, row, i), j % 2);
    __m256i high = j ? word_again(block, row, 4 + g) : word(block, row, 4 + g);
    return _mm256_or_si256(low, bits_at(high, 4 - (int)j, 16));
}

/* ---- Q2_K, Q3_K -------------------------------------------------------------------------- */

/* Two bits of part j, from word `at` on. */
static ALWAYS_INLINE __m256i two_bits(const uint8_t *block, size_t row, size_t at, size_t j,
                                      size_t g) {
    size_t i = at + j / 4 * 8 + g;
    return bits_at(j % 4 ? word_again(block, row, i) : word(block, row, i), -2 * (int)(j % 4), 3);
}

static ALWAYS_INLINE factors factors_q2_k(const uint8_t *block, size_t row) {
    __m256i halves = word(block, row, 20);
    factors f = {.d = half_of(halves, 0), .dmin = half_of(halves, 16)};
    for (size_t i = 0; i < 4; i++) {
        __m256i both = word(block, row, i);
        f.s[i] = low_nibbles(both);
        f.m[i] = high_nibbles(both);
    }
    return f;
}

static ALWAYS_INLINE __m256i codes_q2_k(const uint8_t *block, size_t row, size_t j, size_t g) {
    return two_bits(block, row, 4, j, g);
}

static ALWAYS_INLINE factors factors_q3_k(const uint8_t *block, size_t row) {
    __m256i a = word(block, row, 24), b = word(block, row, 25), c = word(block, row, 26);
    __m256i low[4] = {low_nibbles(a), low_nibbles(b), high_nibbles(a), high_nibbles(b)};
    factors f = {.d = halves_behind(block, row, 27)};
    f.dmin = f.d;
    for (int i = 0; i < 4; i++) {
        __m256i six = _mm256_or_si256(low[i], bits_at(c, 4 - 2 * i, 0x30));
        f.s[i] = _mm256_sub_epi8(six, _mm256_set1_epi8(32));
    }
    return f;
}

static ALWAYS_INLINE __m256i codes_q3_k(const uint8_t *block, size_t row, size_t j, size_t g) {
    __m256i high = j ? word_again(block, row, g) : word(block, row, g);
    return _mm256_or_si256(two_bits(block, row, 8, j, g), bits_at(high, 2 - (int)j, 4));
}

/* ---- Q6_K: scales, then upper bits and two words of nibbles in turn; see repack.c ----------- */

static ALWAYS_INLINE factors factors_q6_k(const uint8_t *block, size_t row) {
    factors f = {.d = halves_behind(block, row, 52)};
    f.dmin = f.d;
    for (size_t i = 0; i < 4; i++) f.s[i] = word(block, row, i);
    return f;
}

static ALWAYS_INLINE __m256i codes_q6_k(const uint8_t *block, size_t row, size_t j, size_t g) {
    size_t at = 4 + j / 4 * 24 + 3 * g, low = at + 1 + j % 2;
    __m256i upper = j % 4 ? word_again(block, row, at) : word(block, row, at);
    __m256i nibbles = j % 4 < 2 ? word(block, row, low) : word_again(block, row, low);
    return _mm256_or_si256(nibbles_at(nibbles, j % 4 >= 2),
                           bits_at(upper, 4 - 2 * (int)(j % 4), 0x30));
}

/* ---- IQ4_XS ------------------------------------------------------------------------------ */

static ALWAYS_INLINE factors factors_iq4_xs(const uint8_t *block, size_t row) {
    __m256i halves = word(block, row, 0), low = word(block, row, 1);
    /* Four bits for each two sub-blocks, to a byte each. */
    __m256i high = _mm256_srli_epi32(halves, 16);
    high = _mm256_and_si256(_mm256_or_si256(high, _mm256_slli_epi32(high, 8)),
                            _mm256_set1_epi32(0x00FF00FF));
    high = low_nibbles(_mm256_or_si256(high, _mm256_slli_epi32(high, 4)));
    factors f = {.d = half_of(halves, 0)};
    f.s[0] = _mm256_or_si256(low_nibbles(low), bits_at(high, 4, 0x30));
    f.s[1] = _mm256_or_si256(high_nibbles(low), bits_at(high, 2, 0x30));
    for (int i = 0; i < 2; i++) f.s[i] = _mm256_sub_epi8(f.s[i], _mm256_set1_epi8(32));
    return f;
}

/* Nibbles of part j, from word `at` on, as levels. */
static ALWAYS_INLINE __m256i levels_of(const void *levels, const uint8_t *block, size_t row,
                                       size_t at, size_t j, size_t g) {
    size_t i = at + 4 * j + g % 4;
    __m256i codes = nibbles_at(g < 4 ? word(block, row, i) : word_again(block, row, i), g >= 4);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_128(levels)), codes);
}

static ALWAYS_INLINE __m256i codes_iq4_xs(const uint8_t *block, size_t row, size_t j, size_t g) {
    return levels_of(quant_iq4_values, block, row, 2, j, g);
}

/* ---- codebooks: quant_nibbles ------------------------------------------------------------- */

static ALWAYS_INLINE factors factors_book(const uint8_t *block, size_t row) {
    factors f = {.d = _mm256_castsi256_ps(word(block, row, 0))};
    f.dmin = f.d;
    for (size_t i = 0; i < 4; i++) f.s[i] = word(block, row, 1 + i);
    return f;
}

#define BOOK_CODES(book)                                                                  \
    static ALWAYS_INLINE __m256i codes_##book(const uint8_t *block, size_t row, size_t j, \
                                              size_t g) {                                 \
        return levels_of(quant_levels_##book, block, row, 5, j, g);                       \
    }
BOOK_CODES(iq1)
BOOK_CODES(iq2)
BOOK_CODES(iq3_xxs)
BOOK_CODES(iq3_s)
BOOK_CODES(ternary)

/* ---- products ---------------------------------------------------------------------------- */

/* The scale of sub-block j in both halves of every word. */
static ALWAYS_INLINE __m256i scale_at(super_kind how, const factors *f, unsigned j) {
    if (how.in_turn) return two_signed(f->s[j % 2], j / 2, j / 2);
    return two_signed(f->s[j / 4], j % 4, j % 4);
}

/* Sums of activations times bytes of factors, two sub-blocks at a time. */
static ALWAYS_INLINE __m256i dot_mins(super_kind how, const __m256i bytes[4],
                                      const block_act_q8_k *a) {
    const uint8_t *sums =
        (const uint8_t *)a +
        (how.n_subs == 16 ? offsetof(block_act_q8_k, sums) : offsetof(block_act_q8_k, sums32));
    __m256i mins = _mm256_setzero_si256();
    UNROLL(8)
    for (unsigned j = 0; j < how.n_subs; j += 2) {
        __m256i pair = two_signed(bytes[j / 4], j % 4, j % 4 + 1);
        mins = _mm256_add_epi32(mins, _mm256_madd_epi16(pair, spread(sums + 2 * j)));
    }
    return how.zero < 0 ? mins : _mm256_mullo_epi32(mins, _mm256_set1_epi32(how.zero));
}

static ALWAYS_INLINE void add_super(super_kind how, const uint8_t *block, size_t row,
                                    const uint8_t *acts, size_t act_bytes, size_t n,
                                    __m256 sum[PART]) {
    const int8_t *qs = ((const block_act_q8_k *)acts)->qs;
    factors f = how.factors(block, row);
    size_t n_groups = QUANT_SUPER / 4 / how.n_subs, per_part = 8 / n_groups;
    __m256i dot[PART];
    UNROLL(4)
    for (size_t t = 0; t < n; t++) dot[t] = _mm256_setzero_si256();
    UNROLL(16)
    for (unsigned j = 0; j < how.n_subs; j++)
        add_groups(how.kind, block, row, j / per_part, j % per_part * n_groups, n_groups,
                   scale_at(how, &f, j), qs + j / per_part * 32, act_bytes, n, dot);
    UNROLL(4)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8_k *at = (const block_act_q8_k *)(acts + t * act_bytes);
        __m256 scale = _mm256_set1_ps(at->d);
        __m256 part = _mm256_mul_ps(_mm256_mul_ps(f.d, scale), _mm256_cvtepi32_ps(dot[t]));
        if (how.zero) {
            __m256 mins = _mm256_cvtepi32_ps(dot_mins(how, how.zero < 0 ? f.m : f.s, at));
            part = _mm256_fnmadd_ps(_mm256_mul_ps(f.dmin, scale), mins, part);
        }
        sum[t] = _mm256_add_ps(sum[t], part);
    }
}

static ALWAYS_INLINE void multiply_supers(super_kind how, const uint8_t *rows, size_t row,
                                          size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                          size_t n, __m256 sum[PART]) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, acts += sizeof(block_act_q8_k))
        add_super(how, rows + b * ROWS * how.block_bytes, row, acts, act_bytes, n, sum);
}

/* ---- strips ------------------------------------------------------------------------------ */

static ALWAYS_INLINE void put_words(void *to, size_t row, __m256i words) {
    _mm256_storeu_si256((__m256i *)to + row / HALF, words);
}

/* Eight rows of a block. */
static ALWAYS_INLINE void unpack_super(super_kind how, const uint8_t *block, size_t row,
                                       strip_super *s) {
    factors f = how.factors(block, row);
    UNROLL(8)
    for (size_t j = 0; j < 8; j++) UNROLL(8)
    for (size_t g = 0; g < 8; g++)
        put_words(s->codes[8 * j + g], row, how.kind.codes(block, row, j, g));
    UNROLL(16)
    for (unsigned j = 0; j < how.n_subs; j++) {
        __m256i scale = _mm256_srai_epi32(scale_at(how, &f, j), 16);
        put_words(s->scales[scale_index(j, how.n_subs)], row, scale);
    }
    UNROLL(8)
    for (unsigned j = 0; j < how.n_subs; j += 2) {
        const __m256i *bytes = how.zero < 0 ? f.m : f.s;
        __m256i pair = two_signed(bytes[j / 4], j % 4, j % 4 + 1);
        if (how.zero > 0) pair = _mm256_mullo_epi16(pair, _mm256_set1_epi16((short)how.zero));
        put_words(s->mins[j / 2], row, pair);
    }
    _mm256_storeu_ps(s->d + row, f.d);
    _mm256_storeu_ps(s->dmin + row, f.dmin);
}

static ALWAYS_INLINE void unpack_supers(super_kind how, const uint8_t *rows, size_t n_cols,
                                        quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++)
        for (size_t row = 0; row < ROWS; row += HALF)
            unpack_super(how, rows + b * ROWS * how.block_bytes, row, &out->supers[b]);
}

#define UNPACK(type, ...)                                                                  \
    void quant_unpack_##type##_avx2(const void *packed, size_t n_cols, quant_strip *out) { \
        unpack_supers((super_kind)__VA_ARGS__, packed, n_cols, out);                       \
    }

/* ---- kernels ----------------------------------------------------------------------------- */

#define SUPER(type, isa, ...)                                                                  \
    static ALWAYS_INLINE void multiply_##type(const uint8_t *rows, size_t row, size_t n_cols,  \
                                              const uint8_t *acts, size_t act_bytes, size_t n, \
                                              __m256 sum[PART]) {                              \
        multiply_supers((super_kind)__VA_ARGS__, rows, row, n_cols, acts, act_bytes, n, sum);  \
    }                                                                                          \
    REPACKED(type, isa)

#define WITH_STRIP(type, ...) SUPER(type, avx2, __VA_ARGS__) UNPACK(type, __VA_ARGS__)

#define K_SUPER(type, safe, factors, n_subs, zero) \
    WITH_STRIP(type,                               \
               {{codes_##type, false, safe}, factors, sizeof(block_##type), n_subs, false, zero})

K_SUPER(q2_k, 4, factors_q2_k, 16, -1)
K_SUPER(q3_k, 4, factors_q3_k, 16, 4)
K_SUPER(q4_k, 8, factors_q4_k, 8, -1)
K_SUPER(q5_k, 4, factors_q4_k, 8, -1)
K_SUPER(q6_k, 2, factors_q6_k, 16, 32)
/* The sums of AVX-512 are others. */
SUPER(iq4_xs, avx2alone,
      {{codes_iq4_xs, true, 1}, factors_iq4_xs, sizeof(block_iq4_xs), 8, true, 0})
void quant_unpack_iq4_xs_avx2alone(const void *packed, size_t n_cols, quant_strip *out) {
    unpack_supers(
        (super_kind){{codes_iq4_xs, true, 1}, factors_iq4_xs, sizeof(block_iq4_xs), 8, true, 0},
        packed, n_cols, out);
}

/* One body for the types that share levels. */
#define BOOK(book, safe, zero) \
    WITH_STRIP(                \
        book, {{codes_##book, false, safe}, factors_book, sizeof(quant_nibbles), 16, false, zero})

BOOK(iq1, 4, QUANT_ZERO_IQ1)
BOOK(iq2, 1, QUANT_ZERO_IQ2)
BOOK(iq3_xxs, 1, QUANT_ZERO_IQ3_XXS)
BOOK(iq3_s, 4, QUANT_ZERO_IQ3_S)
BOOK(ternary, 4, QUANT_ZERO_TERNARY)
