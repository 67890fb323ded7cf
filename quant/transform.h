/* Transforms of a plan's tensors, on rows that were read. */
#ifndef QUANT_TRANSFORM_H
#define QUANT_TRANSFORM_H

#include "quant/journal.h"
#include "quant/plan.h"

/* Rows that must stay together: a head where heads are permuted. */
uint64_t quant_rows_per_unit(const quant_plan_tensor *t);

/* Apply the steps that move rows.
 *   rows, scratch  n_rows rows of t->source_type each; either may be returned */
const uint8_t *quant_move_rows(const quant_plan_tensor *t, uint64_t n_rows, uint8_t *rows,
                               uint8_t *scratch);

/* Whether there are steps on numbers; and to apply them to n. */
bool quant_has_arithmetic(const quant_plan_tensor *t);
void quant_change_values(const quant_plan_tensor *t, float *values, size_t n);

/* Add what decoding gave instead of `values` to the sums; imp [n_cols] or NULL. */
void quant_measure_loss(const float *values, const float *decoded, const float *imp,
                        uint64_t n_rows, uint64_t n_cols, quant_loss_sums *sums);

#endif
