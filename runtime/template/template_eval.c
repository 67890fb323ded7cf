/* Evaluating expressions: names, calls, filters, tests. */
#include "runtime/template/template_value.h"

#include <string.h>

/* ---- scopes ------------------------------------------------------------------------------ */

rt_template_scope *rt_template_enter_scope(rt_template_eval *ev, rt_template_scope *outer) {
    rt_template_scope *scope = rt_template_new(ev, sizeof *scope);
    if (!scope) return outer;
    scope->outer = outer;
    return ev->scope = scope;
}

bool rt_template_lookup(const rt_template_eval *ev, gguf_str name, rt_template_value *out) {
    for (const rt_template_scope *scope = ev->scope; scope; scope = scope->outer) {
        const rt_template_value *found = rt_template_get_str(&scope->vars, name);
        if (found) return *out = *found, true;
    }
    return false;
}

static rt_template_value function_value(rt_template_eval *ev, const rt_template_function *fn) {
    rt_template_method *method = rt_template_new(ev, sizeof *method);
    if (!method) return rt_template_none();
    *method = (rt_template_method){fn, rt_template_none()};
    return (rt_template_value){.kind = RT_TEMPLATE_FUNCTION, .as.method = method};
}

static rt_template_value name_value(rt_template_eval *ev, gguf_str name) {
    rt_template_value out = rt_template_undefined(name);
    if (rt_template_lookup(ev, name, &out)) return out;
    const rt_template_function *fn = rt_template_find(rt_template_globals, name);
    return fn ? function_value(ev, fn) : out;
}

/* ---- arguments --------------------------------------------------------------------------- */

static void spread(rt_template_eval *ev, const rt_tpl_node *node, rt_template_value pos,
                   rt_template_dict *named) {
    rt_template_value v = rt_template_expr(ev, node->a);
    if (node->integer != 2) {
        rt_template_list items = rt_template_items(ev, v);
        for (size_t i = 0; i < items.n; i++) rt_template_push(ev, pos, items.items[i]);
        return;
    }
    if (v.kind != RT_TEMPLATE_DICT) rt_template_raise(ev, GGUF_E_FORMAT, "'**' needs a dict");
    for (size_t i = 0; !ev->code && i < v.as.dict->n; i++)
        rt_template_put(ev, named, v.as.dict->entries[i].key, v.as.dict->entries[i].value);
}

static rt_template_args arguments(rt_template_eval *ev, const rt_tpl_node *nodes) {
    rt_template_args out = {0};
    if (!nodes) return out;
    rt_template_value pos = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    rt_template_value named = rt_template_dict_new(ev);
    for (const rt_tpl_node *node = nodes; node && !ev->code; node = node->next) {
        if (node->kind == RT_TPL_SPREAD)
            spread(ev, node, pos, named.as.dict);
        else if (node->kind == RT_TPL_KEYWORD)
            rt_template_put(ev, named.as.dict, rt_template_str(node->text),
                            rt_template_expr(ev, node->a));
        else
            rt_template_push(ev, pos, rt_template_expr(ev, node));
    }
    if (ev->code) return out;
    out.pos = pos.as.list->items;
    out.n = pos.as.list->n;
    out.named = named.as.dict->n ? named.as.dict : NULL;
    return out;
}

/* Which parameter a name is; -1 for none. */
static int param_index(const char *params, gguf_str name) {
    for (int i = 0; *params; i++) {
        size_t n = strcspn(params, ",");
        if (n == name.len && memcmp(params, name.ptr, n) == 0) return i;
        params += n + (params[n] == ',');
    }
    return -1;
}

static size_t param_count(const char *params) {
    size_t n = *params != '\0';
    for (; *params; params++) n += *params == ',';
    return n;
}

rt_template_value rt_template_call_function(rt_template_eval *ev, const rt_template_function *fn,
                                            rt_template_value self, rt_template_args args) {
    if (ev->code) return rt_template_none();
    if (strcmp(fn->params, "*") == 0) return fn->call(ev, self, &args);
    size_t n_params = param_count(fn->params);
    if (args.n > n_params)
        rt_template_raise(ev, GGUF_E_FORMAT, "'%s' takes at most %zu arguments", fn->name,
                          n_params);
    for (size_t i = 0; i < args.n && i < n_params; i++) args.argv[i] = args.pos[i];
    for (size_t i = 0; args.named && i < args.named->n && !ev->code; i++) {
        gguf_str name = rt_template_as_str(ev, args.named->entries[i].key, "an argument's name");
        int at = ev->code ? -1 : param_index(fn->params, name);
        if (at < 0 || args.argv[at].kind != RT_TEMPLATE_MISSING)
            rt_template_raise(ev, GGUF_E_FORMAT, "'%s' does not take '%.*s'", fn->name,
                              RT_TEMPLATE_SHOWN(name));
        else
            args.argv[at] = args.named->entries[i].value;
    }
    for (size_t i = 0; i < fn->n_required; i++)
        if (args.argv[i].kind == RT_TEMPLATE_MISSING)
            rt_template_raise(ev, GGUF_E_FORMAT, "'%s' needs %u arguments", fn->name,
                              fn->n_required);
    return ev->code ? rt_template_none() : fn->call(ev, self, &args);
}

