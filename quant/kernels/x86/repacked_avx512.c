/* AVX-512 products of repacked rows: as in strips, lane r of a vector belongs to row r; codes are
 * unpacked on the way. Sums have the order of the dot kernels. A lone activation has several
 * integer sums, because each addition waits for the one before. */
#include "quant/kernels/levels.h"
#include "quant/kernels/x86/strip_avx512.h"

/* The same four bytes of a block of every row. */
static ALWAYS_INLINE __m512i word(const uint8_t *block, size_t i) {
    __builtin_prefetch(block + i * ROWS * 4 + PREFETCH_AHEAD);
    return _mm512_loadu_si512(block + i * ROWS * 4);
}

static ALWAYS_INLINE __m512i nibbles_at(__m512i v, bool upper) {
    return _mm512_and_si512(upper ? _mm512_srli_epi16(v, 4) : v, _mm512_set1_epi8(15));
}

/* dot[t] += codes of four columns times those of the activations. */
static ALWAYS_INLINE void add_code(__m512i codes, const int8_t *acts, size_t act_bytes, size_t n,
                                   __m512i *dot) {
    UNROLL(8)
    for (size_t t = 0; t < n; t++)
        dot[t] = _mm512_dpbusd_epi32(dot[t], codes, spread(acts + t * act_bytes));
}

/* ---- plain blocks --------------------------------------------------------------------------- */

/* y = scales q + mins, or y = scales (q - offset) without mins: codes are 128 >> shift more. */
typedef struct plain_form {
    size_t block_bytes;
    unsigned shift;
    __m512i (*codes)(const uint8_t *block, size_t g); /* of columns 4 g .. 4 g + 3 */
    __m512 (*scales)(const uint8_t *block);
    __m512 (*mins)(const uint8_t *block); /* or NULL */
} plain_form;

/* The f16 of every row, from word n on. */
static ALWAYS_INLINE __m512 halves_at(const uint8_t *block, size_t n) {
    return _mm512_cvtph_ps(load_256(block + n * ROWS * 4));
}

static ALWAYS_INLINE __m512 lower_half(__m512i words) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
}

static ALWAYS_INLINE __m512 upper_half(__m512i words) {
    return lower_half(_mm512_srli_epi32(words, 16));
}

/* Nibbles in four words, the first of them word n. */
static ALWAYS_INLINE __m512i nibbles_from(const uint8_t *block, size_t n, size_t g) {
    return nibbles_at(word(block, n + g % 4), g >= 4);
}

/* 16 more where the fifth bit, of 32 in word n, is set. */
static ALWAYS_INLINE __m512i with_fifth(__m512i nibbles, const uint8_t *block, size_t n, size_t g) {
    __m512i in_order = _mm512_broadcast_i32x4(_mm_set_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0));
    __m512i byte = _mm512_add_epi8(in_order, _mm512_set1_epi8((char)(g / 2)));
    __m512i high = _mm512_shuffle_epi8(word(block, n), byte);
    __m512i bits = _mm512_set1_epi32(g % 2 ? (int)0x80402010 : 0x08040201);
    return _mm512_mask_add_epi8(nibbles, _mm512_test_epi8_mask(high, bits), nibbles,
                                _mm512_set1_epi8(16));
}

/* Four words of nibbles, then d. */
static ALWAYS_INLINE __m512i codes_q4_0(const uint8_t *block, size_t g) {
    return nibbles_from(block, 0, g);
}

static ALWAYS_INLINE __m512 scales_q4_0(const uint8_t *block) {
    return halves_at(block, 4);
}

static ALWAYS_INLINE __m512i look_up_codes(const int8_t values[16], __m512i nibbles) {
    __m128i raised = _mm_xor_si128(load_128(values), _mm_set1_epi8((char)128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(raised), nibbles);
}

static ALWAYS_INLINE __m512i codes_iq4_nl(const uint8_t *block, size_t g) {
    return look_up_codes(quant_iq4_values, nibbles_from(block, 0, g));
}

static ALWAYS_INLINE __m512i codes_mxfp4(const uint8_t *block, size_t g) {
    return look_up_codes(quant_mxfp4_values, nibbles_from(block, 0, g));
}

/* 2^(e - 128), the two smallest below the range of normal numbers. */
static ALWAYS_INLINE __m512 scales_mxfp4(const uint8_t *block) {
    __m512i e = _mm512_cvtepu8_epi32(load_128(block + 4 * ROWS * 4)), one = _mm512_set1_epi32(1);
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, one), 23);
    __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(1 << 21), e);
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(normal, _mm512_cmple_epu32_mask(e, one), small));
}

