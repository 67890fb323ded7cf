/* Laying weights so that they multiply faster: a copy that this processor's kernels like better. */
#include "quant/quant.h"
#include "runtime/engine/memory.h"
#include "runtime/model/model_internal.h"
#include "runtime/model/slots.h"
#include "runtime/model/weights_check.h"

#include <stdlib.h>
#include <string.h>

#define TASK_ROWS 256

typedef struct job {
    rt_model *model;
    rt_weight *weight;
    uint8_t *to;
    size_t tasks_of_mat;
    atomic_uintptr_t fault; /* the first block that is not finite, or UINTPTR_MAX */
} job;

static uint64_t repacked_bytes(const rt_weight *w) {
    if (!w || !w->data || w->placed) return 0;
    uint64_t mat_bytes = w->n_rows * w->row_bytes;
    bool fused = w->n_mats > 1 && w->mat_bytes != mat_bytes; /* other rows between the matrices */
    if (fused || !quant_can_repack(w->type, w->n_rows)) return 0;
    uint64_t n_bytes = w->n_mats * w->n_rows * quant_repacked_row_bytes(w->type, w->n_cols);
    return (n_bytes + 63) / 64 * 64;
}

/* The rows are read anyhow: those that nobody has looked at yet are looked at here. */
static void check_rows(job *j, uint32_t mat, const uint8_t *rows, size_t n_rows) {
    if (!rt_weight_is_new(j->weight, mat)) return;
    rt_weight_keep_fault(&j->fault, rt_weight_fault(j->weight, rows, n_rows));
}

static void repack_rows(void *ctx, size_t task, unsigned worker) {
    job *j = ctx;
    const rt_weight *w = j->weight;
    uint64_t mat = task / j->tasks_of_mat, row = task % j->tasks_of_mat * TASK_ROWS;
    size_t n_rows = w->n_rows - row < TASK_ROWS ? w->n_rows - row : TASK_ROWS;
    size_t to_bytes = quant_repacked_row_bytes(w->type, w->n_cols);
    const uint8_t *rows = (const uint8_t *)w->data + mat * w->mat_bytes + row * w->row_bytes;
    (void)worker;
    check_rows(j, (uint32_t)mat, rows, n_rows);
    quant_repack(w->type, rows, n_rows, w->n_cols, j->to + (mat * w->n_rows + row) * to_bytes);
    atomic_fetch_add(&j->model->repacked_bytes, n_rows * to_bytes);
}

/* The file's pages are not needed soon: without this both copies would count as memory. */
static void release(const rt_model *model, const rt_weight *w) {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    if (w->name.len == 0 || w->name.len >= sizeof name) return;
    memcpy(name, w->name.ptr, w->name.len);
    name[w->name.len] = '\0';
    const gguf_tensor *tensor = gguf_file_find_tensor(model->file, name);
    if (tensor) gguf_file_release(model->file, tensor, 0, tensor->n_bytes);
}

/* *to moves on by what the weight takes. */
static gguf_code repack(rt_model *model, rt_weight *w, uint8_t **to, gguf_pool *pool,
                        gguf_error *err) {
    uint64_t n_bytes = repacked_bytes(w);
    if (n_bytes == 0) return GGUF_OK;
    job j = {model, w, *to, (w->n_rows + TASK_ROWS - 1) / TASK_ROWS, UINTPTR_MAX};
    gguf_pool_run(pool, w->n_mats * j.tasks_of_mat, repack_rows, &j);
    uintptr_t fault = atomic_load(&j.fault);
    if (fault != UINTPTR_MAX) return rt_weights_fail(model, (const uint8_t *)fault, err);
    for (uint32_t mat = 0; mat < w->n_mats; mat++) rt_weight_passed(w, mat);
    w->placed = *to;
    release(model, w);
    *to += n_bytes;
    uint64_t rows_bytes = w->n_mats * w->n_rows * quant_repacked_row_bytes(w->type, w->n_cols);
    atomic_fetch_add(&model->repacked_bytes, n_bytes - rows_bytes);
    atomic_fetch_add(&model->grown_bytes, n_bytes - w->n_mats * w->n_rows * w->row_bytes);
    return GGUF_OK;
}

/* NULL: an earlier slot names the same weight otherwise. */
static rt_weight *matrix_of(rt_model *model, uint32_t layer, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (rt_layer_slots.matrices[k].field == rt_layer_slots.matrices[i].field) return NULL;
    return rt_slot_matrix(&model->layers[layer], &rt_layer_slots, i);
}

static uint64_t total_bytes(rt_model *model) {
    const rt_hparams *hp = &model->hparams;
    uint64_t n_bytes = hp->n_layer_after ? 0 : repacked_bytes(&model->output);
    for (uint32_t layer = hp->n_layer_before; layer < rt_hparams_end(hp); layer++)
        for (size_t i = 0; i < rt_layer_slots.n_matrices; i++)
            n_bytes += repacked_bytes(matrix_of(model, layer, i));
    return n_bytes;
}

gguf_code rt_model_repack(rt_model *model, unsigned n_threads, const atomic_bool *cancel,
                          gguf_error *err) {
    uint64_t n_bytes = total_bytes(model);
    gguf_pool *pool;
    if (model->repacked || n_bytes == 0 || n_bytes > rt_available_bytes("") / 4 * 3) return GGUF_OK;
    if (rt_allocate(n_bytes, &model->repacked, err)) return GGUF_OK; /* works without */
    gguf_code code = gguf_pool_new(n_threads, &pool, err);
    if (code) {
        free(model->repacked);
        model->repacked = NULL;
        return code;
    }
    uint8_t *to = model->repacked;
    atomic_store(&model->to_repack_bytes, n_bytes);
    const rt_hparams *hp = &model->hparams;
    if (!hp->n_layer_after) code = repack(model, &model->output, &to, pool, err);
    for (uint32_t layer = hp->n_layer_before;
         layer < rt_hparams_end(hp) && !(cancel && atomic_load(cancel)); layer++)
        for (size_t i = 0; i < rt_layer_slots.n_matrices && !code; i++)
            code = repack(model, matrix_of(model, layer, i), &to, pool, err);
    gguf_pool_free(pool);
    return code;
}

uint64_t rt_model_repacked_bytes(const rt_model *model) {
    return atomic_load(&model->repacked_bytes);
}

uint64_t rt_model_grown_bytes(const rt_model *model) {
    return atomic_load(&model->grown_bytes);
}

double rt_model_repacked_share(const rt_model *model) {
    uint64_t n_bytes = atomic_load(&model->to_repack_bytes);
    return n_bytes ? (double)atomic_load(&model->repacked_bytes) / (double)n_bytes : 0;
}
