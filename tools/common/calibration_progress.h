/* How far a calibrated run is, by the arithmetic that its layers take: running the model over the
 * text, then rounding what it showed. */
#ifndef TOOLS_COMMON_CALIBRATION_PROGRESS_H
#define TOOLS_COMMON_CALIBRATION_PROGRESS_H

#include "quant/plan.h"
#include "tools/common/tool.h"

typedef struct calibration_stage {
    double walk, rest; /* multiplications, roughly: before the stage's tensors, and of them */
    uint64_t n_bytes;  /* of its tensors */
} calibration_stage;

typedef struct calibration_progress {
    tool *t;
    double started_s;
    calibration_stage *stages;
    uint32_t n_stages, stage; /* the one whose walk is going on */
} calibration_progress;

/* Of a plan whose stages are set. Errors: GGUF_E_NOMEM. */
gguf_code calibration_progress_init(calibration_progress *p, tool *t, const quant_plan *plan,
                                    size_t n_tokens, gguf_error *err);
void calibration_progress_clear(calibration_progress *p); /* accepts a zeroed one */

/* Functions for rt_calibration_watch and quant_execute_opts; ctx is the calibration_progress. */
void calibration_progress_stage(void *ctx, uint32_t stage);
void calibration_progress_walk(void *ctx, uint64_t done_tokens, uint64_t total_tokens);
void calibration_progress_bytes(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

#endif
