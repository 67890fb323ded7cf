/* Values of a template: memory, lists, dicts, equality and order. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- evaluator --------------------------------------------------------------------------- */

void tpl_raise(tpl_eval *ev, gguf_code code, const char *format, ...) {
    va_list args;
    if (ev->code) return;
    va_start(args, format);
    ev->code =
        tpl_report(ev->err, code, (gguf_str){ev->tpl->source, ev->tpl->len}, ev->off, format, args);
    va_end(args);
}

static tpl_chunk *new_chunk(tpl_eval *ev, size_t room) {
    if (room > ev->memory_left) {
        tpl_raise(ev, GGUF_E_LIMIT, "the template takes too much memory");
        return NULL;
    }
    tpl_chunk *chunk = calloc(1, sizeof *chunk + room);
    if (!chunk) {
        tpl_raise(ev, GGUF_E_NOMEM, "out of memory");
        return NULL;
    }
    ev->memory_left -= room;
    chunk->room = room;
    chunk->next = ev->chunks;
    ev->chunks = chunk;
    return chunk;
}

void *tpl_new(tpl_eval *ev, size_t n) {
    tpl_chunk *chunk = ev->chunks;
    n = (n + 15) / 16 * 16;
    if (!chunk || chunk->room - chunk->used < n) chunk = new_chunk(ev, n > 16384 ? n : 16384);
    if (!chunk) return NULL;
    void *out = chunk->bytes + chunk->used;
    chunk->used += n;
    return out;
}

bool tpl_step(tpl_eval *ev, uint64_t n) {
    if (!ev->code && n > ev->steps_left)
        tpl_raise(ev, GGUF_E_LIMIT, "the template takes too many steps");
    if (ev->code) return false;
    ev->steps_left -= n;
    return true;
}

bool tpl_deeper(tpl_eval *ev) {
    if (++ev->depth > RT_TPL_MAX_CALLS)
        tpl_raise(ev, GGUF_E_LIMIT, "calls nested too deeply (%d levels)", RT_TPL_MAX_CALLS);
    return !ev->code;
}

void tpl_back(tpl_eval *ev) {
    ev->depth--;
}

/* ---- making values ----------------------------------------------------------------------- */

tpl_value tpl_undefined(gguf_str what) {
    return (tpl_value){.kind = TPL_UNDEFINED, .as.str = what};
}

tpl_value tpl_none(void) {
    return (tpl_value){.kind = TPL_NONE};
}

tpl_value tpl_bool(bool value) {
    return (tpl_value){.kind = TPL_BOOL, .as.boolean = value};
}

tpl_value tpl_int(int64_t value) {
    return (tpl_value){.kind = TPL_INT, .as.integer = value};
}

tpl_value tpl_float(double value) {
    return (tpl_value){.kind = TPL_FLOAT, .as.real = value};
}

tpl_value tpl_str(gguf_str text) {
    return (tpl_value){.kind = TPL_STRING, .as.str = text};
}

tpl_value tpl_text(const char *text) {
    return tpl_str(gguf_str_of(text));
}

tpl_value tpl_copy_str(tpl_eval *ev, const char *bytes, size_t n) {
    char *copy = n ? tpl_new(ev, n) : NULL;
    if (!copy) return tpl_text("");
    memcpy(copy, bytes, n);
    return tpl_str((gguf_str){copy, n});
}

void tpl_buf_init(const tpl_eval *ev, gguf_dynbuf *buf) {
    gguf_dynbuf_init(buf,
                     ev->memory_left < RT_TPL_MAX_OUTPUT ? ev->memory_left : RT_TPL_MAX_OUTPUT);
}

tpl_value tpl_taken(tpl_eval *ev, gguf_dynbuf *buf) {
    if (buf->code) tpl_raise(ev, buf->code, "a text is too long");
    tpl_value out = ev->code ? tpl_text("") : tpl_copy_str(ev, (const char *)buf->data, buf->len);
    gguf_dynbuf_clear(buf);
    return out;
}

