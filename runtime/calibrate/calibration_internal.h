/* What the parts of a calibration share. */
#ifndef RUNTIME_CALIBRATE_CALIBRATION_INTERNAL_H
#define RUNTIME_CALIBRATE_CALIBRATION_INTERNAL_H

#include "runtime/calibrate/calibrate.h"
#include "runtime/calibrate/calibration.h"
#include "runtime/calibrate/hessians.h"

/* What a tensor of the stage at hand is rounded with, [n_mats] each. */
typedef struct stage_tensor {
    const quant_hessian **hessians;
    float *imp; /* [n_mats][n_cols] */
    bool *ready;
} stage_tensor;

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
    stage_tensor *stage_tensors; /* [plan->n_tensors] */
    uint32_t n_layers, stage;
    quant_output_error *errors; /* [plan->n_tensors] */
    rt_calibration_watch watch;
};

#endif
