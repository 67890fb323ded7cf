/* A calibrated plan: its stages, what each tensor of a stage is rounded with. */
#include "runtime/calibrate/calibration.h"

#include "libgguf/hash.h"
#include "quant/compensate.h"
#include "quant/imatrix.h"
#include "quant/source.h"
#include "runtime/calibrate/calibration_internal.h"
#include "runtime/calibrate/calibration_keys.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_TOKENS 512

rt_calibration_opts rt_calibration_defaults(void) {
    return (rt_calibration_opts){.n_samples = 16384, .damp = 0.05};
}

static rt_calibrate_opts calibrate_opts(const rt_calibration *c) {
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = c->opts.n_samples < CHUNK_TOKENS ? c->opts.n_samples : CHUNK_TOKENS;
    opts.n_chunks = (c->opts.n_samples + opts.n_ctx - 1) / opts.n_ctx;
    opts.n_threads = c->opts.n_threads;
    opts.ranks = c->opts.ranks;
    opts.bos = c->bos;
    opts.cancel = c->opts.cancel;
    return opts;
}

static bool is_quantised(const quant_plan_tensor *t) {
    const gguf_type_layout *layout = gguf_type_layout_of(t->out.type);
    return layout && layout->block_elems > 1 && t->out.type != t->source_type;
}

static uint64_t n_mats_of(const quant_plan_tensor *t) {
    uint64_t rows = quant_rows_per_matrix(t);
    return rows ? t->n_rows / rows : 0;
}

static void record(const rt_calibration_opts *opts, gguf_meta *meta) {
    const char *slash = strrchr(opts->text, '/');
    gguf_meta_set_str(meta, "ggufkit.calibration.method",
                      gguf_str_of(opts->round ? "round" : "compensate"));
    gguf_meta_set_str(meta, "ggufkit.calibration.dataset",
                      gguf_str_of(slash ? slash + 1 : opts->text));
    gguf_meta_set_u32(meta, "ggufkit.calibration.tokens", opts->n_samples);
    gguf_meta_set_f32(meta, "ggufkit.calibration.damp", (float)opts->damp);
    gguf_meta_set_str(meta, "ggufkit.calibration.effort",
                      gguf_str_of(opts->best ? "best" : "fast"));
}

gguf_code rt_calibration_reserve(const rt_calibration_opts *opts, quant_plan *plan,
                                 gguf_error *err) {
    record(opts, plan->meta);
    return rt_calibration_keys_reserve(plan, err);
}

gguf_code rt_calibration_plan(const rt_calibration_opts *opts, quant_plan *plan, gguf_error *err) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        if (!is_quantised(t)) continue;
        t->stage = t->tags.layer >= 0 ? (uint32_t)t->tags.layer + 1
                                      : (t->tags.is_output ? plan->model.n_layers + 1 : 0);
        t->calibrated = t->stage > 0;
        t->compensate =
            !opts->round && t->calibrated && quant_can_compensate(t->out.type, t->n_cols);
    }
    gguf_code code = rt_calibration_keys_set(plan, NULL, err);
    return code ? code : quant_plan_finish(plan, err);
}

/* ---- the text ---------------------------------------------------------------------------- */

static gguf_code take_text(rt_calibration *c, gguf_error *err) {
    const rt_calibrate_opts opts = calibrate_opts(c);
    gguf_error why = {0};
    gguf_code code = rt_calibrate_n_chunks(c->n_tokens, &opts, &c->n_chunks, &why);
    if (code) return gguf_fail(err, code, c->opts.text, GGUF_NO_OFFSET, "%s", why.message);
    c->inputs_hash = rt_calibrate_hash(c->model, c->tokens, c->n_tokens, &opts);
    if (c->n_tokens < c->opts.n_samples)
        gguf_meta_set_u32(c->plan->meta, "ggufkit.calibration.tokens", (uint32_t)c->n_tokens);
    return GGUF_OK;
}

gguf_code rt_calibration_new(const rt_calibration_opts *opts, rt_model *model,
                             const int32_t *tokens, size_t n_tokens, int32_t bos, quant_plan *plan,
                             rt_calibration **out, gguf_error *err) {
    *out = NULL;
    rt_calibration *c = calloc(1, sizeof *c);
    if (!c) return gguf_fail_memory(err);
    *c = (rt_calibration){.opts = *opts,
                          .plan = plan,
                          .model = model,
                          .tokens = tokens,
                          .n_tokens = n_tokens,
                          .bos = bos,
                          .n_layers = plan->model.n_layers};
    gguf_code code = take_text(c, err);
    if (code)
        rt_calibration_free(c);
    else
        *out = c;
    return code;
}

/* Tensors that are written need nothing any more. */
static void end_stage(rt_calibration *c) {
    for (size_t i = 0; c->stage_tensors && i < c->plan->n_tensors; i++) {
        quant_plan_tensor *t = &c->plan->tensors[i];
        stage_tensor *own = &c->stage_tensors[i];
        if (!own->ready) continue;
        t->hessians = NULL;
        t->imp = NULL;
        t->ready = NULL;
        free(own->hessians);
        free(own->imp);
        free(own->ready);
        *own = (stage_tensor){0};
    }
}

void rt_calibration_free(rt_calibration *c) {
    if (!c) return;
    end_stage(c);
    rt_hessians_free(c->hessians);
    free(c->stage_tensors);
    free(c->errors);
    free(c);
}

rt_calibration_size rt_calibration_size_of(const rt_calibration *c) {
    const rt_calibrate_opts opts = calibrate_opts(c);
    size_t most = (size_t)opts.n_ctx * opts.n_chunks;
    return (rt_calibration_size){c->n_chunks, opts.n_ctx, most < c->n_tokens ? most : c->n_tokens};
}

