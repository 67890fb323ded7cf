/* Finding a model's tensors. Matrices stay in the mapping; vectors are few and small, and are
 * copied to f32, which also aligns them. */
#include "runtime/model_internal.h"

#include "quant/quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tensors of a family --------------------------------------------------------------------
 */

typedef enum dim {
    DIM_ONE,
    DIM_EMBD,
    DIM_FF,
    DIM_Q,
    DIM_K,
    DIM_V,
    DIM_HEADS_V,
    DIM_HEAD_K,
    DIM_HEADS,
    DIM_VOCAB,
    DIM_ROT,
    DIM_LATENT,
    DIM_LATENT_Q,
    DIM_PLAIN,
    DIM_OUT,
    DIM_CTX,
    DIM_TYPES,
    DIM_CLASSES,
    DIM_EXPERTS,
    DIM_FF_EXPERT,
    DIM_FF_SHARED
} dim;

/* What a layer, or the model, must be for a tensor to be looked for. */
typedef enum part {
    PART_ALL,
    PART_PLAIN,  /* attention with keys and values of their own */
    PART_LATENT, /* latent attention */
    PART_LATENT_Q,
    PART_DIRECT_Q,
    PART_DENSE,
    PART_EXPERTS,
    PART_SHARED
} part;

typedef enum presence { NEEDED, OPTIONAL } presence;

/* One tensor: where it goes and what shape it must have. */
typedef struct slot {
    const char *name; /* behind "blk.N." for a tensor of a layer; without ".weight" */
    size_t field;     /* offset in rt_model or rt_layer */
    dim n_mats, n_rows, n_cols;
    part part;
    presence need;
} slot;

#define MODEL(field) offsetof(rt_model, field)
#define LAYER(field) offsetof(rt_layer, field)

static const slot model_matrices[] = {
    {"token_embd", MODEL(token_embd), DIM_ONE, DIM_VOCAB, DIM_EMBD, PART_ALL, NEEDED},
    {"position_embd", MODEL(position_embd), DIM_ONE, DIM_CTX, DIM_EMBD, PART_ALL, OPTIONAL},
    {"token_types", MODEL(token_types), DIM_ONE, DIM_TYPES, DIM_EMBD, PART_ALL, OPTIONAL},
    {"output", MODEL(output), DIM_ONE, DIM_VOCAB, DIM_EMBD, PART_ALL, OPTIONAL},
    {"cls", MODEL(cls), DIM_ONE, DIM_EMBD, DIM_EMBD, PART_ALL, OPTIONAL},
    {"cls.output", MODEL(cls_output), DIM_ONE, DIM_CLASSES, DIM_EMBD, PART_ALL, OPTIONAL},
};

