/* Tests: what stands behind `is`; and the global functions. */
#include "runtime/template/template_value.h"

#include <string.h>

#define TEST(name, condition)                                                   \
    static tpl_value name(tpl_eval *ev, tpl_value self, const tpl_args *args) { \
        (void)ev;                                                               \
        (void)args, (void)self;                                                 \
        return tpl_bool(condition);                                             \
    }

static bool is_kind(tpl_value v, tpl_kind kind) {
    return v.kind == kind;
}

static bool is_truth(tpl_value v, bool wanted) {
    return v.kind == TPL_BOOL && v.as.boolean == wanted;
}

static bool has_case(tpl_eval *ev, tpl_value v, tpl_case to) {
    gguf_str s = tpl_to_str(ev, v);
    tpl_value same = tpl_str(tpl_change_case(ev, s, to));
    tpl_case other = to == TPL_UPPER ? TPL_LOWER : TPL_UPPER;
    /* A text without letters has no case. */
    return tpl_equal(ev, same, tpl_str(s)) &&
           !tpl_equal(ev, tpl_str(tpl_change_case(ev, s, other)), same);
}

static bool is_same(tpl_eval *ev, tpl_value a, tpl_value b) {
    return a.kind == b.kind && tpl_equal(ev, a, b);
}

static bool divides(tpl_eval *ev, tpl_value v, tpl_value by) {
    tpl_value rest = tpl_binary(ev, RT_TPL_OP_MOD, v, by);
    return !ev->code && tpl_equal(ev, rest, tpl_int(0));
}

static bool is_odd(tpl_eval *ev, tpl_value v) {
    tpl_value rest = tpl_binary(ev, RT_TPL_OP_MOD, v, tpl_int(2));
    return !ev->code && tpl_equal(ev, rest, tpl_int(1));
}

static bool knows(const tpl_function *a, const tpl_function *b, tpl_value name) {
    if (name.kind != TPL_STRING) return false;
    return tpl_find(a, name.as.str) || (b && tpl_find(b, name.as.str));
}

TEST(t_defined, self.kind != TPL_UNDEFINED)
TEST(t_undefined, is_kind(self, TPL_UNDEFINED))
TEST(t_none, is_kind(self, TPL_NONE))
TEST(t_boolean, is_kind(self, TPL_BOOL))
TEST(t_true, is_truth(self, true))
TEST(t_false, is_truth(self, false))
TEST(t_integer, is_kind(self, TPL_INT))
TEST(t_float, is_kind(self, TPL_FLOAT))
TEST(t_number, tpl_is_number(self))
TEST(t_string, is_kind(self, TPL_STRING))
TEST(t_mapping, is_kind(self, TPL_DICT))
TEST(t_iterable, self.kind == TPL_UNDEFINED || self.kind == TPL_LOOP ||
                     (self.kind >= TPL_STRING && self.kind <= TPL_DICT))
TEST(t_sequence, self.kind == TPL_UNDEFINED || self.kind == TPL_STRING || tpl_is_list(self) ||
                     self.kind == TPL_DICT)
TEST(t_callable, self.kind == TPL_MACRO || self.kind == TPL_FUNCTION || self.kind == TPL_JOINER ||
                     self.kind == TPL_LOOP || self.kind == TPL_UNDEFINED)
TEST(t_escaped, self.kind == TPL_STRING && self.safe)
TEST(t_odd, is_odd(ev, self))
TEST(t_even, divides(ev, self, tpl_int(2)))
TEST(t_divisible, divides(ev, self, args->argv[0]))
TEST(t_lower, has_case(ev, self, TPL_LOWER))
TEST(t_upper, has_case(ev, self, TPL_UPPER))
TEST(t_sameas, is_same(ev, self, args->argv[0]))
TEST(t_in, tpl_contains(ev, args->argv[0], self))
TEST(t_eq, tpl_compare(ev, RT_TPL_OP_EQ, self, args->argv[0]))
TEST(t_ne, tpl_compare(ev, RT_TPL_OP_NE, self, args->argv[0]))
TEST(t_lt, tpl_compare(ev, RT_TPL_OP_LT, self, args->argv[0]))
TEST(t_le, tpl_compare(ev, RT_TPL_OP_LE, self, args->argv[0]))
TEST(t_gt, tpl_compare(ev, RT_TPL_OP_GT, self, args->argv[0]))
TEST(t_ge, tpl_compare(ev, RT_TPL_OP_GE, self, args->argv[0]))
TEST(t_filter, knows(tpl_string_filters, tpl_list_filters, self))
TEST(t_test, knows(tpl_tests, NULL, self))

