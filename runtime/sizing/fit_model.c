/* What the layers of a model remember: from its checked numbers where the runtime knows the
 * architecture, otherwise from usual keys and the shapes of the tensors. */
#include "runtime/model/model_internal.h"
#include "runtime/sizing/fit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where there is no tokenizer: bytes of keys per token, as in the vocabularies of Llama 2 (23),
 * Qwen 2 (39) and Llama 3 (61). */
static const uint64_t token_meta_bytes = 48;

static gguf_code allocate_layers(rt_fit_model *model, gguf_error *err) {
    model->layers = calloc(model->hp.n_layer, sizeof *model->layers);
    if (model->layers) return GGUF_OK;
    return gguf_fail_memory(err);
}

static gguf_code measure_meta(const quant_plan *plan, rt_fit_model *model, gguf_error *err) {
    uint8_t *header = NULL;
    size_t n_bytes = 0;
    if (!gguf_meta_find(plan->meta, "tokenizer.ggml.tokens")) {
        model->meta_estimated = true;
        model->n_meta_bytes = model->hp.n_vocab * token_meta_bytes;
        return GGUF_OK;
    }
    gguf_code code =
        gguf_header_encode(plan->meta, NULL, 0, plan->alignment, &header, &n_bytes, err);
    model->n_meta_bytes = n_bytes;
    free(header);
    return code;
}

/* ---- known architectures ------------------------------------------------------------------------
 */

static void describe_known(rt_fit_model *model) {
    for (uint32_t i = 0; i < model->hp.n_layer; i++)
        model->layers[i] = rt_layer_memory_of(&model->hp, i);
}

/* ---- others -------------------------------------------------------------------------------------
 */

typedef struct survey {
    const quant_plan *plan;
    const char *architecture, *path;
    rt_fit_model *model;
    gguf_code code;
    gguf_error *err;
} survey;

static const gguf_kv *find_key(const survey *s, const char *name, char full[160]) {
    snprintf(full, 160, "%s.%s", s->architecture, name);
    return gguf_meta_find(s->plan->meta, full);
}

/* A count of layer `layer`, or the one of all; `absent` where there is no such key. */
static uint32_t count_of(survey *s, const char *name, uint32_t layer, uint32_t absent,
                         uint32_t max) {
    char full[160];
    const gguf_kv *kv = find_key(s, name, full);
    uint64_t value = absent;
    if (!kv) return absent;
    if (kv->type == GGUF_VALUE_ARRAY) {
        gguf_kv_iter it = {.kv = kv};
        int64_t element = absent;
        for (uint32_t i = 0; i <= layer && gguf_kv_next_i64(&it, &element); i++) continue;
        value = element < 0 ? 0 : (uint64_t)element;
    } else if (!gguf_kv_u64(kv, &value)) {
        value = UINT64_MAX;
    }
    if (value <= max) return (uint32_t)value;
    if (!s->code)
        s->code = gguf_fail(s->err, GGUF_E_LIMIT, s->path, kv->off,
                            "the key '%s' is not a count up to %" PRIu32, full, max);
    return absent;
}

static uint32_t needed(survey *s, const char *name, uint32_t max) {
    uint32_t value = count_of(s, name, 0, 0, max);
    if (!value && !s->code)
        s->code = gguf_fail(s->err, GGUF_E_MISSING, s->path, GGUF_NO_OFFSET,
                            "the key '%s.%s' is missing or 0", s->architecture, name);
    return value ? value : 1;
}

static uint32_t largest(survey *s, const char *name, uint32_t absent, uint32_t limit) {
    uint32_t max = 0;
    for (uint32_t i = 0; i < s->model->hp.n_layer && !s->code; i++) {
        uint32_t value = count_of(s, name, i, absent, limit);
        if (value > max) max = value;
    }
    return max;
}

