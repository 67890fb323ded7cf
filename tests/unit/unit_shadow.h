/* A second backend for the tests: the CPU's operations in an arena and a cache of their own, which
 * nobody outside can address. It counts what crosses, never hands out its memory, and fills rows
 * that were not written with NaN, so that a number taken from the other place's arena shows. */
#ifndef TESTS_UNIT_UNIT_SHADOW_H
#define TESTS_UNIT_UNIT_SHADOW_H

#include "runtime/engine/backend.h"
#include "unit.h"

typedef struct unit_shadow_counts {
    uint64_t n_writes, n_reads, n_looks, n_ops;
    uint64_t bytes_written, bytes_read;
} unit_shadow_counts;

static unit_shadow_counts unit_shadow_seen;

typedef struct unit_shadow {
    rt_backend base;
    rt_backend *cpu;
} unit_shadow;

static rt_backend *unit_shadow_cpu(rt_backend *backend) {
    unit_shadow_seen.n_ops++;
    return ((unit_shadow *)(void *)backend)->cpu;
}

#define UNIT_SHADOW_OP(name, parameters, arguments) \
    static void unit_shadow_##name parameters {     \
        rt_backend *cpu = unit_shadow_cpu(backend); \
        cpu->ops->name arguments;                   \
    }

UNIT_SHADOW_OP(embed,
               (rt_backend * backend, const rt_weight *table, const int32_t *ids, size_t n,
                rt_off out),
               (cpu, table, ids, n, out))
UNIT_SHADOW_OP(gather,
               (rt_backend * backend, rt_off x, const uint32_t *rows, size_t n, size_t n_cols,
                rt_off out),
               (cpu, x, rows, n, n_cols, out))
UNIT_SHADOW_OP(copy,
               (rt_backend * backend, rt_off x, size_t x_stride, size_t n, size_t n_cols,
                rt_off out, size_t out_stride),
               (cpu, x, x_stride, n, n_cols, out, out_stride))
UNIT_SHADOW_OP(norm,
               (rt_backend * backend, rt_norm kind, const rt_norm_weights *norm, float eps,
                rt_off x, size_t n, size_t stride, rt_off out),
               (cpu, kind, norm, eps, x, n, stride, out))
UNIT_SHADOW_OP(rope,
               (rt_backend * backend, rt_rope kind, rt_off table, uint32_t n_rot, rt_off x,
                size_t n, uint32_t n_head, uint32_t head_dim),
               (cpu, kind, table, n_rot, x, n, n_head, head_dim))
UNIT_SHADOW_OP(activate,
               (rt_backend * backend, rt_activation activation, rt_off gate, rt_off up, size_t n,
                size_t n_cols),
               (cpu, activation, gate, up, n, n_cols))
UNIT_SHADOW_OP(hyper,
               (rt_backend * backend, const rt_hyper *hyper, rt_off f, size_t n, rt_off read,
                rt_off write),
               (cpu, hyper, f, n, read, write))
UNIT_SHADOW_OP(pool_blocks,
               (rt_backend * backend, const rt_block_pool *pool, const rt_state_layer *state,
                const rt_batch *batch, rt_off values, rt_off scores, rt_off out),
               (cpu, pool, state, batch, values, scores, out))
UNIT_SHADOW_OP(add,
               (rt_backend * backend, rt_off x, rt_off y, float factor, rt_off gates, size_t n,
                size_t n_cols),
               (cpu, x, y, factor, gates, n, n_cols))
UNIT_SHADOW_OP(combine,
               (rt_backend * backend, rt_off x, rt_off weights, uint32_t k, size_t n, size_t n_cols,
                rt_off out),
               (cpu, x, weights, k, n, n_cols, out))
UNIT_SHADOW_OP(scale_softcap,
               (rt_backend * backend, rt_off x, float factor, float cap, float limit, size_t n,
                size_t n_cols),
               (cpu, x, factor, cap, limit, n, n_cols))
UNIT_SHADOW_OP(clamp,
               (rt_backend * backend, rt_off x, float low, float high, size_t n, size_t n_cols),
               (cpu, x, low, high, n, n_cols))
UNIT_SHADOW_OP(scale_rows,
               (rt_backend * backend, rt_off x, rt_off factors, size_t n, size_t n_cols),
               (cpu, x, factors, n, n_cols))
UNIT_SHADOW_OP(mix,
               (rt_backend * backend, rt_off x, uint64_t x_stride, uint32_t n_in, rt_off weights,
                uint32_t n_out, size_t n, size_t n_cols, rt_off out, uint64_t out_stride),
               (cpu, x, x_stride, n_in, weights, n_out, n, n_cols, out, out_stride))
