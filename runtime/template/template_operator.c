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

static rt_template_value mismatch(rt_template_eval *ev, rt_tpl_op op, rt_template_value a,
                                  rt_template_value b) {
    rt_template_value undefined = a.kind == RT_TEMPLATE_UNDEFINED ? a : b;
    if (undefined.kind == RT_TEMPLATE_UNDEFINED)
        rt_template_raise(ev, GGUF_E_FORMAT, "'%.*s' is undefined",
                          RT_TEMPLATE_SHOWN(undefined.as.str));
    else
        rt_template_raise(ev, GGUF_E_FORMAT, "'%s' does not take %s and %s", op_text(op),
                          rt_template_kind_name(a), rt_template_kind_name(b));
    return rt_template_none();
}

static rt_template_value overflow(rt_template_eval *ev) {
    rt_template_raise(ev, GGUF_E_LIMIT, "a number does not fit into 64 bits");
    return rt_template_none();
}

static rt_template_value divided_by_zero(rt_template_eval *ev) {
    rt_template_raise(ev, GGUF_E_FORMAT, "division by zero");
    return rt_template_none();
}

/* ---- numbers ----------------------------------------------------------------------------- */

static rt_template_value power(rt_template_eval *ev, int64_t base, int64_t exponent) {
    int64_t out = 1;
    if (exponent < 0 && base == 0) return divided_by_zero(ev);
    if (exponent < 0) return rt_template_float(pow((double)base, (double)exponent));
    if (base >= -1 && base <= 1) exponent = base == -1 ? exponent & 1 : exponent > 0;
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(out, base, &out)) return overflow(ev);
    return rt_template_int(out);
}

static rt_template_value whole_op(rt_template_eval *ev, rt_tpl_op op, int64_t a, int64_t b) {
    int64_t out = 0;
    bool over = false;
    if (op == RT_TPL_OP_ADD) over = __builtin_add_overflow(a, b, &out);
    if (op == RT_TPL_OP_SUB) over = __builtin_sub_overflow(a, b, &out);
    if (op == RT_TPL_OP_MUL) over = __builtin_mul_overflow(a, b, &out);
    if (op == RT_TPL_OP_POW) return power(ev, a, b);
    if (op == RT_TPL_OP_DIV || op == RT_TPL_OP_FLOORDIV || op == RT_TPL_OP_MOD) {
        if (b == 0) return divided_by_zero(ev);
        if (op == RT_TPL_OP_DIV) return rt_template_float((double)a / (double)b);
        if (b == -1)
            return op == RT_TPL_OP_MOD ? rt_template_int(0) : whole_op(ev, RT_TPL_OP_SUB, 0, a);
        bool uneven = a % b != 0 && (a < 0) != (b < 0);
        out = op == RT_TPL_OP_MOD ? a % b + (uneven ? b : 0) : a / b - uneven;
    }
    return over ? overflow(ev) : rt_template_int(out);
}

static rt_template_value real_op(rt_template_eval *ev, rt_tpl_op op, double a, double b) {
    double rest;
    switch (op) {
    case RT_TPL_OP_ADD:
        return rt_template_float(a + b);
    case RT_TPL_OP_SUB:
        return rt_template_float(a - b);
    case RT_TPL_OP_MUL:
        return rt_template_float(a * b);
    case RT_TPL_OP_POW:
        return rt_template_float(pow(a, b));
    default:
        break;
    }
    if (b == 0) return divided_by_zero(ev);
    if (op == RT_TPL_OP_DIV) return rt_template_float(a / b);
    rest = fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    return rt_template_float(op == RT_TPL_OP_MOD ? rest : round((a - rest) / b));
}

/* ---- sequences --------------------------------------------------------------------------- */

static rt_template_value joined(rt_template_eval *ev, gguf_str a, gguf_str b) {
    if (!rt_template_step(ev, (a.len + b.len) / 64)) return rt_template_text("");
    char *out = rt_template_new(ev, a.len + b.len + 1);
    if (!out) return rt_template_text("");
    if (a.len) memcpy(out, a.ptr, a.len);
    if (b.len) memcpy(out + a.len, b.ptr, b.len);
    return rt_template_str((gguf_str){out, a.len + b.len});
}

