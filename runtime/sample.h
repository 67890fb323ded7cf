/* Sampling: from logits to the next token. */
#ifndef RUNTIME_SAMPLE_H
#define RUNTIME_SAMPLE_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

/* The filters apply in this order: the top_k most likely tokens; of these the fewest whose
 * probabilities reach top_p; of these the ones with at least min_p times the largest probability.
 * The temperature then shapes what is left; the filters see the probabilities without it. */
typedef struct rt_sampler_opts {
    float temp;     /* 0 = always the most likely token */
    uint32_t top_k; /* 0 = all */
    float top_p;    /* 1 = all */
    float min_p;    /* 0 = all */
    uint64_t seed;
} rt_sampler_opts;

rt_sampler_opts rt_sampler_defaults(void); /* 0.8, 40, 0.95, 0.05, 0 */

typedef struct rt_sampler rt_sampler;

/* Errors: GGUF_E_USAGE (temp < 0, top_p or min_p outside 0 to 1, not a number), GGUF_E_NOMEM. */
gguf_code rt_sampler_new(const rt_sampler_opts *opts, uint32_t n_vocab, rt_sampler **out,
                         gguf_error *err);
void rt_sampler_free(rt_sampler *sampler); /* accepts NULL */

/* The next token. Tokens without a finite logit are never taken; -1 if no token has one. Of equal
 * logits, the smaller id counts as the larger. The same seed and logits give the same tokens.
 *   logits  [n_vocab] */
int32_t rt_sampler_next(rt_sampler *sampler, const float *logits);

#endif
