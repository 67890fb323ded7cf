/* The weights of a model as its operations take them. They stay in the file's mapping. */
#ifndef RUNTIME_MODEL_WEIGHTS_H
#define RUNTIME_MODEL_WEIGHTS_H

#include "libgguf/gguf.h"

#include <stdatomic.h>

/* A stack of matrices in the file's mapping, [n_mats][n_rows][n_cols] of `type`, and the bias of
 * their products. Most weights are one matrix. */
typedef struct rt_lora rt_lora;

typedef struct rt_weight {
    gguf_str name;         /* in the mapping; empty for a further part of a fused tensor */
    const void *data;      /* NULL: the model has no such matrix */
    const uint8_t *placed; /* the same as the CPU lays it down for itself, or NULL */
    const float *bias;     /* [n_mats][n_rows], matrices bias_stride apart; or NULL */
    atomic_uchar *passed;  /* [n_mats] found finite, see weights_check.h; NULL: never looked at */
    bool whole;            /* a stack that is one matrix in the file */
    uint32_t type;
    uint32_t n_mats, n_rows, n_cols;
    uint64_t row_bytes, mat_bytes;
    uint32_t bias_stride;
    const float *scale;  /* [n_mats], or one of all matrices, that products are multiplied with
                            before  the bias; or NULL */
    bool own_scales;     /* each matrix has its own */
    const rt_lora *lora; /* what adapters add, see lora.h; NULL: nothing */
} rt_weight;

/* A norm's factors and, where it has one, its bias. Row r of the input takes row r % n_rows. */
typedef struct rt_norm_weights {
    const float *weight, *bias; /* [n_rows][n_cols]; bias may be NULL */
    uint32_t n_rows, n_cols;    /* n_cols 0: the model has no such norm */
} rt_norm_weights;

#endif
