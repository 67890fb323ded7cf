/* Running statements: loops, macros, assignments; the rendering of a whole template. */
#include "runtime/template/template_value.h"

#include <stdlib.h>
#include <string.h>

static void set_name(rt_template_eval *ev, gguf_str name, rt_template_value value) {
    if (!ev->code) rt_template_put(ev, &ev->scope->vars, rt_template_str(name), value);
}

/* ---- assignment -------------------------------------------------------------------------- */

static void assign_attribute(rt_template_eval *ev, const rt_tpl_node *target,
                             rt_template_value value) {
    rt_template_value obj = rt_template_expr(ev, target->a);
    if (ev->code) return;
    if (obj.kind != RT_TEMPLATE_NAMESPACE)
        rt_template_raise(ev, GGUF_E_FORMAT, "attributes can be set on a namespace only");
    else
        rt_template_put(ev, obj.as.dict, rt_template_str(target->text), value);
}

void rt_template_assign(rt_template_eval *ev, const rt_tpl_node *target, rt_template_value value) {
    size_t n = 0, i = 0;
    if (ev->code) return;
    if (target->kind == RT_TPL_NAME) return set_name(ev, target->text, value);
    if (target->kind == RT_TPL_ATTRIBUTE) return assign_attribute(ev, target, value);
    rt_template_list items = rt_template_items(ev, value);
    for (const rt_tpl_node *item = target->args; item; item = item->next) n++;
    if (items.n != n) rt_template_raise(ev, GGUF_E_FORMAT, "%zu values for %zu names", items.n, n);
    for (const rt_tpl_node *item = target->args; item && !ev->code; item = item->next)
        rt_template_assign(ev, item, items.items[i++]);
}

/* ---- captured text ----------------------------------------------------------------------- */

rt_template_value rt_template_run_captured(rt_template_eval *ev, const rt_tpl_node *body,
                                           rt_template_scope *outer) {
    gguf_dynbuf buf, *out = ev->out;
    rt_template_scope *scope = ev->scope;
    rt_template_buf_init(ev, &buf);
    ev->out = &buf;
    if (outer) rt_template_enter_scope(ev, outer);
    rt_template_run(ev, body);
    ev->scope = scope;
    ev->out = out;
    return rt_template_taken(ev, &buf);
}

/* The chain of a filter block, whose first filter takes the text. */
static rt_template_value through_filters(rt_template_eval *ev, const rt_tpl_node *filter,
                                         rt_template_value text) {
    rt_template_scope *scope = ev->scope;
    const rt_tpl_node *first = filter;
    if (!filter) return text;
    while (first->a) first = first->a;
    /* The text stands behind a name that no template can write. */
    rt_tpl_node name = {.kind = RT_TPL_NAME, .off = first->off, .text = {" text", 5}};
    rt_tpl_node *nodes = rt_template_new(ev, sizeof *nodes * 64), *at = nodes;
    if (!nodes) return text;
    rt_template_enter_scope(ev, scope);
    set_name(ev, name.text, text);
    for (const rt_tpl_node *f = filter; f; f = f->a, at++) {
        if (at == nodes + 63) {
            rt_template_raise(ev, GGUF_E_LIMIT, "more than 63 filters");
            break;
        }
        *at = *f;
        at->a = f->a ? at + 1 : &name;
    }
    rt_template_value out = rt_template_expr(ev, nodes);
    ev->scope = scope;
    return out;
}

static void put_value(rt_template_eval *ev, rt_template_value value) {
    if (!ev->code) rt_template_put_str(ev, ev->out, value);
}

/* ---- macros ------------------------------------------------------------------------------ */

static rt_template_value new_macro(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_macro *macro = rt_template_new(ev, sizeof *macro);
    if (!macro) return rt_template_none();
    *macro = (rt_template_macro){node, ev->scope};
    return (rt_template_value){.kind = RT_TEMPLATE_MACRO, .as.macro = macro};
}

