/* Finding a model's tensors. Matrices stay in the mapping; vectors are few and small, and are
 * copied to f32, which also aligns them. */
#include "runtime/model/slots.h"

#include "quant/quant.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static gguf_code find_tensor(binder *b, const char *name, rt_presence need,
                             const gguf_tensor **out) {
    const gguf_tensor *t = gguf_file_find_tensor(b->model->file, name);
    const char *path = gguf_file_path(b->model->file);
    *out = t;
    if (!t && need == RT_OPTIONAL) return GGUF_OK;
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

static gguf_code fail_number(binder *b, const gguf_tensor *t, size_t elem) {
    return gguf_fail(b->err, GGUF_E_NONFINITE, gguf_file_shard_path(b->model->file, t->shard),
                     (int64_t)t->file_off, "tensor '%.*s': element %zu is not finite",
                     (int)t->name.len, t->name.ptr, elem);
}

/* Copy a tensor to f32, or on the first walk make room for it. */
static gguf_code copy_vector(binder *b, const gguf_tensor *t, const float **field) {
    size_t n_rows = t->dims[1] * t->dims[2], n = t->dims[0] * n_rows;
    b->n_vector_elems += n;
    if (!b->next_vector) return GGUF_OK;
    *field = b->next_vector;
    b->next_vector += n;
    size_t bad =
        quant_find_nonfinite(t->type, gguf_file_data(b->model->file, t), n_rows, t->dims[0]);
    if (bad < n) return fail_number(b, t, bad);
    return quant_decode(t->type, gguf_file_data(b->model->file, t), n_rows, t->dims[0],
                        b->next_vector - n, b->err);
}

/* As rows, or, where n_mats is not 1, also as so many matrices. */
static gguf_code bind_vectors(binder *b, const char *name, rt_presence need, uint32_t n_mats,
                              uint32_t n_rows, uint32_t n_cols, const float **field) {
    const gguf_tensor *t;
    gguf_code code = find_tensor(b, name, need, &t);
    if (code || !t) return code;
    bool flat = n_cols == 1 && has_shape(t, 1, 1, n_mats * n_rows);
    if (!flat && !has_shape(t, n_mats, n_rows, n_cols) && !has_shape(t, 1, n_mats * n_rows, n_cols))
        return fail_shape(b, t, n_mats, n_rows, n_cols);
    return copy_vector(b, t, field);
}

static gguf_code bind_vector(binder *b, const char *name, rt_presence need, uint32_t n_rows,
                             uint32_t n_cols, const float **field) {
    return bind_vectors(b, name, need, 1, n_rows, n_cols, field);
}

/* The model, or a layer, and its parts as a bit set. */
typedef struct record {
    const char *prefix;
    uint32_t layer;
    uint64_t parts;
} record;

/* ---- norms --------------------------------------------------------------------------------------
 */

/* Norms of Q and K come as one head for all, one for each, or all heads in one row. */
static bool norm_shape(const gguf_tensor *t, uint32_t n_heads, uint32_t n_cols,
                       rt_norm_weights *scale) {
    *scale = (rt_norm_weights){.n_cols = n_cols, .n_rows = 1};
    if (has_shape(t, 1, 1, n_cols)) return true;
    scale->n_rows = n_heads;
    if (has_shape(t, 1, n_heads, n_cols)) return true;
    *scale = (rt_norm_weights){.n_cols = n_cols * n_heads, .n_rows = 1};
    return has_shape(t, 1, 1, scale->n_cols);
}

static gguf_code bind_norm(binder *b, const record *at, const char *name, const rt_slot *s,
                           rt_norm_weights *scale) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    const rt_hparams *hp = &b->model->hparams;
    uint32_t n_heads = rt_dim_size(hp, at->layer, s->n_rows);
    uint32_t n_cols = rt_dim_size(hp, at->layer, s->n_cols);
    const gguf_tensor *t;
    rt_norm_weights shape;
    snprintf(full, sizeof full, "%s%s.weight", at->prefix, name);
    gguf_code code = find_tensor(b, full, s->need, &t);
    if (!code && !t) { /* one family's files leave the ending away */
        snprintf(full, sizeof full, "%s%s", at->prefix, name);
        code = find_tensor(b, full, RT_OPTIONAL, &t);
    }
    if (code || !t) return code;
    if (!norm_shape(t, n_heads, n_cols, &shape)) return fail_shape(b, t, 1, n_heads, n_cols);
    scale->n_rows = shape.n_rows;
    scale->n_cols = shape.n_cols;
    code = copy_vector(b, t, &scale->weight);
    snprintf(full, sizeof full, "%s%s.bias", at->prefix, name);
    if (code) return code;
    return bind_vector(b, full, RT_OPTIONAL, shape.n_rows, shape.n_cols, &scale->bias);
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

/* Whether a scale of that name is a vector of the layer with a use of its own. */
static bool is_slot(const char *name) {
    for (size_t i = 0; i < rt_layer_slots.n_vectors; i++) {
        const char *slot = rt_layer_slots.vectors[i].name;
        size_t n = strlen(name);
        if (strncmp(slot, name, n) == 0 && strcmp(slot + n, ".scale") == 0) return true;
    }
    return false;
}

/* The factor beside a matrix or one for each of a stack. That of its input is for engines which
 * round activations to 4 bits. */
static gguf_code bind_scale(binder *b, const char *prefix, const char *name, rt_weight *weight) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    const gguf_tensor *t;
    snprintf(full, sizeof full, "%s%s.input_scale", prefix, name);
    gguf_code code = find_tensor(b, full, RT_OPTIONAL, &t);
    if (code || is_slot(name)) return code;
    snprintf(full, sizeof full, "%s%s.scale", prefix, name);
    code = find_tensor(b, full, RT_OPTIONAL, &t);
    if (code || !t) return code;
    weight->own_scales = t->dims[0] > 1;
    if (weight->own_scales && !has_shape(t, 1, 1, weight->n_mats))
        return fail_shape(b, t, 1, 1, weight->n_mats);
    return copy_vector(b, t, &weight->scale);
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
    gguf_code code = find_tensor(b, full, RT_OPTIONAL, &t);
    if (code || !t) return code;
    if (!has_shape(t, n_mats, total, n_cols)) return fail_shape(b, t, n_mats, total, n_cols);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    code = bind_vector(b, full, RT_OPTIONAL, n_mats, total, &bias);
    for (size_t i = 0; i < n_weights; from += n_rows[i++]) {
        *weights[i] = view_of(b, t, from, n_rows[i]);
        weights[i]->bias = bias ? bias + from : NULL;
        weights[i]->bias_stride = total;
    }
    if (!code) code = bind_scale(b, prefix, name, weights[0]);
    for (size_t i = 1; i < n_weights; i++) {
        weights[i]->scale = weights[0]->scale;
        weights[i]->own_scales = weights[0]->own_scales;
    }
    return code;
}