/* ---- calls ------------------------------------------------------------------------------- */

const rt_template_function *rt_template_find(const rt_template_function *table, gguf_str name) {
    for (; table->name; table++)
        if (gguf_str_eq(name, table->name)) return table;
    return NULL;
}

static rt_template_value call_loop(rt_template_eval *ev, rt_template_loop *loop,
                                   const rt_template_args *args) {
    gguf_dynbuf buf, *out = ev->out;
    rt_template_scope *scope = ev->scope;
    if (!loop->node->integer) rt_template_raise(ev, GGUF_E_FORMAT, "this loop is not recursive");
    if (args->n != 1 || args->named)
        rt_template_raise(ev, GGUF_E_FORMAT, "'loop' takes one argument");
    if (ev->code) return rt_template_none();
    rt_template_buf_init(ev, &buf);
    ev->out = &buf;
    ev->scope = loop->scope;
    rt_template_run_loop(ev, loop->node, args->pos[0], loop->depth + 1);
    ev->scope = scope;
    ev->out = out;
    return rt_template_taken(ev, &buf);
}

static rt_template_value call_joiner(rt_template_eval *ev, rt_template_list *joiner) {
    (void)ev;
    return joiner->at++ ? joiner->items[0] : rt_template_text("");
}

rt_template_value rt_template_call(rt_template_eval *ev, rt_template_value fn,
                                   const rt_template_args *args) {
    if (ev->code) return rt_template_none();
    switch (fn.kind) {
    case RT_TEMPLATE_FUNCTION:
        return rt_template_call_function(ev, fn.as.method->fn, fn.as.method->self, *args);
    case RT_TEMPLATE_MACRO:
        return rt_template_call_macro(ev, fn.as.macro, args);
    case RT_TEMPLATE_LOOP:
        return call_loop(ev, fn.as.loop, args);
    case RT_TEMPLATE_JOINER:
        return call_joiner(ev, fn.as.list);
    case RT_TEMPLATE_UNDEFINED:
        rt_template_raise(ev, GGUF_E_FORMAT, "'%.*s' is undefined", RT_TEMPLATE_SHOWN(fn.as.str));
        return rt_template_none();
    default:
        rt_template_raise(ev, GGUF_E_FORMAT, "%s cannot be called", rt_template_kind_name(fn));
        return rt_template_none();
    }
}

rt_template_value rt_template_filter(rt_template_eval *ev, gguf_str name, rt_template_value value,
                                     const rt_template_args *args) {
    const rt_template_function *fn = rt_template_find(rt_template_string_filters, name);
    if (!fn) fn = rt_template_find(rt_template_list_filters, name);
    if (!fn)
        rt_template_raise(ev, GGUF_E_FORMAT, "there is no filter '%.*s'", RT_TEMPLATE_SHOWN(name));
    return fn ? rt_template_call_function(ev, fn, value, *args) : rt_template_none();
}

bool rt_template_test(rt_template_eval *ev, gguf_str name, rt_template_value value,
                      const rt_template_args *args) {
    const rt_template_function *fn = rt_template_find(rt_template_tests, name);
    if (!fn)
        rt_template_raise(ev, GGUF_E_FORMAT, "there is no test '%.*s'", RT_TEMPLATE_SHOWN(name));
    return fn && rt_template_truth(rt_template_call_function(ev, fn, value, *args));
}

/* ---- expressions ------------------------------------------------------------------------- */

static rt_template_value list_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value out =
        rt_template_list_new(ev, node->kind == RT_TPL_LIST ? RT_TEMPLATE_LIST : RT_TEMPLATE_TUPLE);
    for (const rt_tpl_node *item = node->args; item && !ev->code; item = item->next)
        rt_template_push(ev, out, rt_template_expr(ev, item));
    return out;
}

static rt_template_value dict_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value out = rt_template_dict_new(ev);
    for (const rt_tpl_node *pair = node->args; pair && !ev->code; pair = pair->next) {
        rt_template_value key = rt_template_expr(ev, pair->a);
        rt_template_value value = rt_template_expr(ev, pair->b);
        if (!ev->code) rt_template_put(ev, out.as.dict, key, value);
    }
    return out;
}