/* From rank 0 to all. */
static gguf_code spread_importance(gguf_ranks *ranks, quant_imatrix *im, gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (gguf_ranks_own(ranks) > 0) return quant_imatrix_receive(im, ranks, 0, err);
    for (uint32_t to = 1; to < gguf_ranks_n(ranks) && !code; to++)
        code = quant_imatrix_send(im, ranks, to, err);
    return code;
}

gguf_code rt_calibration_importance(rt_calibration *c, gguf_error *err) {
    const rt_calibrate_opts opts = calibrate_opts(c);
    quant_imatrix *im = quant_imatrix_new();
    gguf_code code = im ? GGUF_OK : gguf_fail_memory(err);
    if (!code)
        code = rt_calibrate_importance(c->model, c->tokens, c->n_tokens, &opts, im, NULL, err);
    if (!code) code = spread_importance(c->opts.ranks, im, err);
    if (!code) code = quant_plan_attach_importance(c->plan, im, err);
    quant_imatrix_free(im);
    return gguf_ranks_agree(c->opts.ranks, code, err);
}

/* ---- the walk ---------------------------------------------------------------------------- */

gguf_code rt_calibration_start(rt_calibration *c, const char *folder,
                               const rt_calibration_watch *watch, gguf_error *err) {
    rt_calibrate_opts opts = calibrate_opts(c);
    c->errors = calloc(c->plan->n_tensors + 1, sizeof *c->errors);
    c->stage_tensors = calloc(c->plan->n_tensors + 1, sizeof *c->stage_tensors);
    if (!c->errors || !c->stage_tensors) return gguf_fail_memory(err);
    if (watch) c->watch = *watch;
    opts.progress = c->watch.tokens;
    opts.progress_ctx = c->watch.ctx;
    return rt_hessians_new(c->model, c->tokens, c->n_tokens, &opts, folder, c->opts.damp,
                           &c->hessians, err);
}

const quant_output_error *rt_calibration_errors(const rt_calibration *c) {
    return c->errors;
}

/* ---- stages ------------------------------------------------------------------------------ */

/* Importance is the Hessian's diagonal; ones for a matrix without. */
static void fill_importance(const quant_hessian *hessian, float *imp, size_t n_cols) {
    for (size_t i = 0; i < n_cols; i++) imp[i] = hessian ? hessian->h[i * (n_cols + 1)] : 1.0f;
}

static gguf_code begin_tensor(quant_plan_tensor *t, stage_tensor *own, gguf_error *err) {
    size_t n_mats = (size_t)n_mats_of(t), n_cols = (size_t)t->n_cols;
    *own = (stage_tensor){calloc(n_mats + 1, sizeof *own->hessians),
                          calloc(n_mats * n_cols + 1, sizeof *own->imp),
                          calloc(n_mats + 1, sizeof *own->ready)};
    if (!own->hessians || !own->imp || !own->ready) return gguf_fail_memory(err);
    t->hessians = own->hessians;
    t->imp = own->imp;
    t->ready = own->ready;
    return GGUF_OK;
}

/* Matrices without a Hessian are rounded in the last pass; those of earlier ones are written. */
static void set_tensor(const rt_calibration *c, const quant_plan_tensor *t, stage_tensor *own,
                       bool more) {
    size_t n_mats = (size_t)n_mats_of(t), n_cols = (size_t)t->n_cols;
    for (size_t mat = 0; mat < n_mats; mat++) {
        const quant_hessian *hessian = rt_hessians_find(c->hessians, t->out.name.ptr, mat);
        if (hessian && hessian->n != n_cols) hessian = NULL;
        own->hessians[mat] = hessian;
        own->ready[mat] = hessian || !more;
        if (own->ready[mat]) fill_importance(hessian, own->imp + mat * n_cols, n_cols);
    }
}

/* Of the stage's tensors, what this pass has. */
static gguf_code set_tensors(rt_calibration *c, uint32_t stage, bool more, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < c->plan->n_tensors && !code; i++) {
        quant_plan_tensor *t = &c->plan->tensors[i];
        stage_tensor *own = &c->stage_tensors[i];
        if (t->stage != stage || !t->calibrated) continue;
        if (!own->ready) code = begin_tensor(t, own, err);
        if (!code) set_tensor(c, t, own, more);
    }
    return code;
}

static gguf_code provide(void *ctx, uint32_t stage, bool needed, gguf_pool *pool, bool *more,
                         gguf_error *err) {
    rt_calibration *c = ctx;
    gguf_code code = GGUF_OK;
    if (stage != c->stage) end_stage(c);
    c->stage = stage;
    if (stage == 0) return GGUF_OK;
    if (c->watch.stage) c->watch.stage(c->watch.ctx, stage);
    if (stage <= c->n_layers)
        code = rt_hessians_next_layer(c->hessians, needed, pool, more, err);
    else if (needed)
        code = rt_hessians_head(c->hessians, pool, more, err);
    return code || !needed ? code : set_tensors(c, stage, *more, err);
}

void rt_calibration_provide(rt_calibration *c, quant_execute_opts *opts) {
    /* The exact number, of which the metadata has only 32 bits. */
    opts->inputs_hash = gguf_xxh3(&c->opts.damp, sizeof c->opts.damp, c->inputs_hash);
    opts->provide = provide;
    opts->provide_ctx = c;
    opts->output_error = c->errors;
    opts->compensate.n_passes = c->opts.best ? 6 : 2;
}
