/* How likely a model finds each of several continuations of one beginning. */
#ifndef RUNTIME_MEASURE_CHOICES_H
#define RUNTIME_MEASURE_CHOICES_H

#include "runtime/runtime.h"

/* A beginning and a continuation as one row of tokens. */
typedef struct rt_choice {
    const int32_t *tokens; /* [n] */
    size_t n;
    size_t first; /* the continuation starts here; 0 < first < n */
} rt_choice;

/* ln of the probability of each continuation. What all choices begin with is evaluated once.
 *   session  with at least two sequences, whose tokens are forgotten, and a context of n - 1
 *   ln_p     [n_choices]
 * Errors: of sessions; GGUF_E_USAGE (first or a token id out of range), GGUF_E_NONFINITE,
 * GGUF_E_NOMEM. */
gguf_code rt_choices_score(rt_session *session, const rt_choice *choices, size_t n_choices,
                           double *ln_p, gguf_error *err);

#endif
