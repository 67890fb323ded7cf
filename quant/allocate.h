/* Types for a size: each tensor's error is measured at every type that it could get, and the budget
 * solver picks the types that do the least expected damage within the target. */
#ifndef QUANT_ALLOCATE_H
#define QUANT_ALLOCATE_H

#include "quant/budget.h"
#include "quant/plan.h"

#define QUANT_MAX_CANDIDATES 20

/* What one tensor would lose at one type. */
typedef struct quant_candidate {
    uint32_t type;
    uint64_t n_bytes; /* with padding to the alignment */
    double error;     /* sum imp (w - w^)^2 / sum imp w^2: noise to signal at the tensor's output */
} quant_candidate;

typedef struct quant_tensor_candidates {
    quant_candidate list[QUANT_MAX_CANDIDATES]; /* smallest first */
    size_t n, chosen;
    double sensitivity; /* expected KLD per unit of error */
} quant_tensor_candidates;

typedef struct quant_allocation {
    quant_tensor_candidates *tensors; /* [plan->n_tensors]; n = 0 where the type is fixed */
    quant_budget_result result;       /* damage = sum of sensitivity * error */
    uint64_t target_bytes;            /* of the files; 0 = target_bpw */
    double target_bpw;
} quant_allocation;

void quant_allocation_clear(quant_allocation *allocation); /* accepts a zeroed one */

/* Without a measurement on the model: a rule of thumb by role and place, see docs/recipes.md. */
double quant_default_sensitivity(const quant_plan_tensor *t, const quant_model_tags *model);

/* Measure the error of every tensor that a recipe may choose a type for (not tagged `keep` or
 * `pinned`), at every type whose blocks divide its rows, on a sample of up to half a million
 * elements. Importance is to be set before. Fills tensors and the default sensitivities.
 * opts->ranks share the samples; all call it with the same plan.
 * Errors: of sources, GGUF_E_CANCELLED, GGUF_E_NOMEM. */
gguf_code quant_allocation_measure(quant_allocation *allocation, const quant_plan *plan,
                                   gguf_pool *pool, const quant_execute_opts *opts,
                                   gguf_error *err);

/* Choose types for target_bytes or target_bpw, record the outcome in the metadata
 * (ggufkit.budget.*) and finish the plan. The files are never larger than the target.
 * Errors: GGUF_E_USAGE the target is too small, those of quant_plan_finish. */
gguf_code quant_allocation_solve(quant_allocation *allocation, quant_plan *plan, gguf_error *err);

#endif
