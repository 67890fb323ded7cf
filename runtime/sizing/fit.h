/* Hardware sizing: what a model needs on a device, and how fast the device can be expected to run
 * it. Sizes come from rt_footprint_of and from the tensors of a plan; no weight is read. */
#ifndef RUNTIME_SIZING_FIT_H
#define RUNTIME_SIZING_FIT_H

#include "runtime/import/import.h"
#include "runtime/sizing/cost.h"
#include "runtime/sizing/devices.h"
#include "runtime/sizing/footprint.h"

/* ---- models -------------------------------------------------------------------------------------
 */

typedef struct rt_fit_model {
    rt_hparams hp;
    /* False: the runtime does not know the architecture; the layers are read from usual keys and
     * from the tensors, and hp has only what sizes are made of. */
    bool runs_here;
    uint64_t n_meta_bytes;   /* what the tokenizer is built from */
    bool meta_estimated;     /* there is no tokenizer; its size is estimated from the vocabulary */
    rt_layer_memory *layers; /* [hp.n_layer] */
} rt_fit_model;

/*   path  for errors
 * Errors: GGUF_E_MISSING, GGUF_E_TYPE, GGUF_E_LIMIT for keys; GGUF_E_NOMEM. */
gguf_code rt_fit_describe(rt_import *import, const char *path, rt_fit_model *out, gguf_error *err);
void rt_fit_model_clear(rt_fit_model *model); /* accepts a zeroed one */

/* Sizes of a model's weights, as the types of a plan say. */
typedef struct rt_fit_weights {
    uint64_t n_bytes, n_elems;
    uint64_t table_bytes;   /* of an embedding that is not the output too */
    uint64_t file_bytes;    /* with padding and the tensors' entries, without other metadata */
    uint64_t *layer_bytes;  /* [n_layer] */
    uint64_t *expert_bytes; /* [n_layer], of layer_bytes those of routed experts */
    rt_cost_weights cost;
} rt_fit_weights;

/* Errors: GGUF_E_SHAPE, GGUF_E_UNSUPPORTED (as gguf_tensor_bytes), GGUF_E_LIMIT, GGUF_E_NOMEM. */
gguf_code rt_fit_weigh(const quant_plan *plan, uint32_t n_layer, rt_fit_weights *out,
                       gguf_error *err);
void rt_fit_weights_clear(rt_fit_weights *weights); /* accepts a zeroed one */

/* ---- fit ----------------------------------------------------------------------------------------
 */

/* Where a model lies on a GPU and in the memory of its host. */
typedef enum rt_fit_place {
    RT_PLACE_DEVICE,  /* all on the cards */
    RT_PLACE_EXPERTS, /* routed experts in the host's memory, the rest on the cards */
    RT_PLACE_LAYERS,  /* the last layers on the cards, as many as they hold; the rest in the host's
                       */
    RT_N_PLACES
} rt_fit_place;

const char *rt_fit_place_name(rt_fit_place place);

typedef struct rt_fit_placement {
    bool offered; /* there is such a place: host memory is stated, there are experts */
    bool fits;
    uint64_t device_bytes, host_bytes; /* needed on all cards, and in the host's memory */
    uint32_t device_layers;
    double tg_per_s; /* NaN: unknown */
} rt_fit_placement;

/* One card in the chosen place. */
typedef struct rt_fit_card {
    uint64_t room_bytes, used_bytes; /* used: buffers, overhead, layers; 0 = nothing is on it */
    uint32_t n_layers;
} rt_fit_card;

typedef struct rt_fit {
    rt_footprint footprint; /* compute and overhead are the device's */
    uint64_t rss_bytes; /* on a processor: the total without rows of the embedding that stay in the
                           file because no token asks for them; 0 elsewhere */
    uint64_t lookup_bytes; /* of it the rows that n_ctx tokens ask for if all of them differ; a text
                              that repeats its words asks for fewer */
    uint64_t room_bytes;   /* of the device's memory, what a model can have */
    uint32_t n_ctx;        /* of each sequence */
    uint32_t max_ctx;      /* the largest context that fits, at most the trained one; 0 = none */
    uint32_t device_layers; /* of n_layer, with their KV cache; all if everything fits */
    bool fits;              /* in the chosen place */
    rt_fit_place place;     /* the device, or else the faster one of those that fit */
    rt_fit_placement places[RT_N_PLACES];
    rt_fit_card cards[RT_MAX_CARDS]; /* [n_cards] */
    uint32_t n_cards;
    /* Tokens of all sequences together, with caches half full; NaN: unknown. Layers that a GPU has
     * no room for run from the host's memory. */
    double tg_per_s, pp_per_s;
    double step_bytes; /* that one step of generation reads */
    double token_ops;  /* arithmetic of one token of a prompt */
} rt_fit;

/* Bytes of one layer's cache and state, for all sequences. */
uint64_t rt_fit_layer_bytes(const rt_fit_model *model, const rt_session_opts *opts,
                            const rt_footprint *footprint, uint32_t layer);

/*   opts  n_ctx, n_seqs, kv_type, n_batch and n_threads of the session
 * Errors: of rt_footprint_of. */
gguf_code rt_fit_on(const rt_device *device, const rt_fit_model *model,
                    const rt_fit_weights *weights, const rt_session_opts *opts, rt_fit *out,
                    gguf_error *err);

/* Bytes per second of the host's memory that rt_fit_on assumes for layers beside a GPU. */
double rt_fit_host_rate(void);

#endif
