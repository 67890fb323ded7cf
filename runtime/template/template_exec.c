/* Running statements: loops, macros, assignments; the rendering of a whole template. */
#include "runtime/template/template_value.h"

#include <stdlib.h>
#include <string.h>

static void set_name(tpl_eval *ev, gguf_str name, tpl_value value) {
    if (!ev->code) tpl_put(ev, &ev->scope->vars, tpl_str(name), value);
}

/* ---- assignment -------------------------------------------------------------------------- */

static void assign_attribute(tpl_eval *ev, const rt_tpl_node *target, tpl_value value) {
    tpl_value obj = tpl_expr(ev, target->a);
    if (ev->code) return;
    if (obj.kind != TPL_NAMESPACE)
        tpl_raise(ev, GGUF_E_FORMAT, "attributes can be set on a namespace only");
    else
        tpl_put(ev, obj.as.dict, tpl_str(target->text), value);
}

void tpl_assign(tpl_eval *ev, const rt_tpl_node *target, tpl_value value) {
    size_t n = 0, i = 0;
    if (ev->code) return;
    if (target->kind == RT_TPL_NAME) return set_name(ev, target->text, value);
    if (target->kind == RT_TPL_ATTRIBUTE) return assign_attribute(ev, target, value);
    tpl_list items = tpl_items(ev, value);
    for (const rt_tpl_node *item = target->args; item; item = item->next) n++;
    if (items.n != n) tpl_raise(ev, GGUF_E_FORMAT, "%zu values for %zu names", items.n, n);
    for (const rt_tpl_node *item = target->args; item && !ev->code; item = item->next)
        tpl_assign(ev, item, items.items[i++]);
}

/* ---- captured text ----------------------------------------------------------------------- */

tpl_value tpl_run_captured(tpl_eval *ev, const rt_tpl_node *body, tpl_scope *outer) {
    gguf_dynbuf buf, *out = ev->out;
    tpl_scope *scope = ev->scope;
    tpl_buf_init(ev, &buf);
    ev->out = &buf;
    if (outer) tpl_enter_scope(ev, outer);
    tpl_run(ev, body);
    ev->scope = scope;
    ev->out = out;
    return tpl_taken(ev, &buf);
}

/* The chain of a filter block, whose first filter takes the text. */
static tpl_value through_filters(tpl_eval *ev, const rt_tpl_node *filter, tpl_value text) {
    tpl_scope *scope = ev->scope;
    const rt_tpl_node *first = filter;
    if (!filter) return text;
    while (first->a) first = first->a;
    /* The text stands behind a name that no template can write. */
    rt_tpl_node name = {.kind = RT_TPL_NAME, .off = first->off, .text = {" text", 5}};
    rt_tpl_node *nodes = tpl_new(ev, sizeof *nodes * 64), *at = nodes;
    if (!nodes) return text;
    tpl_enter_scope(ev, scope);
    set_name(ev, name.text, text);
    for (const rt_tpl_node *f = filter; f; f = f->a, at++) {
        if (at == nodes + 63) {
            tpl_raise(ev, GGUF_E_LIMIT, "more than 63 filters");
            break;
        }
        *at = *f;
        at->a = f->a ? at + 1 : &name;
    }
    tpl_value out = tpl_expr(ev, nodes);
    ev->scope = scope;
    return out;
}

static void put_value(tpl_eval *ev, tpl_value value) {
    if (!ev->code) tpl_put_str(ev, ev->out, value);
}

/* ---- macros ------------------------------------------------------------------------------ */

static tpl_value new_macro(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_macro *macro = tpl_new(ev, sizeof *macro);
    if (!macro) return tpl_none();
    *macro = (tpl_macro){node, ev->scope};
    return (tpl_value){.kind = TPL_MACRO, .as.macro = macro};
}

static bool mentions(tpl_eval *ev, const rt_tpl_node *node, const char *name) {
    for (; node && tpl_step(ev, 1); node = node->next) {
        if (node->kind == RT_TPL_NAME && gguf_str_eq(node->text, name)) return true;
        const rt_tpl_node *const inner[] = {node->a,    node->b,    node->c,
                                            node->args, node->body, node->orelse};
        for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
            if (inner[i] && mentions(ev, inner[i], name)) return true;
    }
    return false;
}

/* Arguments behind the parameters, and names that are no parameters. */
static void bind_rest(tpl_eval *ev, const tpl_macro *macro, const tpl_args *args, size_t n_params,
                      tpl_value rest) {
    const rt_tpl_node *body = macro->node->body;
    tpl_value more = tpl_list_new(ev, TPL_TUPLE);
    for (size_t i = n_params; i < args->n; i++) tpl_push(ev, more, args->pos[i]);
    if (args->n > n_params && !mentions(ev, body, "varargs"))
        tpl_raise(ev, GGUF_E_FORMAT, "the macro takes at most %zu arguments", n_params);
    if (!ev->code && rest.as.dict->n && !mentions(ev, body, "kwargs"))
        tpl_raise(ev, GGUF_E_FORMAT, "the macro takes no argument '%.*s'",
                  TPL_SHOWN(rest.as.dict->entries[0].key.as.str));
    set_name(ev, gguf_str_of("varargs"), more);
    set_name(ev, gguf_str_of("kwargs"), rest);
}

