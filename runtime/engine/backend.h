/* A backend: how the operations of a model are carried out. It owns two stretches of memory, which
 * only it can address: the arena, with the activations of a batch, and the cache, with keys, values
 * and states. Operations take offsets into them, in bytes, and constants of the model by pointer.
 * Activations are f32, [n_rows][n_cols] row-major, one row per token unless said otherwise.
 *
 * Operations are carried out in order. The host reads and writes the arena only by write, read and
 * look. What fails is kept, the first failure wins, and comes from sync; what was computed after it
 * is undefined. One thread at a time. cpu/ is the backend that every machine has. */
#ifndef RUNTIME_ENGINE_BACKEND_H
#define RUNTIME_ENGINE_BACKEND_H

#include "libgguf/pool.h"
#include "runtime/engine/device.h"
#include "runtime/engine/route.h"
#include "runtime/model/weights.h"
#include "runtime/runtime.h"

/* Bytes from the start of the arena. */
typedef uint64_t rt_off;
#define RT_NO_OFF UINT64_MAX /* an operand that is left out */

/* Tokens in a page of the KV cache. */
#define RT_KV_PAGE_TOKENS RT_PAGE_TOKENS

/* Layers whose tokens see all before them, and layers with a window, have pages of their own. */
typedef enum rt_kv_class { RT_KV_FULL, RT_KV_WINDOW, RT_N_KV_CLASSES } rt_kv_class;

/* Tokens of a tile: what one task of attention takes. */
#define RT_TILE_TOKENS 16

/* Neighbouring tokens of a batch that continue one sequence. Position p of the sequence is row
 * p % RT_KV_PAGE_TOKENS of page pages[class][p / RT_KV_PAGE_TOKENS]. */
typedef struct rt_tile {
    const uint32_t *pages[RT_N_KV_CLASSES]; /* in host memory */
    uint32_t row;                           /* of the batch */
    uint32_t n;                             /* at most RT_TILE_TOKENS */
    uint32_t pos;
    uint32_t n_seen;   /* positions that the last token sees: pos + n, or all of the sequence */
    uint32_t n_source; /* the first positions, of a text that an encoder read; 0: there is none */
} rt_tile;

/* Neighbouring tokens of a batch that continue one sequence, for layers with a state: the state in
 * slot `from` becomes, token by token, that in slot `to`. Runs of a sequence come in order. */
typedef struct rt_run {
    uint32_t seq, pos;
    uint32_t from, to; /* slots; from RT_NO_SLOT: a sequence begins, the state is zero */
    uint32_t row, n;   /* of the batch; n > 0 */
} rt_run;
#define RT_NO_SLOT UINT32_MAX

typedef struct rt_batch {
    const rt_tile *tiles;
    size_t n_tiles;
    const rt_run *runs;
    size_t n_runs;
    size_t n; /* tokens */
} rt_batch;

/* Where a layer's keys and values lie in the cache: page p starts at off + p * page_bytes, in it K
 * rows start at k_off and V rows at v_off. */
typedef struct rt_kv_layer {
    rt_kv_class kv_class;
    uint64_t off, page_bytes, k_off, v_off;
    uint32_t type;
    uint32_t n_cols_k, n_cols_v; /* of a token's row: all KV heads side by side; n_cols_v 0: a
                                    value is the first part of its key */
    uint64_t row_bytes_k, row_bytes_v;
    uint32_t n_block; /* tokens of a row, 0 or 1: each has its own. A block's row lies in the page
                         of its last token: of row i that is token (i + 1) * n_block - 1, and the
                         row is in its place there among those of the page */
} rt_kv_layer;

/* Where a layer's states lie in the cache: that of slot s at off + s * slot_bytes. */
typedef struct rt_state_layer {
    uint64_t off, slot_bytes;
} rt_state_layer;

