/* Tests: what stands behind `is`; and the global functions. */
#include "runtime/template/template_value.h"

#include <string.h>

#define TEST(name, condition)                                                   \
    static rt_template_value name(rt_template_eval *ev, rt_template_value self, \
                                  const rt_template_args *args) {               \
        (void)ev;                                                               \
        (void)args, (void)self;                                                 \
        return rt_template_bool(condition);                                     \
    }

static bool is_kind(rt_template_value v, rt_template_kind kind) {
    return v.kind == kind;
}

static bool is_truth(rt_template_value v, bool wanted) {
    return v.kind == RT_TEMPLATE_BOOL && v.as.boolean == wanted;
}

static bool has_case(rt_template_eval *ev, rt_template_value v, rt_template_case to) {
    gguf_str s = rt_template_to_str(ev, v);
    rt_template_value same = rt_template_str(rt_template_change_case(ev, s, to));
    rt_template_case other = to == RT_TEMPLATE_UPPER ? RT_TEMPLATE_LOWER : RT_TEMPLATE_UPPER;
    /* A text without letters has no case. */
    return rt_template_equal(ev, same, rt_template_str(s)) &&
           !rt_template_equal(ev, rt_template_str(rt_template_change_case(ev, s, other)), same);
}

static bool is_same(rt_template_eval *ev, rt_template_value a, rt_template_value b) {
    return a.kind == b.kind && rt_template_equal(ev, a, b);
}

static bool divides(rt_template_eval *ev, rt_template_value v, rt_template_value by) {
    rt_template_value rest = rt_template_binary(ev, RT_TPL_OP_MOD, v, by);
    return !ev->code && rt_template_equal(ev, rest, rt_template_int(0));
}

static bool is_odd(rt_template_eval *ev, rt_template_value v) {
    rt_template_value rest = rt_template_binary(ev, RT_TPL_OP_MOD, v, rt_template_int(2));
    return !ev->code && rt_template_equal(ev, rest, rt_template_int(1));
}

static bool knows(const rt_template_function *a, const rt_template_function *b,
                  rt_template_value name) {
    if (name.kind != RT_TEMPLATE_STRING) return false;
    return rt_template_find(a, name.as.str) || (b && rt_template_find(b, name.as.str));
}

TEST(t_defined, self.kind != RT_TEMPLATE_UNDEFINED)
TEST(t_undefined, is_kind(self, RT_TEMPLATE_UNDEFINED))
TEST(t_none, is_kind(self, RT_TEMPLATE_NONE))
TEST(t_boolean, is_kind(self, RT_TEMPLATE_BOOL))
TEST(t_true, is_truth(self, true))
TEST(t_false, is_truth(self, false))
TEST(t_integer, is_kind(self, RT_TEMPLATE_INT))
TEST(t_float, is_kind(self, RT_TEMPLATE_FLOAT))
TEST(t_number, rt_template_is_number(self))
TEST(t_string, is_kind(self, RT_TEMPLATE_STRING))
TEST(t_mapping, is_kind(self, RT_TEMPLATE_DICT))
TEST(t_iterable, self.kind == RT_TEMPLATE_UNDEFINED || self.kind == RT_TEMPLATE_LOOP ||
                     (self.kind >= RT_TEMPLATE_STRING && self.kind <= RT_TEMPLATE_DICT))
TEST(t_sequence, self.kind == RT_TEMPLATE_UNDEFINED || self.kind == RT_TEMPLATE_STRING ||
                     rt_template_is_list(self) || self.kind == RT_TEMPLATE_DICT)
TEST(t_callable, self.kind == RT_TEMPLATE_MACRO || self.kind == RT_TEMPLATE_FUNCTION ||
                     self.kind == RT_TEMPLATE_JOINER || self.kind == RT_TEMPLATE_LOOP ||
                     self.kind == RT_TEMPLATE_UNDEFINED)
TEST(t_odd, is_odd(ev, self))
TEST(t_even, divides(ev, self, rt_template_int(2)))
TEST(t_divisible, divides(ev, self, args->argv[0]))
TEST(t_lower, has_case(ev, self, RT_TEMPLATE_LOWER))
TEST(t_upper, has_case(ev, self, RT_TEMPLATE_UPPER))
TEST(t_sameas, is_same(ev, self, args->argv[0]))
TEST(t_in, rt_template_contains(ev, args->argv[0], self))
TEST(t_eq, rt_template_compare(ev, RT_TPL_OP_EQ, self, args->argv[0]))
TEST(t_ne, rt_template_compare(ev, RT_TPL_OP_NE, self, args->argv[0]))
TEST(t_lt, rt_template_compare(ev, RT_TPL_OP_LT, self, args->argv[0]))
TEST(t_le, rt_template_compare(ev, RT_TPL_OP_LE, self, args->argv[0]))
TEST(t_gt, rt_template_compare(ev, RT_TPL_OP_GT, self, args->argv[0]))
TEST(t_ge, rt_template_compare(ev, RT_TPL_OP_GE, self, args->argv[0]))
TEST(t_filter, knows(rt_template_string_filters, rt_template_list_filters, self))
TEST(t_test, knows(rt_template_tests, NULL, self))

