/* quant: numbers in blocks. Types, encode, decode, dot products, matrix products.
 *
 * Shapes are rows first: [n_rows][n_cols] row-major (GGUF stores the column count first).
 * A row is a whole number of blocks. Block formats: ggml's block structs, see docs/formats.md.
 * Every kernel exists in scalar C, which defines the bytes; variants are chosen once at start from
 * what processor and system support. GGUF_ISA=scalar|avx2|avx512|neon in the environment forces
 * one. */
#ifndef QUANT_QUANT_H
#define QUANT_QUANT_H

#include "libgguf/gguf.h"

/* ---- types ------------------------------------------------------------------------------- */

/* Activations for integer dot products: 8-bit blocks made by quant_act_encode. */
typedef enum quant_act {
    QUANT_ACT_NONE, /* the type multiplies with f32 activations */
    QUANT_ACT_Q8,   /* 8-bit codes with scales per 32 */
    QUANT_ACT_Q8_K, /* the same with scales per 256 */
    QUANT_ACT_BF16  /* for BF16 weights where the processor multiplies those; half the work of
                       f32, relative error 2^-9 of each activation */
} quant_act;

#define QUANT_N_TYPES 159 /* type numbers are below */

bool quant_can_encode(uint32_t type);
bool quant_can_decode(uint32_t type);
/* Bytes of a row; 0 if n_cols is no whole number of blocks or the type is unknown. */
size_t quant_row_bytes(uint32_t type, size_t n_cols);
/* general.file_type of a file whose matrices all have the type; -1: there is none. */
int32_t quant_type_file_type(uint32_t type);
/* The type in its place for rows that its blocks do not divide; types without blocks: themselves.
 */
uint32_t quant_type_fallback(uint32_t type);
/* Rank among the types of one size, from 1 on, when types are chosen for a size; 0: never chosen.
 */
unsigned quant_type_candidate(uint32_t type);
/* Whether rounding to the type without importance gives nothing that anybody would use. */
bool quant_type_demands_importance(uint32_t type);
quant_act quant_act_of(uint32_t type);

/* The codebook that a type's blocks have numbers of, see kernels/codebooks.h; NULL: it has none. */
const uint16_t *quant_codebook(uint32_t type, size_t *n_bytes);
size_t quant_act_row_bytes(quant_act act, size_t n_cols);

/* ---- encode and decode ------------------------------------------------------------------- */

/* How many candidates an encoder tries. */
typedef enum quant_effort {
    QUANT_EFFORT_NORMAL,
    QUANT_EFFORT_FAST,
    QUANT_EFFORT_BEST
} quant_effort;

/* Encode rows of f32 into blocks of `type`, minimising the importance-weighted squared error; for
 * Q2_K and Q3_K importance is multiplied with a weight that grows with the number.
 *   src   [n_rows][n_cols]
 *   imp   [n_cols], finite and >= 0; NULL or all zeros = all ones
 *   dst   n_rows * quant_row_bytes(type, n_cols) bytes
 * Errors: GGUF_E_SHAPE, GGUF_E_UNSUPPORTED, GGUF_E_NONFINITE (message names row and column;
 * also when a value overflows F16). dst is undefined then.
 * The bytes are the same for every instruction set. Memory: caller owns all. Threads: safe. */
gguf_code quant_encode(uint32_t type, const float *src, size_t n_rows, size_t n_cols,
                       const float *imp, void *dst, gguf_error *err);

/* The same with an effort other than QUANT_EFFORT_NORMAL. Types without a search (floats, Q8_0,
 * MXFP4) give the same bytes for all. */
gguf_code quant_encode_effort(uint32_t type, quant_effort effort, const float *src, size_t n_rows,
                              size_t n_cols, const float *imp, void *dst, gguf_error *err);

/* Decode n elements of a matrix with rows of n_cols, from element `first` on; both ends are those
 * of blocks. Types and shape must be right. */
void quant_decode_part(uint32_t type, const void *src, size_t n_cols, size_t first, size_t n,
                       float *dst);

