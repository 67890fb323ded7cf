/* Inner loops of the CPU backend. They are written once, in kernels_impl.h, with vectors of the
 * compiler, and compiled per instruction set: every variant gives the same bits. */
#ifndef RUNTIME_ENGINE_CPU_CPU_KERNELS_H
#define RUNTIME_ENGINE_CPU_CPU_KERNELS_H

#include "runtime/engine/backend.h"

#define RT_STRIP   16 /* keys, or columns of values, that lie side by side */
#define RT_QUERIES 4  /* query heads that attend takes at once */

/* What attend keeps of one query head between pages; start with {-INFINITY, 0}. */
typedef struct rt_softmax {
    float max; /* of the scores so far */
    float sum; /* of exp(score - max) */
} rt_softmax;

/* One page of keys and values of one KV head, in f32. Lanes of a strip are independent sums, so
 * nothing is added across them and their width does not matter. */
typedef struct rt_kv_page {
    const float *k;    /* [RT_KV_PAGE_TOKENS / RT_STRIP][n_k][RT_STRIP]: a key per lane */
    const float *v;    /* [n_v / RT_STRIP][RT_KV_PAGE_TOKENS][RT_STRIP]: a column per lane */
    uint32_t n_k, n_v; /* n_v a multiple of RT_STRIP */
    float scale, cap;  /* cap 0 = none */
} rt_kv_page;

/* Query heads of one KV head, each with the rows of the page that it sees: none if end <= first.
 * Rows that only a neighbour sees count nothing. */
typedef struct rt_queries {
    const float *q;    /* [n][n_k] */
    rt_softmax *state; /* [n] */
    float *acc;        /* [n][n_v] */
    uint32_t n;        /* at most RT_QUERIES */
    uint32_t first[RT_QUERIES], end[RT_QUERIES];
    uint64_t seen[RT_QUERIES];     /* a bit for each row: whether the query sees it */
    float slope[RT_QUERIES];       /* added per position; 0 = none */
    const float *bias[RT_QUERIES]; /* [RT_KV_PAGE_TOKENS] added to the rows' scores, or NULL */
    float before[RT_QUERIES];      /* position of the page's row 0 less the query's */
} rt_queries;

#define RT_MAX_TAPS 64 /* of a convolution */

/* Tokens of a run through a convolution, rows stride apart; gates may be NULL. */
typedef struct rt_conv_rows {
    float *x;
    const float *before, *after;
    size_t stride, n;
} rt_conv_rows;

/* Tokens of one head of a recurrent layer, as far as all rows of its state share them. */
typedef struct rt_scan {
    const float *b, *c;      /* [n_tokens][n_state], x_stride apart */
    const float *dt, *decay; /* [n_tokens] */
    float d;
    size_t n_tokens, x_stride, y_stride;
    uint32_t n_state;
} rt_scan;

/* Some channels of a Mamba layer, of which each has a state of its own. */
typedef struct rt_channel_scan {
    const float *a, *d;     /* [n_channels][n_state], [n_channels] */
    const float *u, *b, *c; /* [n_tokens] rows, strides apart */
    const float *dt;        /* before softplus; y has the same stride */
    size_t u_stride, bc_stride, dt_stride, n_tokens;
    uint32_t n_channels, n_state; /* n_channels at most RT_SCAN_CHANNELS */
} rt_channel_scan;
#define RT_SCAN_CHANNELS 32

/* The same for the gated delta rule. */
typedef struct rt_delta_scan {
    const float *q, *k;        /* [n_tokens][n_state], normed */
    const float *decay, *beta; /* [n_tokens]; with a decay of each channel [n_tokens][n_state] */
    size_t n_tokens, v_stride, y_stride;
    uint32_t n_state;
} rt_delta_scan;

