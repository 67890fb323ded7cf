/* What rounding does to the output of a matrix: squared error over squared output, expected over
 * the inputs that a Hessian saw. */
#ifndef QUANT_OUTPUT_ERROR_H
#define QUANT_OUTPUT_ERROR_H

#include "quant/hessian.h"
#include "quant/quant.h"

/* One row of so many is measured, so that it costs little beside the compensation. */
#define QUANT_OUTPUT_STRIDE 8

/* Sums over the measured rows. */
typedef struct quant_output_sums {
    double signal;  /* wᵀ H w, without damping as all three */
    double rounded; /* of the error that rounding weighted by importance makes */
    double kept;    /* of the error of the blocks that are written */
} quant_output_sums;

/* Buffer bytes of one call. */
size_t quant_output_scratch_bytes(size_t n_rows, size_t n_cols);

/* Add what the blocks of some rows do.
 *   values   [n_rows][n_cols]; the first row is measured
 *   encoded  their blocks of `type`
 *   fed      whether they are compensated; otherwise they are what rounding gives
 *   imp      [n_cols] or NULL, and effort: of the rounding to compare with
 *   scratch  quant_output_scratch_bytes, aligned for floats
 * Errors: of quant_encode. Threads: safe. */
gguf_code quant_output_measure(uint32_t type, quant_effort effort, const float *values,
                               const void *encoded, bool fed, size_t n_rows, size_t n_cols,
                               const quant_hessian *hessian, const float *imp, void *scratch,
                               quant_output_sums *sums, gguf_error *err);

#endif
