/* Operators, attributes, items and slices. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <string.h>

static const char *op_text(rt_tpl_op op) {
    static const char *const texts[] = {"",   "or", "and", "not", "==",     "!=", "<",
                                        "<=", ">",  ">=",  "in",  "not in", "+",  "-",
                                        "~",  "*",  "/",   "//",  "%",      "**"};
    return texts[op];
}

static tpl_value mismatch(tpl_eval *ev, rt_tpl_op op, tpl_value a, tpl_value b) {
    tpl_value undefined = a.kind == TPL_UNDEFINED ? a : b;
    if (undefined.kind == TPL_UNDEFINED)
        tpl_raise(ev, GGUF_E_FORMAT, "'%.*s' is undefined", TPL_SHOWN(undefined.as.str));
    else
        tpl_raise(ev, GGUF_E_FORMAT, "'%s' does not take %s and %s", op_text(op), tpl_kind_name(a),
                  tpl_kind_name(b));
    return tpl_none();
}

static tpl_value overflow(tpl_eval *ev) {
    tpl_raise(ev, GGUF_E_LIMIT, "a number does not fit into 64 bits");
    return tpl_none();
}

static tpl_value divided_by_zero(tpl_eval *ev) {
    tpl_raise(ev, GGUF_E_FORMAT, "division by zero");
    return tpl_none();
}

/* ---- numbers ----------------------------------------------------------------------------- */

static tpl_value power(tpl_eval *ev, int64_t base, int64_t exponent) {
    int64_t out = 1;
    if (exponent < 0 && base == 0) return divided_by_zero(ev);
    if (exponent < 0) return tpl_float(pow((double)base, (double)exponent));
    if (base >= -1 && base <= 1) exponent = base == -1 ? exponent & 1 : exponent > 0;
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(out, base, &out)) return overflow(ev);
    return tpl_int(out);
}

static tpl_value whole_op(tpl_eval *ev, rt_tpl_op op, int64_t a, int64_t b) {
    int64_t out = 0;
    bool over = false;
    if (op == RT_TPL_OP_ADD) over = __builtin_add_overflow(a, b, &out);
    if (op == RT_TPL_OP_SUB) over = __builtin_sub_overflow(a, b, &out);
    if (op == RT_TPL_OP_MUL) over = __builtin_mul_overflow(a, b, &out);
    if (op == RT_TPL_OP_POW) return power(ev, a, b);
    if (op == RT_TPL_OP_DIV || op == RT_TPL_OP_FLOORDIV || op == RT_TPL_OP_MOD) {
        if (b == 0) return divided_by_zero(ev);
        if (op == RT_TPL_OP_DIV) return tpl_float((double)a / (double)b);
        if (b == -1) return op == RT_TPL_OP_MOD ? tpl_int(0) : whole_op(ev, RT_TPL_OP_SUB, 0, a);
        bool uneven = a % b != 0 && (a < 0) != (b < 0);
        out = op == RT_TPL_OP_MOD ? a % b + (uneven ? b : 0) : a / b - uneven;
    }
    return over ? overflow(ev) : tpl_int(out);
}

static tpl_value real_op(tpl_eval *ev, rt_tpl_op op, double a, double b) {
    double rest;
    switch (op) {
    case RT_TPL_OP_ADD:
        return tpl_float(a + b);
    case RT_TPL_OP_SUB:
        return tpl_float(a - b);
    case RT_TPL_OP_MUL:
        return tpl_float(a * b);
    case RT_TPL_OP_POW:
        return tpl_float(pow(a, b));
    default:
        break;
    }
    if (b == 0) return divided_by_zero(ev);
    if (op == RT_TPL_OP_DIV) return tpl_float(a / b);
    rest = fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    return tpl_float(op == RT_TPL_OP_MOD ? rest : round((a - rest) / b));
}

/* ---- sequences --------------------------------------------------------------------------- */

static tpl_value joined(tpl_eval *ev, gguf_str a, gguf_str b) {
    if (!tpl_step(ev, (a.len + b.len) / 64)) return tpl_text("");
    char *out = tpl_new(ev, a.len + b.len + 1);
    if (!out) return tpl_text("");
    if (a.len) memcpy(out, a.ptr, a.len);
    if (b.len) memcpy(out + a.len, b.ptr, b.len);
    return tpl_str((gguf_str){out, a.len + b.len});
}

