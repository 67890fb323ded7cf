/* A conversation: its messages, and the tokens that the model's chat template makes of them. */
#ifndef RUNTIME_CHAT_CONVERSATION_H
#define RUNTIME_CHAT_CONVERSATION_H

#include "runtime/chat/tools.h"
#include "runtime/template/template.h"
#include "runtime/tokenizer/tokenizer.h"

typedef struct rt_conversation {
    json_t *messages;  /* [{"role", "content"}]; a system message comes first */
    json_t *variables; /* of the template */
    rt_template *tpl;
    const rt_tokenizer *tok;
    bool plain;             /* no template: a transcript with "User:" and "Assistant:" */
    const rt_tool_use *use; /* how tools are told of, and */
    const json_t *tools;    /* those that there are; or NULL; both belong to the caller */
    size_t n_left_out;      /* messages after the system message that the model does not see */
} rt_conversation;

/* Where there is no template: what stands in for it, and the text that ends an answer. */
extern const char rt_conversation_plain_template[];
#define RT_CONVERSATION_PLAIN_STOP "\nUser:"

/* Begin without messages.
 *   tpl        taken; NULL: a plain transcript
 *   variables  of the template, an object; taken; NULL: none
 *   tok        must outlive the conversation
 * Errors: GGUF_E_NOMEM. Close also after a failure. */
gguf_code rt_conversation_open(rt_conversation *c, rt_template *tpl, json_t *variables,
                               const rt_tokenizer *tok, gguf_error *err);
void rt_conversation_close(rt_conversation *c); /* accepts a zeroed one */

/* Bytes that are not UTF-8 are replaced. */
void rt_conversation_add(rt_conversation *c, const char *role, const char *text, size_t n);
/* What the model thought before its last message, in the form that templates take. */
void rt_conversation_add_reasoning(rt_conversation *c, const char *text, size_t n);
/* The calls of its last message: [{"id", "type", "function": {"name", "arguments"}}], taken. */
void rt_conversation_add_calls(rt_conversation *c, json_t *calls);
/* The last message is the result of this call. */
void rt_conversation_set_call(rt_conversation *c, const json_t *call);
size_t rt_conversation_n(const rt_conversation *c);
bool rt_conversation_last_is(const rt_conversation *c, const char *role);
void rt_conversation_drop_last(rt_conversation *c);
/* Drop the last message of the user and what answers it. False: there is none. */
bool rt_conversation_undo(rt_conversation *c);

/* The system message or NULL. */
const char *rt_conversation_system(const rt_conversation *c);
void rt_conversation_set_system(rt_conversation *c, const char *text); /* NULL: without one */
void rt_conversation_clear(rt_conversation *c); /* keeps the system message */

/* Take these messages in place of its own.
 *   file  where they come from, for errors; may be NULL
 * Errors: GGUF_E_FORMAT they are no list of roles and contents; nothing changes then. */
gguf_code rt_conversation_set_messages(rt_conversation *c, json_t *messages, const char *file,
                                       gguf_error *err);

/* Append the prompt for the next answer. Errors: those of rt_chat_ids. */
gguf_code rt_conversation_ids(const rt_conversation *c, rt_ids *out, gguf_error *err);

/* Leave out the oldest exchange that the model still sees. False: only the last message is left. */
bool rt_conversation_leave_out(rt_conversation *c);

/* The prompt, without the oldest messages where it would take more than three quarters of a
 * context. It may still be too long.
 *   out  replaced
 * Errors: those of rt_chat_ids. */
gguf_code rt_conversation_fit(rt_conversation *c, uint32_t n_ctx, rt_ids *out, gguf_error *err);

#endif
