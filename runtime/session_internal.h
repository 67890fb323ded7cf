/* A session and the layout of its memory. */
#ifndef RUNTIME_SESSION_INTERNAL_H
#define RUNTIME_SESSION_INTERNAL_H

#include "runtime/model_internal.h"

/* Where everything lies in the two arenas of a session: offsets and sizes in bytes. */
typedef struct rt_layout {
    uint32_t n_ctx, n_batch;
    unsigned n_threads;
    uint32_t n_pages;
    uint64_t row_bytes_k, row_bytes_v; /* of one token in one layer */
    uint64_t page_bytes;               /* all layers */
    uint64_t kv_bytes;
    uint64_t x, h, q, k, v, heads, gate, up, rope, pages, work; /* in the compute arena */
    uint64_t compute_bytes;
} rt_layout;

/* Check the options, fill in their defaults and lay out the arenas.
 * Errors: GGUF_E_USAGE, GGUF_E_SHAPE, GGUF_E_LIMIT. */
gguf_code rt_layout_make(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                         gguf_error *err);

/* Activations of a batch, in the compute arena; [n_batch] rows each. */
typedef struct rt_buffers {
    float *x;         /* [n_embd] the residual stream */
    float *h;         /* [n_embd] a normed input, or what a block adds to the stream */
    float *q, *k, *v; /* all heads side by side */
    float *heads;     /* [n_head * head_dim_v] attention's result */
    float *gate, *up; /* [n_ff]; share their place with q to heads */
    float *rope;      /* [n_rot / 2][2] */
} rt_buffers;

struct rt_session {
    const rt_model *model;
    rt_session_opts opts;
    rt_layout layout;
    uint8_t *kv, *compute;
    rt_buffers buf;
    uint32_t *pages; /* [n_pages] of this sequence, in order of position */
    gguf_pool *pool;
    rt_backend *backend;
    uint32_t n_past;
    const float *input; /* of the products that follow */
    size_t n_inputs;
    rt_hook_fn hook;
    void *hook_ctx;
};

/* Whether n tokens are in the vocabulary and fit. Errors: as rt_session_eval. */
gguf_code rt_session_check_tokens(const rt_session *session, const int32_t *tokens, size_t n,
                                  gguf_error *err);

/* The layer's part of the KV cache. */
rt_kv_layer rt_session_kv(const rt_session *session, uint32_t layer);

/* Set the rows that the next products multiply, and multiply; calls the hook. */
void rt_session_input(rt_session *session, const float *x, size_t n, size_t n_cols);
void rt_session_multiply(rt_session *session, const rt_weight *weight, float *out);

/* The blocks of a layer: h holds the normed input, and then what is added to the stream. */
gguf_code rt_block_attention(rt_session *session, uint32_t layer, size_t n, gguf_error *err);
void rt_block_ffn(rt_session *session, uint32_t layer, size_t n);

/* Compute n <= n_batch tokens at n_past. logits as rt_session_eval. */
gguf_code rt_forward(rt_session *session, const int32_t *tokens, size_t n, rt_logits which,
                     float *logits, gguf_error *err);

#endif