/* Decode n_rows rows to f32. Bit for bit what the format says; any bytes are accepted.
 * Errors: GGUF_E_SHAPE, GGUF_E_UNSUPPORTED. */
gguf_code quant_decode(uint32_t type, const void *src, size_t n_rows, size_t n_cols, float *dst,
                       gguf_error *err);

/* First element (row-major) whose stored numbers are not finite (values, scales, minimums), or
 * n_rows * n_cols if all are. For copies that skip encode. */
size_t quant_find_nonfinite(uint32_t type, const void *src, size_t n_rows, size_t n_cols);

/* ---- products ---------------------------------------------------------------------------- */

/* Encode one row of activations. n_cols must be a multiple of the block of `act` (32 or 256). */
void quant_act_encode(quant_act act, const float *src, size_t n_cols, void *dst);

/* Encode what a row of quant_act_encode leaves of src, in the same form (an act in blocks): both
 * products together are those of 16 bits. dst may follow the row. */
void quant_act_encode_rest(quant_act act, const float *src, size_t n_cols, const void *row,
                           void *dst);

/* Whether quant_matmul takes weights of `type` with activations in the form `act`: QUANT_ACT_NONE
 * with every type that can be decoded, quant_act_of(type), perhaps QUANT_ACT_BF16 with BF16, and
 * perhaps QUANT_ACT_Q8 with float weights, which are rounded to 8 bits with a scale per 32 on the
 * way. */
bool quant_can_multiply(uint32_t type, quant_act act, size_t n_cols);

#define QUANT_MATMUL_SCRATCH_BYTES ((size_t)512 << 10)

/* out[t * out_stride + r] = sum_c weight[r][c] * act[t][c] for n_rows rows and n_acts activations.
 *   weight  n_rows rows of `type`, row_bytes = quant_row_bytes(type, n_cols)
 *   act     for which quant_can_multiply
 *   acts    n_acts rows, quant_act_row_bytes(act, n_cols) apart; for QUANT_ACT_NONE f32
 *   scratch QUANT_MATMUL_SCRATCH_BYTES, 64-aligned: half a MiB is too much for a thread's stack;
 *           may be NULL for QUANT_ACT_NONE
 * The sum's order depends only on type, act, n_cols and instruction set, never on n_rows or
 * n_acts. */
void quant_matmul(uint32_t type, quant_act act, const void *weight, size_t n_rows, size_t n_cols,
                  const void *acts, size_t n_acts, float *out, size_t out_stride, void *scratch);

/* Whether a stored number that is not finite (see quant_find_nonfinite) makes every product of its
 * row with finite activations infinite or NaN. Not where the number is rounded on the way, nor of
 * scales that are exponents alone. */
bool quant_product_shows_nonfinite(uint32_t type, quant_act act);

/* Whether rows of `type` multiply faster when they lie side by side: true where this processor has
 * kernels for it and the number of rows is a multiple of 16. */
bool quant_can_repack(uint32_t type, size_t n_rows);

/* Bytes of a repacked row: as many as before, but of the types of codebooks and ternary numbers 4.6
 * bits for each element. */
size_t quant_repacked_row_bytes(uint32_t type, size_t n_cols);

/* Write n_rows rows (a multiple of 16) to `repacked`, quant_repacked_row_bytes each: 16 rows side
 * by side, word by word. The order belongs to this process's kernels; never store it. */
void quant_repack(uint32_t type, const void *rows, size_t n_rows, size_t n_cols, void *repacked);

/* quant_matmul with quant_act_of(type) and rows that quant_repack wrote: the same results. */
void quant_matmul_repacked(uint32_t type, const void *repacked, size_t n_rows, size_t n_cols,
                           const void *acts, size_t n_acts, float *out, size_t out_stride,
                           void *scratch);

/* Name of the instruction set in use: "scalar", "avx2", "avx512", "neon". */
const char *quant_isa_name(void);

#endif
