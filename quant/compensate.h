/* Error-compensating rounding: the columns still to be rounded make up for the error of those that
 * are, in the metric of the layer's inputs. GPTQ (arXiv 2210.17323) in the standard block types,
 * then coordinate descent over codes and steps. See docs/quality.md. */
#ifndef QUANT_COMPENSATE_H
#define QUANT_COMPENSATE_H

#include "quant/hessian.h"

#include <stdbool.h>

typedef struct quant_compensate_opts {
    unsigned n_passes; /* of descent after the feedback */
} quant_compensate_opts;

/* Whether rows of this type and width can be compensated; others are rounded. */
bool quant_can_compensate(uint32_t type, size_t n_cols);

/* Buffer bytes of one call. */
size_t quant_compensate_bytes(size_t n_cols);

/* Encode rows so that sum over rows of (w^ - w)ᵀ H (w^ - w) is small.
 *   src      [n_rows][n_cols]; results do not depend on how rows are divided into calls
 *   hessian  factored, hessian->n == n_cols
 *   dst      n_rows * quant_row_bytes(type, n_cols) bytes
 *   scratch  quant_compensate_bytes(n_cols), aligned for floats
 * Threads: safe. */
void quant_compensate(uint32_t type, const float *src, size_t n_rows, size_t n_cols,
                      const quant_hessian *hessian, const quant_compensate_opts *opts, void *dst,
                      void *scratch);

/* sum over rows of dᵀ H d with d = a - b.
 *   a, b  [n_rows][n_cols] */
double quant_hessian_loss(const quant_hessian *hessian, const float *a, const float *b,
                          size_t n_rows);

#endif