static tpl_value joined_lists(tpl_eval *ev, tpl_value a, tpl_value b) {
    tpl_value out = tpl_list_new(ev, a.kind);
    for (size_t i = 0; i < a.as.list->n; i++) tpl_push(ev, out, a.as.list->items[i]);
    for (size_t i = 0; i < b.as.list->n; i++) tpl_push(ev, out, b.as.list->items[i]);
    return out;
}

/* What is added to markup is escaped, and the whole is markup. */
static tpl_value added(tpl_eval *ev, tpl_value a, tpl_value b) {
    bool safe = a.safe || b.safe;
    if (safe) a = tpl_escape(ev, a), b = tpl_escape(ev, b);
    tpl_value out = joined(ev, a.as.str, b.as.str);
    out.safe = safe && out.kind == TPL_STRING;
    return out;
}

static tpl_value repeated(tpl_eval *ev, tpl_value what, int64_t times) {
    gguf_dynbuf buf;
    tpl_value out = what.kind == TPL_STRING ? what : tpl_list_new(ev, what.kind);
    if (what.kind != TPL_STRING) {
        for (; times > 0 && tpl_step(ev, 1); times--)
            for (size_t i = 0; i < what.as.list->n; i++) tpl_push(ev, out, what.as.list->items[i]);
        return out;
    }
    tpl_buf_init(ev, &buf);
    for (; times > 0 && what.as.str.len && !buf.code && tpl_step(ev, 1); times--)
        gguf_dynbuf_put(&buf, what.as.str.ptr, what.as.str.len);
    out = tpl_taken(ev, &buf);
    out.safe = what.safe && out.kind == TPL_STRING;
    return out;
}

static bool is_sequence(tpl_value v) {
    return v.kind == TPL_STRING || tpl_is_list(v);
}

static bool is_whole(tpl_value v) {
    return v.kind == TPL_INT || v.kind == TPL_BOOL;
}

tpl_value tpl_binary(tpl_eval *ev, rt_tpl_op op, tpl_value a, tpl_value b) {
    if (ev->code) return tpl_none();
    if (op == RT_TPL_OP_CONCAT) {
        gguf_str left = tpl_to_str(ev, a);
        return joined(ev, left, tpl_to_str(ev, b));
    }
    if (is_whole(a) && is_whole(b)) return whole_op(ev, op, tpl_whole(a), tpl_whole(b));
    if (tpl_is_number(a) && tpl_is_number(b)) return real_op(ev, op, tpl_real(a), tpl_real(b));
    if (op == RT_TPL_OP_MOD && a.kind == TPL_STRING) return tpl_percent(ev, a.as.str, b);
    if (op == RT_TPL_OP_MUL && is_sequence(a) && is_whole(b)) return repeated(ev, a, tpl_whole(b));
    if (op == RT_TPL_OP_MUL && is_sequence(b) && is_whole(a)) return repeated(ev, b, tpl_whole(a));
    if (op == RT_TPL_OP_ADD && a.kind == b.kind) {
        if (a.kind == TPL_STRING) return added(ev, a, b);
        if (tpl_is_list(a)) return joined_lists(ev, a, b);
    }
    return mismatch(ev, op, a, b);
}

tpl_value tpl_negate(tpl_eval *ev, rt_tpl_op op, tpl_value a) {
    if (op == RT_TPL_OP_NOT) return tpl_bool(!tpl_truth(a));
    if (!tpl_is_number(a)) return mismatch(ev, op, a, a);
    if (a.kind == TPL_FLOAT) return tpl_float(op == RT_TPL_OP_SUB ? -a.as.real : a.as.real);
    return whole_op(ev, op, 0, tpl_whole(a));
}

bool tpl_compare(tpl_eval *ev, rt_tpl_op op, tpl_value a, tpl_value b) {
    if (op == RT_TPL_OP_EQ) return tpl_equal(ev, a, b);
    if (op == RT_TPL_OP_NE) return !tpl_equal(ev, a, b);
    if (op == RT_TPL_OP_IN) return tpl_contains(ev, b, a);
    if (op == RT_TPL_OP_NOT_IN) return !tpl_contains(ev, b, a);
    if (a.kind == TPL_UNDEFINED || b.kind == TPL_UNDEFINED) return mismatch(ev, op, a, b), false;
    int order = tpl_order(ev, a, b);
    if (ev->code || order == 2) return false; /* 2: not a number */
    return op == RT_TPL_OP_LT   ? order < 0
           : op == RT_TPL_OP_LE ? order <= 0
           : op == RT_TPL_OP_GT ? order > 0
                                : order >= 0;
}