tpl_value tpl_list_new(tpl_eval *ev, tpl_kind kind) {
    tpl_list *list = tpl_new(ev, sizeof *list);
    return list ? (tpl_value){.kind = kind, .as.list = list} : tpl_undefined(gguf_str_of(""));
}

/* Room for one more element of an array in the arena. */
static void *grown(tpl_eval *ev, void *old, size_t n, size_t *room, size_t size) {
    if (n < *room) return old;
    size_t more = *room ? *room * 2 : 8;
    void *out = tpl_new(ev, more * size);
    if (!out) return NULL;
    if (n) memcpy(out, old, n * size);
    *room = more;
    return out;
}

void tpl_push(tpl_eval *ev, tpl_value list, tpl_value item) {
    if (ev->code || !tpl_step(ev, 1)) return;
    tpl_list *to = list.as.list;
    tpl_value *items = grown(ev, to->items, to->n, &to->room, sizeof *items);
    if (!items) return;
    to->items = items;
    to->items[to->n++] = item;
}

tpl_value tpl_pair(tpl_eval *ev, tpl_value a, tpl_value b) {
    tpl_value out = tpl_list_new(ev, TPL_TUPLE);
    tpl_push(ev, out, a);
    tpl_push(ev, out, b);
    return out;
}

tpl_value tpl_dict_new(tpl_eval *ev) {
    tpl_dict *dict = tpl_new(ev, sizeof *dict);
    return dict ? (tpl_value){.kind = TPL_DICT, .as.dict = dict} : tpl_undefined(gguf_str_of(""));
}

static bool is_hashable(tpl_value key) {
    return key.kind != TPL_LIST && key.kind != TPL_DICT;
}

const tpl_value *tpl_get(tpl_eval *ev, const tpl_dict *dict, tpl_value key) {
    if (!tpl_step(ev, dict->n / 8)) return NULL;
    for (size_t i = 0; i < dict->n; i++)
        if (tpl_equal(ev, dict->entries[i].key, key)) return &dict->entries[i].value;
    return NULL;
}

const tpl_value *tpl_get_str(const tpl_dict *dict, gguf_str key) {
    for (size_t i = 0; i < dict->n; i++) {
        const tpl_value *at = &dict->entries[i].key;
        if (at->kind == TPL_STRING && at->as.str.len == key.len &&
            memcmp(at->as.str.ptr, key.ptr, key.len) == 0)
            return &dict->entries[i].value;
    }
    return NULL;
}

/* Append without looking for the key. */
static void append_entry(tpl_eval *ev, tpl_dict *dict, tpl_value key, tpl_value value) {
    tpl_entry *entries = grown(ev, dict->entries, dict->n, &dict->room, sizeof *entries);
    if (!entries) return;
    dict->entries = entries;
    dict->entries[dict->n++] = (tpl_entry){key, value};
}

void tpl_put(tpl_eval *ev, tpl_dict *dict, tpl_value key, tpl_value value) {
    if (!is_hashable(key)) tpl_raise(ev, GGUF_E_FORMAT, "%s cannot be a key", tpl_kind_name(key));
    if (ev->code) return;
    tpl_value *old = (tpl_value *)tpl_get(ev, dict, key);
    if (old)
        *old = value;
    else if (!ev->code)
        append_entry(ev, dict, key, value);
}