/* One matrix becomes a stack of its parts. */
static void cut(rt_weight *weight, uint32_t n_mats) {
    weight->n_mats = n_mats;
    weight->mat_bytes = weight->n_rows * weight->row_bytes;
    weight->whole = true;
}

static gguf_code bind_matrix(binder *b, const record *at, const rt_slot *s, rt_weight *weight) {
    char name[GGUF_MAX_TENSOR_NAME + 32];
    const rt_hparams *hp = &b->model->hparams;
    uint32_t n_mats = rt_dim_size(hp, at->layer, s->n_mats);
    uint32_t n_rows = rt_dim_size(hp, at->layer, s->n_rows);
    uint32_t n_cols = rt_dim_size(hp, at->layer, s->n_cols);
    const gguf_tensor *t;
    snprintf(name, sizeof name, "%s%s.weight", at->prefix, s->name);
    gguf_code code = find_tensor(b, name, s->need, &t);
    if (code || !t) return code;
    bool whole = n_mats > 1 && has_shape(t, 1, n_mats * n_rows, n_cols);
    if (!whole && !has_shape(t, n_mats, n_rows, n_cols))
        return fail_shape(b, t, n_mats, n_rows, n_cols);
    *weight = view_of(b, t, 0, n_rows);
    weight->bias_stride = n_rows;
    if (whole) cut(weight, n_mats);
    /* Tables of rows that are looked up have no product to scale. */
    bool multiplies = at->prefix[0] || strcmp(s->name, "output") == 0;
    if (multiplies) code = bind_scale(b, at->prefix, s->name, weight);
    if (code) return code;
    snprintf(name, sizeof name, "%s%s.bias", at->prefix, s->name);
    return bind_vector(b, name, RT_OPTIONAL, n_mats, n_rows, &weight->bias);
}