const rt_template_function rt_template_tests[] = {
    {"defined", "", 0, t_defined},
    {"undefined", "", 0, t_undefined},
    {"none", "", 0, t_none},
    {"boolean", "", 0, t_boolean},
    {"true", "", 0, t_true},
    {"false", "", 0, t_false},
    {"integer", "", 0, t_integer},
    {"float", "", 0, t_float},
    {"number", "", 0, t_number},
    {"string", "", 0, t_string},
    {"mapping", "", 0, t_mapping},
    {"iterable", "", 0, t_iterable},
    {"sequence", "", 0, t_sequence},
    {"callable", "", 0, t_callable},
    {"odd", "", 0, t_odd},
    {"even", "", 0, t_even},
    {"divisibleby", "num", 1, t_divisible},
    {"lower", "", 0, t_lower},
    {"upper", "", 0, t_upper},
    {"sameas", "other", 1, t_sameas},
    {"in", "seq", 1, t_in},
    {"eq", "other", 1, t_eq},
    {"equalto", "other", 1, t_eq},
    {"==", "other", 1, t_eq},
    {"ne", "other", 1, t_ne},
    {"!=", "other", 1, t_ne},
    {"lt", "other", 1, t_lt},
    {"lessthan", "other", 1, t_lt},
    {"<", "other", 1, t_lt},
    {"le", "other", 1, t_le},
    {"<=", "other", 1, t_le},
    {"gt", "other", 1, t_gt},
    {"greaterthan", "other", 1, t_gt},
    {">", "other", 1, t_gt},
    {"ge", "other", 1, t_ge},
    {">=", "other", 1, t_ge},
    {"filter", "", 0, t_filter},
    {"test", "", 0, t_test},
    {0},
};

/* ---- global functions -------------------------------------------------------------------- */

static rt_template_value g_raise(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    gguf_str what = rt_template_to_str(ev, args->argv[0]);
    (void)self;
    rt_template_raise(ev, GGUF_E_CHECK, "%.*s", (int)(what.len < 300 ? what.len : 300), what.ptr);
    return rt_template_none();
}

static rt_template_value g_now(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    char format[128], text[512];
    gguf_str wanted = rt_template_as_str(ev, args->argv[0], "strftime_now");
    (void)self;
    if (!ev->now) rt_template_raise(ev, GGUF_E_FORMAT, "strftime_now: no time was given");
    if (wanted.len >= sizeof format) rt_template_raise(ev, GGUF_E_LIMIT, "the format is too long");
    if (ev->code || wanted.len == 0) return rt_template_text("");
    memcpy(format, wanted.ptr, wanted.len);
    format[wanted.len] = '\0';
    return rt_template_copy_str(ev, text, strftime(text, sizeof text, format, ev->now));
}

#define MAX_RANGE 100000

static rt_template_value g_range(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    bool one = args->argv[1].kind == RT_TEMPLATE_MISSING;
    int64_t from = one ? 0 : rt_template_int_arg(ev, args->argv[0], 0);
    int64_t to = rt_template_int_arg(ev, args->argv[one ? 0 : 1], 0),
            step = rt_template_int_arg(ev, args->argv[2], 1);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    (void)self;
    if (step == 0) rt_template_raise(ev, GGUF_E_FORMAT, "range with a step of 0");
    for (int64_t at = from; !ev->code && (step > 0 ? at < to : at > to);) {
        if (out.as.list->n == MAX_RANGE)
            rt_template_raise(ev, GGUF_E_LIMIT, "range beyond %d items", MAX_RANGE);
        rt_template_push(ev, out, rt_template_int(at));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return out;
}

static void put_all(rt_template_eval *ev, rt_template_value out, const rt_template_dict *from) {
    for (size_t i = 0; from && i < from->n && !ev->code; i++)
        rt_template_put(ev, out.as.dict, from->entries[i].key, from->entries[i].value);
}

static rt_template_value g_dict(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    rt_template_value out = rt_template_dict_new(ev);
    (void)self;
    if (args->n && args->pos[0].kind == RT_TEMPLATE_DICT) {
        put_all(ev, out, args->pos[0].as.dict);
    } else if (args->n) {
        rt_template_list pairs = rt_template_items(ev, args->pos[0]);
        for (size_t i = 0; i < pairs.n && !ev->code; i++) {
            rt_template_list pair = rt_template_items(ev, pairs.items[i]);
            if (pair.n != 2) rt_template_raise(ev, GGUF_E_FORMAT, "dict needs pairs");
            if (!ev->code) rt_template_put(ev, out.as.dict, pair.items[0], pair.items[1]);
        }
    }
    put_all(ev, out, args->named);
    return out;
}

static rt_template_value g_namespace(rt_template_eval *ev, rt_template_value self,
                                     const rt_template_args *args) {
    rt_template_value out = g_dict(ev, self, args);
    if (!ev->code) out.kind = RT_TEMPLATE_NAMESPACE;
    return out;
}

static rt_template_value g_joiner(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_JOINER);
    (void)self;
    rt_template_push(ev, out,
                     args->argv[0].kind == RT_TEMPLATE_MISSING ? rt_template_text(", ")
                                                               : args->argv[0]);
    return out;
}

static rt_template_value g_cycler(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_CYCLER);
    (void)self;
    if (!args->n) rt_template_raise(ev, GGUF_E_FORMAT, "cycler needs items");
    for (size_t i = 0; i < args->n; i++) rt_template_push(ev, out, args->pos[i]);
    return out;
}

const rt_template_function rt_template_globals[] = {
    {"raise_exception", "message", 1, g_raise},
    {"strftime_now", "format", 1, g_now},
    {"range", "start,stop,step", 1, g_range},
    {"dict", "*", 0, g_dict},
    {"namespace", "*", 0, g_namespace},
    {"joiner", "sep", 0, g_joiner},
    {"cycler", "*", 0, g_cycler},
    {0},
};
