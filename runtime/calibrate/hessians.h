/* Second-order calibration: the Hessians of one layer after the other, from the unquantised model.
 * The calibration text is kept as the residual stream before the next layer, so that only one
 * layer's Hessians are in memory. */
#ifndef RUNTIME_CALIBRATE_HESSIANS_H
#define RUNTIME_CALIBRATE_HESSIANS_H

#include "quant/hessian.h"
#include "runtime/calibrate/calibrate.h"

typedef struct rt_hessians rt_hessians;

/* Of several ranks (opts->ranks), which call all functions here together, each moves some chunks;
 * all have the Hessians. Their bytes do not depend on how many ranks there are.
 *
 * Embed up to opts->n_chunks chunks of opts->n_ctx tokens. opts->progress counts the tokens of the
 * layer at hand.
 *   folder  where the stream lies when it is larger than half a GiB
 *   damp    see quant_hessian_factor
 * Errors: of sessions, those of rt_calibrate_n_chunks, GGUF_E_IO, GGUF_E_NOSPACE, GGUF_E_NOMEM. */
gguf_code rt_hessians_new(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                          const rt_calibrate_opts *opts, const char *folder, double damp,
                          rt_hessians **out, gguf_error *err);
void rt_hessians_free(rt_hessians *hessians); /* accepts NULL */

size_t rt_hessians_n_tokens(const rt_hessians *hessians);

/* Move the stream through the next layer. With `collect` the Hessians of its inputs, which replace
 * those before, are summed and factored. More than fit (opts->hessian_bytes) take several passes
 * over the layer: *more says that another call gives others of the same layer.
 * Errors: GGUF_E_CANCELLED, GGUF_E_NONFINITE, GGUF_E_NOMEM. */
gguf_code rt_hessians_next_layer(rt_hessians *hessians, bool collect, gguf_pool *pool, bool *more,
                                 gguf_error *err);
/* The same for the head, behind the last layer. */
gguf_code rt_hessians_head(rt_hessians *hessians, gguf_pool *pool, bool *more, gguf_error *err);

/* Of what a weight multiplies: matrix `mat` of a stack, 0 for a plain one. NULL if this pass has
 * none; without factors if only fewer tokens than a quarter of its columns met it. */
const quant_hessian *rt_hessians_find(const rt_hessians *hessians, const char *weight, size_t mat);

#endif
