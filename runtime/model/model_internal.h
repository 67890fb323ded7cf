/* What a model holds: its numbers and its tensors by role. */
#ifndef RUNTIME_MODEL_MODEL_INTERNAL_H
#define RUNTIME_MODEL_MODEL_INTERNAL_H

#include "quant/plan.h"
#include "runtime/model/lora.h"
#include "runtime/model/weights.h"
#include "runtime/runtime.h"

/* Limits of a model's numbers (docs/limits.md). Products of these with a batch, a context and a
 * number of sequences stay below 64 bits. */
enum {
    RT_MAX_WIDTH = 1 << 20,
    RT_MAX_CONTEXT = 1 << 28,
    RT_MAX_HEADS = 1 << 12,
    RT_MAX_HEAD_DIM = 1 << 12,
    RT_MAX_EXPERTS = 1 << 12,
    RT_MAX_VOCAB = 1 << 24,
    RT_MAX_TOKEN_TYPES = 1 << 16,
    RT_MAX_STREAMS = 16,
    RT_MAX_KERNEL = 1 << 6,   /* of convolutions */
    RT_MAX_BUCKETS = 1 << 12, /* of distances, and how far they reach */
    RT_MAX_STATE = 1 << 16    /* columns of a recurrent layer's matrix */
};

/* What makes one key of a block of tokens: see rt_block_pool. */
typedef struct rt_compressor {
    rt_weight kv, gate;
    const float *ape; /* [n_compress][columns of kv] */
    rt_norm_weights norm;
} rt_compressor;

/* What makes the coefficients of a mixture: see rt_hyper. */
typedef struct rt_hyper_weights {
    rt_weight fn;
    const float *scale, *base;
} rt_hyper_weights;

/* The tensors of one layer. An optional tensor that the file does not have is zeroed. */
typedef struct rt_layer {
    rt_norm_weights attn_norm, attn_norm_2, attn_post_norm, attn_output_norm;
    rt_norm_weights ffn_norm, ffn_post_norm, layer_output_norm;
    rt_norm_weights q_norm, k_norm; /* of each head, or of all heads side by side */
    rt_weight attn_q, attn_k, attn_v, attn_output;
    rt_weight head_gate; /* a row for each head, or for each of its values */
    const float *sinks;  /* [n_head], or NULL */
    const float *rel_b;  /* [n_buckets][n_head], or NULL: that of the stack's first layer */
    const float *bias;   /* what it makes of distances, see rt_attention; or NULL */
    rt_weight cross_q, cross_k, cross_v, cross_output; /* of a decoder, to its encoder's text */
    rt_norm_weights cross_norm;
    rt_norm_weights v_norm; /* of each head; its factors are 1 */

    /* Latent attention. */
    rt_weight q_a, q_b, kv_a;
    rt_norm_weights q_a_norm, kv_a_norm;
    rt_weight kv_b; /* of each head its key without position, then its value */
    rt_weight k_b,
        v_b; /* a matrix per head: [kv_lora_rank][qk_nope_head_dim], [v_head_dim][kv_lora_rank] */

    /* Recurrent layers. */
    rt_weight ssm_in, ssm_out; /* also of a short convolution */
    rt_weight ssm_x, ssm_dt;   /* of Mamba: to [dt | B | C], and from that dt to all channels */
    rt_weight kda_f_a, kda_f_b, kda_g_a, kda_g_b; /* Kimi's delta attention: decays, gates; b may be
                                                     none */
    const float *kda_conv[3];                     /* of q, k and v: [d_inner][d_conv] */
    rt_norm_weights ssm_dt_norm, ssm_b_norm, ssm_c_norm;
    rt_weight ssm_qkv, ssm_gate, ssm_ba, ssm_beta, ssm_alpha; /* of the gated delta rule */
    const float *ssm_conv1d, *ssm_conv1d_bias; /* [conv_dim][d_conv]; [conv_dim], or NULL */
    const float *ssm_a, *ssm_d,
        *ssm_dt_bias;         /* [dt_rank], of Mamba [d_inner][d_state], [d_inner] */
    rt_norm_weights ssm_norm; /* of each group */

    rt_weight ffn_gate, ffn_up, ffn_down; /* no gate: the activation stands alone */

    /* What the layer gets of each token, besides the stream. */
    rt_weight embd_gate, embd_proj; /* to that width and back */
    rt_norm_weights embd_post_norm;
    const float *output_scale; /* [1] of the stream behind the layer, or NULL */

    /* The indexer of sparse attention. */
    rt_weight index_q, index_k, index_w;
    rt_norm_weights index_q_norm, index_k_norm;

    /* Attention to blocks: see block_compressed.c. */
    rt_weight attn_kv, output_a, output_b; /* output_a: a matrix for each group of heads */
    rt_norm_weights q_plain_norm;          /* of each head; its factors are 1 */
    rt_compressor compressor, index_compressor;

    /* Hyper-connections around attention and the feed-forward block. */
    rt_hyper_weights hyper_attn, hyper_ffn;
    const int32_t *token_experts; /* [n_vocab][n_expert_used] in the mapping, or NULL */

    /* Several streams: see block_altup.c. */
    rt_weight altup_router, altup_predict, altup_correct, altup_scale, laurel_l, laurel_r;
    rt_norm_weights altup_router_norm, laurel_post_norm;

    /* Experts, in place of a dense block where there is a router, or beside it. */
    rt_weight router, gate_exps, up_exps, down_exps;
    const float *selection_bias; /* [n_expert], or NULL */
    const float *expert_scales;  /* [n_expert] of their weights, or NULL */
    const float *router_scale; /* [n_embd], or NULL: the router reads the stream's RMS norm with */
    rt_norm_weights router_norm; /* these factors, and its logits are divided by sqrt(n_embd) */
    rt_norm_weights experts_norm, experts_post_norm, dense_post_norm; /* beside a dense block */
    rt_weight latent_down, latent_up; /* to the width of experts and back, or none */
    rt_weight gate_shared, up_shared, down_shared, shared_gate;
} rt_layer;

