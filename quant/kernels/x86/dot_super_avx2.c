/* AVX2 products of super-blocks. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/reduce_avx2.h"
#include "quant/kernels/x86/super_books_avx2.h"

enum { GROUP = QUANT_STRIP_COLS / QUANT_SUPER };

/* What a type needs besides its codes. */
typedef struct manner {
    bool is_signed;
} manner;

static ALWAYS_INLINE __m256i dot_codes(const super *p, manner how, const block_act_q8_k *a) {
    __m256i dot = _mm256_setzero_si256();
    UNROLL(8)
    for (int j = 0; j < 8; j++) {
        __m256i q = p->q[j], codes = load_256(a->qs + 32 * j);
        if (how.is_signed) codes = _mm256_sign_epi8(codes, q), q = _mm256_abs_epi8(q);
        __m256i products = _mm256_maddubs_epi16(q, codes);
        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(products, scales_of(p->s, j)));
    }
    return dot;
}

static ALWAYS_INLINE __m128i sum_lanes_of(const __m256i v[GROUP]) {
    return sum_four_256(v[0], v[1], v[2], v[3]);
}

typedef struct group_scales {
    float d[GROUP], dmin[GROUP];
} group_scales;

static ALWAYS_INLINE void note_scales(group_scales *s, size_t j, const super *p) {
    s->d[j] = p->d, s->dmin[j] = p->dmin;
}

static ALWAYS_INLINE void scales_of_group(const group_scales *s, __m128 *d, __m128 *dmin) {
    *d = _mm_loadu_ps(s->d);
    *dmin = _mm_loadu_ps(s->dmin);
}

typedef super unpacked;
typedef super_fn unpack_fn;
typedef __m256i lanes;
#include "quant/kernels/x86/dot_super.inc"

#define SUPER_DOT(type, is_signed)                                                              \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                                    \
        FOR_N_ACTS(dot_super, weight, sizeof(block_##type), super_##type, (manner){is_signed}); \
    }

SUPER_DOT(q2_k, false)
SUPER_DOT(q3_k, false)
SUPER_DOT(q4_k, false)
SUPER_DOT(q5_k, false)
SUPER_DOT(q6_k, false)
SUPER_DOT(iq4_xs, true)

/* ---- codebooks --------------------------------------------------------------------------- */

/* Super-blocks as they come out of a function of their type. */
typedef void supers_fn(const uint8_t *w, size_t n, super *out);

/* Field by field, which stay in registers: the compiler copies a whole one as memory. */
static ALWAYS_INLINE super super_at(const void *at) {
    const super *from = at;
    super p = {.s = from->s, .m = from->m, .d = from->d, .dmin = from->dmin};
    for (int k = 0; k < 8; k++) p.q[k] = from->q[k];
    return p;
}

static ALWAYS_INLINE void put_super(super *to, super p) {
    to->s = p.s, to->m = p.m, to->d = p.d, to->dmin = p.dmin;
    for (int k = 0; k < 8; k++) to->q[k] = p.q[k];
}

static ALWAYS_INLINE void multiply_unpacked(const super *group, size_t n, const uint8_t *acts,
                                            size_t act_bytes, size_t n_acts, float *out) {
    multiply_group((const uint8_t *)group, sizeof *group, super_at, (manner){false}, n, acts,
                   act_bytes, n_acts, out);
}

/* Unpacked by a function of their own: one body for all types, since that takes most of the time.
 */
static ALWAYS_INLINE void dot_supers(supers_fn *unpack, const uint8_t *w, size_t block_bytes,
                                     size_t n_cols, const uint8_t *acts, size_t act_bytes,
                                     size_t n_acts, float *out) {
    super group[GROUP];
    size_t n = n_cols / QUANT_SUPER;
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (; n > 0; n -= n < GROUP ? n : GROUP) {
        unpack(w, n < GROUP ? n : GROUP, group);
        w += GROUP * block_bytes;
        if (n >= GROUP)
            multiply_unpacked(group, GROUP, acts, act_bytes, n_acts, out);
        else if (n == 3)
            multiply_unpacked(group, 3, acts, act_bytes, n_acts, out);
        else if (n == 2)
            multiply_unpacked(group, 2, acts, act_bytes, n_acts, out);
        else
            multiply_unpacked(group, 1, acts, act_bytes, n_acts, out);
        acts += GROUP * sizeof(block_act_q8_k);
    }
}

static __attribute__((noinline)) void dot_book(supers_fn *unpack, size_t block_bytes, DOT_ARGS) {
    FOR_N_ACTS(dot_supers, unpack, weight, block_bytes);
}

#define BOOK_DOT(type)                                                                            \
    static __attribute__((noinline)) void supers_##type(const uint8_t *w, size_t n, super *out) { \
        for (size_t j = 0; j < n; j++)                                                            \
            put_super(&out[j], super_##type(w + j * sizeof(block_##type)));                       \
    }                                                                                             \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                                      \
        dot_book(supers_##type, sizeof(block_##type), weight, n_cols, acts, act_bytes, n_acts,    \
                 out);                                                                            \
    }
FOR_EACH_BOOK(BOOK_DOT)
