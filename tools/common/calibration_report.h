/* What a calibrated run found, tensor by tensor: on the terminal, as JSON. */
#ifndef TOOLS_COMMON_CALIBRATION_REPORT_H
#define TOOLS_COMMON_CALIBRATION_REPORT_H

#include "quant/plan.h"
#include "tools/common/tool.h"

/* Say what the compensation brought, and where most is lost. */
void calibration_report_print(tool *t, const quant_plan *plan, const quant_output_error *errors);

/* Add the report's fields of one tensor to its object. */
void calibration_report_json(json_t *row, const quant_output_error *error);

/* Matrices that had too few samples for what was asked for. */
uint64_t calibration_report_n_unfed(const quant_plan *plan, const quant_output_error *errors);

#endif
