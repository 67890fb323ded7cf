/* What a model and a session take, from the layout that a session allocates. */
#include "runtime/sizing/footprint.h"

#include "libgguf/checked.h"
#include "runtime/engine/layout.h"
#include "runtime/model/model_internal.h"
#include "runtime/sizing/mapped.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Measured on x86-64 Linux: a process that has run a small model needs 4 MiB of code, libraries and
 * small copies; the tokenizer of a vocabulary of 128,000 tokens needs 4.8 times the bytes of its
 * metadata, the mapped pages of the metadata included. */
static const uint64_t base_bytes = UINT64_C(4) << 20;
static const uint64_t tokenizer_share = 5;
/* MPI, where several ranks compute the model: measured with Open MPI 4.1. */
static const uint64_t ranks_bytes = UINT64_C(24) << 20;
/* Of the stack of each thread, touched. */
static const uint64_t thread_bytes = UINT64_C(64) << 10;

static gguf_code sum_up(rt_footprint *f, gguf_error *err) {
    if (gguf_add_u64(f->resident_bytes, f->kv_bytes, &f->total_bytes) &&
        gguf_add_u64(f->total_bytes, f->compute_bytes, &f->total_bytes) &&
        gguf_add_u64(f->total_bytes, f->overhead_bytes, &f->total_bytes))
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the sum of all sizes overflows");
}

gguf_code rt_footprint_of(const rt_hparams *hp, const rt_session_opts *opts, uint64_t weights_bytes,
                          uint64_t n_meta_bytes, rt_footprint *out, gguf_error *err) {
    rt_session_opts defaults = rt_session_defaults();
    rt_layout layout;
    *out = (rt_footprint){.weights_bytes = weights_bytes, .resident_bytes = weights_bytes};
    gguf_code code = rt_layout_make(hp, opts ? opts : &defaults, &layout, err);
    if (code) return code;
    out->kv_bytes = rt_layout_cache_bytes(&layout);
    out->full_tokens = (uint64_t)layout.pools[RT_KV_FULL].n_pages * RT_KV_PAGE_TOKENS;
    out->window_tokens = (uint64_t)layout.pools[RT_KV_WINDOW].n_pages * RT_KV_PAGE_TOKENS;
    out->n_batch = layout.n_batch;
    out->compute_bytes = rt_layout_compute_bytes(&layout);
    out->activation_bytes = layout.arena_bytes;
    out->device_bytes = layout.cache_bytes[1];
    if (layout.n_places > 1) out->device_bytes += layout.arena_bytes + layout.work_bytes[1];
    out->overhead_bytes =
        base_bytes + layout.n_threads * thread_bytes + tokenizer_share * n_meta_bytes;
    return sum_up(out, err);
}

uint64_t rt_footprint_looked_up(uint64_t table_bytes, uint64_t around_bytes, uint32_t n) {
    if (table_bytes == 0) return 0;
    double share = 1 - exp(-(double)n * (double)around_bytes / (double)table_bytes);
    return (uint64_t)(share * (double)table_bytes);
}

/* Bytes of a table of which n rows are looked up that stay outside. Finding out what a lookup makes
 * resident is undone. */
static uint64_t not_looked_up(const rt_model *model, const rt_weight *table, uint32_t n) {
    gguf_str name = table->name;
    uint64_t table_bytes = table->n_rows * table->row_bytes;
    if (!table->data) return 0;
    uint64_t around = rt_mapped_around(table->data, table_bytes);
    for (size_t i = 0; i < gguf_file_n_tensors(model->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(model->file, i);
        bool same = t->name.len == name.len && memcmp(t->name.ptr, name.ptr, name.len) == 0;
        if (same) gguf_file_release(model->file, t, 0, t->n_bytes);
    }
    return table_bytes - rt_footprint_looked_up(table_bytes, around, n);
}

gguf_code rt_footprint_of_model(const rt_model *model, const rt_session_opts *opts, bool tokenizer,
                                rt_footprint *out, gguf_error *err) {
    uint64_t n_meta_bytes = gguf_file_data_off(model->file, 0);
    uint32_t n_ctx = opts && opts->n_ctx ? opts->n_ctx : model->hparams.n_ctx_train;
    gguf_code code = rt_footprint_of(&model->hparams, opts, rt_model_weights_bytes(model),
                                     tokenizer ? n_meta_bytes : 0, out, err);
    if (code) return code;
    if (model->token_embd.data != model->output.data)
        out->resident_bytes -= not_looked_up(model, &model->token_embd, n_ctx);
    out->resident_bytes -= not_looked_up(model, &model->layer_embd, n_ctx);
    if (model->ranks) out->overhead_bytes += ranks_bytes;
    if (!tokenizer) out->overhead_bytes += n_meta_bytes; /* checked when the file was opened */
    return sum_up(out, err);
}
