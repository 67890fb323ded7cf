/* Bytes and operations, counted from the tensors and the layers. */
#include "runtime/sizing/cost.h"

#include "quant/quant.h"
#include "runtime/model/model_internal.h"

#include <math.h>
#include <string.h>

/* ---- weights ------------------------------------------------------------------------------------
 */

static bool has(gguf_str name, const char *part) {
    return memmem(name.ptr, name.len, part, strlen(part)) != NULL;
}

/* Embeddings of layers and their norms are few bytes too. */
static bool is_lookup(gguf_str name) {
    return has(name, "token_embd") || gguf_str_eq(name, "position_embd.weight") ||
           gguf_str_eq(name, "token_types.weight");
}

static rt_weight_use use_of(gguf_str name, bool is_output) {
    if (is_output || gguf_str_eq(name, "output.weight")) return RT_USE_OUTPUT;
    if (is_lookup(name)) return RT_USE_LOOKUP;
    return has(name, "_exps.") ? RT_USE_EXPERTS : RT_USE_LAYERS;
}

bool rt_cost_is_expert(const gguf_tensor *t) {
    return use_of(t->name, false) == RT_USE_EXPERTS;
}

void rt_cost_add_weight(rt_cost_weights *weights, const gguf_tensor *t, uint64_t n_bytes,
                        bool is_output) {
    rt_weight_sums *sums = &weights->of[use_of(t->name, is_output)];
    double n_elems = (double)gguf_tensor_n_elems(t);
    sums->n_bytes += (double)n_bytes;
    sums->n_elems += n_elems;
    if (t->n_dims < 2) return;
    if (quant_act_of(t->type) == QUANT_ACT_NONE)
        sums->f32_elems += n_elems;
    else
        sums->i8_elems += n_elems;
}

double rt_cost_experts_read(const rt_hparams *hp, double n_tokens) {
    double one = hp->n_expert ? (double)hp->n_expert_used / hp->n_expert : 0;
    return 1 - pow(1 - one, n_tokens);
}

/* ---- what layers remember -----------------------------------------------------------------------
 */

const char *rt_cache_kind_name(rt_cache_kind kind) {
    static const char *const names[] = {"none", "full", "window", "latent"};
    return names[kind];
}

static rt_cache_kind cache_of(const rt_hparams *hp, uint32_t layer) {
    switch (hp->layers[layer].mixer) {
    case RT_MIXER_ATTENTION:
    case RT_MIXER_EXPANDED:
    case RT_MIXER_COMPRESSED:
    case RT_MIXER_ATTENTION_MAMBA2:
        return rt_layers_has(&hp->windowed, layer) ? RT_CACHE_WINDOW : RT_CACHE_FULL;
    case RT_MIXER_LATENT:
        return RT_CACHE_LATENT;
    default:
        return RT_CACHE_NONE;
    }
}

rt_layer_memory rt_layer_memory_of(const rt_hparams *hp, uint32_t layer) {
    const rt_layer_hparams *l = &hp->layers[layer];
    bool own_v = !rt_mixer_shares_rows(l->mixer);
    /* What is read but kept by another layer takes no room. */
    bool kept = l->kv_layer == layer && (layer == 0 || layer >= hp->n_encoder_layer);
    rt_layer_memory memory = {.cache = kept ? cache_of(hp, layer) : RT_CACHE_NONE,
                              .index_cols = l->indexes ? hp->index_head_dim : 0,
                              .k_cols = l->n_head_kv * l->head_dim_k,
                              .v_cols = own_v ? l->n_head_kv * l->head_dim_v : 0};
    if (l->n_compress) { /* an indexer's keys are of blocks too */
        memory.n_compress = l->n_compress;
        memory.block_cols = l->head_dim_k;
    }
    if (l->indexes && hp->index_pool) memory.n_compress = hp->index_pool;
    memory.state_bytes = rt_layer_state_bytes(hp, layer);
    return memory;
}