static const tpl_value *named_argument(const tpl_args *args, gguf_str name) {
    return args->named ? tpl_get_str(args->named, name) : NULL;
}

static bool is_param(const tpl_macro *macro, gguf_str name) {
    for (const rt_tpl_node *p = macro->node->args; p; p = p->next)
        if (p->text.len == name.len && memcmp(p->text.ptr, name.ptr, name.len) == 0) return true;
    return false;
}

static void bind_params(tpl_eval *ev, const tpl_macro *macro, const tpl_args *args) {
    size_t i = 0;
    tpl_value rest = tpl_dict_new(ev);
    for (size_t k = 0; args->named && k < args->named->n && !ev->code; k++) {
        const tpl_entry *entry = &args->named->entries[k];
        gguf_str name = tpl_as_str(ev, entry->key, "an argument's name");
        if (gguf_str_eq(name, "caller") && !is_param(macro, name))
            set_name(ev, name, entry->value);
        else if (!is_param(macro, name))
            tpl_put(ev, rest.as.dict, entry->key, entry->value);
    }
    for (const rt_tpl_node *p = macro->node->args; p && !ev->code; p = p->next, i++) {
        const tpl_value *named = named_argument(args, p->text);
        if (i < args->n && named)
            tpl_raise(ev, GGUF_E_FORMAT, "two values for the argument '%.*s'", TPL_SHOWN(p->text));
        tpl_value value = i < args->n ? args->pos[i]
                          : named     ? *named
                          : p->a      ? tpl_expr(ev, p->a)
                                      : tpl_undefined(p->text);
        set_name(ev, p->text, value);
    }
    if (!ev->code) bind_rest(ev, macro, args, i, rest);
}

tpl_value tpl_call_macro(tpl_eval *ev, const tpl_macro *macro, const tpl_args *args) {
    tpl_scope *scope = ev->scope;
    tpl_value out = tpl_text("");
    if (tpl_deeper(ev)) {
        tpl_enter_scope(ev, macro->scope);
        bind_params(ev, macro, args);
        if (!ev->code) out = tpl_run_captured(ev, macro->node->body, NULL);
        ev->scope = scope;
    }
    tpl_back(ev);
    return out;
}

/* {% call(args) macro(...) %}: the call once more, with the body as its argument `caller`. */
static void run_call_block(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_scope *scope = ev->scope;
    rt_tpl_node *name = tpl_new(ev, sizeof *name), *caller = tpl_new(ev, sizeof *caller);
    rt_tpl_node *call = tpl_new(ev, sizeof *call), **tail;
    tpl_value macro = new_macro(ev, node);
    if (ev->code) return;
    *name = (rt_tpl_node){.kind = RT_TPL_NAME, .off = node->off, .text = {" caller", 7}};
    *caller =
        (rt_tpl_node){.kind = RT_TPL_KEYWORD, .off = node->off, .text = {"caller", 6}, .a = name};
    *call = *node->a;
    tail = &call->args;
    for (const rt_tpl_node *arg = node->a->args; arg; arg = arg->next) {
        rt_tpl_node *copy = tpl_new(ev, sizeof *copy);
        if (!copy) return;
        *copy = *arg;
        *tail = copy;
        tail = &copy->next;
    }
    *tail = caller;
    tpl_enter_scope(ev, scope);
    set_name(ev, name->text, macro);
    put_value(ev, tpl_expr(ev, call));
    ev->scope = scope;
}

/* ---- loops ------------------------------------------------------------------------------- */

/* The items for which the loop's condition holds. */
static tpl_list chosen(tpl_eval *ev, const rt_tpl_node *node, tpl_list items) {
    tpl_scope *scope = ev->scope;
    if (!node->c) return items;
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++) {
        tpl_enter_scope(ev, scope);
        tpl_assign(ev, node->a, items.items[i]);
        if (tpl_truth(tpl_expr(ev, node->c))) tpl_push(ev, out, items.items[i]);
        ev->scope = scope;
    }
    return ev->code ? (tpl_list){0} : *out.as.list;
}

