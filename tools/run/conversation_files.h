/* Conversations that begin as the options say, and in files. */
#ifndef TOOLS_RUN_CONVERSATION_FILES_H
#define TOOLS_RUN_CONVERSATION_FILES_H

#include "runtime/chat/conversation.h"
#include "tools/run/run.h"

/* A note that there is no template. */
void conversation_note_plain(tool *t);

/* Begin with the template and the system message that the options say.
 * Errors: those of the files and of the template. Close also after a failure. */
gguf_code conversation_open(rt_conversation *c, const run_opts *o, const gguf_meta *meta,
                            const rt_tokenizer *tok, gguf_error *err);

/* {"messages": [...]} in a file, which `gguf-run --render` takes too. Errors of load:
 * GGUF_E_FORMAT; the conversation is then unchanged. */
gguf_code conversation_save(const rt_conversation *c, const char *file, bool replace,
                            gguf_error *err);
gguf_code conversation_load(rt_conversation *c, const char *file, gguf_error *err);

#endif
