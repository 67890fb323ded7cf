/* The CPU backend's state, shared by its files. */
#ifndef RUNTIME_ENGINE_CPU_CPU_INTERNAL_H
#define RUNTIME_ENGINE_CPU_CPU_INTERNAL_H

#include "quant/quant.h"
#include "runtime/engine/cpu/cpu_kernels.h"

typedef struct rt_cpu {
    rt_backend base;
    const rt_cpu_kernels *kernels;
    gguf_pool *pool;
    rt_precision precision;
    uint8_t *arena, *cache;
    const float *input; /* [n_inputs][n_input_cols] */
    size_t n_inputs, n_input_cols;
    quant_act encoded;      /* what `acts` holds of the input; QUANT_ACT_NONE = nothing */
    uint8_t *acts;          /* the input in 8-bit blocks */
    uint8_t *scratch;       /* one stretch per worker */
    size_t scratch_bytes;   /* of one worker */
    atomic_uintptr_t fault; /* of a weight: the first block that is not finite, or UINTPTR_MAX */
} rt_cpu;

static inline rt_cpu *rt_cpu_of(rt_backend *backend) {
    return (rt_cpu *)(void *)backend;
}

/* Floats in the arena; NULL for RT_NO_OFF. */
static inline float *rt_cpu_at(rt_backend *backend, rt_off off) {
    return off == RT_NO_OFF ? NULL : (float *)(void *)(rt_cpu_of(backend)->arena + off);
}

static inline uint32_t *rt_cpu_ids_at(rt_backend *backend, rt_off off) {
    return (uint32_t *)(void *)(rt_cpu_of(backend)->arena + off);
}

static inline float *rt_cpu_scratch(const rt_cpu *cpu, unsigned worker) {
    return (float *)(void *)(cpu->scratch + worker * cpu->scratch_bytes);
}