/* Which angles a layer turns by. */
typedef enum rt_rope_kind {
    RT_ROPE_USUAL,
    RT_ROPE_WINDOW, /* of layers with a window, where theirs differ */
    RT_ROPE_LONG,   /* in place of the usual ones in contexts longer than the original */
    RT_N_ROPE_KINDS
} rt_rope_kind;

struct rt_model {
    gguf_file *file;
    rt_arch *arch;
    rt_hparams hparams;
    rt_weight token_embd, position_embd, token_types;
    rt_weight output; /* token_embd where the file has no own one; none in an embedding model */
    rt_weight layer_embd, layer_embd_proj; /* for all layers side by side: of tokens; of their
                                              embeddings */
    rt_norm_weights layer_embd_norm;
    rt_weight altup_proj, altup_unembd; /* a matrix for each stream but the first */
    rt_weight cls, cls_output;
    rt_weight dense[2]; /* behind the pooling, one after the other, or none */
    rt_hyper_weights hyper_head;
    rt_norm_weights hyper_norm; /* of all streams side by side; its factors are 1 */
    rt_norm_weights token_embd_norm, output_norm;
    rt_norm_weights encoder_norm; /* of what an encoder made, in front of a decoder */
    float *biases;                /* owns those of layers */
    float *slopes;                /* [n_head] of ALiBi, or NULL; owned */
    const float *rope_factors;    /* [n_rot / 2], or NULL: the angle's divisors */
    const float *rope_factors_long, *rope_factors_short;
    float *rope_freqs[RT_N_ROPE_KINDS];    /* [n_rot / 2] radians per position; one allocation */
    float rope_magnitude[RT_N_ROPE_KINDS]; /* of cosine and sine */
    rt_layer *layers;                      /* [n_layer] */
    uint8_t *repacked;                     /* owns what the weights' `repacked` point to */
    atomic_uint_least64_t repacked_bytes, to_repack_bytes; /* so far; in all */
    atomic_uint_least64_t grown_bytes; /* of the repacked ones, beyond what the file has */
    atomic_uchar *passed;              /* owns the weights' marks */
    float *vectors;                    /* owns all norms, biases and factors, */
    uint64_t n_vectors;                /* so many numbers */
    rt_adapter *adapters;              /* owns the weights' `lora` */
    gguf_ranks *ranks;                 /* that compute the model together, or NULL */
};

/* What the numbers of a model are read from. Rows of a table that is absent count as 1; its absence
 * is reported when tensors are bound. */
typedef struct rt_model_facts {
    const gguf_meta *meta;
    const char *path; /* for errors */
    uint64_t n_embeddings, n_token_types, n_classes, n_layer_embedded, n_laurel;
    uint64_t n_dense[2];
    uint64_t n_gate_rank; /* rows of the first product of Kimi's decays; 0: there is none */
    bool has_cls_output;  /* n_classes are its rows, not those of cls.weight */
} rt_model_facts;

rt_model_facts rt_facts_of_file(const gguf_file *file);