tpl_value tpl_from_json(tpl_eval *ev, const json_t *json) {
    tpl_value out = tpl_none();
    const char *key;
    json_t *item;
    size_t i;
    if (!tpl_deeper(ev) || !tpl_step(ev, 1)) {
        tpl_back(ev);
        return out;
    }
    if (json_is_boolean(json)) out = tpl_bool(json_is_true(json));
    if (json_is_integer(json)) out = tpl_int(json_integer_value(json));
    if (json_is_real(json)) out = tpl_float(json_real_value(json));
    if (json_is_string(json))
        out = tpl_copy_str(ev, json_string_value(json), json_string_length(json));
    if (json_is_array(json)) {
        out = tpl_list_new(ev, TPL_LIST);
        json_array_foreach(json, i, item) tpl_push(ev, out, tpl_from_json(ev, item));
    }
    if (json_is_object(json)) {
        out = tpl_dict_new(ev);
        json_object_foreach((json_t *)json, key, item) {
            tpl_value name = tpl_copy_str(ev, key, strlen(key));
            tpl_value value = tpl_from_json(ev, item);
            if (!ev->code) append_entry(ev, out.as.dict, name, value);
        }
    }
    tpl_back(ev);
    return out;
}

/* ---- properties -------------------------------------------------------------------------- */

bool tpl_given(tpl_value v) {
    return v.kind != TPL_MISSING && v.kind != TPL_NONE;
}

bool tpl_is_list(tpl_value v) {
    return v.kind == TPL_LIST || v.kind == TPL_TUPLE;
}

bool tpl_is_number(tpl_value v) {
    return v.kind == TPL_BOOL || v.kind == TPL_INT || v.kind == TPL_FLOAT;
}

double tpl_real(tpl_value v) {
    if (v.kind == TPL_FLOAT) return v.as.real;
    return (double)tpl_whole(v);
}

int64_t tpl_whole(tpl_value v) {
    return v.kind == TPL_BOOL ? v.as.boolean : v.as.integer;
}

bool tpl_truth(tpl_value v) {
    switch (v.kind) {
    case TPL_MISSING:
    case TPL_UNDEFINED:
    case TPL_NONE:
        return false;
    case TPL_BOOL:
        return v.as.boolean;
    case TPL_INT:
        return v.as.integer != 0;
    case TPL_FLOAT:
        return v.as.real != 0;
    case TPL_STRING:
        return v.as.str.len > 0;
    case TPL_LIST:
    case TPL_TUPLE:
        return v.as.list->n > 0;
    case TPL_DICT:
        return v.as.dict->n > 0;
    default:
        return true;
    }
}

const char *tpl_kind_name(tpl_value v) {
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

size_t tpl_length(tpl_eval *ev, tpl_value v) {
    if (v.kind == TPL_UNDEFINED) return 0;
    if (v.kind == TPL_STRING) return tpl_n_chars(v.as.str);
    if (tpl_is_list(v)) return v.as.list->n;
    if (v.kind == TPL_DICT) return v.as.dict->n;
    if (v.kind == TPL_LOOP) return v.as.loop->n;
    tpl_raise(ev, GGUF_E_FORMAT, "%s has no length", tpl_kind_name(v));
    return 0;
}

static tpl_value characters(tpl_eval *ev, gguf_str s) {
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    for (size_t i = 0; i < s.len && !ev->code;) {
        size_t n = tpl_char_len(s.ptr + i, s.len - i);
        tpl_push(ev, out, tpl_str((gguf_str){s.ptr + i, n}));
        i += n;
    }
    return out;
}

tpl_list tpl_items(tpl_eval *ev, tpl_value v) {
    tpl_value out = v;
    if (v.kind == TPL_STRING) out = characters(ev, v.as.str);
    if (v.kind == TPL_DICT) {
        out = tpl_list_new(ev, TPL_LIST);
        for (size_t i = 0; i < v.as.dict->n && !ev->code; i++)
            tpl_push(ev, out, v.as.dict->entries[i].key);
    }
    if (ev->code || v.kind == TPL_UNDEFINED) return (tpl_list){0};
    if (!tpl_is_list(out) && out.kind != TPL_ITER) {
        tpl_raise(ev, GGUF_E_FORMAT, "%s cannot be walked through", tpl_kind_name(v));
        return (tpl_list){0};
    }
    tpl_list items = *out.as.list;
    if (out.kind == TPL_ITER) out.as.list->n = 0;
    return items;
}

/* ---- equality and order ------------------------------------------------------------------ */

static bool equal_lists(tpl_eval *ev, const tpl_list *a, const tpl_list *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!tpl_equal(ev, a->items[i], b->items[i])) return false;
    return true;
}

