/* Stages of a calibrated plan: 0 what needs no inputs, 1 to n the layers, n + 1 the head. */
#include "tools/common/calibration.h"

#include "libgguf/hash.h"
#include "libgguf/inputs.h"
#include "quant/compensate.h"
#include "quant/imatrix.h"
#include "quant/source.h"
#include "runtime/calibrate/hessians.h"
#include "runtime/calibrate/sensitivity.h"
#include "runtime/import/import.h"
#include "tools/common/calibration_progress.h"
#include "tools/common/calibration_report.h"
#include "tools/common/text_tokens.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_TOKENS 512

struct calibration {
    calibration_opts opts;
    quant_plan *plan;
    rt_model *model;
    rt_ids ids;
    int32_t bos;
    uint32_t n_chunks;
    uint64_t inputs_hash;
    rt_hessians *hessians;
    uint32_t n_layers;
    quant_output_error *errors; /* [plan->n_tensors] */
    calibration_progress progress;
};

calibration_opts calibration_defaults(void) {
    return (calibration_opts){.n_samples = 16384, .damp = 0.05};
}

static gguf_code no_memory(gguf_error *err) {
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
}

static uint32_t chunk_tokens_of(const calibration *c) {
    return c->opts.n_samples < CHUNK_TOKENS ? c->opts.n_samples : CHUNK_TOKENS;
}

static rt_calibrate_opts calibrate_opts(const tool *t, const calibration *c) {
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = chunk_tokens_of(c);
    opts.n_chunks = (c->opts.n_samples + opts.n_ctx - 1) / opts.n_ctx;
    opts.n_threads = t->n_threads;
    opts.bos = c->bos;
    opts.cancel = &tool_cancelled;
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

static void record(const calibration_opts *opts, gguf_meta *meta) {
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

gguf_code calibration_reserve(const calibration_opts *opts, quant_plan *plan, gguf_error *err) {
    record(opts, plan->meta);
    return calibration_report_reserve(plan, err);
}

gguf_code calibration_plan(const calibration_opts *opts, quant_plan *plan, gguf_error *err) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        if (!is_quantised(t)) continue;
        t->stage = t->tags.layer >= 0 ? (uint32_t)t->tags.layer + 1
                                      : (t->tags.is_output ? plan->model.n_layers + 1 : 0);
        t->calibrated = t->stage > 0;
        t->compensate =
            !opts->round && t->calibrated && quant_can_compensate(t->out.type, t->n_cols);
    }
    gguf_code code = calibration_report_set(plan, NULL, err);
    return code ? code : quant_plan_finish(plan, err);
}

static gguf_code read_text(tool *t, calibration *c, gguf_error *err) {
    gguf_code code = text_tokens(c->model, c->opts.text, &c->ids, &c->bos, err);
    if (code) return code;
    const rt_calibrate_opts opts = calibrate_opts(t, c);
    code = text_check_calibration(c->opts.text, c->ids.n, &opts, &c->n_chunks, err);
    if (code) return code;
    c->inputs_hash = rt_calibrate_hash(c->model, c->ids.data, c->ids.n, &opts);
    text_warn_context(t, rt_model_hparams(c->model)->n_ctx_train, opts.n_ctx);
    return GGUF_OK;
}

/* A Hugging Face folder is converted first; the file lives as long as the model is open. */
static gguf_code convert_folder(tool *t, const char *folder, const char *file, rt_model **model,
                                gguf_error *err) {
    rt_import *import = NULL;
    gguf_pool *pool = NULL;
    quant_execute_opts opts = quant_execute_defaults();
    opts.replace = t->force;
    opts.cancel = &tool_cancelled;
    gguf_code code = rt_import_open(folder, NULL, &import, err);
    if (!code) code = quant_plan_finish(rt_import_plan(import), err);
    if (!code) code = gguf_pool_new(t->n_threads, &pool, err);
    if (!code) code = quant_execute(rt_import_plan(import), file, pool, &opts, err);
    gguf_pool_free(pool);
    rt_import_close(import);
    if (code) return code;
    code = rt_model_open(file, model, err);
    gguf_inputs_forget(file); /* its inode will be that of another file */
    unlink(file);
    return code;
}

static gguf_code open_model(tool *t, const char *path, const char *output, rt_model **model,
                            gguf_error *err) {
    struct stat st;
    char file[4096];
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return rt_model_open(path, model, err);
    if ((size_t)snprintf(file, sizeof file, "%s.calibration", output) >= sizeof file)
        return gguf_fail(err, GGUF_E_USAGE, output, GGUF_NO_OFFSET, "the name is too long");
    return convert_folder(t, path, file, model, err);
}

