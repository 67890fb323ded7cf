/* What gguf-run can do with a model. */
#ifndef TOOLS_RUN_RUN_H
#define TOOLS_RUN_RUN_H

#include "runtime/chat/answer.h"
#include "runtime/runtime.h"
#include "tools/common/device_opts.h"
#include "tools/common/draft_opts.h"
#include "tools/common/model_open.h"
#include "tools/common/settings.h"
#include "tools/common/tool.h"

#define RUN_MAX_STOPS 16

typedef struct run_opts {
    const char *prompt, *file; /* what to complete; "-" is standard input */
    bool chat;                 /* it is one message of a rt_conversation */
    settings settings;
    uint32_t n_ctx, kv_type;
    rt_precision precision;
    const char *stops[RUN_MAX_STOPS];
    size_t n_stops;
    const char *tools_file;
    const char *json_schema, *grammar_file; /* files; */
    rt_grammar *grammar;                    /* of either, or NULL */
    const char *prompt_cache;               /* a file, or NULL */
    bool prompt_cache_ro;                   /* it is not written */
    bool show_special, shift, no_history;
    bool tokenize, no_special, no_parse_special, exact, no_repack;
    const char *tokens, *decoder_tokens, *logits;
    bool embed;
    rt_pooling pooling; /* RT_POOLING_NONE: the model's own */
    model_loras loras;
    device_opts device;
    draft_opts draft;
    const char *rank, *output; /* the question; where vectors go */
    const char *render, *template_file, *template_vars;
    const char *system, *system_file;
} run_opts;

/* Talk: lines of standard input are messages. */
gguf_code run_chat(tool *t, const run_opts *o, rt_model *model, gguf_error *err);
/* Complete the prompt, or answer it as a message, streaming to stdout. */
gguf_code run_complete(tool *t, const run_opts *o, rt_model *model, gguf_error *err);
/* Print the token ids of a text. */
gguf_code run_tokenize(tool *t, const run_opts *o, const gguf_meta *meta, gguf_error *err);
/* Write the logits of given tokens. */
gguf_code run_logits(tool *t, const run_opts *o, const rt_model *model, gguf_error *err);

/* Print or write the vectors of texts. */
gguf_code run_embed(tool *t, const run_opts *o, rt_model *model, gguf_error *err);
/* Print documents in the order in which they answer a question. */
gguf_code run_rank(tool *t, const run_opts *o, rt_model *model, gguf_error *err);

/* Print the prompt that the chat template makes of a conversation in a JSON file. */
gguf_code run_render(tool *t, const run_opts *o, gguf_error *err);

/* Let the generator, whose sequence is empty, begin with what the file of --prompt-cache holds of
 * the prompt, evaluate the rest but for its last token, and write the file anew if there was any.
 *   n_held     tokens that the file held
 *   seconds    that all of it took */
gguf_code run_prompt_cache(const run_opts *o, rt_generator *g, const rt_ids *prompt, size_t *n_held,
                           double *seconds, gguf_error *err);

/* ---- shared by them ---------------------------------------------------------------------- */

/* Compile the grammar that answers are held to, if one is asked for. */
gguf_code run_open_grammar(run_opts *o, gguf_error *err);

/* The text of -p or -f; *out is malloc'ed. */
gguf_code run_read_prompt(const run_opts *o, char **out, size_t *n, gguf_error *err);

unsigned run_tokenize_flags(const run_opts *o);

/*   n_ctx  if --ctx does not say */
rt_session_opts run_session_opts(const tool *t, const run_opts *o, uint32_t n_ctx);

/* The same for answers, see rt_answer_session_opts, and what drafts them. */
gguf_code run_answer_session(tool *t, const run_opts *o, const rt_model *model,
                             const rt_tokenizer *tok, uint32_t n_ctx, rt_session_opts *out,
                             draft_source *drafts, gguf_error *err);

/* A generator of the session's sequence 0, which repacks weights if the options allow it, and
 * drafts. */
gguf_code run_open_generator(rt_generator *g, const tool *t, const run_opts *o, rt_model *model,
                             rt_session *session, const rt_tokenizer *tok,
                             const rt_sampler_opts *sampler, draft_source *drafts, gguf_error *err);

/* The context of a conversation if --ctx does not say. */
uint32_t run_chat_ctx(const rt_model *model);

/* Errors: GGUF_E_UNSUPPORTED an embedding model. */
gguf_code run_check_generates(const rt_model *model, gguf_error *err);

/* Errors: GGUF_E_UNSUPPORTED a model with an encoder and a decoder, which has no conversations. */
gguf_code run_check_talks(const rt_model *model, gguf_error *err);

/* Notes on an answer: what the context lost, with -v the times. */
void run_report(tool *t, const rt_generator *g, const rt_answer *a, bool *warned);
/* Warn, once, of more tokens than the model was trained with. */
void run_warn_context(tool *t, const rt_generator *g, uint64_t n_tokens, bool *warned);

/* An answer begins, at the start of a line. */
void run_print_begin(void);
/* Print text of the model; on a terminal lines are broken between words, and control characters
 * and what is no UTF-8 are \xNN. */
void run_print_text(gguf_str text);

/* The same of an answer: reasoning is shown on a terminal only, dimmed and apart from the rest.
 *   reasoning  what came last was; changed here, start with false */
void run_print_part(gguf_str text, bool is_reasoning, bool *reasoning);

#endif
