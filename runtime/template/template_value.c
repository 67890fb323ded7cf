/* Values of a template: memory, lists, dicts, equality and order. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- evaluator --------------------------------------------------------------------------- */

void rt_template_raise(rt_template_eval *ev, gguf_code code, const char *format, ...) {
    va_list args;
    if (ev->code) return;
    va_start(args, format);
    ev->code = rt_template_report(ev->err, code, (gguf_str){ev->tpl->source, ev->tpl->len}, ev->off,
                                  format, args);
    va_end(args);
}

static rt_template_chunk *new_chunk(rt_template_eval *ev, size_t room) {
    if (room > ev->memory_left) {
        rt_template_raise(ev, GGUF_E_LIMIT, "the template takes too much memory");
        return NULL;
    }
    rt_template_chunk *chunk = calloc(1, sizeof *chunk + room);
    if (!chunk) {
        rt_template_raise(ev, GGUF_E_NOMEM, "out of memory");
        return NULL;
    }
    ev->memory_left -= room;
    chunk->room = room;
    chunk->next = ev->chunks;
    ev->chunks = chunk;
    return chunk;
}

void *rt_template_new(rt_template_eval *ev, size_t n) {
    rt_template_chunk *chunk = ev->chunks;
    n = (n + 15) / 16 * 16;
    if (!chunk || chunk->room - chunk->used < n) chunk = new_chunk(ev, n > 16384 ? n : 16384);
    if (!chunk) return NULL;
    void *out = chunk->bytes + chunk->used;
    chunk->used += n;
    return out;
}

bool rt_template_step(rt_template_eval *ev, uint64_t n) {
    if (!ev->code && n > ev->steps_left)
        rt_template_raise(ev, GGUF_E_LIMIT, "the template takes too many steps");
    if (ev->code) return false;
    ev->steps_left -= n;
    return true;
}

bool rt_template_deeper(rt_template_eval *ev) {
    if (++ev->depth > RT_TPL_MAX_CALLS)
        rt_template_raise(ev, GGUF_E_LIMIT, "calls nested too deeply (%d levels)",
                          RT_TPL_MAX_CALLS);
    return !ev->code;
}

void rt_template_back(rt_template_eval *ev) {
    ev->depth--;
}

/* ---- making values ----------------------------------------------------------------------- */

rt_template_value rt_template_undefined(gguf_str what) {
    return (rt_template_value){.kind = RT_TEMPLATE_UNDEFINED, .as.str = what};
}

rt_template_value rt_template_none(void) {
    return (rt_template_value){.kind = RT_TEMPLATE_NONE};
}

rt_template_value rt_template_bool(bool value) {
    return (rt_template_value){.kind = RT_TEMPLATE_BOOL, .as.boolean = value};
}

rt_template_value rt_template_int(int64_t value) {
    return (rt_template_value){.kind = RT_TEMPLATE_INT, .as.integer = value};
}

rt_template_value rt_template_float(double value) {
    return (rt_template_value){.kind = RT_TEMPLATE_FLOAT, .as.real = value};
}

rt_template_value rt_template_str(gguf_str text) {
    return (rt_template_value){.kind = RT_TEMPLATE_STRING, .as.str = text};
}

rt_template_value rt_template_text(const char *text) {
    return rt_template_str(gguf_str_of(text));
}

rt_template_value rt_template_copy_str(rt_template_eval *ev, const char *bytes, size_t n) {
    char *copy = n ? rt_template_new(ev, n) : NULL;
    if (!copy) return rt_template_text("");
    memcpy(copy, bytes, n);
    return rt_template_str((gguf_str){copy, n});
}

void rt_template_buf_init(const rt_template_eval *ev, gguf_dynbuf *buf) {
    gguf_dynbuf_init(buf,
                     ev->memory_left < RT_TPL_MAX_OUTPUT ? ev->memory_left : RT_TPL_MAX_OUTPUT);
}

rt_template_value rt_template_taken(rt_template_eval *ev, gguf_dynbuf *buf) {
    if (buf->code) rt_template_raise(ev, buf->code, "a text is too long");
    rt_template_value out = ev->code ? rt_template_text("")
                                     : rt_template_copy_str(ev, (const char *)buf->data, buf->len);
    gguf_dynbuf_clear(buf);
    return out;
}

