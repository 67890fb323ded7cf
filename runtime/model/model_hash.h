/* A number that tells one model from another. */
#ifndef RUNTIME_MODEL_MODEL_HASH_H
#define RUNTIME_MODEL_MODEL_HASH_H

#include "runtime/runtime.h"

/* Of the metadata, the tensors' places, samples of their data, and the same of all adapters with
 * their scales; h chains it to what was hashed before. */
uint64_t rt_model_hash(uint64_t h, const rt_model *model);

#endif
