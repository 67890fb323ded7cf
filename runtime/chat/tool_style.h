/* Styles of calls as their patterns divide into pieces, and reading such pieces. */
#ifndef RUNTIME_CHAT_TOOL_STYLE_H
#define RUNTIME_CHAT_TOOL_STYLE_H

#include "runtime/chat/tools.h"

typedef enum tool_slot {
    TOOL_TEXT, /* a text as it is */
    TOOL_NAME,
    TOOL_ID,
    TOOL_ARGUMENTS,
    TOOL_OBJECT,
    TOOL_PARAMETERS,
    TOOL_KEYWORDS,
    TOOL_BARE,
    TOOL_ANY,
    TOOL_KEY,
    TOOL_TYPE,
    TOOL_VALUE
} tool_slot;

typedef struct tool_piece {
    tool_slot slot;
    gguf_str text; /* of TOOL_TEXT; it begins and ends without white space where a value is near */
    bool newline_before, newline_behind; /* of TOOL_VALUE: one stands there */
} tool_piece;

#define TOOL_MAX_PIECES 16
#define TOOL_MAX_ALSO   4

typedef struct tool_pattern {
    tool_piece pieces[TOOL_MAX_PIECES]; /* [n]; none: the pattern is empty */
    size_t n;
} tool_pattern;

struct rt_tool_style {
    const char *name, *families;
    tool_pattern calls[1 + TOOL_MAX_ALSO]; /* [n_calls]; the first one is asked for */
    size_t n_calls;
    tool_pattern parameter;
    const char *item; /* the key of elements where values nest as parameters; or NULL */
    gguf_str section_open, section_close, separator; /* empty: there is none */
    const char *name_key, *arguments_key, *id_key;   /* id_key may be NULL */
    const char *id_form;                             /* an expression that ids match */
    gguf_str quote;
    gguf_str drop[TOOL_MAX_ALSO];
    size_t n_drop;
    bool start, single, id_first;
    char *marks;
};

/* The text that opens a call by itself; empty: there is none. */
gguf_str tool_opening(const rt_tool_style *style);

/* A call begins the answer, and with the name of a tool. */
bool tool_begins_with_name(const rt_tool_style *style);

/* Whether a text fits: NO, it may once there is more of it, or YES. */
typedef enum tool_fit { TOOL_NO, TOOL_MORE, TOOL_YES } tool_fit;

/* A text that is read from `at`; a fit moves it behind what fits. */
typedef struct tool_cursor {
    const char *text;
    size_t n, at;
} tool_cursor;

void tool_skip_space(tool_cursor *c);
/* The text of a pattern: its white space stands for any. */
tool_fit tool_fit_text(tool_cursor *c, gguf_str text);
/* A JSON value, whose brackets and strings are followed. */
tool_fit tool_fit_json(tool_cursor *c);
/* A value as Python or Gemma write it; out gets it as JSON, as far as it goes.
 *   quote  what stands around texts beside ' and "; may be empty */
tool_fit tool_fit_literal(tool_cursor *c, gguf_str quote, gguf_dynbuf *out);
/* Append a text as it stands in a JSON string, without quotes. */
void tool_put_escaped(gguf_dynbuf *out, const char *text, size_t n);
/* {"name", "parameters"} of a tool, or NULL. */
const json_t *tool_find(const json_t *tools, const char *name, size_t n);
/* Whether a text begins with the name of a tool, behind which a word ends, or is the beginning of
 * one.
 */
bool tool_begins_name(const json_t *tools, const char *text, size_t n);
/* Whether a schema's values are texts and nothing else. */
bool tool_is_text(const json_t *schema);

/* A call while it is read. Start as {0} with buffers; clear frees. */
typedef struct tool_call {
    gguf_dynbuf name, id;
    gguf_dynbuf arguments; /* JSON, as far as it is certain */
    bool is_named;         /* the name is complete, and one of the tools */
} tool_call;

void tool_call_init(tool_call *call);
void tool_call_clear(tool_call *call);
/* Read one call; `call` is begun anew. */
tool_fit tool_fit_call(const rt_tool_style *style, const tool_pattern *pattern, const json_t *tools,
                       tool_cursor *c, tool_call *call);

#endif
