/* A model: the file, its numbers, and its tensors by role. Matrices stay in the mapping; vectors
 * are few and small, and are copied to f32, which also aligns them. */
#include "runtime/model_internal.h"

#include "quant/quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tensors of the architecture -----------------------------------------------------------
 */

typedef enum dim {
    DIM_ONE,
    DIM_EMBD,
    DIM_FF,
    DIM_Q,
    DIM_K,
    DIM_V,
    DIM_HEADS_V,
    DIM_VOCAB,
    DIM_ROT
} dim;

/* One tensor: where it goes and what shape it must have. */
typedef struct slot {
    const char *name; /* behind "blk.N." for a tensor of a layer; without ".weight" */
    size_t field;     /* offset in rt_model or rt_layer */
    dim n_rows, n_cols;
    bool optional;
} slot;

static const slot model_matrices[] = {
    {"token_embd", offsetof(rt_model, token_embd), DIM_VOCAB, DIM_EMBD, false},
    {"output", offsetof(rt_model, output), DIM_VOCAB, DIM_EMBD, true},
};

static const slot model_vectors[] = {
    {"output_norm", offsetof(rt_model, output_norm), DIM_ONE, DIM_EMBD, false},
    {"rope_freqs", offsetof(rt_model, rope_factors), DIM_ONE, DIM_ROT, true},
};

static const slot layer_matrices[] = {
    {"attn_q", offsetof(rt_layer, attn_q), DIM_Q, DIM_EMBD, false},
    {"attn_k", offsetof(rt_layer, attn_k), DIM_K, DIM_EMBD, false},
    {"attn_v", offsetof(rt_layer, attn_v), DIM_V, DIM_EMBD, false},
    {"attn_output", offsetof(rt_layer, attn_output), DIM_EMBD, DIM_HEADS_V, false},
    {"ffn_gate", offsetof(rt_layer, ffn_gate), DIM_FF, DIM_EMBD, false},
    {"ffn_up", offsetof(rt_layer, ffn_up), DIM_FF, DIM_EMBD, false},
    {"ffn_down", offsetof(rt_layer, ffn_down), DIM_EMBD, DIM_FF, false},
};

