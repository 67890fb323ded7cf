/* A model: the file, its description, its numbers and its tensors. */
#include "runtime/model/model_internal.h"
#include "runtime/model/weights_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* ALiBi (arXiv 2108.12409): powers of 2^(-bias / n) for the first n heads, the largest power of
 * two, and odd powers of its root for the others. */
static gguf_code make_slopes(rt_model *model, gguf_error *err) {
    const rt_hparams *hp = &model->hparams;
    uint32_t n = 1;
    if (hp->alibi_bias == 0 || hp->n_head == 0) return GGUF_OK;
    model->slopes = malloc(hp->n_head * sizeof *model->slopes);
    if (!model->slopes) return gguf_fail_memory(err);
    while (n <= hp->n_head / 2) n *= 2;
    for (uint32_t h = 0; h < hp->n_head; h++) {
        double power = h < n ? h + 1.0 : (h - n) + 0.5;
        model->slopes[h] = (float)exp2(-(double)hp->alibi_bias * power / n);
    }
    return GGUF_OK;
}

/* What a description says of both stacks becomes what it would of the first one. */
static gguf_code leave_decoder(rt_model *model, gguf_error *err) {
    rt_arch_compute *compute = &model->arch->compute;
    if (compute->stacks != RT_STACKS_BOTH)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(model->file), GGUF_NO_OFFSET,
                         "the architecture '%s' has no encoder beside a decoder",
                         rt_arch_name(model->arch));
    compute->stacks = RT_STACKS_ENCODER;
    compute->output_norm = "enc.output_norm";
    compute->both_directions = compute->hidden_output = true;
    return GGUF_OK;
}

static gguf_code open_model(const char *path, bool encoder, rt_model **out, gguf_error *err) {
    rt_model *model = calloc(1, sizeof *model);
    *out = NULL;
    if (!model) return gguf_fail_memory(err);
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &model->file, err);
    if (!code) code = open_arch(model, err);
    if (!code) code = check_compute(model, err);
    if (!code && encoder) code = leave_decoder(model, err);
    if (!code) {
        rt_model_facts facts = rt_facts_of_file(model->file);
        code = rt_hparams_read(&facts, model->arch, &model->hparams, err);
        model->hparams.skips_decoder = encoder;
    }
    if (!code) code = rt_model_bind(model, err);
    if (!code) code = rt_weights_prepare(model, err);
    if (!code) code = rt_model_rope(model, err);
    if (!code) code = make_slopes(model, err);
    if (!code) code = rt_model_biases(model, err);
    if (code)
        rt_model_close(model);
    else
        *out = model;
    return code;
}

gguf_code rt_model_open(const char *path, rt_model **out, gguf_error *err) {
    return open_model(path, false, out, err);
}

gguf_code rt_model_open_encoder(const char *path, rt_model **out, gguf_error *err) {
    return open_model(path, true, out, err);
}

void rt_model_close(rt_model *model) {
    if (!model) return;
    free(model->rope_freqs[0]);
    free(model->repacked);
    free(model->vectors);
    rt_adapters_free(model->adapters);
    free(model->passed);
    free(model->slopes);
    free(model->biases);
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

static bool is_named(const gguf_tensor *t, gguf_str name) {
    return t->name.len == name.len && memcmp(t->name.ptr, name.ptr, name.len) == 0;
}

/* The first rank looks tokens up, the last one multiplies with the output, maybe the same table. */
static bool is_output_of_others(const rt_model *model, const gguf_tensor *t) {
    const rt_hparams *hp = &model->hparams;
    bool is_table = is_named(t, model->token_embd.name),
         is_output = is_named(t, model->output.name);
    bool used = (is_table && hp->n_layer_before == 0) || (is_output && hp->n_layer_after == 0);
    return (is_table || is_output) && !used;
}

uint64_t rt_model_weights_bytes(const rt_model *model) {
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(model->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(model->file, i);
        if (!rt_tensor_is_idle(&model->hparams, t->name) && !is_output_of_others(model, t))
            n_bytes += t->n_bytes;
    }
    return n_bytes;
}

bool rt_model_parts_texts(const rt_model *model) {
    return model->hparams.n_token_types < 2 || model->hparams.separator_token >= 0;
}

bool rt_model_is_embedder(const rt_model *model) {
    return rt_arch_compute_of(model->arch)->hidden_output ||
           model->hparams.pooling != RT_POOLING_NONE;
}
