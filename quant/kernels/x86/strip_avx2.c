/* AVX2 strips of types with small unsigned codes: products of some groups of four columns are added
 * in 16 bits, which hold them, before a scale widens them. Lane r of a vector belongs to row r of
 * eight; sums have the order of the dot kernels. */
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

/* What a type needs. */
typedef struct manner {
    size_t n_subs;  /* of a super-block */
    size_t safe;    /* groups of four columns whose products fit 16 bits together */
    bool has_min;   /* of plain blocks: y = d q + m, else y = d (q - offset) */
    int offset_log; /* offset = 2^offset_log */
} manner;

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
        add_codes(s->codes[j * n_groups], n_groups, how.safe, scales, a->qs + 4 * j * n_groups,
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
            __m256i mins = sum_mins(s, how.n_subs, row, at);
            part = _mm256_fnmadd_ps(_mm256_mul_ps(dmin, scale), _mm256_cvtepi32_ps(mins), part);
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
        dot[0][t] = _mm256_set1_epi32(how.has_min ? 0 : at->shift[k] >> (7 - how.offset_log));
        dot[1][t] = dot[0][t];
    }
    add_codes(s->codes[0], QUANT_BLOCK / 4, how.safe, ones, ((const block_act_q8 *)acts)->qs[k],
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

#define PLAINS(type, ...)                                                                          \
    void quant_strip_##type##_avx2(const void *weight, size_t row_bytes, size_t n_rows,            \
                                   size_t n_cols, quant_strip *out) {                              \
        const manner how = {__VA_ARGS__};                                                          \
        make_plains(weight, row_bytes, n_rows, sizeof(block_##type), plain_##type, 0, how.has_min, \
                    n_cols, out);                                                                  \
    }                                                                                              \
    void quant_strip_mul_##type##_avx2(MULTIPLY_ARGS) {                                            \
        multiply(multiply_plains, (manner){__VA_ARGS__}, strip, n_cols, acts, act_bytes, n_acts,   \
                 out, stride, add);                                                                \
    }

/* A word holds the products of 2 * safe columns: 2 * safe * greatest code * 127 < 2^15. */
PLAINS(q4_0, .safe = 8, .offset_log = 3)
PLAINS(q4_1, .safe = 8, .has_min = true)
PLAINS(q5_0, .safe = 4, .offset_log = 4)
PLAINS(q5_1, .safe = 4, .has_min = true)
SUPERS(q2_k, 16, 4)
SUPERS(q3_k, 16, 4)
SUPERS(q4_k, 8, 8)
SUPERS(q5_k, 8, 4)
SUPERS(q6_k, 16, 2)

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