static const slot layer_vectors[] = {
    {"attn_norm", offsetof(rt_layer, attn_norm), DIM_ONE, DIM_EMBD, false},
    {"ffn_norm", offsetof(rt_layer, ffn_norm), DIM_ONE, DIM_EMBD, false},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint32_t dim_size(const rt_hparams *hp, dim which) {
    switch (which) {
    case DIM_EMBD:
        return hp->n_embd;
    case DIM_FF:
        return hp->n_ff;
    case DIM_Q:
        return hp->n_head * hp->head_dim_k;
    case DIM_K:
        return hp->n_head_kv * hp->head_dim_k;
    case DIM_V:
        return hp->n_head_kv * hp->head_dim_v;
    case DIM_HEADS_V:
        return hp->n_head * hp->head_dim_v;
    case DIM_VOCAB:
        return hp->n_vocab;
    case DIM_ROT:
        return hp->n_rot / 2;
    default:
        return 1;
    }
}

/* ---- binding ------------------------------------------------------------------------------------
 */

typedef struct binder {
    rt_model *model;
    bool *used;         /* [n_tensors] of the file */
    float *next_vector; /* NULL on the first walk, which only counts */
    size_t n_vector_elems;
    gguf_error *err;
} binder;

static gguf_code fail_shape(binder *b, const gguf_tensor *t, uint32_t n_rows, uint32_t n_cols) {
    return gguf_fail(b->err, GGUF_E_SHAPE, gguf_file_path(b->model->file), (int64_t)t->file_off,
                     "tensor '%.*s' has %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                     " elements (columns first), the model's keys say %" PRIu32 " x %" PRIu32,
                     (int)t->name.len, t->name.ptr, t->dims[0], t->dims[1], t->dims[2], t->dims[3],
                     n_cols, n_rows);
}

/* Find a tensor and check it. *out stays NULL if it is absent and optional. */
static gguf_code find_tensor(binder *b, const char *name, const slot *s, bool optional,
                             const gguf_tensor **out) {
    const gguf_tensor *t = gguf_file_find_tensor(b->model->file, name);
    const char *path = gguf_file_path(b->model->file);
    *out = t;
    if (!t && optional) return GGUF_OK;
    if (!t)
        return gguf_fail(b->err, GGUF_E_MISSING, path, GGUF_NO_OFFSET, "tensor '%s' is missing",
                         name);
    if (!quant_can_decode(t->type))
        return gguf_fail(b->err, GGUF_E_UNSUPPORTED, path, (int64_t)t->file_off,
                         "tensor '%s' has the type %s, which cannot be computed with", name,
                         gguf_type_name(t->type));
    uint32_t n_rows = dim_size(&b->model->hparams, s->n_rows);
    uint32_t n_cols = dim_size(&b->model->hparams, s->n_cols);
    if (t->dims[0] != n_cols || t->dims[1] != n_rows || t->dims[2] != 1 || t->dims[3] != 1)
        return fail_shape(b, t, n_rows, n_cols);
    b->used[t - gguf_file_tensor(b->model->file, 0)] = true;
    return GGUF_OK;
}

/* Copy a vector, or on the first walk make room for it. */
static gguf_code bind_vector(binder *b, const char *name, const slot *s, bool optional,
                             const float **field) {
    const gguf_tensor *t;
    gguf_code code = find_tensor(b, name, s, optional, &t);
    if (code || !t) return code;
    size_t n = t->dims[0];
    b->n_vector_elems += n;
    if (!b->next_vector) return GGUF_OK;
    *field = b->next_vector;
    b->next_vector += n;
    return quant_decode(t->type, gguf_file_data(b->model->file, t), 1, n, b->next_vector - n,
                        b->err);
}

static gguf_code bind_matrix(binder *b, const char *name, const slot *s, rt_weight *weight) {
    const gguf_tensor *t;
    gguf_code code = find_tensor(b, name, s, s->optional, &t);
    if (code || !t) return code;
    weight->name = t->name;
    weight->data = gguf_file_data(b->model->file, t);
    weight->type = t->type;
    weight->n_rows = (uint32_t)t->dims[1];
    weight->n_cols = (uint32_t)t->dims[0];
    weight->row_bytes = quant_row_bytes(t->type, t->dims[0]);
    return GGUF_OK;
}

/* The slots of one record (the model, or layer `prefix`). */
static gguf_code bind_slots(binder *b, const char *prefix, void *record, const slot *matrices,
                            size_t n_matrices, const slot *vectors, size_t n_vectors) {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n_matrices && !code; i++) {
        rt_weight *weight = (rt_weight *)(void *)((char *)record + matrices[i].field);
        snprintf(name, sizeof name, "%s%s.weight", prefix, matrices[i].name);
        code = bind_matrix(b, name, &matrices[i], weight);
        if (code || !weight->data) continue;
        slot bias = {.n_rows = DIM_ONE, .n_cols = matrices[i].n_rows};
        snprintf(name, sizeof name, "%s%s.bias", prefix, matrices[i].name);
        code = bind_vector(b, name, &bias, true, &weight->bias);
    }
    for (size_t i = 0; i < n_vectors && !code; i++) {
        const float **vector = (const float **)(void *)((char *)record + vectors[i].field);
        snprintf(name, sizeof name, "%s%s.weight", prefix, vectors[i].name);
        code = bind_vector(b, name, &vectors[i], vectors[i].optional, vector);
    }
    return code;
}

static gguf_code bind_all(binder *b) {
    rt_model *model = b->model;
    char prefix[32];
    gguf_code code = bind_slots(b, "", model, model_matrices, COUNT(model_matrices), model_vectors,
                                COUNT(model_vectors));
    for (uint32_t i = 0; i < model->hparams.n_layer && !code; i++) {
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", i);
        code = bind_slots(b, prefix, &model->layers[i], layer_matrices, COUNT(layer_matrices),
                          layer_vectors, COUNT(layer_vectors));
    }
    return code;
}

