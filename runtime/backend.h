/* A backend: how the operations of a model are carried out. cpu/ is the one that every machine has.
 * All activations are f32, [n_rows][n_cols] row-major, one row per token. */
#ifndef RUNTIME_BACKEND_H
#define RUNTIME_BACKEND_H

#include "libgguf/pool.h"
#include "runtime/route.h"
#include "runtime/runtime.h"

/* A stack of matrices in the file's mapping, [n_mats][n_rows][n_cols] of `type`, and the bias of
 * their products. Most weights are one matrix. */
typedef struct rt_weight {
    gguf_str name;           /* in the mapping; empty for a further part of a fused tensor */
    const void *data;        /* NULL: the model has no such matrix */
    const uint8_t *repacked; /* the same as quant_repack lays it, or NULL */
    const float *bias;       /* [n_mats][n_rows], matrices bias_stride apart; or NULL */
    atomic_uchar *passed;    /* [n_mats] found finite, see weights_check.h; NULL: never looked at */
    uint32_t type;
    uint32_t n_mats, n_rows, n_cols;
    uint64_t row_bytes, mat_bytes;
    uint32_t bias_stride;
} rt_weight;

/* A norm's factors and, where it has one, its bias. Row r of the input takes row r % n_rows. */
typedef struct rt_scale {
    const float *weight, *bias; /* [n_rows][n_cols]; bias may be NULL */
    uint32_t n_rows, n_cols;    /* n_cols 0: the model has no such norm */
} rt_scale;

/* Tokens in a page of the KV cache. */
#define RT_KV_PAGE_TOKENS RT_PAGE_TOKENS

/* Layers whose tokens see all before them, and layers with a window, have pages of their own. */
typedef enum rt_kv_class { RT_KV_FULL, RT_KV_WINDOW, RT_N_KV_CLASSES } rt_kv_class;

/* Tokens of a chunk: what one task of attention takes. */
#define RT_CHUNK_TOKENS 16

/* Neighbouring tokens of a batch that continue one sequence. Position p of the sequence is row
 * p % RT_KV_PAGE_TOKENS of page pages[class][p / RT_KV_PAGE_TOKENS]. */
typedef struct rt_chunk {
    const uint32_t *pages[RT_N_KV_CLASSES];
    uint32_t row; /* of the batch */
    uint32_t n;   /* at most RT_CHUNK_TOKENS */
    uint32_t pos;
    uint32_t n_seen; /* positions that the last token sees: pos + n, or all of the sequence */
} rt_chunk;

typedef struct rt_batch {
    const rt_chunk *chunks;
    size_t n_chunks;
    size_t n; /* tokens */
} rt_batch;

/* Where a layer's keys and values lie: within a page, K rows start at k_off and V rows at v_off. */
typedef struct rt_kv_layer {
    uint8_t *base;
    rt_kv_class kv_class;
    uint64_t page_bytes, k_off, v_off;
    uint32_t type;
    uint32_t n_cols_k, n_cols_v; /* of a token's row: all KV heads side by side; n_cols_v 0: a
                                    value is the first part of its key */
    uint64_t row_bytes_k, row_bytes_v;
} rt_kv_layer;

/* The query heads share KV heads in groups of n_head / n_head_kv neighbours. */
typedef struct rt_attention {
    uint32_t n_head, n_head_kv, head_dim_k, head_dim_v;
    uint32_t n_window;  /* 0 = all */
    bool causal;        /* otherwise a token sees all n_seen positions */
    float scale, cap;   /* of the scores; cap * tanh(score / cap), 0 = none */
    const float *sinks; /* [n_head] scores of a key without a value, or NULL */
} rt_attention;

typedef struct rt_backend rt_backend;