/* The query heads share KV heads in groups of n_head / n_head_kv neighbours. */
typedef struct rt_attention {
    uint32_t n_head, n_head_kv, head_dim_k, head_dim_v;
    uint32_t n_window;  /* 0 = all; half of it on each side where attention is not causal */
    bool chunked;       /* a token sees those before it in its own stretch of n_window */
    bool of_source;     /* a token sees the first n_source positions, otherwise none of them */
    bool causal;        /* otherwise a token sees all n_seen positions, or its window */
    float scale, cap;   /* of the scores; cap * tanh(score / cap), 0 = none */
    const float *sinks; /* [n_head] scores of a key without a value, or NULL */
    rt_off selection;   /* [n][n_choices][n_words] u64: the keys that count, or RT_NO_OFF */
    uint32_t n_choices, n_words; /* one for all KV heads, or one for each */
    const rt_kv_layer *blocks;   /* further keys, in the same softmax: row i is seen from its last
                                    token on, and what is selected are these; or NULL */
    const float *slopes; /* [n_head] by which scores fall with the distance to a key, or NULL */
    const float *bias;   /* [n_head][2 * bias_reach + 1] what is added to scores by the position of
                            the key less that of the query, cut to +-bias_reach; or NULL. The last
                            RT_KV_PAGE_TOKENS numbers on each side are the same */
    uint32_t bias_reach;
} rt_attention;

/* An indexer scores the keys of a token's past, and the best blocks of them are attended to. With
 * weights all heads choose together, by sum over heads of weight * max(q k, 0); otherwise each for
 * itself, by q k. A block's score is its best key's. */
typedef struct rt_indexer {
    uint32_t n_head, head_dim;
    uint32_t n_best, n_block; /* blocks that are chosen; keys of a block */
    uint32_t n_local;         /* of these the last ones in any case, at most n_best */
    uint32_t n_expand; /* positions that a key stands for: all of them are chosen, and those behind
                          the last key in any case; 1: its own */
    uint32_t n_words;  /* of a choice: a bit for each position, in u64 */
    rt_off scores;     /* room for 2 * n_scores numbers for each thread */
    uint32_t n_scores;
} rt_indexer;

/* A causal convolution of every channel with weights of its own, then silu unless it is plain. A
 * state holds the last n_kernel - 1 inputs of every channel, the oldest first. */
typedef struct rt_conv {
    uint32_t n_channels, n_kernel;
    bool plain;
    const float *weight; /* [n_channels][n_kernel], the oldest input's first */
    const float *bias;   /* [n_channels], or NULL */
} rt_conv;

/* The scan of Mamba (arXiv 2312.00752): with dt = softplus(dt) a channel's state h [n_state]
 * becomes exp(dt a) h + dt u B, and y = h C + d u. */
typedef struct rt_mamba {
    uint32_t n_channels, n_state;
    const float *a, *d; /* [n_channels][n_state], [n_channels] */
} rt_mamba;

/* The scan of Mamba 2 (arXiv 2405.21060): with dt = softplus(dt + dt_bias) a head's state
 * S [head_dim][n_state] becomes exp(dt a) S + dt u B, and y = S C + d u. Neighbouring heads share
 * the B and C of a group. */
typedef struct rt_mamba2 {
    uint32_t n_head, head_dim, n_group, n_state;
    const float *a, *d, *dt_bias; /* [n_head] */
} rt_mamba2;

/* Blocks of n_block tokens become one row each: of every channel the mean of what the tokens have,
 * with the weights softmax(score + ape) over the block. With overlap a token has two numbers for
 * each channel: the first counts for the block behind its own, the second for its own. The state
 * holds, for each of these, the largest score of a channel so far, the sum of the weights that this
 * makes, and that of the numbers times their weights; how they lie is the backend's business. */
typedef struct rt_block_pool {
    uint32_t n_block, n_channels;
    bool overlaps;
    const float *ape; /* [n_block][n_channels, with overlap twice] */
} rt_block_pool;

/* Hyper-connections (arXiv 2409.19606), balanced (arXiv 2512.24880): what a block reads is a
 * mixture of n streams, and what it makes goes to all of them, which are mixed too. Of the numbers
 * f [n | n | n * n], times a scale of each part, plus base: read = sigmoid(f) + eps, put =
 * 2 sigmoid(f), mix = softmax of rows + eps, then columns and rows divided by their sums in turn,
 * n_steps times columns. With n_steps 0 there is only `read`. */
typedef struct rt_hyper {
    uint32_t n, n_steps;
    float eps;
    const float *scale, *base; /* [3], [n * (n + 2)]; without steps [1], [n] */
} rt_hyper;

/* Output rows, sorted by the matrix that makes them: rt_groups in the arena. */
typedef struct rt_grouping {
    uint32_t n_mats;
    rt_off first; /* [n_mats + 1] u32 */
    rt_off rows;  /* u32 */
    uint32_t n_share;
} rt_grouping;

