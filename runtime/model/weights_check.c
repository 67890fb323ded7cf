/* Looking at weights: marks, and what is said of a fault. */
#include "runtime/model/weights_check.h"

#include "quant/quant.h"
#include "runtime/model/slots.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- marks ------------------------------------------------------------------------------- */

/* On the first walk `next` is NULL, and only the marks are counted. */
static size_t mark_record(void *record, const rt_slots *slots, atomic_uchar *next) {
    size_t n = 0;
    for (size_t i = 0; i < slots->n_matrices; i++) {
        rt_weight *w = rt_slot_matrix(record, slots, i);
        if (!w->data) continue;
        if (next) w->passed = next + n;
        n += w->n_mats;
    }
    return n;
}

static size_t mark_all(rt_model *model, atomic_uchar *next) {
    size_t n = mark_record(model, &rt_model_slots, next);
    for (uint32_t layer = 0; layer < model->hparams.n_layer; layer++)
        n += mark_record(&model->layers[layer], &rt_layer_slots, next ? next + n : NULL);
    return n;
}

gguf_code rt_weights_prepare(rt_model *model, gguf_error *err) {
    size_t n = mark_all(model, NULL);
    model->passed = calloc(n + 1, sizeof *model->passed);
    if (!model->passed) return gguf_fail_memory(err);
    mark_all(model, model->passed);
    return GGUF_OK;
}

bool rt_weight_is_new(const rt_weight *w, uint32_t mat) {
    return w->passed && !atomic_load_explicit(&w->passed[mat], memory_order_relaxed);
}

void rt_weight_passed(const rt_weight *w, uint32_t mat) {
    if (w->passed) atomic_store_explicit(&w->passed[mat], 1, memory_order_relaxed);
}

/* ---- faults ------------------------------------------------------------------------------ */

const uint8_t *rt_weight_fault(const rt_weight *w, const uint8_t *rows, size_t n_rows) {
    size_t at = quant_find_nonfinite(w->type, rows, n_rows, w->n_cols);
    if (at == n_rows * w->n_cols) return NULL;
    const gguf_type_layout *layout = gguf_type_layout_of(w->type);
    if (layout->head_bytes) return rows + at / w->n_cols * w->row_bytes;
    return rows + at / layout->block_elems * layout->block_bytes;
}

void rt_weight_keep_fault(atomic_uintptr_t *first, const uint8_t *fault) {
    uintptr_t kept = atomic_load(first);
    while (fault && (uintptr_t)fault < kept &&
           !atomic_compare_exchange_weak(first, &kept, (uintptr_t)fault))
        continue;
}

static const gguf_tensor *tensor_at(const rt_model *model, const uint8_t *fault) {
    for (size_t i = 0; i < gguf_file_n_tensors(model->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(model->file, i);
        const uint8_t *data = gguf_file_data(model->file, t);
        if (fault >= data && fault < data + t->n_bytes) return t;
    }
    return NULL;
}

gguf_code rt_weights_fail(const rt_model *model, const uint8_t *fault, gguf_error *err) {
    const gguf_tensor *t = tensor_at(model, fault);
    if (!t) /* a matrix in another one's place */
        return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET, "a weight is not finite");
    const gguf_type_layout *layout = gguf_type_layout_of(t->type);
    uint64_t off = (uint64_t)(fault - (const uint8_t *)gguf_file_data(model->file, t));
    uint64_t block = off / layout->block_bytes, elem = block * layout->block_elems;
    if (layout->head_bytes) { /* the head of a row */
        elem = off / gguf_type_row_bytes(t->type, t->dims[0]) * t->dims[0];
        block = elem / layout->block_elems;
    }
    const char *what = layout->block_elems > 1 ? "has a scale that is not finite" : "is not finite";
    return gguf_fail(err, GGUF_E_NONFINITE, gguf_file_shard_path(model->file, t->shard),
                     (int64_t)(t->file_off + off),
                     "tensor '%.*s': %s %" PRIu64 " (row %" PRIu64 ", column %" PRIu64 ") %s; the "
                     "file is damaged, gguf-inspect verify lists what is",
                     (int)t->name.len, t->name.ptr, layout->block_elems > 1 ? "block" : "element",
                     block, elem / t->dims[0], elem % t->dims[0], what);
}
