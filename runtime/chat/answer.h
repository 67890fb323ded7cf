/* Answers of one sequence of a session: a prompt in, its continuation out as it is made. What was
 * evaluated stays in the cache, and a prompt that begins with the same tokens goes on from there.
 *
 * rt_generator_answer makes a whole answer. A caller that serves several sequences at once makes
 * theirs side by side: rt_answer_next says what each of them needs, one rt_session_eval_spans
 * evaluates it all, and rt_answer_take gives each its logits. */
#ifndef RUNTIME_CHAT_ANSWER_H
#define RUNTIME_CHAT_ANSWER_H

#include "runtime/chat/answer_text.h"
#include "runtime/chat/drafts.h"
#include "runtime/chat/grammar.h"
#include "runtime/chat/step_budget.h"
#include "runtime/engine/sample.h"
#include "runtime/runtime.h"
#include "runtime/tokenizer/tokenizer.h"

/* Options for sessions that make answers: each sequence asks for one row of logits at once, and one
 * for each drafted token, and recurrent layers keep some states to go back to. */
void rt_answer_session_opts(const rt_hparams *hp, rt_session_opts *opts, uint32_t n_draft);

/* A sequence, what the cache holds of it, and how its tokens are chosen. */
typedef struct rt_generator {
    rt_model *model; /* these three belong to the caller */
    rt_session *session;
    const rt_tokenizer *tok;
    uint32_t seq;
    rt_sampler *sampler;
    rt_sampling *sampling;
    rt_ids past;           /* tokens in the cache */
    size_t n_exact;        /* later ones saw tokens that a shift dropped */
    rt_token_table *table; /* made for the first answer that a grammar holds */
    bool repack;           /* an answer that gets long repacks the weights, once */
    unsigned n_threads;    /* for that; 0 = all usable cores */
    rt_drafter drafter;    /* see rt_generator_draft */
    rt_step_budget budget;
} rt_generator;

/* The sequence is empty. Errors: those of rt_sampler_new, GGUF_E_NOMEM. Clear also after a failure.
 */
gguf_code rt_generator_init(rt_generator *g, rt_model *model, rt_session *session, uint32_t seq,
                            const rt_tokenizer *tok, const rt_sampler_opts *sampler,
                            gguf_error *err);
void rt_generator_clear(rt_generator *g); /* accepts a zeroed one; the sequence stays as it is */

/* Sample as these options say from now on; on an error nothing changes. */
gguf_code rt_generator_set_sampler(rt_generator *g, const rt_sampler_opts *opts, gguf_error *err);

/* Check drafted tokens in the same step as the last one from now on; answers stay the same. Where
 * the model cannot take tokens back (rt_check_returns) none are drafted.
 *   model  drafts, and outlives the generator; or NULL */
void rt_generator_draft(rt_generator *g, const rt_draft_opts *opts, rt_draft_model *model);

/* Of a model with an encoder and a decoder: let the encoder read a text into the sequence, which
 * loses what it had, and append to `text` what the decoder begins with. What comes of it is the
 * prompt of an answer.
 * Errors: those of rt_session_encode, GGUF_E_NOMEM. */
gguf_code rt_generator_read(rt_generator *g, rt_ids *text, gguf_error *err);

#define RT_ANSWER_NO_LIMIT UINT32_MAX

typedef struct rt_answer_opts {
    uint32_t n_predict;       /* tokens; RT_ANSWER_NO_LIMIT: until the model ends, or the context */
    const char *const *stops; /* [n_stops] texts that end the answer; none is empty */
    size_t n_stops;
    bool show_special; /* special tokens are part of the text */
    bool trim;         /* no spaces at the start of the text */
    gguf_str marks;    /* these three as in rt_answer_text_opts */
    bool call_channel;
    rt_reasoning_markers markers;
    rt_grammar *grammar; /* the answer behind the reasoning belongs to it; or NULL */
    bool shift;          /* a full context loses its older half, instead of ending the answer */
    const atomic_bool *cancel; /* ends the answer; the session's, or one of its own; may be NULL */

    void (*show)(void *ctx, gguf_str text, bool reasoning);     /* whole characters; or NULL */
    void (*progress)(void *ctx, size_t n_done, size_t n_total); /* of the prompt; or NULL */
    void *ctx;
} rt_answer_opts;

