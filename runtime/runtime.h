/* runtime: the reference runtime. A model is an open GGUF file whose keys and tensors were checked
 * against the description of its architecture. A session is one sequence of tokens: position,
 * KV cache and buffers. Weights stay in the file's mapping.
 *
 * Matrices here are rows first, [n_rows][n_cols] row-major; GGUF stores the column count first. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include "libgguf/gguf.h"
#include "runtime/arch.h"

typedef struct rt_tokenizer rt_tokenizer; /* runtime/tokenizer/tokenizer.h */

/* ---- models ------------------------------------------------------------------------------------
 */

typedef enum rt_rope_scaling {
    RT_ROPE_SCALING_NONE,
    RT_ROPE_SCALING_LINEAR,
    RT_ROPE_SCALING_YARN
} rt_rope_scaling;

/* The numbers of a model, checked: no count is zero and no product of them overflows. */
typedef struct rt_hparams {
    uint32_t n_vocab, n_ctx_train, n_layer, n_embd, n_ff;
    uint32_t n_head, n_head_kv;      /* n_head is a multiple of n_head_kv */
    uint32_t head_dim_k, head_dim_v; /* of a query or key, of a value */
    uint32_t n_rot;                  /* leading dimensions of a head that rotate; even */
    uint32_t n_window;               /* key p is visible at t iff 0 <= t - p < n_window; 0 = all */
    float norm_eps;                  /* inside the root of the RMS norm */
    float rope_base;
    rt_rope_scaling rope_scaling;
    float rope_factor;      /* 1 without scaling */
    float rope_attn_factor; /* yarn: multiplies 0.1 ln(rope_factor) + 1 */
    float rope_beta_fast, rope_beta_slow;
    uint32_t n_ctx_orig; /* yarn: context before scaling */
} rt_hparams;

typedef struct rt_model rt_model;

/* Open a GGUF file and check every key and tensor that its architecture needs.
 * Errors: those of gguf_file_open; GGUF_E_MISSING, GGUF_E_TYPE, GGUF_E_LIMIT (a key out of range),
 * GGUF_E_SHAPE (names the tensor and both shapes), GGUF_E_UNSUPPORTED (architecture, tensor type, a
 * tensor that the architecture does not use), GGUF_E_NOMEM.
 * Threads: an open model may serve several sessions in several threads. */
gguf_code rt_model_open(const char *path, rt_model **out, gguf_error *err);
void rt_model_close(rt_model *model); /* accepts NULL; sessions must be freed before */

gguf_file *rt_model_file(const rt_model *model);           /* valid until close */
const rt_hparams *rt_model_hparams(const rt_model *model); /* valid until close */
const rt_arch *rt_model_arch(const rt_model *model);       /* valid until close */
uint64_t rt_model_weights_bytes(const rt_model *model);    /* of all tensors in the file */

/* ---- sessions ----------------------------------------------------------------------------------
 */

typedef struct rt_session_opts {
    uint32_t n_ctx;     /* positions; 0 = the trained context */
    uint32_t n_batch;   /* tokens computed at once */
    uint32_t kv_type;   /* GGUF_TYPE_F32, F16, Q8_0 or Q4_0 */
    unsigned n_threads; /* 0 = gguf_usable_cores() */
    bool exact;         /* multiply with f32 activations whatever the weight's type */
} rt_session_opts;

rt_session_opts rt_session_defaults(void); /* 0, 512, F16, 0, false */

typedef struct rt_session rt_session;

/* Allocate exactly what rt_footprint_of says and start the threads.
 * Errors: GGUF_E_USAGE (an option out of range), GGUF_E_SHAPE (the KV type's blocks do not divide a
 * token's K or V row), GGUF_E_NOMEM.
 * Threads: one caller at a time. The model must outlive the session. */
gguf_code rt_session_new(const rt_model *model, const rt_session_opts *opts, rt_session **out,
                         gguf_error *err);
void rt_session_free(rt_session *session); /* accepts NULL */

/* Forget all tokens. */
void rt_session_reset(rt_session *session);
uint32_t rt_session_n_past(const rt_session *session); /* tokens so far = the next position */
uint32_t rt_session_n_ctx(const rt_session *session);

typedef enum rt_logits {
    RT_LOGITS_NONE,
    RT_LOGITS_LAST, /* of the last token: [n_vocab] */
    RT_LOGITS_ALL   /* of every token: [n][n_vocab] */
} rt_logits;

/* Append n tokens at the current position, n_batch at a time. Row t of the logits predicts the
 * token that follows tokens[t]. The numbers do not depend on the number of threads, nor on how the
 * tokens are divided into calls and batches.
 *   logits  as `which` says, owned by the caller; may be NULL for RT_LOGITS_NONE
 * Errors: GGUF_E_LIMIT more tokens than the context has room for (nothing is computed),
 * GGUF_E_USAGE a token id outside the vocabulary (nothing is computed), GGUF_E_NONFINITE a K or V
 * value that the KV type cannot hold. After an error the position is that of before the call. */
gguf_code rt_session_eval(rt_session *session, const int32_t *tokens, size_t n, rt_logits which,
                          float *logits, gguf_error *err);

/* Called before each product with a weight of the model (not for the lookup of embeddings), once
 * per weight and batch, from the thread that called rt_session_eval.
 *   weight  the tensor's GGUF name
 *   rows    [n_rows][n_cols], one row per token; valid during the call */
typedef void (*rt_hook_fn)(void *ctx, gguf_str weight, const float *rows, size_t n_rows,
                           size_t n_cols);
void rt_session_set_hook(rt_session *session, rt_hook_fn fn, void *ctx); /* fn NULL: no hook */

/* ---- layer by layer ----------------------------------------------------------------------------
 *
 * For calibration: the residual stream of a sequence that begins at position 0, moved through one
 * layer at a time. n is at most n_batch and n_ctx. The hook is called as ever. */

/* x [n][n_embd]: what the first layer gets. */
gguf_code rt_session_embed(rt_session *session, const int32_t *tokens, size_t n, float *x,
                           gguf_error *err);
/* Replace x by what the layer makes of it. */
gguf_code rt_session_layer(rt_session *session, uint32_t layer, float *x, size_t n,
                           gguf_error *err);
/* logits [n][n_vocab] of the stream behind the last layer. */
gguf_code rt_session_head(rt_session *session, const float *x, size_t n, float *logits,
                          gguf_error *err);

#endif
