/* The layout of a session's memory: where everything lies, computed before anything is allocated.
 * sizing/ predicts with it, sessions allocate what it says. */
#ifndef RUNTIME_ENGINE_LAYOUT_H
#define RUNTIME_ENGINE_LAYOUT_H

#include "runtime/engine/backend.h"

/* A model lies in one place, or its last layers in a second one. */
#define RT_MAX_PLACES 2

/* Rows of logits that are computed at once, at most. */
#define RT_OUT_ROWS 64

/* What goes from layer to layer, in the arena. */
typedef struct rt_stream_part {
    rt_off off;
    uint64_t n_cols; /* of each token */
} rt_stream_part;
#define RT_MAX_STREAM_PARTS 24

/* Where a layer's part of the cache lies: within a page of its class, or within a slot. */
typedef struct rt_layer_layout {
    uint32_t place;
    bool keeps_rows; /* k_off and v_off are the layer's own; otherwise those of the layer of its
                        place whose keys and values it shares */
    uint64_t k_off, v_off;
    uint64_t index_off, row_bytes_index; /* keys of an indexer; with blocks in the pages of those */
    uint64_t block_off, row_bytes_block; /* keys of blocks, in pages of RT_KV_FULL */
    uint64_t row_bytes_k, row_bytes_v;   /* of one token; 0: the layer keeps no such row */
    uint64_t state_off, state_bytes;     /* state_bytes 0: the layer has no state */
} rt_layer_layout;

/* Layers of one class. All places have the same pages; a page holds the rows of a place's layers.
 */
typedef struct rt_pool_layout {
    uint32_t n_layers, n_pages;
    uint64_t page_bytes[RT_MAX_PLACES];
    uint64_t off[RT_MAX_PLACES]; /* in the cache */
    uint64_t free, refs, tables; /* in host memory */
} rt_pool_layout;

/* Slots for the states of all recurrent layers: two for each sequence, and the snapshots. */
typedef struct rt_slots_layout {
    uint32_t n_slots, n_snapshots;
    uint64_t slot_bytes[RT_MAX_PLACES];
    uint64_t off[RT_MAX_PLACES];  /* in the cache */
    uint64_t free, refs, current; /* in host memory */
    uint64_t snapshots;
} rt_slots_layout;

