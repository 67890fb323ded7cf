/* AVX-512 strips: lane r of a vector belongs to row r, so nothing is added across lanes. Sums have
 * the order of the dot kernels. */
#include "quant/kernels/x86/strip_avx512.h"

/* ---- making ------------------------------------------------------------------------------ */

/* Floats become codes of 8 bits, the greatest of a block 127. */
static ALWAYS_INLINE void round_block(const float columns[QUANT_BLOCK][ROWS], strip_plain *s) {
    __m512 most = _mm512_setzero_ps();
    for (size_t c = 0; c < QUANT_BLOCK; c++)
        most = _mm512_max_ps(_mm512_abs_ps(_mm512_load_ps(columns[c])), most);
    __m512 d = _mm512_div_ps(most, _mm512_set1_ps(127.0f));
    __mmask16 some = _mm512_cmp_ps_mask(d, _mm512_setzero_ps(), _CMP_GT_OQ);
    __m512 inv = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0f), d);
    for (size_t g = 0; g < QUANT_BLOCK / 4; g++) {
        __m512i four = _mm512_set1_epi8((char)128);
        UNROLL(4)
        for (size_t i = 0; i < 4; i++) {
            __m512 x = _mm512_mul_ps(_mm512_load_ps(columns[4 * g + i]), inv);
            __m512i code = _mm512_slli_epi32(_mm512_cvtps_epi32(x), (unsigned)(8 * i));
            four = _mm512_add_epi32(four, code);
        }
        _mm512_store_si512(s->codes[g], four);
    }
    _mm512_store_ps(s->d, d);
    _mm512_store_ps(s->m, _mm512_setzero_ps());
}

void quant_strip_f32_avx512(const void *weight, size_t row_bytes, size_t n_rows, size_t n_cols,
                            quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_BLOCK; b++) {
        float rows[ROWS][QUANT_BLOCK], columns[QUANT_BLOCK][ROWS] __attribute__((aligned(64)));
        for (size_t r = 0; r < ROWS; r++)
            memcpy(rows[r], strip_row(weight, row_bytes, n_rows, r) + b * sizeof rows[r],
                   sizeof rows[r]);
        turn(rows, QUANT_BLOCK, QUANT_BLOCK, columns);
        round_block(columns, &out->plains[b]);
    }
}

/* ---- multiplying ------------------------------------------------------------------------- */

/* dot[t] += codes of n_groups groups of four columns times those of the activations. */
static ALWAYS_INLINE void add_codes(const uint8_t (*codes)[ROWS * 4], size_t n_groups,
                                    const int8_t *acts, size_t act_bytes, size_t n,
                                    __m512i dot[ACTS]) {
    UNROLL(2) /* all eight: too many addresses for the registers */
    for (size_t g = 0; g < n_groups; g++) {
        __m512i q = _mm512_load_si512(codes[g]);
        UNROLL(8)
        for (size_t t = 0; t < n; t++)
            dot[t] = _mm512_dpbusd_epi32(dot[t], q, spread(acts + t * act_bytes + 4 * g));
    }
}

static ALWAYS_INLINE void add_super(const strip_super *s, size_t n_subs, const uint8_t *acts,
                                    size_t act_bytes, size_t n, __m512 sum[ACTS]) {
    const block_act_q8_k *a = (const block_act_q8_k *)acts;
    __m512i dot[ACTS];
    UNROLL(8)
    for (size_t t = 0; t < n; t++) dot[t] = _mm512_setzero_si512();
    for (size_t j = 0; j < n_subs; j++) {
        __m512i part[ACTS], scale = _mm512_load_si512(s->scales[scale_index(j, n_subs)]);
        size_t n_groups = QUANT_SUPER / 4 / n_subs;
        UNROLL(8)
        for (size_t t = 0; t < n; t++) part[t] = _mm512_setzero_si512();
        add_codes(s->codes + j * n_groups, n_groups, a->qs + 4 * j * n_groups, act_bytes, n, part);
        UNROLL(8)
        for (size_t t = 0; t < n; t++)
            dot[t] = _mm512_add_epi32(dot[t], _mm512_mullo_epi32(part[t], scale));
    }
    __m512 d = _mm512_load_ps(s->d), dmin = _mm512_load_ps(s->dmin);
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8_k *at = (const block_act_q8_k *)(acts + t * act_bytes);
        __m512i mins = _mm512_setzero_si512();
        const uint8_t *sums =
            (const uint8_t *)at +
            (n_subs == 16 ? offsetof(block_act_q8_k, sums) : offsetof(block_act_q8_k, sums32));
        UNROLL(8)
        for (size_t j = 0; j < n_subs / 2; j++)
            mins = _mm512_dpwssd_epi32(mins, _mm512_load_si512(s->mins[j]), spread(sums + 4 * j));
        __m512 scale = _mm512_set1_ps(at->d);
        __m512 part = _mm512_mul_ps(_mm512_mul_ps(d, scale), _mm512_cvtepi32_ps(dot[t]));
        part = _mm512_fnmadd_ps(_mm512_mul_ps(dmin, scale), _mm512_cvtepi32_ps(mins), part);
        sum[t] = _mm512_add_ps(sum[t], part);
    }
}