/* The gated delta rule (arXiv 2412.06464): with q and k of length 1, q / sqrt(n_state),
 * decay = exp(a softplus(alpha + dt_bias)) and beta = sigmoid(beta) a head's state
 * S [n_state values][n_state] becomes decay S, then S + beta (v - S k) k, and y = S q. */
typedef struct rt_gated_delta {
    uint32_t n_head, n_head_k, n_state; /* value heads; key heads, which they share */
    bool tiled; /* value head j has key head j % n_head_k, and rows of `ba` are all betas, then all
                   alphas; otherwise j / (n_head / n_head_k), and those of each key head */
    const float *a, *dt_bias; /* [n_head] */
} rt_gated_delta;

/* The same with a decay of each key channel: row i of S is scaled by exp(g[i]), where
 * g = a softplus(f + dt_bias), or with a bound bound * sigmoid(a (f + dt_bias)). */
typedef struct rt_kda {
    uint32_t n_head, n_state;
    float bound;              /* 0: none */
    const float *a, *dt_bias; /* [n_head], [n_head][n_state] */
} rt_kda;

/* xIELU (arXiv 2411.13010): p x^2 + beta x for x > 0, else n (e^min(x, eps) - 1 - x) + beta x. */
typedef struct rt_xielu {
    float p, n, beta, eps;
} rt_xielu;

typedef struct rt_backend rt_backend;

