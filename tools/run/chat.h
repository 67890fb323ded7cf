/* A chat: the state that its loop and its commands share. */
#ifndef TOOLS_RUN_CHAT_H
#define TOOLS_RUN_CHAT_H

#include "runtime/chat/answer.h"
#include "tools/run/call_tools.h"
#include "tools/run/conversation_files.h"
#include "tools/run/input.h"

typedef struct chat {
    tool *t;
    const run_opts *o;
    settings settings;
    rt_conversation conversation;
    rt_session *session;
    draft_source drafts;
    rt_generator generator; /* of sequence 0 */
    input *input;
    const char *stops[RUN_MAX_STOPS];
    size_t n_stops;
    bool terminal; /* somebody types and reads; else an error ends the chat */
    bool leave;
    bool warned_context; /* of more tokens than the model was trained with */
    rt_answer last;      /* the latest one */
    bool answered;
    call_tools tools;
} chat;

/* Answer the conversation, whose last message is the user's, and add the answer to it. An answer
 * that could not begin leaves it as it is. */
gguf_code chat_answer(chat *c, gguf_error *err);

/* Carry out a line that begins with a slash. Errors: GGUF_E_USAGE unknown command or argument,
 * those of files. */
gguf_code chat_command(chat *c, const char *line, gguf_error *err);

/* Names with their slash, for completion; ends with NULL. */
extern const char *const chat_commands[];

#endif