/* ---- attributes and items ---------------------------------------------------------------- */

static tpl_value bound(tpl_eval *ev, const tpl_function *fn, tpl_value self) {
    tpl_method *method = tpl_new(ev, sizeof *method);
    if (!method) return tpl_none();
    *method = (tpl_method){fn, self};
    return (tpl_value){.kind = TPL_FUNCTION, .as.method = method};
}

static const tpl_function *methods_of(tpl_value v) {
    switch (v.kind) {
    case TPL_STRING:
        return tpl_string_methods;
    case TPL_DICT:
        return tpl_dict_methods;
    case TPL_LIST:
    case TPL_TUPLE:
        return tpl_list_methods;
    case TPL_LOOP:
        return tpl_loop_methods;
    case TPL_CYCLER:
        return tpl_cycler_methods;
    case TPL_FLOAT:
        return tpl_float_methods;
    default:
        return NULL;
    }
}

static tpl_value loop_item(const tpl_loop *loop, size_t i, const char *what) {
    return i < loop->n ? loop->items[i] : tpl_undefined(gguf_str_of(what));
}

static bool loop_attribute(const tpl_loop *loop, gguf_str name, tpl_value *out) {
    const struct {
        const char *name;
        size_t value;
    } counts[] = {{"index", loop->at + 1},
                  {"index0", loop->at},
                  {"revindex", loop->n - loop->at},
                  {"revindex0", loop->n - loop->at - 1},
                  {"length", loop->n},
                  {"depth", loop->depth + 1},
                  {"depth0", loop->depth}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (gguf_str_eq(name, counts[i].name))
            return *out = tpl_int((int64_t)counts[i].value), true;
    if (gguf_str_eq(name, "first")) return *out = tpl_bool(loop->at == 0), true;
    if (gguf_str_eq(name, "last")) return *out = tpl_bool(loop->at + 1 == loop->n), true;
    if (gguf_str_eq(name, "previtem"))
        return *out = loop_item(loop, loop->at - 1, "there is no previous item"), true;
    if (gguf_str_eq(name, "nextitem"))
        return *out = loop_item(loop, loop->at + 1, "there is no next item"), true;
    return false;
}

static bool macro_attribute(tpl_eval *ev, const tpl_macro *macro, gguf_str name, tpl_value *out) {
    if (gguf_str_eq(name, "name")) return *out = tpl_str(macro->node->text), true;
    if (!gguf_str_eq(name, "arguments")) return false;
    *out = tpl_list_new(ev, TPL_TUPLE);
    for (const rt_tpl_node *p = macro->node->args; p; p = p->next)
        tpl_push(ev, *out, tpl_str(p->text));
    return true;
}

/* What the object itself has by this name, apart from its items. */
static bool own_attribute(tpl_eval *ev, tpl_value obj, gguf_str name, tpl_value *out) {
    const tpl_function *table = methods_of(obj);
    const tpl_function *fn = table ? tpl_find(table, name) : NULL;
    if (obj.kind == TPL_LOOP && loop_attribute(obj.as.loop, name, out)) return true;
    if (obj.kind == TPL_MACRO) return macro_attribute(ev, obj.as.macro, name, out);
    if (obj.kind == TPL_NAMESPACE) {
        const tpl_value *value = tpl_get_str(obj.as.dict, name);
        if (value) *out = *value;
        return value != NULL;
    }
    if (obj.kind == TPL_CYCLER && gguf_str_eq(name, "current"))
        return *out = obj.as.list->items[obj.as.list->at], true;
    if (fn) *out = bound(ev, fn, obj);
    return fn != NULL;
}

static bool raise_undefined(tpl_eval *ev, tpl_value obj) {
    if (obj.kind == TPL_UNDEFINED)
        tpl_raise(ev, GGUF_E_FORMAT, "'%.*s' is undefined", TPL_SHOWN(obj.as.str));
    return ev->code != GGUF_OK;
}

tpl_value tpl_attribute(tpl_eval *ev, tpl_value obj, gguf_str name) {
    tpl_value out = tpl_undefined(name);
    if (raise_undefined(ev, obj) || own_attribute(ev, obj, name, &out)) return out;
    const tpl_value *item = obj.kind == TPL_DICT ? tpl_get_str(obj.as.dict, name) : NULL;
    return item ? *item : out;
}

static tpl_value nth(tpl_eval *ev, tpl_value obj, int64_t i) {
    int64_t n = (int64_t)tpl_length(ev, obj);
    if (i < 0) i += n;
    if (ev->code || i < 0 || i >= n) return tpl_undefined(gguf_str_of("item"));
    if (obj.kind != TPL_STRING) return obj.as.list->items[i];
    tpl_step(ev, obj.as.str.len / 64);
    size_t at = tpl_char_offset(obj.as.str, (size_t)i);
    const char *ch = obj.as.str.ptr + at;
    return tpl_str((gguf_str){ch, tpl_char_len(ch, obj.as.str.len - at)});
}

tpl_value tpl_item(tpl_eval *ev, tpl_value obj, tpl_value key) {
    tpl_value out = tpl_undefined(key.kind == TPL_STRING ? key.as.str : gguf_str_of("item"));
    if (raise_undefined(ev, obj)) return out;
    if (obj.kind == TPL_DICT) {
        const tpl_value *item = tpl_get(ev, obj.as.dict, key);
        if (item) return *item;
    }
    if (is_sequence(obj) && is_whole(key)) return nth(ev, obj, tpl_whole(key));
    if (key.kind == TPL_STRING) own_attribute(ev, obj, key.as.str, &out);
    return out;
}

/* ---- slices ------------------------------------------------------------------------------ */

/* Where a slice begins or ends, moved into the sequence as Python does. */
static int64_t clamped(int64_t i, int64_t n, bool down) {
    if (i < 0) i += n;
    if (i < 0) return down ? -1 : 0;
    return i >= n ? (down ? n - 1 : n) : i;
}

tpl_value tpl_slice(tpl_eval *ev, tpl_value obj, const tpl_value part[3]) {
    if (raise_undefined(ev, obj)) return obj;
    if (!is_sequence(obj)) {
        tpl_raise(ev, GGUF_E_FORMAT, "%s has no slices", tpl_kind_name(obj));
        return obj;
    }
    int64_t n = (int64_t)tpl_length(ev, obj), step = tpl_int_arg(ev, part[2], 1);
    if (step == 0) tpl_raise(ev, GGUF_E_FORMAT, "a slice with a step of 0");
    if (step > n) step = n + 1;
    if (step < -n) step = -n - 1;
    bool down = step < 0;
    int64_t at = tpl_given(part[0]) ? clamped(tpl_int_arg(ev, part[0], 0), n, down)
                 : down             ? n - 1
                                    : 0;
    int64_t end = tpl_given(part[1]) ? clamped(tpl_int_arg(ev, part[1], 0), n, down)
                  : down             ? -1
                                     : n;
    if (obj.kind == TPL_STRING && step == 1 && !ev->code) {
        size_t from = tpl_char_offset(obj.as.str, (size_t)at);
        size_t to = end > at ? tpl_char_offset(obj.as.str, (size_t)end) : from;
        return tpl_step(ev, obj.as.str.len / 64)
                   ? tpl_str((gguf_str){obj.as.str.ptr + from, to - from})
                   : obj;
    }
    gguf_dynbuf buf;
    tpl_value out = obj.kind == TPL_STRING ? obj : tpl_list_new(ev, obj.kind);
    tpl_buf_init(ev, &buf);
    for (; !ev->code && (down ? at > end : at < end) && tpl_step(ev, 1); at += step) {
        tpl_value item = nth(ev, obj, at);
        if (obj.kind == TPL_STRING)
            gguf_dynbuf_put(&buf, item.as.str.ptr, item.as.str.len);
        else
            tpl_push(ev, out, item);
    }
    if (obj.kind == TPL_STRING) return tpl_taken(ev, &buf);
    gguf_dynbuf_clear(&buf);
    return out;
}