typedef struct rt_backend_ops {
    void (*free)(rt_backend *backend);

    /* ---- the host and the arena ---- */
    void (*write)(rt_backend *backend, const void *src, uint64_t n_bytes, rt_off dst);
    void (*read)(rt_backend *backend, rt_off src, uint64_t n_bytes, void *dst);
    /* The bytes at src: in `room`, which has n_bytes, or where they lie if the host can see them.
     * Valid until the next operation. */
    const void *(*look)(rt_backend *backend, rt_off src, uint64_t n_bytes, void *room);
    /* What a product or a lookup since the last call found not to be finite in its weight's own
     * numbers: the first such block, where the file has it; NULL: nothing. */
    const uint8_t *(*take_fault)(rt_backend *backend);
    /* Wait until all is done. Returns the first failure since the last call, and forgets it. */
    gguf_code (*sync)(rt_backend *backend, gguf_error *err);

    /* ---- rows ---- */
    /* out[t] = row ids[t] of the table.
     *   ids  [n] in host memory */
    void (*embed)(rt_backend *backend, const rt_weight *table, const int32_t *ids, size_t n,
                  rt_off out);
    /* out[i] = x[rows[i]]
     *   rows  [n] in host memory */
    void (*gather)(rt_backend *backend, rt_off x, const uint32_t *rows, size_t n, size_t n_cols,
                   rt_off out);
    /* Copy n_cols of every row; strides in elements. */
    void (*copy)(rt_backend *backend, rt_off x, size_t x_stride, size_t n, size_t n_cols,
                 rt_off out, size_t out_stride);
    /* RMS: out = x / sqrt(mean(x^2) + eps) * weight (+ bias). Layer norm: the same of x - mean(x).
     * Rows of norm->n_cols, `stride` apart in x and in out, which may be x. */
    void (*norm)(rt_backend *backend, rt_norm kind, const rt_norm_weights *norm, float eps,
                 rt_off x, size_t n, size_t stride, rt_off out);
    /* Turn the n_rot first dimensions of every head of x[t] by the angles of the table's row t;
     * heads are head_dim apart.
     *   table  [n][n_rot / 2][2] cosine and sine */
    void (*rope)(rt_backend *backend, rt_rope kind, rt_off table, uint32_t n_rot, rt_off x,
                 size_t n, uint32_t n_head, uint32_t head_dim);
    /* gate = activation(gate) * up; up RT_NO_OFF: activation(gate) */
    void (*activate)(rt_backend *backend, rt_activation activation, rt_off gate, rt_off up,
                     size_t n, size_t n_cols);
    void (*xielu)(rt_backend *backend, const rt_xielu *xielu, rt_off x, size_t n, size_t n_cols);
    /* x[t] += factor * y[t], or with gates x[t] += factor / (1 + exp(-gates[t])) * y[t] */
    void (*add)(rt_backend *backend, rt_off x, rt_off y, float factor, rt_off gates, size_t n,
                size_t n_cols);
    /* out[t] = sum over j < k of weights[t][j] * x[t * k + j] */
    void (*combine)(rt_backend *backend, rt_off x, rt_off weights, uint32_t k, size_t n,
                    size_t n_cols, rt_off out);
    /* x *= factor, then cap * tanh(x / cap) if cap is not 0, then to [-limit, limit] if limit is
     * not 0 */
    void (*scale_softcap)(rt_backend *backend, rt_off x, float factor, float cap, float limit,
                          size_t n, size_t n_cols);

    /* x to [low, high], which may be infinite */
    void (*clamp)(rt_backend *backend, rt_off x, float low, float high, size_t n, size_t n_cols);
    /* out[i][t] = sum over j < n_in of weights[t][i][j] * x[j][t]; streams x_stride and out_stride
     * elements apart.
     *   weights  [n][n_out][n_in] */
    void (*mix)(rt_backend *backend, rt_off x, uint64_t x_stride, uint32_t n_in, rt_off weights,
                uint32_t n_out, size_t n, size_t n_cols, rt_off out, uint64_t out_stride);
    /* Coefficients of hyper-connections.
     *   f      [n][hyper->n * (hyper->n + 2)]; without steps [n][hyper->n]
     *   read   [n][hyper->n]
     *   write  [n][hyper->n][1 + hyper->n]: of each stream to be, its part of what the block makes
     *          and of all streams */
    void (*hyper)(rt_backend *backend, const rt_hyper *hyper, rt_off f, size_t n, rt_off read,
                  rt_off write);
    /* Scale x[t] to the root mean square of y[t]; the mean square of x[t] counts as 1e-5 at least.
     */
    void (*match_rows)(rt_backend *backend, rt_off x, rt_off y, size_t n, size_t n_cols);
    /* x[t] = max(x[t] - mean(x[t]) - factor * deviation(x[t]), 0) */
    void (*cut_rows)(rt_backend *backend, rt_off x, float factor, size_t n, size_t n_cols);
    /* x[t] *= factors[t] */
    void (*scale_rows)(rt_backend *backend, rt_off x, rt_off factors, size_t n, size_t n_cols);

    /* ---- products ---- */
    /* The factor of the products that follow; it must not change until the next set_input. */
    void (*set_input)(rt_backend *backend, rt_off x, size_t n, size_t n_cols);
    /* out[t] = weight * input[t] + bias */
    void (*matmul)(rt_backend *backend, const rt_weight *weight, rt_off out);
    /* With a stack of matrices, one per head: the input has a row for each head of each token.
     * out[t * n_mats + h] = weight[h] * input[t * n_mats + h] + bias, rows `stride` apart */
    void (*matmul_heads)(rt_backend *backend, const rt_weight *weight, rt_off out, size_t stride);
    /* With a stack of matrices, one of them for each row: see rt_groups. */
    void (*matmul_groups)(rt_backend *backend, const rt_weight *weight, const rt_grouping *grouping,
                          rt_off out);

    /* ---- experts ---- */
    /* Choose rule->n_used experts for every row of logits, which are overwritten: see rt_route.
     *   experts  [n][n_used] u32, given where rule->chosen; weights  [n][n_used] */
    void (*route)(rt_backend *backend, const rt_route_rule *rule, rt_off logits, size_t n,
                  rt_off experts, rt_off weights);
    /* Sort n rows by their matrices: see rt_groups_sort.
     *   mats  [n] u32; grouping->first and grouping->rows are filled */
    void (*group)(rt_backend *backend, rt_off mats, size_t n, const rt_grouping *grouping);

    /* ---- the cache ---- */
    /* Copy bytes of the cache to another place in it. */
    void (*copy_cache)(rt_backend *backend, uint64_t from, uint64_t to, uint64_t n_bytes);
    /* The cache's bytes at off, where the host can read and write them between batches; NULL: it
     * cannot. */
    uint8_t *(*cached)(rt_backend *backend, uint64_t off);
    /* Store K and V rows of the batch; v RT_NO_OFF: only K, of which a value may be the first part.
     * Fails with GGUF_E_NONFINITE. */
    void (*kv_store)(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k,
                     rt_off v);
    /* Load the K rows of the batch. */
    void (*kv_load)(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k);
    /* out[t] = softmax(scale * q[t] K) V over the positions that token t sees. */
    void (*attention)(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const rt_batch *batch, rt_off q, rt_off out);
    /* Choose keys for every token of the batch: a bit for each position.
     *   q          [n][n_head][head_dim]
     *   weights    [n][n_head], or RT_NO_OFF
     *   selection  [n][1, or n_head without weights][n_words] u64 */
    void (*select)(rt_backend *backend, const rt_indexer *indexer, const rt_kv_layer *kv,
                   const rt_batch *batch, rt_off q, rt_off weights, rt_off selection);
    /* Convolve channels in place: row t of x is x_stride elements after row t - 1. The layer's
     * states move as the batch's runs say.
     *   before, after  gates that an input and a result are multiplied with, in rows as those of x,
     *                  or RT_NO_OFF */
    void (*conv)(rt_backend *backend, const rt_conv *conv, const rt_state_layer *state,
                 const rt_batch *batch, rt_off x, size_t x_stride, rt_off before, rt_off after);
    /* Scan: u [n_channels] in rows of x, B and C [n_state] side by side in rows of bc.
     *   dt, y  [n][n_channels] */
    void (*mamba)(rt_backend *backend, const rt_mamba *mamba, const rt_state_layer *state,
                  const rt_batch *batch, rt_off x, size_t x_stride, rt_off bc, size_t bc_stride,
                  rt_off dt, rt_off y);
    /* Scan: u [n_head][head_dim], B and C [n_group][n_state] side by side in a row of x, the heads'
     * dt in a row of dt.
     *   y  [n][n_head * head_dim] */
    void (*mamba2)(rt_backend *backend, const rt_mamba2 *mamba2, const rt_state_layer *state,
                   const rt_batch *batch, rt_off x, size_t x_stride, rt_off dt, size_t dt_stride,
                   rt_off y);
    /* x  [n] rows: q [n_head_k][n_state], k the same, v [n_head][n_state], x_stride apart
     * ba [n][2 * n_head]
     * y  [n][n_head * n_state] */
    void (*gated_delta)(rt_backend *backend, const rt_gated_delta *delta,
                        const rt_state_layer *state, const rt_batch *batch, rt_off x,
                        size_t x_stride, rt_off ba, rt_off y);
    /* Pool blocks of tokens: a row for every block that ends in the batch, run by run.
     *   values, scores  [n][n_channels, with overlap twice]
     *   out             [blocks][n_channels] */
    void (*pool_blocks)(rt_backend *backend, const rt_block_pool *pool, const rt_state_layer *state,
                        const rt_batch *batch, rt_off values, rt_off scores, rt_off out);
    /* q, k, v, f and y  [n][n_head][n_state]; beta [n][n_head], before its sigmoid */
    void (*kda)(rt_backend *backend, const rt_kda *kda, const rt_state_layer *state,
                const rt_batch *batch, rt_off q, rt_off k, rt_off v, rt_off f, rt_off beta,
                rt_off y);
} rt_backend_ops;