static bool equal_dicts(tpl_eval *ev, const tpl_dict *a, const tpl_dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const tpl_value *other = tpl_get(ev, b, a->entries[i].key);
        if (!other || !tpl_equal(ev, a->entries[i].value, *other)) return false;
    }
    return true;
}

static bool equal_inside(tpl_eval *ev, tpl_value a, tpl_value b) {
    bool equal = false;
    if (!tpl_deeper(ev) || !tpl_step(ev, 1))
        equal = false;
    else if (tpl_is_list(a))
        equal = equal_lists(ev, a.as.list, b.as.list);
    else
        equal = equal_dicts(ev, a.as.dict, b.as.dict);
    tpl_back(ev);
    return equal;
}

bool tpl_equal(tpl_eval *ev, tpl_value a, tpl_value b) {
    if (tpl_is_number(a) && tpl_is_number(b)) {
        if (a.kind == TPL_FLOAT || b.kind == TPL_FLOAT) return tpl_real(a) == tpl_real(b);
        return tpl_whole(a) == tpl_whole(b);
    }
    if (a.kind != b.kind) return false;
    if (a.kind == TPL_STRING)
        return a.as.str.len == b.as.str.len &&
               memcmp(a.as.str.ptr, b.as.str.ptr, a.as.str.len) == 0;
    if (a.kind <= TPL_NONE) return true;
    if (tpl_is_list(a) || a.kind == TPL_DICT) return equal_inside(ev, a, b);
    return a.as.list == b.as.list;
}

static int order_strings(gguf_str a, gguf_str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int order_lists(tpl_eval *ev, const tpl_list *a, const tpl_list *b) {
    int order = 0;
    if (tpl_deeper(ev)) {
        for (size_t i = 0; i < a->n && i < b->n && !order && tpl_step(ev, 1); i++)
            if (!tpl_equal(ev, a->items[i], b->items[i]))
                order = tpl_order(ev, a->items[i], b->items[i]);
        if (!order) order = (a->n > b->n) - (a->n < b->n);
    }
    tpl_back(ev);
    return order;
}

int tpl_order(tpl_eval *ev, tpl_value a, tpl_value b) {
    if (tpl_is_number(a) && tpl_is_number(b)) {
        if (a.kind != TPL_FLOAT && b.kind != TPL_FLOAT)
            return (tpl_whole(a) > tpl_whole(b)) - (tpl_whole(a) < tpl_whole(b));
        double x = tpl_real(a), y = tpl_real(b);
        return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
    }
    if (a.kind == b.kind && a.kind == TPL_STRING) return order_strings(a.as.str, b.as.str);
    if (a.kind == b.kind && tpl_is_list(a)) return order_lists(ev, a.as.list, b.as.list);
    tpl_raise(ev, GGUF_E_FORMAT, "%s and %s have no order", tpl_kind_name(a), tpl_kind_name(b));
    return 0;
}

static bool contains_str(gguf_str in, gguf_str what) {
    return tpl_find_str(in, what, 0) != SIZE_MAX;
}

bool tpl_contains(tpl_eval *ev, tpl_value in, tpl_value what) {
    if (in.kind == TPL_STRING) {
        gguf_str text = tpl_as_str(ev, what, "'in' of a string");
        return !ev->code && tpl_step(ev, in.as.str.len / 64) && contains_str(in.as.str, text);
    }
    if (in.kind == TPL_DICT) {
        if (!is_hashable(what))
            tpl_raise(ev, GGUF_E_FORMAT, "%s cannot be a key", tpl_kind_name(what));
        return tpl_get(ev, in.as.dict, what) != NULL;
    }
    tpl_list items = tpl_items(ev, in);
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++)
        if (tpl_equal(ev, items.items[i], what)) return true;
    return false;
}
