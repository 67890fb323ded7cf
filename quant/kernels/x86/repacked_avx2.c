/* AVX2 products of repacked rows: as repacked_avx512.c, eight rows at a time. 16 bits hold the
 * products of 32 columns of one row pair by pair, 16 * 15 * 127, before a scale widens them. */
#include "quant/kernels/x86/strip_avx2.h"

/* The same four bytes of a block of eight rows, from `row` on. */
static ALWAYS_INLINE __m256i word(const uint8_t *block, size_t row, size_t i) {
    if (row == 0) __builtin_prefetch(block + i * ROWS * 4 + PREFETCH_AHEAD);
    return load_256(block + (i * ROWS + row) * 4);
}

static ALWAYS_INLINE __m256i nibbles_at(__m256i v, bool upper) {
    return upper ? high_nibbles(v) : low_nibbles(v);
}

/* Codes of columns 4 g .. 4 g + 3 of part j of a block: 32 columns. */
typedef __m256i codes_fn(const uint8_t *block, size_t row, size_t j, size_t g);

/* dot[t] += scales times the products of part j.
 *   scales  words */
static ALWAYS_INLINE void add_part(codes_fn *codes, const uint8_t *block, size_t row, size_t j,
                                   __m256i scales, const int8_t *acts, size_t act_bytes, size_t n,
                                   __m256i dot[PART]) {
    __m256i words[PART];
#pragma GCC unroll 4
    for (size_t t = 0; t < n; t++) words[t] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t g = 0; g < 8; g++) {
        __m256i q = codes(block, row, j, g);
#pragma GCC unroll 4
        for (size_t t = 0; t < n; t++)
            words[t] = add_products(words[t], q, spread(acts + t * act_bytes + 4 * g));
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < n; t++)
        dot[t] = _mm256_add_epi32(dot[t], _mm256_madd_epi16(words[t], scales));
}

/* ---- Q4_0, Q4_1 -------------------------------------------------------------------------- */

/* Four words of nibbles, and behind them d; in Q4_1 a word with d and m is before them. */
static ALWAYS_INLINE __m256i codes_q4_0(const uint8_t *block, size_t row, size_t j, size_t g) {
    (void)j;
    return nibbles_at(word(block, row, g % 4), g >= 4);
}

static ALWAYS_INLINE __m256i codes_q4_1(const uint8_t *block, size_t row, size_t j, size_t g) {
    return codes_q4_0(block + ROWS * 4, row, j, g);
}

/* d of eight rows, or what is `shift` bits above it. */
static ALWAYS_INLINE __m256 half_of(__m256i word, int shift) {
    __m256i low = _mm256_and_si256(_mm256_srli_epi32(word, shift), _mm256_set1_epi32(0xFFFF));
    __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    return _mm256_cvtph_ps(halves);
}

/* Block k of eight. Codes of Q4_0 are 8 more: a sixteenth of what the activations' shift is for. */
static ALWAYS_INLINE void add_plain(bool has_min, const uint8_t *block, size_t row,
                                    const uint8_t *acts, size_t k, size_t act_bytes, size_t n,
                                    __m256 sum[PART]) {
    __m256 d = has_min ? half_of(word(block, row, 0), 0)
                       : _mm256_cvtph_ps(load_128(block + 4 * ROWS * 4 + row * 2));
    __m256 m = has_min ? half_of(word(block, row, 0), 16) : _mm256_setzero_ps();
    __m256i dot[PART];
#pragma GCC unroll 4
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        dot[t] = _mm256_set1_epi32(has_min ? 0 : at->shift[k] >> 4);
    }
    add_part(has_min ? codes_q4_1 : codes_q4_0, block, row, 0, _mm256_set1_epi16(1),
             ((const block_act_q8 *)acts)->qs[k], act_bytes, n, dot);
#pragma GCC unroll 4
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(at->d[k]));
        sum[t] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(dot[t]), sum[t]);
        if (has_min) sum[t] = _mm256_fmadd_ps(m, _mm256_set1_ps(at->s[k]), sum[t]);
    }
}

/* Every eighth block, and so eight times: in this order they lie. */
static ALWAYS_INLINE void multiply_plains(bool has_min, const uint8_t *rows, size_t row,
                                          size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                          size_t n, __m256 sum[PART]) {
    size_t block_bytes = has_min ? sizeof(block_q4_1) : sizeof(block_q4_0);
    for (size_t k = 0; k < 8; k++) {
        __m256 part[PART];
#pragma GCC unroll 4
        for (size_t t = 0; t < n; t++) part[t] = _mm256_setzero_ps();
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8, rows += ROWS * block_bytes)
            add_plain(has_min, rows, row, acts + b / 8 * sizeof(block_act_q8), k, act_bytes, n,
                      part);
#pragma GCC unroll 4
        for (size_t t = 0; t < n; t++) sum[t] = _mm256_add_ps(sum[t], part[t]);
    }
}

static ALWAYS_INLINE void multiply_q4_0(const uint8_t *rows, size_t row, size_t n_cols,
                                        const uint8_t *acts, size_t act_bytes, size_t n,
                                        __m256 sum[PART]) {
    multiply_plains(false, rows, row, n_cols, acts, act_bytes, n, sum);
}

