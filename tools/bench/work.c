/* Bytes and operations, counted from the tensors. */
#include "tools/bench/work.h"

#include "quant/quant.h"

#include <string.h>

typedef enum tensor_use { USE_LAYERS, USE_EXPERTS, USE_OUTPUT, USE_NONE } tensor_use;

static bool ends_with(gguf_str name, const char *end) {
    size_t n = strlen(end);
    return name.len >= n && memcmp(name.ptr + name.len - n, end, n) == 0;
}

/* Lookups read one row, which is nothing beside the rest. */
static tensor_use use_of(const gguf_tensor *t, bool tied) {
    if (gguf_str_eq(t->name, "output.weight")) return USE_OUTPUT;
    if (gguf_str_eq(t->name, "token_embd.weight")) return tied ? USE_OUTPUT : USE_NONE;
    if (gguf_str_eq(t->name, "position_embd.weight") || gguf_str_eq(t->name, "token_types.weight"))
        return USE_NONE;
    return ends_with(t->name, "_exps.weight") ? USE_EXPERTS : USE_LAYERS;
}

/* Used by n_uses tokens, each with a share of it. */
static void add_tensor(bench_work *work, const gguf_tensor *t, double n_uses, double share) {
    double ops = 2 * (double)gguf_tensor_n_elems(t) * share * n_uses;
    work->n_bytes += (double)t->n_bytes * share * n_uses;
    if (t->n_dims < 2) return;
    if (quant_act_of(t->type) == QUANT_ACT_NONE)
        work->f32_ops += ops;
    else
        work->i8_ops += ops;
}

/* Keys and values that a token at position p sees, over all layers. */
static void add_attention(bench_work *work, const rt_hparams *hp, uint32_t kv_type, uint32_t p,
                          uint32_t end) {
    uint32_t n_windowed = rt_layers_count(&hp->windowed, hp->n_layer);
    double all = hp->causal ? p + 1.0 : end;
    double window = hp->n_window && all > hp->n_window ? hp->n_window : all;
    double seen = all * (hp->n_layer - n_windowed) + window * n_windowed;
    size_t k = quant_row_bytes(kv_type, (size_t)hp->n_head_kv * hp->head_dim_k);
    size_t v = quant_row_bytes(kv_type, (size_t)hp->n_head_kv * hp->head_dim_v);
    work->n_bytes += seen * (double)(hp->kv_lora_rank ? k : k + v);
    work->f32_ops += 2 * seen * hp->n_head * ((double)hp->head_dim_k + hp->head_dim_v);
}

bench_work bench_work_of(const rt_model *model, uint32_t kv_type, uint32_t first, uint32_t n,
                         uint32_t n_logits) {
    const gguf_file *file = rt_model_file(model);
    const rt_hparams *hp = rt_model_hparams(model);
    bool tied = !rt_model_is_embedder(model) && !gguf_file_find_tensor(file, "output.weight");
    double used = hp->n_expert ? (double)hp->n_expert_used / hp->n_expert : 1;
    bench_work work = {0};
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        tensor_use use = use_of(t, tied);
        if (use == USE_NONE) continue;
        double n_uses = use == USE_OUTPUT ? n_logits : n;
        add_tensor(&work, t, n_uses, use == USE_EXPERTS ? used : 1);
    }
    for (uint32_t i = 0; i < n; i++) add_attention(&work, hp, kv_type, first + i, first + n);
    return work;
}
