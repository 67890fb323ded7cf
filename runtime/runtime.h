/* runtime: the reference runtime. A model is an open GGUF file whose keys and tensors were checked
 * against the description of its architecture. A session is one sequence of tokens: position,
 * KV cache and buffers. Weights stay in the file's mapping.
 *
 * Matrices here are rows first, [n_rows][n_cols] row-major; GGUF stores the column count first. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include "libgguf/gguf.h"
#include "libgguf/ranks.h"
#include "runtime/model/arch.h"

#include <stdatomic.h>

typedef struct rt_tokenizer rt_tokenizer; /* runtime/tokenizer/tokenizer.h */

/* ---- models ------------------------------------------------------------------------------------
 */

typedef enum rt_rope_scaling {
    RT_ROPE_SCALING_NONE,
    RT_ROPE_SCALING_LINEAR,
    RT_ROPE_SCALING_YARN
} rt_rope_scaling;

/* What an embedding model makes of the rows of a text. Values as in pooling_type. */
typedef enum rt_pooling {
    RT_POOLING_NONE = 0,
    RT_POOLING_MEAN = 1,
    RT_POOLING_CLS = 2, /* the first row */
    RT_POOLING_LAST = 3,
    RT_POOLING_RANK = 4 /* scores of the first row */
} rt_pooling;

#define RT_MAX_LAYERS 1024

/* A set of layers. */
typedef struct rt_layers {
    uint64_t words[RT_MAX_LAYERS / 64];
} rt_layers;

static inline bool rt_layers_has(const rt_layers *set, uint32_t layer) {
    return set->words[layer / 64] >> layer % 64 & 1;
}
/* How many layers below `end` the set has. */
uint32_t rt_layers_count(const rt_layers *set, uint32_t end);

#define RT_MAX_COMPRESS 4

/* The numbers of one layer. */
typedef struct rt_layer_hparams {
    rt_mixer mixer;
    uint32_t n_head, n_head_kv;      /* n_head is a multiple of n_head_kv; 0 without attention */
    uint32_t head_dim_k, head_dim_v; /* of a cached key and value; with kv_lora_rank, those that all
                                        heads share: kv_lora_rank + n_rot and kv_lora_rank */
    uint32_t kv_layer; /* whose keys and values the layer attends to: an earlier one's or its own */
    bool kv_shared;    /* they belong to several layers */
    uint32_t n_compress; /* tokens of a block that becomes one further key; 0: there are none */
    bool overlaps;       /* blocks count what the one before them has too, and an indexer chooses */
    bool hashed;         /* a token's experts are those of its id */
    bool indexes, selects; /* an indexer chooses keys; attention counts those chosen alone */
    float xielu_p, xielu_n, xielu_beta, xielu_eps; /* of RT_ACT_XIELU, as the file has them */
    float
        sparsity; /* of the gate only what is so many deviations above its mean counts; -inf: all */
    float clamp_experts, clamp_dense; /* of gate and up projection; 0 = none */
    uint32_t n_ff;                    /* of a dense feed-forward block; 0: the layer has none */
} rt_layer_hparams;

/* The numbers of a model, checked: no count that a size is made of is zero where the part exists,
 * and no product of them overflows. */
