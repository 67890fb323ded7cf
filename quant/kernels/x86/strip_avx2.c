/* AVX2 strips. Products of small codes without a sign are added in 16 bits, which hold those of
 * some groups of four columns, before a scale widens them; those of 8-bit codes with a sign are
 * widened at once. Lane r of a vector belongs to row r of eight; sums have the order of the dot
 * kernels. */
#include "quant/kernels/x86/strip_avx2.h"

/* Both words of 32-bit numbers. */
static ALWAYS_INLINE __m256i both_words(__m256i v) {
    return _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xAA);
}

/* dot[h][t] += scales times the products of n_groups groups, of which 16 bits hold `safe`. Both
 * halves of the rows meet what is loaded of the activations.
 *   codes   a whole strip's width apart
 *   scales  words */
static ALWAYS_INLINE void add_codes(const uint8_t *codes, size_t n_groups, size_t safe,
                                    const __m256i scales[2], const int8_t *acts, size_t act_bytes,
                                    size_t n, __m256i dot[2][PART]) {
    for (size_t at = 0; at < n_groups; at += safe) {
        __m256i words[2][PART];
        UNROLL(4)
        for (size_t t = 0; t < n; t++) words[0][t] = words[1][t] = _mm256_setzero_si256();
        UNROLL(8)
        for (size_t g = at; g < at + safe; g++) {
            __m256i low = load_256(codes + g * 4 * ROWS);
            __m256i high = load_256(codes + g * 4 * ROWS + 4 * HALF);
            UNROLL(4)
            for (size_t t = 0; t < n; t++) {
                __m256i four = spread(acts + t * act_bytes + 4 * g);
                words[0][t] = add_products(words[0][t], low, four);
                words[1][t] = add_products(words[1][t], high, four);
            }
        }
        UNROLL(4)
        for (size_t t = 0; t < n; t++)
            for (size_t h = 0; h < 2; h++)
                dot[h][t] = add_scaled(dot[h][t], words[h][t], scales[h]);
    }
}

/* The same of codes with a sign, which the activations take over. Pairs of products fill 16 bits.
 * (As words both multiply no faster: it is as many instructions of the multiplier.) */
static ALWAYS_INLINE void add_signed(const uint8_t *codes, size_t n_groups, const __m256i scales[2],
                                     const int8_t *acts, size_t act_bytes, size_t n,
                                     __m256i dot[2][PART]) {
    UNROLL(8)
    for (size_t g = 0; g < n_groups; g++, codes += 4 * ROWS) {
        __m256i low = load_256(codes), high = load_256(codes + 4 * HALF);
        __m256i low_size = _mm256_abs_epi8(low), high_size = _mm256_abs_epi8(high);
        UNROLL(4)
        for (size_t t = 0; t < n; t++) {
            __m256i four = spread(acts + t * act_bytes + 4 * g);
            __m256i below = _mm256_maddubs_epi16(low_size, _mm256_sign_epi8(four, low));
            __m256i above = _mm256_maddubs_epi16(high_size, _mm256_sign_epi8(four, high));
            dot[0][t] = add_scaled(dot[0][t], below, scales[0]);
            dot[1][t] = add_scaled(dot[1][t], above, scales[1]);
        }
    }
}

/* What a type needs. */
typedef struct manner {
    size_t n_subs; /* of a super-block */
    size_t safe;   /* groups of four columns whose products fit 16 bits together; 0: signed */
    bool has_min;  /* of plain blocks: y = d q + m, else y = d (q - offset) */
    int offset;
} manner;

static ALWAYS_INLINE void add_groups(const uint8_t *codes, size_t n_groups, manner how,
                                     const __m256i scales[2], const int8_t *acts, size_t act_bytes,
                                     size_t n, __m256i dot[2][PART]) {
    if (how.safe)
        add_codes(codes, n_groups, how.safe, scales, acts, act_bytes, n, dot);
    else
        add_signed(codes, n_groups, scales, acts, act_bytes, n, dot);
}

/* ---- super-blocks ------------------------------------------------------------------------ */

