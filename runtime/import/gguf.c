/* A GGUF file as the source of a plan: every key and tensor as it is. */
#include "libgguf/ends.h"
#include "libgguf/split.h"
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gguf_code add_tensor(rt_import *import, const gguf_tensor *src, gguf_error *err) {
    quant_plan_tensor t = {.out = *src,
                           .source = {.path = gguf_file_shard_path(import->gguf, src->shard),
                                      .fd = gguf_file_fd(import->gguf, src->shard),
                                      .off = src->file_off,
                                      .n_bytes = src->n_bytes},
                           .source_type = src->type,
                           .n_rows = gguf_tensor_n_rows(src),
                           .n_cols = src->n_dims ? src->dims[0] : 1};
    gguf_code code = rt_tag_tensor(&import->plan, src, &t.tags, err);
    return code ? code : quant_plan_add(&import->plan, &t, err);
}

/* ---- scales beside weights ---------------------------------------------------------------- */

/* The scale beside a weight, as NVFP4 has one, or NULL. Routers, and in some families the experts'
 * last matrices, have one that is no factor of theirs. */
static const gguf_tensor *scale_beside(const gguf_file *file, const quant_plan_tensor *t) {
    char name[GGUF_MAX_TENSOR_NAME + 16];
    size_t stem = t->out.name.len - strlen(".weight");
    if (!gguf_str_ends(t->out.name, ".weight") || t->out.name.len > GGUF_MAX_TENSOR_NAME)
        return NULL;
    snprintf(name, sizeof name, "%.*s.scale", (int)stem, t->out.name.ptr);
    const gguf_tensor *scale = gguf_file_find_tensor(file, name);
    bool other = strcmp(t->tags.role, "ffn_gate_inp") == 0 ||
                 (strcmp(t->tags.role, "ffn_down_exps") == 0 && t->out.type != GGUF_TYPE_NVFP4);
    if (!scale || other || scale->type != GGUF_TYPE_F32) return NULL;
    uint64_t n = gguf_tensor_n_elems(scale);
    return n == 1 || n == t->out.dims[2] ? scale : NULL;
}

static gguf_code apply_scale(rt_import *import, quant_plan_tensor *t, const gguf_tensor *scale,
                             gguf_error *err) {
    uint64_t n = gguf_tensor_n_elems(scale), n_rows = t->n_rows / n;
    const uint8_t *values = gguf_file_data(import->gguf, scale);
    size_t bad = quant_find_nonfinite(GGUF_TYPE_F32, values, 1, n);
    if (bad < n)
        return gguf_fail(err, GGUF_E_NONFINITE, gguf_file_shard_path(import->gguf, scale->shard),
                         (int64_t)scale->file_off, "tensor '%.*s': element %zu is not finite",
                         (int)scale->name.len, scale->name.ptr, bad);
    float *factors = quant_plan_alloc(&import->plan, t->n_rows * sizeof *factors);
    if (!factors) return gguf_fail_memory(err);
    for (uint64_t r = 0; r < t->n_rows; r++)
        memcpy(factors + r, values + r / n_rows * sizeof *factors, sizeof *factors);
    t->row_factors = factors;
    t->has_scale = true;
    return GGUF_OK;
}

static gguf_code apply_scales(rt_import *import, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < import->plan.n_tensors && !code; i++) {
        quant_plan_tensor *t = &import->plan.tensors[i];
        const gguf_tensor *scale = scale_beside(import->gguf, t);
        if (scale && t->n_rows) code = apply_scale(import, t, scale, err);
    }
    return code;
}

gguf_code rt_import_gguf(rt_import *import, gguf_error *err) {
    const gguf_meta *meta = gguf_file_meta(import->gguf);
    gguf_str name;
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (!gguf_is_file_key(kv->key)) gguf_meta_set_kv(import->plan.meta, kv);
    }
    import->plan.alignment = gguf_file_alignment(import->gguf);
    if (!gguf_kv_str(gguf_meta_find(meta, "general.architecture"), &name))
        return gguf_fail(err, GGUF_E_MISSING, gguf_file_path(import->gguf), GGUF_NO_OFFSET,
                         "general.architecture is missing");
    import->architecture = strndup(name.ptr, name.len);
    if (!import->architecture) return gguf_fail_memory(err);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < gguf_file_n_tensors(import->gguf) && !code; i++)
        code = add_tensor(import, gguf_file_tensor(import->gguf, i), err);
    return code ? code : apply_scales(import, err);
}