rt_template_value rt_template_list_new(rt_template_eval *ev, rt_template_kind kind) {
    rt_template_list *list = rt_template_new(ev, sizeof *list);
    return list ? (rt_template_value){.kind = kind, .as.list = list}
                : rt_template_undefined(gguf_str_of(""));
}

/* Room for one more element of an array in the arena. */
static void *grown(rt_template_eval *ev, void *old, size_t n, size_t *room, size_t size) {
    if (n < *room) return old;
    size_t more = *room ? *room * 2 : 8;
    void *out = rt_template_new(ev, more * size);
    if (!out) return NULL;
    if (n) memcpy(out, old, n * size);
    *room = more;
    return out;
}

void rt_template_push(rt_template_eval *ev, rt_template_value list, rt_template_value item) {
    if (ev->code || !rt_template_step(ev, 1)) return;
    rt_template_list *to = list.as.list;
    rt_template_value *items = grown(ev, to->items, to->n, &to->room, sizeof *items);
    if (!items) return;
    to->items = items;
    to->items[to->n++] = item;
}

rt_template_value rt_template_pair(rt_template_eval *ev, rt_template_value a, rt_template_value b) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_TUPLE);
    rt_template_push(ev, out, a);
    rt_template_push(ev, out, b);
    return out;
}

rt_template_value rt_template_dict_new(rt_template_eval *ev) {
    rt_template_dict *dict = rt_template_new(ev, sizeof *dict);
    return dict ? (rt_template_value){.kind = RT_TEMPLATE_DICT, .as.dict = dict}
                : rt_template_undefined(gguf_str_of(""));
}

static bool is_hashable(rt_template_value key) {
    return key.kind != RT_TEMPLATE_LIST && key.kind != RT_TEMPLATE_DICT;
}

const rt_template_value *rt_template_get(rt_template_eval *ev, const rt_template_dict *dict,
                                         rt_template_value key) {
    if (!rt_template_step(ev, dict->n / 8)) return NULL;
    for (size_t i = 0; i < dict->n; i++)
        if (rt_template_equal(ev, dict->entries[i].key, key)) return &dict->entries[i].value;
    return NULL;
}

const rt_template_value *rt_template_get_str(const rt_template_dict *dict, gguf_str key) {
    for (size_t i = 0; i < dict->n; i++) {
        const rt_template_value *at = &dict->entries[i].key;
        if (at->kind == RT_TEMPLATE_STRING && at->as.str.len == key.len &&
            memcmp(at->as.str.ptr, key.ptr, key.len) == 0)
            return &dict->entries[i].value;
    }
    return NULL;
}

/* Append without looking for the key. */
static void append_entry(rt_template_eval *ev, rt_template_dict *dict, rt_template_value key,
                         rt_template_value value) {
    rt_template_entry *entries = grown(ev, dict->entries, dict->n, &dict->room, sizeof *entries);
    if (!entries) return;
    dict->entries = entries;
    dict->entries[dict->n++] = (rt_template_entry){key, value};
}

void rt_template_put(rt_template_eval *ev, rt_template_dict *dict, rt_template_value key,
                     rt_template_value value) {
    if (!is_hashable(key))
        rt_template_raise(ev, GGUF_E_FORMAT, "%s cannot be a key", rt_template_kind_name(key));
    if (ev->code) return;
    rt_template_value *old = (rt_template_value *)rt_template_get(ev, dict, key);
    if (old)
        *old = value;
    else if (!ev->code)
        append_entry(ev, dict, key, value);
}

rt_template_value rt_template_from_json(rt_template_eval *ev, const json_t *json) {
    rt_template_value out = rt_template_none();
    const char *key;
    json_t *item;
    size_t i;
    if (!rt_template_deeper(ev) || !rt_template_step(ev, 1)) {
        rt_template_back(ev);
        return out;
    }
    if (json_is_boolean(json)) out = rt_template_bool(json_is_true(json));
    if (json_is_integer(json)) out = rt_template_int(json_integer_value(json));
    if (json_is_real(json)) out = rt_template_float(json_real_value(json));
    if (json_is_string(json))
        out = rt_template_copy_str(ev, json_string_value(json), json_string_length(json));
    if (json_is_array(json)) {
        out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
        json_array_foreach(json, i, item)
            rt_template_push(ev, out, rt_template_from_json(ev, item));
    }
    if (json_is_object(json)) {
        out = rt_template_dict_new(ev);
        json_object_foreach((json_t *)json, key, item) {
            rt_template_value name = rt_template_copy_str(ev, key, strlen(key));
            rt_template_value value = rt_template_from_json(ev, item);
            if (!ev->code) append_entry(ev, out.as.dict, name, value);
        }
    }
    rt_template_back(ev);
    return out;
}

