/* Values of a template while it is rendered, and the evaluator that all its parts share.
 *
 * Values live in an arena that is freed when the rendering ends. The first failure sticks: from
 * then on expressions are undefined and statements do nothing. */
#ifndef RUNTIME_TEMPLATE_TEMPLATE_VALUE_H
#define RUNTIME_TEMPLATE_TEMPLATE_VALUE_H

#include "libgguf/dynbuf.h"
#include "runtime/template/template.h"
#include "runtime/template/template_internal.h"

/* For "%.*s". */
#define TPL_SHOWN(s) (int)((s).len < 60 ? (s).len : 60), (s).ptr

typedef enum tpl_kind {
    TPL_MISSING, /* an argument that was not given */
    TPL_UNDEFINED,
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_LIST,
    TPL_TUPLE,
    TPL_ITER, /* what lazy filters give: can be walked through once */
    TPL_DICT,
    TPL_NAMESPACE,
    TPL_MACRO,
    TPL_LOOP,
    TPL_FUNCTION,
    TPL_CYCLER,
    TPL_JOINER
} tpl_kind;

typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_macro tpl_macro;
typedef struct tpl_loop tpl_loop;
typedef struct tpl_method tpl_method;

typedef struct tpl_value {
    tpl_kind kind;
    bool safe; /* of a string: markup, as the filters safe and escape give it */
    union {
        bool boolean;
        int64_t integer;
        double real;
        gguf_str str;   /* also what is undefined, for messages */
        tpl_list *list; /* list, tuple, iter, cycler, joiner */
        tpl_dict *dict; /* dict, namespace */
        const tpl_macro *macro;
        tpl_loop *loop;
        const tpl_method *method;
    } as;
} tpl_value;

struct tpl_list {
    tpl_value *items;
    size_t n, room;
    size_t at; /* of a cycler */
};

typedef struct tpl_entry {
    tpl_value key, value;
} tpl_entry;

struct tpl_dict {
    tpl_entry *entries;
    size_t n, room;
};

/* Arguments as they were written, then (argv) in the order of the parameters. */
#define TPL_MAX_PARAMS 6

typedef struct tpl_args {
    const tpl_value *pos;
    size_t n;
    const tpl_dict *named; /* may be NULL */
    tpl_value argv[TPL_MAX_PARAMS];
} tpl_args;

typedef struct tpl_eval tpl_eval;

/* A filter, test, method or global function. */
typedef struct tpl_function {
    const char *name;
    const char *params; /* names with commas; "*" takes any arguments as they are */
    unsigned n_required;
    tpl_value (*call)(tpl_eval *ev, tpl_value self, const tpl_args *args);
} tpl_function;

struct tpl_method {
    const tpl_function *fn;
    tpl_value self;
};

typedef struct tpl_scope {
    struct tpl_scope *outer;
    tpl_dict vars;
} tpl_scope;

struct tpl_macro {
    const rt_tpl_node *node; /* RT_TPL_MACRO or RT_TPL_CALL_BLOCK */
    tpl_scope *scope;        /* where it was made */
};

struct tpl_loop {
    const rt_tpl_node *node;
    tpl_scope *scope; /* around it */
    tpl_value *items;
    size_t n, at, depth;
    tpl_value changed;
};

struct tpl_eval {
    const rt_template *tpl;
    const struct tm *now;
    tpl_scope *scope;
    gguf_dynbuf *out;
    size_t off; /* of the node at work, for messages */
    uint64_t steps_left;
    size_t memory_left;
    tpl_chunk *chunks;
    unsigned depth;
    gguf_code code;
    gguf_error *err;
};

/* ---- evaluator -------------------------------------------------------------------------------
 */

