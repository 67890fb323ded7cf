/* NEON strips with i8mm: a vector holds eight columns of two rows, which meet eight columns of two
 * activations. */
#define ROWS_OF              2
#define STRIP_NAME(op, type) quant_##op##_##type##_neoni8mm
#include "quant/kernels/arm/strip_neon.inc"

/* Both lower halves, then both upper halves. */
static ALWAYS_INLINE void pair_halves(const int8_t *first, const int8_t *last, int8x16_t pairs[2]) {
    int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(first)), b = vreinterpretq_s64_s8(vld1q_s8(last));
    pairs[0] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
    pairs[1] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
}

static ALWAYS_INLINE void add_codes(const uint8_t *codes, size_t n_cols, const int8_t *acts,
                                    size_t act_bytes, size_t n, int_sums sums) {
    for (size_t c = 0; c < n_cols; c += 16, codes += 16 * ROWS) {
        int8x16_t a[GROUPS][2];
#pragma GCC unroll 2
        for (size_t i = 0; i < n; i++)
            pair_halves(acts + 2 * i * act_bytes + c, acts + (2 * i + 1) * act_bytes + c, a[i]);
#pragma GCC unroll 2
        for (size_t half = 0; half < 2; half++)
#pragma GCC unroll 8
            for (size_t v = 0; v < VECTORS; v++) {
                int8x16_t q = vld1q_s8((const int8_t *)codes + half * 8 * ROWS + 16 * v);
#pragma GCC unroll 2
                for (size_t i = 0; i < n; i++) sums[i][v] = vmmlaq_s32(sums[i][v], a[i][half], q);
            }
    }
}
