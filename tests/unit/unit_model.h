/* Models for the runtime's tests: fixtures converted to GGUF, and variants with broken headers. */
#ifndef TESTS_UNIT_UNIT_MODEL_H
#define TESTS_UNIT_UNIT_MODEL_H

#include "libgguf/checkpoint.h"
#include "quant/quant.h"
#include "runtime/import/import.h"
#include "runtime/runtime.h"
#include "unit.h"

#include <math.h>

/* Carry out a plan whose types are chosen. */
static inline void unit_execute(quant_plan *plan, const char *out) {
    gguf_error err = {0};
    gguf_pool *pool;
    quant_execute_opts execute = quant_execute_defaults();
    execute.replace = true;
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(quant_plan_finish(plan, &err), err);
    unit_ok(quant_execute(plan, out, pool, &execute, &err), err);
    gguf_pool_free(pool);
}

/* Convert a folder of tests/data to a temporary GGUF file with all matrices of `type`, or F16 where
 * its blocks do not divide the rows.
 *   key  a number in the header that becomes `value`, or NULL */
static inline const char *unit_convert_with(const char *folder, uint32_t type, const char *key,
                                            uint32_t value) {
    gguf_error err = {0};
    rt_import_opts opts = {0};
    rt_import *import;
    char path[512], name[64];
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, folder);
    snprintf(name, sizeof name, "%s-%u.gguf", strrchr(path, '/') + 1, type);
    const char *out = unit_temp(name);
    unit_ok(rt_import_open(path, &opts, &import, &err), err);
    quant_plan *plan = rt_import_plan(import);
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (!plan->tensors[i].tags.keep) {
            bool fits = quant_row_bytes(type, plan->tensors[i].out.dims[0]) != 0;
            plan->tensors[i].out.type = fits ? type : GGUF_TYPE_F16;
        }
    if (key) gguf_meta_set_u32(plan->meta, key, value);
    unit_execute(plan, out);
    rt_import_close(import);
    return out;
}

static inline const char *unit_convert(const char *folder, uint32_t type) {
    return unit_convert_with(folder, type, NULL, 0);
}

/* A converted fixture, opened; its file is removed already. */
static inline rt_model *unit_model_with(const char *folder, uint32_t type, const char *key,
                                        uint32_t value) {
    gguf_error err = {0};
    rt_model *model;
    const char *path = unit_convert_with(folder, type, key, value);
    unit_ok(rt_model_open(path, &model, &err), err);
    unlink(path);
    return model;
}

static inline rt_model *unit_model(const char *folder, uint32_t type) {
    return unit_model_with(folder, type, NULL, 0);
}

static inline void *unit_read_tensor(gguf_checkpoint *ckpt, const char *name, uint64_t *n_bytes) {
    const gguf_checkpoint_tensor *t = gguf_checkpoint_find(ckpt, name);
    ck_assert_ptr_nonnull(t);
    void *data = malloc(t->n_bytes);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(pread(gguf_checkpoint_file_fd(ckpt, t->file), data, t->n_bytes, (off_t)t->off),
                     (ssize_t)t->n_bytes);
    *n_bytes = t->n_bytes;
    return data;
}

/* What the original implementation computed: tokens [n], logits [n][n_vocab], or the hidden states
 * of an embedding model. */
typedef struct unit_reference {
    int32_t *tokens;
    float *logits;
    size_t n, n_logits;
} unit_reference;

static inline unit_reference unit_reference_of(const char *folder) {
    gguf_error err = {0};
    gguf_checkpoint *ckpt;
    unit_reference ref;
    uint64_t n_bytes;
    char path[512];
    snprintf(path, sizeof path, "%s/%s/reference.safetensors", TEST_DATA, folder);
    unit_ok(gguf_checkpoint_open(path, &ckpt, &err), err);
    int64_t *ids = unit_read_tensor(ckpt, "tokens", &n_bytes);
    ref.n = n_bytes / sizeof *ids;
    ref.tokens = malloc(ref.n * sizeof *ref.tokens);
    ck_assert_ptr_nonnull(ref.tokens);
    for (size_t i = 0; i < ref.n; i++) ref.tokens[i] = (int32_t)ids[i];
    const char *name = gguf_checkpoint_find(ckpt, "logits") ? "logits" : "hidden";
    ref.logits = unit_read_tensor(ckpt, name, &n_bytes);
    ref.n_logits = n_bytes / sizeof *ref.logits;
    free(ids);
    gguf_checkpoint_close(ckpt);
    return ref;
}

static inline void unit_reference_clear(unit_reference *ref) {
    free(ref->tokens);
    free(ref->logits);
}

/* All logits of a run, malloc'ed. */
static inline float *unit_logits(const rt_model *model, const rt_session_opts *opts,
                                 const int32_t *tokens, size_t n) {
    gguf_error err = {0};
    rt_session *session;
    float *logits = malloc(n * rt_model_hparams(model)->n_out * sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    unit_ok(rt_session_new(model, opts, &session, &err), err);
    unit_ok(rt_session_eval(session, tokens, n, RT_LOGITS_ALL, logits, &err), err);
    rt_session_free(session);
    return logits;
}

/* max |a - b| / max |b|; NaN where one of them is NaN, which no bound accepts. */
static inline double unit_distance(const float *a, const float *b, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i], s = (double)b[i];
        if (isnan(d)) return d;
        difference = fmax(difference, fabs(d));
        size = fmax(size, fabs(s));
    }
    return difference / size;
}

/* sqrt(sum (a - b)^2 / sum b^2) */
static inline double unit_rms_distance(const float *a, const float *b, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        size += (double)b[i] * b[i];
    }
    return sqrt(difference / size);
}

#endif