/* A word with d and m, then four of nibbles. */
static ALWAYS_INLINE __m512i codes_q4_1(const uint8_t *block, size_t g) {
    return nibbles_from(block, 1, g);
}

static ALWAYS_INLINE __m512 scales_of_pair(const uint8_t *block) {
    return lower_half(word(block, 0));
}

static ALWAYS_INLINE __m512 mins_of_pair(const uint8_t *block) {
    return upper_half(word(block, 0));
}

/* A word of fifth bits, four of nibbles, then d. */
static ALWAYS_INLINE __m512i codes_q5_0(const uint8_t *block, size_t g) {
    return with_fifth(nibbles_from(block, 1, g), block, 0, g);
}

static ALWAYS_INLINE __m512 scales_q5_0(const uint8_t *block) {
    return halves_at(block, 5);
}

/* A word with d and m, one of fifth bits, four of nibbles. */
static ALWAYS_INLINE __m512i codes_q5_1(const uint8_t *block, size_t g) {
    return with_fifth(nibbles_from(block, 2, g), block, 1, g);
}

/* Eight words of signed codes, then d. */
static ALWAYS_INLINE __m512i codes_q8_0(const uint8_t *block, size_t g) {
    return _mm512_xor_si512(word(block, g), _mm512_set1_epi8((char)128));
}

static ALWAYS_INLINE __m512 scales_q8_0(const uint8_t *block) {
    return halves_at(block, 8);
}

static ALWAYS_INLINE void dot_plain(plain_form form, const uint8_t *block, const int8_t *acts,
                                    size_t act_bytes, size_t n, __m512i dot[ACTS]) {
    if (n == 1) {
        __m512i part[4] = {dot[0]};
        UNROLL(8)
        for (size_t g = 0; g < 8; g++)
            add_code(form.codes(block, g), acts + 4 * g, act_bytes, 1, &part[g % 4]);
        dot[0] = _mm512_add_epi32(_mm512_add_epi32(part[0], part[1]),
                                  _mm512_add_epi32(part[2], part[3]));
        return;
    }
    UNROLL(2) /* all eight: too many addresses for the registers */
    for (size_t g = 0; g < 8; g++) add_code(form.codes(block, g), acts + 4 * g, act_bytes, n, dot);
}

/* Block k of eight. */
static ALWAYS_INLINE void add_plain(plain_form form, const uint8_t *block, const uint8_t *acts,
                                    size_t k, size_t act_bytes, size_t n, __m512 sum[ACTS]) {
    __m512 d = form.scales(block);
    __m512i dot[ACTS];
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        dot[t] = form.mins ? _mm512_setzero_si512()
                           : _mm512_srai_epi32(spread(&at->shift[k]), form.shift);
    }
    dot_plain(form, block, ((const block_act_q8 *)acts)->qs[k], act_bytes, n, dot);
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8 *at = (const block_act_q8 *)(acts + t * act_bytes);
        sum[t] = add_scaled(sum[t], d, at->d[k], dot[t]);
        if (form.mins) sum[t] = _mm512_fmadd_ps(form.mins(block), _mm512_set1_ps(at->s[k]), sum[t]);
    }
}

/* Every eighth block, and so eight times: in this order they lie. */
static ALWAYS_INLINE void multiply_plains(plain_form form, const uint8_t *rows, size_t n_cols,
                                          const uint8_t *acts, size_t act_bytes, size_t n,
                                          float *out, size_t stride, bool add) {
    __m512 sum[ACTS], part[ACTS];
    clear(sum, n);
    for (size_t k = 0; k < 8; k++) {
        clear(part, n);
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8, rows += ROWS * form.block_bytes)
            add_plain(form, rows, acts + b / 8 * sizeof(block_act_q8), k, act_bytes, n, part);
        add_parts(sum, part, n);
    }
    store_sums(out, stride, n, add, sum);
}

