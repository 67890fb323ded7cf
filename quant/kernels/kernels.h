/* The kernel table: one function per operation, type and instruction set. Internal to quant and its
 * tests. No pointer needs any alignment; no kernel reads or writes beyond its rows. */
#ifndef QUANT_KERNELS_KERNELS_H
#define QUANT_KERNELS_KERNELS_H

#include "quant/kernels/cpu.h"
#include "quant/kernels/panel.h"
#include "quant/kernels/strip.h"
#include "quant/quant.h"

/* What the operations need to know of a type. Offsets are bytes in a block. */
typedef struct quant_traits {
    float max_abs;       /* greatest number that encode takes; 0 = type unknown to quant */
    float spread;        /* of its search, see quant_weigh_fn; 0 = weighed by importance alone */
    quant_act act;       /* of its dot kernel */
    uint8_t n_f16;       /* how many f16 scales and minimums a block has */
    uint8_t f16_off[2];  /* where */
    bool has_e8m0;       /* byte 0 is a power of two; 255 is its NaN */
    bool has_spread_f16; /* IQ1_M: one f16 in the upper bits of four numbers */
    uint16_t exponent16; /* exponent bits of a 16-bit float type, otherwise 0 */
    int8_t file_type;    /* general.file_type where all matrices have the type; -1: none */
    bool demands_imp;    /* of no use without importance */
    uint8_t candidate;   /* rank among types of one size for allocation; 0: it is never chosen */
    uint8_t fallback;    /* the type for rows that its blocks do not divide; itself: none needed */
} quant_traits;

/* NULL if the type is unknown to quant. */
const quant_traits *quant_traits_of(uint32_t type);

#define QUANT_N_ACTS     3
#define QUANT_DOT_ACTS   4 /* most activation rows of one call of a dot kernel */
#define QUANT_FLOAT_ROWS 6 /* most rows of one call of a float kernel */
#define QUANT_FLOAT_ACTS 4 /* most activation rows of one call of a float kernel */

/* One row: src [n_cols] finite, imp [n_cols] or NULL, dst quant_row_bytes. */
typedef void quant_encode_fn(const float *src, size_t n_cols, const float *imp, quant_effort effort,
                             void *dst);

/* out = imp sqrt(spread mean(x^2) + x^2) for a super-block: all arrays [QUANT_SUPER], imp or NULL.
 */
typedef void quant_weigh_fn(const float *x, const float *imp, float spread, float *out);

/* One row: src quant_row_bytes, dst [n_cols]. */
typedef void quant_decode_fn(const void *src, size_t n_cols, float *dst);

/* out[t] = one weight row times activation row t, n_acts <= QUANT_DOT_ACTS rows act_bytes apart.
 * A result does not depend on n_acts. */
typedef void quant_dot_fn(const void *weight, size_t n_cols, const void *acts, size_t act_bytes,
                          size_t n_acts, float *out);

/* n_cols <= QUANT_STRIP_COLS columns of n_rows <= QUANT_STRIP_ROWS rows, row_bytes apart, as a
 * strip. What it has in place of further rows does not matter. */
typedef void quant_strip_fn(const void *weight, size_t row_bytes, size_t n_rows, size_t n_cols,
                            quant_strip *out);

/* The strip's products with n_acts <= QUANT_STRIP_ACTS activations; out[t * out_stride + r], to
 * whose contents they are added if so said. What all strips of a row give is the dot kernel's
 * result. */
typedef void quant_strip_mul_fn(const quant_strip *strip, size_t n_cols, const void *acts,
                                size_t act_bytes, size_t n_acts, float *out, size_t out_stride,
                                bool add);

/* The same for repacked rows, see quant_repack: n_cols <= QUANT_STRIP_COLS columns of
 * QUANT_STRIP_ROWS rows. */
typedef void quant_repacked_fn(const void *packed, size_t n_cols, const void *acts,
                               size_t act_bytes, size_t n_acts, float *out, size_t out_stride,
                               bool add);

/* n_cols <= QUANT_STRIP_COLS columns of repacked rows as the strip of the rows. */
typedef void quant_unpack_fn(const void *packed, size_t n_cols, quant_strip *out);

/* A few rows of f32, f16 or bf16 and a few activation rows of f32. */
typedef struct quant_floats {
    const uint8_t *rows, *acts;
    size_t row_bytes, act_bytes; /* from row to row */
    size_t n_rows, n_acts;       /* at most QUANT_FLOAT_ROWS, QUANT_FLOAT_ACTS */
    size_t n_cols;
    float *out; /* [n_acts][n_rows], out_stride apart */
    size_t out_stride;
    bool add;             /* to what `out` has */
    const uint8_t *ahead; /* n_rows * n_cols weights that are needed next */
} quant_floats;

