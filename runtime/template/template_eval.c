/* Evaluating expressions: names, calls, filters, tests. */
#include "runtime/template/template_value.h"

#include <string.h>

/* ---- scopes ------------------------------------------------------------------------------ */

tpl_scope *tpl_enter_scope(tpl_eval *ev, tpl_scope *outer) {
    tpl_scope *scope = tpl_new(ev, sizeof *scope);
    if (!scope) return outer;
    scope->outer = outer;
    return ev->scope = scope;
}

bool tpl_lookup(const tpl_eval *ev, gguf_str name, tpl_value *out) {
    for (const tpl_scope *scope = ev->scope; scope; scope = scope->outer) {
        const tpl_value *found = tpl_get_str(&scope->vars, name);
        if (found) return *out = *found, true;
    }
    return false;
}

static tpl_value function_value(tpl_eval *ev, const tpl_function *fn) {
    tpl_method *method = tpl_new(ev, sizeof *method);
    if (!method) return tpl_none();
    *method = (tpl_method){fn, tpl_none()};
    return (tpl_value){.kind = TPL_FUNCTION, .as.method = method};
}

static tpl_value name_value(tpl_eval *ev, gguf_str name) {
    tpl_value out = tpl_undefined(name);
    if (tpl_lookup(ev, name, &out)) return out;
    const tpl_function *fn = tpl_find(tpl_globals, name);
    return fn ? function_value(ev, fn) : out;
}

/* ---- arguments --------------------------------------------------------------------------- */

static void spread(tpl_eval *ev, const rt_tpl_node *node, tpl_value pos, tpl_dict *named) {
    tpl_value v = tpl_expr(ev, node->a);
    if (node->integer != 2) {
        tpl_list items = tpl_items(ev, v);
        for (size_t i = 0; i < items.n; i++) tpl_push(ev, pos, items.items[i]);
        return;
    }
    if (v.kind != TPL_DICT) tpl_raise(ev, GGUF_E_FORMAT, "'**' needs a dict");
    for (size_t i = 0; !ev->code && i < v.as.dict->n; i++)
        tpl_put(ev, named, v.as.dict->entries[i].key, v.as.dict->entries[i].value);
}

