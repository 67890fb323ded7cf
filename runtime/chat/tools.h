/* Calls of tools in what models write. Families of models write them differently: a table
 * (configs/tools.yaml) has their styles, and a model's is the one that reads back what its chat
 * template makes of a call. From a style follow the parser of answers and the grammar that holds
 * them.
 *
 * Tools are given as OpenAI's interface has them:
 * [{"type": "function", "function": {"name", "description", "parameters": SCHEMA}}, ...] */
#ifndef RUNTIME_CHAT_TOOLS_H
#define RUNTIME_CHAT_TOOLS_H

#include "libgguf/dynbuf.h"
#include "libgguf/gguf.h"
#include "runtime/chat/answer_text.h"
#include "runtime/chat/grammar.h"
#include "runtime/template/template.h"

#include <jansson.h>

/* ---- styles ------------------------------------------------------------------------------ */

typedef struct rt_tool_styles rt_tool_styles;
typedef struct rt_tool_style rt_tool_style;

/* The table. Styles live as long as it. Errors: GGUF_E_NOMEM; GGUF_E_FORMAT with the line. */
gguf_code rt_tool_styles_new(rt_tool_styles **out, gguf_error *err);
/* The same from a text as configs/tools.yaml. file: for errors. */
gguf_code rt_tool_styles_parse(const char *text, size_t n, const char *file, rt_tool_styles **out,
                               gguf_error *err);
void rt_tool_styles_free(rt_tool_styles *styles); /* accepts NULL */
size_t rt_tool_styles_n(const rt_tool_styles *styles);
const rt_tool_style *rt_tool_styles_at(const rt_tool_styles *styles, size_t i);
const rt_tool_style *rt_tool_styles_find(const rt_tool_styles *styles, const char *name); /* NULL */

/* The markers of reasoning that a chat template spells; they live as long as the table. */
rt_reasoning_markers rt_tool_styles_reasoning(const rt_tool_styles *styles,
                                              gguf_str template_source);

const char *rt_tool_style_name(const rt_tool_style *style);
const char *rt_tool_style_families(const rt_tool_style *style);
/* All texts of its patterns: special tokens within them belong to the answer's text. */
gguf_str rt_tool_style_marks(const rt_tool_style *style);
/* Calls are written in a channel of their own (channels.h); grammars are of whole answers. */
bool rt_tool_style_is_channel(const rt_tool_style *style);

/* What opens a call, where a prompt ends in it, so that the answer goes on behind it; or an empty
 * text. It comes before the answer's own text to a parser. */
gguf_str rt_tool_style_begun(const rt_tool_style *style, const rt_tokenizer *tok,
                             const int32_t *prompt, size_t n);

/* What a model's template does with tools. */
typedef struct rt_tool_use {
    const rt_tool_style *style;
    bool generic;        /* the template knows no tools: rt_tool_messages tells of them */
    bool arguments_text; /* it wants the arguments of a call as a text, not as an object */
    bool shows_calls;    /* calls in a history come to be seen, in whatever form */
} rt_tool_use;

/* Render a call and see which style reads it back.
 *   variables  of the template beside messages and tools, an object; may be NULL
 * Errors: GGUF_E_NOMEM; a template that fails knows no tools. */
gguf_code rt_tool_probe(const rt_tool_styles *styles, const rt_template *tpl,
                        const json_t *variables, rt_tool_use *out, gguf_error *err);

/* Messages as the template wants them. For one that knows no tools, a text in the system message
 * tells of them, and calls and results become texts. Returns messages of its own, or NULL when out
 * of memory.
 *   tools  may be NULL: only calls and results are rewritten */
json_t *rt_tool_messages(const rt_tool_use *use, const json_t *messages, const json_t *tools);

/* Tools have names, each of them once, and schemas.
 * Errors: GGUF_E_FORMAT with the place in the list. */
gguf_code rt_tools_check(const json_t *tools, gguf_error *err);

/* ---- reading answers --------------------------------------------------------------------- */

typedef enum rt_call_event_kind {
    RT_CALL_TEXT,      /* text of the answer */
    RT_CALL_BEGIN,     /* a call: name, and id where the model gave one */
    RT_CALL_ARGUMENTS, /* the next part of its arguments; together they are a JSON object */
    RT_CALL_END
} rt_call_event_kind;

typedef struct rt_call_event {
    rt_call_event_kind kind;
    size_t index;  /* of the call */
    gguf_str text; /* of TEXT and ARGUMENTS */
    gguf_str name, id;
} rt_call_event;

typedef void (*rt_call_event_fn)(void *ctx, const rt_call_event *event);

/* Text in, events out; the events do not depend on how the text is divided, but for where theirs
 * are. What cannot be read as a call of one of the tools is text. */
typedef struct rt_call_parser {
    const rt_tool_style *style;
    const json_t *tools;
    bool streams; /* arguments are told while they are written: a call that breaks off then ends
                     with what there is of them */
    rt_call_event_fn event;
    void *ctx;
    gguf_dynbuf text;   /* that is not decided */
    size_t next_try;    /* bytes of it that are worth another try */
    size_t n_calls;     /* that are complete or have begun */
    size_t n_arguments; /* bytes of the current call's that were told */
    size_t n_broken;    /* sections that were not closed as they should be */
    bool in_section, in_call, spoke, trims;
} rt_call_parser;

/*   style, tools  kept by the caller until the end */
void rt_call_parser_init(rt_call_parser *p, const rt_tool_style *style, const json_t *tools,
                         bool streams, rt_call_event_fn event, void *ctx);
void rt_call_parser_clear(rt_call_parser *p); /* accepts a zeroed one */
/* Whole characters. */
void rt_call_parser_put(rt_call_parser *p, gguf_str text);
/* No more text comes. */
void rt_call_parser_end(rt_call_parser *p);
/* Text was lost: GGUF_E_NOMEM. */
gguf_code rt_call_parser_code(const rt_call_parser *p);

/* ---- holding answers --------------------------------------------------------------------- */

typedef struct rt_tool_demand {
    const json_t *tools;
    const char *named; /* only this one may be called; or NULL */
    bool required;     /* the answer is calls and nothing else; otherwise calls may stand in text */
    bool single;       /* one call at most */
} rt_tool_demand;

/* Answers whose calls have names and arguments that the tools admit.
 *   left_out  what is not enforced is appended to this list as texts such as
 *             "tools.f.parameters.uniqueItems"; a tool with "strict": true is refused instead
 * Errors: GGUF_E_UNSUPPORTED a keyword, with the tool and the place in its schema; GGUF_E_FORMAT,
 * GGUF_E_LIMIT, GGUF_E_NOMEM. */
gguf_code rt_grammar_tools(const rt_tool_style *style, const rt_tool_demand *demand,
                           json_t *left_out, rt_grammar **out, gguf_error *err);

#endif