typedef struct rt_hparams {
    uint32_t n_vocab, n_ctx_train, n_layer, n_embd;
    uint32_t n_layer_before, n_layer_after; /* that other ranks compute, see rt_model_share */
    uint32_t n_draft_layer; /* that stand behind the n_layer ones, propose tokens to come, and are
                               not computed */
    rt_layer_hparams layers[RT_MAX_LAYERS];
    /* The most of any layer. */
    uint32_t n_ff, n_head, n_head_kv, head_dim_k, head_dim_v;
    /* Of n_layer the first n_encoder_layer read a text, whose tokens see one another; the others
     * attend to what these made of it. 0: there is no such text. */
    uint32_t n_encoder_layer;
    uint32_t start_token;             /* that a decoder begins with */
    bool skips_decoder;               /* the file has a decoder, which this model is not */
    uint32_t n_buckets, bucket_reach; /* of distances, which scores get a bias by; where the last
                                         one begins; 0 = none */
    bool causal;                      /* a token sees none behind it */
    bool parallel;                    /* both blocks of a layer read its input */
    float norm_eps;                   /* inside the root of the norm */
    float post_norm_eps;              /* of norms of what a block makes */

    /* Latent attention; kv_lora_rank 0 = none. The value of a token is the first part of its key.
     */
    uint32_t kv_lora_rank, q_lora_rank;    /* q_lora_rank 0: queries are not compressed */
    uint32_t qk_nope_head_dim, v_head_dim; /* of a head: dimensions that do not rotate; value */
    uint32_t kv_expand_rank; /* width of the row that keys and values of all heads are made of,
                                which then lie in the cache; 0 = none */
    float latent_norm_eps;   /* of norms of latent rows */

    /* Recurrent layers; n_recurrent 0 = none. */
    uint32_t n_recurrent;                           /* layers that have a state, */
    rt_mixer recurrent;                             /* all of one kind */
    uint32_t ssm_d_conv;                            /* taps of the causal convolution */
    uint32_t ssm_d_inner;                           /* n_head * head_dim of the state */
    uint32_t ssm_d_state, ssm_dt_rank, ssm_n_group; /* dt_rank is the number of heads, of Mamba the
                                                       width that dt is made of */
    uint32_t kda_gate_rank; /* of the products that make decays and gates; d_inner: they are one */
    float kda_bound;        /* decays are exp(bound sigmoid(.)); 0: exp(a softplus(.)) */
    bool ssm_plain_norms;   /* Mamba: dt, B and C are normed without factors */
    float ssm_norm_eps;     /* of these norms */

    /* Indexers of sparse attention; index_n_head 0 = none. Of blocks of index_block keys the best
     * index_top_k are attended to, the last index_local in any case. */
    uint32_t index_n_head, index_head_dim, index_top_k, index_block, index_local;
    uint32_t index_pool;    /* tokens whose keys are pooled to one, and chosen together; 0: none */
    uint32_t index_choices; /* 1, or one for each KV head */
    bool index_shared;      /* some layers attend to what an earlier one chose */

    /* Attention to a window and to blocks of tokens. */
    uint32_t n_compress[RT_MAX_COMPRESS]; /* the different sizes of blocks; 0: no more */
    uint32_t n_out_group, out_group_rank; /* groups of heads whose results are projected apart */

    /* Hyper-connections: residual streams that every block reads a mixture of; n_hyper 0 = none. */
    uint32_t n_hyper, hyper_steps; /* steps in which a mixture is balanced */
    float hyper_eps;

    bool gated_queries; /* attn_q makes a gate behind each head's query */
    bool gated_heads;   /* attn_gate makes a gate of each head, or of each of its values */
    float value_scale;  /* of what attn_v makes */
    float router_cap;   /* of the router's logits; 0 = none */
    /* Key p is visible at t iff t - p < n_window or, if not causal, |t - p| <= n_window / 2; 0 =
     * all */
    uint32_t n_window;
    bool chunked;       /* key p is visible at t iff t / n_window = p / n_window */
    bool plain_qk_norm; /* heads of Q and K that rotate are normed without factors */
    rt_layers windowed, rotated;
    float score_scale, score_cap, logit_cap; /* caps: 0 = none */
    float alibi_bias; /* what the slopes of heads are made of (ALiBi); 0 = none */
    float qkv_clamp;  /* 0 = none */
    float embedding_scale, residual_scale, logit_factor;
    uint32_t n_lora_rank, n_lora_rows; /* the widest of the adapters' factors; 0 without adapters */
    bool adapted_head;
    uint32_t n_stream;         /* residual streams, 1 or more */
    uint32_t n_laurel;         /* rank of the short cut beside attention */
    uint32_t n_embd_layer;     /* width of what every layer gets of each token; 0 = nothing */
    uint32_t n_layer_embedded; /* tokens of which there is such an embedding */

    uint32_t n_rot; /* dimensions of a head that rotate: the leading, with latent attention the
                       trailing */
    uint32_t n_rot_window; /* in layers with a window */
    float rope_base, rope_base_window;
    bool rope_plain_window; /* layers with a window turn without scaling */
    rt_rope_scaling rope_scaling;
    float rope_factor;      /* 1 without scaling */
    float rope_attn_factor; /* multiplies cosine and sine, with yarn 0.1 ln(rope_factor) + 1 */
    float rope_beta_fast, rope_beta_slow;
    /* Queries at position p are multiplied by
     * 1 + query_growth * ln(1 + (p + query_offset) / query_period). */
    float query_growth;
    uint32_t query_period, query_offset;
    bool grow_unrotated;       /* only in layers that do not rotate */
    float rope_log_multiplier; /* yarn: 0 = none */
    bool rope_truncate;        /* yarn: the ramp's bounds are whole pairs */
    uint32_t n_ctx_orig;       /* context before scaling */

    /* Experts; n_expert 0 = none. */
    uint32_t n_expert, n_expert_used, n_expert_group, n_expert_group_used;
    uint32_t n_ff_expert, n_ff_shared; /* n_ff_shared 0: no shared experts */
    uint32_t n_expert_in;              /* width that experts read and write: n_embd, or less */
    rt_gating gating;
    bool norm_experts;
    float expert_scale;

    rt_pooling pooling;
    uint32_t n_dense[2]; /* numbers that dense layers behind the pooling make; 0: there is none */
    uint32_t n_token_types;  /* tokens behind a text's first separator have the second */
    int32_t separator_token; /* -1: there is none */
    uint32_t n_classes;      /* of RT_POOLING_RANK */
    uint32_t n_out;          /* numbers per row that a session computes: logits, or
                                n_embd for an embedding model */
} rt_hparams;

