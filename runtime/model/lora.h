/* LoRA adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021): beside a
 * matrix W two thin ones, so that W x becomes W x + scale B (A x). Internal to runtime. */
#ifndef RUNTIME_MODEL_LORA_H
#define RUNTIME_MODEL_LORA_H

#include "runtime/model/weights.h"

/* What one adapter adds to one matrix. */
struct rt_lora {
    rt_weight a, b; /* [rank][n_cols], [n_rows][rank]; of a table that is looked up, a has a row
                       for each of its rows, and b is [n_cols][rank] */
    float scale;    /* the user's times alpha / rank */
    const rt_lora *next;
};

/* A file of them. */
typedef struct rt_adapter rt_adapter;
void rt_adapters_free(rt_adapter *adapters); /* all of a list; accepts NULL */

#endif