static void survey_numbers(survey *s) {
    rt_hparams *hp = &s->model->hp;
    *hp = (rt_hparams){.causal = true, .n_vocab = 1};
    hp->n_layer = needed(s, "block_count", RT_MAX_LAYERS);
    hp->n_ctx_train = needed(s, "context_length", RT_MAX_CONTEXT);
    hp->n_embd = needed(s, "embedding_length", RT_MAX_WIDTH);
    hp->n_ff = largest(s, "feed_forward_length", 0, RT_MAX_WIDTH);
    hp->n_head = largest(s, "attention.head_count", 0, RT_MAX_HEADS);
    if (!hp->n_head) hp->n_head = 1;
    hp->n_head_kv = largest(s, "attention.head_count_kv", hp->n_head, RT_MAX_HEADS);
    if (!hp->n_head_kv) hp->n_head_kv = 1;
    uint32_t usual = hp->n_embd / hp->n_head;
    if (usual < 1 || usual > RT_MAX_HEAD_DIM) usual = usual ? RT_MAX_HEAD_DIM : 1;
    hp->head_dim_k = count_of(s, "attention.key_length", 0, usual, RT_MAX_HEAD_DIM);
    hp->head_dim_v = count_of(s, "attention.value_length", 0, usual, RT_MAX_HEAD_DIM);
    hp->n_expert = largest(s, "expert_count", 0, RT_MAX_EXPERTS);
    hp->n_expert_used = largest(s, "expert_used_count", 0, RT_MAX_EXPERTS);
    if (hp->n_expert_used > hp->n_expert) hp->n_expert_used = hp->n_expert;
    hp->n_ff_expert = largest(s, "expert_feed_forward_length", hp->n_ff, RT_MAX_WIDTH);
    hp->n_expert_in = hp->n_embd;
    hp->n_ff_shared = largest(s, "expert_shared_feed_forward_length", 0, RT_MAX_WIDTH);
    for (size_t i = 0; i < s->plan->n_tensors; i++) {
        const gguf_tensor *t = &s->plan->tensors[i].out;
        if (gguf_str_eq(t->name, "token_embd.weight") && t->dims[1] <= RT_MAX_VOCAB)
            hp->n_vocab = (uint32_t)t->dims[1];
    }
    hp->n_out = hp->n_vocab;
    rt_hparams_same_layers(hp);
}

/* Which layers have a window: only a list of flags says so for certain; without it all count as
 * full. */
static void survey_windows(survey *s) {
    char full[160];
    rt_hparams *hp = &s->model->hp;
    const gguf_kv *pattern = find_key(s, "attention.sliding_window_pattern", full);
    hp->n_window = count_of(s, "attention.sliding_window", 0, 0, RT_MAX_CONTEXT);
    if (!hp->n_window || !pattern || pattern->type != GGUF_VALUE_ARRAY) return;
    gguf_kv_iter it = {.kv = pattern};
    int64_t flag;
    for (uint32_t i = 0; i < hp->n_layer && gguf_kv_next_i64(&it, &flag); i++)
        if (flag) hp->windowed.words[i / 64] |= UINT64_C(1) << i % 64;
}

/* Rows of a layer's tensors. */
typedef struct layer_tensors {
    uint32_t k, v, qkv, latent;
    bool recurrent;
} layer_tensors;

static void see_tensor(const quant_plan_tensor *t, layer_tensors *of) {
    const char *role = t->tags.role ? t->tags.role : "";
    bool is_matrix = t->out.n_dims > 1 && t->out.dims[1] <= RT_MAX_WIDTH;
    uint32_t rows = is_matrix ? (uint32_t)t->out.dims[1] : 0;
    if (strcmp(role, "attn_k") == 0 && rows) of->k = rows;
    if (strcmp(role, "attn_v") == 0 && rows) of->v = rows;
    if (strcmp(role, "attn_qkv") == 0 && rows) of->qkv = rows;
    if (strcmp(role, "attn_kv_a_mqa") == 0 && rows) of->latent = rows;
    of->recurrent |= strncmp(role, "ssm_", 4) == 0 || strncmp(role, "shortconv", 9) == 0 ||
                     strncmp(role, "time_mix", 8) == 0;
}

/* Convolution and state of Mamba and gated delta nets, of Kimi's delta attention, of short
 * convolutions, of RWKV: whatever the keys say. */