/* Whether any layer keeps keys and values of tokens; recurrent layers alone do not. */
bool rt_hparams_caches(const rt_hparams *hp);

/* On a machine with several memory nodes: pages that this thread touches first, or threads that it
 * starts later, lie on all nodes in turn, if n_threads (0: all usable cores) are more than one node
 * has. Otherwise, and where the process was started with a policy (numactl), nothing changes. Call
 * it before rt_model_open. Returns the number of nodes that share the pages, or 0. */
unsigned rt_spread_memory(unsigned n_threads);

typedef struct rt_model rt_model;

/* Open a GGUF file and check every key and tensor that its architecture needs.
 * Errors: those of gguf_file_open; GGUF_E_MISSING, GGUF_E_TYPE, GGUF_E_LIMIT (a key out of range),
 * GGUF_E_SHAPE (names the tensor and both shapes), GGUF_E_UNSUPPORTED (architecture, tensor type, a
 * tensor that the architecture does not use), GGUF_E_NOMEM.
 * Threads: an open model may serve several sessions in several threads. */
gguf_code rt_model_open(const char *path, rt_model **out, gguf_error *err);
/* The same of an encoder alone, as an embedding model, where the file has a decoder too.
 * Errors: also GGUF_E_UNSUPPORTED the model has no encoder beside its decoder. */
gguf_code rt_model_open_encoder(const char *path, rt_model **out, gguf_error *err);
/* Let an adapter take part in what the model computes; several add up. Before any session of the
 * model is made. After a failure the model is only fit to be closed.
 *   path   a GGUF file of the kind `adapter`, as gguf-convert makes it of a PEFT folder
 *   scale  of what it adds, beside alpha / rank
 * Errors: those of gguf_file_open; GGUF_E_UNSUPPORTED no LoRA adapter, for another architecture, or
 * of stacks of matrices; GGUF_E_SHAPE, GGUF_E_MISSING its factors do not fit the model;
 * GGUF_E_NONFINITE. */
gguf_code rt_model_add_lora(rt_model *model, const char *path, float scale, gguf_error *err);
/* The adapters in the order in which they came; NULL behind the last. */
const gguf_file *rt_model_lora(const rt_model *model, size_t i, float *scale);
void rt_model_close(rt_model *model); /* accepts NULL; sessions must be freed before */

/* Let several ranks compute the model together, each some layers that follow one another, of about
 * as many bytes as the others'. Before any session of the model is made; from then on all ranks
 * make the same calls with the same tokens, and all get the logits. While one rank computes a
 * batch, the one before it computes the next. What a rank does not compute it neither reads nor
 * keeps. NULL: nothing changes. Errors: GGUF_E_USAGE fewer layers than ranks; GGUF_E_UNSUPPORTED
 * the model has an encoder beside a decoder. */