/* ---- records ------------------------------------------------------------------------------------
 */

static bool has_tensor(const binder *b, const char *prefix, const char *name) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    return gguf_file_find_tensor(b->model->file, full) != NULL;
}

static uint64_t parts_of_mixer(const rt_hparams *hp, rt_mixer mixer) {
    switch (mixer) {
    case RT_MIXER_ATTENTION:
        return UINT64_C(1) << RT_PART_ATTENTION | UINT64_C(1) << RT_PART_PLAIN;
    case RT_MIXER_LATENT:
        return UINT64_C(1) << RT_PART_ATTENTION | UINT64_C(1) << RT_PART_LATENT |
               UINT64_C(1) << (hp->q_lora_rank ? RT_PART_LATENT_Q : RT_PART_DIRECT_Q);
    case RT_MIXER_EXPANDED:
        return UINT64_C(1) << RT_PART_ATTENTION | UINT64_C(1) << RT_PART_EXPANDED |
               UINT64_C(1) << (hp->q_lora_rank ? RT_PART_LATENT_Q : RT_PART_DIRECT_Q);
    case RT_MIXER_COMPRESSED:
        return UINT64_C(1) << RT_PART_COMPRESSED;
    case RT_MIXER_SHORT_CONV:
        return UINT64_C(1) << RT_PART_SHORT_CONV;
    case RT_MIXER_MAMBA:
        return UINT64_C(1) << RT_PART_RECURRENT | UINT64_C(1) << RT_PART_MAMBA;
    case RT_MIXER_MAMBA2:
        return UINT64_C(1) << RT_PART_RECURRENT | UINT64_C(1) << RT_PART_MAMBA2;
    case RT_MIXER_KDA:
        return UINT64_C(1) << RT_PART_KDA;
    case RT_MIXER_ATTENTION_MAMBA2:
        return parts_of_mixer(hp, RT_MIXER_ATTENTION) | parts_of_mixer(hp, RT_MIXER_MAMBA2);
    case RT_MIXER_GATED_DELTA:
        return UINT64_C(1) << RT_PART_RECURRENT | UINT64_C(1) << RT_PART_DELTA;
    default:
        return 0;
    }
}

/* Keys and values of the layer itself. */
static uint64_t parts_of_keys(const binder *b, uint32_t layer, const char *prefix) {
    const rt_layer_hparams *of = &b->model->hparams.layers[layer];
    if (!rt_mixer_has_values(of->mixer) || of->mixer == RT_MIXER_EXPANDED) return 0;
    if (of->kv_layer != layer) return 0;
    bool same =
        rt_arch_compute_of(b->model->arch)->keys_as_values && !has_tensor(b, prefix, "attn_v");
    return UINT64_C(1) << RT_PART_KEYS | (same ? 0 : UINT64_C(1) << RT_PART_VALUES);
}

/* Gates of heads are as many as the tensor has rows. */
static uint64_t parts_of_gates(const binder *b, uint32_t layer, const char *prefix) {
    char full[GGUF_MAX_TENSOR_NAME + 32];
    const rt_layer_hparams *of = &b->model->hparams.layers[layer];
    if (!b->model->hparams.gated_heads || !rt_mixer_has_rows(of->mixer)) return 0;
    snprintf(full, sizeof full, "%sattn_gate.weight", prefix);
    const gguf_tensor *t = gguf_file_find_tensor(b->model->file, full);
    return UINT64_C(1) << (t && t->dims[1] == of->n_head ? RT_PART_HEAD_GATES
                                                         : RT_PART_VALUE_GATES);
}

