/* Stages of a calibrated plan: 0 what needs no inputs, 1 to n the layers, n + 1 the head. */
#include "tools/common/calibration.h"

#include "quant/compensate.h"
#include "quant/source.h"
#include "runtime/hessians.h"
#include "tools/common/text_tokens.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_TOKENS 512

struct calibration {
    calibration_opts opts;
    quant_plan *plan;
    rt_model *model;
    rt_hessians *hessians;
    uint32_t n_layers;
    size_t n_unseen;
};

calibration_opts calibration_defaults(void) {
    return (calibration_opts){.n_samples = 16384, .damp = 0.01};
}

static gguf_code no_memory(gguf_error *err) {
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
}

static gguf_code open_hessians(tool *t, calibration *c, const char *folder, gguf_error *err) {
    rt_ids ids = {0};
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = c->opts.n_samples < CHUNK_TOKENS ? c->opts.n_samples : CHUNK_TOKENS;
    opts.n_chunks = (c->opts.n_samples + opts.n_ctx - 1) / opts.n_ctx;
    opts.n_threads = t->n_threads;
    opts.cancel = &tool_cancelled;
    gguf_code code = text_tokens(c->model, c->opts.text, &ids, &opts.bos, err);
    if (!code)
        code = rt_hessians_new(c->model, ids.data, ids.n, &opts, folder, c->opts.damp, &c->hessians,
                               err);
    rt_ids_clear(&ids);
    return code;
}

static bool is_quantised(const quant_plan_tensor *t) {
    const gguf_type_layout *layout = gguf_type_layout_of(t->out.type);
    return layout && layout->block_elems > 1 && t->out.type != t->source_type;
}

static uint64_t n_mats_of(const quant_plan_tensor *t) {
    uint64_t rows = quant_rows_per_matrix(t);
    return rows ? t->n_rows / rows : 0;
}

/* Memory for what a stage will set; the pointers stay NULL until then. */
static gguf_code prepare_tensor(calibration *c, quant_plan_tensor *t) {
    t->stage = t->tags.layer >= 0 ? (uint32_t)t->tags.layer + 1
                                  : (t->tags.is_output ? c->n_layers + 1 : 0);
    t->compensate = !c->opts.round && t->stage > 0 && quant_can_compensate(t->out.type, t->n_cols);
    return GGUF_OK;
}

static void record(const calibration *c, quant_plan *plan) {
    const char *slash = strrchr(c->opts.text, '/');
    gguf_meta_set_str(plan->meta, "ggufkit.calibration.method",
                      gguf_str_of(c->opts.round ? "round" : "compensate"));
    gguf_meta_set_str(plan->meta, "ggufkit.calibration.dataset",
                      gguf_str_of(slash ? slash + 1 : c->opts.text));
    gguf_meta_set_u32(plan->meta, "ggufkit.calibration.tokens",
                      (uint32_t)rt_hessians_n_tokens(c->hessians));
    gguf_meta_set_f32(plan->meta, "ggufkit.calibration.damp", (float)c->opts.damp);
    gguf_meta_set_str(plan->meta, "ggufkit.calibration.effort",
                      gguf_str_of(c->opts.best ? "best" : "fast"));
}

gguf_code calibration_open(tool *t, const char *path, const char *folder,
                           const calibration_opts *opts, quant_plan *plan, calibration **out,
                           gguf_error *err) {
    *out = NULL;
    calibration *c = calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    *c = (calibration){.opts = *opts, .plan = plan, .n_layers = plan->model.n_layers};
    gguf_code code = rt_model_open(path, &c->model, err);
    if (!code) code = open_hessians(t, c, folder, err);
    for (size_t i = 0; i < plan->n_tensors && !code; i++)
        if (is_quantised(&plan->tensors[i])) code = prepare_tensor(c, &plan->tensors[i]);
    if (code) {
        calibration_close(c);
        return code;
    }
    record(c, plan);
    *out = c;
    return GGUF_OK;
}

void calibration_close(calibration *c) {
    if (!c) return;
    rt_hessians_free(c->hessians);
    rt_model_close(c->model);
    free(c);
}

size_t calibration_n_unseen(const calibration *c) {
    return c->n_unseen;
}

/* ---- stages ------------------------------------------------------------------------------ */

/* Importance is the Hessian's diagonal; ones for a matrix without. */
static void fill_importance(const quant_hessian *hessian, float *imp, size_t n_cols) {
    for (size_t i = 0; i < n_cols; i++) imp[i] = hessian ? hessian->h[i * (n_cols + 1)] : 1.0f;
}

static gguf_code set_tensor(calibration *c, quant_plan_tensor *t, gguf_error *err) {
    size_t n_mats = (size_t)n_mats_of(t), n_cols = (size_t)t->n_cols;
    const quant_hessian **list = quant_plan_alloc(c->plan, n_mats * sizeof(quant_hessian *));
    float *imp = quant_plan_alloc(c->plan, n_mats * n_cols * sizeof *imp);
    if (!list || !imp) return no_memory(err);
    for (size_t mat = 0; mat < n_mats; mat++) {
        list[mat] = rt_hessians_find(c->hessians, t->out.name.ptr, mat);
        if (list[mat] && list[mat]->n != n_cols) list[mat] = NULL;
        c->n_unseen += list[mat] == NULL;
        fill_importance(list[mat], imp + mat * n_cols, n_cols);
    }
    t->imp = imp;
    t->hessians = t->compensate ? list : NULL;
    return GGUF_OK;
}

static gguf_code provide(void *ctx, uint32_t stage, bool needed, gguf_pool *pool, gguf_error *err) {
    calibration *c = ctx;
    gguf_code code = GGUF_OK;
    if (stage == 0) return GGUF_OK;
    if (stage <= c->n_layers)
        code = rt_hessians_next_layer(c->hessians, needed, pool, err);
    else if (needed)
        code = rt_hessians_head(c->hessians, pool, err);
    for (size_t i = 0; i < c->plan->n_tensors && !code && needed; i++) {
        quant_plan_tensor *t = &c->plan->tensors[i];
        if (t->stage == stage && is_quantised(t)) code = set_tensor(c, t, err);
    }
    return code;
}

void calibration_provide(calibration *c, quant_execute_opts *opts) {
    opts->provide = provide;
    opts->provide_ctx = c;
    opts->compensate.n_passes = c->opts.best ? 6 : 2;
}
