/* A backend: how the operations of a model are carried out. cpu/ is the one that every machine has.
 * All activations are f32, [n_rows][n_cols] row-major, one row per token. */
#ifndef RUNTIME_BACKEND_H
#define RUNTIME_BACKEND_H

#include "libgguf/pool.h"
#include "runtime/runtime.h"

/* A matrix in the file's mapping, [n_rows][n_cols] of `type`, and the bias of its products. */
typedef struct rt_weight {
    gguf_str name;     /* in the mapping */
    const void *data;  /* NULL: the model has no such matrix */
    const float *bias; /* [n_rows], or NULL */
    uint32_t type;
    uint32_t n_rows, n_cols;
    uint64_t row_bytes;
} rt_weight;

/* Tokens in a page of the KV cache. */
#define RT_KV_PAGE_TOKENS 64

/* Where a layer's keys and values lie. Position p is row p % RT_KV_PAGE_TOKENS of page
 * pages[p / RT_KV_PAGE_TOKENS]; within a page, K rows start at k_off and V rows at v_off. */
typedef struct rt_kv_layer {
    uint8_t *base;
    const uint32_t *pages;
    uint64_t page_bytes, k_off, v_off;
    uint32_t type;
    uint32_t n_cols_k, n_cols_v; /* of a token's row: all KV heads side by side */
    uint64_t row_bytes_k, row_bytes_v;
} rt_kv_layer;

/* The query heads share KV heads in groups of n_head / n_head_kv neighbours. */
typedef struct rt_attention {
    uint32_t n_head, n_head_kv, head_dim_k, head_dim_v;
    uint32_t n_window; /* 0 = all */
    float scale;       /* of the scores */
} rt_attention;

typedef struct rt_backend rt_backend;

typedef struct rt_backend_ops {
    const char *name;
    void (*free)(rt_backend *backend);

    /* out[t] = row tokens[t] of the table. */
    void (*embed)(rt_backend *backend, const rt_weight *table, const int32_t *tokens, size_t n,
                  float *out);
    /* out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight */
    void (*norm_rms)(rt_backend *backend, const float *x, const float *weight, float eps, size_t n,
                     size_t n_cols, float *out);
    /* The factor of the products that follow; it must not change until the next set_input. */
    void (*set_input)(rt_backend *backend, const float *x, size_t n, size_t n_cols);
    /* out[t] = weight * input[t] + bias */
    void (*matmul)(rt_backend *backend, const rt_weight *weight, float *out);
    /* Turn the n_rot first dimensions of every head of x[t] by the angles of position pos + t.
     *   table  [n][n_rot / 2][2] cosine and sine */
    void (*rope)(rt_backend *backend, rt_rope kind, const float *table, uint32_t n_rot, float *x,
                 size_t n, uint32_t n_head, uint32_t head_dim);
    /* Store K and V rows of positions pos .. pos + n. Errors: GGUF_E_NONFINITE. */
    gguf_code (*kv_store)(rt_backend *backend, const rt_kv_layer *kv, const float *k,
                          const float *v, uint32_t pos, size_t n, gguf_error *err);
    /* out[t] = softmax(scale * q[t] K) V over the positions that pos + t sees. */
    void (*attention)(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const float *q, uint32_t pos, size_t n, float *out);
    /* gate = activation(gate) * up */
    void (*gated)(rt_backend *backend, rt_activation activation, float *gate, const float *up,
                  size_t n, size_t n_cols);
    /* x += y */
    void (*add)(rt_backend *backend, float *x, const float *y, size_t n, size_t n_cols);
} rt_backend_ops;

struct rt_backend {
    const rt_backend_ops *ops;
};

/* Bytes of working memory that a backend needs, carved from the session's compute arena. */
uint64_t rt_cpu_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads);

/* The CPU backend. `work` is rt_cpu_work_bytes bytes, 64-aligned; pool and work must outlive it.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_cpu_new(const rt_hparams *hp, uint32_t n_batch, bool exact, gguf_pool *pool,
                     void *work, rt_backend **out, gguf_error *err);

#endif