static uint64_t parts_of_ffn(const binder *b, uint32_t layer, const char *prefix) {
    const rt_hparams *hp = &b->model->hparams;
    uint64_t dense = hp->layers[layer].n_ff ? UINT64_C(1) << RT_PART_DENSE : 0;
    if (!hp->n_expert || !has_tensor(b, prefix, "ffn_gate_inp")) return dense;
    uint64_t parts =
        UINT64_C(1) << RT_PART_EXPERTS | (hp->n_ff_shared ? UINT64_C(1) << RT_PART_SHARED : 0);
    return has_tensor(b, prefix, "ffn_up") ? parts | dense | UINT64_C(1) << RT_PART_BESIDE : parts;
}

static uint64_t parts_of_indexer(const rt_hparams *hp, uint32_t layer) {
    uint64_t blocks = hp->layers[layer].n_compress ? UINT64_C(1) << RT_PART_BLOCKS : 0;
    if (hp->n_out_group)
        return hp->layers[layer].indexes ? blocks | UINT64_C(1) << RT_PART_INDEX_BLOCKS : blocks;
    if (!hp->layers[layer].indexes) return 0;
    if (hp->index_pool)
        return UINT64_C(1) << RT_PART_INDEX_LATENT | UINT64_C(1) << RT_PART_INDEX_POOLED;
    return UINT64_C(1) << (hp->kv_lora_rank ? RT_PART_INDEX_LATENT : RT_PART_INDEX_HEADS);
}

static uint64_t parts_of_model(const rt_hparams *hp) {
    return (hp->n_hyper ? UINT64_C(1) << RT_PART_HYPER : 0) |
           (hp->n_embd_layer ? UINT64_C(1) << RT_PART_EMBEDDED : 0) |
           (hp->n_stream > 1 ? UINT64_C(1) << RT_PART_STREAMS : 0);
}

static uint64_t parts_of(const binder *b, uint32_t layer, const char *prefix) {
    const rt_hparams *hp = &b->model->hparams;
    uint64_t stacks = hp->n_buckets ? UINT64_C(1) << RT_PART_RELATIVE : 0;
    if (hp->n_encoder_layer && layer >= hp->n_encoder_layer) stacks |= UINT64_C(1) << RT_PART_CROSS;
    return UINT64_C(1) << RT_PART_ALL | stacks | parts_of_mixer(hp, hp->layers[layer].mixer) |
           parts_of_model(hp) | parts_of_keys(b, layer, prefix) | parts_of_indexer(hp, layer) |
           parts_of_gates(b, layer, prefix) | parts_of_ffn(b, layer, prefix);
}

/* The name under which the file has a norm: two of them may go by that of another one. */
static const char *scale_name(const binder *b, const rt_slot *s) {
    const rt_arch_compute *c = rt_arch_compute_of(b->model->arch);
    if (strcmp(s->name, "ffn_norm") == 0) return c->ffn_norm;
    if (strcmp(s->name, "output_norm") == 0) return c->output_norm;
    bool taken = strcmp(s->name, c->ffn_norm) == 0 || strcmp(s->name, c->output_norm) == 0;
    return taken ? NULL : s->name;
}

/* The slots of one record. A weight that is bound already is part of a fused tensor. */
static gguf_code bind_slots(binder *b, const record *at, void *fields, const rt_slots *s) {
    char name[GGUF_MAX_TENSOR_NAME + 32];
    const rt_hparams *hp = &b->model->hparams;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < s->n_matrices && !code; i++) {
        rt_weight *weight = (rt_weight *)(void *)((char *)fields + s->matrices[i].field);
        if (at->parts & UINT64_C(1) << s->matrices[i].part && !weight->data)
            code = bind_matrix(b, at, &s->matrices[i], weight);
    }
    for (size_t i = 0; i < s->n_scales && !code; i++) {
        rt_norm_weights *norm = (rt_norm_weights *)(void *)((char *)fields + s->scales[i].field);
        const char *found = scale_name(b, &s->scales[i]);
        if (at->parts & UINT64_C(1) << s->scales[i].part && found)
            code = bind_norm(b, at, found, &s->scales[i], norm);
    }
    for (size_t i = 0; i < s->n_vectors && !code; i++) {
        const rt_slot *v = &s->vectors[i];
        const float **vector = (const float **)(void *)((char *)fields + v->field);
        snprintf(name, sizeof name, "%s%s", at->prefix, v->name);
        if (at->parts & UINT64_C(1) << v->part)
            code = bind_vectors(b, name, v->need, rt_dim_size(hp, at->layer, v->n_mats),
                                rt_dim_size(hp, at->layer, v->n_rows),
                                rt_dim_size(hp, at->layer, v->n_cols), vector);
    }
    return code;
}