/* Offsets and sizes in bytes. */
typedef struct rt_layout {
    uint32_t n_ctx, n_batch, n_seqs;
    unsigned n_threads;
    uint32_t n_table; /* pages of a whole sequence */
    uint32_t n_tiles, n_runs;
    uint32_t n_out; /* rows of logits at once */
    uint32_t n_places;
    rt_layer_layout layers[RT_MAX_LAYERS];
    rt_pool_layout pools[RT_N_KV_CLASSES];
    rt_slots_layout slots;
    uint64_t cache_bytes[RT_MAX_PLACES];

    /* In the arena, the same in every place; [n_batch] rows each. The blocks of a layer share their
     * place. */
    rt_off x; /* [n_embd] the residual stream; of several the first, the others after it, */
    uint64_t stream_stride;                                      /* so many numbers apart */
    rt_off shared_k[RT_N_KV_CLASSES], shared_v[RT_N_KV_CLASSES]; /* of a layer, for later ones */
    rt_off layer_embd; /* [n_layer][n_embd_layer] what every layer gets of each token */
    /* These in order. The first n_carried are what a layer makes, the others what it is given. */
    rt_stream_part stream_parts[RT_MAX_STREAM_PARTS];
    size_t n_stream_parts, n_carried;
    rt_off h;       /* [n_embd] a normed input */
    rt_off out;     /* [n_embd] what a block adds to the stream */
    rt_off q, k, v; /* all heads side by side */
    rt_off heads;   /* [n_head * head_dim_v] attention's result */
    rt_off q_gated; /* [n_head][2 * head_dim_k] queries with their gates, */
    rt_off gates;   /* [n_head * head_dim_k] and those alone, or what attn_gate makes */

    /* Latent attention. */
    rt_off q_heads; /* [n_head][qk_nope_head_dim + n_rot] queries before they are absorbed */
    rt_off q_low;   /* [q_lora_rank] */
    rt_off plain;   /* [n_head][qk_nope_head_dim], then [n_head][v_head_dim] */

    /* With keys and values of every head. */
    rt_off kv_row;   /* [kv_expand_rank + n_rot] */
    rt_off kv_low;   /* [kv_expand_rank] its first part, normed */
    rt_off kv_heads; /* [n_head][qk_nope_head_dim + v_head_dim] */

    /* Recurrent layers. */
    rt_off ssm_in;                 /* [ssm_in_dim] what the input projection makes */
    rt_off ssm_z;                  /* [ssm_d_inner] the gate */
    rt_off ssm_out;                /* [ssm_d_inner] what the scan makes */
    rt_off ssm_x, ssm_low, ssm_dt; /* Mamba: [dt_rank + 2 * d_state], its [dt_rank], [d_inner] */
    rt_off kda_f;                  /* [d_inner] decays of channels; ssm_low has kda_gate_rank */
    rt_off ssm_ba; /* [2 * ssm_dt_rank] of the gated delta rule: see rt_gated_delta */

    rt_off gate, up; /* [n_ff or n_ff_shared] */
    rt_off beside;   /* [n_embd] what a dense block makes beside experts */

    /* Indexers. */
    rt_off selection; /* [index_choices][selection_words] u64 */
    uint32_t selection_words;
    rt_off index_q, index_k, index_w; /* [n_head][head_dim], [head_dim], [n_head] */
    rt_off index_scores;              /* [n_threads][2][n_ctx] */

    /* Several streams. */
    rt_off predicted; /* [n_embd] the first one before its layer */
    rt_off laurel;    /* [n_embd] */
    rt_off laurel_low;
    rt_off modes, coefs;        /* [n_stream], [n_stream][n_stream] */
    rt_off mixed, side_by_side; /* [n_stream][n_embd] */

    rt_off looked_up;             /* [n_layer][n_embd_layer] rows of the table */
    rt_off embd_gate, embd_slice; /* [n_embd_layer] */

    /* Experts; what they make has a row for each expert of each token. */
    rt_off router;      /* [n_expert] */
    rt_off experts;     /* [n_expert_used] u32 */
    rt_off weights;     /* [n_expert_used] */
    rt_off first, rows; /* see rt_grouping */
    rt_off expert_gate, expert_up, expert_out;
    rt_off shared_gate; /* [1] */
    rt_off latent;      /* [n_expert_in], where that is not n_embd */

    rt_off streams; /* [n_hyper] parts, stream_stride apart, the first one that behind `out` */
    rt_off hyper_read, hyper_write; /* see rt_hyper */
    rt_off hyper_mix;               /* [n_hyper * (n_hyper + 2)] */
    rt_off hyper_wide;              /* [n_hyper][n_embd] side by side */
    rt_off hyper_next;              /* [n_hyper] parts, stream_stride apart */

    rt_off block_values, block_scores, block_rows; /* see rt_block_pool; of the last max_blocks */
    rt_off out_low;                                /* [n_out_group][out_group_rank] */
    rt_off rope_blocks[RT_MAX_COMPRESS]; /* [max_blocks][n_rot / 2][2] of the blocks of a batch */
    uint32_t max_blocks[RT_MAX_COMPRESS];
    rt_off rope_back[2]; /* as rope, the other way round */

    rt_off rope[2];       /* [n_rot / 2][2] of usual layers, [n_rot_window / 2][2] of the others */
    rt_off logits;        /* [n_out][n_vocab] */
    rt_off lora_low;      /* [n_batch][n_lora_rank], of adapters, and what they add: */
    rt_off lora_rows;     /* [n_batch][n_lora_rows], */
    rt_off lora_logits;   /* [n_out][n_vocab] */
    uint64_t arena_bytes; /* of each place */
    uint64_t work_bytes[RT_MAX_PLACES]; /* that the backends take beside it */

    /* In host memory. */
    uint64_t seqs, tiles, runs, ids, out_rows, angles, stream;
    uint64_t block_tiles[RT_MAX_COMPRESS];
    uint64_t host_bytes;

    uint64_t hook_elems; /* of the largest input of a product */
} rt_layout;

/* Check the options, fill in their defaults and lay out the memory.
 * Errors: GGUF_E_USAGE, GGUF_E_SHAPE, GGUF_E_LIMIT. */
gguf_code rt_layout_make(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                         gguf_error *err);

/* Sums over all places. */
uint64_t rt_layout_cache_bytes(const rt_layout *layout);
uint64_t rt_layout_compute_bytes(const rt_layout *layout);

#endif
