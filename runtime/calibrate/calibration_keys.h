/* What a calibration found, tensor by tensor, in the output's metadata: ggufkit.calibration.*. */
#ifndef RUNTIME_CALIBRATE_CALIBRATION_KEYS_H
#define RUNTIME_CALIBRATE_CALIBRATION_KEYS_H

#include "quant/plan.h"

/* Set ggufkit.calibration.tensors and the arrays beside it for the plan's calibrated tensors.
 *   errors  [plan->n_tensors]; NULL sets zeros, which take the same space
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_calibration_keys_set(quant_plan *plan, const quant_output_error *errors,
                                  gguf_error *err);

/* Set them as long as they can become, before a target chooses the types. */
gguf_code rt_calibration_keys_reserve(quant_plan *plan, gguf_error *err);

/* Remove what an earlier quantisation of the source recorded. */
void rt_calibration_keys_forget(gguf_meta *meta);

#endif
