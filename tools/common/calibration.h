/* Quantising with a calibration text: the model is run over it layer by layer, and the plan's
 * matrices are rounded with what their inputs say. */
#ifndef TOOLS_COMMON_CALIBRATION_H
#define TOOLS_COMMON_CALIBRATION_H

#include "quant/plan.h"
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

/* Open the model at `path` and read the text; gives the plan its stages and records the calibration
 * in its metadata (ggufkit.calibration.*). Types are to be set before.
 *   folder  of the output, where activations lie that do not fit into memory */
gguf_code calibration_open(tool *t, const char *path, const char *folder,
                           const calibration_opts *opts, quant_plan *plan, calibration **out,
                           gguf_error *err);
void calibration_close(calibration *c); /* accepts NULL */

/* Set what quant_execute asks for. */
void calibration_provide(calibration *c, quant_execute_opts *opts);

/* Matrices that were rounded without a Hessian because too few tokens reached them. */
size_t calibration_n_unseen(const calibration *c);

#endif
