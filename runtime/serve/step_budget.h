/* How many tokens of prompts a step has time for, learnt from the steps before. */
#ifndef RUNTIME_SERVE_STEP_BUDGET_H
#define RUNTIME_SERVE_STEP_BUDGET_H

#include <stddef.h>

#define RT_BUDGET_MAX_DECODING 1024
#define RT_BUDGET_MIN_CHUNK    16
#define RT_BUDGET_MAX_CHUNK    256

/* Start as {0}. */
typedef struct rt_step_budget {
    double decode_s[RT_BUDGET_MAX_DECODING + 1]; /* of a step in which so many decode; 0: unknown */
    double token_s;                              /* of each further token of a prompt; 0: unknown */
} rt_step_budget;

/* Expected time of a step in which n answers get a token; 0: nothing is known. */
double rt_budget_decode_s(const rt_step_budget *b, size_t n_decoding);

/* Tokens of prompts for a step beside n_decoding answers, so that it takes about step_s and at most
 * three times what it takes without them.
 *   most  without any answer to delay */
size_t rt_budget_chunk(const rt_step_budget *b, double step_s, size_t n_decoding, size_t most);

/* A step with so many tokens took so long. */
void rt_budget_learn(rt_step_budget *b, size_t n_decoding, size_t n_prompt, double seconds);

#endif