static rt_template_value binary_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value a = rt_template_expr(ev, node->a);
    if (node->op == RT_TPL_OP_OR) return rt_template_truth(a) ? a : rt_template_expr(ev, node->b);
    if (node->op == RT_TPL_OP_AND) return rt_template_truth(a) ? rt_template_expr(ev, node->b) : a;
    rt_template_value b = rt_template_expr(ev, node->b);
    ev->off = node->off;
    return rt_template_binary(ev, node->op, a, b);
}

static rt_template_value compare_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value a = rt_template_expr(ev, node->a);
    for (const rt_tpl_node *operand = node->args; operand && !ev->code; operand = operand->next) {
        rt_template_value b = rt_template_expr(ev, operand->a);
        ev->off = operand->off;
        if (ev->code || !rt_template_compare(ev, operand->op, a, b)) return rt_template_bool(false);
        a = b;
    }
    return rt_template_bool(true);
}

static rt_template_value index_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value obj = rt_template_expr(ev, node->a), part[3];
    if (node->b->kind != RT_TPL_SLICE) {
        rt_template_value key = rt_template_expr(ev, node->b);
        ev->off = node->off;
        return ev->code ? obj : rt_template_item(ev, obj, key);
    }
    const rt_tpl_node *const parts[] = {node->b->a, node->b->b, node->b->c};
    for (int i = 0; i < 3; i++)
        part[i] = parts[i] ? rt_template_expr(ev, parts[i]) : rt_template_none();
    ev->off = node->off;
    return ev->code ? obj : rt_template_slice(ev, obj, part);
}

static rt_template_value call_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value fn = rt_template_expr(ev, node->a);
    rt_template_args args = arguments(ev, node->args);
    ev->off = node->off;
    return rt_template_call(ev, fn, &args);
}

static rt_template_value filter_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value value = rt_template_expr(ev, node->a);
    rt_template_args args = arguments(ev, node->args);
    ev->off = node->off;
    return rt_template_filter(ev, node->text, value, &args);
}

static rt_template_value test_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value value = rt_template_expr(ev, node->a);
    rt_template_args args = arguments(ev, node->args);
    ev->off = node->off;
    return rt_template_bool(rt_template_test(ev, node->text, value, &args) != (node->integer == 1));
}

static rt_template_value attribute_value(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value obj = rt_template_expr(ev, node->a);
    ev->off = node->off;
    return ev->code ? obj : rt_template_attribute(ev, obj, node->text);
}

static rt_template_value choice_value(rt_template_eval *ev, const rt_tpl_node *node) {
    if (rt_template_truth(rt_template_expr(ev, node->a))) return rt_template_expr(ev, node->b);
    return node->c ? rt_template_expr(ev, node->c)
                   : rt_template_undefined(gguf_str_of("an if without else"));
}

static rt_template_value expr_inside(rt_template_eval *ev, const rt_tpl_node *node) {
    switch (node->kind) {
    case RT_TPL_NAME:
        return name_value(ev, node->text);
    case RT_TPL_STRING:
        return rt_template_str(node->text);
    case RT_TPL_INT:
        return rt_template_int(node->integer);
    case RT_TPL_FLOAT:
        return rt_template_float(node->real);
    case RT_TPL_BOOL:
        return rt_template_bool(node->integer != 0);
    case RT_TPL_LIST:
    case RT_TPL_TUPLE:
        return list_value(ev, node);
    case RT_TPL_DICT:
        return dict_value(ev, node);
    case RT_TPL_UNARY:
        return rt_template_negate(ev, node->op, rt_template_expr(ev, node->a));
    case RT_TPL_BINARY:
        return binary_value(ev, node);
    case RT_TPL_COMPARE:
        return compare_value(ev, node);
    case RT_TPL_ATTRIBUTE:
        return attribute_value(ev, node);
    case RT_TPL_INDEX:
        return index_value(ev, node);
    case RT_TPL_CALL:
        return call_value(ev, node);
    case RT_TPL_FILTER:
        return filter_value(ev, node);
    case RT_TPL_TEST:
        return test_value(ev, node);
    case RT_TPL_CHOICE:
        return choice_value(ev, node);
    default:
        return rt_template_none();
    }
}

rt_template_value rt_template_expr(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value out = rt_template_none();
    if (rt_template_deeper(ev) && rt_template_step(ev, 1)) {
        ev->off = node->off;
        out = expr_inside(ev, node);
    }
    rt_template_back(ev);
    return ev->code ? rt_template_none() : out;
}
