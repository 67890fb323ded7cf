/* Tags from GGUF names: blk.LAYER.ROLE.weight. Which tensors stay unquantised: docs/formats.md. */
#include "libgguf/ends.h"
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t effective_dims(const gguf_tensor *t) {
    uint32_t n = t->n_dims;
    while (n > 1 && t->dims[n - 1] == 1) n--;
    return n;
}

static bool stays(const gguf_tensor *t, const char *name) {
    static const char *const kept[] = {"_norm.weight",
                                       "ffn_gate_inp.weight",
                                       "ffn_gate_inp_shexp.weight",
                                       "position_embd.weight",
                                       "token_types.weight",
                                       "attn_rel_b.weight",
                                       "ssm_conv1d.weight",
                                       "shortconv.conv.weight",
                                       "per_layer_model_proj.weight",
                                       "altup_proj.weight",
                                       "altup_unembd_proj.weight",
                                       "altup_router.weight",
                                       "altup_predict_coef.weight",
                                       "altup_correct_coef.weight",
                                       "laurel_l.weight",
                                       "laurel_r.weight",
                                       "indexer.proj.weight",
                                       "dense_2.weight",
                                       "dense_3.weight",
                                       "_compressor_ape.weight",
                                       "_compressor_gate.weight",
                                       "hc_attn_fn.weight",
                                       "hc_ffn_fn.weight",
                                       "output_hc_fn.weight",
                                       "ffn_gate_tid2eid.weight"};
    if (effective_dims(t) < 2 || !gguf_text_ends(name, "weight")) return true;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (gguf_text_ends(name, kept[i])) return true;
    return false;
}

gguf_code rt_tag_tensor(quant_plan *plan, const gguf_tensor *tensor, quant_tags *tags,
                        gguf_error *err) {
    char *name = quant_plan_alloc(plan, tensor->name.len + 1);
    if (!name) return gguf_fail_memory(err);
    memcpy(name, tensor->name.ptr, tensor->name.len);
    name[tensor->name.len] = '\0';
    *tags = (quant_tags){.layer = -1, .keep = stays(tensor, name), .role = name};
    int layer, at = 0;
    bool stack = strncmp(name, "enc.", 4) == 0 || strncmp(name, "dec.", 4) == 0;
    if (sscanf(stack ? name + 4 : name, "blk.%d.%n", &layer, &at) == 1 && at && layer >= 0) {
        tags->layer = layer;
        tags->role = name + at + (stack ? 4 : 0);
    }
    char *dot = strrchr(tags->role, '.');
    if (dot) *dot = '\0';
    return GGUF_OK;
}

/* A key of the architecture as a number; of an array its first element. */
static uint64_t arch_number(const quant_plan *plan, const char *architecture, const char *key,
                            uint64_t absent) {
    char full[160];
    snprintf(full, sizeof full, "%s.%s", architecture, key);
    const gguf_kv *kv = gguf_meta_find(plan->meta, full);
    uint64_t value;
    int64_t element;
    if (gguf_kv_u64(kv, &value)) return value;
    if (!kv || kv->type != GGUF_VALUE_ARRAY) return absent;
    gguf_kv_iter it = {.kv = kv};
    return gguf_kv_next_i64(&it, &element) && element >= 0 ? (uint64_t)element : absent;
}

void rt_tag_model(quant_plan *plan, const char *architecture) {
    uint64_t n_head = arch_number(plan, architecture, "attention.head_count", 1);
    uint64_t n_head_kv = arch_number(plan, architecture, "attention.head_count_kv", n_head);
    uint64_t gqa = n_head_kv ? n_head / n_head_kv : 1;
    uint64_t n_layers = arch_number(plan, architecture, "block_count", 0);
    uint64_t n_draft = arch_number(plan, architecture, "nextn_predict_layers", 0);
    if (n_draft < n_layers) n_layers -= n_draft;
    plan->model = (quant_model_tags){
        .n_layers = (uint32_t)n_layers,
        .n_experts = (uint32_t)arch_number(plan, architecture, "expert_count", 0),
        .gqa = gqa ? (uint32_t)gqa : 1};
    quant_plan_tensor *output = NULL;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        t->tags.is_draft = n_draft && t->tags.layer >= (int64_t)n_layers;
        if (t->tags.is_draft) t->tags.layer = -1;
        if (strcmp(t->out.name.ptr, "output.weight") == 0) output = t;
        if (strcmp(t->out.name.ptr, "token_embd.weight") == 0 && !output) output = t;
    }
    if (output) output->tags.is_output = true;
}