static bool mentions(rt_template_eval *ev, const rt_tpl_node *node, const char *name) {
    for (; node && rt_template_step(ev, 1); node = node->next) {
        if (node->kind == RT_TPL_NAME && gguf_str_eq(node->text, name)) return true;
        const rt_tpl_node *const inner[] = {node->a,    node->b,    node->c,
                                            node->args, node->body, node->orelse};
        for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
            if (inner[i] && mentions(ev, inner[i], name)) return true;
    }
    return false;
}

/* Arguments behind the parameters, and names that are no parameters. */
static void bind_rest(rt_template_eval *ev, const rt_template_macro *macro,
                      const rt_template_args *args, size_t n_params, rt_template_value rest) {
    const rt_tpl_node *body = macro->node->body;
    rt_template_value more = rt_template_list_new(ev, RT_TEMPLATE_TUPLE);
    for (size_t i = n_params; i < args->n; i++) rt_template_push(ev, more, args->pos[i]);
    if (args->n > n_params && !mentions(ev, body, "varargs"))
        rt_template_raise(ev, GGUF_E_FORMAT, "the macro takes at most %zu arguments", n_params);
    if (!ev->code && rest.as.dict->n && !mentions(ev, body, "kwargs"))
        rt_template_raise(ev, GGUF_E_FORMAT, "the macro takes no argument '%.*s'",
                          RT_TEMPLATE_SHOWN(rest.as.dict->entries[0].key.as.str));
    set_name(ev, gguf_str_of("varargs"), more);
    set_name(ev, gguf_str_of("kwargs"), rest);
}

static const rt_template_value *named_argument(const rt_template_args *args, gguf_str name) {
    return args->named ? rt_template_get_str(args->named, name) : NULL;
}

static bool is_param(const rt_template_macro *macro, gguf_str name) {
    for (const rt_tpl_node *p = macro->node->args; p; p = p->next)
        if (p->text.len == name.len && memcmp(p->text.ptr, name.ptr, name.len) == 0) return true;
    return false;
}

static void bind_params(rt_template_eval *ev, const rt_template_macro *macro,
                        const rt_template_args *args) {
    size_t i = 0;
    rt_template_value rest = rt_template_dict_new(ev);
    for (size_t k = 0; args->named && k < args->named->n && !ev->code; k++) {
        const rt_template_entry *entry = &args->named->entries[k];
        gguf_str name = rt_template_as_str(ev, entry->key, "an argument's name");
        if (gguf_str_eq(name, "caller") && !is_param(macro, name))
            set_name(ev, name, entry->value);
        else if (!is_param(macro, name))
            rt_template_put(ev, rest.as.dict, entry->key, entry->value);
    }
    for (const rt_tpl_node *p = macro->node->args; p && !ev->code; p = p->next, i++) {
        const rt_template_value *named = named_argument(args, p->text);
        if (i < args->n && named)
            rt_template_raise(ev, GGUF_E_FORMAT, "two values for the argument '%.*s'",
                              RT_TEMPLATE_SHOWN(p->text));
        rt_template_value value = i < args->n ? args->pos[i]
                                  : named     ? *named
                                  : p->a      ? rt_template_expr(ev, p->a)
                                              : rt_template_undefined(p->text);
        set_name(ev, p->text, value);
    }
    if (!ev->code) bind_rest(ev, macro, args, i, rest);
}

rt_template_value rt_template_call_macro(rt_template_eval *ev, const rt_template_macro *macro,
                                         const rt_template_args *args) {
    rt_template_scope *scope = ev->scope;
    rt_template_value out = rt_template_text("");
    if (rt_template_deeper(ev)) {
        rt_template_enter_scope(ev, macro->scope);
        bind_params(ev, macro, args);
        if (!ev->code) out = rt_template_run_captured(ev, macro->node->body, NULL);
        ev->scope = scope;
    }
    rt_template_back(ev);
    return out;
}

