/* A smaller model that drafts what a larger one is about to say. */
#ifndef RUNTIME_CHAT_DRAFT_MODEL_H
#define RUNTIME_CHAT_DRAFT_MODEL_H

#include "runtime/runtime.h"

#define RT_MAX_DRAFT 64
/* Texts that it drafts for at once; a further one takes the place of the least recent. */
#define RT_DRAFT_TEXTS 4

typedef struct rt_draft_model rt_draft_model;

/* Whether two models have the same tokens. Errors: GGUF_E_UNSUPPORTED names the first difference.
 */
gguf_code rt_check_same_tokens(const rt_tokenizer *tok, const rt_tokenizer *draft,
                               const char *draft_path, gguf_error *err);

/* Whether a model can take tokens back that turn out wrong, so that it can be drafted for. Errors:
 * GGUF_E_UNSUPPORTED it makes vectors, or its layers keep a state. */
gguf_code rt_check_returns(const rt_model *model, gguf_error *err);
/* Whether a model can draft. Errors: the same, and GGUF_E_UNSUPPORTED it has an encoder. */
gguf_code rt_check_drafts(const rt_model *model, gguf_error *err);

/* The session of a draft model: context, threads and precision as in `opts`. */
rt_session_opts rt_draft_session_opts(const rt_session_opts *opts, uint32_t n_texts);

/* Make its session. The model must outlive it.
 *   n_vocab  of the model that is drafted for: no other ids are made
 * Errors: those of rt_check_drafts, rt_session_new; GGUF_E_NOMEM. */
gguf_code rt_draft_model_new(const rt_model *model, const rt_session_opts *opts, uint32_t n_vocab,
                             rt_draft_model **out, gguf_error *err);
void rt_draft_model_free(rt_draft_model *m); /* accepts NULL */

/* The most likely tokens behind a text, one after the other. It reads some
 * hundred tokens of a text that is new to it, and drafts nothing until it has read all; nor where
 * evaluating fails.
 *   owner  tells texts apart
 *   sure   only while the model is fairly sure of them
 *   out    [most]
 * Returns how many there are. Threads: one caller at a time. */
size_t rt_draft_model_next(rt_draft_model *m, uint64_t owner, const int32_t *text, size_t n,
                           bool sure, int32_t *out, size_t most);
/* Seconds that a drafted token takes it; 0: unknown. */
double rt_draft_model_token_s(const rt_draft_model *m);

#endif