static const slot model_scales[] = {
    {"token_embd_norm", MODEL(token_embd_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"output_norm", MODEL(output_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
};

static const slot model_vectors[] = {
    {"rope_freqs.weight", MODEL(rope_factors), DIM_ONE, DIM_ONE, DIM_ROT, PART_ALL, OPTIONAL},
    {"rope_factors_long.weight", MODEL(rope_factors_long), DIM_ONE, DIM_ONE, DIM_ROT, PART_ALL,
     OPTIONAL},
    {"rope_factors_short.weight", MODEL(rope_factors_short), DIM_ONE, DIM_ONE, DIM_ROT, PART_ALL,
     OPTIONAL},
};

static const slot layer_matrices[] = {
    {"attn_q", LAYER(attn_q), DIM_ONE, DIM_Q, DIM_EMBD, PART_PLAIN, NEEDED},
    {"attn_k", LAYER(attn_k), DIM_ONE, DIM_K, DIM_EMBD, PART_PLAIN, NEEDED},
    {"attn_v", LAYER(attn_v), DIM_ONE, DIM_V, DIM_EMBD, PART_PLAIN, NEEDED},
    {"attn_q", LAYER(attn_q), DIM_ONE, DIM_Q, DIM_EMBD, PART_DIRECT_Q, NEEDED},
    {"attn_q_a", LAYER(q_a), DIM_ONE, DIM_LATENT_Q, DIM_EMBD, PART_LATENT_Q, NEEDED},
    {"attn_q_b", LAYER(q_b), DIM_ONE, DIM_Q, DIM_LATENT_Q, PART_LATENT_Q, NEEDED},
    {"attn_kv_a_mqa", LAYER(kv_a), DIM_ONE, DIM_K, DIM_EMBD, PART_LATENT, NEEDED},
    {"attn_k_b", LAYER(k_b), DIM_HEADS, DIM_LATENT, DIM_PLAIN, PART_LATENT, NEEDED},
    {"attn_v_b", LAYER(v_b), DIM_HEADS, DIM_OUT, DIM_LATENT, PART_LATENT, NEEDED},
    {"attn_output", LAYER(attn_output), DIM_ONE, DIM_EMBD, DIM_HEADS_V, PART_ALL, NEEDED},
    {"ffn_gate", LAYER(ffn_gate), DIM_ONE, DIM_FF, DIM_EMBD, PART_DENSE, OPTIONAL},
    {"ffn_up", LAYER(ffn_up), DIM_ONE, DIM_FF, DIM_EMBD, PART_DENSE, NEEDED},
    {"ffn_down", LAYER(ffn_down), DIM_ONE, DIM_EMBD, DIM_FF, PART_DENSE, NEEDED},
    {"ffn_gate_inp", LAYER(router), DIM_ONE, DIM_EXPERTS, DIM_EMBD, PART_EXPERTS, NEEDED},
    {"ffn_gate_exps", LAYER(gate_exps), DIM_EXPERTS, DIM_FF_EXPERT, DIM_EMBD, PART_EXPERTS,
     OPTIONAL},
    {"ffn_up_exps", LAYER(up_exps), DIM_EXPERTS, DIM_FF_EXPERT, DIM_EMBD, PART_EXPERTS, NEEDED},
    {"ffn_down_exps", LAYER(down_exps), DIM_EXPERTS, DIM_EMBD, DIM_FF_EXPERT, PART_EXPERTS, NEEDED},
    {"ffn_gate_shexp", LAYER(gate_shared), DIM_ONE, DIM_FF_SHARED, DIM_EMBD, PART_SHARED, OPTIONAL},
    {"ffn_up_shexp", LAYER(up_shared), DIM_ONE, DIM_FF_SHARED, DIM_EMBD, PART_SHARED, NEEDED},
    {"ffn_down_shexp", LAYER(down_shared), DIM_ONE, DIM_EMBD, DIM_FF_SHARED, PART_SHARED, NEEDED},
    {"ffn_gate_inp_shexp", LAYER(shared_gate), DIM_ONE, DIM_ONE, DIM_EMBD, PART_SHARED, OPTIONAL},
};

static const slot layer_scales[] = {
    {"attn_norm", LAYER(attn_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"post_attention_norm", LAYER(attn_post_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"attn_output_norm", LAYER(attn_output_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"ffn_norm", LAYER(ffn_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"post_ffw_norm", LAYER(ffn_post_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"layer_output_norm", LAYER(layer_output_norm), DIM_ONE, DIM_ONE, DIM_EMBD, PART_ALL, OPTIONAL},
    {"attn_q_norm", LAYER(q_norm), DIM_ONE, DIM_HEADS, DIM_HEAD_K, PART_PLAIN, OPTIONAL},
    {"attn_k_norm", LAYER(k_norm), DIM_ONE, DIM_HEADS, DIM_HEAD_K, PART_PLAIN, OPTIONAL},
    {"attn_q_a_norm", LAYER(q_a_norm), DIM_ONE, DIM_ONE, DIM_LATENT_Q, PART_LATENT_Q, NEEDED},
    {"attn_kv_a_norm", LAYER(kv_a_norm), DIM_ONE, DIM_ONE, DIM_LATENT, PART_LATENT, NEEDED},
};

static const slot layer_vectors[] = {
    {"attn_sinks.weight", LAYER(sinks), DIM_ONE, DIM_ONE, DIM_HEADS, PART_ALL, OPTIONAL},
    {"exp_probs_b.bias", LAYER(selection_bias), DIM_ONE, DIM_ONE, DIM_EXPERTS, PART_EXPERTS,
     OPTIONAL},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint32_t dim_size(const rt_hparams *hp, dim which) {
    uint32_t head_dim_out = hp->n_latent ? hp->head_dim_out : hp->head_dim_v;
    uint32_t head_dim_q = hp->n_latent ? hp->head_dim_plain + hp->n_rot : hp->head_dim_k;
    const uint32_t sizes[] = {
        [DIM_ONE] = 1,
        [DIM_EMBD] = hp->n_embd,
        [DIM_FF] = hp->n_ff,
        [DIM_Q] = hp->n_head * head_dim_q,
        [DIM_K] = hp->n_head_kv * hp->head_dim_k,
        [DIM_V] = hp->n_head_kv * hp->head_dim_v,
        [DIM_HEADS_V] = hp->n_head * head_dim_out,
        [DIM_HEAD_K] = hp->head_dim_k,
        [DIM_HEADS] = hp->n_head,
        [DIM_VOCAB] = hp->n_vocab,
        [DIM_ROT] = hp->n_rot / 2,
        [DIM_LATENT] = hp->n_latent,
        [DIM_LATENT_Q] = hp->n_latent_q,
        [DIM_PLAIN] = hp->head_dim_plain,
        [DIM_OUT] = hp->head_dim_out,
        [DIM_CTX] = hp->n_ctx_train,
        [DIM_TYPES] = hp->n_token_types,
        [DIM_CLASSES] = hp->n_classes,
        [DIM_EXPERTS] = hp->n_expert,
        [DIM_FF_EXPERT] = hp->n_ff_expert,
        [DIM_FF_SHARED] = hp->n_ff_shared,
    };
    return sizes[which];
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

static gguf_code fail_shape(binder *b, const gguf_tensor *t, uint32_t n_mats, uint32_t n_rows,
                            uint32_t n_cols) {
    char mats[32] = "";
    if (n_mats != 1) snprintf(mats, sizeof mats, " x %" PRIu32, n_mats);
    return gguf_fail(b->err, GGUF_E_SHAPE, gguf_file_path(b->model->file), (int64_t)t->file_off,
                     "tensor '%.*s' has %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                     " elements (columns first), the model's keys say %" PRIu32 " x %" PRIu32 "%s",
                     (int)t->name.len, t->name.ptr, t->dims[0], t->dims[1], t->dims[2], t->dims[3],
                     n_cols, n_rows, mats);
}

static bool has_shape(const gguf_tensor *t, uint32_t n_mats, uint32_t n_rows, uint32_t n_cols) {
    return t->dims[0] == n_cols && t->dims[1] == n_rows && t->dims[2] == n_mats && t->dims[3] == 1;
}

/* Find a tensor that the runtime can decode. *out stays NULL if it is absent and optional. */
static gguf_code find_tensor(binder *b, const char *name, presence need, const gguf_tensor **out) {
    const gguf_tensor *t = gguf_file_find_tensor(b->model->file, name);
    const char *path = gguf_file_path(b->model->file);
    *out = t;
    if (!t && need == OPTIONAL) return GGUF_OK;
    if (!t)
        return gguf_fail(b->err, GGUF_E_MISSING, path, GGUF_NO_OFFSET, "tensor '%s' is missing",
                         name);
    if (!quant_can_decode(t->type))
        return gguf_fail(b->err, GGUF_E_UNSUPPORTED, path, (int64_t)t->file_off,
                         "tensor '%s' has the type %s, which cannot be computed with", name,
                         gguf_type_name(t->type));
    b->used[t - gguf_file_tensor(b->model->file, 0)] = true;
    return GGUF_OK;
}

static gguf_code find_shaped(binder *b, const char *name, presence need, uint32_t n_rows,
                             uint32_t n_cols, const gguf_tensor **out) {
    gguf_code code = find_tensor(b, name, need, out);
    if (code || !*out || has_shape(*out, 1, n_rows, n_cols)) return code;
    return fail_shape(b, *out, 1, n_rows, n_cols);
}

/* Copy a tensor to f32, or on the first walk make room for it. */
static gguf_code copy_vector(binder *b, const gguf_tensor *t, const float **field) {
    size_t n = t->dims[0] * t->dims[1];
    b->n_vector_elems += n;
    if (!b->next_vector) return GGUF_OK;
    *field = b->next_vector;
    b->next_vector += n;
    return quant_decode(t->type, gguf_file_data(b->model->file, t), t->dims[1], t->dims[0],
                        b->next_vector - n, b->err);
}

static gguf_code bind_vector(binder *b, const char *name, presence need, uint32_t n_rows,
                             uint32_t n_cols, const float **field) {
    const gguf_tensor *t;
    gguf_code code = find_shaped(b, name, need, n_rows, n_cols, &t);
    return code || !t ? code : copy_vector(b, t, field);
}

/* ---- norms --------------------------------------------------------------------------------------
 */

/* Norms of Q and K come as one head for all, one for each, or all heads in one row. */
static bool norm_shape(const gguf_tensor *t, uint32_t n_heads, uint32_t n_cols, rt_scale *scale) {
    *scale = (rt_scale){.n_cols = n_cols, .n_rows = 1};
    if (has_shape(t, 1, 1, n_cols)) return true;
    scale->n_rows = n_heads;
    if (has_shape(t, 1, n_heads, n_cols)) return true;
    *scale = (rt_scale){.n_cols = n_cols * n_heads, .n_rows = 1};
    return has_shape(t, 1, 1, scale->n_cols);
}

static gguf_code bind_scale(binder *b, const char *prefix, const char *name, const slot *s,
                            rt_scale *scale) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    const rt_hparams *hp = &b->model->hparams;
    uint32_t n_heads = dim_size(hp, s->n_rows), n_cols = dim_size(hp, s->n_cols);
    if (s->field == LAYER(k_norm) && s->n_rows == DIM_HEADS) n_heads = hp->n_head_kv;
    const gguf_tensor *t;
    rt_scale shape;
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    gguf_code code = find_tensor(b, full, s->need, &t);
    if (code || !t) return code;
    if (!norm_shape(t, n_heads, n_cols, &shape)) return fail_shape(b, t, 1, n_heads, n_cols);
    scale->n_rows = shape.n_rows;
    scale->n_cols = shape.n_cols;
    code = copy_vector(b, t, &scale->weight);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    if (code) return code;
    return bind_vector(b, full, OPTIONAL, shape.n_rows, shape.n_cols, &scale->bias);
}

/* ---- matrices -----------------------------------------------------------------------------------
 */

/* Rows `from` .. `from + n_rows` of every matrix of a tensor. */
static rt_weight view_of(const binder *b, const gguf_tensor *t, uint32_t from, uint32_t n_rows) {
    uint64_t row_bytes = quant_row_bytes(t->type, t->dims[0]);
    const uint8_t *data = gguf_file_data(b->model->file, t);
    return (rt_weight){.name = from ? (gguf_str){NULL, 0} : t->name,
                       .data = data + from * row_bytes,
                       .type = t->type,
                       .n_mats = (uint32_t)t->dims[2],
                       .n_rows = n_rows,
                       .n_cols = (uint32_t)t->dims[0],
                       .row_bytes = row_bytes,
                       .mat_bytes = t->dims[1] * row_bytes};
}

/* A tensor whose rows are several weights on top of one another, with one bias. */
static gguf_code bind_fused(binder *b, const char *prefix, const char *name, uint32_t n_mats,
                            uint32_t n_cols, rt_weight *const *weights, const uint32_t *n_rows,
                            size_t n_weights) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    const gguf_tensor *t;
    const float *bias = NULL;
    uint32_t total = 0, from = 0;
    for (size_t i = 0; i < n_weights; i++) total += n_rows[i];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    gguf_code code = find_tensor(b, full, OPTIONAL, &t);
    if (code || !t) return code;
    if (!has_shape(t, n_mats, total, n_cols)) return fail_shape(b, t, n_mats, total, n_cols);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    code = bind_vector(b, full, OPTIONAL, n_mats, total, &bias);
    for (size_t i = 0; i < n_weights; from += n_rows[i++]) {
        *weights[i] = view_of(b, t, from, n_rows[i]);
        weights[i]->bias = bias ? bias + from : NULL;
        weights[i]->bias_stride = total;
    }
    return code;
}

static gguf_code bind_matrix(binder *b, const char *prefix, const slot *s, rt_weight *weight) {
    char name[GGUF_MAX_TENSOR_NAME + 32];
    const rt_hparams *hp = &b->model->hparams;
    uint32_t n_mats = dim_size(hp, s->n_mats), n_rows = dim_size(hp, s->n_rows);
    uint32_t n_cols = dim_size(hp, s->n_cols);
    const gguf_tensor *t;
    snprintf(name, sizeof name, "%s%s.weight", prefix, s->name);
    gguf_code code = find_tensor(b, name, s->need, &t);
    if (code || !t) return code;
    if (!has_shape(t, n_mats, n_rows, n_cols)) return fail_shape(b, t, n_mats, n_rows, n_cols);
    *weight = view_of(b, t, 0, n_rows);
    weight->bias_stride = n_rows;
    snprintf(name, sizeof name, "%s%s.bias", prefix, s->name);
    return bind_vector(b, name, OPTIONAL, n_mats, n_rows, &weight->bias);
}

/* ---- records ------------------------------------------------------------------------------------
 */

typedef struct slots {
    const slot *matrices, *scales, *vectors;
    size_t n_matrices, n_scales, n_vectors;
} slots;

static const slots model_slots = {model_matrices,        model_scales,        model_vectors,
                                  COUNT(model_matrices), COUNT(model_scales), COUNT(model_vectors)};
static const slots layer_slots = {layer_matrices,        layer_scales,        layer_vectors,
                                  COUNT(layer_matrices), COUNT(layer_scales), COUNT(layer_vectors)};

static bool has_tensor(const binder *b, const char *prefix, const char *name) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    return gguf_file_find_tensor(b->model->file, full) != NULL;
}

/* The parts of a layer, as a bit set. */
static unsigned parts_of(const binder *b, const char *prefix) {
    const rt_hparams *hp = &b->model->hparams;
    unsigned parts = 1u << PART_ALL;
    if (hp->n_latent)
        parts |= 1u << PART_LATENT | 1u << (hp->n_latent_q ? PART_LATENT_Q : PART_DIRECT_Q);
    else
        parts |= 1u << PART_PLAIN;
    bool experts = hp->n_expert && has_tensor(b, prefix, "ffn_gate_inp");
    parts |= 1u << (experts ? PART_EXPERTS : PART_DENSE);
    if (experts && hp->n_ff_shared) parts |= 1u << PART_SHARED;
    return parts;
}

/* The name under which the file has a norm: the feed-forward block's may go by another one. */
static const char *scale_name(const binder *b, const slot *s) {
    const char *ffn_norm = rt_arch_compute_of(b->model->arch)->ffn_norm;
    if (strcmp(s->name, "ffn_norm") == 0) return ffn_norm;
    return strcmp(s->name, ffn_norm) == 0 ? NULL : s->name;
}

/* The slots of one record (the model, or layer `prefix`). A weight that is bound already is part of
 * a fused tensor. */
static gguf_code bind_slots(binder *b, const char *prefix, void *record, const slots *s,
                            unsigned parts) {
    char name[GGUF_MAX_TENSOR_NAME + 32];
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < s->n_matrices && !code; i++) {
        rt_weight *weight = (rt_weight *)(void *)((char *)record + s->matrices[i].field);
        if (parts & 1u << s->matrices[i].part && !weight->data)
            code = bind_matrix(b, prefix, &s->matrices[i], weight);
    }
    for (size_t i = 0; i < s->n_scales && !code; i++) {
        rt_scale *scale = (rt_scale *)(void *)((char *)record + s->scales[i].field);
        const char *found = scale_name(b, &s->scales[i]);
        if (parts & 1u << s->scales[i].part && found)
            code = bind_scale(b, prefix, found, &s->scales[i], scale);
    }
    for (size_t i = 0; i < s->n_vectors && !code; i++) {
        const slot *v = &s->vectors[i];
        const float **vector = (const float **)(void *)((char *)record + v->field);
        snprintf(name, sizeof name, "%s%s", prefix, v->name);
        if (parts & 1u << v->part)
            code =
                bind_vector(b, name, v->need, 1, dim_size(&b->model->hparams, v->n_cols), vector);
    }
    return code;
}

static gguf_code bind_layer_fused(binder *b, const char *prefix, rt_layer *layer, unsigned parts) {
    const rt_hparams *hp = &b->model->hparams;
    rt_weight *const qkv[] = {&layer->attn_q, &layer->attn_k, &layer->attn_v};
    const uint32_t qkv_rows[] = {dim_size(hp, DIM_Q), dim_size(hp, DIM_K), dim_size(hp, DIM_V)};
    rt_weight *const gate_up[] = {&layer->ffn_gate, &layer->ffn_up};
    const uint32_t ff[] = {hp->n_ff, hp->n_ff};
    rt_weight *const exps[] = {&layer->gate_exps, &layer->up_exps};
    const uint32_t ff_expert[] = {hp->n_ff_expert, hp->n_ff_expert};
    const gguf_tensor *up;
    char name[GGUF_MAX_TENSOR_NAME + 32];
    gguf_code code = GGUF_OK;
    if (parts & 1u << PART_PLAIN)
        code = bind_fused(b, prefix, "attn_qkv", 1, hp->n_embd, qkv, qkv_rows, 3);
    if (!code && parts & 1u << PART_EXPERTS)
        code =
            bind_fused(b, prefix, "ffn_gate_up_exps", hp->n_expert, hp->n_embd, exps, ff_expert, 2);
    /* Without a gate, twice the rows are the gate and the up projection. */
    snprintf(name, sizeof name, "%sffn_up.weight", prefix);
    up = gguf_file_find_tensor(b->model->file, name);
    if (!code && parts & 1u << PART_DENSE && up && up->dims[1] == 2 * (uint64_t)hp->n_ff &&
        !has_tensor(b, prefix, "ffn_gate"))
        code = bind_fused(b, prefix, "ffn_up", 1, hp->n_embd, gate_up, ff, 2);
    return code;
}

static gguf_code bind_all(binder *b) {
    rt_model *model = b->model;
    char prefix[32];
    gguf_code code = bind_slots(b, "", model, &model_slots, 1u << PART_ALL);
    for (uint32_t i = 0; i < model->hparams.n_layer && !code; i++) {
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", i);
        unsigned parts = parts_of(b, prefix);
        code = bind_layer_fused(b, prefix, &model->layers[i], parts);
        if (!code) code = bind_slots(b, prefix, &model->layers[i], &layer_slots, parts);
    }
    return code;
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

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

static gguf_code fail_missing(const binder *b, const char *prefix, const char *name) {
    return gguf_fail(b->err, GGUF_E_MISSING, gguf_file_path(b->model->file), GGUF_NO_OFFSET,
                     "tensor '%s%s.weight' is missing", prefix, name);
}

/* Norms are optional, because families differ in where they have them; none at all is an error. */
static gguf_code check_norms(const binder *b) {
    const rt_model *model = b->model;
    const rt_arch_compute *compute = rt_arch_compute_of(model->arch);
    char prefix[32];
    if (!compute->hidden_output && !model->output_norm.n_cols)
        return fail_missing(b, "", "output_norm");
    for (uint32_t i = 0; i < model->hparams.n_layer; i++) {
        const rt_layer *l = &model->layers[i];
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", i);
        if (!l->attn_norm.n_cols && !l->attn_post_norm.n_cols && !l->attn_output_norm.n_cols)
            return fail_missing(b, prefix, "attn_norm");
        if (!l->ffn_norm.n_cols && !l->ffn_post_norm.n_cols && !l->layer_output_norm.n_cols &&
            !model->hparams.parallel)
            return fail_missing(b, prefix, compute->ffn_norm);
    }
    return GGUF_OK;
}

static gguf_code check_gates(const binder *b) {
    const rt_model *model = b->model;
    bool gated = rt_arch_compute_of(model->arch)->activation == RT_ACT_SWIGLU_CLAMPED;
    char prefix[32];
    for (uint32_t i = 0; i < model->hparams.n_layer && gated; i++) {
        const rt_layer *l = &model->layers[i];
        snprintf(prefix, sizeof prefix, "blk.%" PRIu32 ".", i);
        if (l->router.data ? !l->gate_exps.data : !l->ffn_gate.data)
            return fail_missing(b, prefix, l->router.data ? "ffn_gate_exps" : "ffn_gate");
    }
    return GGUF_OK;
}

static gguf_code bind_twice(binder *b) {
    rt_model *model = b->model, blank = *model;
    gguf_code code = bind_all(b);
    if (!code) code = check_all_used(b);
    if (!code) code = check_norms(b);
    if (!code) code = check_gates(b);
    if (code) return code;
    *model = blank;
    memset(model->layers, 0, model->hparams.n_layer * sizeof *model->layers);
    model->vectors = malloc(b->n_vector_elems * sizeof *model->vectors + 1);
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
    free(b.used);
    if (!code && !model->output.data && !rt_model_is_embedder(model))
        model->output = model->token_embd;
    return code;
}
