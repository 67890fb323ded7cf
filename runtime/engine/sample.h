/* Sampling: from logits to the next token. */
#ifndef RUNTIME_ENGINE_SAMPLE_H
#define RUNTIME_ENGINE_SAMPLE_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

/* The repetition penalty comes first: of tokens that were taken lately, positive logits are divided
 * by it and negative ones multiplied (Keskar et al., "CTRL: A Conditional Transformer Language
 * Model for Controllable Generation", 2019). The filters apply in this order: the top_k most likely
 * tokens; of these the fewest whose probabilities reach top_p; of these the ones with at least
 * min_p times the largest probability. The temperature then shapes what is left; the filters see
 * the probabilities without it. */
typedef struct rt_sampler_opts {
    float temp;     /* 0 = always the most likely token */
    uint32_t top_k; /* 0 = all */
    float top_p;    /* 1 = all */
    float min_p;    /* 0 = all */
    uint64_t seed;
    float repeat_penalty;   /* 1 = none; 0 counts as 1 */
    uint32_t repeat_last_n; /* tokens that count as lately taken, at most RT_MAX_REPEAT */
} rt_sampler_opts;

#define RT_MAX_REPEAT 65536

rt_sampler_opts rt_sampler_defaults(void); /* 0.8, 40, 0.95, 0.05, 0; penalty 1 over 64 tokens */

typedef struct rt_sampler rt_sampler;

/* Errors: GGUF_E_USAGE (temp or penalty < 0, top_p or min_p outside 0 to 1, not a number; too many
 * tokens to remember), GGUF_E_NOMEM. */
gguf_code rt_sampler_new(const rt_sampler_opts *opts, uint32_t n_vocab, rt_sampler **out,
                         gguf_error *err);
void rt_sampler_free(rt_sampler *sampler); /* accepts NULL */

/* The next token. Tokens without a finite logit are never taken; -1 if no token has one. Of equal
 * logits, the smaller id counts as the larger. The same seed and logits give the same tokens.
 *   logits  [n_vocab] */
int32_t rt_sampler_next(rt_sampler *sampler, const float *logits);

/* Forget which tokens were taken, so that a new text starts without penalties. */
void rt_sampler_forget(rt_sampler *sampler);

#endif
