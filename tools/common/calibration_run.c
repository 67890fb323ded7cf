/* The model and the text of a calibration, and its progress on the terminal. */
#include "tools/common/calibration_run.h"

#include "libgguf/inputs.h"
#include "runtime/import/import.h"
#include "tools/common/calibration_progress.h"
#include "tools/common/text_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct calibration {
    rt_calibration *work;
    const quant_plan *plan;
    rt_model *model;
    rt_ids ids;
    calibration_progress progress;
};

/* A Hugging Face folder is converted first; the file lives as long as the model is open. */
static gguf_code convert_folder(tool *t, const char *folder, const char *file, rt_model **model,
                                gguf_error *err) {
    rt_import *import = NULL;
    gguf_pool *pool = NULL;
    quant_execute_opts opts = quant_execute_defaults();
    opts.ranks = t->ranks;
    opts.replace = t->force;
    opts.cancel = &tool_cancelled;
    gguf_code code = rt_import_open(folder, NULL, &import, err);
    if (!code) code = quant_plan_finish(rt_import_plan(import), err);
    if (!code) code = gguf_pool_new(t->n_threads, &pool, err);
    if (!code) code = quant_execute(rt_import_plan(import), file, pool, &opts, err);
    gguf_pool_free(pool);
    rt_import_close(import);
    if (code) return code;
    code = gguf_ranks_agree(t->ranks, rt_model_open(file, model, err), err);
    gguf_inputs_forget(file); /* its inode will be that of another file */
    if (gguf_ranks_own(t->ranks) == 0) unlink(file);
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

static gguf_code open_text(tool *t, calibration *c, const rt_calibration_opts *opts,
                           quant_plan *plan, gguf_error *err) {
    rt_calibration_opts with = *opts;
    int32_t bos;
    with.n_threads = t->n_threads;
    with.ranks = t->ranks;
    with.cancel = &tool_cancelled;
    gguf_code code = text_tokens(c->model, opts->text, &c->ids, &bos, err);
    if (!code)
        code = rt_calibration_new(&with, c->model, c->ids.data, c->ids.n, bos, plan, &c->work, err);
    if (code) return code;
    text_warn_context(t, rt_model_hparams(c->model)->n_ctx_train,
                      rt_calibration_size_of(c->work).chunk_tokens);
    return GGUF_OK;
}

gguf_code calibration_open(tool *t, const char *path, const char *output,
                           const rt_calibration_opts *opts, quant_plan *plan, calibration **out,
                           gguf_error *err) {
    *out = NULL;
    calibration *c = calloc(1, sizeof *c);
    if (!c) return gguf_fail_memory(err);
    c->plan = plan;
    gguf_code code = open_model(t, path, output, &c->model, err);
    if (!code) code = open_text(t, c, opts, plan, err);
    if (code)
        calibration_close(c);
    else
        *out = c;
    return code;
}

void calibration_close(calibration *c) {
    if (!c) return;
    rt_calibration_free(c->work);
    calibration_progress_clear(&c->progress);
    rt_ids_clear(&c->ids);
    rt_model_close(c->model);
    free(c);
}

rt_calibration *calibration_work(const calibration *c) {
    return c->work;
}

gguf_code calibration_start(tool *t, calibration *c, const char *folder, gguf_error *err) {
    gguf_code code = calibration_progress_init(&c->progress, t, c->plan,
                                               rt_calibration_size_of(c->work).n_tokens, err);
    const rt_calibration_watch watch = {calibration_progress_stage, calibration_progress_walk,
                                        &c->progress};
    return code ? code : rt_calibration_start(c->work, folder, &watch, err);
}

void calibration_provide(calibration *c, quant_execute_opts *opts) {
    rt_calibration_provide(c->work, opts);
    opts->progress = calibration_progress_bytes;
    opts->progress_ctx = &c->progress;
}