static inline uint64_t rt_round_up(uint64_t value, uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/* Working memory of one worker, and of the encoded input, in bytes. */
uint64_t rt_cpu_matmul_scratch(const rt_hparams *hp, rt_precision precision);
uint64_t rt_cpu_acts_bytes(const rt_hparams *hp, uint32_t n_batch, rt_precision precision);
uint64_t rt_cpu_attention_scratch(const rt_hparams *hp);
uint64_t rt_cpu_recurrent_scratch(const rt_hparams *hp);
uint64_t rt_cpu_select_scratch(const rt_hparams *hp);

/* A row of a layer's keys or values, of those at `off` in a page. */
uint8_t *rt_cpu_kv_row(uint8_t *cache, const rt_kv_layer *kv, const rt_tile *tile, uint32_t row,
                       uint64_t off, uint64_t row_bytes);

/* Look at rows of a weight, in the file's order, and keep a fault for take_fault. Threads: safe. */
bool rt_cpu_check_rows(rt_cpu *cpu, const rt_weight *weight, const uint8_t *rows, size_t n_rows);

/* Operations of backend.h. */
void rt_cpu_set_input(rt_backend *backend, rt_off x, size_t n, size_t n_cols);
void rt_cpu_matmul(rt_backend *backend, const rt_weight *weight, rt_off out);
void rt_cpu_matmul_heads(rt_backend *backend, const rt_weight *weight, rt_off out, size_t stride);
void rt_cpu_matmul_groups(rt_backend *backend, const rt_weight *weight, const rt_grouping *grouping,
                          rt_off out);
void rt_cpu_kv_store(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k,
                     rt_off v);
void rt_cpu_kv_load(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k);
void rt_cpu_attention(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const rt_batch *batch, rt_off q, rt_off out);
void rt_cpu_select(rt_backend *backend, const rt_indexer *indexer, const rt_kv_layer *kv,
                   const rt_batch *batch, rt_off q, rt_off weights, rt_off selection);
void rt_cpu_conv(rt_backend *backend, const rt_conv *conv, const rt_state_layer *state,
                 const rt_batch *batch, rt_off x, size_t x_stride, rt_off before, rt_off after);
void rt_cpu_mamba(rt_backend *backend, const rt_mamba *mamba, const rt_state_layer *state,
                  const rt_batch *batch, rt_off x, size_t x_stride, rt_off bc, size_t bc_stride,
                  rt_off dt, rt_off y);
void rt_cpu_mamba2(rt_backend *backend, const rt_mamba2 *mamba2, const rt_state_layer *state,
                   const rt_batch *batch, rt_off x, size_t x_stride, rt_off dt, size_t dt_stride,
                   rt_off y);
void rt_cpu_xielu(rt_backend *backend, const rt_xielu *xielu, rt_off x, size_t n, size_t n_cols);
void rt_cpu_kda(rt_backend *backend, const rt_kda *kda, const rt_state_layer *state,
                const rt_batch *batch, rt_off q, rt_off k, rt_off v, rt_off f, rt_off beta,
                rt_off y);
void rt_cpu_gated_delta(rt_backend *backend, const rt_gated_delta *delta,
                        const rt_state_layer *state, const rt_batch *batch, rt_off x,
                        size_t x_stride, rt_off ba, rt_off y);
void rt_cpu_embed(rt_backend *backend, const rt_weight *table, const int32_t *ids, size_t n,
                  rt_off out);
void rt_cpu_gather(rt_backend *backend, rt_off x, const uint32_t *rows, size_t n, size_t n_cols,
                   rt_off out);
void rt_cpu_norm(rt_backend *backend, rt_norm kind, const rt_norm_weights *norm, float eps,
                 rt_off x, size_t n, size_t stride, rt_off out);
void rt_cpu_rope(rt_backend *backend, rt_rope kind, rt_off table, uint32_t n_rot, rt_off x,
                 size_t n, uint32_t n_head, uint32_t head_dim);
void rt_cpu_activate(rt_backend *backend, rt_activation activation, rt_off gate, rt_off up,
                     size_t n, size_t n_cols);
void rt_cpu_add(rt_backend *backend, rt_off x, rt_off y, float factor, rt_off gates, size_t n,
                size_t n_cols);
void rt_cpu_combine(rt_backend *backend, rt_off x, rt_off weights, uint32_t k, size_t n,
                    size_t n_cols, rt_off out);
void rt_cpu_scale_softcap(rt_backend *backend, rt_off x, float factor, float cap, float limit,
                          size_t n, size_t n_cols);
void rt_cpu_clamp(rt_backend *backend, rt_off x, float low, float high, size_t n, size_t n_cols);
void rt_cpu_scale_rows(rt_backend *backend, rt_off x, rt_off factors, size_t n, size_t n_cols);
void rt_cpu_mix(rt_backend *backend, rt_off x, uint64_t x_stride, uint32_t n_in, rt_off weights,
                uint32_t n_out, size_t n, size_t n_cols, rt_off out, uint64_t out_stride);
void rt_cpu_hyper(rt_backend *backend, const rt_hyper *hyper, rt_off f, size_t n, rt_off read,
                  rt_off write);
void rt_cpu_pool_blocks(rt_backend *backend, const rt_block_pool *pool, const rt_state_layer *state,
                        const rt_batch *batch, rt_off values, rt_off scores, rt_off out);
void rt_cpu_match_rows(rt_backend *backend, rt_off x, rt_off y, size_t n, size_t n_cols);
void rt_cpu_cut_rows(rt_backend *backend, rt_off x, float factor, size_t n, size_t n_cols);
void rt_cpu_copy(rt_backend *backend, rt_off x, size_t x_stride, size_t n, size_t n_cols,
                 rt_off out, size_t out_stride);
void rt_cpu_route(rt_backend *backend, const rt_route_rule *rule, rt_off logits, size_t n,
                  rt_off experts, rt_off weights);
void rt_cpu_group(rt_backend *backend, rt_off mats, size_t n, const rt_grouping *grouping);

#endif