/* ---- properties -------------------------------------------------------------------------- */

bool rt_template_given(rt_template_value v) {
    return v.kind != RT_TEMPLATE_MISSING && v.kind != RT_TEMPLATE_NONE;
}

bool rt_template_is_list(rt_template_value v) {
    return v.kind == RT_TEMPLATE_LIST || v.kind == RT_TEMPLATE_TUPLE;
}

bool rt_template_is_number(rt_template_value v) {
    return v.kind == RT_TEMPLATE_BOOL || v.kind == RT_TEMPLATE_INT || v.kind == RT_TEMPLATE_FLOAT;
}

double rt_template_real(rt_template_value v) {
    if (v.kind == RT_TEMPLATE_FLOAT) return v.as.real;
    return (double)rt_template_whole(v);
}

int64_t rt_template_whole(rt_template_value v) {
    return v.kind == RT_TEMPLATE_BOOL ? v.as.boolean : v.as.integer;
}

bool rt_template_truth(rt_template_value v) {
    switch (v.kind) {
    case RT_TEMPLATE_MISSING:
    case RT_TEMPLATE_UNDEFINED:
    case RT_TEMPLATE_NONE:
        return false;
    case RT_TEMPLATE_BOOL:
        return v.as.boolean;
    case RT_TEMPLATE_INT:
        return v.as.integer != 0;
    case RT_TEMPLATE_FLOAT:
        return v.as.real != 0;
    case RT_TEMPLATE_STRING:
        return v.as.str.len > 0;
    case RT_TEMPLATE_LIST:
    case RT_TEMPLATE_TUPLE:
        return v.as.list->n > 0;
    case RT_TEMPLATE_DICT:
        return v.as.dict->n > 0;
    default:
        return true;
    }
}

const char *rt_template_kind_name(rt_template_value v) {
    static const char *const names[] = {"nothing",    "an undefined value",
                                        "none",       "a bool",
                                        "an int",     "a float",
                                        "a string",   "a list",
                                        "a tuple",    "an iterator",
                                        "a dict",     "a namespace",
                                        "a macro",    "a loop",
                                        "a function", "a cycler",
                                        "a joiner"};
    return names[v.kind];
}

size_t rt_template_length(rt_template_eval *ev, rt_template_value v) {
    if (v.kind == RT_TEMPLATE_UNDEFINED) return 0;
    if (v.kind == RT_TEMPLATE_STRING) return rt_template_n_chars(v.as.str);
    if (rt_template_is_list(v)) return v.as.list->n;
    if (v.kind == RT_TEMPLATE_DICT) return v.as.dict->n;
    if (v.kind == RT_TEMPLATE_LOOP) return v.as.loop->n;
    rt_template_raise(ev, GGUF_E_FORMAT, "%s has no length", rt_template_kind_name(v));
    return 0;
}

static rt_template_value characters(rt_template_eval *ev, gguf_str s) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    for (size_t i = 0; i < s.len && !ev->code;) {
        size_t n = rt_template_char_len(s.ptr + i, s.len - i);
        rt_template_push(ev, out, rt_template_str((gguf_str){s.ptr + i, n}));
        i += n;
    }
    return out;
}

rt_template_list rt_template_items(rt_template_eval *ev, rt_template_value v) {
    rt_template_value out = v;
    if (v.kind == RT_TEMPLATE_STRING) out = characters(ev, v.as.str);
    if (v.kind == RT_TEMPLATE_DICT) {
        out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
        for (size_t i = 0; i < v.as.dict->n && !ev->code; i++)
            rt_template_push(ev, out, v.as.dict->entries[i].key);
    }
    if (ev->code || v.kind == RT_TEMPLATE_UNDEFINED) return (rt_template_list){0};
    if (!rt_template_is_list(out) && out.kind != RT_TEMPLATE_ITER) {
        rt_template_raise(ev, GGUF_E_FORMAT, "%s cannot be walked through",
                          rt_template_kind_name(v));
        return (rt_template_list){0};
    }
    rt_template_list items = *out.as.list;
    if (out.kind == RT_TEMPLATE_ITER) out.as.list->n = 0;
    return items;
}

