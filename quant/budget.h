/* Size budgets: one of several types for each tensor, so that the sum of the expected damage is
 * smallest within a number of bytes (the multiple-choice knapsack problem). */
#ifndef QUANT_BUDGET_H
#define QUANT_BUDGET_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

/* One way to store a tensor. */
typedef struct quant_choice {
    uint32_t type;
    uint64_t n_bytes;
    double damage; /* >= 0, in any unit that is the same for all tensors */
} quant_choice;

typedef struct quant_budget_item {
    const quant_choice *choices; /* [n_choices], in any order; not owned */
    size_t n_choices;            /* 1 = fixed */
    size_t chosen;               /* by quant_budget_solve */
} quant_budget_item;

typedef struct quant_budget_result {
    uint64_t n_bytes; /* of the chosen ones, at most max_bytes */
    double damage;
    double bound; /* no selection within max_bytes does less damage than this */
} quant_budget_result;

/* Errors: GGUF_E_USAGE even the smallest choices need more than max_bytes (the message says how
 * much), GGUF_E_NOMEM. */
gguf_code quant_budget_solve(quant_budget_item *items, size_t n_items, uint64_t max_bytes,
                             quant_budget_result *result, gguf_error *err);

#endif
