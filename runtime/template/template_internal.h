/* Shared by the lexer and the two halves of the parser. */
#ifndef RUNTIME_TEMPLATE_TEMPLATE_INTERNAL_H
#define RUNTIME_TEMPLATE_TEMPLATE_INTERNAL_H

#include "runtime/template/template_ast.h"

#include <stdarg.h>

typedef enum rt_template_token_kind {
    RT_TEMPLATE_TOK_NAME,
    RT_TEMPLATE_TOK_STRING, /* text: with quotes */
    RT_TEMPLATE_TOK_INT,
    RT_TEMPLATE_TOK_FLOAT,
    RT_TEMPLATE_TOK_OP,        /* text: the operator */
    RT_TEMPLATE_TOK_BLOCK_END, /* %} */
    RT_TEMPLATE_TOK_VAR_END    /* }} */
} rt_template_token_kind;

typedef struct rt_template_token {
    rt_template_token_kind kind;
    size_t off;
    gguf_str text;
} rt_template_token;

typedef struct rt_template_chunk {
    struct rt_template_chunk *next;
    size_t used, room;
    unsigned char bytes[];
} rt_template_chunk;

struct rt_template {
    char *source;
    size_t len;
    rt_tpl_node *root;
    rt_template_chunk *chunks;
};

typedef struct rt_template_parser {
    rt_template *tpl;
    const char *src;
    size_t len, pos;
    unsigned brackets;             /* open ones inside the tag */
    rt_template_token tok;         /* the current one */
    bool strip_next, trim_newline; /* of the text behind the last tag */
    unsigned depth, loops;
    unsigned links;      /* operators, calls and filters in a row inside the tag */
    rt_tpl_node scratch; /* stands in for nodes after a failure */
    gguf_code code;      /* of the first failure; from then on nothing advances */
    gguf_error *err;
} rt_template_parser;

/* ---- lexer ------------------------------------------------------------------------------------
 */

typedef enum rt_template_tag {
    RT_TEMPLATE_TAG_NONE,
    RT_TEMPLATE_TAG_BLOCK,
    RT_TEMPLATE_TAG_VAR
} rt_template_tag;

/* The text up to the next tag, stripped, and what the tag is; comments and raw blocks are handled.
 * The first token of the tag becomes current. RT_TEMPLATE_TAG_NONE at the end of the source. */
rt_template_tag rt_template_next_text(rt_template_parser *p, size_t *off, gguf_str *text);
void rt_template_next_token(rt_template_parser *p);
void *rt_template_alloc(rt_template_parser *p,
                        size_t n); /* zeroed; NULL with the failure recorded */
void rt_template_fail(rt_template_parser *p, gguf_code code, size_t off, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Record a failure with its line and column in front; returns code. */
gguf_code rt_template_report(gguf_error *err, gguf_code code, gguf_str source, size_t off,
                             const char *format, va_list args);
/* Resolve the escapes of a string token. */
gguf_str rt_template_unescape(rt_template_parser *p, rt_template_token tok);

/* ---- parser -----------------------------------------------------------------------------------
 */

rt_tpl_node *rt_template_node(rt_template_parser *p, rt_tpl_kind kind, size_t off);
bool rt_template_is_op(const rt_template_parser *p, const char *op);
bool rt_template_is_name(const rt_template_parser *p, const char *name);
bool rt_template_skip_op(rt_template_parser *p, const char *op); /* step over it if it is there */
bool rt_template_skip_name(rt_template_parser *p, const char *name);
void rt_template_expect_op(rt_template_parser *p, const char *op);
gguf_str rt_template_expect_name(rt_template_parser *p, const char *what);
bool rt_template_enter(rt_template_parser *p,
                       size_t off); /* one level deeper; false beyond the limit */
void rt_template_leave(rt_template_parser *p);
/* One more operator, call or filter behind another; fails beyond the limit. */
void rt_template_link(rt_template_parser *p);

/* Append to a list kept by a pointer to its last link. */
void rt_template_append(rt_tpl_node ***tail, rt_tpl_node *node);

rt_tpl_node *rt_template_parse_expression(rt_template_parser *p);
/* One expression, or several with commas as a tuple. stop: a name that ends the tuple, or NULL. */
rt_tpl_node *rt_template_parse_tuple(rt_template_parser *p, bool with_choice, const char *stop);
rt_tpl_node *rt_template_parse_target(rt_template_parser *p, bool with_attribute);
rt_tpl_node *rt_template_parse_call_args(rt_template_parser *p); /* behind "(" */
/* The filters behind `inner`: a name first if `inline_first`, otherwise bars and names. */
rt_tpl_node *rt_template_parse_filters(rt_template_parser *p, rt_tpl_node *inner,
                                       bool inline_first);
rt_tpl_node *rt_template_parse_params(rt_template_parser *p); /* behind "(" */

#endif