static rt_template_value joined_lists(rt_template_eval *ev, rt_template_value a,
                                      rt_template_value b) {
    rt_template_value out = rt_template_list_new(ev, a.kind);
    for (size_t i = 0; i < a.as.list->n; i++) rt_template_push(ev, out, a.as.list->items[i]);
    for (size_t i = 0; i < b.as.list->n; i++) rt_template_push(ev, out, b.as.list->items[i]);
    return out;
}

static rt_template_value repeated(rt_template_eval *ev, rt_template_value what, int64_t times) {
    gguf_dynbuf buf;
    rt_template_value out =
        what.kind == RT_TEMPLATE_STRING ? what : rt_template_list_new(ev, what.kind);
    if (what.kind != RT_TEMPLATE_STRING) {
        for (; times > 0 && rt_template_step(ev, 1); times--)
            for (size_t i = 0; i < what.as.list->n; i++)
                rt_template_push(ev, out, what.as.list->items[i]);
        return out;
    }
    rt_template_buf_init(ev, &buf);
    for (; times > 0 && what.as.str.len && !buf.code && rt_template_step(ev, 1); times--)
        gguf_dynbuf_put(&buf, what.as.str.ptr, what.as.str.len);
    return rt_template_taken(ev, &buf);
}

static bool is_sequence(rt_template_value v) {
    return v.kind == RT_TEMPLATE_STRING || rt_template_is_list(v);
}

static bool is_whole(rt_template_value v) {
    return v.kind == RT_TEMPLATE_INT || v.kind == RT_TEMPLATE_BOOL;
}

rt_template_value rt_template_binary(rt_template_eval *ev, rt_tpl_op op, rt_template_value a,
                                     rt_template_value b) {
    if (ev->code) return rt_template_none();
    if (op == RT_TPL_OP_CONCAT) {
        gguf_str left = rt_template_to_str(ev, a);
        return joined(ev, left, rt_template_to_str(ev, b));
    }
    if (is_whole(a) && is_whole(b))
        return whole_op(ev, op, rt_template_whole(a), rt_template_whole(b));
    if (rt_template_is_number(a) && rt_template_is_number(b))
        return real_op(ev, op, rt_template_real(a), rt_template_real(b));
    if (op == RT_TPL_OP_MOD && a.kind == RT_TEMPLATE_STRING)
        return rt_template_percent(ev, a.as.str, b);
    if (op == RT_TPL_OP_MUL && is_sequence(a) && is_whole(b))
        return repeated(ev, a, rt_template_whole(b));
    if (op == RT_TPL_OP_MUL && is_sequence(b) && is_whole(a))
        return repeated(ev, b, rt_template_whole(a));
    if (op == RT_TPL_OP_ADD && a.kind == b.kind) {
        if (a.kind == RT_TEMPLATE_STRING) return joined(ev, a.as.str, b.as.str);
        if (rt_template_is_list(a)) return joined_lists(ev, a, b);
    }
    return mismatch(ev, op, a, b);
}

rt_template_value rt_template_negate(rt_template_eval *ev, rt_tpl_op op, rt_template_value a) {
    if (op == RT_TPL_OP_NOT) return rt_template_bool(!rt_template_truth(a));
    if (!rt_template_is_number(a)) return mismatch(ev, op, a, a);
    if (a.kind == RT_TEMPLATE_FLOAT)
        return rt_template_float(op == RT_TPL_OP_SUB ? -a.as.real : a.as.real);
    return whole_op(ev, op, 0, rt_template_whole(a));
}

bool rt_template_compare(rt_template_eval *ev, rt_tpl_op op, rt_template_value a,
                         rt_template_value b) {
    if (op == RT_TPL_OP_EQ) return rt_template_equal(ev, a, b);
    if (op == RT_TPL_OP_NE) return !rt_template_equal(ev, a, b);
    if (op == RT_TPL_OP_IN) return rt_template_contains(ev, b, a);
    if (op == RT_TPL_OP_NOT_IN) return !rt_template_contains(ev, b, a);
    if (a.kind == RT_TEMPLATE_UNDEFINED || b.kind == RT_TEMPLATE_UNDEFINED)
        return mismatch(ev, op, a, b), false;
    int order = rt_template_order(ev, a, b);
    if (ev->code || order == 2) return false; /* 2: not a number */
    return op == RT_TPL_OP_LT   ? order < 0
           : op == RT_TPL_OP_LE ? order <= 0
           : op == RT_TPL_OP_GT ? order > 0
                                : order >= 0;
}

