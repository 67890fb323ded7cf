/* A conversation: its messages, and the tokens that the model's chat template makes of them. */
#ifndef TOOLS_RUN_CONVERSATION_H
#define TOOLS_RUN_CONVERSATION_H

#include "tools/run/prompt.h"

typedef struct conversation {
    json_t *messages;  /* [{"role", "content"}]; a system message comes first */
    json_t *variables; /* of the template */
    rt_template *tpl;
    const rt_tokenizer *tok;
    bool plain;        /* no template: a transcript with "User:" and "Assistant:" */
    size_t n_left_out; /* messages behind the system message that the model does not see */
} conversation;

/* The text that ends an answer where there is no template, and a note that there is none. */
#define CONVERSATION_PLAIN_STOP "\nUser:"
void conversation_note_plain(tool *t);

/* Begin with the template and the system message that the options say.
 * Errors: those of the files and of the template. Close also after a failure. */
gguf_code conversation_open(conversation *c, const run_opts *o, const gguf_meta *meta,
                            const rt_tokenizer *tok, gguf_error *err);
void conversation_close(conversation *c); /* accepts a zeroed one */

/* Bytes that are not UTF-8 are replaced. */
void conversation_add(conversation *c, const char *role, const char *text, size_t n);
/* What the model thought before its last message, in the form that templates take. */
void conversation_add_reasoning(conversation *c, const char *text, size_t n);
size_t conversation_n(const conversation *c);
bool conversation_last_is(const conversation *c, const char *role);
void conversation_drop_last(conversation *c);

/* The system message or NULL. */
const char *conversation_system(const conversation *c);
void conversation_set_system(conversation *c, const char *text); /* NULL: without one */
void conversation_clear(conversation *c);                        /* keeps the system message */

/* The prompt for the next answer. Errors: those of rendering and tokenizing. */
gguf_code conversation_ids(const conversation *c, rt_ids *out, gguf_error *err);

/* Leave out the oldest exchange that the model still sees. False: only the last message is left. */
bool conversation_leave_out(conversation *c);

/* {"messages": [...]} in a file, which `gguf-run --render` takes too. Errors of load:
 * GGUF_E_FORMAT; the conversation is then unchanged. */
gguf_code conversation_save(const conversation *c, const char *file, bool replace, gguf_error *err);
gguf_code conversation_load(conversation *c, const char *file, gguf_error *err);

#endif
