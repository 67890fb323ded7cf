/* Inner loops of the CPU backend. They are written once, in kernels_impl.h, with vectors of eight
 * lanes, and compiled per instruction set: every variant gives the same bits. */
#ifndef RUNTIME_CPU_KERNELS_H
#define RUNTIME_CPU_KERNELS_H

#include "runtime/backend.h"

#define RT_LANES 8 /* rows that attend reads are padded with zeros to a multiple of this */

/* What attend keeps of one query head between pages; start with {-INFINITY, 0}. */
typedef struct rt_softmax {
    float max; /* of the scores so far */
    float sum; /* of exp(score - max) */
} rt_softmax;

/* One page of keys and values of one KV head, in f32. */
typedef struct rt_kv_page {
    const float *k, *v;  /* [RT_KV_PAGE_TOKENS][n_k], [RT_KV_PAGE_TOKENS][n_v] */
    uint32_t n_k, n_v;   /* multiples of RT_LANES */
    uint32_t first, end; /* visible rows */
    float scale, cap;    /* cap 0 = none */
} rt_kv_page;

typedef struct rt_cpu_kernels {
    /* out = x / sqrt(mean(x^2) + eps) * weight; out may be x */
    void (*norm_rms)(const float *x, const float *weight, float eps, size_t n, float *out);
    /* out = (x - mean(x)) / sqrt(variance(x) + eps) * weight; out may be x */
    void (*norm_layer)(const float *x, const float *weight, float eps, size_t n, float *out);
    /* x += factor * y */
    void (*add)(float *x, const float *y, float factor, size_t n);
    /* gate = activation(gate) * up; up NULL: activation(gate) */
    void (*activate)(rt_activation activation, float *gate, const float *up, size_t n);
    /* x = cap * tanh(x / cap) */
    void (*soft_cap)(float *x, float cap, size_t n);
    /* out = half-precision values, all finite */
    void (*load_f16)(const void *src, size_t n, float *out);
    /* Online softmax: bring the state and acc [n_v] forward by one page.
     *   q  [n_k] */
    void (*attend)(const rt_kv_page *page, const float *q, rt_softmax *state, float *acc);
} rt_cpu_kernels;

extern const rt_cpu_kernels rt_cpu_kernels_generic;
extern const rt_cpu_kernels rt_cpu_kernels_avx2; /* x86 only */

/* The variant for this processor, as quant_isa_name chose it. */
const rt_cpu_kernels *rt_cpu_kernels_get(void);

#endif