typedef struct rt_backend_ops {
    const char *name;
    void (*free)(rt_backend *backend);

    /* out[t] = row ids[t] of the table. */
    void (*embed)(rt_backend *backend, const rt_weight *table, const int32_t *ids, size_t n,
                  float *out);
    /* RMS: out = x / sqrt(mean(x^2) + eps) * weight (+ bias). Layer norm: the same of x - mean(x).
     * Rows of scale->n_cols, `stride` apart in x and in out, which may be x. */
    void (*norm)(rt_backend *backend, rt_norm kind, const rt_scale *scale, float eps,
                 const float *x, size_t n, size_t stride, float *out);
    /* The factor of the products that follow; it must not change until the next set_input. */
    void (*set_input)(rt_backend *backend, const float *x, size_t n, size_t n_cols);
    /* out[t] = weight * input[t] + bias */
    void (*matmul)(rt_backend *backend, const rt_weight *weight, float *out);
    /* The same with a stack of matrices, one of them for each row: see rt_groups.
     *   out  rows `stride` apart */
    void (*matmul_groups)(rt_backend *backend, const rt_weight *weight, const rt_groups *groups,
                          float *out, size_t stride);
    /* What a product or a lookup since the last call found not to be finite in its weight's own
     * numbers: the first such block; NULL: nothing. */
    const uint8_t *(*take_fault)(rt_backend *backend);
    /* Turn the n_rot first dimensions of every head of x[t] by the angles of the table's row t;
     * heads are head_dim apart.
     *   table  [n][n_rot / 2][2] cosine and sine */
    void (*rope)(rt_backend *backend, rt_rope kind, const float *table, uint32_t n_rot, float *x,
                 size_t n, uint32_t n_head, uint32_t head_dim);
    /* Store K and V rows of the batch; v NULL: only K, of which a value may be the first part.
     * Errors: GGUF_E_NONFINITE. */
    gguf_code (*kv_store)(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch,
                          const float *k, const float *v, gguf_error *err);
    /* Load the K rows of the batch. */
    void (*kv_load)(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, float *k);
    /* out[t] = softmax(scale * q[t] K) V over the positions that token t sees. */
    void (*attention)(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const rt_batch *batch, const float *q, float *out);
    /* gate = activation(gate) * up; up NULL: activation(gate) */
    void (*activate)(rt_backend *backend, rt_activation activation, float *gate, const float *up,
                     size_t n, size_t n_cols);
    /* x[t] += factor * y[t], or with gates x[t] += factor / (1 + exp(-gates[t])) * y[t] */
    void (*add)(rt_backend *backend, float *x, const float *y, float factor, const float *gates,
                size_t n, size_t n_cols);
    /* out[t] = sum over j < k of weights[t][j] * x[t * k + j] */
    void (*combine)(rt_backend *backend, const float *x, const float *weights, uint32_t k, size_t n,
                    size_t n_cols, float *out);
    /* x *= factor, then cap * tanh(x / cap) if cap is not 0, then to [-limit, limit] if limit is
     * not 0 */
    void (*shape)(rt_backend *backend, float *x, float factor, float cap, float limit, size_t n,
                  size_t n_cols);
    /* Copy n_cols of every row. */
    void (*copy)(rt_backend *backend, const float *x, size_t x_stride, size_t n, size_t n_cols,
                 float *out, size_t out_stride);
    /* Choose rule->n_used experts for every row of logits, which are overwritten: see rt_route. */
    void (*route)(rt_backend *backend, const rt_route_rule *rule, float *logits, size_t n,
                  uint32_t *experts, float *weights);
} rt_backend_ops;

struct rt_backend {
    const rt_backend_ops *ops;
};

/* Bytes of working memory that a backend needs, carved from the session's compute arena. */
uint64_t rt_cpu_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads);

/* The CPU backend. `work` is rt_cpu_work_bytes bytes, 64-aligned; pool and work must outlive it.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_cpu_new(const rt_hparams *hp, uint32_t n_batch, rt_precision precision,
                     gguf_pool *pool, void *work, rt_backend **out, gguf_error *err);

#endif