gguf_code rt_model_share(rt_model *model, gguf_ranks *ranks, gguf_error *err);

/* Copy the weights that this processor multiplies faster when rows lie side by side (see
 * quant_repack), with n_threads (0: all usable cores). Results stay the same; the copy takes the
 * place of the file's pages in memory. Nothing is done where it does not fit the memory that is
 * available. Not while a session of the model evaluates. Once *cancel is true (or NULL) the rest
 * stays as it is, for good. Errors: GGUF_E_NOMEM. */
gguf_code rt_model_repack(rt_model *model, unsigned n_threads, const atomic_bool *cancel,
                          gguf_error *err);
/* Of the weights that were. */
uint64_t rt_model_repacked_bytes(const rt_model *model);

/* How much more the repacked weights take than in the file: those of codebooks and ternary numbers
 * grow to 4.6 bits. rt_footprint_of_model does not know of it. */
uint64_t rt_model_grown_bytes(const rt_model *model);
/* How far that is: 0 before it begins or where there is nothing to repack, 1 at its end. Threads:
 * any, while it runs. */
double rt_model_repacked_share(const rt_model *model);

gguf_file *rt_model_file(const rt_model *model);           /* valid until close */
const rt_hparams *rt_model_hparams(const rt_model *model); /* valid until close */
const rt_arch *rt_model_arch(const rt_model *model);       /* valid until close */
uint64_t rt_model_weights_bytes(const rt_model *model);    /* of all tensors but draft layers', and
                                                              other ranks' */
/* Rows are hidden states, not logits. */
bool rt_model_is_embedder(const rt_model *model);

/* Whether a question and a text behind it are told apart as the model was trained: it has no token
 * types for that, or they follow from the separator between them. */
bool rt_model_parts_texts(const rt_model *model);

/* Whether the model has a row for each of n tokens: those that are only scored are an index into
 * the logits, too. Errors: GGUF_E_USAGE. */
gguf_code rt_check_tokens(const rt_model *model, const int32_t *tokens, size_t n, gguf_error *err);

/* ---- sessions ----------------------------------------------------------------------------------
 */

/* The form of activations in products. BF16 and Q8 are for many tokens at once, where the processor
 * is fast at them; other products are as by default. */
typedef enum rt_precision {
    RT_PRECISION_DEFAULT, /* 8 bits with weights in blocks, f32 with float weights */
    RT_PRECISION_F32,     /* f32 always */
    RT_PRECISION_BF16,    /* BF16 with BF16 weights: relative error 2^-9 of each activation */
    RT_PRECISION_Q8, /* 8 bits with float weights too, which are rounded to 8 bits on the way */
    RT_PRECISION_A16 /* 16 bits with weights in blocks: 8, and 8 for what those leave; f32 with
                        float weights */
} rt_precision;

typedef struct rt_session_opts {
    uint32_t n_ctx;  /* positions of a sequence; 0 = the trained context */
    uint32_t n_seqs; /* sequences; 0 = 1 */
    uint32_t
        n_kv_tokens;    /* that the KV cache holds of all sequences together; 0 = n_seqs * n_ctx */
    uint32_t n_batch;   /* tokens computed at once; models that are not causal take n_ctx */
    uint32_t kv_type;   /* GGUF_TYPE_F32, F16, Q8_0 or Q4_0 */
    unsigned n_threads; /* 0 = gguf_usable_cores() */
    rt_precision precision;
    uint32_t n_out;       /* rows of logits computed at once, at most 64; 0 = 64. A caller that asks
                             for last rows only saves memory with 1 */
    uint32_t n_snapshots; /* states of recurrent layers that are kept for going back; 0 = none */
    const struct rt_backend_type *device; /* where the last n_device_layers lie, and with them the
                                             output; NULL: all on the CPU */
    uint32_t n_device_layers;
    const char *device_name; /* which one of that kind: its number, its name or a part of it; NULL:
                                the first */
    const atomic_bool *cancel; /* polled before each layer; may be NULL */
} rt_session_opts;