static ALWAYS_INLINE void multiply_q4_1(const uint8_t *rows, size_t row, size_t n_cols,
                                        const uint8_t *acts, size_t act_bytes, size_t n,
                                        __m256 sum[PART]) {
    multiply_plains(true, rows, row, n_cols, acts, act_bytes, n, sum);
}

/* ---- Q4_K -------------------------------------------------------------------------------- */

/* Six-bit S and M of sub-blocks 4 i .. 4 i + 3 in bytes, from words 1 to 3. */
typedef struct six_bits {
    __m256i s[2], m[2];
} six_bits;

static ALWAYS_INLINE six_bits unpack_six_bits(const uint8_t *block, size_t row) {
    __m256i a = word(block, row, 1), b = word(block, row, 2), c = word(block, row, 3);
    __m256i six = _mm256_set1_epi8(0x3F);
    return (six_bits){
        {_mm256_and_si256(a, six), _mm256_or_si256(low_nibbles(c), bits_at(a, -2, 0x30))},
        {_mm256_and_si256(b, six), _mm256_or_si256(high_nibbles(c), bits_at(b, -2, 0x30))}};
}

/* Bytes `first` and `second` of every word in its halves. */
static ALWAYS_INLINE __m256i two_bytes(__m256i v, unsigned first, unsigned second) {
    __m256i in_order = _mm256_broadcastsi128_si256(_mm_set_epi32(0x0C000C, 0x080008, 0x040004, 0));
    __m256i which = _mm256_set1_epi32((int)(0x80008000u | first | second << 16));
    return _mm256_shuffle_epi8(v, _mm256_add_epi32(in_order, which));
}

static ALWAYS_INLINE __m256i codes_q4_k(const uint8_t *block, size_t row, size_t j, size_t g) {
    return nibbles_at(word(block, row, 4 + j / 2 * 8 + g), j % 2);
}

static ALWAYS_INLINE __m256i dot_mins(const six_bits *f, const block_act_q8_k *a) {
    __m256i mins = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (unsigned j = 0; j < 4; j++) {
        __m256i pair = two_bytes(f->m[j / 2], j % 2 * 2, j % 2 * 2 + 1);
        mins = _mm256_add_epi32(mins, _mm256_madd_epi16(pair, spread(&a->sums32[2 * j])));
    }
    return mins;
}

static ALWAYS_INLINE void add_super(const uint8_t *block, size_t row, const uint8_t *acts,
                                    size_t act_bytes, size_t n, __m256 sum[PART]) {
    const int8_t *qs = ((const block_act_q8_k *)acts)->qs;
    six_bits f = unpack_six_bits(block, row);
    __m256 d = half_of(word(block, row, 0), 0), dmin = half_of(word(block, row, 0), 16);
    __m256i dot[PART];
#pragma GCC unroll 4
    for (size_t t = 0; t < n; t++) dot[t] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (unsigned j = 0; j < 8; j++)
        add_part(codes_q4_k, block, row, j, two_bytes(f.s[j / 4], j % 4, j % 4), qs + 32 * j,
                 act_bytes, n, dot);
#pragma GCC unroll 4
    for (size_t t = 0; t < n; t++) {
        const block_act_q8_k *at = (const block_act_q8_k *)(acts + t * act_bytes);
        __m256 scale = _mm256_set1_ps(at->d), mins = _mm256_cvtepi32_ps(dot_mins(&f, at));
        __m256 part = _mm256_mul_ps(_mm256_mul_ps(d, scale), _mm256_cvtepi32_ps(dot[t]));
        part = _mm256_fnmadd_ps(_mm256_mul_ps(dmin, scale), mins, part);
        sum[t] = _mm256_add_ps(sum[t], part);
    }
}

static ALWAYS_INLINE void multiply_q4_k(const uint8_t *rows, size_t row, size_t n_cols,
                                        const uint8_t *acts, size_t act_bytes, size_t n,
                                        __m256 sum[PART]) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, acts += sizeof(block_act_q8_k))
        add_super(rows + b * ROWS * sizeof(block_q4_k), row, acts, act_bytes, n, sum);
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

/* Four activations together. */
#define REPACKED_CASE(k, type)                                                            \
    case k:                                                                               \
        multiply_some(multiply_##type, rows, n_cols, act, act_bytes, k, to, stride, add); \
        break
#define REPACKED(type)                                                                            \
    void quant_repacked_##type##_avx2(const void *rows, size_t n_cols, const void *acts,          \
                                      size_t act_bytes, size_t n_acts, float *out, size_t stride, \
                                      bool add) {                                                 \
        for (size_t t = 0; t < n_acts; t += PART) {                                               \
            const uint8_t *act = (const uint8_t *)acts + t * act_bytes;                           \
            float *to = out + t * stride;                                                         \
            switch (n_acts - t) {                                                                 \
                REPACKED_CASE(1, type);                                                           \
                REPACKED_CASE(2, type);                                                           \
                REPACKED_CASE(3, type);                                                           \
            default:                                                                              \
                multiply_some(multiply_##type, rows, n_cols, act, act_bytes, PART, to, stride,    \
                              add);                                                               \
            }                                                                                     \
        }                                                                                         \
    }

REPACKED(q4_0)
REPACKED(q4_1)
REPACKED(q4_k)
