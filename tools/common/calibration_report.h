/* What a calibrated run found, tensor by tensor: in the output's metadata, on the terminal, as
 * JSON.
 */
#ifndef TOOLS_COMMON_CALIBRATION_REPORT_H
#define TOOLS_COMMON_CALIBRATION_REPORT_H

#include "quant/plan.h"
#include "tools/common/tool.h"

/* Set ggufkit.calibration.tensors and the arrays beside it for the plan's calibrated tensors.
 *   errors  [plan->n_tensors]; NULL sets zeros, which take the same space
 * Errors: GGUF_E_NOMEM. */
gguf_code calibration_report_set(quant_plan *plan, const quant_output_error *errors,
                                 gguf_error *err);

/* Remove what an earlier quantisation of the source recorded. */
void calibration_report_forget(gguf_meta *meta);

/* Set them as long as they can become, before a target chooses the types. */
gguf_code calibration_report_reserve(quant_plan *plan, gguf_error *err);

/* Say what the compensation brought, and where most is lost. */
void calibration_report_print(tool *t, const quant_plan *plan, const quant_output_error *errors);

/* Add the report's fields of one tensor to its object. */
void calibration_report_json(json_t *row, const quant_output_error *error);

/* Matrices that had too few samples for what was asked for. */
uint64_t calibration_report_n_unfed(const quant_plan *plan, const quant_output_error *errors);

#endif