gguf_code calibration_open(tool *t, const char *path, const char *output,
                           const calibration_opts *opts, quant_plan *plan, calibration **out,
                           gguf_error *err) {
    *out = NULL;
    calibration *c = calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    *c = (calibration){.opts = *opts, .plan = plan, .n_layers = plan->model.n_layers, .bos = -1};
    gguf_code code = open_model(t, path, output, &c->model, err);
    if (!code) code = read_text(t, c, err);
    if (code) {
        calibration_close(c);
        return code;
    }
    if (c->ids.n < opts->n_samples)
        gguf_meta_set_u32(plan->meta, "ggufkit.calibration.tokens", (uint32_t)c->ids.n);
    *out = c;
    return GGUF_OK;
}

uint32_t calibration_n_chunks(const calibration *c, uint32_t *chunk_tokens) {
    *chunk_tokens = chunk_tokens_of(c);
    return c->n_chunks;
}

gguf_code calibration_importance(tool *t, calibration *c, gguf_error *err) {
    const rt_calibrate_opts opts = calibrate_opts(t, c);
    quant_imatrix *im = quant_imatrix_new();
    gguf_code code = im ? GGUF_OK : no_memory(err);
    if (!code)
        code = rt_calibrate_importance(c->model, c->ids.data, c->ids.n, &opts, im, NULL, err);
    if (!code) code = quant_plan_attach_importance(c->plan, im, err);
    quant_imatrix_free(im);
    return code;
}

/* ---- sensitivities ----------------------------------------------------------------------- */

#define PROBE_ERROR 0.02 /* large enough to be seen, small enough to be linear */

/* The candidate whose error is nearest to PROBE_ERROR, as a ratio. */
static const quant_candidate *probe_candidate(const quant_tensor_candidates *t) {
    const quant_candidate *best = NULL;
    for (size_t i = 0; i < t->n; i++) {
        const quant_candidate *c = &t->list[i];
        if (!(c->error > 0)) continue;
        if (!best || fabs(log(c->error / PROBE_ERROR)) < fabs(log(best->error / PROBE_ERROR)))
            best = c;
    }
    return best;
}

/* Mean of the logarithms of the nearest measured tensors of the role, before and behind. */
static double interpolate(const calibration *c, const quant_allocation *a, const bool *measured,
                          size_t index) {
    const quant_tags *tags = &c->plan->tensors[index].tags;
    double sum = 0;
    int n = 0, before = INT32_MAX, behind = INT32_MAX;
    size_t at[2] = {SIZE_MAX, SIZE_MAX};
    for (size_t i = 0; i < c->plan->n_tensors; i++) {
        const quant_tags *other = &c->plan->tensors[i].tags;
        if (!measured[i] || strcmp(other->role, tags->role) != 0) continue;
        int distance = other->layer - tags->layer;
        if (distance < 0 && -distance < before) before = -distance, at[0] = i;
        if (distance > 0 && distance < behind) behind = distance, at[1] = i;
    }
    for (int side = 0; side < 2; side++)
        if (at[side] != SIZE_MAX) sum += log(a->tensors[at[side]].sensitivity), n++;
    return n ? exp(sum / n) : a->tensors[index].sensitivity;
}

typedef struct probe_list {
    rt_probe *probes;
    size_t *tensors; /* [n] of the plan */
    double *errors;  /* [n] at the probe's type */
    size_t n;
} probe_list;

static gguf_code list_probes(const calibration *c, const quant_allocation *a, probe_list *list,
                             gguf_error *err) {
    size_t n = c->plan->n_tensors + 1;
    *list = (probe_list){calloc(n, sizeof *list->probes), calloc(n, sizeof *list->tensors),
                         calloc(n, sizeof *list->errors), 0};
    if (!list->probes || !list->tensors || !list->errors) return no_memory(err);
    for (size_t i = 0; i < c->plan->n_tensors; i++) {
        const quant_plan_tensor *t = &c->plan->tensors[i];
        const quant_candidate *candidate = probe_candidate(&a->tensors[i]);
        if (!candidate || (t->tags.layer < 0 && !t->tags.is_output)) continue;
        list->probes[list->n] =
            (rt_probe){.tensor = t->out.name.ptr,
                       .layer = t->tags.layer < 0 ? c->n_layers : (uint32_t)t->tags.layer,
                       .type = candidate->type,
                       .imp = t->imp};
        list->errors[list->n] = candidate->error;
        list->tensors[list->n++] = i;
    }
    return GGUF_OK;
}

