/* The cost of a token: what has to be read for it and computed, from the sizes of weights and from
 * what layers remember. */
#ifndef RUNTIME_SIZING_COST_H
#define RUNTIME_SIZING_COST_H

#include "runtime/runtime.h"

/* ---- weights ------------------------------------------------------------------------------------
 */

typedef enum rt_weight_use {
    RT_USE_LOOKUP, /* one row of it, which is nothing beside the rest */
    RT_USE_LAYERS, /* by each token */
    RT_USE_EXPERTS,
    RT_USE_OUTPUT, /* by each token whose logits are wanted */
    RT_N_WEIGHT_USES
} rt_weight_use;

/* Sums over all weights of a use. */
typedef struct rt_weight_sums {
    double n_bytes, n_elems;
    double f32_elems, i8_elems; /* of matrices, by the kind of activations that they multiply */
} rt_weight_sums;

/* Start as {0}. */
typedef struct rt_cost_weights {
    rt_weight_sums of[RT_N_WEIGHT_USES];
} rt_cost_weights;

/* Add a tensor, which has its GGUF name.
 *   n_bytes    that it takes
 *   is_output  it multiplies the last layer's rows, whatever its name */
void rt_cost_add_weight(rt_cost_weights *weights, const gguf_tensor *t, uint64_t n_bytes,
                        bool is_output);

/* A matrix of routed experts. */
bool rt_cost_is_expert(const gguf_tensor *t);

/* The share of the experts that a step of n tokens reads, if all are equally likely. */
double rt_cost_experts_read(const rt_hparams *hp, double n_tokens);

/* ---- what layers remember -----------------------------------------------------------------------
 */

typedef enum rt_cache_kind {
    RT_CACHE_NONE, /* no attention, or it reads the cache of another layer */
    RT_CACHE_FULL,
    RT_CACHE_WINDOW,
    RT_CACHE_LATENT, /* one compressed row per token serves as key and value */
    RT_N_CACHE_KINDS
} rt_cache_kind;

const char *rt_cache_kind_name(rt_cache_kind kind);

typedef struct rt_layer_memory {
    rt_cache_kind cache;
    uint32_t k_cols, v_cols;         /* numbers per token; of RT_CACHE_NONE what they would be */
    uint64_t state_bytes;            /* per sequence, of recurrent layers; F32 */
    uint32_t index_cols;             /* of an indexer's keys */
    uint32_t n_compress, block_cols; /* tokens of a block that has one key, its numbers; 0: none */
} rt_layer_memory;

/* Of a layer of an architecture that the runtime knows. */
rt_layer_memory rt_layer_memory_of(const rt_hparams *hp, uint32_t layer);

/* Bytes of one token in the layer's cache. */
uint64_t rt_layer_row_bytes(const rt_layer_memory *layer, uint32_t kv_type);
/* Keys of blocks of n_tokens tokens, in whole pages. */
uint64_t rt_layer_block_bytes(const rt_layer_memory *layer, uint32_t kv_type, uint64_t n_tokens);

/* What all layers read of their memory for one token, and compute with it. */
typedef struct rt_memory_cost {
    double n_bytes, n_ops; /* multiplications and additions, each counts */
} rt_memory_cost;

/*   layers    [hp->n_layer]
 *   n_tokens  that a layer without a window sees */
rt_memory_cost rt_memory_cost_of(const rt_hparams *hp, const rt_layer_memory *layers,
                                 uint32_t kv_type, double n_tokens);

/* ---- a run of tokens ---------------------------------------------------------------------------
 */

typedef struct rt_cost {
    double n_bytes;         /* of weights and cache, read once per token */
    double f32_ops, i8_ops; /* by the kind of activations */
} rt_cost;

/* n tokens of an open model at the positions from `first` on, the logits of n_logits of them
 * included. Of experts, those that a token uses; of the cache, what a token sees. */
rt_cost rt_cost_of_tokens(const rt_model *model, uint32_t kv_type, uint32_t first, uint32_t n,
                          uint32_t n_logits);

#endif