UNIT_SHADOW_OP(match_rows, (rt_backend * backend, rt_off x, rt_off y, size_t n, size_t n_cols),
               (cpu, x, y, n, n_cols))
UNIT_SHADOW_OP(cut_rows, (rt_backend * backend, rt_off x, float factor, size_t n, size_t n_cols),
               (cpu, x, factor, n, n_cols))
UNIT_SHADOW_OP(set_input, (rt_backend * backend, rt_off x, size_t n, size_t n_cols),
               (cpu, x, n, n_cols))
UNIT_SHADOW_OP(matmul, (rt_backend * backend, const rt_weight *weight, rt_off out),
               (cpu, weight, out))
UNIT_SHADOW_OP(matmul_heads,
               (rt_backend * backend, const rt_weight *weight, rt_off out, size_t stride),
               (cpu, weight, out, stride))
UNIT_SHADOW_OP(matmul_groups,
               (rt_backend * backend, const rt_weight *weight, const rt_grouping *grouping,
                rt_off out),
               (cpu, weight, grouping, out))
UNIT_SHADOW_OP(route,
               (rt_backend * backend, const rt_route_rule *rule, rt_off logits, size_t n,
                rt_off experts, rt_off weights),
               (cpu, rule, logits, n, experts, weights))
UNIT_SHADOW_OP(group, (rt_backend * backend, rt_off mats, size_t n, const rt_grouping *grouping),
               (cpu, mats, n, grouping))
UNIT_SHADOW_OP(copy_cache, (rt_backend * backend, uint64_t from, uint64_t to, uint64_t n_bytes),
               (cpu, from, to, n_bytes))
UNIT_SHADOW_OP(kv_store,
               (rt_backend * backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k,
                rt_off v),
               (cpu, kv, batch, k, v))
UNIT_SHADOW_OP(kv_load,
               (rt_backend * backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k),
               (cpu, kv, batch, k))
UNIT_SHADOW_OP(attention,
               (rt_backend * backend, const rt_attention *attention, const rt_kv_layer *kv,
                const rt_batch *batch, rt_off q, rt_off out),
               (cpu, attention, kv, batch, q, out))
UNIT_SHADOW_OP(select,
               (rt_backend * backend, const rt_indexer *indexer, const rt_kv_layer *kv,
                const rt_batch *batch, rt_off q, rt_off weights, rt_off selection),
               (cpu, indexer, kv, batch, q, weights, selection))
UNIT_SHADOW_OP(conv,
               (rt_backend * backend, const rt_conv *conv, const rt_state_layer *state,
                const rt_batch *batch, rt_off x, size_t x_stride, rt_off before, rt_off after),
               (cpu, conv, state, batch, x, x_stride, before, after))
UNIT_SHADOW_OP(mamba,
               (rt_backend * backend, const rt_mamba *mamba, const rt_state_layer *state,
                const rt_batch *batch, rt_off x, size_t x_stride, rt_off bc, size_t bc_stride,
                rt_off dt, rt_off y),
               (cpu, mamba, state, batch, x, x_stride, bc, bc_stride, dt, y))
UNIT_SHADOW_OP(mamba2,
               (rt_backend * backend, const rt_mamba2 *mamba2, const rt_state_layer *state,
                const rt_batch *batch, rt_off x, size_t x_stride, rt_off dt, size_t dt_stride,
                rt_off y),
               (cpu, mamba2, state, batch, x, x_stride, dt, dt_stride, y))

UNIT_SHADOW_OP(gated_delta,
               (rt_backend * backend, const rt_gated_delta *delta, const rt_state_layer *state,
                const rt_batch *batch, rt_off x, size_t x_stride, rt_off ba, rt_off y),
               (cpu, delta, state, batch, x, x_stride, ba, y))

UNIT_SHADOW_OP(xielu,
               (rt_backend * backend, const rt_xielu *xielu, rt_off x, size_t n, size_t n_cols),
               (cpu, xielu, x, n, n_cols))
UNIT_SHADOW_OP(kda,
               (rt_backend * backend, const rt_kda *kda, const rt_state_layer *state,
                const rt_batch *batch, rt_off q, rt_off k, rt_off v, rt_off f, rt_off beta,
                rt_off y),
               (cpu, kda, state, batch, q, k, v, f, beta, y))