typedef struct rt_cpu_kernels {
    /* out = x / sqrt(mean(x^2) + eps) * weight; out may be x */
    void (*norm_rms)(const float *x, const float *weight, float eps, size_t n, float *out);
    /* out = (x - mean(x)) / sqrt(variance(x) + eps) * weight; out may be x */
    void (*norm_layer)(const float *x, const float *weight, float eps, size_t n, float *out);
    /* x += factor * y */
    void (*add)(float *x, const float *y, float factor, size_t n);
    /* gate = activation(gate) * up; up NULL: activation(gate) */
    void (*activate)(rt_activation activation, float *gate, const float *up, size_t n);
    /* x = x to [low, high] */
    void (*clamp)(float *x, float low, float high, size_t n);
    /* out = sum over j < n_in of weights[j] * x[j]; x are x_stride apart */
    void (*mix)(const float *x, size_t x_stride, const float *weights, uint32_t n_in, size_t n,
                float *out);
    /* mean(x^2) */
    float (*mean_square)(const float *x, size_t n);
    /* x = max(x - mean(x) - factor * deviation(x), 0) */
    void (*cut)(float *x, float factor, size_t n);
    /* x *= factor */
    void (*scale)(float *x, float factor, size_t n);
    void (*xielu)(const rt_xielu *xielu, float *x, size_t n);
    /* x = cap * tanh(x / cap) */
    void (*soft_cap)(float *x, float cap, size_t n);
    /* Channels first .. first + n of a causal convolution, in place.
     *   state  [n_kernel - 1][n_channels], moved on */
    void (*conv)(const rt_conv *conv, uint32_t first, uint32_t n, float *state,
                 const rt_conv_rows *rows);
    /* Rows of a head's state: state = decay state + dt u B, y = state C + d u.
     *   state  [n_rows][n_state], moved on
     *   u      [n_tokens][n_rows], x_stride apart; y the same, y_stride apart */
    void (*scan)(const rt_scan *scan, float *state, const float *u, uint32_t n_rows, float *y);
    /* state = exp(dt a) state + dt u B, y = state C + d u, of every channel with its own dt.
     *   state  [n_channels][n_state], moved on */
    void (*scan_channels)(const rt_channel_scan *scan, float *state, float *y);
    /* Rows of a head's state, one per value: state *= decay; state += beta (v - state k) k;
     * y = state q.
     *   state  [n_rows][n_state], moved on
     *   v      [n_tokens][n_rows], v_stride apart; y the same, y_stride apart */
    void (*delta)(const rt_delta_scan *scan, float *state, const float *v, uint32_t n_rows,
                  float *y);
    /* The same with a decay of each channel. */
    void (*channel_delta)(const rt_delta_scan *scan, float *state, const float *v, uint32_t n_rows,
                          float *y);
    /* out = exp(a softplus(f + bias)), or with a bound exp(bound sigmoid(a (f + bias))) */
    void (*channel_decay)(const float *f, const float *bias, float a, float bound, size_t n,
                          float *out);
    /* out = x / sqrt(sum of x^2 + 1e-6) * factor */
    void (*norm_l2)(const float *x, float factor, size_t n, float *out);
    /* One more number of every channel of a block, with the score that weighs it.
     *   state  [3][n]: the largest score, the sum of weights, that of weighted numbers; zeros at
     *          first. Moved on. */
    void (*pool)(const float *values, const float *scores, const float *ape, size_t n,
                 float *state);
    /* out = half-precision values, all finite */
    void (*load_f16)(const void *src, size_t n, float *out);
    /* out[r] = sum over n heads of weight * max(q key[r], 0); without weights q key[r] of one.
     *   q  [n][dim]; weights  [n], or NULL; keys  [n_rows][dim] */
    void (*index_scores)(const float *q, const float *weights, uint32_t n, uint32_t dim,
                         const float *keys, uint32_t n_rows, float *out);
    /* out [n][RT_STRIP] = the transpose of rows [RT_STRIP][n], n a multiple of 8 */
    void (*transpose)(const float *rows, uint32_t n, float *out);
    /* Online softmax: bring state and acc of the queries forward by one page. */
    void (*attend)(const rt_kv_page *page, const rt_queries *queries);
    /* The largest finite number; -INFINITY without one. */
    float (*max_finite)(const float *x, size_t n);
    /* out = exp((x - max) * scale), 0 where x is not finite; max the largest of x, scale > 0 */
    void (*weights_of)(const float *x, float max, float scale, size_t n, float *out);
} rt_cpu_kernels;

extern const rt_cpu_kernels rt_cpu_kernels_generic;
extern const rt_cpu_kernels rt_cpu_kernels_avx2;   /* x86 only, */
extern const rt_cpu_kernels rt_cpu_kernels_avx512; /* as this */

/* The variant for this processor, as quant_isa_name chose it. */
const rt_cpu_kernels *rt_cpu_kernels_get(void);

#endif