/* {% call(args) macro(...) %}: the call once more, with the body as its argument `caller`. */
static void run_call_block(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_scope *scope = ev->scope;
    rt_tpl_node *name = rt_template_new(ev, sizeof *name),
                *caller = rt_template_new(ev, sizeof *caller);
    rt_tpl_node *call = rt_template_new(ev, sizeof *call), **tail;
    rt_template_value macro = new_macro(ev, node);
    if (ev->code) return;
    *name = (rt_tpl_node){.kind = RT_TPL_NAME, .off = node->off, .text = {" caller", 7}};
    *caller =
        (rt_tpl_node){.kind = RT_TPL_KEYWORD, .off = node->off, .text = {"caller", 6}, .a = name};
    *call = *node->a;
    tail = &call->args;
    for (const rt_tpl_node *arg = node->a->args; arg; arg = arg->next) {
        rt_tpl_node *copy = rt_template_new(ev, sizeof *copy);
        if (!copy) return;
        *copy = *arg;
        *tail = copy;
        tail = &copy->next;
    }
    *tail = caller;
    rt_template_enter_scope(ev, scope);
    set_name(ev, name->text, macro);
    put_value(ev, rt_template_expr(ev, call));
    ev->scope = scope;
}

/* ---- loops ------------------------------------------------------------------------------- */

/* The items for which the loop's condition holds. */
static rt_template_list chosen(rt_template_eval *ev, const rt_tpl_node *node,
                               rt_template_list items) {
    rt_template_scope *scope = ev->scope;
    if (!node->c) return items;
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++) {
        rt_template_enter_scope(ev, scope);
        rt_template_assign(ev, node->a, items.items[i]);
        if (rt_template_truth(rt_template_expr(ev, node->c)))
            rt_template_push(ev, out, items.items[i]);
        ev->scope = scope;
    }
    return ev->code ? (rt_template_list){0} : *out.as.list;
}

void rt_template_run_loop(rt_template_eval *ev, const rt_tpl_node *node, rt_template_value over,
                          size_t depth) {
    rt_template_scope *scope = ev->scope;
    rt_template_list items = rt_template_items(ev, over);
    if (!ev->code) items = chosen(ev, node, items);
    rt_template_loop *loop = rt_template_new(ev, sizeof *loop);
    if (ev->code || !loop) return;
    *loop = (rt_template_loop){
        .node = node, .scope = scope, .items = items.items, .n = items.n, .depth = depth};
    for (; loop->at < loop->n && rt_template_step(ev, 1); loop->at++) {
        rt_template_enter_scope(ev, scope);
        set_name(ev, gguf_str_of("loop"),
                 (rt_template_value){.kind = RT_TEMPLATE_LOOP, .as.loop = loop});
        rt_template_assign(ev, node->a, loop->items[loop->at]);
        rt_template_flow flow = rt_template_run(ev, node->body);
        ev->scope = scope;
        if (flow == RT_TEMPLATE_FLOW_BREAK) break;
    }
    if (loop->n > 0 || !node->orelse || ev->code) return;
    rt_template_enter_scope(ev, scope);
    rt_template_run(ev, node->orelse);
    ev->scope = scope;
}

/* ---- statements -------------------------------------------------------------------------- */

static void run_set(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_value value =
        node->b ? rt_template_expr(ev, node->b)
                : through_filters(ev, node->c, rt_template_run_captured(ev, node->body, ev->scope));
    ev->off = node->off;
    rt_template_assign(ev, node->a, value);
}

static void run_plain(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_scope *scope = ev->scope;
    switch (node->kind) {
    case RT_TPL_TEXT:
        put_value(ev, rt_template_str(node->text));
        break;
    case RT_TPL_OUTPUT:
        put_value(ev, rt_template_expr(ev, node->a));
        break;
    case RT_TPL_FOR:
        rt_template_run_loop(ev, node, rt_template_expr(ev, node->b), 0);
        break;
    case RT_TPL_SET:
        run_set(ev, node);
        break;
    case RT_TPL_MACRO:
        set_name(ev, node->text, new_macro(ev, node));
        break;
    case RT_TPL_CALL_BLOCK:
        run_call_block(ev, node);
        break;
    case RT_TPL_FILTER_BLOCK:
        put_value(ev,
                  through_filters(ev, node->a, rt_template_run_captured(ev, node->body, scope)));
        break;
    case RT_TPL_GENERATION:
        rt_template_enter_scope(ev, scope);
        rt_template_run(ev, node->body);
        ev->scope = scope;
        break;
    default:
        break;
    }
}

