/* A GGUF file as the source of a plan: every key and tensor as it is. */
#include "libgguf/split.h"
#include "runtime/import/import_internal.h"

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
    return code;
}
