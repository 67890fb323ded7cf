/* Quantising with a calibration text: the model is run over it layer by layer, and the plan's
 * matrices are rounded with what their inputs say. Stages of the plan: 0 what needs no inputs, 1 to
 * n the layers, n + 1 the head. */
#ifndef RUNTIME_CALIBRATE_CALIBRATION_H
#define RUNTIME_CALIBRATE_CALIBRATION_H

#include "quant/allocate.h"
#include "runtime/runtime.h"

#include <stdatomic.h>

typedef struct rt_calibration_opts {
    const char *text;   /* its file's name; the last part is recorded; NULL = no calibration */
    bool round;         /* weighted rounding with the importance found, no feedback */
    bool best;          /* effort */
    uint32_t n_samples; /* tokens */
    double damp;
    unsigned n_threads;        /* 0 = all usable cores */
    gguf_ranks *ranks;         /* that calibrate together; NULL: this process alone */
    const atomic_bool *cancel; /* may be NULL */
} rt_calibration_opts;

rt_calibration_opts rt_calibration_defaults(void);

typedef struct rt_calibration rt_calibration;

/* Record the calibration in the plan's metadata (ggufkit.calibration.*) with room for its report,
 * before types are chosen. Errors: GGUF_E_NOMEM. */
gguf_code rt_calibration_reserve(const rt_calibration_opts *opts, quant_plan *plan,
                                 gguf_error *err);

/* Types are set: give the plan its stages, and finish it.
 * Errors: those of quant_plan_finish. */
gguf_code rt_calibration_plan(const rt_calibration_opts *opts, quant_plan *plan, gguf_error *err);

/* Calibrate a plan with a model and the tokens of a text.
 *   model   that the plan quantises; it and tokens belong to the caller and outlive this
 *   bos     replaces the first token of each chunk; -1 = none
 * Errors: GGUF_E_USAGE too little text, GGUF_E_NOMEM. */
gguf_code rt_calibration_new(const rt_calibration_opts *opts, rt_model *model,
                             const int32_t *tokens, size_t n_tokens, int32_t bos, quant_plan *plan,
                             rt_calibration **out, gguf_error *err);
void rt_calibration_free(rt_calibration *c); /* accepts NULL */

/* How many chunks the text gives, of how many tokens each, and how many tokens they are. */
typedef struct rt_calibration_size {
    uint32_t n_chunks, chunk_tokens;
    size_t n_tokens;
} rt_calibration_size;
rt_calibration_size rt_calibration_size_of(const rt_calibration *c);

/* Give the plan's quantised tensors the importance that the text shows, for choosing types. */
gguf_code rt_calibration_importance(rt_calibration *c, gguf_error *err);

/* Measure on the model how sensitive it is to each tensor of the allocation, as far as the limit of
 * rt_probe_defaults goes; tensors between measured layers get what lies between.
 *   progress  may be NULL */
gguf_code rt_calibration_sensitivities(rt_calibration *c, quant_allocation *allocation,
                                       void (*progress)(void *ctx, uint64_t done, uint64_t total),
                                       void *ctx, gguf_error *err);

/* Where the walk through the layers is. */
typedef struct rt_calibration_watch {
    void (*stage)(void *ctx, uint32_t stage); /* its walk begins */
    void (*tokens)(void *ctx, uint64_t done_tokens, uint64_t total_tokens);
    void *ctx;
} rt_calibration_watch;

/* After rt_calibration_plan: start the walk.
 *   folder  where activations lie that do not fit into memory
 *   watch   NULL for none
 * Errors: those of rt_hessians_new. */
gguf_code rt_calibration_start(rt_calibration *c, const char *folder,
                               const rt_calibration_watch *watch, gguf_error *err);

/* Set what quant_execute asks for. */
void rt_calibration_provide(rt_calibration *c, quant_execute_opts *opts);

/* What the tensors lost, once the plan is executed: [plan->n_tensors]. */
const quant_output_error *rt_calibration_errors(const rt_calibration *c);

#endif