/* ---- equality and order ------------------------------------------------------------------ */

static bool equal_lists(rt_template_eval *ev, const rt_template_list *a,
                        const rt_template_list *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!rt_template_equal(ev, a->items[i], b->items[i])) return false;
    return true;
}

static bool equal_dicts(rt_template_eval *ev, const rt_template_dict *a,
                        const rt_template_dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const rt_template_value *other = rt_template_get(ev, b, a->entries[i].key);
        if (!other || !rt_template_equal(ev, a->entries[i].value, *other)) return false;
    }
    return true;
}

static bool equal_inside(rt_template_eval *ev, rt_template_value a, rt_template_value b) {
    bool equal = false;
    if (!rt_template_deeper(ev) || !rt_template_step(ev, 1))
        equal = false;
    else if (rt_template_is_list(a))
        equal = equal_lists(ev, a.as.list, b.as.list);
    else
        equal = equal_dicts(ev, a.as.dict, b.as.dict);
    rt_template_back(ev);
    return equal;
}

bool rt_template_equal(rt_template_eval *ev, rt_template_value a, rt_template_value b) {
    if (rt_template_is_number(a) && rt_template_is_number(b)) {
        if (a.kind == RT_TEMPLATE_FLOAT || b.kind == RT_TEMPLATE_FLOAT)
            return rt_template_real(a) == rt_template_real(b);
        return rt_template_whole(a) == rt_template_whole(b);
    }
    if (a.kind != b.kind) return false;
    if (a.kind == RT_TEMPLATE_STRING)
        return a.as.str.len == b.as.str.len &&
               memcmp(a.as.str.ptr, b.as.str.ptr, a.as.str.len) == 0;
    if (a.kind <= RT_TEMPLATE_NONE) return true;
    if (rt_template_is_list(a) || a.kind == RT_TEMPLATE_DICT) return equal_inside(ev, a, b);
    return a.as.list == b.as.list;
}

static int order_strings(gguf_str a, gguf_str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int order_lists(rt_template_eval *ev, const rt_template_list *a, const rt_template_list *b) {
    int order = 0;
    if (rt_template_deeper(ev)) {
        for (size_t i = 0; i < a->n && i < b->n && !order && rt_template_step(ev, 1); i++)
            if (!rt_template_equal(ev, a->items[i], b->items[i]))
                order = rt_template_order(ev, a->items[i], b->items[i]);
        if (!order) order = (a->n > b->n) - (a->n < b->n);
    }
    rt_template_back(ev);
    return order;
}

int rt_template_order(rt_template_eval *ev, rt_template_value a, rt_template_value b) {
    if (rt_template_is_number(a) && rt_template_is_number(b)) {
        if (a.kind != RT_TEMPLATE_FLOAT && b.kind != RT_TEMPLATE_FLOAT)
            return (rt_template_whole(a) > rt_template_whole(b)) -
                   (rt_template_whole(a) < rt_template_whole(b));
        double x = rt_template_real(a), y = rt_template_real(b);
        return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
    }
    if (a.kind == b.kind && a.kind == RT_TEMPLATE_STRING) return order_strings(a.as.str, b.as.str);
    if (a.kind == b.kind && rt_template_is_list(a)) return order_lists(ev, a.as.list, b.as.list);
    rt_template_raise(ev, GGUF_E_FORMAT, "%s and %s have no order", rt_template_kind_name(a),
                      rt_template_kind_name(b));
    return 0;
}

static bool contains_str(gguf_str in, gguf_str what) {
    return rt_template_find_str(in, what, 0) != SIZE_MAX;
}

bool rt_template_contains(rt_template_eval *ev, rt_template_value in, rt_template_value what) {
    if (in.kind == RT_TEMPLATE_STRING) {
        gguf_str text = rt_template_as_str(ev, what, "'in' of a string");
        return !ev->code && rt_template_step(ev, in.as.str.len / 64) &&
               contains_str(in.as.str, text);
    }
    if (in.kind == RT_TEMPLATE_DICT) {
        if (!is_hashable(what))
            rt_template_raise(ev, GGUF_E_FORMAT, "%s cannot be a key", rt_template_kind_name(what));
        return rt_template_get(ev, in.as.dict, what) != NULL;
    }
    rt_template_list items = rt_template_items(ev, in);
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++)
        if (rt_template_equal(ev, items.items[i], what)) return true;
    return false;
}