static void unit_shadow_write(rt_backend *backend, const void *src, uint64_t n_bytes, rt_off dst) {
    rt_backend *cpu = unit_shadow_cpu(backend);
    unit_shadow_seen.n_writes++;
    unit_shadow_seen.bytes_written += n_bytes;
    cpu->ops->write(cpu, src, n_bytes, dst);
}

static void unit_shadow_read(rt_backend *backend, rt_off src, uint64_t n_bytes, void *dst) {
    rt_backend *cpu = unit_shadow_cpu(backend);
    unit_shadow_seen.n_reads++;
    unit_shadow_seen.bytes_read += n_bytes;
    cpu->ops->read(cpu, src, n_bytes, dst);
}

/* Always into the room. */
static const void *unit_shadow_look(rt_backend *backend, rt_off src, uint64_t n_bytes, void *room) {
    rt_backend *cpu = unit_shadow_cpu(backend);
    unit_shadow_seen.n_looks++;
    cpu->ops->read(cpu, src, n_bytes, room);
    return room;
}

static gguf_code unit_shadow_sync(rt_backend *backend, gguf_error *err) {
    rt_backend *cpu = unit_shadow_cpu(backend);
    return cpu->ops->sync(cpu, err);
}

static const uint8_t *unit_shadow_take_fault(rt_backend *backend) {
    rt_backend *cpu = unit_shadow_cpu(backend);
    return cpu->ops->take_fault(cpu);
}

static void unit_shadow_free(rt_backend *backend) {
    rt_backend *cpu = unit_shadow_cpu(backend);
    cpu->ops->free(cpu);
    free(backend);
}

static uint64_t unit_shadow_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads,
                                       rt_precision precision) {
    return rt_backend_cpu.work_bytes(hp, n_batch, n_threads, precision);
}

static gguf_code unit_shadow_open(const rt_backend_setup *setup, rt_backend **out,
                                  gguf_error *err) {
    static const rt_backend_ops ops = {
        .free = unit_shadow_free,
        .write = unit_shadow_write,
        .read = unit_shadow_read,
        .look = unit_shadow_look,
        .take_fault = unit_shadow_take_fault,
        .sync = unit_shadow_sync,
        .embed = unit_shadow_embed,
        .gather = unit_shadow_gather,
        .copy = unit_shadow_copy,
        .norm = unit_shadow_norm,
        .rope = unit_shadow_rope,
        .activate = unit_shadow_activate,
        .add = unit_shadow_add,
        .combine = unit_shadow_combine,
        .scale_softcap = unit_shadow_scale_softcap,
        .clamp = unit_shadow_clamp,
        .scale_rows = unit_shadow_scale_rows,
        .mix = unit_shadow_mix,
        .hyper = unit_shadow_hyper,
        .pool_blocks = unit_shadow_pool_blocks,
        .match_rows = unit_shadow_match_rows,
        .cut_rows = unit_shadow_cut_rows,
        .set_input = unit_shadow_set_input,
        .matmul = unit_shadow_matmul,
        .matmul_heads = unit_shadow_matmul_heads,
        .matmul_groups = unit_shadow_matmul_groups,
        .route = unit_shadow_route,
        .group = unit_shadow_group,
        .copy_cache = unit_shadow_copy_cache,
        .kv_store = unit_shadow_kv_store,
        .kv_load = unit_shadow_kv_load,
        .attention = unit_shadow_attention,
        .select = unit_shadow_select,
        .conv = unit_shadow_conv,
        .mamba = unit_shadow_mamba,
        .mamba2 = unit_shadow_mamba2,
        .gated_delta = unit_shadow_gated_delta,
        .kda = unit_shadow_kda,
        .xielu = unit_shadow_xielu,
    };
    unit_shadow *shadow = calloc(1, sizeof *shadow);
    ck_assert_ptr_nonnull(shadow);
    shadow->base.ops = &ops;
    gguf_code code = rt_backend_cpu.open(setup, &shadow->cpu, err);
    ck_assert_int_eq(code, GGUF_OK);
    float *nan = malloc(setup->arena_bytes);
    ck_assert_ptr_nonnull(nan);
    memset(nan, 0xff, setup->arena_bytes);
    shadow->cpu->ops->write(shadow->cpu, nan, setup->arena_bytes, 0);
    free(nan);
    *out = &shadow->base;
    return GGUF_OK;
}

static const rt_backend_type unit_shadow_type = {"shadow", unit_shadow_work_bytes, unit_shadow_open,
                                                 NULL};

#endif