static gguf_code take_probes(const calibration *c, const probe_list *list, quant_allocation *a,
                             gguf_error *err) {
    bool *measured = calloc(c->plan->n_tensors + 1, sizeof *measured);
    if (!measured) return no_memory(err);
    for (size_t i = 0; i < list->n; i++) {
        if (!(list->probes[i].kld > 0)) continue;
        measured[list->tensors[i]] = true;
        a->tensors[list->tensors[i]].sensitivity = list->probes[i].kld / list->errors[i];
    }
    for (size_t i = 0; i < list->n; i++)
        if (!measured[list->tensors[i]])
            a->tensors[list->tensors[i]].sensitivity =
                interpolate(c, a, measured, list->tensors[i]);
    free(measured);
    return GGUF_OK;
}

gguf_code calibration_sensitivities(tool *t, calibration *c, quant_allocation *allocation,
                                    gguf_error *err) {
    probe_list list = {0};
    rt_probe_opts opts = rt_probe_defaults();
    opts.n_threads = t->n_threads;
    opts.bos = c->bos;
    opts.cancel = &tool_cancelled;
    opts.progress = tool_progress;
    opts.progress_ctx = t;
    gguf_code code = list_probes(c, allocation, &list, err);
    if (!code)
        code = rt_measure_probes(c->model, c->ids.data, c->ids.n, &opts, list.probes, list.n, err);
    if (!code) code = take_probes(c, &list, allocation, err);
    free(list.probes);
    free(list.tensors);
    free(list.errors);
    return code;
}

/* ---- the walk ---------------------------------------------------------------------------- */

gguf_code calibration_start(tool *t, calibration *c, const char *folder, gguf_error *err) {
    rt_calibrate_opts opts = calibrate_opts(t, c);
    size_t n_tokens = (size_t)opts.n_ctx * opts.n_chunks;
    c->errors = calloc(c->plan->n_tensors + 1, sizeof *c->errors);
    if (!c->errors) return no_memory(err);
    gguf_code code = calibration_progress_init(&c->progress, t, c->plan,
                                               n_tokens < c->ids.n ? n_tokens : c->ids.n, err);
    if (code) return code;
    opts.progress = calibration_progress_walk;
    opts.progress_ctx = &c->progress;
    return rt_hessians_new(c->model, c->ids.data, c->ids.n, &opts, folder, c->opts.damp,
                           &c->hessians, err);
}

void calibration_close(calibration *c) {
    if (!c) return;
    rt_hessians_free(c->hessians);
    calibration_progress_clear(&c->progress);
    rt_ids_clear(&c->ids);
    rt_model_close(c->model);
    free(c->errors);
    free(c);
}

const quant_output_error *calibration_errors(const calibration *c) {
    return c->errors;
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
        fill_importance(list[mat], imp + mat * n_cols, n_cols);
    }
    t->imp = imp;
    t->hessians = list;
    return GGUF_OK;
}

static gguf_code provide(void *ctx, uint32_t stage, bool needed, gguf_pool *pool, gguf_error *err) {
    calibration *c = ctx;
    gguf_code code = GGUF_OK;
    if (stage == 0) return GGUF_OK;
    c->progress.stage = stage;
    if (stage <= c->n_layers)
        code = rt_hessians_next_layer(c->hessians, needed, pool, err);
    else if (needed)
        code = rt_hessians_head(c->hessians, pool, err);
    for (size_t i = 0; i < c->plan->n_tensors && !code && needed; i++) {
        quant_plan_tensor *t = &c->plan->tensors[i];
        if (t->stage == stage && t->calibrated) code = set_tensor(c, t, err);
    }
    return code;
}

void calibration_provide(calibration *c, quant_execute_opts *opts) {
    /* The exact number, of which the metadata has only 32 bits. */
    opts->inputs_hash = gguf_xxh3(&c->opts.damp, sizeof c->opts.damp, c->inputs_hash);
    opts->provide = provide;
    opts->provide_ctx = c;
    opts->output_error = c->errors;
    opts->progress = calibration_progress_bytes;
    opts->progress_ctx = &c->progress;
    opts->compensate.n_passes = c->opts.best ? 6 : 2;
}
