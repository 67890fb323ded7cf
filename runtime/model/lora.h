/* LoRA adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021): beside a
 * matrix W two thin ones, so that W x becomes W x + scale B (A x). Internal to runtime. */
#ifndef RUNTIME_MODEL_LORA_H
#define RUNTIME_MODEL_LORA_H

#include "libgguf/gguf.h"
#include "runtime/model/weights.h"

/* Whether the file is a LoRA adapter for models of an architecture.
 *   alpha  what the file says, 0 if nothing: its scale is then 1, not alpha / rank
 * Errors: GGUF_E_UNSUPPORTED it is not, GGUF_E_TYPE, GGUF_E_MISSING it has no tensors. */
gguf_code rt_lora_check(const gguf_file *adapter, const char *arch, float *alpha, gguf_error *err);

static inline float rt_lora_scale(float scale, float alpha, uint64_t rank) {
    return alpha != 0 ? scale * alpha / (float)rank : scale;
}

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