/* Their products. A result does not depend on n_rows or n_acts. */
typedef void quant_floats_fn(const quant_floats *m);

/* One row of activations: src [n_cols], dst quant_act_row_bytes. */
typedef void quant_act_fn(const float *src, size_t n_cols, void *dst);

/* Index of the first f32 with not |x| <= limit (so also of a NaN), or n. */
typedef size_t quant_beyond_fn(const void *x, size_t n, float limit);

/* Index of the first 16-bit number with (x & mask) == mask, or n: for f16 and bf16. */
typedef size_t quant_masked_fn(const void *x, size_t n, uint16_t mask);

typedef struct quant_kernels {
    quant_isa isa;
    quant_encode_fn *encode[QUANT_N_TYPES]; /* NULL = unsupported, here and below */
    quant_weigh_fn *weigh;
    quant_decode_fn *decode[QUANT_N_TYPES];
    quant_dot_fn *dot[QUANT_N_TYPES];
    quant_strip_fn *strip[QUANT_N_TYPES];
    quant_strip_mul_fn *strip_mul[QUANT_N_TYPES];
    quant_repacked_fn *repacked[QUANT_N_TYPES];
    quant_unpack_fn *unpack[QUANT_N_TYPES]; /* where there are both of the above */
    quant_floats_fn *floats[QUANT_N_TYPES]; /* F32, and maybe other floats */
    quant_act_fn *act[QUANT_N_ACTS];
    quant_beyond_fn *beyond;
    quant_masked_fn *masked;
    quant_feedback_fn *feedback;
    quant_descent_fn *descent;
} quant_kernels;

/* Every kernel of kernels.inc: quant_OPERATION_TYPE_ISA. */
#define ENCODE(type, name, isa)                                                         \
    void quant_encode_##name##_##isa(const float *src, size_t n_cols, const float *imp, \
                                     quant_effort effort, void *dst);
#define WEIGH(isa) \
    void quant_weigh_super_##isa(const float *x, const float *imp, float spread, float *out);
#define DECODE(type, name, isa) \
    void quant_decode_##name##_##isa(const void *src, size_t n_cols, float *dst);
#define DOT(type, name, isa)                                                           \
    void quant_dot_##name##_##isa(const void *weight, size_t n_cols, const void *acts, \
                                  size_t act_bytes, size_t n_acts, float *out);
#define STRIP(type, name, isa)                                                                     \
    void quant_strip_##name##_##isa(const void *weight, size_t row_bytes, size_t n_rows,           \
                                    size_t n_cols, quant_strip *out);                              \
    void quant_strip_mul_##name##_##isa(const quant_strip *strip, size_t n_cols, const void *acts, \
                                        size_t act_bytes, size_t n_acts, float *out,               \
                                        size_t out_stride, bool add);
#define UNPACK(type, name, isa) \
    void quant_unpack_##name##_##isa(const void *packed, size_t n_cols, quant_strip *out);
#define REPACKED(type, name, isa)                                                           \
    void quant_repacked_##name##_##isa(const void *packed, size_t n_cols, const void *acts, \
                                       size_t act_bytes, size_t n_acts, float *out,         \
                                       size_t out_stride, bool add);
#define FLOATS(type, name, isa) void quant_floats_##name##_##isa(const quant_floats *m);
#define ACT(act, name, isa)     void quant_act_##name##_##isa(const float *, size_t n_cols, void *dst);
#define SCAN(isa)                                                    \
    size_t quant_beyond_##isa(const void *x, size_t n, float limit); \
    size_t quant_masked_##isa(const void *x, size_t n, uint16_t mask);
#define PANEL(isa)                                                                              \
    void quant_feedback_panel_##isa(quant_panel *p, const float *u, size_t u_stride, float *e); \
    void quant_descent_panel_##isa(quant_panel *p, const float *h, size_t h_stride, float *r,   \
                                   float *change);
#include "quant/kernels/kernels.inc"
#undef ENCODE
#undef WEIGH
#undef DECODE
#undef DOT
#undef STRIP
#undef REPACKED
#undef UNPACK
#undef FLOATS
#undef ACT
#undef SCAN
#undef PANEL

/* The best kernels that need no more than `isa`, which must be supported. */
void quant_kernels_fill(quant_isa isa, quant_kernels *table);

/* The table in use, filled once. Threads: safe. */
const quant_kernels *quant_kernels_active(void);

#endif
