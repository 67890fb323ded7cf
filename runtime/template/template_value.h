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
#define RT_TEMPLATE_SHOWN(s) (int)((s).len < 60 ? (s).len : 60), (s).ptr

typedef enum rt_template_kind {
    RT_TEMPLATE_MISSING, /* an argument that was not given */
    RT_TEMPLATE_UNDEFINED,
    RT_TEMPLATE_NONE,
    RT_TEMPLATE_BOOL,
    RT_TEMPLATE_INT,
    RT_TEMPLATE_FLOAT,
    RT_TEMPLATE_STRING,
    RT_TEMPLATE_LIST,
    RT_TEMPLATE_TUPLE,
    RT_TEMPLATE_ITER, /* what lazy filters give: can be walked through once */
    RT_TEMPLATE_DICT,
    RT_TEMPLATE_NAMESPACE,
    RT_TEMPLATE_MACRO,
    RT_TEMPLATE_LOOP,
    RT_TEMPLATE_FUNCTION,
    RT_TEMPLATE_CYCLER,
    RT_TEMPLATE_JOINER
} rt_template_kind;

typedef struct rt_template_list rt_template_list;
typedef struct rt_template_dict rt_template_dict;
typedef struct rt_template_macro rt_template_macro;
typedef struct rt_template_loop rt_template_loop;
typedef struct rt_template_method rt_template_method;

typedef struct rt_template_value {
    rt_template_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        gguf_str str;           /* also what is undefined, for messages */
        rt_template_list *list; /* list, tuple, iter, cycler, joiner */
        rt_template_dict *dict; /* dict, namespace */
        const rt_template_macro *macro;
        rt_template_loop *loop;
        const rt_template_method *method;
    } as;
} rt_template_value;

struct rt_template_list {
    rt_template_value *items;
    size_t n, room;
    size_t at; /* of a cycler */
};

typedef struct rt_template_entry {
    rt_template_value key, value;
} rt_template_entry;

struct rt_template_dict {
    rt_template_entry *entries;
    size_t n, room;
};

/* Arguments as they were written, then (argv) in the order of the parameters. */
#define RT_TEMPLATE_MAX_PARAMS 6

typedef struct rt_template_args {
    const rt_template_value *pos;
    size_t n;
    const rt_template_dict *named; /* may be NULL */
    rt_template_value argv[RT_TEMPLATE_MAX_PARAMS];
} rt_template_args;

typedef struct rt_template_eval rt_template_eval;

/* A filter, test, method or global function. */
typedef struct rt_template_function {
    const char *name;
    const char *params; /* names with commas; "*" takes any arguments as they are */
    unsigned n_required;
    rt_template_value (*call)(rt_template_eval *ev, rt_template_value self,
                              const rt_template_args *args);
} rt_template_function;

struct rt_template_method {
    const rt_template_function *fn;
    rt_template_value self;
};

typedef struct rt_template_scope {
    struct rt_template_scope *outer;
    rt_template_dict vars;
} rt_template_scope;

struct rt_template_macro {
    const rt_tpl_node *node;  /* RT_TPL_MACRO or RT_TPL_CALL_BLOCK */
    rt_template_scope *scope; /* where it was made */
};

struct rt_template_loop {
    const rt_tpl_node *node;
    rt_template_scope *scope; /* around it */
    rt_template_value *items;
    size_t n, at, depth;
    rt_template_value changed;
};

struct rt_template_eval {
    const rt_template *tpl;
    const struct tm *now;
    rt_template_scope *scope;
    gguf_dynbuf *out;
    size_t off; /* of the node at work, for messages */
    uint64_t steps_left;
    size_t memory_left;
    rt_template_chunk *chunks;
    unsigned depth;
    gguf_code code;
    gguf_error *err;
};

/* ---- evaluator -------------------------------------------------------------------------------
 */