/* Tensors that hold several weights on top of one another. */
static gguf_code bind_layer_fused(binder *b, const record *at, rt_layer *layer) {
    const rt_hparams *hp = &b->model->hparams;
    uint32_t n_ff = hp->layers[at->layer].n_ff;
    rt_weight *const qkv[] = {&layer->attn_q, &layer->attn_k, &layer->attn_v};
    const uint32_t qkv_rows[] = {rt_dim_size(hp, at->layer, RT_DIM_Q),
                                 rt_dim_size(hp, at->layer, RT_DIM_K),
                                 rt_dim_size(hp, at->layer, RT_DIM_V)};
    rt_weight *const gate_up[] = {&layer->ffn_gate, &layer->ffn_up};
    const uint32_t ff[] = {n_ff, n_ff};
    rt_weight *const exps[] = {&layer->gate_exps, &layer->up_exps};
    const uint32_t ff_expert[] = {hp->n_ff_expert, hp->n_ff_expert};
    const gguf_tensor *up;
    char name[GGUF_MAX_TENSOR_NAME + 32];
    gguf_code code = GGUF_OK;
    if (at->parts & UINT64_C(1) << RT_PART_PLAIN)
        code = bind_fused(b, at->prefix, "attn_qkv", 1, hp->n_embd, qkv, qkv_rows, 3);
    if (!code && at->parts & UINT64_C(1) << RT_PART_EXPERTS)
        code = bind_fused(b, at->prefix, "ffn_gate_up_exps", hp->n_expert, hp->n_expert_in, exps,
                          ff_expert, 2);
    /* Without a gate, twice the rows are the gate and the up projection. */
    snprintf(name, sizeof name, "%sffn_up.weight", at->prefix);
    up = gguf_file_find_tensor(b->model->file, name);
    if (!code && at->parts & UINT64_C(1) << RT_PART_DENSE && up &&
        up->dims[1] == 2 * (uint64_t)n_ff && !has_tensor(b, at->prefix, "ffn_gate"))
        code = bind_fused(b, at->prefix, "ffn_up", 1, hp->n_embd, gate_up, ff, 2);
    return code;
}

/* Where there are two norms in front of a layer, the second is attention's and the first the
 * feed-forward block's, which is computed beside it. */
static void settle_norms(const rt_hparams *hp, rt_layer *layer) {
    layer->router_norm = (rt_norm_weights){
        .weight = layer->router_scale, .n_rows = 1, .n_cols = layer->router_scale ? hp->n_embd : 0};
    if (!layer->attn_norm_2.n_cols) return;
    layer->ffn_norm = layer->attn_norm;
    layer->attn_norm = layer->attn_norm_2;
}

/* A norm of n columns without factors, which are 1. */
static void bind_plain_norm(binder *b, rt_norm_weights *norm, uint32_t n) {
    b->n_vector_elems += n;
    *norm = (rt_norm_weights){.weight = b->next_vector, .n_rows = 1, .n_cols = n};
    if (!b->next_vector) return;
    for (uint32_t i = 0; i < n; i++) b->next_vector[i] = 1;
    b->next_vector += n;
}