/* Codes of strips are 128 more where there are no mins. */
static ALWAYS_INLINE void unpack_plains(plain_form form, const uint8_t *rows, size_t n_cols,
                                        quant_strip *out) {
    __m512i more = _mm512_set1_epi8((char)(form.mins ? 0 : 128 - (128 >> form.shift)));
    for (size_t k = 0; k < 8; k++)
        for (size_t b = k; b < n_cols / QUANT_BLOCK; b += 8, rows += ROWS * form.block_bytes) {
            strip_plain *s = &out->plains[b];
            UNROLL(8)
            for (size_t g = 0; g < 8; g++)
                _mm512_store_si512(s->codes[g], _mm512_add_epi8(form.codes(rows, g), more));
            _mm512_store_ps(s->d, form.scales(rows));
            _mm512_store_ps(s->m, form.mins ? form.mins(rows) : _mm512_setzero_ps());
        }
}

/* ---- Q4_K, Q5_K -------------------------------------------------------------------------- */

/* S of 8 sub-blocks in words, M of pairs of them in halves of words. */
typedef struct factors {
    __m512i scales[8], mins[4];
    __m512 d, dmin;
} factors;

/* Codes of columns 4 g .. 4 g + 3 of sub-block j. */
typedef __m512i codes_fn(const uint8_t *block, size_t j, size_t g);

/* Byte j of every word alone. */
static ALWAYS_INLINE __m512i one_byte(__m512i v, int j) {
    __m512i in_order = _mm512_broadcast_i32x4(_mm_set_epi32(12, 8, 4, 0));
    __m512i which = _mm512_set1_epi32((int)(0x80808000u | (unsigned)j));
    return _mm512_shuffle_epi8(v, _mm512_add_epi32(in_order, which));
}

/* Bytes 2 j and 2 j + 1 of every word in its halves. */
static ALWAYS_INLINE __m512i two_bytes(__m512i v, int j) {
    __m512i in_order = _mm512_broadcast_i32x4(_mm_set_epi32(0x0C000C, 0x080008, 0x040004, 0));
    __m512i which = _mm512_set1_epi32((int)(0x80018000u + 0x00020002u * (unsigned)j));
    return _mm512_shuffle_epi8(v, _mm512_add_epi32(in_order, which));
}

/* Word 0 has d and dmin; 1 to 3 have six-bit S and M. */
static ALWAYS_INLINE factors factors_of(const uint8_t *block) {
    factors f;
    __m512i halves = word(block, 0), a = word(block, 1), b = word(block, 2), c = word(block, 3);
    __m512i six = _mm512_set1_epi8(0x3F), low = _mm512_set1_epi8(0x0F),
            two = _mm512_set1_epi8(0x30);
    __m512i s[2] = {
        _mm512_and_si512(a, six),
        _mm512_or_si512(_mm512_and_si512(c, low), _mm512_and_si512(_mm512_srli_epi32(a, 2), two))};
    __m512i m[2] = {_mm512_and_si512(b, six),
                    _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(c, 4), low),
                                    _mm512_and_si512(_mm512_srli_epi32(b, 2), two))};
    UNROLL(8)
    for (int j = 0; j < 8; j++) f.scales[j] = one_byte(s[j / 4], j % 4);
    UNROLL(4)
    for (int j = 0; j < 4; j++) f.mins[j] = two_bytes(m[j / 2], j % 2);
    f.d = lower_half(halves);
    f.dmin = upper_half(halves);
    return f;
}

static ALWAYS_INLINE __m512i codes_q4_k(const uint8_t *block, size_t j, size_t g) {
    return nibbles_at(word(block, 4 + j / 2 * 8 + g), j % 2);
}

/* Words 4 to 11 have the fifth bits. */
static ALWAYS_INLINE __m512i codes_q5_k(const uint8_t *block, size_t j, size_t g) {
    __m512i high = word(block, 4 + g);
    high = j < 4 ? _mm512_slli_epi16(high, (unsigned)(4 - j))
                 : _mm512_srli_epi16(high, (unsigned)(j - 4));
    return _mm512_or_si512(nibbles_at(word(block, 12 + j / 2 * 8 + g), j % 2),
                           _mm512_and_si512(high, _mm512_set1_epi8(16)));
}

/* dot[0] += sub-block j times a lone activation, dot[1] += sub-block j + 1. */
static ALWAYS_INLINE void add_two_subs(codes_fn *codes, const uint8_t *block, const factors *f,
                                       size_t j, const int8_t *acts, __m512i dot[2]) {
    __m512i part[4] = {_mm512_setzero_si512()};
    UNROLL(8)
    for (size_t g = 0; g < 8; g++) UNROLL(2)
    for (size_t i = 0; i < 2; i++)
        add_code(codes(block, j + i, g), acts + 32 * (j + i) + 4 * g, 0, 1, &part[2 * i + g % 2]);
    UNROLL(2)
    for (size_t i = 0; i < 2; i++)
        dot[i] = _mm512_add_epi32(
            dot[i],
            _mm512_mullo_epi32(_mm512_add_epi32(part[2 * i], part[2 * i + 1]), f->scales[j + i]));
}

