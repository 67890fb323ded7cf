/* Work of stages. Only ratios matter; they were measured on a model of 1.1 B parameters. */
#include "tools/common/calibration_progress.h"

#include <stdio.h>
#include <stdlib.h>

/* Multiplications of a product that take as long as one element ... */
#define PER_COLUMN_FED    6.0    /* ... compensated, for each column of its row */
#define PER_ROUNDED       4000.0 /* ... encoded */
#define PER_COPIED        50.0   /* ... copied */
#define HESSIANS_PER_SELF 0.25   /* of an n x n Hessian; half of it, shared by about two tensors */

static double rest_of(const quant_plan_tensor *t) {
    double n_elems = (double)t->n_rows * (double)t->n_cols;
    if (t->compensate) return n_elems * (double)t->n_cols * PER_COLUMN_FED;
    return n_elems * (t->source_type == t->out.type ? PER_COPIED : PER_ROUNDED);
}

static double walk_of(const quant_plan_tensor *t, size_t n_tokens) {
    double n_rows = (double)t->n_rows, n_cols = (double)t->n_cols;
    return t->calibrated ? (double)n_tokens * n_cols * (n_rows + HESSIANS_PER_SELF * n_cols) : 0;
}

gguf_code calibration_progress_init(calibration_progress *p, tool *t, const quant_plan *plan,
                                    size_t n_tokens, gguf_error *err) {
    uint32_t n_stages = plan->model.n_layers + 2;
    *p = (calibration_progress){.t = t, .started_s = tool_now_s(), .n_stages = n_stages};
    p->stages = calloc(n_stages, sizeof *p->stages);
    if (!p->stages) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *tensor = &plan->tensors[i];
        calibration_stage *stage = &p->stages[tensor->stage];
        stage->n_bytes += tensor->n_rows * quant_row_bytes(tensor->out.type, tensor->n_cols);
        stage->walk += walk_of(tensor, n_tokens);
        stage->rest += rest_of(tensor);
    }
    return GGUF_OK;
}

void calibration_progress_clear(calibration_progress *p) {
    free(p->stages);
    p->stages = NULL;
}

/* `done` of the work of a stage, and all stages before it. */
static void show(const calibration_progress *p, uint32_t stage, double done) {
    char what[48];
    double total = 0;
    for (uint32_t i = 0; i < p->n_stages; i++) {
        if (i == stage) done += total;
        total += p->stages[i].walk + p->stages[i].rest;
    }
    if (stage + 1 == p->n_stages)
        snprintf(what, sizeof what, "head");
    else
        snprintf(what, sizeof what, "layer %u of %u", stage, p->n_stages - 2);
    tool_progress_share(p->t, what, total > 0 ? done / total : 1, p->started_s);
}

void calibration_progress_stage(void *ctx, uint32_t stage) {
    calibration_progress *p = ctx;
    p->stage = stage;
}

void calibration_progress_walk(void *ctx, uint64_t done_tokens, uint64_t total_tokens) {
    const calibration_progress *p = ctx;
    show(p, p->stage, p->stages[p->stage].walk * (double)done_tokens / (double)total_tokens);
}

/* Stages are executed in order, so bytes tell which one it is. */
void calibration_progress_bytes(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    const calibration_progress *p = ctx;
    uint32_t stage = 0;
    (void)total_bytes;
    while (stage + 1 < p->n_stages && done_bytes > p->stages[stage].n_bytes)
        done_bytes -= p->stages[stage++].n_bytes;
    const calibration_stage *s = &p->stages[stage];
    double share = s->n_bytes ? (double)done_bytes / (double)s->n_bytes : 1;
    show(p, stage, s->walk + s->rest * (share < 1 ? share : 1));
}