struct rt_backend {
    const rt_backend_ops *ops;
    gguf_error failure; /* the first since the last sync */
    rt_device_use use;  /* of a device; zeroed by the CPU */
};

/* What operations take by pointer: a stretch of host memory that stays as it is. */
typedef struct rt_constant {
    const void *data;
    uint64_t n_bytes;
} rt_constant;

/* What a backend is made for. */
typedef struct rt_backend_setup {
    const rt_hparams *hparams;
    uint32_t n_batch;
    uint64_t arena_bytes, cache_bytes; /* multiples of 64 */
    rt_precision precision;
    gguf_pool *pool; /* outlives the backend */
    /* Of a device: its name (see rt_session_opts), and all constants that it will be given, in the
     * order of their addresses, apart from one another. */
    const char *device;
    const rt_constant *constants;
    size_t n_constants;
} rt_backend_setup;

typedef struct rt_backend_type {
    const char *name;
    /* Memory that a backend takes beside arena and cache. */
    uint64_t (*work_bytes)(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads,
                           rt_precision precision);
    /* Errors: GGUF_E_NOMEM; of a device also GGUF_E_UNSUPPORTED, GGUF_E_USAGE, GGUF_E_LIMIT. */
    gguf_code (*open)(const rt_backend_setup *setup, rt_backend **out, gguf_error *err);
    /* What a constant of n_bytes takes; NULL: nothing, the backend uses it where it lies. */
    uint64_t (*constant_bytes)(uint64_t n_bytes);
} rt_backend_type;

extern const rt_backend_type rt_backend_cpu;

/* The backend of a name ("cpu"); NULL if there is none. */
const rt_backend_type *rt_backend_find(const char *name);

#endif