static ALWAYS_INLINE __m256i sum_mins(const strip_super *s, size_t n_subs, size_t row,
                                      const block_act_q8_k *a) {
    const uint8_t *sums = (const uint8_t *)a + (n_subs == 16 ? offsetof(block_act_q8_k, sums)
                                                             : offsetof(block_act_q8_k, sums32));
    __m256i mins = _mm256_setzero_si256();
    for (size_t j = 0; j < n_subs / 2; j++)
        mins = _mm256_add_epi32(
            mins, _mm256_madd_epi16(load_256(s->mins[j] + 2 * row), spread(sums + 4 * j)));
    return mins;
}

static ALWAYS_INLINE void add_super(const strip_super *s, manner how, const uint8_t *acts,
                                    size_t act_bytes, size_t n, __m256 sum[2][PART]) {
    const block_act_q8_k *a = (const block_act_q8_k *)acts;
    size_t n_groups = QUANT_SUPER / 4 / how.n_subs;
    __m256i dot[2][PART];
    UNROLL(4)
    for (size_t t = 0; t < n; t++) dot[0][t] = dot[1][t] = _mm256_setzero_si256();
    for (size_t j = 0; j < how.n_subs; j++) {
        const int32_t *of_sub = s->scales[scale_index(j, how.n_subs)];
        __m256i scales[2] = {both_words(load_256(of_sub)), both_words(load_256(of_sub + HALF))};
        add_groups(s->codes[j * n_groups], n_groups, how, scales, a->qs + 4 * j * n_groups,
                   act_bytes, n, dot);
    }
    for (size_t h = 0; h < 2; h++) {
        size_t row = h * HALF;
        __m256 d = _mm256_loadu_ps(s->d + row), dmin = _mm256_loadu_ps(s->dmin + row);
        UNROLL(4)
        for (size_t t = 0; t < n; t++) {
            const block_act_q8_k *at = (const block_act_q8_k *)(acts + t * act_bytes);
            __m256 scale = _mm256_set1_ps(at->d);
            __m256 part = _mm256_mul_ps(_mm256_mul_ps(d, scale), _mm256_cvtepi32_ps(dot[h][t]));
            if (how.safe) {
                __m256 mins = _mm256_cvtepi32_ps(sum_mins(s, how.n_subs, row, at));
                part = _mm256_fnmadd_ps(_mm256_mul_ps(dmin, scale), mins, part);
            }
            sum[h][t] = _mm256_add_ps(sum[h][t], part);
        }
    }
}

static ALWAYS_INLINE void multiply_supers(manner how, const quant_strip *strip, size_t n_cols,
                                          const uint8_t *acts, size_t act_bytes, size_t n,
                                          __m256 sum[2][PART]) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, acts += sizeof(block_act_q8_k))
        add_super(&strip->supers[b], how, acts, act_bytes, n, sum);
}

/* ---- plain blocks ------------------------------------------------------------------------ */

/* Block k of eight. */
static ALWAYS_INLINE void add_plain(const strip_plain *s, manner how, const uint8_t *acts, size_t k,
                                    size_t act_bytes, size_t n, __m256 sum[2][PART]) {
    const __m256i ones[2] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
    __m256i dot[2][PART];
    UNROLL(4)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        dot[0][t] = _mm256_set1_epi32((at->shift[k] >> 7) * how.offset); /* shift is for 128 */
        dot[1][t] = dot[0][t];
    }
    add_groups(s->codes[0], QUANT_BLOCK / 4, how, ones, ((const block_act_q8 *)acts)->qs[k],
               act_bytes, n, dot);
    for (size_t h = 0; h < 2; h++) {
        __m256 d = _mm256_loadu_ps(s->d + h * HALF), m = _mm256_loadu_ps(s->m + h * HALF);
        UNROLL(4)
        for (size_t t = 0; t < n; t++) {
            const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
            __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(at->d[k])), *to = &sum[h][t];
            *to = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(dot[h][t]), *to);
            if (how.has_min) *to = _mm256_fmadd_ps(m, _mm256_set1_ps(at->s[k]), *to);
        }
    }
}