static tpl_args arguments(tpl_eval *ev, const rt_tpl_node *nodes) {
    tpl_args out = {0};
    if (!nodes) return out;
    tpl_value pos = tpl_list_new(ev, TPL_LIST);
    tpl_value named = tpl_dict_new(ev);
    for (const rt_tpl_node *node = nodes; node && !ev->code; node = node->next) {
        if (node->kind == RT_TPL_SPREAD)
            spread(ev, node, pos, named.as.dict);
        else if (node->kind == RT_TPL_KEYWORD)
            tpl_put(ev, named.as.dict, tpl_str(node->text), tpl_expr(ev, node->a));
        else
            tpl_push(ev, pos, tpl_expr(ev, node));
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

tpl_value tpl_call_function(tpl_eval *ev, const tpl_function *fn, tpl_value self, tpl_args args) {
    if (ev->code) return tpl_none();
    if (strcmp(fn->params, "*") == 0) return fn->call(ev, self, &args);
    size_t n_params = param_count(fn->params);
    if (args.n > n_params)
        tpl_raise(ev, GGUF_E_FORMAT, "'%s' takes at most %zu arguments", fn->name, n_params);
    for (size_t i = 0; i < args.n && i < n_params; i++) args.argv[i] = args.pos[i];
    for (size_t i = 0; args.named && i < args.named->n && !ev->code; i++) {
        gguf_str name = tpl_as_str(ev, args.named->entries[i].key, "an argument's name");
        int at = ev->code ? -1 : param_index(fn->params, name);
        if (at < 0 || args.argv[at].kind != TPL_MISSING)
            tpl_raise(ev, GGUF_E_FORMAT, "'%s' does not take '%.*s'", fn->name, TPL_SHOWN(name));
        else
            args.argv[at] = args.named->entries[i].value;
    }
    for (size_t i = 0; i < fn->n_required; i++)
        if (args.argv[i].kind == TPL_MISSING)
            tpl_raise(ev, GGUF_E_FORMAT, "'%s' needs %u arguments", fn->name, fn->n_required);
    return ev->code ? tpl_none() : fn->call(ev, self, &args);
}

/* ---- calls ------------------------------------------------------------------------------- */

const tpl_function *tpl_find(const tpl_function *table, gguf_str name) {
    for (; table->name; table++)
        if (gguf_str_eq(name, table->name)) return table;
    return NULL;
}

static tpl_value call_loop(tpl_eval *ev, tpl_loop *loop, const tpl_args *args) {
    gguf_dynbuf buf, *out = ev->out;
    tpl_scope *scope = ev->scope;
    if (!loop->node->integer) tpl_raise(ev, GGUF_E_FORMAT, "this loop is not recursive");
    if (args->n != 1 || args->named) tpl_raise(ev, GGUF_E_FORMAT, "'loop' takes one argument");
    if (ev->code) return tpl_none();
    tpl_buf_init(ev, &buf);
    ev->out = &buf;
    ev->scope = loop->scope;
    tpl_run_loop(ev, loop->node, args->pos[0], loop->depth + 1);
    ev->scope = scope;
    ev->out = out;
    return tpl_taken(ev, &buf);
}

static tpl_value call_joiner(tpl_eval *ev, tpl_list *joiner) {
    (void)ev;
    return joiner->at++ ? joiner->items[0] : tpl_text("");
}

tpl_value tpl_call(tpl_eval *ev, tpl_value fn, const tpl_args *args) {
    if (ev->code) return tpl_none();
    switch (fn.kind) {
    case TPL_FUNCTION:
        return tpl_call_function(ev, fn.as.method->fn, fn.as.method->self, *args);
    case TPL_MACRO:
        return tpl_call_macro(ev, fn.as.macro, args);
    case TPL_LOOP:
        return call_loop(ev, fn.as.loop, args);
    case TPL_JOINER:
        return call_joiner(ev, fn.as.list);
    case TPL_UNDEFINED:
        tpl_raise(ev, GGUF_E_FORMAT, "'%.*s' is undefined", TPL_SHOWN(fn.as.str));
        return tpl_none();
    default:
        tpl_raise(ev, GGUF_E_FORMAT, "%s cannot be called", tpl_kind_name(fn));
        return tpl_none();
    }
}

tpl_value tpl_filter(tpl_eval *ev, gguf_str name, tpl_value value, const tpl_args *args) {
    const tpl_function *fn = tpl_find(tpl_string_filters, name);
    if (!fn) fn = tpl_find(tpl_list_filters, name);
    if (!fn) tpl_raise(ev, GGUF_E_FORMAT, "there is no filter '%.*s'", TPL_SHOWN(name));
    return fn ? tpl_call_function(ev, fn, value, *args) : tpl_none();
}

bool tpl_test(tpl_eval *ev, gguf_str name, tpl_value value, const tpl_args *args) {
    const tpl_function *fn = tpl_find(tpl_tests, name);
    if (!fn) tpl_raise(ev, GGUF_E_FORMAT, "there is no test '%.*s'", TPL_SHOWN(name));
    return fn && tpl_truth(tpl_call_function(ev, fn, value, *args));
}

/* ---- expressions ------------------------------------------------------------------------- */

static tpl_value list_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value out = tpl_list_new(ev, node->kind == RT_TPL_LIST ? TPL_LIST : TPL_TUPLE);
    for (const rt_tpl_node *item = node->args; item && !ev->code; item = item->next)
        tpl_push(ev, out, tpl_expr(ev, item));
    return out;
}

static tpl_value dict_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value out = tpl_dict_new(ev);
    for (const rt_tpl_node *pair = node->args; pair && !ev->code; pair = pair->next) {
        tpl_value key = tpl_expr(ev, pair->a);
        tpl_value value = tpl_expr(ev, pair->b);
        if (!ev->code) tpl_put(ev, out.as.dict, key, value);
    }
    return out;
}

