/* A session: a model's tokens on one backend or two. */
#ifndef RUNTIME_ENGINE_SESSION_INTERNAL_H
#define RUNTIME_ENGINE_SESSION_INTERNAL_H

#include "runtime/engine/kv.h"
#include "runtime/engine/layout.h"
#include "runtime/engine/state.h"
#include "runtime/model/model_internal.h"

struct rt_session {
    const rt_model *model;
    rt_session_opts opts;
    rt_layout layout;
    uint8_t *host; /* layout.host_bytes */
    rt_kv kv;
    rt_state state;
    rt_batch batch; /* that is being computed */
    bool encodes;   /* its tokens are texts, which the encoder reads */
    rt_tile *tiles;
    rt_run *runs;
    rt_batch blocks[RT_MAX_COMPRESS]; /* of each size those that the batch completes; positions are
                                         their numbers, and their runs none */
    int32_t *ids;                     /* [n_batch] tokens, or positions */
    uint32_t *out_rows;               /* [n_batch] rows whose logits are wanted */
    float *angles;                    /* [n_batch][n_rot / 2][2] on their way to the arena */
    float *stream; /* [n_batch][of the widest part] on its way to another place */
    bool alone;    /* layers are computed one by one, so none finds what another one kept */
    gguf_pool *pool;
    rt_backend *places[RT_MAX_PLACES];
    rt_backend *backend; /* of the layer that is being computed */
    rt_off input;        /* of the products that follow */
    size_t n_inputs, n_input_cols;
    rt_hook_fn hook;
    void *hook_ctx;
    float *hook_rows;        /* [hook_elems] while there is a hook */
    const float *hook_input; /* the input as the hook sees it; NULL: not read yet */
    uint32_t *hook_groups;   /* [n_expert + 1 + n_batch * n_expert_used] */
};

/* ---- step.c: tokens in batches ---- */

/* Forget everything and make session->batch the first n <= n_batch tokens of sequence 0.
 *   tokens  may be NULL: session->ids is left as it is */
gguf_code rt_session_begin(rt_session *session, const int32_t *tokens, size_t n, gguf_error *err);

/* ---- forward.c ---- */

/* Compute session->batch, whose tokens are in session->ids.
 *   n_out   rows of session->out_rows whose logits go to `logits`, [n_out][hparams.n_out] */
gguf_code rt_forward(rt_session *session, size_t n_out, float *logits, gguf_error *err);
/* Its parts: from tokens to the stream of the first place; the angles of all positions to all
 * places; one layer, in its place; the rows of out_rows. Failures show in rt_session_sync. */
void rt_forward_input(rt_session *session);
void rt_forward_angles(rt_session *session);
void rt_forward_layer(rt_session *session, uint32_t layer);
void rt_forward_output(rt_session *session, size_t n_out, float *logits);
/* Wait for all places; the first failure. */
gguf_code rt_session_sync(rt_session *session, gguf_error *err);
/* Let the operations that follow run in a place. */
void rt_session_enter(rt_session *session, uint32_t place);
/* The same, and bring the stream there. */
void rt_session_move(rt_session *session, uint32_t place);

/* ---- pipeline.c: layers of several ranks ---- */

/* What the rank before makes of the batch, and what this one makes to the next. */
gguf_code rt_pipeline_receive(rt_session *session, gguf_error *err);
gguf_code rt_pipeline_send(rt_session *session, gguf_error *err);
/* From the last rank to all: [n_out][hparams.n_out]. */
gguf_code rt_pipeline_share(const rt_session *session, size_t n_out, float *logits,
                            gguf_error *err);

/* ---- blocks of a layer, from a normed input to layout.out ---- */

void rt_block_attention(rt_session *session, uint32_t layer, rt_off in);
/* Attention to the text that an encoder read; what its layer keeps of that, from what the encoder
 * made. */
void rt_block_cross(rt_session *session, uint32_t layer, rt_off in);
void rt_block_keep_source(rt_session *session, uint32_t layer, rt_off in);
void rt_block_latent(rt_session *session, uint32_t layer, rt_off in);
void rt_block_expanded(rt_session *session, uint32_t layer, rt_off in);
void rt_block_compressed(rt_session *session, uint32_t layer, rt_off in);
void rt_block_delta(rt_session *session, uint32_t layer, rt_off in);
void rt_block_shortconv(rt_session *session, uint32_t layer, rt_off in);
void rt_block_mamba(rt_session *session, uint32_t layer, rt_off in);
void rt_block_kda(rt_session *session, uint32_t layer, rt_off in);
void rt_block_mamba2(rt_session *session, uint32_t layer, rt_off in);
void rt_block_ffn(rt_session *session, uint32_t layer, rt_off in);
void rt_block_experts(rt_session *session, uint32_t layer, rt_off in);
/* From the stream at x. */
void rt_block_layer_embd(rt_session *session, uint32_t layer, rt_off x);

/* ---- block_hyper.c: models whose blocks read mixtures of streams ---- */

void rt_hyper_start(rt_session *session);
/* What a block reads, into layout.x; what it makes, in layout.out, to all streams. */
void rt_hyper_enter(rt_session *session, const rt_hyper_weights *weights);
void rt_hyper_leave(rt_session *session);
/* What the output reads of n_out rows, into layout.out. */
void rt_hyper_end(rt_session *session, size_t n_out);

/* ---- block_altup.c: models with several streams, of which layout.x is the first ---- */

void rt_altup_start(rt_session *session);
void rt_altup_predict(rt_session *session, uint32_t layer);
void rt_altup_laurel(rt_session *session, uint32_t layer, rt_off in);
void rt_altup_correct(rt_session *session, uint32_t layer);
rt_off rt_altup_scaled(rt_session *session, uint32_t layer);
void rt_altup_add(rt_session *session);
void rt_altup_end(rt_session *session, size_t n_out);
/* Choose the keys that attention counts, if the layer has an indexer: before attention. */
void rt_block_index_latent(rt_session *session, uint32_t layer, rt_off in);
void rt_block_index_heads(rt_session *session, uint32_t layer, rt_off in);
/* Attention of the batch over the layer's cache, into layout.heads.
 *   blocks  further keys, of blocks of tokens, or NULL */
void rt_block_attend(rt_session *session, uint32_t layer, const rt_kv_layer *kv,
                     const rt_kv_layer *blocks, rt_off q);
/* The best of the keys in kv for every token of the batch, into layout.selection; queries are in
 * layout.index_q. */
void rt_index_select(rt_session *session, const rt_kv_layer *kv, rt_off weights);

#endif