/* Every eighth block, and so eight times: the dot kernel has a lane for each. */
static ALWAYS_INLINE void multiply_plains(manner how, const quant_strip *strip, size_t n_cols,
                                          const uint8_t *acts, size_t act_bytes, size_t n,
                                          __m256 sum[2][PART]) {
    for (size_t k = 0; k < 8; k++) {
        __m256 part[2][PART];
        UNROLL(4)
        for (size_t t = 0; t < n; t++) part[0][t] = part[1][t] = _mm256_setzero_ps();
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8)
            add_plain(&strip->plains[b], how, acts + b / 8 * sizeof(block_act_q8), k, act_bytes, n,
                      part);
        UNROLL(4)
        for (size_t t = 0; t < n; t++)
            for (size_t h = 0; h < 2; h++) sum[h][t] = _mm256_add_ps(sum[h][t], part[h][t]);
    }
}

/* ---- floats ------------------------------------------------------------------------------ */

/* They become codes of 8 bits, the greatest of a block 127. */
static ALWAYS_INLINE void round_block(const float columns[QUANT_BLOCK][ROWS], size_t row,
                                      strip_plain *s) {
    const __m256 sign = _mm256_set1_ps(-0.0f), zero = _mm256_setzero_ps();
    __m256 most = zero;
    for (size_t c = 0; c < QUANT_BLOCK; c++)
        most = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(columns[c] + row)), most);
    __m256 d = _mm256_div_ps(most, _mm256_set1_ps(127.0f));
    __m256 inv = _mm256_div_ps(_mm256_set1_ps(1.0f), d);
    inv = _mm256_and_ps(inv, _mm256_cmp_ps(d, zero, _CMP_GT_OQ));
    for (size_t g = 0; g < QUANT_BLOCK / 4; g++) {
        __m256i four = _mm256_setzero_si256();
        UNROLL(4)
        for (int i = 0; i < 4; i++) {
            __m256 x = _mm256_mul_ps(_mm256_loadu_ps(columns[4 * g + (size_t)i] + row), inv);
            __m256i code = _mm256_and_si256(_mm256_cvtps_epi32(x), _mm256_set1_epi32(0xFF));
            four = _mm256_or_si256(four, _mm256_slli_epi32(code, 8 * i));
        }
        _mm256_storeu_si256((__m256i *)(void *)(s->codes[g] + 4 * row), four);
    }
    _mm256_storeu_ps(s->d + row, d);
    _mm256_storeu_ps(s->m + row, zero);
}

void quant_strip_f32_avx2(const void *weight, size_t row_bytes, size_t n_rows, size_t n_cols,
                          quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_BLOCK; b++) {
        float rows[ROWS][QUANT_BLOCK], columns[QUANT_BLOCK][ROWS];
        for (size_t r = 0; r < ROWS; r++)
            memcpy(rows[r], strip_row(weight, row_bytes, n_rows, r) + b * sizeof rows[r],
                   sizeof rows[r]);
        turn(rows, QUANT_BLOCK, QUANT_BLOCK, columns);
        for (size_t row = 0; row < ROWS; row += HALF) round_block(columns, row, &out->plains[b]);
    }
}

/* ---- strips ------------------------------------------------------------------------------ */

typedef void multiply_fn(manner how, const quant_strip *strip, size_t n_cols, const uint8_t *acts,
                         size_t act_bytes, size_t n, __m256 sum[2][PART]);

static ALWAYS_INLINE void multiply_part(multiply_fn *body, manner how, const quant_strip *strip,
                                        size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                        size_t n, float *out, size_t stride, bool add) {
    __m256 sum[2][PART];
    for (size_t t = 0; t < n; t++) sum[0][t] = sum[1][t] = _mm256_setzero_ps();
    body(how, strip, n_cols, acts, act_bytes, n, sum);
    for (size_t h = 0; h < 2; h++) store_half(out + h * HALF, stride, n, add, sum[h]);
}

/* A few activations together, what is left one by one. */
static ALWAYS_INLINE void multiply(multiply_fn *body, manner how, MULTIPLY_ARGS) {
    const uint8_t *rows = acts;
    size_t t = 0;
    for (; t + PART <= n_acts; t += PART)
        multiply_part(body, how, strip, n_cols, rows + t * act_bytes, act_bytes, PART,
                      out + t * stride, stride, add);
    for (; t < n_acts; t++)
        multiply_part(body, how, strip, n_cols, rows + t * act_bytes, act_bytes, 1,
                      out + t * stride, stride, add);
}