static ALWAYS_INLINE void add_sub(codes_fn *codes, const uint8_t *block, const factors *f, size_t j,
                                  const int8_t *acts, size_t act_bytes, size_t n,
                                  __m512i dot[ACTS]) {
    __m512i part[ACTS];
    UNROLL(8)
    for (size_t t = 0; t < n; t++) part[t] = _mm512_setzero_si512();
    UNROLL(2)
    for (size_t g = 0; g < 8; g++)
        add_code(codes(block, j, g), acts + 32 * j + 4 * g, act_bytes, n, part);
    UNROLL(8)
    for (size_t t = 0; t < n; t++)
        dot[t] = _mm512_add_epi32(dot[t], _mm512_mullo_epi32(part[t], f->scales[j]));
}

static ALWAYS_INLINE void dot_subs(codes_fn *codes, const uint8_t *block, const factors *f,
                                   const int8_t *acts, size_t act_bytes, size_t n,
                                   __m512i dot[ACTS]) {
    UNROLL(8)
    for (size_t t = 0; t < ACTS; t++) dot[t] = _mm512_setzero_si512();
    UNROLL(8)
    for (size_t j = 0; j < 8; j++) {
        if (n == 1 && j % 2 == 0) add_two_subs(codes, block, f, j, acts, dot);
        if (n > 1) add_sub(codes, block, f, j, acts, act_bytes, n, dot);
    }
    if (n == 1) dot[0] = _mm512_add_epi32(dot[0], dot[1]);
}

static ALWAYS_INLINE __m512i dot_mins(const factors *f, const block_act_q8_k *a) {
    __m512i mins = _mm512_setzero_si512();
    UNROLL(4)
    for (size_t j = 0; j < 4; j++)
        mins = _mm512_dpwssd_epi32(mins, f->mins[j], spread(&a->sums32[2 * j]));
    return mins;
}

static ALWAYS_INLINE void add_super(codes_fn *codes, const uint8_t *block, const uint8_t *acts,
                                    size_t act_bytes, size_t n, __m512 sum[ACTS]) {
    factors f = factors_of(block);
    __m512i dot[ACTS];
    dot_subs(codes, block, &f, ((const block_act_q8_k *)acts)->qs, act_bytes, n, dot);
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        const block_act_q8_k *at = (const block_act_q8_k *)(acts + t * act_bytes);
        __m512 scale = _mm512_set1_ps(at->d);
        __m512 part = _mm512_mul_ps(_mm512_mul_ps(f.d, scale), _mm512_cvtepi32_ps(dot[t]));
        part = _mm512_fnmadd_ps(_mm512_mul_ps(f.dmin, scale), _mm512_cvtepi32_ps(dot_mins(&f, at)),
                                part);
        sum[t] = _mm512_add_ps(sum[t], part);
    }
}

static ALWAYS_INLINE void multiply_supers(codes_fn *codes, size_t block_bytes, const uint8_t *rows,
                                          size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                          size_t n, float *out, size_t stride, bool add) {
    __m512 sum[ACTS];
    clear(sum, n);
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, acts += sizeof(block_act_q8_k))
        add_super(codes, rows + b * ROWS * block_bytes, acts, act_bytes, n, sum);
    store_sums(out, stride, n, add, sum);
}

static ALWAYS_INLINE void unpack_supers(codes_fn *codes, size_t block_bytes, const uint8_t *rows,
                                        size_t n_cols, quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, rows += ROWS * block_bytes) {
        strip_super *s = &out->supers[b];
        factors f = factors_of(rows);
        UNROLL(8)
        for (size_t j = 0; j < 8; j++) {
            UNROLL(8)
            for (size_t g = 0; g < 8; g++)
                _mm512_store_si512(s->codes[8 * j + g], codes(rows, j, g));
            _mm512_store_si512(s->scales[scale_index(j, 8)], f.scales[j]);
            if (j < 4) _mm512_store_si512(s->mins[j], f.mins[j]);
        }
        _mm512_store_ps(s->d, f.d);
        _mm512_store_ps(s->dmin, f.dmin);
    }
}