uint64_t rt_layer_row_bytes(const rt_layer_memory *layer, uint32_t kv_type) {
    uint64_t k = layer->k_cols ? quant_row_bytes(kv_type, layer->k_cols) : 0;
    if (layer->index_cols && !layer->n_compress) k += quant_row_bytes(kv_type, layer->index_cols);
    return k + (layer->v_cols ? quant_row_bytes(kv_type, layer->v_cols) : 0);
}

uint64_t rt_layer_block_bytes(const rt_layer_memory *layer, uint32_t kv_type, uint64_t n_tokens) {
    if (layer->n_compress == 0) return 0;
    uint64_t n_pages = (n_tokens + RT_PAGE_TOKENS - 1) / RT_PAGE_TOKENS;
    uint64_t n_bytes = layer->block_cols ? quant_row_bytes(kv_type, layer->block_cols) : 0;
    if (layer->index_cols) n_bytes += quant_row_bytes(kv_type, layer->index_cols);
    return n_pages * rt_rows_of_page(layer->n_compress) * n_bytes;
}

static double seen_by(const rt_hparams *hp, const rt_layer_memory *layer, double n_tokens) {
    if (layer->cache == RT_CACHE_NONE) return 0;
    bool cut = layer->cache == RT_CACHE_WINDOW && hp->n_window < n_tokens;
    return cut ? hp->n_window : n_tokens;
}

rt_memory_cost rt_memory_cost_of(const rt_hparams *hp, const rt_layer_memory *layers,
                                 uint32_t kv_type, double n_tokens) {
    rt_memory_cost cost = {0};
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const rt_layer_hparams *l = &hp->layers[i];
        const rt_layer_memory *read = &layers[l->kv_layer];
        double seen = seen_by(hp, read, n_tokens);
        cost.n_bytes += seen * (double)rt_layer_row_bytes(read, kv_type);
        cost.n_bytes += (double)layers[i].state_bytes;
        cost.n_bytes += (double)rt_layer_block_bytes(&layers[i], kv_type, (uint64_t)n_tokens);
        cost.n_ops += 2 * l->n_head * ((double)l->head_dim_k + l->head_dim_v) * seen;
    }
    return cost;
}

/* ---- a run of tokens ---------------------------------------------------------------------------
 */

static rt_cost_weights weights_of(const rt_model *model) {
    const gguf_file *file = rt_model_file(model);
    bool tied = !rt_model_is_embedder(model) && !gguf_file_find_tensor(file, "output.weight");
    rt_cost_weights weights = {0};
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        bool is_output = tied && gguf_str_eq(t->name, "token_embd.weight");
        rt_cost_add_weight(&weights, t, t->n_bytes, is_output);
    }
    return weights;
}

/* A multiplication and an addition for each weight. */
static void add_weights(rt_cost *cost, const rt_weight_sums *sums, double n_uses) {
    cost->n_bytes += sums->n_bytes * n_uses;
    cost->f32_ops += 2 * sums->f32_elems * n_uses;
    cost->i8_ops += 2 * sums->i8_elems * n_uses;
}

rt_cost rt_cost_of_tokens(const rt_model *model, uint32_t kv_type, uint32_t first, uint32_t n,
                          uint32_t n_logits) {
    const rt_hparams *hp = rt_model_hparams(model);
    const rt_cost_weights weights = weights_of(model);
    rt_layer_memory layers[RT_MAX_LAYERS];
    rt_cost cost = {0};
    add_weights(&cost, &weights.of[RT_USE_LAYERS], n);
    add_weights(&cost, &weights.of[RT_USE_EXPERTS], n * rt_cost_experts_read(hp, 1));
    add_weights(&cost, &weights.of[RT_USE_OUTPUT], n_logits);
    for (uint32_t i = 0; i < hp->n_layer; i++) layers[i] = rt_layer_memory_of(hp, i);
    for (uint32_t i = 0; i < n; i++) {
        double n_seen = hp->causal ? first + i + 1.0 : first + n;
        rt_memory_cost memory = rt_memory_cost_of(hp, layers, kv_type, n_seen);
        cost.n_bytes += memory.n_bytes;
        cost.f32_ops += memory.n_ops;
    }
    return cost;
}
