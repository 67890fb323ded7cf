/* The tensors that a model may have: names, shapes, and where they go. */
#ifndef RUNTIME_MODEL_SLOTS_H
#define RUNTIME_MODEL_SLOTS_H

#include "runtime/model/model_internal.h"

typedef enum rt_dim {
    RT_DIM_ONE,
    RT_DIM_EMBD,
    RT_DIM_FF,
    RT_DIM_Q,
    RT_DIM_K,
    RT_DIM_V,
    RT_DIM_HEADS_V,
    RT_DIM_HEAD_K,
    RT_DIM_HEADS,
    RT_DIM_HEADS_KV,
    RT_DIM_VOCAB,
    RT_DIM_ROT,
    RT_DIM_KV_LORA_RANK,
    RT_DIM_Q_LORA_RANK,
    RT_DIM_QK_NOPE,
    RT_DIM_V_HEAD,
    RT_DIM_EXPAND_RANK,
    RT_DIM_EXPAND_ROW,
    RT_DIM_EXPANDED,
    RT_DIM_CTX,
    RT_DIM_TYPES,
    RT_DIM_INDEX_Q,
    RT_DIM_INDEX_HEAD,
    RT_DIM_INDEX_HEADS,
    RT_DIM_STREAMS,
    RT_DIM_STREAM_PAIRS,
    RT_DIM_OTHER_STREAMS,
    RT_DIM_LAUREL,
    RT_DIM_EMBD_LAYER,
    RT_DIM_EMBD_LAYERS,
    RT_DIM_LAYER_EMBEDDED,
    RT_DIM_CLASSES,
    RT_DIM_DENSE_2,
    RT_DIM_DENSE_3,
    RT_DIM_EXPERTS,
    RT_DIM_FF_EXPERT,
    RT_DIM_EXPERT_IN,
    RT_DIM_FF_SHARED,
    RT_DIM_SSM_IN,
    RT_DIM_SSM_CONV,
    RT_DIM_SSM_TAPS,
    RT_DIM_SSM_INNER,
    RT_DIM_SSM_HEADS,
    RT_DIM_SSM_GROUPS,
    RT_DIM_SSM_GROUP_WIDTH,
    RT_DIM_SSM_STATE,
    RT_DIM_SSM_BA,
    RT_DIM_SSM_X,
    RT_DIM_KDA_RANK,
    RT_DIM_OUT_GROUPS,
    RT_DIM_OUT_GROUP_COLS,
    RT_DIM_OUT_GROUP_RANK,
    RT_DIM_OUT_LOW,
    RT_DIM_COMPRESS,
    RT_DIM_COMPRESSED,
    RT_DIM_INDEX_COMPRESSED,
    RT_DIM_INDEX_POOL,
    RT_DIM_HYPER,
    RT_DIM_HYPER_MIX,
    RT_DIM_HYPER_WIDE,
    RT_DIM_HYPER_SCALES,
    RT_DIM_BUCKETS
} rt_dim;

/* What a layer, or the model, must be for a tensor to be looked for. */
typedef enum rt_part {
    RT_PART_ALL,
    RT_PART_ATTENTION,   /* of any kind */
    RT_PART_PLAIN,       /* attention with heads of keys and values */
    RT_PART_KEYS,        /* which are the layer's own, */
    RT_PART_VALUES,      /* with values that are not its keys */
    RT_PART_HEAD_GATES,  /* with a gate of each head, */
    RT_PART_VALUE_GATES, /* or of each value of a head */
    RT_PART_LATENT,      /* latent attention */
    RT_PART_EXPANDED,    /* its other form */
    RT_PART_LATENT_Q,
    RT_PART_DIRECT_Q,
    RT_PART_RECURRENT, /* of any kind */
    RT_PART_SHORT_CONV,
    RT_PART_MAMBA,
    RT_PART_MAMBA2,
    RT_PART_KDA,
    RT_PART_DELTA,
    RT_PART_INDEX_LATENT, /* an indexer beside latent attention, */
    RT_PART_INDEX_HEADS,  /* or one that chooses for each KV head */
    RT_PART_COMPRESSED,   /* attention to a window, and */
    RT_PART_BLOCKS,       /* to blocks of tokens, */
    RT_PART_INDEX_BLOCKS, /* which an indexer chooses */
    RT_PART_INDEX_POOLED, /* an indexer whose keys are pooled */
    RT_PART_HYPER,        /* streams that blocks read a mixture of */
    RT_PART_RELATIVE,     /* scores get a bias by distance */
    RT_PART_CROSS,        /* attention to an encoder's text */
    RT_PART_STREAMS,      /* several streams */
    RT_PART_EMBEDDED,     /* every layer gets something of each token */
    RT_PART_DENSE,
    RT_PART_EXPERTS,
    RT_PART_SHARED,
    RT_PART_BESIDE /* a dense block beside experts */
} rt_part;

typedef enum rt_presence { RT_NEEDED, RT_OPTIONAL } rt_presence;

/* One tensor: where it goes and what shape it must have. */
typedef struct rt_slot {
    const char *name; /* after "blk.N." for a tensor of a layer; without ".weight" */
    size_t field;     /* offset in rt_model or rt_layer */
    rt_dim n_mats, n_rows, n_cols;
    rt_part part;
    rt_presence need;
} rt_slot;

/* The tensors of one record: a model, or a layer. */
typedef struct rt_slots {
    const rt_slot *matrices, *scales, *vectors;
    size_t n_matrices, n_scales, n_vectors;
} rt_slots;

extern const rt_slots rt_model_slots, rt_layer_slots;

/* Matrix i of the slots in a record. */
static inline rt_weight *rt_slot_matrix(void *record, const rt_slots *slots, size_t i) {
    return (rt_weight *)(void *)((char *)record + slots->matrices[i].field);
}

/* In a layer; for the model's own tensors any layer will do. */
uint32_t rt_dim_size(const rt_hparams *hp, uint32_t layer, rt_dim which);

#endif