const tpl_function tpl_tests[] = {
    {"defined", "", 0, t_defined},    {"undefined", "", 0, t_undefined},
    {"none", "", 0, t_none},          {"boolean", "", 0, t_boolean},
    {"true", "", 0, t_true},          {"false", "", 0, t_false},
    {"integer", "", 0, t_integer},    {"float", "", 0, t_float},
    {"number", "", 0, t_number},      {"string", "", 0, t_string},
    {"mapping", "", 0, t_mapping},    {"iterable", "", 0, t_iterable},
    {"sequence", "", 0, t_sequence},  {"callable", "", 0, t_callable},
    {"escaped", "", 0, t_escaped},    {"odd", "", 0, t_odd},
    {"even", "", 0, t_even},          {"divisibleby", "num", 1, t_divisible},
    {"lower", "", 0, t_lower},        {"upper", "", 0, t_upper},
    {"sameas", "other", 1, t_sameas}, {"in", "seq", 1, t_in},
    {"eq", "other", 1, t_eq},         {"equalto", "other", 1, t_eq},
    {"==", "other", 1, t_eq},         {"ne", "other", 1, t_ne},
    {"!=", "other", 1, t_ne},         {"lt", "other", 1, t_lt},
    {"lessthan", "other", 1, t_lt},   {"<", "other", 1, t_lt},
    {"le", "other", 1, t_le},         {"<=", "other", 1, t_le},
    {"gt", "other", 1, t_gt},         {"greaterthan", "other", 1, t_gt},
    {">", "other", 1, t_gt},          {"ge", "other", 1, t_ge},
    {">=", "other", 1, t_ge},         {"filter", "", 0, t_filter},
    {"test", "", 0, t_test},          {0},
};

/* ---- global functions -------------------------------------------------------------------- */

static tpl_value g_raise(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str what = tpl_to_str(ev, args->argv[0]);
    (void)self;
    tpl_raise(ev, GGUF_E_CHECK, "%.*s", (int)(what.len < 300 ? what.len : 300), what.ptr);
    return tpl_none();
}

static tpl_value g_now(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    char format[128], text[512];
    gguf_str wanted = tpl_as_str(ev, args->argv[0], "strftime_now");
    (void)self;
    if (!ev->now) tpl_raise(ev, GGUF_E_FORMAT, "strftime_now: no time was given");
    if (wanted.len >= sizeof format) tpl_raise(ev, GGUF_E_LIMIT, "the format is too long");
    if (ev->code || wanted.len == 0) return tpl_text("");
    memcpy(format, wanted.ptr, wanted.len);
    format[wanted.len] = '\0';
    return tpl_copy_str(ev, text, strftime(text, sizeof text, format, ev->now));
}

#define MAX_RANGE 100000

static tpl_value g_range(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    bool one = args->argv[1].kind == TPL_MISSING;
    int64_t from = one ? 0 : tpl_int_arg(ev, args->argv[0], 0);
    int64_t to = tpl_int_arg(ev, args->argv[one ? 0 : 1], 0),
            step = tpl_int_arg(ev, args->argv[2], 1);
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    (void)self;
    if (step == 0) tpl_raise(ev, GGUF_E_FORMAT, "range with a step of 0");
    for (int64_t at = from; !ev->code && (step > 0 ? at < to : at > to);) {
        if (out.as.list->n == MAX_RANGE)
            tpl_raise(ev, GGUF_E_LIMIT, "range beyond %d items", MAX_RANGE);
        tpl_push(ev, out, tpl_int(at));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return out;
}

static void put_all(tpl_eval *ev, tpl_value out, const tpl_dict *from) {
    for (size_t i = 0; from && i < from->n && !ev->code; i++)
        tpl_put(ev, out.as.dict, from->entries[i].key, from->entries[i].value);
}

static tpl_value g_dict(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value out = tpl_dict_new(ev);
    (void)self;
    if (args->n && args->pos[0].kind == TPL_DICT) {
        put_all(ev, out, args->pos[0].as.dict);
    } else if (args->n) {
        tpl_list pairs = tpl_items(ev, args->pos[0]);
        for (size_t i = 0; i < pairs.n && !ev->code; i++) {
            tpl_list pair = tpl_items(ev, pairs.items[i]);
            if (pair.n != 2) tpl_raise(ev, GGUF_E_FORMAT, "dict needs pairs");
            if (!ev->code) tpl_put(ev, out.as.dict, pair.items[0], pair.items[1]);
        }
    }
    put_all(ev, out, args->named);
    return out;
}

static tpl_value g_namespace(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value out = g_dict(ev, self, args);
    if (!ev->code) out.kind = TPL_NAMESPACE;
    return out;
}

static tpl_value g_joiner(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value out = tpl_list_new(ev, TPL_JOINER);
    (void)self;
    tpl_push(ev, out, args->argv[0].kind == TPL_MISSING ? tpl_text(", ") : args->argv[0]);
    return out;
}

static tpl_value g_cycler(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value out = tpl_list_new(ev, TPL_CYCLER);
    (void)self;
    if (!args->n) tpl_raise(ev, GGUF_E_FORMAT, "cycler needs items");
    for (size_t i = 0; i < args->n; i++) tpl_push(ev, out, args->pos[i]);
    return out;
}

const tpl_function tpl_globals[] = {
    {"raise_exception", "message", 1, g_raise},
    {"strftime_now", "format", 1, g_now},
    {"range", "start,stop,step", 1, g_range},
    {"dict", "*", 0, g_dict},
    {"namespace", "*", 0, g_namespace},
    {"joiner", "sep", 0, g_joiner},
    {"cycler", "*", 0, g_cycler},
    {0},
};
