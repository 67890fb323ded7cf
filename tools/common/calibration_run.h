/* What a command adds to a calibration (runtime/calibrate/calibration.h): opening the model and the
 * text, and showing how far it is. */
#ifndef TOOLS_COMMON_CALIBRATION_RUN_H
#define TOOLS_COMMON_CALIBRATION_RUN_H

#include "runtime/calibrate/calibration.h"
#include "tools/common/tool.h"

typedef struct calibration calibration;

/* Open the model at `path` and read the text. A Hugging Face folder is converted to
 * `output`.calibration meanwhile. Errors: GGUF_E_USAGE too little text. */
gguf_code calibration_open(tool *t, const char *path, const char *output,
                           const rt_calibration_opts *opts, quant_plan *plan, calibration **out,
                           gguf_error *err);
void calibration_close(calibration *c); /* accepts NULL */

rt_calibration *calibration_work(const calibration *c);

/* After rt_calibration_plan: start the walk through the layers.
 *   folder  where activations lie that do not fit into memory */
gguf_code calibration_start(tool *t, calibration *c, const char *folder, gguf_error *err);

/* Set what quant_execute asks for, and its progress. */
void calibration_provide(calibration *c, quant_execute_opts *opts);

#endif
