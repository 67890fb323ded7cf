/* AVX2 products of plain blocks. */
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/plain_avx2.h"
#include "quant/kernels/x86/reduce_avx2.h"

enum { CHUNK = 8 };

/* What a type needs besides its codes; see dot_plain.inc. */
typedef struct manner {
    size_t block_bytes;
    plain_fn *unpack;
    bool is_signed, has_min;
    int offset_log;
} manner;

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_block(__m256i q, __m256i a, bool is_signed) {
    if (is_signed) a = _mm256_sign_epi8(a, q), q = _mm256_abs_epi8(q);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
}

/* Eight blocks. */
typedef struct chunk {
    __m256i q[CHUNK];
    __m256 d, m;
} chunk;

static ALWAYS_INLINE chunk load_chunk(const uint8_t *w, manner how) {
    chunk c = {.d = _mm256_setzero_ps(), .m = _mm256_setzero_ps()};
#pragma GCC unroll 8
    for (size_t k = 0; k < CHUNK; k++) {
        plain p = how.unpack(w + k * how.block_bytes);
        c.q[k] = p.q, c.d[k] = p.d, c.m[k] = p.m;
    }
    return c;
}

static ALWAYS_INLINE __m256i dot_chunk(const chunk *c, manner how, const block_act_q8 *a) {
    __m256i dot[CHUNK];
#pragma GCC unroll 8
    for (size_t k = 0; k < CHUNK; k++)
        dot[k] = dot_block(c->q[k], load_256(a->qs[k]), how.is_signed);
    return sum_eight(dot);
}

#include "quant/kernels/x86/dot_plain.inc"

#define PLAIN_DOT(type, ...)                                                           \
    void quant_dot_##type##_avx2(DOT_ARGS) {                                           \
        const manner how = {                                                           \
            .block_bytes = sizeof(block_##type), .unpack = plain_##type, __VA_ARGS__}; \
        FOR_N_ACTS(dot_plain, weight, how);                                            \
    }

PLAIN_DOT(q4_0, .offset_log = 3)
PLAIN_DOT(q4_1, .has_min = true)
PLAIN_DOT(q5_0, .offset_log = 4)
PLAIN_DOT(q5_1, .has_min = true)
PLAIN_DOT(q8_0, .is_signed = true)
PLAIN_DOT(iq4_nl, .is_signed = true)
PLAIN_DOT(mxfp4, .is_signed = true)