/* Where the layers end that this process computes. */
static inline uint32_t rt_hparams_end(const rt_hparams *hp) {
    return hp->n_layer - hp->n_layer_after;
}

/* Whether a tensor belongs to a part that is not computed: a layer that proposes tokens, the
 * decoder beside an encoder, or another rank's layer. */
bool rt_tensor_is_idle(const rt_hparams *hp, gguf_str name);

static inline bool rt_mixer_has_state(rt_mixer mixer) {
    return mixer >= RT_MIXER_SHORT_CONV;
}
/* Keys and values for every token; with latent attention keys alone. */
static inline bool rt_mixer_has_values(rt_mixer mixer) {
    return mixer == RT_MIXER_ATTENTION || mixer == RT_MIXER_EXPANDED ||
           mixer == RT_MIXER_ATTENTION_MAMBA2;
}
static inline bool rt_mixer_has_rows(rt_mixer mixer) {
    return mixer == RT_MIXER_LATENT || mixer == RT_MIXER_COMPRESSED || rt_mixer_has_values(mixer);
}
/* Keys of which a value is the first part. */
static inline bool rt_mixer_shares_rows(rt_mixer mixer) {
    return mixer == RT_MIXER_LATENT || mixer == RT_MIXER_COMPRESSED;
}
/* The first of the dimensions of a cached key that rotate. */
static inline uint32_t rt_hparams_rope_first(const rt_hparams *hp) {
    if (hp->kv_lora_rank) return hp->kv_lora_rank;
    return hp->kv_expand_rank ? hp->qk_nope_head_dim : 0;
}
/* Give all layers the same numbers: those of the whole model. */
void rt_hparams_same_layers(rt_hparams *hp);
/* Width of the convolution, and of what the input projection makes: [z | u B C | dt] of Mamba 2,
 * [u | z] of Mamba, [B | C | u] of a short convolution. Bytes of a layer's state in one sequence:
 * the convolution's last inputs, the heads' matrices. */
uint32_t rt_ssm_conv_dim(const rt_hparams *hp);
uint32_t rt_ssm_in_dim(const rt_hparams *hp);
uint64_t rt_ssm_conv_bytes(const rt_hparams *hp);
uint64_t rt_ssm_matrix_bytes(const rt_hparams *hp);
/* Of the state of one layer in one sequence; 0: it has none. */
uint64_t rt_layer_state_bytes(const rt_hparams *hp, uint32_t layer);
/* The part of it that a compressor to keys of n_cols numbers has; the indexer's comes second. */
uint64_t rt_compressor_bytes(const rt_layer_hparams *layer, uint32_t n_cols);
/* Rows that a page has of a layer with a key for each n_compress tokens; 0: for each token. */
static inline uint32_t rt_rows_of_page(uint32_t n_compress) {
    if (n_compress < 2) return RT_PAGE_TOKENS;
    return n_compress < RT_PAGE_TOKENS ? RT_PAGE_TOKENS / n_compress : 1;
}
/* Whether a layer turns as layers with a window do. */
static inline bool rt_layer_turns_windowed(const rt_hparams *hp, uint32_t layer) {
    return rt_layers_has(&hp->windowed, layer) && hp->layers[layer].n_compress == 0;
}
/* Read the numbers of `arch` from the keys, range-checked. */
gguf_code rt_hparams_read(const rt_model_facts *facts, const rt_arch *arch, rt_hparams *hp,
                          gguf_error *err);

/* The numbers of a model that is only planned: what rt_footprint_of needs.
 *   path  for errors
 * Errors: as rt_model_open for keys. */
gguf_code rt_hparams_of_plan(const quant_plan *plan, const char *architecture, const char *path,
                             rt_hparams *hp, gguf_error *err);

/* Find every tensor of the architecture, check its shape and fill the model's fields. */
gguf_code rt_model_bind(rt_model *model, gguf_error *err);

/* What names of a layer's tensors begin with. */
void rt_layer_prefix(const rt_model *model, uint32_t layer, char out[32]);

/* The largest distance of which a layer's bias has a number. */
static inline uint32_t rt_bias_reach(const rt_hparams *hp) {
    return hp->bucket_reach + RT_PAGE_TOKENS;
}
/* Make the biases of all layers. Errors: GGUF_E_MISSING, GGUF_E_NOMEM. */
gguf_code rt_model_biases(rt_model *model, gguf_error *err);

/* Fill model->rope_freqs and rope_magnitude. */
gguf_code rt_model_rope(rt_model *model, gguf_error *err);

#endif