void rt_template_raise(rt_template_eval *ev, gguf_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Zeroed memory, charged to the limit; NULL with the failure recorded. */
void *rt_template_new(rt_template_eval *ev, size_t n);
bool rt_template_step(rt_template_eval *ev, uint64_t n); /* false once something failed */
bool rt_template_deeper(
    rt_template_eval *ev); /* one level of calls more; rt_template_back in either case */
void rt_template_back(rt_template_eval *ev);

rt_template_value rt_template_expr(rt_template_eval *ev, const rt_tpl_node *node);
typedef enum rt_template_flow {
    RT_TEMPLATE_FLOW_NEXT,
    RT_TEMPLATE_FLOW_BREAK,
    RT_TEMPLATE_FLOW_CONTINUE
} rt_template_flow;
rt_template_flow rt_template_run(rt_template_eval *ev,
                                 const rt_tpl_node *node); /* a list of statements */
rt_template_value rt_template_run_captured(rt_template_eval *ev, const rt_tpl_node *body,
                                           rt_template_scope *outer);
/* Run the loop over a value as {% for %} and loop(...) do. */
void rt_template_run_loop(rt_template_eval *ev, const rt_tpl_node *node, rt_template_value over,
                          size_t depth);

rt_template_scope *rt_template_enter_scope(rt_template_eval *ev, rt_template_scope *outer);
bool rt_template_lookup(const rt_template_eval *ev, gguf_str name, rt_template_value *out);
void rt_template_assign(rt_template_eval *ev, const rt_tpl_node *target, rt_template_value value);

rt_template_value rt_template_call(rt_template_eval *ev, rt_template_value fn,
                                   const rt_template_args *args);
rt_template_value rt_template_call_macro(rt_template_eval *ev, const rt_template_macro *macro,
                                         const rt_template_args *args);
rt_template_value rt_template_call_function(rt_template_eval *ev, const rt_template_function *fn,
                                            rt_template_value self, rt_template_args args);
rt_template_value rt_template_filter(rt_template_eval *ev, gguf_str name, rt_template_value value,
                                     const rt_template_args *args);
bool rt_template_test(rt_template_eval *ev, gguf_str name, rt_template_value value,
                      const rt_template_args *args);
rt_template_value rt_template_binary(rt_template_eval *ev, rt_tpl_op op, rt_template_value a,
                                     rt_template_value b);
bool rt_template_compare(rt_template_eval *ev, rt_tpl_op op, rt_template_value a,
                         rt_template_value b);
rt_template_value rt_template_negate(rt_template_eval *ev, rt_tpl_op op, rt_template_value a);
rt_template_value rt_template_attribute(rt_template_eval *ev, rt_template_value obj, gguf_str name);
rt_template_value rt_template_item(rt_template_eval *ev, rt_template_value obj,
                                   rt_template_value key);
rt_template_value rt_template_slice(rt_template_eval *ev, rt_template_value obj,
                                    const rt_template_value part[3]); /* none: left out */

/* Tables; each ends with {0}. */
const rt_template_function *rt_template_find(const rt_template_function *table, gguf_str name);
extern const rt_template_function rt_template_string_filters[], rt_template_list_filters[],
    rt_template_tests[], rt_template_globals[];
extern const rt_template_function rt_template_string_methods[], rt_template_dict_methods[],
    rt_template_list_methods[], rt_template_loop_methods[], rt_template_float_methods[],
    rt_template_cycler_methods[];

/* ---- values ------------------------------------------------------------------------------- */

rt_template_value rt_template_undefined(gguf_str what);
rt_template_value rt_template_none(void);
rt_template_value rt_template_bool(bool value);
rt_template_value rt_template_int(int64_t value);
rt_template_value rt_template_float(double value);
rt_template_value rt_template_str(gguf_str text);
rt_template_value rt_template_copy_str(rt_template_eval *ev, const char *bytes, size_t n);
rt_template_value rt_template_text(const char *text); /* of static storage */
rt_template_value rt_template_taken(rt_template_eval *ev,
                                    gguf_dynbuf *buf); /* a string of it; clears it */
rt_template_value rt_template_list_new(rt_template_eval *ev, rt_template_kind kind);
void rt_template_push(rt_template_eval *ev, rt_template_value list, rt_template_value item);
rt_template_value rt_template_pair(rt_template_eval *ev, rt_template_value a,
                                   rt_template_value b); /* a tuple */
rt_template_value rt_template_dict_new(rt_template_eval *ev);
void rt_template_put(rt_template_eval *ev, rt_template_dict *dict, rt_template_value key,
                     rt_template_value value);
const rt_template_value *rt_template_get(rt_template_eval *ev, const rt_template_dict *dict,
                                         rt_template_value key);
const rt_template_value *rt_template_get_str(const rt_template_dict *dict, gguf_str key);
rt_template_value rt_template_from_json(rt_template_eval *ev, const json_t *json);

bool rt_template_given(rt_template_value v);     /* neither missing nor none */
bool rt_template_is_list(rt_template_value v);   /* list or tuple */
bool rt_template_is_number(rt_template_value v); /* bool, int or float */
bool rt_template_truth(rt_template_value v);
double rt_template_real(rt_template_value v);
int64_t rt_template_whole(rt_template_value v); /* of a bool or int */
bool rt_template_equal(rt_template_eval *ev, rt_template_value a, rt_template_value b);
int rt_template_order(rt_template_eval *ev, rt_template_value a,
                      rt_template_value b); /* fails for types without an order */
const char *rt_template_kind_name(rt_template_value v);
/* What a loop visits; fails if v cannot be walked through. */
rt_template_list rt_template_items(rt_template_eval *ev, rt_template_value v);
size_t rt_template_length(rt_template_eval *ev, rt_template_value v);
bool rt_template_contains(rt_template_eval *ev, rt_template_value in, rt_template_value what);

/* ---- text --------------------------------------------------------------------------------- */

void rt_template_buf_init(const rt_template_eval *ev, gguf_dynbuf *buf);
void rt_template_put_str(rt_template_eval *ev, gguf_dynbuf *buf,
                         rt_template_value v); /* as str() */
void rt_template_put_repr(rt_template_eval *ev, gguf_dynbuf *buf,
                          rt_template_value v); /* as repr() */
gguf_str rt_template_to_str(rt_template_eval *ev, rt_template_value v);
gguf_str rt_template_as_str(rt_template_eval *ev, rt_template_value v,
                            const char *who); /* fails for other types */
rt_template_value rt_template_to_json(rt_template_eval *ev, rt_template_value v,
                                      const rt_template_args *args);
size_t rt_template_char_len(const char *at,
                            size_t left); /* bytes of the character there; 1 if broken */
size_t rt_template_n_chars(gguf_str s);
size_t rt_template_char_offset(gguf_str s, size_t i); /* byte of the i-th character */
bool rt_template_starts(gguf_str s, gguf_str with);
size_t rt_template_find_str(gguf_str s, gguf_str what, size_t from); /* SIZE_MAX if absent */
gguf_str rt_template_strip(gguf_str s, const gguf_str *chars, bool left, bool right);
gguf_str rt_template_escape(rt_template_eval *ev, gguf_str s); /* for HTML */
gguf_str rt_template_replace(rt_template_eval *ev, gguf_str s, gguf_str old, gguf_str with,
                             int64_t count);
typedef enum rt_template_case {
    RT_TEMPLATE_UPPER,
    RT_TEMPLATE_LOWER,
    RT_TEMPLATE_CAPITALIZE,
    RT_TEMPLATE_TITLE,
    RT_TEMPLATE_FILTER_TITLE
} rt_template_case;
gguf_str rt_template_change_case(rt_template_eval *ev, gguf_str s, rt_template_case to);
bool rt_template_is_space(gguf_str ch);
rt_template_value rt_template_percent(rt_template_eval *ev, gguf_str format,
                                      rt_template_value args); /* format % args */
rt_template_value rt_template_format(rt_template_eval *ev, gguf_str format,
                                     const rt_template_args *args);
/* An argument as integer, or `otherwise` if it was not given. */
int64_t rt_template_int_arg(rt_template_eval *ev, rt_template_value v, int64_t otherwise);

#endif
