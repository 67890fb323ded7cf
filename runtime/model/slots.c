/* The tensors that a model may have. */
#include "runtime/model/slots.h"

#define MODEL(field) offsetof(rt_model, field)
#define LAYER(field) offsetof(rt_layer, field)

static const rt_slot model_matrices[] = {
    {"token_embd", MODEL(token_embd), RT_DIM_ONE, RT_DIM_VOCAB, RT_DIM_EMBD, RT_PART_ALL,
     RT_NEEDED},
    {"position_embd", MODEL(position_embd), RT_DIM_ONE, RT_DIM_CTX, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"token_types", MODEL(token_types), RT_DIM_ONE, RT_DIM_TYPES, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"output", MODEL(output), RT_DIM_ONE, RT_DIM_VOCAB, RT_DIM_EMBD, RT_PART_ALL, RT_OPTIONAL},
    {"cls", MODEL(cls), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_EMBD, RT_PART_ALL, RT_OPTIONAL},
    {"cls.output", MODEL(cls_output), RT_DIM_ONE, RT_DIM_CLASSES, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
};

static const rt_slot model_scales[] = {
    {"token_embd_norm", MODEL(token_embd_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"output_norm", MODEL(output_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
};

static const rt_slot model_vectors[] = {
    {"rope_freqs.weight", MODEL(rope_factors), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_ROT, RT_PART_ALL,
     RT_OPTIONAL},
    {"rope_factors_long.weight", MODEL(rope_factors_long), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_ROT,
     RT_PART_ALL, RT_OPTIONAL},
    {"rope_factors_short.weight", MODEL(rope_factors_short), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_ROT,
     RT_PART_ALL, RT_OPTIONAL},
};

static const rt_slot layer_matrices[] = {
    {"attn_q", LAYER(attn_q), RT_DIM_ONE, RT_DIM_Q, RT_DIM_EMBD, RT_PART_PLAIN, RT_NEEDED},
    {"attn_k", LAYER(attn_k), RT_DIM_ONE, RT_DIM_K, RT_DIM_EMBD, RT_PART_PLAIN, RT_NEEDED},
    {"attn_v", LAYER(attn_v), RT_DIM_ONE, RT_DIM_V, RT_DIM_EMBD, RT_PART_PLAIN, RT_NEEDED},
    {"attn_q", LAYER(attn_q), RT_DIM_ONE, RT_DIM_Q, RT_DIM_EMBD, RT_PART_DIRECT_Q, RT_NEEDED},
    {"attn_q_a", LAYER(q_a), RT_DIM_ONE, RT_DIM_Q_LORA_RANK, RT_DIM_EMBD, RT_PART_LATENT_Q,
     RT_NEEDED},
    {"attn_q_b", LAYER(q_b), RT_DIM_ONE, RT_DIM_Q, RT_DIM_Q_LORA_RANK, RT_PART_LATENT_Q, RT_NEEDED},
    {"attn_kv_a_mqa", LAYER(kv_a), RT_DIM_ONE, RT_DIM_K, RT_DIM_EMBD, RT_PART_LATENT, RT_NEEDED},
    {"attn_k_b", LAYER(k_b), RT_DIM_HEADS, RT_DIM_KV_LORA_RANK, RT_DIM_QK_NOPE, RT_PART_LATENT,
     RT_NEEDED},
    {"attn_v_b", LAYER(v_b), RT_DIM_HEADS, RT_DIM_V_HEAD, RT_DIM_KV_LORA_RANK, RT_PART_LATENT,
     RT_NEEDED},
    {"attn_output", LAYER(attn_output), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_HEADS_V, RT_PART_ATTENTION,
     RT_NEEDED},
    {"shortconv.in_proj", LAYER(ssm_in), RT_DIM_ONE, RT_DIM_SSM_IN, RT_DIM_EMBD, RT_PART_SHORT_CONV,
     RT_NEEDED},
    {"shortconv.out_proj", LAYER(ssm_out), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_SSM_INNER,
     RT_PART_SHORT_CONV, RT_NEEDED},
    {"ssm_in", LAYER(ssm_in), RT_DIM_ONE, RT_DIM_SSM_IN, RT_DIM_EMBD, RT_PART_MAMBA2, RT_NEEDED},
    {"attn_qkv", LAYER(ssm_qkv), RT_DIM_ONE, RT_DIM_SSM_CONV, RT_DIM_EMBD, RT_PART_DELTA,
     RT_NEEDED},
    {"attn_gate", LAYER(ssm_gate), RT_DIM_ONE, RT_DIM_SSM_INNER, RT_DIM_EMBD, RT_PART_DELTA,
     RT_NEEDED},
    {"ssm_ba", LAYER(ssm_ba), RT_DIM_ONE, RT_DIM_SSM_BA, RT_DIM_EMBD, RT_PART_DELTA, RT_OPTIONAL},
    {"ssm_beta", LAYER(ssm_beta), RT_DIM_ONE, RT_DIM_SSM_HEADS, RT_DIM_EMBD, RT_PART_DELTA,
     RT_OPTIONAL},
    {"ssm_alpha", LAYER(ssm_alpha), RT_DIM_ONE, RT_DIM_SSM_HEADS, RT_DIM_EMBD, RT_PART_DELTA,
     RT_OPTIONAL},
    {"ssm_out", LAYER(ssm_out), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_SSM_INNER, RT_PART_RECURRENT,
     RT_NEEDED},
    {"ffn_gate", LAYER(ffn_gate), RT_DIM_ONE, RT_DIM_FF, RT_DIM_EMBD, RT_PART_DENSE, RT_OPTIONAL},
    {"ffn_up", LAYER(ffn_up), RT_DIM_ONE, RT_DIM_FF, RT_DIM_EMBD, RT_PART_DENSE, RT_NEEDED},
    {"ffn_down", LAYER(ffn_down), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_FF, RT_PART_DENSE, RT_NEEDED},
    {"ffn_gate_inp", LAYER(router), RT_DIM_ONE, RT_DIM_EXPERTS, RT_DIM_EMBD, RT_PART_EXPERTS,
     RT_NEEDED},
    {"ffn_gate_exps", LAYER(gate_exps), RT_DIM_EXPERTS, RT_DIM_FF_EXPERT, RT_DIM_EXPERT_IN,
     RT_PART_EXPERTS, RT_OPTIONAL},
    {"ffn_up_exps", LAYER(up_exps), RT_DIM_EXPERTS, RT_DIM_FF_EXPERT, RT_DIM_EXPERT_IN,
     RT_PART_EXPERTS, RT_NEEDED},
    {"ffn_down_exps", LAYER(down_exps), RT_DIM_EXPERTS, RT_DIM_EXPERT_IN, RT_DIM_FF_EXPERT,
     RT_PART_EXPERTS, RT_NEEDED},
    {"ffn_latent_down", LAYER(latent_down), RT_DIM_ONE, RT_DIM_EXPERT_IN, RT_DIM_EMBD,
     RT_PART_EXPERTS, RT_OPTIONAL},
    {"ffn_latent_up", LAYER(latent_up), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_EXPERT_IN, RT_PART_EXPERTS,
     RT_OPTIONAL},
    {"ffn_gate_shexp", LAYER(gate_shared), RT_DIM_ONE, RT_DIM_FF_SHARED, RT_DIM_EMBD,
     RT_PART_SHARED, RT_OPTIONAL},
    {"ffn_up_shexp", LAYER(up_shared), RT_DIM_ONE, RT_DIM_FF_SHARED, RT_DIM_EMBD, RT_PART_SHARED,
     RT_NEEDED},
    {"ffn_down_shexp", LAYER(down_shared), RT_DIM_ONE, RT_DIM_EMBD, RT_DIM_FF_SHARED,
     RT_PART_SHARED, RT_NEEDED},
    {"ffn_gate_inp_shexp", LAYER(shared_gate), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_SHARED,
     RT_OPTIONAL},
};

static const rt_slot layer_scales[] = {
    {"attn_norm", LAYER(attn_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL, RT_OPTIONAL},
    {"attn_norm_2", LAYER(attn_norm_2), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"post_attention_norm", LAYER(attn_post_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"attn_output_norm", LAYER(attn_output_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"ffn_norm", LAYER(ffn_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL, RT_OPTIONAL},
    {"post_ffw_norm", LAYER(ffn_post_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD, RT_PART_ALL,
     RT_OPTIONAL},
    {"layer_output_norm", LAYER(layer_output_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EMBD,
     RT_PART_ALL, RT_OPTIONAL},
    {"attn_q_norm", LAYER(q_norm), RT_DIM_ONE, RT_DIM_HEADS, RT_DIM_HEAD_K, RT_PART_PLAIN,
     RT_OPTIONAL},
    {"attn_k_norm", LAYER(k_norm), RT_DIM_ONE, RT_DIM_HEADS_KV, RT_DIM_HEAD_K, RT_PART_PLAIN,
     RT_OPTIONAL},
    {"attn_q_a_norm", LAYER(q_a_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_Q_LORA_RANK, RT_PART_LATENT_Q,
     RT_NEEDED},
    {"ssm_norm", LAYER(ssm_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_SSM_STATE, RT_PART_DELTA,
     RT_NEEDED},
    {"ssm_norm", LAYER(ssm_norm), RT_DIM_ONE, RT_DIM_SSM_GROUPS, RT_DIM_SSM_GROUP_WIDTH,
     RT_PART_MAMBA2, RT_OPTIONAL},
    {"attn_kv_a_norm", LAYER(kv_a_norm), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_KV_LORA_RANK,
     RT_PART_LATENT, RT_NEEDED},
};

static const rt_slot layer_vectors[] = {
    {"attn_sinks.weight", LAYER(sinks), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_HEADS, RT_PART_ATTENTION,
     RT_OPTIONAL},
    {"ssm_conv1d.weight", LAYER(ssm_conv1d), RT_DIM_ONE, RT_DIM_SSM_CONV, RT_DIM_SSM_TAPS,
     RT_PART_RECURRENT, RT_NEEDED},
    {"shortconv.conv.weight", LAYER(ssm_conv1d), RT_DIM_ONE, RT_DIM_SSM_CONV, RT_DIM_SSM_TAPS,
     RT_PART_SHORT_CONV, RT_NEEDED},
    {"shortconv.conv.bias", LAYER(ssm_conv1d_bias), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_SSM_CONV,
     RT_PART_SHORT_CONV, RT_OPTIONAL},
    {"ssm_conv1d.bias", LAYER(ssm_conv1d_bias), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_SSM_CONV,
     RT_PART_RECURRENT, RT_OPTIONAL},
    {"ssm_a", LAYER(ssm_a), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_SSM_HEADS, RT_PART_DELTA, RT_NEEDED},
    {"ssm_a", LAYER(ssm_a), RT_DIM_ONE, RT_DIM_SSM_HEADS, RT_DIM_ONE, RT_PART_MAMBA2, RT_NEEDED},
    {"ssm_d", LAYER(ssm_d), RT_DIM_ONE, RT_DIM_SSM_HEADS, RT_DIM_ONE, RT_PART_MAMBA2, RT_NEEDED},
    {"ssm_dt.bias", LAYER(ssm_dt_bias), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_SSM_HEADS, RT_PART_RECURRENT,
     RT_NEEDED},
    {"exp_probs_b.bias", LAYER(selection_bias), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EXPERTS,
     RT_PART_EXPERTS, RT_OPTIONAL},
    /* The same, as llama.cpp names it in one family. */
    {"exp_probs_b", LAYER(selection_bias), RT_DIM_ONE, RT_DIM_ONE, RT_DIM_EXPERTS, RT_PART_EXPERTS,
     RT_OPTIONAL},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

uint32_t rt_dim_size(const rt_hparams *hp, uint32_t layer, rt_dim which) {
    const rt_layer_hparams *l = &hp->layers[layer];
    uint32_t v_head_dim = hp->kv_lora_rank ? hp->v_head_dim : l->head_dim_v;
    uint32_t head_dim_q = hp->kv_lora_rank ? hp->qk_nope_head_dim + hp->n_rot : l->head_dim_k;
    const uint32_t sizes[] = {
        [RT_DIM_ONE] = 1,
        [RT_DIM_EMBD] = hp->n_embd,
        [RT_DIM_FF] = l->n_ff,
        [RT_DIM_Q] = l->n_head * head_dim_q * (hp->gated_queries ? 2 : 1),
        [RT_DIM_K] = l->n_head_kv * l->head_dim_k,
        [RT_DIM_V] = l->n_head_kv * l->head_dim_v,
        [RT_DIM_HEADS_V] = l->n_head * v_head_dim,
        [RT_DIM_HEAD_K] = l->head_dim_k,
        [RT_DIM_HEADS] = l->n_head,
        [RT_DIM_HEADS_KV] = l->n_head_kv,
        [RT_DIM_VOCAB] = hp->n_vocab,
        [RT_DIM_ROT] = hp->n_rot / 2,
        [RT_DIM_KV_LORA_RANK] = hp->kv_lora_rank,
        [RT_DIM_Q_LORA_RANK] = hp->q_lora_rank,
        [RT_DIM_QK_NOPE] = hp->qk_nope_head_dim,
        [RT_DIM_V_HEAD] = hp->v_head_dim,
        [RT_DIM_CTX] = hp->n_ctx_train,
        [RT_DIM_TYPES] = hp->n_token_types,
        [RT_DIM_CLASSES] = hp->n_classes,
        [RT_DIM_EXPERTS] = hp->n_expert,
        [RT_DIM_FF_EXPERT] = hp->n_ff_expert,
        [RT_DIM_EXPERT_IN] = hp->n_expert_in,
        [RT_DIM_FF_SHARED] = hp->n_ff_shared,
        [RT_DIM_SSM_IN] = rt_ssm_in_dim(hp),
        [RT_DIM_SSM_CONV] = rt_ssm_conv_dim(hp),
        [RT_DIM_SSM_TAPS] = hp->ssm_d_conv,
        [RT_DIM_SSM_INNER] = hp->ssm_d_inner,
        [RT_DIM_SSM_STATE] = hp->ssm_d_state,
        [RT_DIM_SSM_BA] = 2 * hp->ssm_dt_rank,
        [RT_DIM_SSM_HEADS] = hp->ssm_dt_rank,
        [RT_DIM_SSM_GROUPS] = hp->ssm_n_group,
        [RT_DIM_SSM_GROUP_WIDTH] = hp->ssm_n_group ? hp->ssm_d_inner / hp->ssm_n_group : 0,
    };
    return sizes[which];
}

const rt_slots rt_model_slots = {model_matrices,        model_scales,        model_vectors,
                                 COUNT(model_matrices), COUNT(model_scales), COUNT(model_vectors)};
const rt_slots rt_layer_slots = {layer_matrices,        layer_scales,        layer_vectors,
                                 COUNT(layer_matrices), COUNT(layer_scales), COUNT(layer_vectors)};
