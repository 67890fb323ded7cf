/* Passes over a row of logits in this process's memory. */
#ifndef RUNTIME_ENGINE_LOGITS_H
#define RUNTIME_ENGINE_LOGITS_H

#include <stddef.h>

/* The largest finite one; -INFINITY if there is none. */
float rt_logits_max(const float *logits, size_t n);

/* out = exp((logit - max) * scale), 0 where the logit is not finite.
 *   max    the largest of a row that these belong to
 *   scale  above 0
 *   out    [n] */
void rt_logits_weights(const float *logits, float max, float scale, size_t n, float *out);

#endif
