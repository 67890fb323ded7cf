/* What a device is given: one walk over the weights of its layers, for all purposes. */
#include "runtime/engine/constants.h"

#include "quant/quant.h"
#include "runtime/model/slots.h"
#include "runtime/model/weights_check.h"

#include <stdlib.h>

typedef void (*visit_fn)(void *ctx, const rt_weight *weight);

/* A weight and what adapters add to it. */
static void visit(const rt_weight *weight, visit_fn fn, void *ctx) {
    if (weight->data) fn(ctx, weight);
    for (const rt_lora *lora = weight->lora; lora; lora = lora->next) {
        fn(ctx, &lora->a);
        fn(ctx, &lora->b);
    }
}

/* The output, what follows several streams, and the last n_layers. */
static void visit_all(const rt_model *model, uint32_t n_layers, visit_fn fn, void *ctx) {
    visit(&model->output, fn, ctx);
    visit(&model->altup_unembd, fn, ctx);
    visit(&model->hyper_head.fn, fn, ctx);
    for (uint32_t i = model->hparams.n_layer - n_layers; i < model->hparams.n_layer; i++)
        for (size_t k = 0; k < rt_layer_slots.n_matrices; k++)
            visit(rt_slot_matrix(&model->layers[i], &rt_layer_slots, k), fn, ctx);
}

/* ---- the list ---------------------------------------------------------------------------------
 */

typedef struct list {
    rt_constant *items; /* NULL: they are only counted */
    size_t n;
} list;

static void append(list *l, const void *data, uint64_t n_bytes) {
    if (!data || n_bytes == 0) return;
    if (l->items) l->items[l->n] = (rt_constant){data, n_bytes};
    l->n++;
}

static void append_weight(void *ctx, const rt_weight *w) {
    size_t n_bytes = 0;
    append(ctx, w->data, (w->n_mats - UINT64_C(1)) * w->mat_bytes + w->n_rows * w->row_bytes);
    append(ctx, quant_codebook(w->type, &n_bytes), n_bytes);
}

static void append_all(const rt_model *model, uint32_t n_layers, list *l) {
    l->n = 0;
    append(l, model->vectors, model->n_vectors * sizeof *model->vectors);
    append(l, model->slopes, model->hparams.n_head * sizeof *model->slopes);
    visit_all(model, n_layers, append_weight, l);
}

static const uint8_t *start_of(const rt_constant *c) {
    return c->data;
}

static int by_address(const void *a, const void *b) {
    const uint8_t *x = start_of(a), *y = start_of(b);
    return (x > y) - (x < y);
}

/* Parts of a fused tensor, and matrices in several places of a model, become one. */
static size_t merge(rt_constant *items, size_t n) {
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        rt_constant *last = n_kept ? &items[n_kept - 1] : NULL;
        const uint8_t *end = start_of(&items[i]) + items[i].n_bytes;
        if (!last || start_of(&items[i]) >= start_of(last) + last->n_bytes)
            items[n_kept++] = items[i];
        else if (end > start_of(last) + last->n_bytes)
            last->n_bytes = (uint64_t)(end - start_of(last));
    }
    return n_kept;
}

gguf_code rt_constants_of(const rt_model *model, uint32_t n_layers, rt_constant **out, size_t *n,
                          gguf_error *err) {
    list l = {0};
    append_all(model, n_layers, &l);
    l.items = calloc(l.n + 1, sizeof *l.items);
    *out = l.items;
    if (!l.items) return gguf_fail_memory(err);
    append_all(model, n_layers, &l);
    qsort(l.items, l.n, sizeof *l.items, by_address);
    *n = merge(l.items, l.n);
    return GGUF_OK;
}

/* ---- looking at weights -----------------------------------------------------------------------
 */

enum { TASK_ROWS = 256 };

typedef struct checking {
    const rt_weight *weight;
    gguf_pool *pool;
    size_t tasks_of_mat;
    atomic_uintptr_t fault; /* the first block that is not finite, or UINTPTR_MAX */
} checking;

static void check_rows(void *ctx, size_t task, unsigned worker) {
    checking *c = ctx;
    const rt_weight *w = c->weight;
    uint32_t mat = (uint32_t)(task / c->tasks_of_mat);
    uint64_t row = task % c->tasks_of_mat * TASK_ROWS;
    const uint8_t *rows = (const uint8_t *)w->data + mat * w->mat_bytes + row * w->row_bytes;
    (void)worker;
    if (!rt_weight_is_new(w, mat)) return;
    size_t n_rows = w->n_rows - row < TASK_ROWS ? w->n_rows - row : TASK_ROWS;
    rt_weight_keep_fault(&c->fault, rt_weight_fault(w, rows, n_rows));
}

static void check_weight(void *ctx, const rt_weight *w) {
    checking *c = ctx;
    if (atomic_load(&c->fault) != UINTPTR_MAX) return;
    c->weight = w;
    c->tasks_of_mat = (w->n_rows + TASK_ROWS - 1) / TASK_ROWS;
    gguf_pool_run(c->pool, w->n_mats * c->tasks_of_mat, check_rows, c);
    for (uint32_t m = 0; m < w->n_mats && atomic_load(&c->fault) == UINTPTR_MAX; m++)
        rt_weight_passed(w, m);
}

gguf_code rt_constants_check(const rt_model *model, uint32_t n_layers, gguf_pool *pool,
                             gguf_error *err) {
    checking c = {.pool = pool};
    atomic_init(&c.fault, UINTPTR_MAX);
    visit_all(model, n_layers, check_weight, &c);
    uintptr_t fault = atomic_load(&c.fault);
    return fault == UINTPTR_MAX ? GGUF_OK : rt_weights_fail(model, (const uint8_t *)fault, err);
}
