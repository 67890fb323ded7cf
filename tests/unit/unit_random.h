/* Models without weights of their own: a description and a config.json say all shapes, the numbers
 * are drawn. What must not matter can be checked with them; what is right cannot. */
#ifndef TESTS_UNIT_UNIT_RANDOM_H
#define TESTS_UNIT_UNIT_RANDOM_H

#include "unit_model.h"

static inline float unit_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* Norms near 1, other vectors near 0, rows of matrices of length about 1. */
static inline float *unit_random_values(const gguf_tensor *t, uint32_t *state) {
    size_t n = gguf_tensor_n_elems(t), n_cols = t->dims[0];
    float *values = malloc(n * sizeof *values);
    ck_assert_ptr_nonnull(values);
    bool norm = strstr(t->name.ptr, "norm") != NULL;
    float size = n == n_cols ? 0.2f : 1.7f / sqrtf((float)n_cols);
    for (size_t i = 0; i < n; i++) values[i] = (norm ? 1 : 0) + size * unit_random(state);
    return values;
}

/* DeepSeek V4 in small: blocks of 4 and of 128 tokens.
 *   window  a text */
#define UNIT_DEEPSEEK4(window)                                                                              \
    "{\"architectures\":[\"DeepseekV4ForCausalLM\"],\"hidden_size\":64,\"num_attention_heads\":4,"          \
    "\"num_key_value_heads\":1,\"num_hidden_layers\":4,\"vocab_size\":160,"                                 \
    "\"max_position_embeddings\":512,\"sliding_window\":" window                                            \
    ",\"head_dim\":32,\"q_lora_rank\":24,"                                                                  \
    "\"qk_rope_head_dim\":8,\"o_groups\":2,\"o_lora_rank\":12,\"compress_ratios\":[0,4,128,4],"             \
    "\"rope_theta\":10000.0,\"compress_rope_theta\":160000.0,\"index_head_dim\":64,\"index_n_heads\":16,"   \
    "\"index_topk\":3,\"hc_mult\":4,\"hc_sinkhorn_iters\":6,\"num_hash_layers\":1,"                         \
    "\"n_routed_experts\":8,\"n_shared_experts\":1,\"num_experts_per_tok\":3,\"moe_intermediate_size\":32," \
    "\"routed_scaling_factor\":1.5,\"swiglu_limit\":2.0}"

/* GLM 5.3 in small: delta rule, and latent attention to blocks of 4 tokens. */
#define UNIT_GLM5_NEXT                                                                                       \
    "{\"architectures\":[\"Glm5NextForConditionalGeneration\"],\"text_config\":{\"hidden_size\":64,"         \
    "\"num_attention_heads\":4,\"num_hidden_layers\":4,\"vocab_size\":160,\"max_position_embeddings\":512,"  \
    "\"intermediate_size\":96,\"q_lora_rank\":24,\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,"               \
    "\"qk_rope_head_dim\":0,\"v_head_dim\":16,\"hc_mult\":4,\"hc_sinkhorn_iters\":6,\"index_head_dim\":64,"  \
    "\"index_n_heads\":16,\"index_topk\":12,\"index_kpool\":4,\"linear_conv_kernel_dim\":4,"                 \
    "\"linear_head_dim\":16,\"linear_lower_bound\":-5.0,\"first_k_dense_replace\":1,\"n_routed_experts\":8," \
    "\"n_shared_experts\":1,\"num_experts_per_tok\":3,\"moe_intermediate_size\":32,\"swiglu_limit\":2.0,"    \
    "\"routed_scaling_factor\":2.5,\"indexer_types\":[\"full\",\"full\",\"full\",\"full\"],"                 \
    "\"layer_types\":[\"linear_attention\",\"indexed_attention\",\"linear_attention\",\"indexed_attention\"]}}"

/* Rows of different numbers below 8. */
static inline int32_t *unit_random_table(const gguf_tensor *t) {
    size_t n = gguf_tensor_n_elems(t);
    int32_t *values = malloc(n * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (int32_t)((i / t->dims[0] * 5 + i % t->dims[0] * 3) % 8);
    return values;
}

/* A model of the config, its matrices BF16. */
static inline rt_model *unit_random_model(const char *config) {
    gguf_error err = {0};
    rt_import *import;
    rt_model *model;
    gguf_pool *pool;
    uint32_t state = 7;
    const gguf_memory_file file = {"config.json", config, strlen(config)};
    const rt_import_opts opts = {.shapes_suffice = true};
    const char *out = unit_temp("random.gguf");
    unit_ok(rt_import_from_memory(&file, 1, &opts, &import, &err), err);
    quant_plan *plan = rt_import_plan(import);
    void **values = calloc(plan->n_tensors, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        if (t->out.type == GGUF_TYPE_I32) { /* numbers of experts */
            values[i] = unit_random_table(&t->out);
            t->source = (quant_source){.memory = values[i],
                                       .n_bytes = gguf_tensor_n_elems(&t->out) * sizeof(int32_t)};
            continue;
        }
        t->out.type = t->tags.keep ? GGUF_TYPE_F32 : GGUF_TYPE_BF16;
        if (t->source.memory) continue; /* made from the config */
        values[i] = unit_random_values(&t->out, &state);
        t->source = (quant_source){.memory = values[i],
                                   .n_bytes = gguf_tensor_n_elems(&t->out) * sizeof(float)};
        t->source_type = GGUF_TYPE_F32;
    }
    quant_execute_opts execute = quant_execute_defaults();
    execute.replace = true;
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(quant_plan_finish(plan, &err), err);
    unit_ok(quant_execute(plan, out, pool, &execute, &err), err);
    for (size_t i = 0; i < plan->n_tensors; i++) free(values[i]);
    free(values);
    gguf_pool_free(pool);
    rt_import_close(import);
    unit_ok(rt_model_open(out, &model, &err), err);
    unlink(out);
    return model;
}

#endif