static rt_template_flow run_with(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_scope *scope = ev->scope;
    size_t i = 0;
    rt_template_value values = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    for (const rt_tpl_node *pair = node->args; pair && !ev->code; pair = pair->next)
        rt_template_push(ev, values, rt_template_expr(ev, pair->b));
    if (ev->code) return RT_TEMPLATE_FLOW_NEXT;
    rt_template_enter_scope(ev, scope);
    for (const rt_tpl_node *pair = node->args; pair && !ev->code; pair = pair->next)
        rt_template_assign(ev, pair->a, values.as.list->items[i++]);
    rt_template_flow flow = rt_template_run(ev, node->body);
    ev->scope = scope;
    return flow;
}

static rt_template_flow run_one(rt_template_eval *ev, const rt_tpl_node *node) {
    ev->off = node->off;
    if (node->kind == RT_TPL_BREAK) return RT_TEMPLATE_FLOW_BREAK;
    if (node->kind == RT_TPL_CONTINUE) return RT_TEMPLATE_FLOW_CONTINUE;
    if (node->kind == RT_TPL_WITH) return run_with(ev, node);
    if (node->kind == RT_TPL_IF)
        return rt_template_run(ev, rt_template_truth(rt_template_expr(ev, node->a)) ? node->body
                                                                                    : node->orelse);
    run_plain(ev, node);
    return RT_TEMPLATE_FLOW_NEXT;
}

rt_template_flow rt_template_run(rt_template_eval *ev, const rt_tpl_node *node) {
    rt_template_flow flow = RT_TEMPLATE_FLOW_NEXT;
    if (rt_template_deeper(ev))
        for (; node && flow == RT_TEMPLATE_FLOW_NEXT && rt_template_step(ev, 1); node = node->next)
            flow = run_one(ev, node);
    rt_template_back(ev);
    return flow;
}

/* ---- rendering --------------------------------------------------------------------------- */

static void set_variables(rt_template_eval *ev, const json_t *variables) {
    const char *key;
    json_t *item;
    rt_template_enter_scope(ev, NULL);
    json_object_foreach((json_t *)variables, key, item)
        set_name(ev, gguf_str_of(key), rt_template_from_json(ev, item));
    /* What the template sets hides what it was given. */
    if (!ev->code) rt_template_enter_scope(ev, ev->scope);
}

gguf_code rt_template_render(const rt_template *tpl, const json_t *variables,
                             const rt_template_opts *opts, char **out, size_t *len,
                             gguf_error *err) {
    gguf_dynbuf buf;
    gguf_dynbuf_init(&buf, RT_TPL_MAX_OUTPUT);
    rt_template_eval ev = {.tpl = tpl, .out = &buf, .err = err, .now = opts ? opts->now : NULL};
    ev.steps_left = opts && opts->max_steps ? opts->max_steps : RT_TPL_MAX_STEPS;
    ev.memory_left = opts && opts->max_memory ? opts->max_memory : RT_TPL_MAX_MEMORY;
    *out = NULL;
    *len = 0;
    set_variables(&ev, variables);
    rt_template_run(&ev, tpl->root);
    gguf_dynbuf_put(&buf, "", 1);
    if (buf.code) rt_template_raise(&ev, buf.code, "the output is too long");
    if (ev.code) {
        gguf_dynbuf_clear(&buf);
    } else {
        *out = (char *)buf.data;
        *len = buf.len - 1;
    }
    for (rt_template_chunk *chunk = ev.chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    return ev.code;
}