static void bind_plain_norms(binder *b) {
    rt_model *model = b->model;
    const rt_hparams *hp = &model->hparams;
    const rt_arch_compute *compute = rt_arch_compute_of(model->arch);
    for (uint32_t i = 0; i < hp->n_layer && compute->norm_values; i++)
        if (hp->layers[i].head_dim_v)
            bind_plain_norm(b, &model->layers[i].v_norm, hp->layers[i].head_dim_v);
    for (uint32_t i = 0; i < hp->n_layer && hp->plain_qk_norm; i++) {
        if (!rt_layers_has(&hp->rotated, i) || hp->layers[i].mixer != RT_MIXER_ATTENTION) continue;
        bind_plain_norm(b, &model->layers[i].q_norm, hp->layers[i].head_dim_k);
        bind_plain_norm(b, &model->layers[i].k_norm, hp->layers[i].head_dim_k);
    }
    for (uint32_t i = 0; i < hp->n_layer && hp->ssm_plain_norms; i++) {
        if (hp->layers[i].mixer != RT_MIXER_MAMBA) continue;
        bind_plain_norm(b, &model->layers[i].ssm_dt_norm, hp->ssm_dt_rank);
        bind_plain_norm(b, &model->layers[i].ssm_b_norm, hp->ssm_d_state);
        bind_plain_norm(b, &model->layers[i].ssm_c_norm, hp->ssm_d_state);
    }
    for (uint32_t i = 0; i < hp->n_layer && hp->n_out_group; i++)
        bind_plain_norm(b, &model->layers[i].q_plain_norm, hp->layers[i].head_dim_k);
    if (hp->n_hyper) bind_plain_norm(b, &model->hyper_norm, hp->n_hyper * hp->n_embd);
    if (compute->norm_embeddings) bind_plain_norm(b, &model->token_embd_norm, hp->n_embd);
    if (!compute->plain_norms) return;
    bind_plain_norm(b, &model->output_norm, hp->n_embd);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        bind_plain_norm(b, &model->layers[i].attn_norm, hp->n_embd);
        bind_plain_norm(b, &model->layers[i].ffn_norm, hp->n_embd);
    }
}

/* What a bound on decays is divided by is positive; files have it with either sign. */
static void settle_decays(const binder *b, const rt_layer *layer) {
    const rt_hparams *hp = &b->model->hparams;
    if (!b->next_vector || !layer->ssm_a || hp->kda_bound == 0) return;
    float *a = b->model->vectors + (layer->ssm_a - b->model->vectors);
    for (uint32_t i = 0; i < hp->ssm_dt_rank; i++) a[i] = fabsf(a[i]);
}

/* The experts of every token, as they lie in the file: a table of numbers that all exist. */
static gguf_code bind_token_experts(binder *b, const record *at, const int32_t **field) {
    char name[GGUF_MAX_TENSOR_NAME + 32];
    const rt_hparams *hp = &b->model->hparams;
    const char *path = gguf_file_path(b->model->file);
    if (!hp->layers[at->layer].hashed || !(at->parts >> RT_PART_EXPERTS & 1)) return GGUF_OK;
    snprintf(name, sizeof name, "%sffn_gate_tid2eid.weight", at->prefix);
    const gguf_tensor *t = gguf_file_find_tensor(b->model->file, name);
    if (!t)
        return gguf_fail(b->err, GGUF_E_MISSING, path, GGUF_NO_OFFSET, "tensor '%s' is missing",
                         name);
    if (t->type != GGUF_TYPE_I32)
        return gguf_fail(b->err, GGUF_E_TYPE, path, (int64_t)t->file_off,
                         "tensor '%s' has the type %s, not I32", name, gguf_type_name(t->type));
    if (!has_shape(t, 1, hp->n_vocab, hp->n_expert_used))
        return fail_shape(b, t, 1, hp->n_vocab, hp->n_expert_used);
    b->used[t - gguf_file_tensor(b->model->file, 0)] = true;
    *field = gguf_file_data(b->model->file, t);
    for (size_t i = 0; i < (size_t)hp->n_vocab * hp->n_expert_used; i++)
        if ((uint32_t)(*field)[i] >= hp->n_expert)
            return gguf_fail(b->err, GGUF_E_LIMIT, path, (int64_t)t->file_off,
                             "tensor '%s': element %zu is no expert", name, i);
    return GGUF_OK;
}