static uint64_t state_bytes_of(survey *s, uint32_t layer) {
    uint64_t n_embd = s->model->hp.n_embd, n_head = s->model->hp.n_head;
    uint64_t inner = count_of(s, "ssm.inner_size", layer, 0, RT_MAX_WIDTH);
    uint64_t state = count_of(s, "ssm.state_size", layer, 0, RT_MAX_HEAD_DIM);
    uint64_t groups = count_of(s, "ssm.group_count", layer, 0, RT_MAX_HEADS);
    uint64_t kernel = count_of(s, "ssm.conv_kernel", layer, 1, RT_MAX_KERNEL);
    uint64_t short_conv = count_of(s, "shortconv.l_cache", layer, 1, RT_MAX_KERNEL);
    uint64_t delta = count_of(s, "kda.head_dim", layer, 0, RT_MAX_HEAD_DIM);
    uint64_t wkv = count_of(s, "wkv.head_size", layer, 0, RT_MAX_HEAD_DIM);
    uint64_t kept = kernel ? kernel - 1 : 0;
    uint64_t n = kept * (inner + 2 * groups * state) + state * inner;
    if (delta) n = 3 * kept * n_head * delta + delta * delta * n_head;
    n += (short_conv ? short_conv - 1 : 0) * n_embd;
    if (wkv) n += (wkv + 2) * n_embd;
    return n * sizeof(float);
}

static void survey_layer(survey *s, uint32_t i, const layer_tensors *of, uint32_t n_caches) {
    const rt_hparams *hp = &s->model->hp;
    rt_layer_memory *layer = &s->model->layers[i];
    uint32_t n_heads = count_of(s, "attention.head_count_kv", i, hp->n_head_kv, RT_MAX_HEADS);
    if (of->recurrent) layer->state_bytes = state_bytes_of(s, i);
    if (i >= n_caches) return;
    layer->cache = rt_layers_has(&hp->windowed, i) ? RT_CACHE_WINDOW : RT_CACHE_FULL;
    if (of->latent) {
        layer->cache = RT_CACHE_LATENT;
        layer->k_cols = of->latent;
    } else if (of->k) {
        layer->k_cols = of->k;
        layer->v_cols = of->v ? of->v : of->k;
    } else if (of->qkv && !of->recurrent) {
        layer->k_cols = n_heads * hp->head_dim_k;
        layer->v_cols = n_heads * hp->head_dim_v;
    } else {
        layer->cache = RT_CACHE_NONE;
    }
}

static gguf_code describe_others(survey *s) {
    survey_numbers(s);
    survey_windows(s);
    if (s->code) return s->code;
    rt_hparams *hp = &s->model->hp;
    uint32_t n_without = count_of(s, "attention.shared_kv_layers", 0, 0, hp->n_layer) +
                         count_of(s, "nextn_predict_layers", 0, 0, hp->n_layer);
    uint32_t n_caches = n_without < hp->n_layer ? hp->n_layer - n_without : 0;
    layer_tensors *of = calloc(hp->n_layer, sizeof *of);
    gguf_code code = allocate_layers(s->model, s->err);
    if (!of || code) {
        free(of);
        return gguf_fail_memory(s->err);
    }
    for (size_t i = 0; i < s->plan->n_tensors; i++) {
        const quant_plan_tensor *t = &s->plan->tensors[i];
        if (t->tags.layer >= 0 && (uint32_t)t->tags.layer < hp->n_layer)
            see_tensor(t, &of[t->tags.layer]);
    }
    for (uint32_t i = 0; i < hp->n_layer && !s->code; i++) survey_layer(s, i, &of[i], n_caches);
    free(of);
    return s->code;
}

/* ---- both ---------------------------------------------------------------------------------------
 */

gguf_code rt_fit_describe(rt_import *import, const char *path, rt_fit_model *out, gguf_error *err) {
    const quant_plan *plan = rt_import_plan(import);
    const char *architecture = rt_import_architecture(import);
    gguf_error why = {0};
    *out = (rt_fit_model){0};
    gguf_code code = rt_hparams_of_plan(plan, architecture, path, &out->hp, &why);
    out->runs_here = code == GGUF_OK;
    if (code == GGUF_OK) {
        code = allocate_layers(out, err);
        if (!code) describe_known(out);
    } else if (code == GGUF_E_UNSUPPORTED) {
        survey s = {plan, architecture, path, out, GGUF_OK, err};
        code = describe_others(&s);
    } else if (err && !err->code) {
        *err = why;
    }
    if (!code) code = measure_meta(plan, out, err);
    if (code) rt_fit_model_clear(out);
    return code;
}

void rt_fit_model_clear(rt_fit_model *model) {
    free(model->layers);
    *model = (rt_fit_model){0};
}