/* ---- Q6_K -------------------------------------------------------------------------------- */

/* Words, as quant_repack orders them: 4 of scales; for each half of the block and each four of its
 * 32 columns one of upper bits and two of nibbles; then d. A quarter is 32 columns of a half. */
enum { Q6_K_CODES = 4, Q6_K_D = 52 };

static ALWAYS_INLINE __m512i codes_q6_k(const uint8_t *block, size_t half, size_t quarter,
                                        size_t g) {
    size_t at = Q6_K_CODES + 24 * half + 3 * g;
    __m512i high = word(block, at);
    if (quarter < 2) high = _mm512_slli_epi16(high, (unsigned)(4 - 2 * quarter));
    if (quarter == 3) high = _mm512_srli_epi16(high, 2);
    return _mm512_or_si512(nibbles_at(word(block, at + 1 + quarter % 2), quarter >= 2),
                           _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
}

/* Scale j of 16. */
static ALWAYS_INLINE __m512i scale_q6_k(const uint8_t *block, size_t j) {
    __m512i four = word(block, j / 4);
    return _mm512_srai_epi32(_mm512_slli_epi32(four, (unsigned)(24 - j % 4 * 8)), 24);
}

/* 32 times scales 2 j and 2 j + 1: codes are 32 more. */
static ALWAYS_INLINE __m512i mins_q6_k(const uint8_t *block, size_t j) {
    __m512i in_order = _mm512_broadcast_i32x4(
        _mm_set_epi32((int)0x0D800C80, (int)0x09800880, (int)0x05800480, (int)0x01800080));
    __m512i which = _mm512_set1_epi32(j % 2 ? 0x02000200 : 0);
    __m512i four = word(block, j / 2);
    return _mm512_srai_epi16(_mm512_shuffle_epi8(four, _mm512_add_epi8(in_order, which)), 3);
}

/* dot[t] += sub-block j, the quarter's columns from 4 g on. */
static ALWAYS_INLINE void add_sub_q6_k(const uint8_t *block, size_t half, size_t quarter, size_t g,
                                       const int8_t *acts, size_t act_bytes, size_t n,
                                       __m512i dot[ACTS]) {
    size_t j = 8 * half + 2 * quarter + g / 4;
    __m512i part[ACTS], scale = scale_q6_k(block, j);
    UNROLL(8)
    for (size_t t = 0; t < n; t++) part[t] = _mm512_setzero_si512();
    UNROLL(4)
    for (size_t i = 0; i < 4; i++)
        add_code(codes_q6_k(block, half, quarter, g + i), acts + 16 * j + 4 * i, act_bytes, n,
                 part);
    UNROLL(8)
    for (size_t t = 0; t < n; t++)
        dot[t] = _mm512_add_epi32(dot[t], _mm512_mullo_epi32(part[t], scale));
}

/* In the order of the words. */
static ALWAYS_INLINE void dot_subs_q6_k(const uint8_t *block, const int8_t *acts, size_t act_bytes,
                                        size_t n, __m512i dot[ACTS]) {
    UNROLL(8)
    for (size_t t = 0; t < n; t++) dot[t] = _mm512_setzero_si512();
    UNROLL(4)
    for (size_t i = 0; i < 4; i++) UNROLL(4)
    for (size_t quarter = 0; quarter < 4; quarter++)
        add_sub_q6_k(block, i / 2, quarter, i % 2 * 4, acts, act_bytes, n, dot);
}

static ALWAYS_INLINE void add_q6_k(const uint8_t *block, const uint8_t *acts, size_t act_bytes,
                                   size_t n, __m512 sum[ACTS]) {
    __m512i dot[ACTS], mins[ACTS];
    __m512 d = halves_at(block, Q6_K_D);
    dot_subs_q6_k(block, ((const block_act_q8_k *)acts)->qs, act_bytes, n, dot);
    UNROLL(8)
    for (size_t t = 0; t < n; t++) mins[t] = _mm512_setzero_si512();
    UNROLL(8)
    for (size_t j = 0; j < 8; j++) {
        __m512i pair = mins_q6_k(block, j);
        UNROLL(8)
        for (size_t t = 0; t < n; t++) {
            const block_act_q8_k *at = (const block_act_q8_k *)(acts + t * act_bytes);
            mins[t] = _mm512_dpwssd_epi32(mins[t], pair, spread(&at->sums[2 * j]));
        }
    }
    UNROLL(8)
    for (size_t t = 0; t < n; t++) {
        __m512 scale =
            _mm512_mul_ps(d, _mm512_set1_ps(((const block_act_q8_k *)(acts + t * act_bytes))->d));
        __m512 part = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dot[t]));
        sum[t] = _mm512_add_ps(sum[t], _mm512_fnmadd_ps(scale, _mm512_cvtepi32_ps(mins[t]), part));
    }
}

