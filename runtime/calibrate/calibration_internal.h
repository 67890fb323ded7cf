/* What the parts of a calibration share. */
#ifndef RUNTIME_CALIBRATE_CALIBRATION_INTERNAL_H
#define RUNTIME_CALIBRATE_CALIBRATION_INTERNAL_H

#include "runtime/calibrate/calibrate.h"
#include "runtime/calibrate/calibration.h"
#include "runtime/calibrate/hessians.h"

struct rt_calibration {
    rt_calibration_opts opts;
    quant_plan *plan;
    rt_model *model;
    const int32_t *tokens;
    size_t n_tokens;
    int32_t bos;
    uint32_t n_chunks;
    uint64_t inputs_hash;
    rt_hessians *hessians;
    uint32_t n_layers;
    quant_output_error *errors; /* [plan->n_tensors] */
    rt_calibration_watch watch;
};

#endif
