/* What a measurement has to read and to compute. */
#ifndef TOOLS_BENCH_WORK_H
#define TOOLS_BENCH_WORK_H

#include "runtime/runtime.h"

typedef struct bench_work {
    double n_bytes;         /* of weights and cache, read once per token */
    double f32_ops, i8_ops; /* multiplications and additions by the kind of activations */
} bench_work;

/* The work of n tokens at the positions from `first` on, the logits of n_logits of them included.
 * Of experts, those that a token uses; of the cache, what a token sees. */
bench_work bench_work_of(const rt_model *model, uint32_t kv_type, uint32_t first, uint32_t n,
                         uint32_t n_logits);

#endif