static ALWAYS_INLINE void multiply_q6_k(size_t block_bytes, const uint8_t *rows, size_t n_cols,
                                        const uint8_t *acts, size_t act_bytes, size_t n, float *out,
                                        size_t stride, bool add) {
    __m512 sum[ACTS];
    clear(sum, n);
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, acts += sizeof(block_act_q8_k))
        add_q6_k(rows + b * ROWS * block_bytes, acts, act_bytes, n, sum);
    store_sums(out, stride, n, add, sum);
}

static ALWAYS_INLINE void unpack_supers_of_16(size_t block_bytes, const uint8_t *rows,
                                              size_t n_cols, quant_strip *out) {
    for (size_t b = 0; b < n_cols / QUANT_SUPER; b++, rows += ROWS * block_bytes) {
        strip_super *s = &out->supers[b];
        UNROLL(8)
        for (size_t j = 0; j < 8; j++) {
            UNROLL(8)
            for (size_t g = 0; g < 8; g++)
                _mm512_store_si512(s->codes[8 * j + g], codes_q6_k(rows, j / 4, j % 4, g));
            _mm512_store_si512(s->mins[j], mins_q6_k(rows, j));
        }
        UNROLL(16)
        for (size_t j = 0; j < 16; j++)
            _mm512_store_si512(s->scales[scale_index(j, 16)], scale_q6_k(rows, j));
        _mm512_store_ps(s->d, halves_at(rows, Q6_K_D));
        _mm512_store_ps(s->dmin, halves_at(rows, Q6_K_D));
    }
}

/* ---- kernels ----------------------------------------------------------------------------- */

#define REPACKED_ARGS                                                                    \
    const void *strip, size_t n_cols, const void *acts, size_t act_bytes, size_t n_acts, \
        float *out, size_t stride, bool add

#define REPACKED_PLAIN(type, ...)                                                            \
    void quant_repacked_##type##_avx512(REPACKED_ARGS) {                                     \
        MULTIPLY(multiply_plains, (plain_form){sizeof(block_##type), __VA_ARGS__});          \
    }                                                                                        \
    void quant_unpack_##type##_avx512(const void *packed, size_t n_cols, quant_strip *out) { \
        unpack_plains((plain_form){sizeof(block_##type), __VA_ARGS__}, packed, n_cols, out); \
    }

REPACKED_PLAIN(q4_0, 4, codes_q4_0, scales_q4_0, NULL)
REPACKED_PLAIN(q4_1, 0, codes_q4_1, scales_of_pair, mins_of_pair)
REPACKED_PLAIN(q5_0, 3, codes_q5_0, scales_q5_0, NULL)
REPACKED_PLAIN(q5_1, 0, codes_q5_1, scales_of_pair, mins_of_pair)
REPACKED_PLAIN(q8_0, 0, codes_q8_0, scales_q8_0, NULL)
REPACKED_PLAIN(iq4_nl, 0, codes_iq4_nl, scales_q4_0, NULL)
REPACKED_PLAIN(mxfp4, 0, codes_mxfp4, scales_mxfp4, NULL)

#define REPACKED_SUPER(type, multiply, unpack, ...)                                          \
    void quant_repacked_##type##_avx512(REPACKED_ARGS) {                                     \
        MULTIPLY(multiply, __VA_ARGS__);                                                     \
    }                                                                                        \
    void quant_unpack_##type##_avx512(const void *packed, size_t n_cols, quant_strip *out) { \
        unpack(__VA_ARGS__, packed, n_cols, out);                                            \
    }

REPACKED_SUPER(q4_k, multiply_supers, unpack_supers, codes_q4_k, sizeof(block_q4_k))
REPACKED_SUPER(q5_k, multiply_supers, unpack_supers, codes_q5_k, sizeof(block_q5_k))
REPACKED_SUPER(q6_k, multiply_q6_k, unpack_supers_of_16, sizeof(block_q6_k))
