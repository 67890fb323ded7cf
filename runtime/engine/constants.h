/* The constants of a model that operations of its last layers take: what a device is given. */
#ifndef RUNTIME_ENGINE_CONSTANTS_H
#define RUNTIME_ENGINE_CONSTANTS_H

#include "runtime/engine/backend.h"
#include "runtime/model/model_internal.h"

/* Matrices of the last n_layers and of the output, adapters' factors, norms and other vectors, and
 * codebooks: in the order of their addresses, overlapping ones as one, malloc'ed.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_constants_of(const rt_model *model, uint32_t n_layers, rt_constant **out, size_t *n,
                          gguf_error *err);

/* Look at those matrices that nobody has looked at yet.
 * Errors: GGUF_E_NONFINITE with the tensor's name. */
gguf_code rt_constants_check(const rt_model *model, uint32_t n_layers, gguf_pool *pool,
                             gguf_error *err);

#endif
