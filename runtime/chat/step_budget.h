/* What the tokens of a step cost, learnt from the steps before: how many tokens of prompts there is
 * time for, and whether drafted tokens pay. */
#ifndef RUNTIME_CHAT_STEP_BUDGET_H
#define RUNTIME_CHAT_STEP_BUDGET_H

#include <stddef.h>

#define RT_BUDGET_MAX_DECODING 1024
#define RT_BUDGET_MIN_CHUNK    16
#define RT_BUDGET_MAX_CHUNK    256

/* Start as {0}. */
typedef struct rt_step_budget {
    double decode_s[RT_BUDGET_MAX_DECODING + 1]; /* of a step in which so many decode; 0: unknown */
    double token_s;                              /* of each further token of a prompt; 0: unknown */
    double draft_s;                              /* of each drafted token; 0: unknown */
} rt_step_budget;

/* Expected time of a step in which n answers get a token; 0: nothing is known. */
double rt_budget_decode_s(const rt_step_budget *b, size_t n_decoding);

/* Tokens of prompts for a step beside n_decoding answers, so that it takes about step_s and at most
 * two and a half times what it takes without them.
 *   most  without any answer to delay */
size_t rt_budget_chunk(const rt_step_budget *b, double step_s, size_t n_decoding, size_t most);

/* What a drafted token costs, in tokens of the n answers that a step otherwise makes: with a chance
 * above this of being accepted it pays. */
double rt_budget_draft_cost(const rt_step_budget *b, size_t n_decoding);

/* A step with so many tokens took so long.
 *   n_drafted  beside those of n_decoding; 0 with tokens of prompts */
void rt_budget_learn(rt_step_budget *b, size_t n_decoding, size_t n_prompt, size_t n_drafted,
                     double seconds);

#endif
