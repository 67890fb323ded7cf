/* What a model holds: its numbers and its tensors by role. */
#ifndef RUNTIME_MODEL_INTERNAL_H
#define RUNTIME_MODEL_INTERNAL_H

#include "runtime/backend.h"
#include "runtime/runtime.h"

/* The tensors of one layer. An optional tensor that the file does not have is zeroed. */
typedef struct rt_layer {
    const float *attn_norm, *ffn_norm; /* [n_embd] */
    rt_weight attn_q, attn_k, attn_v, attn_output;
    rt_weight ffn_gate, ffn_up, ffn_down;
} rt_layer;

struct rt_model {
    gguf_file *file;
    rt_arch *arch;
    rt_hparams hparams;
    rt_weight token_embd, output; /* output is token_embd where the file has no own one */
    const float *output_norm;     /* [n_embd] */
    const float *rope_factors;    /* [n_rot / 2], or NULL: the angle's divisors */
    float *rope_freqs;            /* [n_rot / 2] radians per position */
    float rope_magnitude;         /* of cosine and sine */
    rt_layer *layers;             /* [n_layer] */
    float *vectors;               /* owns all norms, biases and factors */
};

/* Read the numbers of `architecture` from the file's keys, range-checked. */
gguf_code rt_hparams_read(const gguf_file *file, const char *architecture, rt_hparams *hp,
                          gguf_error *err);

/* Find every tensor of the architecture, check its shape and fill the model's fields. */
gguf_code rt_model_bind(rt_model *model, gguf_error *err);

/* Fill model->rope_freqs and rope_magnitude. */
gguf_code rt_model_rope(rt_model *model, gguf_error *err);

#endif
