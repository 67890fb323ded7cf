/* A session and the layout of its memory. */
#ifndef RUNTIME_ENGINE_SESSION_INTERNAL_H
#define RUNTIME_ENGINE_SESSION_INTERNAL_H

#include "runtime/engine/kv.h"
#include "runtime/model/model_internal.h"

/* Layers of one class in the KV arena. */
typedef struct rt_pool_layout {
    uint32_t n_layers, n_pages;
    uint64_t page_bytes;         /* all layers of the class */
    uint64_t off;                /* in the KV arena */
    uint64_t free, refs, tables; /* in the compute arena */
} rt_pool_layout;

/* Where everything lies in the two arenas of a session: offsets and sizes in bytes. */
typedef struct rt_layout {
    uint32_t n_ctx, n_batch, n_seqs;
    unsigned n_threads;
    uint32_t n_table; /* pages of a whole sequence */
    uint32_t n_chunks;
    uint64_t row_bytes_k, row_bytes_v; /* of one token in one layer */
    rt_pool_layout pools[RT_N_KV_CLASSES];
    uint64_t kv_bytes;
    /* In the compute arena; what rt_buffers says. */
    uint64_t x, h, out, q, k, v, heads, q_heads, q_low, plain, head_groups;
    uint64_t gate, up, router, experts, weights, first, rows, expert_gate, expert_up, expert_out;
    uint64_t shared_gate, rope, ids, out_rows, seqs, chunks, work;
    uint64_t compute_bytes;
} rt_layout;

/* Check the options, fill in their defaults and lay out the arenas.
 * Errors: GGUF_E_USAGE, GGUF_E_SHAPE, GGUF_E_LIMIT. */
gguf_code rt_layout_make(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                         gguf_error *err);

/* Activations of a batch, in the compute arena; [n_batch] rows each. The blocks of a layer share
 * their place. */
typedef struct rt_buffers {
    float *x;         /* [n_embd] the residual stream */
    float *h;         /* [n_embd] a normed input */
    float *out;       /* [n_embd] what a block adds to the stream */
    float *q, *k, *v; /* all heads side by side */
    float *heads;     /* [n_head * head_dim_v] attention's result */

    /* Latent attention. */
    float *q_heads;       /* [n_head][qk_nope_head_dim + n_rot] queries before they are absorbed */
    float *q_low;         /* [q_lora_rank] */
    float *plain;         /* [n_head][qk_nope_head_dim], then [n_head][v_head_dim] */
    uint32_t *head_first; /* [n_head + 1], and [n_batch * n_head] rows behind it */

    float *gate, *up; /* [n_ff or n_ff_shared] */

    /* Experts; what they make has a row for each expert of each token. */
    float *router;          /* [n_expert] */
    uint32_t *experts;      /* [n_expert_used] */
    float *weights;         /* [n_expert_used] */
    uint32_t *first, *rows; /* [n_expert + 1], [n_batch * n_expert_used]: see rt_groups */
    float *expert_gate, *expert_up, *expert_out;
    float *shared_gate; /* [1] */

    float *rope[2];     /* [n_rot / 2][2] of usual layers and of those with a window */
    int32_t *ids;       /* [1] tokens, or positions */
    uint32_t *out_rows; /* rows whose logits are wanted */
    rt_tile *chunks;
} rt_buffers;

struct rt_session {
    const rt_model *model;
    rt_session_opts opts;
    rt_layout layout;
    uint8_t *kv_bytes, *compute;
    rt_buffers buf;
    rt_kv kv;
    rt_batch batch; /* that is being computed */
    gguf_pool *pool;
    rt_backend *backend;
    const float *input; /* of the products that follow */
    size_t n_inputs;
    rt_hook_fn hook;
    void *hook_ctx;
};

/* Forget everything and make session->batch the first n <= n_batch tokens of sequence 0.
 *   tokens  may be NULL: buf.ids is left as it is */
gguf_code rt_session_begin(rt_session *session, const int32_t *tokens, size_t n, gguf_error *err);

/* The layer's part of the KV cache. */
rt_kv_layer rt_session_kv(const rt_session *session, uint32_t layer);

/* Set the rows that the next products multiply, and multiply; call the hook. */
void rt_session_input(rt_session *session, const float *x, size_t n, size_t n_cols);
void rt_session_multiply(rt_session *session, const rt_weight *weight, float *out);
/* With a stack of experts, or of heads: `groups` of heads have every matrix once per token. */
void rt_session_multiply_experts(rt_session *session, const rt_weight *weight,
                                 const rt_groups *groups, float *out);
void rt_session_multiply_heads(rt_session *session, const rt_weight *weight,
                               const rt_groups *groups, float *out, size_t stride);

/* scale applied to n rows; x itself where there is no such norm. */
const float *rt_session_norm(rt_session *session, const rt_norm_weights *scale, const float *x,
                             size_t n, float *out);

/* The blocks of a layer, from a normed input to session->buf.out. */
gguf_code rt_block_attention(rt_session *session, uint32_t layer, const float *in, gguf_error *err);
gguf_code rt_block_latent(rt_session *session, uint32_t layer, const float *in, gguf_error *err);
void rt_block_ffn(rt_session *session, uint32_t layer, const float *in);
void rt_block_experts(rt_session *session, uint32_t layer, const float *in);
/* activation(gate) * up of n rows, into gate; the result's place where there is no gate is up. */
float *rt_block_activate(rt_session *session, const rt_weight *gate_weight, float *gate, float *up,
                         size_t n, size_t n_cols);

/* Turn heads at x, head_dim apart, as the layer does. */
void rt_session_turn(rt_session *session, uint32_t layer, float *x, uint32_t n_head,
                     uint32_t head_dim);
/* Attention of the batch over the layer's cache, into session->buf.heads. */
void rt_session_attend(rt_session *session, uint32_t layer, const rt_kv_layer *kv, const float *q);

/* Compute session->batch, whose tokens are in buf.ids.
 *   n_out   rows of buf.out_rows whose logits go to `logits`, [n_out][hparams.n_out] */
gguf_code rt_forward(rt_session *session, size_t n_out, float *logits, gguf_error *err);

#endif
