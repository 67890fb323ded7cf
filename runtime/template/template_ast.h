/* Chat templates as syntax trees: the part of the Jinja language that published templates use.
 *
 * White space follows what chat templates are written for: the newline behind a statement or a
 * comment and the indentation before it are dropped, `-` strips further, `+` keeps, and one newline
 * at the end of the source is ignored. Text nodes are already stripped.
 * Limits: 1 MiB of source, 200 levels of nesting, 2000 operators in one tag. template.h evaluates
 * them. */
#ifndef RUNTIME_TEMPLATE_TEMPLATE_AST_H
#define RUNTIME_TEMPLATE_TEMPLATE_AST_H

#include "libgguf/gguf.h"

#define RT_TPL_MAX_BYTES ((size_t)1 << 20)
#define RT_TPL_MAX_DEPTH 200
#define RT_TPL_MAX_LINKS 2000 /* operators, calls and filters in one tag */

typedef enum rt_tpl_kind {
    /* Expressions. Lists (args, body, orelse) are linked by `next`. */
    RT_TPL_NAME,      /* text */
    RT_TPL_STRING,    /* text, escapes resolved */
    RT_TPL_INT,       /* integer */
    RT_TPL_FLOAT,     /* real */
    RT_TPL_BOOL,      /* integer: 0 or 1 */
    RT_TPL_NONE,      /* */
    RT_TPL_LIST,      /* args */
    RT_TPL_TUPLE,     /* args */
    RT_TPL_DICT,      /* args: pairs */
    RT_TPL_PAIR,      /* a: b */
    RT_TPL_UNARY,     /* op a */
    RT_TPL_BINARY,    /* a op b */
    RT_TPL_COMPARE,   /* a, then args: operands; all must hold */
    RT_TPL_OPERAND,   /* op a, of a comparison */
    RT_TPL_ATTRIBUTE, /* a.text */
    RT_TPL_INDEX,     /* a[b] */
    RT_TPL_SLICE,     /* a:b:c inside an index; each may be NULL */
    RT_TPL_CALL,      /* a(args) */
    RT_TPL_KEYWORD,   /* text=a, an argument */
    RT_TPL_SPREAD,    /* *a, or **a if integer is 2 */
    RT_TPL_FILTER,    /* a|text(args); a is NULL at the start of a filter block */
    RT_TPL_TEST,      /* a is text(args); not, if integer is 1 */
    RT_TPL_CHOICE,    /* b if a else c; c may be NULL */
    /* Statements. */
    RT_TPL_TEXT,         /* text */
    RT_TPL_OUTPUT,       /* {{ a }} */
    RT_TPL_FOR,          /* for a in b if c: body, else orelse; recursive if integer is 1 */
    RT_TPL_IF,           /* if a: body, else orelse; an elif is an RT_TPL_IF in orelse */
    RT_TPL_SET,          /* a = b, or a = body through the filters c if b is NULL */
    RT_TPL_MACRO,        /* text(args): body */
    RT_TPL_PARAM,        /* text=a, a may be NULL */
    RT_TPL_CALL_BLOCK,   /* call(args) a: body */
    RT_TPL_FILTER_BLOCK, /* body through the filters a */
    RT_TPL_WITH,         /* args: pairs of target and value; body */
    RT_TPL_GENERATION,   /* body: what the assistant wrote */
    RT_TPL_BREAK,        /* */
    RT_TPL_CONTINUE      /* */
} rt_tpl_kind;

typedef enum rt_tpl_op {
    RT_TPL_OP_NONE,
    RT_TPL_OP_OR,
    RT_TPL_OP_AND,
    RT_TPL_OP_NOT,
    RT_TPL_OP_EQ,
    RT_TPL_OP_NE,
    RT_TPL_OP_LT,
    RT_TPL_OP_LE,
    RT_TPL_OP_GT,
    RT_TPL_OP_GE,
    RT_TPL_OP_IN,
    RT_TPL_OP_NOT_IN,
    RT_TPL_OP_ADD, /* unary: plus */
    RT_TPL_OP_SUB, /* unary: minus */
    RT_TPL_OP_CONCAT,
    RT_TPL_OP_MUL,
    RT_TPL_OP_DIV,
    RT_TPL_OP_FLOORDIV,
    RT_TPL_OP_MOD,
    RT_TPL_OP_POW
} rt_tpl_op;

typedef struct rt_tpl_node {
    rt_tpl_kind kind;
    rt_tpl_op op;
    size_t off; /* byte in the source */
    gguf_str text;
    int64_t integer;
    double real;
    struct rt_tpl_node *a, *b, *c;
    struct rt_tpl_node *args, *body, *orelse;
    struct rt_tpl_node *next;
} rt_tpl_node;

typedef struct rt_template rt_template;

/* Parse a template; the source is copied.
 * Errors: GGUF_E_FORMAT with "line L, column C: ..." and the byte in the source as offset;
 * GGUF_E_LIMIT (size, nesting, numbers beyond 64 bits); GGUF_E_NOMEM.
 * Memory: freed with rt_template_free. */
gguf_code rt_template_parse(gguf_str source, rt_template **out, gguf_error *err);
void rt_template_free(rt_template *tpl); /* accepts NULL */

/* The first statement, or NULL. Valid until rt_template_free. */
const rt_tpl_node *rt_template_root(const rt_template *tpl);
gguf_str rt_template_source(const rt_template *tpl); /* valid as long as the template */

/* Line and column, from 1; columns count bytes. */
void rt_template_position(gguf_str source, size_t off, unsigned *line, unsigned *column);

/* Call fn for everything in a template that reaches for the interpreter behind it: names of two
 * underscores, and attributes known from escapes out of sandboxes. */
typedef void (*rt_template_lint_fn)(void *ctx, size_t off, const char *what, gguf_str name);
void rt_template_lint(const rt_template *tpl, rt_template_lint_fn fn, void *ctx);

#endif
