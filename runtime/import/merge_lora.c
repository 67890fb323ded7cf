/* Adapters that become part of the weights: plan tensors of a model that read W + scale B A. */
#include "libgguf/checked.h"
#include "quant/quant.h"
#include "runtime/import/import.h"
#include "runtime/model/lora.h"

#include <math.h>
#include <string.h>

typedef struct merging {
    quant_plan *plan;
    const gguf_file *adapter;
    float scale, alpha;
} merging;

static gguf_code fail(const merging *m, gguf_code code, const gguf_tensor *t, const char *what,
                      gguf_error *err) {
    return gguf_fail(err, code, gguf_file_path(m->adapter), GGUF_NO_OFFSET, "tensor '%.*s' %s",
                     (int)t->name.len, t->name.ptr, what);
}

/* The plan's tensor that a factor is for; its name without the ending. */
static quant_plan_tensor *target_of(const merging *m, const gguf_tensor *t, const char *ending) {
    size_t n = strlen(ending);
    if (t->name.len <= n || memcmp(t->name.ptr + t->name.len - n, ending, n) != 0) return NULL;
    for (size_t i = 0; i < m->plan->n_tensors; i++) {
        gguf_str name = m->plan->tensors[i].out.name;
        if (name.len == t->name.len - n && memcmp(name.ptr, t->name.ptr, name.len) == 0)
            return &m->plan->tensors[i];
    }
    return NULL;
}

/* Numbers of a factor, in memory of the plan. */
static gguf_code read_factor(const merging *m, const gguf_tensor *t, float **out, gguf_error *err) {
    uint64_t n_bytes;
    if (t->n_dims != 2 || !quant_can_decode(t->type))
        return fail(m, GGUF_E_UNSUPPORTED, t, "is not a matrix of numbers", err);
    bool fits = gguf_mul_u64(t->dims[0] * sizeof(float), t->dims[1], &n_bytes);
    *out = fits ? quant_plan_alloc(m->plan, (size_t)n_bytes) : NULL;
    if (!*out) return gguf_fail_memory(err);
    const void *data = gguf_file_data(m->adapter, t);
    gguf_code code = quant_decode(t->type, data, t->dims[1], t->dims[0], *out, err);
    for (uint64_t i = 0; i < t->dims[0] * t->dims[1] && !code; i++)
        if (!isfinite((*out)[i]))
            code = fail(m, GGUF_E_NONFINITE, t, "has a number that is not finite", err);
    return code;
}

static gguf_code transpose(const merging *m, uint64_t n_rows, uint64_t n_cols, float **x,
                           gguf_error *err) {
    float *out = quant_plan_alloc(m->plan, (size_t)(n_rows * n_cols * sizeof *out));
    if (!out) return gguf_fail_memory(err);
    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t c = 0; c < n_cols; c++) out[c * n_rows + r] = (*x)[r * n_cols + c];
    *x = out;
    return GGUF_OK;
}

/* Of a table that is looked up, `a` has a row for each of its rows. */
static gguf_code add_low_rank(const merging *m, quant_plan_tensor *to, const gguf_tensor *a,
                              const gguf_tensor *b, gguf_error *err) {
    bool table = strcmp(to->tags.role, "token_embd") == 0;
    uint64_t rank = table ? a->dims[0] : a->dims[1];
    bool fits = to->out.n_dims == 2 && a->n_dims == 2 && b->n_dims == 2 && rank > 0 &&
                rank <= UINT32_MAX && b->dims[0] == rank;
    if (fits && table)
        fits = a->dims[1] == to->n_rows && b->dims[1] == to->n_cols;
    else if (fits)
        fits = a->dims[0] == to->n_cols && b->dims[1] == to->n_rows;
    if (!fits)
        return fail(m, GGUF_E_SHAPE, a, "and its partner do not fit the model's matrix", err);
    quant_low_rank *added = quant_plan_alloc(m->plan, sizeof *added);
    float *of_a = NULL, *of_b = NULL;
    if (!added) return gguf_fail_memory(err);
    gguf_code code = read_factor(m, a, &of_a, err);
    if (!code) code = read_factor(m, b, &of_b, err);
    if (!code && table) code = transpose(m, to->n_cols, rank, &of_b, err);
    *added = (quant_low_rank){.rows = table ? of_a : of_b,
                              .cols = table ? of_b : of_a,
                              .rank = (uint32_t)rank,
                              .scale = rt_lora_scale(m->scale, m->alpha, rank),
                              .next = to->added};
    if (!code) to->added = added;
    return code;
}

static gguf_code merge_tensor(const merging *m, const gguf_tensor *t, gguf_error *err) {
    quant_plan_tensor *to = target_of(m, t, ".lora_a");
    if (target_of(m, t, ".lora_b")) return GGUF_OK; /* its partner brings it */
    if (!to) return fail(m, GGUF_E_MISSING, t, "is no factor of a matrix of the model", err);
    const gguf_tensor *b = NULL;
    for (size_t i = 0; i < gguf_file_n_tensors(m->adapter) && !b; i++) {
        const gguf_tensor *other = gguf_file_tensor(m->adapter, i);
        if (target_of(m, other, ".lora_b") == to) b = other;
    }
    return b ? add_low_rank(m, to, t, b, err) : fail(m, GGUF_E_MISSING, t, "has no partner", err);
}

gguf_code rt_import_merge_lora(rt_import *import, const gguf_file *adapter, float scale,
                               gguf_error *err) {
    merging m = {.plan = rt_import_plan(import), .adapter = adapter, .scale = scale};
    gguf_code code = rt_lora_check(adapter, rt_import_architecture(import), &m.alpha, err);
    for (size_t i = 0; i < gguf_file_n_tensors(adapter) && !code; i++)
        code = merge_tensor(&m, gguf_file_tensor(adapter, i), err);
    return code;
}