static tpl_value binary_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value a = tpl_expr(ev, node->a);
    if (node->op == RT_TPL_OP_OR) return tpl_truth(a) ? a : tpl_expr(ev, node->b);
    if (node->op == RT_TPL_OP_AND) return tpl_truth(a) ? tpl_expr(ev, node->b) : a;
    tpl_value b = tpl_expr(ev, node->b);
    ev->off = node->off;
    return tpl_binary(ev, node->op, a, b);
}

static tpl_value compare_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value a = tpl_expr(ev, node->a);
    for (const rt_tpl_node *operand = node->args; operand && !ev->code; operand = operand->next) {
        tpl_value b = tpl_expr(ev, operand->a);
        ev->off = operand->off;
        if (ev->code || !tpl_compare(ev, operand->op, a, b)) return tpl_bool(false);
        a = b;
    }
    return tpl_bool(true);
}

static tpl_value index_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value obj = tpl_expr(ev, node->a), part[3];
    if (node->b->kind != RT_TPL_SLICE) {
        tpl_value key = tpl_expr(ev, node->b);
        ev->off = node->off;
        return ev->code ? obj : tpl_item(ev, obj, key);
    }
    const rt_tpl_node *const parts[] = {node->b->a, node->b->b, node->b->c};
    for (int i = 0; i < 3; i++) part[i] = parts[i] ? tpl_expr(ev, parts[i]) : tpl_none();
    ev->off = node->off;
    return ev->code ? obj : tpl_slice(ev, obj, part);
}

static tpl_value call_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value fn = tpl_expr(ev, node->a);
    tpl_args args = arguments(ev, node->args);
    ev->off = node->off;
    return tpl_call(ev, fn, &args);
}

static tpl_value filter_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value value = tpl_expr(ev, node->a);
    tpl_args args = arguments(ev, node->args);
    ev->off = node->off;
    return tpl_filter(ev, node->text, value, &args);
}

static tpl_value test_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value value = tpl_expr(ev, node->a);
    tpl_args args = arguments(ev, node->args);
    ev->off = node->off;
    return tpl_bool(tpl_test(ev, node->text, value, &args) != (node->integer == 1));
}

static tpl_value attribute_value(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value obj = tpl_expr(ev, node->a);
    ev->off = node->off;
    return ev->code ? obj : tpl_attribute(ev, obj, node->text);
}

static tpl_value choice_value(tpl_eval *ev, const rt_tpl_node *node) {
    if (tpl_truth(tpl_expr(ev, node->a))) return tpl_expr(ev, node->b);
    return node->c ? tpl_expr(ev, node->c) : tpl_undefined(gguf_str_of("an if without else"));
}

static tpl_value expr_inside(tpl_eval *ev, const rt_tpl_node *node) {
    switch (node->kind) {
    case RT_TPL_NAME:
        return name_value(ev, node->text);
    case RT_TPL_STRING:
        return tpl_str(node->text);
    case RT_TPL_INT:
        return tpl_int(node->integer);
    case RT_TPL_FLOAT:
        return tpl_float(node->real);
    case RT_TPL_BOOL:
        return tpl_bool(node->integer != 0);
    case RT_TPL_LIST:
    case RT_TPL_TUPLE:
        return list_value(ev, node);
    case RT_TPL_DICT:
        return dict_value(ev, node);
    case RT_TPL_UNARY:
        return tpl_negate(ev, node->op, tpl_expr(ev, node->a));
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
        return tpl_none();
    }
}

tpl_value tpl_expr(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value out = tpl_none();
    if (tpl_deeper(ev) && tpl_step(ev, 1)) {
        ev->off = node->off;
        out = expr_inside(ev, node);
    }
    tpl_back(ev);
    return ev->code ? tpl_none() : out;
}
