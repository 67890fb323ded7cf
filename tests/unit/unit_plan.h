/* Plans over numbers in memory, for the tests of their execution. */
#ifndef TESTS_UNIT_UNIT_PLAN_H
#define TESTS_UNIT_UNIT_PLAN_H

#include "quant/plan.h"
#include "quant/quant.h"
#include "tests/unit/unit.h"

#define N_ROWS 24
#define N_COLS 64

static float source[N_ROWS * N_COLS];

static inline void fill_source(void) {
    for (size_t i = 0; i < N_ROWS * N_COLS; i++) source[i] = (float)i * 0.25f - 100;
}

static inline quant_plan_tensor memory_tensor(const char *name, uint32_t type) {
    return (quant_plan_tensor){.out = {.name = gguf_str_of(name),
                                       .type = type,
                                       .n_dims = 2,
                                       .dims = {N_COLS, N_ROWS, 1, 1}},
                               .tags = {.role = "", .layer = -1},
                               .source = {.memory = source, .n_bytes = sizeof source},
                               .source_type = GGUF_TYPE_F32,
                               .n_rows = N_ROWS,
                               .n_cols = N_COLS};
}

static inline void start_plan(quant_plan *plan) {
    gguf_error err = {0};
    fill_source();
    unit_ok(quant_plan_init(plan, &err), err);
    gguf_meta_set_str(plan->meta, "general.architecture", gguf_str_of("test"));
}

static inline gguf_code execute(quant_plan *plan, const char *path, unsigned n_threads,
                                uint64_t max_memory, gguf_error *err) {
    gguf_pool *pool;
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = max_memory;
    opts.replace = true;
    *err = (gguf_error){0};
    gguf_code code = gguf_pool_new(n_threads, &pool, err);
    if (code) return code;
    code = quant_execute(plan, path, pool, &opts, err);
    gguf_pool_free(pool);
    return code;
}

#endif