/* ---- attributes and items ---------------------------------------------------------------- */

static rt_template_value bound(rt_template_eval *ev, const rt_template_function *fn,
                               rt_template_value self) {
    rt_template_method *method = rt_template_new(ev, sizeof *method);
    if (!method) return rt_template_none();
    *method = (rt_template_method){fn, self};
    return (rt_template_value){.kind = RT_TEMPLATE_FUNCTION, .as.method = method};
}

static const rt_template_function *methods_of(rt_template_value v) {
    switch (v.kind) {
    case RT_TEMPLATE_STRING:
        return rt_template_string_methods;
    case RT_TEMPLATE_DICT:
        return rt_template_dict_methods;
    case RT_TEMPLATE_LIST:
    case RT_TEMPLATE_TUPLE:
        return rt_template_list_methods;
    case RT_TEMPLATE_LOOP:
        return rt_template_loop_methods;
    case RT_TEMPLATE_CYCLER:
        return rt_template_cycler_methods;
    case RT_TEMPLATE_FLOAT:
        return rt_template_float_methods;
    default:
        return NULL;
    }
}

static rt_template_value loop_item(const rt_template_loop *loop, size_t i, const char *what) {
    return i < loop->n ? loop->items[i] : rt_template_undefined(gguf_str_of(what));
}

static bool loop_attribute(const rt_template_loop *loop, gguf_str name, rt_template_value *out) {
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
            return *out = rt_template_int((int64_t)counts[i].value), true;
    if (gguf_str_eq(name, "first")) return *out = rt_template_bool(loop->at == 0), true;
    if (gguf_str_eq(name, "last")) return *out = rt_template_bool(loop->at + 1 == loop->n), true;
    if (gguf_str_eq(name, "previtem"))
        return *out = loop_item(loop, loop->at - 1, "there is no previous item"), true;
    if (gguf_str_eq(name, "nextitem"))
        return *out = loop_item(loop, loop->at + 1, "there is no next item"), true;
    return false;
}

static bool macro_attribute(rt_template_eval *ev, const rt_template_macro *macro, gguf_str name,
                            rt_template_value *out) {
    if (gguf_str_eq(name, "name")) return *out = rt_template_str(macro->node->text), true;
    if (!gguf_str_eq(name, "arguments")) return false;
    *out = rt_template_list_new(ev, RT_TEMPLATE_TUPLE);
    for (const rt_tpl_node *p = macro->node->args; p; p = p->next)
        rt_template_push(ev, *out, rt_template_str(p->text));
    return true;
}

/* What the object itself has by this name, apart from its items. */
static bool own_attribute(rt_template_eval *ev, rt_template_value obj, gguf_str name,
                          rt_template_value *out) {
    const rt_template_function *table = methods_of(obj);
    const rt_template_function *fn = table ? rt_template_find(table, name) : NULL;
    if (obj.kind == RT_TEMPLATE_LOOP && loop_attribute(obj.as.loop, name, out)) return true;
    if (obj.kind == RT_TEMPLATE_MACRO) return macro_attribute(ev, obj.as.macro, name, out);
    if (obj.kind == RT_TEMPLATE_NAMESPACE) {
        const rt_template_value *value = rt_template_get_str(obj.as.dict, name);
        if (value) *out = *value;
        return value != NULL;
    }
    if (obj.kind == RT_TEMPLATE_CYCLER && gguf_str_eq(name, "current"))
        return *out = obj.as.list->items[obj.as.list->at], true;
    if (fn) *out = bound(ev, fn, obj);
    return fn != NULL;
}

static bool raise_undefined(rt_template_eval *ev, rt_template_value obj) {
    if (obj.kind == RT_TEMPLATE_UNDEFINED)
        rt_template_raise(ev, GGUF_E_FORMAT, "'%.*s' is undefined", RT_TEMPLATE_SHOWN(obj.as.str));
    return ev->code != GGUF_OK;
}

