/* AVX2 products of super-blocks. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/reduce_avx2.h"
#include "quant/kernels/x86/super_avx2.h"

enum { GROUP = QUANT_STRIP_COLS / QUANT_SUPER };

/* What a type needs besides its codes. */
typedef struct manner {
    bool is_signed;
} manner;

static ALWAYS_INLINE __m256i dot_codes(const super *p, manner how, const block_act_q8_k *a) {
    __m256i dot = _mm256_setzero_si256();
#pragma GCC unroll 8
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
