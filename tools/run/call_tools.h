/* Tools that a model may call: --tools F.json. */
#ifndef TOOLS_RUN_CALL_TOOLS_H
#define TOOLS_RUN_CALL_TOOLS_H

#include "runtime/chat/conversation.h"
#include "runtime/chat/tools.h"
#include "tools/run/run.h"

/* Start as {0}; clear frees. */
typedef struct call_tools {
    rt_tool_styles *styles;
    rt_tool_use use;
    rt_reasoning_markers markers; /* of the template, with or without tools */
    json_t *tools;                /* NULL: none were given, and the answers are plain text */
    rt_grammar *grammar;
    /* Of the answer at work. */
    rt_call_parser parser;
    gguf_dynbuf text, arguments;
    json_t *calls;    /* [{"id", "type", "function": {"name", "arguments"}}]; or NULL */
    unsigned n_calls; /* of all answers, for their ids */
    bool prints;
    bool reasoning; /* for run_print_part */
} call_tools;

/* Find the markers of reasoning; read --tools, if it was given, and let the conversation tell of
 * them.
 * Errors: those of the file; GGUF_E_FORMAT, GGUF_E_UNSUPPORTED a tool. */
gguf_code call_tools_open(call_tools *c, tool *t, const run_opts *o, rt_conversation *talk,
                          gguf_error *err);
void call_tools_clear(call_tools *c);

/* Answers are divided at the markers, hold to the tools, and keep the marks of calls. */
void call_tools_apply(const call_tools *c, rt_answer_opts *opts);

/* Begin to read the answer of a prompt; its text is printed as it comes, and calls as lines. */
void call_tools_begin(call_tools *c, const rt_tokenizer *tok, const rt_ids *prompt, bool prints);
void call_tools_put(call_tools *c, gguf_str text);
void call_tools_end(call_tools *c);

#endif