void tpl_run_loop(tpl_eval *ev, const rt_tpl_node *node, tpl_value over, size_t depth) {
    tpl_scope *scope = ev->scope;
    tpl_list items = tpl_items(ev, over);
    if (!ev->code) items = chosen(ev, node, items);
    tpl_loop *loop = tpl_new(ev, sizeof *loop);
    if (ev->code || !loop) return;
    *loop = (tpl_loop){
        .node = node, .scope = scope, .items = items.items, .n = items.n, .depth = depth};
    for (; loop->at < loop->n && tpl_step(ev, 1); loop->at++) {
        tpl_enter_scope(ev, scope);
        set_name(ev, gguf_str_of("loop"), (tpl_value){.kind = TPL_LOOP, .as.loop = loop});
        tpl_assign(ev, node->a, loop->items[loop->at]);
        tpl_flow flow = tpl_run(ev, node->body);
        ev->scope = scope;
        if (flow == TPL_FLOW_BREAK) break;
    }
    if (loop->n > 0 || !node->orelse || ev->code) return;
    tpl_enter_scope(ev, scope);
    tpl_run(ev, node->orelse);
    ev->scope = scope;
}

/* ---- statements -------------------------------------------------------------------------- */

static void run_set(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_value value =
        node->b ? tpl_expr(ev, node->b)
                : through_filters(ev, node->c, tpl_run_captured(ev, node->body, ev->scope));
    ev->off = node->off;
    tpl_assign(ev, node->a, value);
}

static void run_plain(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_scope *scope = ev->scope;
    switch (node->kind) {
    case RT_TPL_TEXT:
        put_value(ev, tpl_str(node->text));
        break;
    case RT_TPL_OUTPUT:
        put_value(ev, tpl_expr(ev, node->a));
        break;
    case RT_TPL_FOR:
        tpl_run_loop(ev, node, tpl_expr(ev, node->b), 0);
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
        put_value(ev, through_filters(ev, node->a, tpl_run_captured(ev, node->body, scope)));
        break;
    case RT_TPL_GENERATION:
        tpl_enter_scope(ev, scope);
        tpl_run(ev, node->body);
        ev->scope = scope;
        break;
    default:
        break;
    }
}

static tpl_flow run_with(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_scope *scope = ev->scope;
    size_t i = 0;
    tpl_value values = tpl_list_new(ev, TPL_LIST);
    for (const rt_tpl_node *pair = node->args; pair && !ev->code; pair = pair->next)
        tpl_push(ev, values, tpl_expr(ev, pair->b));
    if (ev->code) return TPL_FLOW_NEXT;
    tpl_enter_scope(ev, scope);
    for (const rt_tpl_node *pair = node->args; pair && !ev->code; pair = pair->next)
        tpl_assign(ev, pair->a, values.as.list->items[i++]);
    tpl_flow flow = tpl_run(ev, node->body);
    ev->scope = scope;
    return flow;
}

static tpl_flow run_one(tpl_eval *ev, const rt_tpl_node *node) {
    ev->off = node->off;
    if (node->kind == RT_TPL_BREAK) return TPL_FLOW_BREAK;
    if (node->kind == RT_TPL_CONTINUE) return TPL_FLOW_CONTINUE;
    if (node->kind == RT_TPL_WITH) return run_with(ev, node);
    if (node->kind == RT_TPL_IF)
        return tpl_run(ev, tpl_truth(tpl_expr(ev, node->a)) ? node->body : node->orelse);
    run_plain(ev, node);
    return TPL_FLOW_NEXT;
}

tpl_flow tpl_run(tpl_eval *ev, const rt_tpl_node *node) {
    tpl_flow flow = TPL_FLOW_NEXT;
    if (tpl_deeper(ev))
        for (; node && flow == TPL_FLOW_NEXT && tpl_step(ev, 1); node = node->next)
            flow = run_one(ev, node);
    tpl_back(ev);
    return flow;
}

/* ---- rendering --------------------------------------------------------------------------- */

static void set_variables(tpl_eval *ev, const json_t *variables) {
    const char *key;
    json_t *item;
    tpl_enter_scope(ev, NULL);
    json_object_foreach((json_t *)variables, key, item)
        set_name(ev, gguf_str_of(key), tpl_from_json(ev, item));
    /* What the template sets hides what it was given. */
    if (!ev->code) tpl_enter_scope(ev, ev->scope);
}

gguf_code rt_template_render(const rt_template *tpl, const json_t *variables,
                             const rt_template_opts *opts, char **out, size_t *len,
                             gguf_error *err) {
    gguf_dynbuf buf;
    gguf_dynbuf_init(&buf, RT_TPL_MAX_OUTPUT);
    tpl_eval ev = {.tpl = tpl, .out = &buf, .err = err, .now = opts ? opts->now : NULL};
    ev.steps_left = opts && opts->max_steps ? opts->max_steps : RT_TPL_MAX_STEPS;
    ev.memory_left = opts && opts->max_memory ? opts->max_memory : RT_TPL_MAX_MEMORY;
    *out = NULL;
    *len = 0;
    set_variables(&ev, variables);
    tpl_run(&ev, tpl->root);
    gguf_dynbuf_put(&buf, "", 1);
    if (buf.code) tpl_raise(&ev, buf.code, "the output is too long");
    if (ev.code) {
        gguf_dynbuf_clear(&buf);
    } else {
        *out = (char *)buf.data;
        *len = buf.len - 1;
    }
    for (tpl_chunk *chunk = ev.chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    return ev.code;
}
