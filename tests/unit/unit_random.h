/* Models without weights of their own: a description and a config.json say all shapes, the numbers
 * are drawn. What must not matter can be checked with them; what is right cannot. */
#ifndef TESTS_UNIT_UNIT_RANDOM_H
#define TESTS_UNIT_UNIT_RANDOM_H

#include "unit_model.h"

static inline float unit_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* Norms near 1, other vectors near 0, rows of matrices of length about 1. */
static inline float *unit_random_values(const gguf_tensor *t, uint32_t *state) {
    size_t n = gguf_tensor_n_elems(t), n_cols = t->dims[0];
    float *values = malloc(n * sizeof *values);
    ck_assert_ptr_nonnull(values);
    bool norm = strstr(t->name.ptr, "norm") != NULL;
    float size = n == n_cols ? 0.2f : 1.7f / sqrtf((float)n_cols);
    for (size_t i = 0; i < n; i++) values[i] = (norm ? 1 : 0) + size * unit_random(state);
    return values;
}

/* A model of the config, its matrices BF16. */
static inline rt_model *unit_random_model(const char *config) {
    gguf_error err = {0};
    rt_import *import;
    rt_model *model;
    gguf_pool *pool;
    uint32_t state = 7;
    const gguf_memory_file file = {"config.json", config, strlen(config)};
    const rt_import_opts opts = {.shapes_suffice = true};
    const char *out = unit_temp("random.gguf");
    unit_ok(rt_import_from_memory(&file, 1, &opts, &import, &err), err);
    quant_plan *plan = rt_import_plan(import);
    float **values = calloc(plan->n_tensors, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        t->out.type = t->tags.keep ? GGUF_TYPE_F32 : GGUF_TYPE_BF16;
        if (t->source.memory) continue; /* made from the config */
        values[i] = unit_random_values(&t->out, &state);
        t->source = (quant_source){.memory = values[i],
                                   .n_bytes = gguf_tensor_n_elems(&t->out) * sizeof(float)};
        t->source_type = GGUF_TYPE_F32;
    }
    quant_execute_opts execute = quant_execute_defaults();
    execute.replace = true;
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(quant_plan_finish(plan, &err), err);
    unit_ok(quant_execute(plan, out, pool, &execute, &err), err);
    for (size_t i = 0; i < plan->n_tensors; i++) free(values[i]);
    free(values);
    gguf_pool_free(pool);
    rt_import_close(import);
    unit_ok(rt_model_open(out, &model, &err), err);
    unlink(out);
    return model;
}

#endif
