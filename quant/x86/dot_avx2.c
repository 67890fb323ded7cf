/* AVX2 products of plain blocks. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_unsigned(__m256i q, __m256i a) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
}

static ALWAYS_INLINE __m256i dot_signed(__m256i q, __m256i a) {
    return dot_unsigned(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
}

#define KERNEL_NAME(op, type) quant_##op##_##type##_avx2
#include "quant/x86/dot_plain.inc"
