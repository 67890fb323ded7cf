/* Rows of a plan's tensor on their way from the source to blocks. */
#ifndef QUANT_ROWS_H
#define QUANT_ROWS_H

#include "quant/journal.h"
#include "quant/plan.h"

/* Rows that must stay together: a head where heads are permuted; a panel of a calibrated tensor. */
uint64_t quant_rows_per_unit(const quant_plan_tensor *t);

/* Read a piece and apply the steps that move rows.
 *   raw, moved  8 bytes per element each; *rows is one of them, in t->source_type
 * Errors: of the source, GGUF_E_NONFINITE. */
gguf_code quant_rows_read(const quant_plan_tensor *t, const quant_piece *piece, uint8_t *raw,
                          uint8_t *moved, const uint8_t **rows, gguf_error *err);

/* Whether the rows, once read, are what is written. */
bool quant_rows_are_copied(const quant_plan_tensor *t);

/* Decode rows to values [n_rows][n_cols] and apply the steps on numbers. */
gguf_code quant_rows_decode(const quant_plan_tensor *t, const quant_piece *piece,
                            const uint8_t *rows, float *values, gguf_error *err);

/* Encode values with the tensor's importance, or with feedback if it has a Hessian.
 *   compensate  scratch of quant_compensate_bytes(n_cols); NULL for tensors without one
 *   decoded  [n_rows][n_cols], where `loss` is to be added to; or NULL */
gguf_code quant_rows_encode(const quant_plan_tensor *t, uint32_t type, const quant_piece *piece,
                            const float *values, const quant_compensate_opts *opts,
                            void *compensate, uint8_t *encoded, float *decoded,
                            quant_loss_sums *loss, gguf_error *err);

/* Note what the encoding does to the output of a calibrated tensor.
 *   encoded  as quant_rows_encode left it
 *   scratch  quant_output_scratch_bytes */
gguf_code quant_rows_measure(const quant_plan_tensor *t, const quant_piece *piece,
                             const float *values, const uint8_t *encoded, void *scratch,
                             quant_loss_sums *loss, gguf_error *err);

#endif