rt_session_opts rt_session_defaults(void); /* n_batch 512, F16, the rest 0 */

typedef struct rt_session rt_session;

/* Allocate exactly what rt_footprint_of says and start the threads.
 * Errors: GGUF_E_USAGE (an option out of range), GGUF_E_SHAPE (the KV type's blocks do not divide a
 * token's K or V row), GGUF_E_NOMEM.
 * Threads: one caller at a time. The model must outlive the session. */
gguf_code rt_session_new(const rt_model *model, const rt_session_opts *opts, rt_session **out,
                         gguf_error *err);
void rt_session_free(rt_session *session); /* accepts NULL */

/* Forget all tokens of all sequences. */
void rt_session_reset(rt_session *session);
uint32_t
rt_session_n_past(const rt_session *session); /* of sequence 0: rt_seq_n_past(session, 0) */
uint32_t rt_session_n_ctx(const rt_session *session);

typedef enum rt_logits {
    RT_LOGITS_NONE,
    RT_LOGITS_LAST, /* of the last token: [n_out] */
    RT_LOGITS_ALL   /* of every token: [n][n_out] */
} rt_logits;

/* Append n tokens to sequence 0, n_batch at a time. Row t of the logits predicts the token that
 * follows tokens[t]; of an embedding model it is the last layer's state. The numbers do not depend
 * on the number of threads, nor on how the tokens are divided into calls and batches, nor on other
 * sequences. A model that is not causal takes whole sequences: one call after a reset.
 *   logits  as `which` says, rows of rt_hparams.n_out, owned by the caller; may be NULL for
 *           RT_LOGITS_NONE
 * Errors: GGUF_E_LIMIT more tokens than the context or the cache has room for, GGUF_E_USAGE a token
 * id outside the vocabulary (in both cases nothing is computed), GGUF_E_NONFINITE a K or V value
 * that the KV type cannot hold, GGUF_E_CANCELLED; the sequence then ends before the batch. */
gguf_code rt_session_eval(rt_session *session, const int32_t *tokens, size_t n, rt_logits which,
                          float *logits, gguf_error *err);

/* Of a model with an encoder and a decoder: read a text into a sequence, which is empty; what is
 * evaluated then are tokens of the decoder, the first hparams.start_token. Text and answer share
 * the context.
 *   hidden  [n][n_embd] what the encoder made of the tokens, or NULL
 * Errors: as rt_session_eval; GGUF_E_USAGE the sequence is not empty; GGUF_E_UNSUPPORTED the model
 * has no encoder beside its decoder. */
gguf_code rt_session_encode(rt_session *session, uint32_t seq, const int32_t *tokens, size_t n,
                            float *hidden, gguf_error *err);

/* ---- several sequences --------------------------------------------------------------------------
 */

/* Tokens that continue a sequence. */
typedef struct rt_span {
    uint32_t seq;
    const int32_t *tokens;
    size_t n;
    rt_logits which;
} rt_span;

/* Append to several sequences at once; their tokens share batches. A sequence occurs at most once.
 *   logits  the rows of all spans, in order
 * Errors: as rt_session_eval, and GGUF_E_USAGE for an unknown or repeated sequence. */
gguf_code rt_session_eval_spans(rt_session *session, const rt_span *spans, size_t n_spans,
                                float *logits, gguf_error *err);

uint32_t rt_seq_n_past(const rt_session *session, uint32_t seq); /* the next position */
/* Keep the first n tokens of a sequence, of a text that an encoder read all or none. A recurrent
 * layer's state is held at the end and where there is a snapshot: the sequence goes back to the
 * last such position up to n. n_kept  how many tokens the sequence has now: the others up to n have
 * to be evaluated again; NULL: if they are not n, it is an error and nothing changes Errors:
 * GGUF_E_USAGE, GGUF_E_LIMIT layers with a window no longer hold what position n would see (nothing
 * changes; n = 0 always works). */
gguf_code rt_seq_truncate(rt_session *session, uint32_t seq, uint32_t n, uint32_t *n_kept,
                          gguf_error *err);
