/* Weights whose own numbers are wrong: a NaN or infinite scale makes every product with its block
 * meaningless, and rounding activations to 8 bits hides that. Every matrix is looked at when it is
 * first read, or repacked; what was found good is not looked at again. Internal to runtime. */
#ifndef RUNTIME_MODEL_WEIGHTS_CHECK_H
#define RUNTIME_MODEL_WEIGHTS_CHECK_H

#include "runtime/model/model_internal.h"

/* Give every matrix of a bound model its mark. Errors: GGUF_E_NOMEM. */
gguf_code rt_weights_prepare(rt_model *model, gguf_error *err);

/* Whether matrix `mat` of the stack has yet to be looked at. Threads: safe. */
bool rt_weight_is_new(const rt_weight *weight, uint32_t mat);
/* All its rows were found finite. Threads: safe. */
void rt_weight_passed(const rt_weight *weight, uint32_t mat);

/* The first block, or number of a float type, in n_rows rows of the weight that is not finite; NULL
 * if all are.
 *   rows  as the file has them */
const uint8_t *rt_weight_fault(const rt_weight *weight, const uint8_t *rows, size_t n_rows);

/* Keep the fault, if it is one, in *first, which is UINTPTR_MAX before any. Of several, the one
 * that lies first in memory stays: which thread was first does not matter. */
void rt_weight_keep_fault(atomic_uintptr_t *first, const uint8_t *fault);

/* GGUF_E_NONFINITE with the tensor's name and the block's number. */
gguf_code rt_weights_fail(const rt_model *model, const uint8_t *fault, gguf_error *err);

#endif