typedef enum rt_finish {
    RT_FINISH_STOP,       /* the model ended, or a stop text came */
    RT_FINISH_LENGTH,     /* n_predict, or the context is full */
    RT_FINISH_INTERRUPTED /* also while the prompt was read */
} rt_finish;

const char *rt_finish_name(rt_finish finish); /* "stop", "length", "interrupted" */

/* Start as {0}; clear frees. */
typedef struct rt_answer {
    rt_answer_text text;      /* with show_special all is said */
    rt_constraint constraint; /* with a grammar */
    rt_ids ids;               /* without the token that ended it */
    bool ended;
    rt_finish finish;
    bool context_full;
    uint32_t n_shifted;            /* tokens that a full context lost */
    size_t n_prompt, n_reused;     /* n_reused were in the cache already */
    double prompt_s;               /* until the prompt was evaluated */
    double first_s;                /* until the first token was chosen; 0 without one */
    double generation_s;           /* for the tokens, */
    double repack_s;               /* without this, for repacking the weights */
    uint64_t n_drafts, n_accepted; /* drafted tokens that were evaluated, and that came true */

    /* Where it stands. */
    rt_generator *generator;
    rt_answer_opts opts;
    const rt_ids *prompt;
    size_t n_read;     /* tokens of the prompt that were evaluated */
    int32_t chosen;    /* the last token, not yet evaluated */
    size_t n_drafted;  /* tokens of the span that is evaluated */
    size_t n_replayed; /* tokens behind those in the cache that are evaluated once more */
    double started_s;
} rt_answer;

void rt_answer_clear(rt_answer *a);

/* Continue a prompt, to the end of the answer.
 * Errors: GGUF_E_USAGE an empty prompt, or one that the context does not hold; GGUF_E_NONFINITE;
 * GGUF_E_LIMIT the vocabulary cannot write what the grammar wants; GGUF_E_NOMEM; those of
 * rt_session_eval, an interruption aside. */
gguf_code rt_generator_answer(rt_generator *g, const rt_ids *prompt, const rt_answer_opts *opts,
                              rt_answer *out, gguf_error *err);

/* ---- step by step -------------------------------------------------------------------------- */

/* Begin an answer; of the cache stays what prompt and sequence have in common.
 *   prompt, stops  kept by the caller until the end
 * Errors: GGUF_E_USAGE as above. */
gguf_code rt_answer_begin(rt_generator *g, const rt_ids *prompt, const rt_answer_opts *opts,
                          rt_answer *out, gguf_error *err);

/* What has to be evaluated next: some hundred tokens of the prompt, or the last token and what was
 * drafted behind it. Makes room for it. Valid until rt_answer_take. Not to be called once the
 * answer has ended; it may end here, and there is no span then. Errors: those of rt_seq_shift,
 * GGUF_E_NOMEM. */
gguf_code rt_answer_next(rt_answer *a, rt_span *span, gguf_error *err);

/* Take what came of it, also after evaluating failed or was cancelled: the sequence tells how far
 * it got.
 *   logits  [n_vocab] of the span's last row, or [span.n][n_vocab] with drafts; changed on the way
 *           and at the end as before; not read where the span asked for none
 * Errors: GGUF_E_NONFINITE, GGUF_E_LIMIT, GGUF_E_NOMEM. */
gguf_code rt_answer_take(rt_answer *a, float *logits, gguf_error *err);

/* End an answer from outside; what was held back of its text is shown. Does nothing to one that
 * has ended. Errors: GGUF_E_NOMEM text was lost. */
gguf_code rt_answer_end(rt_answer *a, rt_finish finish, gguf_error *err);

#endif