rt_template_value rt_template_attribute(rt_template_eval *ev, rt_template_value obj,
                                        gguf_str name) {
    rt_template_value out = rt_template_undefined(name);
    if (raise_undefined(ev, obj) || own_attribute(ev, obj, name, &out)) return out;
    const rt_template_value *item =
        obj.kind == RT_TEMPLATE_DICT ? rt_template_get_str(obj.as.dict, name) : NULL;
    return item ? *item : out;
}

static rt_template_value nth(rt_template_eval *ev, rt_template_value obj, int64_t i) {
    int64_t n = (int64_t)rt_template_length(ev, obj);
    if (i < 0) i += n;
    if (ev->code || i < 0 || i >= n) return rt_template_undefined(gguf_str_of("item"));
    if (obj.kind != RT_TEMPLATE_STRING) return obj.as.list->items[i];
    rt_template_step(ev, obj.as.str.len / 64);
    size_t at = rt_template_char_offset(obj.as.str, (size_t)i);
    const char *ch = obj.as.str.ptr + at;
    return rt_template_str((gguf_str){ch, rt_template_char_len(ch, obj.as.str.len - at)});
}

rt_template_value rt_template_item(rt_template_eval *ev, rt_template_value obj,
                                   rt_template_value key) {
    rt_template_value out =
        rt_template_undefined(key.kind == RT_TEMPLATE_STRING ? key.as.str : gguf_str_of("item"));
    if (raise_undefined(ev, obj)) return out;
    if (obj.kind == RT_TEMPLATE_DICT) {
        const rt_template_value *item = rt_template_get(ev, obj.as.dict, key);
        if (item) return *item;
    }
    if (is_sequence(obj) && is_whole(key)) return nth(ev, obj, rt_template_whole(key));
    if (key.kind == RT_TEMPLATE_STRING) own_attribute(ev, obj, key.as.str, &out);
    return out;
}

/* ---- slices ------------------------------------------------------------------------------ */

/* Where a slice begins or ends, moved into the sequence as Python does. */
static int64_t clamped(int64_t i, int64_t n, bool down) {
    if (i < 0) i += n;
    if (i < 0) return down ? -1 : 0;
    return i >= n ? (down ? n - 1 : n) : i;
}

rt_template_value rt_template_slice(rt_template_eval *ev, rt_template_value obj,
                                    const rt_template_value part[3]) {
    if (raise_undefined(ev, obj)) return obj;
    if (!is_sequence(obj)) {
        rt_template_raise(ev, GGUF_E_FORMAT, "%s has no slices", rt_template_kind_name(obj));
        return obj;
    }
    int64_t n = (int64_t)rt_template_length(ev, obj), step = rt_template_int_arg(ev, part[2], 1);
    if (step == 0) rt_template_raise(ev, GGUF_E_FORMAT, "a slice with a step of 0");
    if (step > n) step = n + 1;
    if (step < -n) step = -n - 1;
    bool down = step < 0;
    int64_t at = rt_template_given(part[0]) ? clamped(rt_template_int_arg(ev, part[0], 0), n, down)
                 : down                     ? n - 1
                                            : 0;
    int64_t end = rt_template_given(part[1]) ? clamped(rt_template_int_arg(ev, part[1], 0), n, down)
                  : down                     ? -1
                                             : n;
    if (obj.kind == RT_TEMPLATE_STRING && step == 1 && !ev->code) {
        size_t from = rt_template_char_offset(obj.as.str, (size_t)at);
        size_t to = end > at ? rt_template_char_offset(obj.as.str, (size_t)end) : from;
        return rt_template_step(ev, obj.as.str.len / 64)
                   ? rt_template_str((gguf_str){obj.as.str.ptr + from, to - from})
                   : obj;
    }
    gguf_dynbuf buf;
    rt_template_value out =
        obj.kind == RT_TEMPLATE_STRING ? obj : rt_template_list_new(ev, obj.kind);
    rt_template_buf_init(ev, &buf);
    for (; !ev->code && (down ? at > end : at < end) && rt_template_step(ev, 1); at += step) {
        rt_template_value item = nth(ev, obj, at);
        if (obj.kind == RT_TEMPLATE_STRING)
            gguf_dynbuf_put(&buf, item.as.str.ptr, item.as.str.len);
        else
            rt_template_push(ev, out, item);
    }
    if (obj.kind == RT_TEMPLATE_STRING) return rt_template_taken(ev, &buf);
    gguf_dynbuf_clear(&buf);
    return out;
}
