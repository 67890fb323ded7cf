/* From messages to a prompt. Interfaces bring their messages into the form of OpenAI's chat; what
 * templates get is made here. */
#ifndef TOOLS_SERVE_CHAT_REQUEST_H
#define TOOLS_SERVE_CHAT_REQUEST_H

#include "tools/serve/generation.h"
#include "tools/serve/json_fields.h"

/* Start as {0}, with messages. Clear frees. */
typedef struct chat_request {
    json_t *messages;  /* [{"role", "content", ...}], checked by chat_read_messages */
    json_t *variables; /* of the template, an object; or NULL */
    json_t *tools;     /* that may be called, as OpenAI's chat has them; or NULL */
    rt_tool_demand demand;
    bool choice_none;
    /* Begin an answer; otherwise the last message, of the assistant, goes on. By default that is so
     * where there is such a message. */
    bool begins_given, begins;
    int think; /* -1: as the template does */
    enum { REASONING_AS_SERVER, REASONING_APART, REASONING_IN_TEXT } reasoning;
    /* What chat_render finds: the answer goes on with a text, or with what was thought. */
    bool goes_on, thinks_on;
    /* What chat_prompt makes. */
    rt_ids ids;
    rt_answer_text_opts text;
} chat_request;

void chat_request_clear(chat_request *c); /* again, too */

/* Take messages as OpenAI's chat has them, contents joined to texts. */
bool chat_read_messages(const json_t *list, json_t **out, api_error *error);
/* Add one of them to the list `out`.
 *   list, index  where the request has it: "messages", for errors */
bool chat_read_message(const json_t *from, const char *list, size_t index, json_t *out,
                       api_error *error);
/* A content: a text, or parts that are texts. Returns a new text or NULL. */
json_t *chat_read_content(const json_t *content, const char *param, api_error *error);
/* reasoning_effort, chat_template_kwargs. */
void chat_read_variables(fields *f, chat_request *c);
/* How much the model thinks: none, minimal, low, medium, high, xhigh or max; NULL and null: as it
 * likes. */
void chat_set_effort(chat_request *c, const json_t *effort, const char *param, api_error *error);

/* The text that the template makes; malloc'ed. */
bool chat_render(const server *s, chat_request *c, char **text, size_t *len, api_error *error);
/* The tokens, and how the answer is to be divided; adds the stop text of a transcript. */
bool chat_prompt(const server *s, chat_request *c, params *p, api_error *error);
/* Begin the answer to what was read, or say what is wrong with it; clears what it was read with.
 *   g  NULL: after an error, or out of memory */
void chat_answer(exchange *x, generation *g, chat_request *c, fields *f);
/* The same, where the number of the prompt's tokens is all that is asked for.
 *   object  what the answer calls itself; or NULL */
void chat_answer_count(exchange *x, const char *object, chat_request *c, fields *f);

#endif