static ALWAYS_INLINE void multiply_supers(size_t n_subs, const quant_strip *strip, size_t n_cols,
                                          const uint8_t *acts, size_t act_bytes, size_t n,
                                          float *out, size_t stride, bool add) {
    __m512 sum[ACTS];
    clear(sum, n);
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, acts += sizeof(block_act_q8_k))
        add_super(&strip->supers[b], n_subs, acts, act_bytes, n, sum);
    store_sums(out, stride, n, add, sum);
}

/* Block k of eight. */
static ALWAYS_INLINE void add_plain(const strip_plain *s, bool has_min, const uint8_t *acts,
                                    size_t k, size_t act_bytes, size_t n, __m512 sum[ACTS]) {
    __m512 d = _mm512_load_ps(s->d), m = _mm512_load_ps(s->m);
    __m512i dot[ACTS];
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        dot[t] = has_min ? _mm512_setzero_si512() : spread(&at->shift[k]);
    }
    add_codes(s->codes, QUANT_BLOCK / 4, ((const block_act_q8 *)acts)->qs[k], act_bytes, n, dot);
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        sum[t] = add_scaled(sum[t], d, at->d[k], dot[t]);
        if (has_min) sum[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(at->s[k]), sum[t]);
    }
}

/* Every eighth block, and so eight times: the dot kernel has a lane for each. */
static ALWAYS_INLINE void multiply_plains(bool has_min, const quant_strip *strip, size_t n_cols,
                                          const uint8_t *acts, size_t act_bytes, size_t n,
                                          float *out, size_t stride, bool add) {
    __m512 sum[ACTS], part[ACTS];
    clear(sum, n);
    for (size_t k = 0; k < 8; k++) {
        clear(part, n);
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8)
            add_plain(&strip->plains[b], has_min, acts + b / 8 * sizeof(block_act_q8), k, act_bytes,
                      n, part);
        add_parts(sum, part, n);
    }
    store_sums(out, stride, n, add, sum);
}

static void multiply_supers_32(MULTIPLY_ARGS) {
    MULTIPLY(multiply_supers, 8);
}

static void multiply_supers_16(MULTIPLY_ARGS) {
    MULTIPLY(multiply_supers, 16);
}

static void multiply_shifted(MULTIPLY_ARGS) {
    MULTIPLY(multiply_plains, false);
}

static void multiply_plain(MULTIPLY_ARGS) {
    MULTIPLY(multiply_plains, true);
}

void quant_strip_mul_f32_avx512(MULTIPLY_ARGS) {
    multiply_shifted(strip, n_cols, acts, act_bytes, n_acts, out, stride, add);
}

#define STRIP(type, multiply, make, ...)                                                  \
    void quant_strip_##type##_avx512(const void *weight, size_t row_bytes, size_t n_rows, \
                                     size_t n_cols, quant_strip *out) {                   \
        make(weight, row_bytes, n_rows, sizeof(block_##type), __VA_ARGS__, n_cols, out);  \
    }                                                                                     \
    void quant_strip_mul_##type##_avx512(MULTIPLY_ARGS) {                                 \
        multiply(strip, n_cols, acts, act_bytes, n_acts, out, stride, add);               \
    }

STRIP(q4_0, multiply_shifted, make_plains, plain_q4_0, 120, false)
STRIP(q4_1, multiply_plain, make_plains, plain_q4_1, 0, true)
STRIP(q5_0, multiply_shifted, make_plains, plain_q5_0, 112, false)
STRIP(q5_1, multiply_plain, make_plains, plain_q5_1, 0, true)
STRIP(q8_0, multiply_shifted, make_plains, plain_q8_0, 128, false)
STRIP(iq4_nl, multiply_shifted, make_plains, plain_iq4_nl, 128, false)
STRIP(mxfp4, multiply_shifted, make_plains, plain_mxfp4, 128, false)
STRIP(q2_k, multiply_supers_16, make_supers, super_q2_k, 16)
STRIP(q3_k, multiply_supers_16, make_supers, super_q3_k, 16)
STRIP(q4_k, multiply_supers_32, make_supers, super_q4_k, 8)
STRIP(q5_k, multiply_supers_32, make_supers, super_q5_k, 8)
STRIP(q6_k, multiply_supers_16, make_supers, super_q6_k, 16)
STRIP(iq4_xs, multiply_supers_32, make_supers, super_iq4_xs_shifted, 8)

#define BOOK(type) STRIP(type, multiply_supers_16, make_supers, super_##type, 16)
FOR_EACH_BOOK(BOOK)
