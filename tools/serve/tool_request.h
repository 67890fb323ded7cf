/* What requests say of tools, brought into the form of OpenAI's chat. */
#ifndef TOOLS_SERVE_TOOL_REQUEST_H
#define TOOLS_SERVE_TOOL_REQUEST_H

#include "tools/serve/chat_request.h"

/* OpenAI's chat: tools, tool_choice, parallel_tool_calls. */
void tools_read(fields *f, exchange *x, params *p, chat_request *c);

/* For interfaces with another form: add a tool to c->tools, which is made if it is not there.
 *   schema  of its arguments; or NULL
 *   strict  true: keywords that are not enforced are refused; or NULL
 * What is of the wrong type is refused by tools_finish. */
void tools_add(chat_request *c, json_t *name, json_t *description, json_t *schema, json_t *strict);
/* A tool that is left out, by its type, joins the ignored fields. */
void tools_ignore(exchange *x, const char *type);
/* Check the tools, and hold the answer to them. Nothing happens without tools. */
void tools_finish(fields *f, exchange *x, params *p, chat_request *c);

/* OpenAI's choices: a word, or a function by its name. */
void tools_read_choice(fields *f, chat_request *c);
/* What tool_choice demands; the first mistake stays. */
typedef enum tool_choice { TOOL_CHOICE_AUTO, TOOL_CHOICE_NONE, TOOL_CHOICE_REQUIRED } tool_choice;
/*   named  the only tool that may be called, kept; or NULL */
void tools_choose(fields *f, chat_request *c, tool_choice choice, const char *named);

#endif
