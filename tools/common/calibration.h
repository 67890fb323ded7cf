/* Quantising with a calibration text: the model is run over it layer by layer, and the plan's
 * matrices are rounded with what their inputs say. */
#ifndef TOOLS_COMMON_CALIBRATION_H
#define TOOLS_COMMON_CALIBRATION_H

#include "quant/allocate.h"
#include "tools/common/tool.h"

typedef struct calibration_opts {
    const char *text;   /* file; NULL = no calibration */
    bool round;         /* weighted rounding with the importance found, no feedback */
    bool best;          /* effort */
    uint32_t n_samples; /* tokens */
    double damp;
} calibration_opts;

calibration_opts calibration_defaults(void);

typedef struct calibration calibration;

/* Record the calibration in the plan's metadata (ggufkit.calibration.*) with room for its report,
 * before types are chosen. Errors: GGUF_E_NOMEM. */
gguf_code calibration_reserve(const calibration_opts *opts, quant_plan *plan, gguf_error *err);

/* Types are set: give the plan its stages, and finish it.
 * Errors: those of quant_plan_finish. */
gguf_code calibration_plan(const calibration_opts *opts, quant_plan *plan, gguf_error *err);

/* Open the model at `path` and read the text. A Hugging Face folder is converted to
 * `output`.calibration meanwhile. Errors: GGUF_E_USAGE too little text. */
gguf_code calibration_open(tool *t, const char *path, const char *output,
                           const calibration_opts *opts, quant_plan *plan, calibration **out,
                           gguf_error *err);
void calibration_close(calibration *c); /* accepts NULL */

/* How many chunks the text gave, and of how many tokens. */
uint32_t calibration_n_chunks(const calibration *c, uint32_t *chunk_tokens);

/* Give the plan's quantised tensors the importance that the text shows, for choosing types. */
gguf_code calibration_importance(tool *t, calibration *c, gguf_error *err);

/* Measure on the model how sensitive it is to each tensor of the allocation, as far as the limit of
 * rt_probe_defaults goes; tensors between measured layers get what lies between. */
gguf_code calibration_sensitivities(tool *t, calibration *c, quant_allocation *allocation,
                                    gguf_error *err);

/* Behind calibration_plan: start the walk through the layers.
 *   folder  where activations lie that do not fit into memory */
gguf_code calibration_start(tool *t, calibration *c, const char *folder, gguf_error *err);

/* Set what quant_execute asks for. */
void calibration_provide(calibration *c, quant_execute_opts *opts);

/* What the tensors lost, once the plan is executed: [plan->n_tensors]. */
const quant_output_error *calibration_errors(const calibration *c);

#endif
