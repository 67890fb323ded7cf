/* NEON strips with dotprod: a vector holds four columns of four rows, which meet four columns of
 * one activation. */
#define ROWS_OF              4
#define STRIP_NAME(op, type) quant_##op##_##type##_neondot
#include "quant/kernels/arm/strip_neon.inc"

/* Columns 4 * lane .. 4 * lane + 3 of 16. */
#define ADD_LANE(lane)                                                            \
    _Pragma("GCC unroll 4") for (size_t v = 0; v < VECTORS; v++) {                \
        int8x16_t q = vld1q_s8((const int8_t *)codes + lane * 4 * ROWS + 16 * v); \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < n; i++) sums[i][v] =       \
            vdotq_laneq_s32(sums[i][v], q, a[i], lane);                           \
    }

static ALWAYS_INLINE void add_codes(const uint8_t *codes, size_t n_cols, const int8_t *acts,
                                    size_t act_bytes, size_t n, int_sums sums) {
    for (size_t c = 0; c < n_cols; c += 16, codes += 16 * ROWS) {
        int8x16_t a[GROUPS];
#pragma GCC unroll 4
        for (size_t i = 0; i < n; i++) a[i] = vld1q_s8(acts + i * act_bytes + c);
        ADD_LANE(0)
        ADD_LANE(1)
        ADD_LANE(2)
        ADD_LANE(3)
    }
}
