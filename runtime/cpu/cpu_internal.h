/* The CPU backend's state, shared by its files. */
#ifndef RUNTIME_CPU_CPU_INTERNAL_H
#define RUNTIME_CPU_CPU_INTERNAL_H

#include "quant/quant.h"
#include "runtime/cpu/kernels.h"

typedef struct rt_cpu {
    rt_backend base;
    const rt_cpu_kernels *kernels;
    gguf_pool *pool;
    bool exact;
    const float *input; /* [n_inputs][n_input_cols] */
    size_t n_inputs, n_input_cols;
    quant_act encoded;    /* what `acts` holds of the input; QUANT_ACT_NONE = nothing */
    uint8_t *acts;        /* the input in 8-bit blocks */
    uint8_t *scratch;     /* one stretch per worker */
    size_t scratch_bytes; /* of one worker */
} rt_cpu;

static inline rt_cpu *rt_cpu_of(rt_backend *backend) {
    return (rt_cpu *)(void *)backend;
}

static inline float *rt_cpu_scratch(const rt_cpu *cpu, unsigned worker) {
    return (float *)(void *)(cpu->scratch + worker * cpu->scratch_bytes);
}

static inline uint64_t rt_round_up(uint64_t value, uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* Working memory of one worker, and of the encoded input, in bytes. */
uint64_t rt_cpu_matmul_scratch(void);
uint64_t rt_cpu_acts_bytes(const rt_hparams *hp, uint32_t n_batch);
uint64_t rt_cpu_attention_scratch(const rt_hparams *hp);

/* Operations of backend.h. */
void rt_cpu_set_input(rt_backend *backend, const float *x, size_t n, size_t n_cols);
void rt_cpu_matmul(rt_backend *backend, const rt_weight *weight, float *out);
gguf_code rt_cpu_kv_store(rt_backend *backend, const rt_kv_layer *kv, const float *k,
                          const float *v, uint32_t pos, size_t n, gguf_error *err);
void rt_cpu_attention(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const float *q, uint32_t pos, size_t n, float *out);

#endif
