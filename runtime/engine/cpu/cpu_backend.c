/* The CPU backend: its table and its memory. */
#include "runtime/engine/cpu/cpu_internal.h"
#include "runtime/engine/memory.h"
#include "runtime/model/weights_check.h"

#include <stdlib.h>
#include <string.h>

static void cpu_free(rt_backend *backend) {
    rt_cpu *cpu = rt_cpu_of(backend);
    free(cpu->arena);
    free(cpu->cache);
    free(cpu);
}

/* ---- the host and the arena --------------------------------------------------------------------
 */

static void cpu_write(rt_backend *backend, const void *src, uint64_t n_bytes, rt_off dst) {
    memcpy(rt_cpu_at(backend, dst), src, n_bytes);
}

static void cpu_read(rt_backend *backend, rt_off src, uint64_t n_bytes, void *dst) {
    memcpy(dst, rt_cpu_at(backend, src), n_bytes);
}

static const void *cpu_look(rt_backend *backend, rt_off src, uint64_t n_bytes, void *room) {
    (void)n_bytes;
    (void)room;
    return rt_cpu_at(backend, src);
}

static gguf_code cpu_sync(rt_backend *backend, gguf_error *err) {
    gguf_error failure = backend->failure;
    backend->failure = (gguf_error){0};
    if (failure.code && err && !err->code) *err = failure;
    return failure.code;
}

/* ---- weights that are not finite ---------------------------------------------------------------
 */

bool rt_cpu_check_rows(rt_cpu *cpu, const rt_weight *weight, const uint8_t *rows, size_t n_rows) {
    const uint8_t *fault = rt_weight_fault(weight, rows, n_rows);
    rt_weight_keep_fault(&cpu->fault, fault);
    return !fault;
}

static const uint8_t *cpu_take_fault(rt_backend *backend) {
    uintptr_t fault = atomic_exchange(&rt_cpu_of(backend)->fault, UINTPTR_MAX);
    return fault == UINTPTR_MAX ? NULL : (const uint8_t *)fault;
}

static void cpu_copy_cache(rt_backend *backend, uint64_t from, uint64_t to, uint64_t n_bytes) {
    uint8_t *cache = rt_cpu_of(backend)->cache;
    memcpy(cache + to, cache + from, n_bytes);
}

static uint8_t *cpu_cached(rt_backend *backend, uint64_t off) {
    return rt_cpu_of(backend)->cache + off;
}

static const rt_backend_ops cpu_ops = {
    .free = cpu_free,
    .write = cpu_write,
    .read = cpu_read,
    .look = cpu_look,
    .take_fault = cpu_take_fault,
    .sync = cpu_sync,
    .embed = rt_cpu_embed,
    .gather = rt_cpu_gather,
    .copy = rt_cpu_copy,
    .norm = rt_cpu_norm,
    .rope = rt_cpu_rope,
    .activate = rt_cpu_activate,
    .add = rt_cpu_add,
    .combine = rt_cpu_combine,
    .scale_softcap = rt_cpu_scale_softcap,
    .clamp = rt_cpu_clamp,
    .scale_rows = rt_cpu_scale_rows,
    .mix = rt_cpu_mix,
    .hyper = rt_cpu_hyper,
    .pool_blocks = rt_cpu_pool_blocks,
    .match_rows = rt_cpu_match_rows,
    .cut_rows = rt_cpu_cut_rows,
    .set_input = rt_cpu_set_input,
    .matmul = rt_cpu_matmul,
    .matmul_heads = rt_cpu_matmul_heads,
    .matmul_groups = rt_cpu_matmul_groups,
    .route = rt_cpu_route,
    .group = rt_cpu_group,
    .copy_cache = cpu_copy_cache,
    .cached = cpu_cached,
    .kv_store = rt_cpu_kv_store,
    .kv_load = rt_cpu_kv_load,
    .attention = rt_cpu_attention,
    .select = rt_cpu_select,
    .conv = rt_cpu_conv,
    .mamba = rt_cpu_mamba,
    .mamba2 = rt_cpu_mamba2,
    .gated_delta = rt_cpu_gated_delta,
    .kda = rt_cpu_kda,
    .xielu = rt_cpu_xielu,
};

/* ---- memory ------------------------------------------------------------------------------------
 */

/* Of one worker, in whole cache lines. */
static uint64_t scratch_bytes(const rt_hparams *hp, rt_precision precision) {
    uint64_t matmul = rt_cpu_matmul_scratch(hp, precision),
             attention = rt_cpu_attention_scratch(hp);
    uint64_t recurrent = rt_cpu_recurrent_scratch(hp), most = matmul;
    if (rt_cpu_select_scratch(hp) > most) most = rt_cpu_select_scratch(hp);
    if (attention > most) most = attention;
    if (recurrent > most) most = recurrent;
    return rt_round_up(most, 64);
}

static uint64_t acts_bytes(const rt_hparams *hp, uint32_t n_batch, rt_precision precision) {
    return rt_round_up(rt_cpu_acts_bytes(hp, n_batch, precision), 64);
}

static uint64_t cpu_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads,
                               rt_precision precision) {
    return acts_bytes(hp, n_batch, precision) + n_threads * scratch_bytes(hp, precision);
}

/* The arena, and after it the encoded input and the workers' scratch. */
static gguf_code cpu_open(const rt_backend_setup *setup, rt_backend **out, gguf_error *err) {
    rt_cpu *cpu = calloc(1, sizeof *cpu);
    unsigned n_threads = gguf_pool_threads(setup->pool);
    *out = NULL;
    if (!cpu) return gguf_fail_memory(err);
    cpu->base.ops = &cpu_ops;
    cpu->kernels = rt_cpu_kernels_get();
    cpu->pool = setup->pool;
    cpu->precision = setup->precision;
    atomic_init(&cpu->fault, UINTPTR_MAX);
    uint64_t work = cpu_work_bytes(setup->hparams, setup->n_batch, n_threads, setup->precision);
    gguf_code code = rt_allocate(setup->arena_bytes + work, &cpu->arena, err);
    if (!code) code = rt_allocate(setup->cache_bytes, &cpu->cache, err);
    if (code) {
        cpu_free(&cpu->base);
        return code;
    }
    cpu->acts = cpu->arena + setup->arena_bytes;
    cpu->scratch = cpu->acts + acts_bytes(setup->hparams, setup->n_batch, setup->precision);
    cpu->scratch_bytes = scratch_bytes(setup->hparams, setup->precision);
    *out = &cpu->base;
    return GGUF_OK;
}

const rt_backend_type rt_backend_cpu = {"cpu", cpu_work_bytes, cpu_open, NULL};
