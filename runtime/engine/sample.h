/* Sampling: from logits to the next token, for one text or for many at once. */
#ifndef RUNTIME_ENGINE_SAMPLE_H
#define RUNTIME_ENGINE_SAMPLE_H

#include "libgguf/error.h"
#include "libgguf/pool.h"

#include <stddef.h>
#include <stdint.h>

/* Added to a token's logit before anything else; -INFINITY bans the token. */
typedef struct rt_logit_bias {
    int32_t id;
    float bias;
} rt_logit_bias;

/* The biases come first, then the penalties. Of tokens that were taken lately, positive logits are
 * divided by the repetition penalty and negative ones multiplied (Keskar et al., "CTRL: A
 * Conditional Transformer Language Model for Controllable Generation", 2019); a token that was
 * taken n times since the text began loses presence_penalty + n * frequency_penalty. The filters
 * apply in this order: the top_k most likely tokens; of these the fewest whose probabilities reach
 * top_p; of these the ones with at least min_p times the largest probability. The temperature then
 * shapes what is left; the filters see the probabilities without it. */
typedef struct rt_sampler_opts {
    float temp;     /* 0 = always the most likely token */
    uint32_t top_k; /* 0 = all */
    float top_p;    /* 1 = all */
    float min_p;    /* 0 = all */
    uint64_t seed;
    float repeat_penalty;   /* 1 = none; 0 counts as 1 */
    uint32_t repeat_last_n; /* tokens that count as lately taken, at most RT_MAX_REPEAT */
    float presence_penalty, frequency_penalty; /* 0 = none; below 0 they are rewards */
} rt_sampler_opts;

#define RT_MAX_REPEAT 65536

rt_sampler_opts rt_sampler_defaults(void); /* 0.8, 40, 0.95, 0.05, 0; penalty 1 over 64 tokens */

/* How the tokens of one text are chosen: options, random numbers, what was taken. */
typedef struct rt_sampler rt_sampler;

/* Errors: GGUF_E_USAGE (temp or penalty < 0, top_p or min_p outside 0 to 1, not a number; too many
 * tokens to remember), GGUF_E_NOMEM. */
gguf_code rt_sampler_new(const rt_sampler_opts *opts, uint32_t n_vocab, rt_sampler **out,
                         gguf_error *err);
void rt_sampler_free(rt_sampler *sampler); /* accepts NULL */

/* Biases from now on, in place of those before.
 *   bias  [n], copied; of one token that occurs twice the sum counts
 * Errors: GGUF_E_USAGE an id outside the vocabulary, a bias that is infinite above zero or not a
 * number; GGUF_E_NOMEM. */
gguf_code rt_sampler_set_bias(rt_sampler *sampler, const rt_logit_bias *bias, size_t n,
                              gguf_error *err);

/* Only tokens whose bit is set are taken from now on; the penalties come first.
 *   mask  [(n_vocab + 63) / 64], kept by the caller; NULL: any token */
void rt_sampler_set_mask(rt_sampler *sampler, const uint64_t *mask);

/* Forget which tokens were taken, so that a new text starts without penalties. */
void rt_sampler_forget(rt_sampler *sampler);

/* Memory to sample with, whose size depends on the vocabulary: one for all texts of a session. */
typedef struct rt_sampling rt_sampling;

/*   pool  its workers sample rows side by side, and it lives as long; NULL: the caller alone
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_sampling_new(uint32_t n_vocab, gguf_pool *pool, rt_sampling **out, gguf_error *err);
void rt_sampling_free(rt_sampling *sampling); /* accepts NULL */

/* The next token of each of n texts. Tokens without a finite logit are never taken; -1 where no
 * token has one. Of equal logits, the smaller id counts as the larger. The same seed and logits
 * give the same token, whatever the other rows and the number of threads.
 *   samplers  [n], each once
 *   logits    [n][n_vocab], changed on the way and at the end as before
 *   ids       [n]
 * Errors: GGUF_E_NOMEM, before any token was taken. */
gguf_code rt_sample_rows(rt_sampling *sampling, rt_sampler *const *samplers, float *const *logits,
                         size_t n, int32_t *ids, gguf_error *err);

typedef struct rt_logprob {
    int32_t id;
    float logprob; /* natural logarithm of the probability */
} rt_logprob;

/* Probabilities as the model has them: the softmax of the logits without bias, penalties, filters
 * and temperature. Returns how many are in `top`: fewer than n_top where fewer logits are finite.
 *   token  its logprob goes to *of_token; -INFINITY where its logit is not finite
 *   top    [n_top], the most likely first */
size_t rt_logprobs(rt_sampling *sampling, const float *logits, int32_t token, float *of_token,
                   rt_logprob *top, size_t n_top);

#endif
