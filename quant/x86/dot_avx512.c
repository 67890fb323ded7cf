/* AVX-512 products of plain blocks with VNNI. */
#include "quant/kernels.h"
#include "quant/x86/plain_avx2.h"

/* 8 sums of 4 products each. */
static ALWAYS_INLINE __m256i dot_unsigned(__m256i q, __m256i a) {
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), q, a);
}

static ALWAYS_INLINE __m256i dot_signed(__m256i q, __m256i a) {
    return dot_unsigned(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
}

#define KERNEL_NAME(op, type) quant_##op##_##type##_avx512
#include "quant/x86/dot_plain.inc"
