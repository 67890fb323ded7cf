/* The CPU backend: its table and its working memory. */
#include "runtime/cpu/cpu_internal.h"
#include "runtime/weights_check.h"

#include <stdlib.h>

static void cpu_free(rt_backend *backend) {
    free(rt_cpu_of(backend));
}

/* Of several, the one that lies first in memory: which worker was first does not matter. */
bool rt_cpu_check_rows(rt_cpu *cpu, const rt_weight *weight, const uint8_t *rows, size_t n_rows) {
    const uint8_t *fault = rt_weight_fault(weight, rows, n_rows);
    uintptr_t first = atomic_load(&cpu->fault);
    if (!fault) return true;
    while ((uintptr_t)fault < first &&
           !atomic_compare_exchange_weak(&cpu->fault, &first, (uintptr_t)fault))
        continue;
    return false;
}

const uint8_t *rt_cpu_take_fault(rt_backend *backend) {
    uintptr_t fault = atomic_exchange(&rt_cpu_of(backend)->fault, UINTPTR_MAX);
    return fault == UINTPTR_MAX ? NULL : (const uint8_t *)fault;
}

static const rt_backend_ops cpu_ops = {
    .name = "cpu",
    .free = cpu_free,
    .embed = rt_cpu_embed,
    .norm = rt_cpu_norm,
    .set_input = rt_cpu_set_input,
    .matmul = rt_cpu_matmul,
    .matmul_groups = rt_cpu_matmul_groups,
    .take_fault = rt_cpu_take_fault,
    .rope = rt_cpu_rope,
    .kv_store = rt_cpu_kv_store,
    .kv_load = rt_cpu_kv_load,
    .attention = rt_cpu_attention,
    .activate = rt_cpu_activate,
    .add = rt_cpu_add,
    .combine = rt_cpu_combine,
    .shape = rt_cpu_shape,
    .copy = rt_cpu_copy,
    .route = rt_cpu_route,
};

/* Of one worker, in whole cache lines. */
static uint64_t scratch_bytes(const rt_hparams *hp) {
    uint64_t matmul = rt_cpu_matmul_scratch(hp), attention = rt_cpu_attention_scratch(hp);
    return rt_round_up(matmul > attention ? matmul : attention, 64);
}

uint64_t rt_cpu_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads) {
    return rt_round_up(rt_cpu_acts_bytes(hp, n_batch), 64) + n_threads * scratch_bytes(hp);
}

gguf_code rt_cpu_new(const rt_hparams *hp, uint32_t n_batch, rt_precision precision,
                     gguf_pool *pool, void *work, rt_backend **out, gguf_error *err) {
    rt_cpu *cpu = calloc(1, sizeof *cpu);
    *out = NULL;
    if (!cpu) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    cpu->base.ops = &cpu_ops;
    cpu->kernels = rt_cpu_kernels_get();
    cpu->pool = pool;
    cpu->precision = precision;
    atomic_init(&cpu->fault, UINTPTR_MAX);
    cpu->acts = work;
    cpu->scratch = (uint8_t *)work + rt_round_up(rt_cpu_acts_bytes(hp, n_batch), 64);
    cpu->scratch_bytes = scratch_bytes(hp);
    *out = &cpu->base;
    return GGUF_OK;
}
