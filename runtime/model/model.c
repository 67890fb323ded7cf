/* A model: the file, its description, its numbers and its tensors. */
#include "runtime/model/model_internal.h"
#include "runtime/model/weights_check.h"

#include <stdlib.h>

static gguf_code open_arch(rt_model *model, gguf_error *err) {
    const gguf_kv *kv = gguf_meta_find(gguf_file_meta(model->file), "general.architecture");
    gguf_str name;
    if (gguf_kv_str(kv, &name)) return rt_arch_open(name, NULL, &model->arch, err);
    return gguf_fail(err, GGUF_E_MISSING, gguf_file_path(model->file), GGUF_NO_OFFSET,
                     "there is no string 'general.architecture'");
}

static gguf_code refuse(const rt_model *model, const char *what, const char *name,
                        gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(model->file), GGUF_NO_OFFSET,
                     "the runtime does not compute %s '%s' of the architecture '%s' yet", what,
                     name, rt_arch_name(model->arch));
}

/* Never compute something else than the description says. */
static gguf_code check_compute(const rt_model *model, gguf_error *err) {
    const rt_arch_compute *compute = rt_arch_compute_of(model->arch);
    if (compute->needs) return refuse(model, "the part", compute->needs[0], err);
    return GGUF_OK;
}

gguf_code rt_model_open(const char *path, rt_model **out, gguf_error *err) {
    rt_model *model = calloc(1, sizeof *model);
    *out = NULL;
    if (!model) return gguf_fail_memory(err);
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &model->file, err);
    if (!code) code = open_arch(model, err);
    if (!code) code = check_compute(model, err);
    if (!code) {
        rt_model_facts facts = rt_facts_of_file(model->file);
        code = rt_hparams_read(&facts, model->arch, &model->hparams, err);
    }
    if (!code) code = rt_model_bind(model, err);
    if (!code) code = rt_weights_prepare(model, err);
    if (!code) code = rt_model_rope(model, err);
    if (code)
        rt_model_close(model);
    else
        *out = model;
    return code;
}

void rt_model_close(rt_model *model) {
    if (!model) return;
    free(model->rope_freqs[0]);
    free(model->repacked);
    free(model->vectors);
    rt_adapters_free(model->adapters);
    free(model->passed);
    free(model->layers);
    rt_arch_close(model->arch);
    gguf_file_close(model->file);
    free(model);
}

gguf_file *rt_model_file(const rt_model *model) {
    return model->file;
}

const rt_hparams *rt_model_hparams(const rt_model *model) {
    return &model->hparams;
}

const rt_arch *rt_model_arch(const rt_model *model) {
    return model->arch;
}

uint64_t rt_model_weights_bytes(const rt_model *model) {
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(model->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(model->file, i);
        if (!rt_tensor_is_draft(&model->hparams, t->name)) n_bytes += t->n_bytes;
    }
    return n_bytes;
}

bool rt_model_is_embedder(const rt_model *model) {
    return rt_arch_compute_of(model->arch)->hidden_output ||
           model->hparams.pooling != RT_POOLING_NONE;
}
