/* Column importance for the tensors of a plan. */
#include "quant/imatrix.h"

#include <string.h>

static bool is_quantised(const quant_plan_tensor *t) {
    const gguf_type_layout *layout = gguf_type_layout_of(t->out.type);
    return layout && layout->block_elems > 1 && t->out.type != t->source_type;
}

static gguf_code attach(quant_plan *plan, quant_plan_tensor *t, const quant_imatrix_entry *entry,
                        gguf_error *err) {
    size_t n_mats = (size_t)(t->out.dims[2] * t->out.dims[3]);
    /* The legacy format and stacks with one count keep all matrices in one row. */
    bool flat = entry->n_mats == 1 && entry->n_cols == n_mats * t->n_cols;
    if (!flat && (entry->n_cols != t->n_cols || entry->n_mats != n_mats))
        return gguf_fail(
            err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
            "the importance matrix has %zu x %zu values for '%s', which needs %zu x %zu",
            entry->n_mats, entry->n_cols, t->out.name.ptr, n_mats, (size_t)t->n_cols);
    float *means = quant_plan_alloc(plan, n_mats * (size_t)t->n_cols * sizeof *means);
    if (!means) return gguf_fail_memory(err);
    quant_imatrix_means(entry, means);
    t->imp = means;
    return GGUF_OK;
}

gguf_code quant_plan_attach_importance(quant_plan *plan, const quant_imatrix *im, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < plan->n_tensors && !code; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        const quant_imatrix_entry *entry =
            is_quantised(t) ? quant_imatrix_find(im, t->out.name.ptr) : NULL;
        if (entry) code = attach(plan, t, entry, err);
    }
    return code;
}

static void record(quant_plan *plan, const quant_imatrix *im, const char *file) {
    const quant_imatrix_info *info = quant_imatrix_info_of(im);
    const char *slash = strrchr(file, '/');
    gguf_meta_set_str(plan->meta, "quantize.imatrix.file", gguf_str_of(slash ? slash + 1 : file));
    gguf_meta_set_str(plan->meta, "quantize.imatrix.dataset",
                      gguf_str_of(info->dataset ? info->dataset : ""));
    gguf_meta_set_u32(plan->meta, "quantize.imatrix.entries_count",
                      (uint32_t)quant_imatrix_count(im));
    gguf_meta_set_u32(plan->meta, "quantize.imatrix.chunks_count", info->n_chunks);
}

gguf_code quant_plan_set_importance(quant_plan *plan, const quant_imatrix *im, const char *file,
                                    quant_coverage *coverage, gguf_error *err) {
    gguf_code code = GGUF_OK;
    *coverage = (quant_coverage){0};
    for (size_t i = 0; i < plan->n_tensors && !code; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        if (!is_quantised(t)) continue;
        const quant_imatrix_entry *entry = quant_imatrix_find(im, t->out.name.ptr);
        if (entry) {
            coverage->n_covered++;
            code = attach(plan, t, entry, err);
            continue;
        }
        /* Embedding and head lie outside the layers; calibration does not cover them. */
        if (t->tags.layer < 0) continue;
        if (!coverage->n_missing++) coverage->first_missing = t->out.name.ptr;
    }
    if (!code) record(plan, im, file);
    return code;
}