/* Every tensor must be used: one that is not would mean another computation. */
static gguf_code check_all_used(const binder *b) {
    const gguf_file *file = b->model->file;
    const gguf_tensor *unused = NULL;
    for (size_t i = 0; i < gguf_file_n_tensors(file) && !unused; i++)
        if (!b->used[i]) unused = gguf_file_tensor(file, i);
    if (!unused) return GGUF_OK;
    return gguf_fail(b->err, GGUF_E_UNSUPPORTED, gguf_file_path(file), (int64_t)unused->file_off,
                     "tensor '%.*s' has no use in the architecture '%s' as the keys describe it",
                     (int)unused->name.len, unused->name.ptr, rt_arch_name(b->model->arch));
}

static gguf_code bind_twice(binder *b) {
    rt_model *model = b->model;
    gguf_code code = bind_all(b);
    if (!code) code = check_all_used(b);
    if (code) return code;
    model->vectors = malloc(b->n_vector_elems * sizeof *model->vectors);
    if (!model->vectors)
        return gguf_fail(b->err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    b->next_vector = model->vectors;
    return bind_all(b);
}

gguf_code rt_model_bind(rt_model *model, gguf_error *err) {
    binder b = {.model = model, .err = err};
    model->layers = calloc(model->hparams.n_layer, sizeof *model->layers);
    b.used = calloc(gguf_file_n_tensors(model->file) + 1, sizeof *b.used);
    gguf_code code = model->layers && b.used
                         ? bind_twice(&b)
                         : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code && !model->output.data) model->output = model->token_embd;
    free(b.used);
    return code;
}

/* ---- the model ----------------------------------------------------------------------------------
 */

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

/* Keys that change the computation and are not read. */
static gguf_code check_keys(const rt_model *model, gguf_error *err) {
    static const char *const unread[] = {"attention.sliding_window_pattern",
                                         "ggufkit.yarn_truncate", "ggufkit.rope_layers",
                                         "attention.scale", "logit_scale"};
    char key[128];
    for (size_t i = 0; i < COUNT(unread); i++) {
        snprintf(key, sizeof key, "%s.%s", rt_arch_name(model->arch), unread[i]);
        if (gguf_meta_find(gguf_file_meta(model->file), key))
            return refuse(model, "the key", key, err);
    }
    return GGUF_OK;
}

/* Never compute something else than the description says. */
static gguf_code check_compute(const rt_model *model, gguf_error *err) {
    const rt_arch_compute *compute = rt_arch_compute_of(model->arch);
    if (compute->needs) return refuse(model, "the part", compute->needs->text, err);
    if (compute->norm != RT_NORM_RMS) return refuse(model, "the norm", "layer", err);
    if (compute->rope == RT_ROPE_NONE) return refuse(model, "the positions", "none", err);
    if (compute->activation != RT_ACT_SILU) return refuse(model, "the activation", "gelu", err);
    return check_keys(model, err);
}

gguf_code rt_model_open(const char *path, rt_model **out, gguf_error *err) {
    rt_model *model = calloc(1, sizeof *model);
    *out = NULL;
    if (!model) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &model->file, err);
    if (!code) code = open_arch(model, err);
    if (!code) code = check_compute(model, err);
    if (!code) code = rt_hparams_read(model->file, rt_arch_name(model->arch), &model->hparams, err);
    if (!code) code = rt_model_bind(model, err);
    if (!code) code = rt_model_rope(model, err);
    if (code)
        rt_model_close(model);
    else
        *out = model;
    return code;
}

void rt_model_close(rt_model *model) {
    if (!model) return;
    free(model->rope_freqs);
    free(model->vectors);
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
    for (size_t i = 0; i < gguf_file_n_tensors(model->file); i++)
        n_bytes += gguf_file_tensor(model->file, i)->n_bytes;
    return n_bytes;
}