void tpl_raise(tpl_eval *ev, gguf_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Zeroed memory, charged to the limit; NULL with the failure recorded. */
void *tpl_new(tpl_eval *ev, size_t n);
bool tpl_step(tpl_eval *ev, uint64_t n); /* false once something failed */
bool tpl_deeper(tpl_eval *ev);           /* one level of calls more; tpl_back in either case */
void tpl_back(tpl_eval *ev);

tpl_value tpl_expr(tpl_eval *ev, const rt_tpl_node *node);
typedef enum tpl_flow { TPL_FLOW_NEXT, TPL_FLOW_BREAK, TPL_FLOW_CONTINUE } tpl_flow;
tpl_flow tpl_run(tpl_eval *ev, const rt_tpl_node *node); /* a list of statements */
tpl_value tpl_run_captured(tpl_eval *ev, const rt_tpl_node *body, tpl_scope *outer);
/* Run the loop over a value as {% for %} and loop(...) do. */
void tpl_run_loop(tpl_eval *ev, const rt_tpl_node *node, tpl_value over, size_t depth);

tpl_scope *tpl_enter_scope(tpl_eval *ev, tpl_scope *outer);
bool tpl_lookup(const tpl_eval *ev, gguf_str name, tpl_value *out);
void tpl_assign(tpl_eval *ev, const rt_tpl_node *target, tpl_value value);

tpl_value tpl_call(tpl_eval *ev, tpl_value fn, const tpl_args *args);
tpl_value tpl_call_macro(tpl_eval *ev, const tpl_macro *macro, const tpl_args *args);
tpl_value tpl_call_function(tpl_eval *ev, const tpl_function *fn, tpl_value self, tpl_args args);
tpl_value tpl_filter(tpl_eval *ev, gguf_str name, tpl_value value, const tpl_args *args);
bool tpl_test(tpl_eval *ev, gguf_str name, tpl_value value, const tpl_args *args);
tpl_value tpl_binary(tpl_eval *ev, rt_tpl_op op, tpl_value a, tpl_value b);
bool tpl_compare(tpl_eval *ev, rt_tpl_op op, tpl_value a, tpl_value b);
tpl_value tpl_negate(tpl_eval *ev, rt_tpl_op op, tpl_value a);
tpl_value tpl_attribute(tpl_eval *ev, tpl_value obj, gguf_str name);
tpl_value tpl_item(tpl_eval *ev, tpl_value obj, tpl_value key);
tpl_value tpl_slice(tpl_eval *ev, tpl_value obj, const tpl_value part[3]); /* none: left out */

/* Tables; each ends with {0}. */
const tpl_function *tpl_find(const tpl_function *table, gguf_str name);
extern const tpl_function tpl_string_filters[], tpl_list_filters[], tpl_tests[], tpl_globals[];
extern const tpl_function tpl_string_methods[], tpl_dict_methods[], tpl_list_methods[],
    tpl_loop_methods[], tpl_float_methods[], tpl_cycler_methods[];

/* ---- values ------------------------------------------------------------------------------- */

tpl_value tpl_undefined(gguf_str what);
tpl_value tpl_none(void);
tpl_value tpl_bool(bool value);
tpl_value tpl_int(int64_t value);
tpl_value tpl_float(double value);
tpl_value tpl_str(gguf_str text);
tpl_value tpl_copy_str(tpl_eval *ev, const char *bytes, size_t n);
tpl_value tpl_text(const char *text);                /* of static storage */
tpl_value tpl_taken(tpl_eval *ev, gguf_dynbuf *buf); /* a string of it; clears it */
tpl_value tpl_list_new(tpl_eval *ev, tpl_kind kind);
void tpl_push(tpl_eval *ev, tpl_value list, tpl_value item);
tpl_value tpl_pair(tpl_eval *ev, tpl_value a, tpl_value b); /* a tuple */
tpl_value tpl_dict_new(tpl_eval *ev);
void tpl_put(tpl_eval *ev, tpl_dict *dict, tpl_value key, tpl_value value);
const tpl_value *tpl_get(tpl_eval *ev, const tpl_dict *dict, tpl_value key);
const tpl_value *tpl_get_str(const tpl_dict *dict, gguf_str key);
tpl_value tpl_from_json(tpl_eval *ev, const json_t *json);

bool tpl_given(tpl_value v);     /* neither missing nor none */
bool tpl_is_list(tpl_value v);   /* list or tuple */
bool tpl_is_number(tpl_value v); /* bool, int or float */
bool tpl_truth(tpl_value v);
double tpl_real(tpl_value v);
int64_t tpl_whole(tpl_value v); /* of a bool or int */
bool tpl_equal(tpl_eval *ev, tpl_value a, tpl_value b);
int tpl_order(tpl_eval *ev, tpl_value a, tpl_value b); /* fails for types without an order */
const char *tpl_kind_name(tpl_value v);
/* What a loop visits; fails if v cannot be walked through. */
tpl_list tpl_items(tpl_eval *ev, tpl_value v);
size_t tpl_length(tpl_eval *ev, tpl_value v);
bool tpl_contains(tpl_eval *ev, tpl_value in, tpl_value what);

/* ---- text --------------------------------------------------------------------------------- */

void tpl_buf_init(const tpl_eval *ev, gguf_dynbuf *buf);
void tpl_put_str(tpl_eval *ev, gguf_dynbuf *buf, tpl_value v);  /* as str() */
void tpl_put_repr(tpl_eval *ev, gguf_dynbuf *buf, tpl_value v); /* as repr() */
gguf_str tpl_to_str(tpl_eval *ev, tpl_value v);
gguf_str tpl_as_str(tpl_eval *ev, tpl_value v, const char *who); /* fails for other types */
tpl_value tpl_to_json(tpl_eval *ev, tpl_value v, const tpl_args *args);
size_t tpl_char_len(const char *at, size_t left); /* bytes of the character there; 1 if broken */
size_t tpl_n_chars(gguf_str s);
size_t tpl_char_offset(gguf_str s, size_t i); /* byte of the i-th character */
bool tpl_starts(gguf_str s, gguf_str with);
size_t tpl_find_str(gguf_str s, gguf_str what, size_t from); /* SIZE_MAX if absent */
gguf_str tpl_strip(gguf_str s, const gguf_str *chars, bool left, bool right);
tpl_value tpl_escape(tpl_eval *ev, tpl_value v); /* for HTML; markup stays as it is */
gguf_str tpl_replace(tpl_eval *ev, gguf_str s, gguf_str old, gguf_str with, int64_t count);
typedef enum tpl_case {
    TPL_UPPER,
    TPL_LOWER,
    TPL_CAPITALIZE,
    TPL_TITLE,
    TPL_FILTER_TITLE
} tpl_case;
gguf_str tpl_change_case(tpl_eval *ev, gguf_str s, tpl_case to);
bool tpl_is_space(gguf_str ch);
tpl_value tpl_percent(tpl_eval *ev, gguf_str format, tpl_value args); /* format % args */
tpl_value tpl_format(tpl_eval *ev, gguf_str format, const tpl_args *args);
/* An argument as integer, or `otherwise` if it was not given. */
int64_t tpl_int_arg(tpl_eval *ev, tpl_value v, int64_t otherwise);

#endif
