/* Shared by the lexer and the two halves of the parser. */
#ifndef RUNTIME_TEMPLATE_TEMPLATE_INTERNAL_H
#define RUNTIME_TEMPLATE_TEMPLATE_INTERNAL_H

#include "runtime/template/template_ast.h"

#include <stdarg.h>

typedef enum tpl_token_kind {
    TPL_TOK_NAME,
    TPL_TOK_STRING, /* text: with quotes */
    TPL_TOK_INT,
    TPL_TOK_FLOAT,
    TPL_TOK_OP,        /* text: the operator */
    TPL_TOK_BLOCK_END, /* %} */
    TPL_TOK_VAR_END    /* }} */
} tpl_token_kind;

typedef struct tpl_token {
    tpl_token_kind kind;
    size_t off;
    gguf_str text;
} tpl_token;

typedef struct tpl_chunk {
    struct tpl_chunk *next;
    size_t used, room;
    unsigned char bytes[];
} tpl_chunk;

struct rt_template {
    char *source;
    size_t len;
    rt_tpl_node *root;
    tpl_chunk *chunks;
};

typedef struct tpl_parser {
    rt_template *tpl;
    const char *src;
    size_t len, pos;
    unsigned brackets;             /* open ones inside the tag */
    tpl_token tok;                 /* the current one */
    bool strip_next, trim_newline; /* of the text behind the last tag */
    unsigned depth, loops;
    unsigned links;      /* operators, calls and filters in a row inside the tag */
    rt_tpl_node scratch; /* stands in for nodes after a failure */
    gguf_code code;      /* of the first failure; from then on nothing advances */
    gguf_error *err;
} tpl_parser;

/* ---- lexer ------------------------------------------------------------------------------------
 */

typedef enum tpl_tag { TPL_TAG_NONE, TPL_TAG_BLOCK, TPL_TAG_VAR } tpl_tag;

/* The text up to the next tag, stripped, and what the tag is; comments and raw blocks are handled.
 * The first token of the tag becomes current. TPL_TAG_NONE at the end of the source. */
tpl_tag tpl_next_text(tpl_parser *p, size_t *off, gguf_str *text);
void tpl_next_token(tpl_parser *p);
void *tpl_alloc(tpl_parser *p, size_t n); /* zeroed; NULL with the failure recorded */
void tpl_fail(tpl_parser *p, gguf_code code, size_t off, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Record a failure with its line and column in front; returns code. */
gguf_code tpl_report(gguf_error *err, gguf_code code, gguf_str source, size_t off,
                     const char *format, va_list args);
/* Resolve the escapes of a string token. */
gguf_str tpl_unescape(tpl_parser *p, tpl_token tok);

/* ---- parser -----------------------------------------------------------------------------------
 */

rt_tpl_node *tpl_node(tpl_parser *p, rt_tpl_kind kind, size_t off);
bool tpl_is_op(const tpl_parser *p, const char *op);
bool tpl_is_name(const tpl_parser *p, const char *name);
bool tpl_skip_op(tpl_parser *p, const char *op); /* step over it if it is there */
bool tpl_skip_name(tpl_parser *p, const char *name);
void tpl_expect_op(tpl_parser *p, const char *op);
gguf_str tpl_expect_name(tpl_parser *p, const char *what);
bool tpl_enter(tpl_parser *p, size_t off); /* one level deeper; false beyond the limit */
void tpl_leave(tpl_parser *p);
/* One more operator, call or filter behind another; fails beyond the limit. */
void tpl_link(tpl_parser *p);

/* Append to a list kept by a pointer to its last link. */
void tpl_append(rt_tpl_node ***tail, rt_tpl_node *node);

rt_tpl_node *tpl_parse_expression(tpl_parser *p);
/* One expression, or several with commas as a tuple. stop: a name that ends the tuple, or NULL. */
rt_tpl_node *tpl_parse_tuple(tpl_parser *p, bool with_choice, const char *stop);
rt_tpl_node *tpl_parse_target(tpl_parser *p, bool with_attribute);
rt_tpl_node *tpl_parse_call_args(tpl_parser *p); /* behind "(" */
/* The filters behind `inner`: a name first if `inline_first`, otherwise bars and names. */
rt_tpl_node *tpl_parse_filters(tpl_parser *p, rt_tpl_node *inner, bool inline_first);
rt_tpl_node *tpl_parse_params(tpl_parser *p); /* behind "(" */

#endif