#define MAKE_SUPERS(type, n_subs)                                                                  \
    void quant_strip_##type##_avx2(const void *weight, size_t row_bytes, size_t n_rows,            \
                                   size_t n_cols, quant_strip *out) {                              \
        make_supers(weight, row_bytes, n_rows, sizeof(block_##type), super_##type, n_subs, n_cols, \
                    out);                                                                          \
    }

#define SUPERS(type, n_subs_, safe_)                                                               \
    MAKE_SUPERS(type, n_subs_)                                                                     \
    void quant_strip_mul_##type##_avx2(MULTIPLY_ARGS) {                                            \
        multiply(multiply_supers, (manner){.n_subs = n_subs_, .safe = safe_}, strip, n_cols, acts, \
                 act_bytes, n_acts, out, stride, add);                                             \
    }

#define PLAINS(type, shift, ...)                                                                 \
    void quant_strip_##type##_avx2(const void *weight, size_t row_bytes, size_t n_rows,          \
                                   size_t n_cols, quant_strip *out) {                            \
        const manner how = {__VA_ARGS__};                                                        \
        make_plains(weight, row_bytes, n_rows, sizeof(block_##type), plain_##type, shift,        \
                    how.has_min, n_cols, out);                                                   \
    }                                                                                            \
    void quant_strip_mul_##type##_avx2(MULTIPLY_ARGS) {                                          \
        multiply(multiply_plains, (manner){__VA_ARGS__}, strip, n_cols, acts, act_bytes, n_acts, \
                 out, stride, add);                                                              \
    }

void quant_strip_mul_f32_avx2(MULTIPLY_ARGS) {
    multiply(multiply_plains, (manner){.safe = 0}, strip, n_cols, acts, act_bytes, n_acts, out,
             stride, add);
}

/* A word holds the products of 2 * safe columns: 2 * safe * greatest code * 127 < 2^15. */
PLAINS(q4_0, 0, .safe = 8, .offset = 8)
PLAINS(q4_1, 0, .safe = 8, .has_min = true)
PLAINS(q5_0, 0, .safe = 4, .offset = 16)
PLAINS(q5_1, 0, .safe = 4, .has_min = true)
PLAINS(q8_0, 0, .safe = 0)
PLAINS(iq4_nl, 0, .safe = 0)
PLAINS(mxfp4, 12, .safe = 4, .offset = 12) /* -12 .. 12 */
SUPERS(q2_k, 16, 4)
SUPERS(q3_k, 16, 4)
SUPERS(q4_k, 8, 8)
SUPERS(q5_k, 8, 4)
SUPERS(q6_k, 16, 2)

/* AVX-512, whose IQ4_XS has another order of sums, has a strip of its own. */
MAKE_SUPERS(iq4_xs, 8)
void quant_strip_mul_iq4_xs_avx2(MULTIPLY_ARGS) {
    multiply(multiply_supers, (manner){.n_subs = 8}, strip, n_cols, acts, act_bytes, n_acts, out,
             stride, add);
}

/* Types of codebooks share two multipliers, for codes up to 124 and up to 30. */
static void multiply_codes(MULTIPLY_ARGS) {
    multiply(multiply_supers, (manner){.n_subs = 16, .safe = 1}, strip, n_cols, acts, act_bytes,
             n_acts, out, stride, add);
}

static void multiply_small_codes(MULTIPLY_ARGS) {
    multiply(multiply_supers, (manner){.n_subs = 16, .safe = 4}, strip, n_cols, acts, act_bytes,
             n_acts, out, stride, add);
}

#define BOOK(type, body)                                                \
    MAKE_SUPERS(type, 16)                                               \
    void quant_strip_mul_##type##_avx2(MULTIPLY_ARGS) {                 \
        body(strip, n_cols, acts, act_bytes, n_acts, out, stride, add); \
    }

BOOK(iq2_xxs, multiply_codes)
BOOK(iq2_xs, multiply_codes)
BOOK(iq2_s, multiply_codes)
BOOK(iq3_xxs, multiply_codes)
BOOK(iq3_s, multiply_small_codes)
BOOK(iq1_s, multiply_small_codes)
BOOK(iq1_m, multiply_small_codes)
BOOK(tq1_0, multiply_small_codes)
BOOK(tq2_0, multiply_small_codes)