/* Checkpoints may hold projections that a layer with another one's keys does not use. */
static void pass_over_keys(const binder *b, uint32_t layer, const char *prefix) {
    static const char *const names[] = {"attn_k", "attn_v", "attn_k_norm"};
    char full[GGUF_MAX_TENSOR_NAME + 32];
    if (b->model->hparams.layers[layer].kv_layer == layer) return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(full, sizeof full, "%s%s.weight", prefix, names[i]);
        const gguf_tensor *t = gguf_file_find_tensor(b->model->file, full);
        if (t) b->used[t - gguf_file_tensor(b->model->file, 0)] = true;
    }
}

/* Streams are corrected by 1 and what the coefficients say. */
static void correct_wholly(binder *b, rt_layer *layer) {
    rt_norm_weights ones;
    if (!layer->altup_correct.data) return;
    bind_plain_norm(b, &ones, b->model->hparams.n_stream);
    layer->altup_correct.bias = ones.weight;
}

static gguf_code bind_all(binder *b) {
    rt_model *model = b->model;
    char prefix[32];
    const record whole = {"", 0, UINT64_C(1) << RT_PART_ALL | parts_of_model(&model->hparams)};
    gguf_code code = bind_slots(b, &whole, model, &rt_model_slots);
    for (uint32_t i = 0; i < model->hparams.n_layer && !code; i++) {
        rt_layer_prefix(model, i, prefix);
        const record at = {prefix, i, parts_of(b, i, prefix)};
        code = bind_layer_fused(b, &at, &model->layers[i]);
        if (!code) code = bind_slots(b, &at, &model->layers[i], &rt_layer_slots);
        if (!code) code = bind_token_experts(b, &at, &model->layers[i].token_experts);
        settle_norms(&model->hparams, &model->layers[i]);
        settle_decays(b, &model->layers[i]);
        pass_over_keys(b, i, prefix);
        correct_wholly(b, &model->layers[i]);
    }
    if (!code) bind_plain_norms(b);
    return code;
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

void rt_layer_prefix(const rt_model *model, uint32_t layer, char out[32]) {
    const char *stack = "";
    uint32_t n_encoder = model->hparams.n_encoder_layer;
    if (rt_arch_compute_of(model->arch)->stacks != RT_STACKS_ONE) stack = "enc.";
    if (n_encoder && layer >= n_encoder) {
        stack = "dec.";
        layer -= n_encoder;
    }
    snprintf(out, 32, "%sblk.%" PRIu32 ".", stack, layer);
}

bool rt_tensor_is_idle(const rt_hparams *hp, gguf_str name) {
    char text[GGUF_MAX_TENSOR_NAME + 1];
    uint32_t layer;
    if (hp->skips_decoder)
        return gguf_str_eq(name, "output.weight") ||
               (name.len > 4 && memcmp(name.ptr, "dec.", 4) == 0);
    if (name.len >= sizeof text) return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    if (sscanf(text, "blk.%" SCNu32 ".", &layer) != 1) return false;
    if (layer < hp->n_layer) return layer < hp->n_layer_before || layer >= rt_hparams_end(hp);
    return layer - hp->n_layer < hp->n_draft_layer;
}

/* Every tensor must be used: one that is not would mean another computation. */
static gguf_code check_all_used(const binder *b) {
    const gguf_file *file = b->model->file;
    const gguf_tensor *unused = NULL;
    for (size_t i = 0; i < gguf_file_n_tensors(file) && !unused; i++)
        if (!b->used[i] && !rt_tensor_is_idle(&b->model->hparams, gguf_file_tensor(file, i)->name))
            unused = gguf_file_tensor(file, i);
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
        return fail_missing(b, "", compute->output_norm);
    for (uint32_t i = 0; i < model->hparams.n_layer; i++) {
        const rt_layer *l = &model->layers[i];
        rt_layer_prefix(model, i, prefix);
        bool normed = i == 0 && model->token_embd_norm.n_cols; /* embeddings are */
        if (!normed && !l->attn_norm.n_cols && !l->attn_post_norm.n_cols &&
            !l->attn_output_norm.n_cols)
            return fail_missing(b, prefix, "attn_norm");
        bool both =
            model->hparams.layers[i].mixer != RT_MIXER_NONE && (l->router.data || l->ffn_up.data);
        if (!l->ffn_norm.n_cols && !l->ffn_post_norm.n_cols && !l->layer_output_norm.n_cols &&
            both && !model->hparams.parallel)
            return fail_missing(b, prefix, compute->ffn_norm);
    }
    return GGUF_OK;
}

/* Betas and alphas of the gated delta rule: together, or one tensor each. */
static gguf_code check_delta(const binder *b, const char *prefix, const rt_layer *l) {
    if (!l->ssm_qkv.data || l->ssm_ba.data) return GGUF_OK;
    if (!l->ssm_beta.data) return fail_missing(b, prefix, "ssm_beta");
    return l->ssm_alpha.data ? GGUF_OK : fail_missing(b, prefix, "ssm_alpha");
}

/* Its numbers are keys, and it stands between two projections. */
static gguf_code fail_xielu(const binder *b) {
    return gguf_fail(b->err, GGUF_E_UNSUPPORTED, gguf_file_path(b->model->file), GGUF_NO_OFFSET,
                     "xIELU needs the keys 'xielu.*' and a feed-forward block without a gate");
}

static gguf_code check_gates(const binder *b) {
    const rt_model *model = b->model;
    bool gated = rt_arch_compute_of(model->arch)->activation == RT_ACT_SWIGLU_CLAMPED;
    char prefix[32];
    for (uint32_t i = 0; i < model->hparams.n_layer; i++) {
        const rt_layer *l = &model->layers[i];
        rt_layer_prefix(model, i, prefix);
        gguf_code code = check_delta(b, prefix, l);
        if (code) return code;
        bool plain = rt_arch_compute_of(model->arch)->activation == RT_ACT_XIELU;
        if (plain && (l->ffn_gate.data || model->hparams.layers[i].xielu_beta == 0))
            return fail_xielu(b);
        if (!gated) continue;
        if (l->router.data ? !l->gate_exps.data : l->ffn_up.data && !l->ffn_gate.data)
            return fail_missing(b, prefix, l->router.data ? "ffn_gate_exps" : "ffn_gate");
    }
    return GGUF_OK;
}

static gguf_code check_encoder(const binder *b) {
    const rt_model *model = b->model;
    if (!model->hparams.n_encoder_layer || model->encoder_norm.n_cols) return GGUF_OK;
    return fail_missing(b, "enc.", "output_norm");
}

static gguf_code bind_twice(binder *b) {
    rt_model *model = b->model, blank = *model;
    gguf_code code = bind_all(b);
    if (!code) code = check_all_used(b);
    if (!code) code = check_norms(b);
    if (!code) code = check_gates(b);
    if (!code) code = check_encoder(b);
    if (code) return code;
    *model = blank;
    memset(model->layers, 0, model->hparams.n_layer * sizeof *model->layers);
    model->vectors = malloc(b->n_vector_elems * sizeof *model->vectors + 1);
    if (!model->vectors) return gguf_fail_memory(b->err);
    model->n_vectors = b->n_vector_elems;
    b->next_vector = model->vectors;
    return bind_all(b);
}

gguf_code rt_model_bind(rt_model *model, gguf_error *err) {
    binder b = {.model = model, .err = err};
    model->layers = calloc(model->hparams.n_layer, sizeof *model->layers);
    b.used = calloc(gguf_file_n_tensors(model->file) + 1, sizeof *b.used);
    gguf_code code = model->layers && b.used ? bind_twice(&b) : gguf_fail_memory(err);
    free(b.used);
    if (!code && !model->output.data && !rt_model_is_embedder(model)) {
        model->output = model->token_embd;
        if (rt_arch_compute_of(model->arch)->scale_tied_logits)
            model->hparams.logit_factor /= sqrtf((float)model->hparams.n_embd);
    }
    return code;
}