/* Let `to`, which loses its own tokens, begin with the first n tokens of `from`. They share the
 * cache's pages until one of them writes, and states.
 *   n_kept  as for rt_seq_truncate
 * Errors: as rt_seq_truncate. */
gguf_code rt_seq_share(rt_session *session, uint32_t from, uint32_t to, uint32_t n,
                       uint32_t *n_kept, gguf_error *err);

/* Context shift, for a caller that asks for it: drop n tokens from position `first` on, and move
 * the later ones up. Their keys are turned back, but all of them still carry what they saw of the
 * dropped ones, so the numbers are not those of a sequence without them.
 *   first, n  multiples of RT_PAGE_TOKENS, first + n <= n_past
 * Errors: GGUF_E_USAGE; GGUF_E_UNSUPPORTED learned positions, no causal order, or recurrent layers;
 * GGUF_E_LIMIT no
 * free page for one that is shared, or a window that would reach released pages; GGUF_E_NONFINITE.
 * After the last two the sequence may have to be truncated to 0 before it is used again. */
#define RT_PAGE_TOKENS 64
/* Whether rt_seq_shift works: not where layers keep states or positions are learned. */
bool rt_model_can_shift(const rt_model *model);
gguf_code rt_seq_shift(rt_session *session, uint32_t seq, uint32_t first, uint32_t n,
                       gguf_error *err);

/* ---- what weights see ---------------------------------------------------------------------------
 */

/* A product with a weight of the model. */
typedef struct rt_product {
    gguf_str weight;   /* the tensor's GGUF name */
    const float *rows; /* [n_rows][n_cols], one row per token; valid during the call */
    size_t n_rows, n_cols;
    /* A stack of experts: expert e multiplies rows routed[i] / n_share for first[e] <= i <
     * first[e + 1]. NULL for other weights; a stack of one matrix per head has all heads' inputs
     * side by side in a row. */
    uint32_t n_experts;
    const uint32_t *first, *routed;
    uint32_t n_share;
    uint32_t n_heads; /* matrices of such a stack of heads; 0 for other weights */
} rt_product;

/* Called before each product with a weight of the model (not for the lookup of embeddings), once
 * per weight and batch, from the thread that called rt_session_eval. */
typedef void (*rt_hook_fn)(void *ctx, const rt_product *product);
/* fn NULL: no hook. Errors: GGUF_E_NOMEM. */
gguf_code rt_session_set_hook(rt_session *session, rt_hook_fn fn, void *ctx, gguf_error *err);

/* ---- layer by layer ----------------------------------------------------------------------------
 *
 * For calibration: the residual stream of a sequence that begins at position 0, moved through one
 * layer at a time. n is at most n_batch and n_ctx. The hook is called as ever; sequences are
 * forgotten. */

/* Numbers per token that a layer passes to the next: the stream, and keys and values that later
 * layers share. x below has n of them; the first [n][n_embd] are the stream. */
size_t rt_session_stream_cols(const rt_session *session);
/* x: what the first layer gets. */
gguf_code rt_session_embed(rt_session *session, const int32_t *tokens, size_t n, float *x,
                           gguf_error *err);
/* Replace x by what the layer makes of it.
 *   tokens  [n] as they were embedded */
gguf_code rt_session_layer(rt_session *session, uint32_t layer, const int32_t *tokens, float *x,
                           size_t n, gguf_error *err);
/* logits [n][n_out] of the stream behind the last layer. */
gguf_code rt_session_head(rt_session *session, const float *x, size_t n, float *logits,
                          gguf_error *err);

/* ---- embedding models ---------------------------------------------------------------------------
 */

/* Pool in this way, whatever the file says. Before any session of the model is made; nothing
 * changes in a model that is no embedding model, or makes scores. */
void rt_model_set_pooling(rt_model *model, rt_pooling pooling);
/* Pool the rows of a text as the model's pooling_type says.
 *   rows  [n][n_embd], n > 0
 *   out   [rt_pooled_size]
 * Errors: GGUF_E_UNSUPPORTED the model has no pooling (RT_POOLING_NONE). */
uint32_t rt_pooled_size(const rt_model *model);
gguf_code rt_pool(const rt_model *model, const float *rows, size_t n, float *out, gguf_error *err);

#endif
