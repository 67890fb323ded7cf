/* Methods of strings, lists, dicts, loops. What would change a value is not there. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#define METHOD(name)                                                            \
    static rt_template_value name(rt_template_eval *ev, rt_template_value self, \
                                  const rt_template_args *args)

/* ---- strings ----------------------------------------------------------------------------- */

static rt_template_value stripped(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args, bool left, bool right) {
    bool given = rt_template_given(args->argv[0]);
    gguf_str chars = given ? rt_template_as_str(ev, args->argv[0], "strip") : gguf_str_of("");
    return rt_template_str(rt_template_strip(self.as.str, given ? &chars : NULL, left, right));
}

METHOD(s_strip) {
    return stripped(ev, self, args, true, true);
}

METHOD(s_lstrip) {
    return stripped(ev, self, args, true, false);
}

METHOD(s_rstrip) {
    return stripped(ev, self, args, false, true);
}

/* Words between white space, at most `times` cuts. */
static rt_template_value words(rt_template_eval *ev, gguf_str s, int64_t times, bool from_right) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    for (s = rt_template_strip(s, NULL, true, true); s.len && rt_template_step(ev, 1); times--) {
        size_t at = 0, found = SIZE_MAX, end = 0;
        for (size_t n; at < s.len; at += n) {
            n = rt_template_char_len(s.ptr + at, s.len - at);
            if (!rt_template_is_space((gguf_str){s.ptr + at, n})) continue;
            if (from_right && found != SIZE_MAX && end == at) {
                end = at + n;
                continue;
            }
            found = at;
            end = at + n;
            if (!from_right) break;
        }
        if (found == SIZE_MAX || times == 0) {
            rt_template_push(ev, out, rt_template_str(s));
            break;
        }
        gguf_str left = {s.ptr, found}, right = {s.ptr + end, s.len - end};
        rt_template_push(ev, out, rt_template_str(from_right ? right : left));
        s = from_right ? rt_template_strip(left, NULL, false, true)
                       : rt_template_strip(right, NULL, true, false);
    }
    return out;
}

static size_t find_last(gguf_str s, gguf_str what) {
    size_t last = SIZE_MAX;
    for (size_t at = rt_template_find_str(s, what, 0); at != SIZE_MAX;
         at = rt_template_find_str(s, what, at + 1))
        last = at;
    return last;
}

static rt_template_value pieces(rt_template_eval *ev, gguf_str s, gguf_str by, int64_t times,
                                bool from_right) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    if (by.len == 0) rt_template_raise(ev, GGUF_E_FORMAT, "split at an empty string");
    for (; rt_template_step(ev, 1 + (from_right ? s.len / 16 : 0)); times--) {
        size_t at = times == 0   ? SIZE_MAX
                    : from_right ? find_last(s, by)
                                 : rt_template_find_str(s, by, 0);
        if (at == SIZE_MAX) {
            rt_template_push(ev, out, rt_template_str(s));
            break;
        }
        gguf_str left = {s.ptr, at}, right = {s.ptr + at + by.len, s.len - at - by.len};
        rt_template_push(ev, out, rt_template_str(from_right ? right : left));
        s = from_right ? left : right;
    }
    return out;
}

static rt_template_value split(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args, bool from_right) {
    int64_t times = rt_template_int_arg(ev, args->argv[1], -1);
    bool given = rt_template_given(args->argv[0]);
    gguf_str by = given ? rt_template_as_str(ev, args->argv[0], "split") : gguf_str_of("");
    const rt_template_value back[3] = {rt_template_none(), rt_template_none(), rt_template_int(-1)};
    rt_template_value out = given ? pieces(ev, self.as.str, by, times, from_right)
                                  : words(ev, self.as.str, times, from_right);
    return from_right && !ev->code ? rt_template_slice(ev, out, back) : out;
}

METHOD(s_split) {
    return split(ev, self, args, false);
}

METHOD(s_rsplit) {
    return split(ev, self, args, true);
}

METHOD(s_splitlines) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    gguf_str s = self.as.str;
    bool keep = rt_template_truth(args->argv[0]);
    for (size_t at = 0; at < s.len && !ev->code;) {
        size_t end = at;
        while (end < s.len && s.ptr[end] != '\n' && s.ptr[end] != '\r') end++;
        size_t next =
            end + (end < s.len) + (end + 1 < s.len && s.ptr[end] == '\r' && s.ptr[end + 1] == '\n');
        rt_template_push(ev, out,
                         rt_template_str((gguf_str){s.ptr + at, (keep ? next : end) - at}));
        at = next;
    }
    return out;
}

static bool ends(gguf_str s, gguf_str with) {
    return s.len >= with.len && memcmp(s.ptr + s.len - with.len, with.ptr, with.len) == 0;
}

static rt_template_value starts_or_ends(rt_template_eval *ev, gguf_str s, rt_template_value with,
                                        bool start) {
    rt_template_list one = {.items = &with, .n = 1};
    rt_template_list all = with.kind == RT_TEMPLATE_TUPLE ? *with.as.list : one;
    for (size_t i = 0; i < all.n && !ev->code; i++) {
        gguf_str part = rt_template_as_str(ev, all.items[i], start ? "startswith" : "endswith");
        if (start ? rt_template_starts(s, part) : ends(s, part)) return rt_template_bool(!ev->code);
    }
    return rt_template_bool(false);
}

METHOD(s_startswith) {
    return starts_or_ends(ev, self.as.str, args->argv[0], true);
}

METHOD(s_endswith) {
    return starts_or_ends(ev, self.as.str, args->argv[0], false);
}

METHOD(s_removeprefix) {
    gguf_str s = self.as.str, part = rt_template_as_str(ev, args->argv[0], "removeprefix");
    return rt_template_starts(s, part)
               ? rt_template_str((gguf_str){s.ptr + part.len, s.len - part.len})
               : self;
}

METHOD(s_removesuffix) {
    gguf_str s = self.as.str, part = rt_template_as_str(ev, args->argv[0], "removesuffix");
    return ends(s, part) ? rt_template_str((gguf_str){s.ptr, s.len - part.len}) : self;
}

METHOD(s_upper) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, self.as.str, RT_TEMPLATE_UPPER));
}

METHOD(s_lower) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, self.as.str, RT_TEMPLATE_LOWER));
}

METHOD(s_title) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, self.as.str, RT_TEMPLATE_TITLE));
}

METHOD(s_capitalize) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, self.as.str, RT_TEMPLATE_CAPITALIZE));
}

METHOD(s_replace) {
    gguf_str old = rt_template_as_str(ev, args->argv[0], "replace"),
             with = rt_template_as_str(ev, args->argv[1], "replace");
    return rt_template_str(rt_template_replace(ev, self.as.str, old, with,
                                               rt_template_int_arg(ev, args->argv[2], -1)));
}

/* Character at which `what` is found between the bounds, or -1. */
static int64_t position(rt_template_eval *ev, rt_template_value self, const rt_template_args *args,
                        bool last) {
    gguf_str what = rt_template_as_str(ev, args->argv[0], "find");
    const rt_template_value parts[3] = {args->argv[1], args->argv[2], rt_template_none()};
    rt_template_value in = rt_template_slice(ev, self, parts);
    if (ev->code) return -1;
    size_t at = last ? find_last(in.as.str, what) : rt_template_find_str(in.as.str, what, 0);
    if (at == SIZE_MAX) return -1;
    return (int64_t)rt_template_n_chars(
        (gguf_str){self.as.str.ptr, (size_t)(in.as.str.ptr - self.as.str.ptr) + at});
}

METHOD(s_find) {
    return rt_template_int(position(ev, self, args, false));
}

METHOD(s_rfind) {
    return rt_template_int(position(ev, self, args, true));
}

METHOD(s_index) {
    int64_t at = position(ev, self, args, false);
    if (at < 0) rt_template_raise(ev, GGUF_E_FORMAT, "the string is not found");
    return rt_template_int(at);
}

METHOD(s_count) {
    gguf_str what = rt_template_as_str(ev, args->argv[0], "count"), s = self.as.str;
    int64_t n = 0;
    if (what.len == 0) return rt_template_int((int64_t)rt_template_n_chars(s) + 1);
    for (size_t at = rt_template_find_str(s, what, 0); at != SIZE_MAX;
         at = rt_template_find_str(s, what, at + what.len))
        n++;
    return rt_template_int(n);
}

METHOD(s_join) {
    gguf_dynbuf buf;
    rt_template_list items = rt_template_items(ev, args->argv[0]);
    rt_template_buf_init(ev, &buf);
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++) {
        gguf_str part = rt_template_as_str(ev, items.items[i], "join");
        if (i) gguf_dynbuf_put(&buf, self.as.str.ptr, self.as.str.len);
        gguf_dynbuf_put(&buf, part.ptr, part.len);
    }
    return rt_template_taken(ev, &buf);
}

METHOD(s_format) {
    return rt_template_format(ev, self.as.str, args);
}

METHOD(s_partition) {
    gguf_str s = self.as.str, by = rt_template_as_str(ev, args->argv[0], "partition");
    size_t at = rt_template_find_str(s, by, 0);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_TUPLE);
    bool found = at != SIZE_MAX;
    rt_template_push(ev, out, found ? rt_template_str((gguf_str){s.ptr, at}) : self);
    rt_template_push(ev, out, found ? rt_template_str(by) : rt_template_text(""));
    rt_template_push(ev, out,
                     found ? rt_template_str((gguf_str){s.ptr + at + by.len, s.len - at - by.len})
                           : rt_template_text(""));
    return out;
}

static bool is_digit(utf8proc_category_t kind) {
    return kind == UTF8PROC_CATEGORY_ND;
}

static bool is_alpha(utf8proc_category_t kind) {
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

static bool is_alnum(utf8proc_category_t kind) {
    return is_alpha(kind) || is_digit(kind) || kind == UTF8PROC_CATEGORY_NL ||
           kind == UTF8PROC_CATEGORY_NO;
}

static rt_template_value all_chars(gguf_str s, bool (*holds)(utf8proc_category_t kind)) {
    for (size_t i = 0, n; i < s.len; i += n) {
        utf8proc_int32_t c = -1;
        n = rt_template_char_len(s.ptr + i, s.len - i);
        utf8proc_iterate((const utf8proc_uint8_t *)s.ptr + i, (utf8proc_ssize_t)n, &c);
        if (!holds(utf8proc_category(c))) return rt_template_bool(false);
    }
    return rt_template_bool(s.len > 0);
}

METHOD(s_isdigit) {
    (void)ev, (void)args;
    return all_chars(self.as.str, is_digit);
}

METHOD(s_isalpha) {
    (void)ev, (void)args;
    return all_chars(self.as.str, is_alpha);
}

METHOD(s_isalnum) {
    (void)ev, (void)args;
    return all_chars(self.as.str, is_alnum);
}

METHOD(s_isspace) {
    (void)ev, (void)args;
    return rt_template_bool(self.as.str.len > 0 &&
                            rt_template_strip(self.as.str, NULL, true, false).len == 0);
}

METHOD(s_isupper) {
    return rt_template_bool(rt_template_test(ev, gguf_str_of("upper"), self, args));
}

METHOD(s_islower) {
    return rt_template_bool(rt_template_test(ev, gguf_str_of("lower"), self, args));
}

const rt_template_function rt_template_string_methods[] = {
    {"strip", "chars", 0, s_strip},
    {"lstrip", "chars", 0, s_lstrip},
    {"rstrip", "chars", 0, s_rstrip},
    {"split", "sep,maxsplit", 0, s_split},
    {"rsplit", "sep,maxsplit", 0, s_rsplit},
    {"splitlines", "keepends", 0, s_splitlines},
    {"startswith", "prefix", 1, s_startswith},
    {"endswith", "suffix", 1, s_endswith},
    {"removeprefix", "prefix", 1, s_removeprefix},
    {"removesuffix", "suffix", 1, s_removesuffix},
    {"upper", "", 0, s_upper},
    {"lower", "", 0, s_lower},
    {"casefold", "", 0, s_lower},
    {"title", "", 0, s_title},
    {"capitalize", "", 0, s_capitalize},
    {"replace", "old,new,count", 2, s_replace},
    {"find", "sub,start,end", 1, s_find},
    {"rfind", "sub,start,end", 1, s_rfind},
    {"index", "sub,start,end", 1, s_index},
    {"count", "sub", 1, s_count},
    {"join", "iterable", 1, s_join},
    {"format", "*", 0, s_format},
    {"partition", "sep", 1, s_partition},
    {"isdigit", "", 0, s_isdigit},
    {"isnumeric", "", 0, s_isdigit},
    {"isdecimal", "", 0, s_isdigit},
    {"isalpha", "", 0, s_isalpha},
    {"isalnum", "", 0, s_isalnum},
    {"isspace", "", 0, s_isspace},
    {"isupper", "", 0, s_isupper},
    {"islower", "", 0, s_islower},
    {0},
};

/* ---- dicts and lists --------------------------------------------------------------------- */

typedef enum part { KEYS, VALUES, ITEMS } part;

static rt_template_value parts_of(rt_template_eval *ev, const rt_template_dict *dict, part which) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    for (size_t i = 0; i < dict->n && !ev->code; i++) {
        const rt_template_entry *entry = &dict->entries[i];
        rt_template_push(ev, out,
                         which == KEYS     ? entry->key
                         : which == VALUES ? entry->value
                                           : rt_template_pair(ev, entry->key, entry->value));
    }
    return out;
}

METHOD(d_keys) {
    (void)args;
    return parts_of(ev, self.as.dict, KEYS);
}

METHOD(d_values) {
    (void)args;
    return parts_of(ev, self.as.dict, VALUES);
}

METHOD(d_items) {
    (void)args;
    return parts_of(ev, self.as.dict, ITEMS);
}

METHOD(d_get) {
    const rt_template_value *found = rt_template_get(ev, self.as.dict, args->argv[0]);
    if (found) return *found;
    return args->argv[1].kind == RT_TEMPLATE_MISSING ? rt_template_none() : args->argv[1];
}

METHOD(d_copy) {
    rt_template_value out = rt_template_dict_new(ev);
    (void)args;
    for (size_t i = 0; i < self.as.dict->n && !ev->code; i++)
        rt_template_put(ev, out.as.dict, self.as.dict->entries[i].key,
                        self.as.dict->entries[i].value);
    return out;
}

METHOD(refuse) {
    (void)self, (void)args;
    rt_template_raise(ev, GGUF_E_FORMAT, "a template may not change what it was given");
    return rt_template_none();
}

const rt_template_function rt_template_dict_methods[] = {
    {"keys", "", 0, d_keys},
    {"values", "", 0, d_values},
    {"items", "", 0, d_items},
    {"get", "key,default", 1, d_get},
    {"copy", "", 0, d_copy},
    {"update", "*", 0, refuse},
    {"pop", "*", 0, refuse},
    {"popitem", "*", 0, refuse},
    {"clear", "*", 0, refuse},
    {"setdefault", "*", 0, refuse},
    {0},
};

METHOD(l_index) {
    rt_template_list *list = self.as.list;
    for (size_t i = 0; i < list->n && rt_template_step(ev, 1); i++)
        if (rt_template_equal(ev, list->items[i], args->argv[0]))
            return rt_template_int((int64_t)i);
    rt_template_raise(ev, GGUF_E_FORMAT, "the list does not hold the value");
    return rt_template_none();
}

METHOD(l_count) {
    rt_template_list *list = self.as.list;
    int64_t n = 0;
    for (size_t i = 0; i < list->n && rt_template_step(ev, 1); i++)
        n += rt_template_equal(ev, list->items[i], args->argv[0]);
    return rt_template_int(n);
}

METHOD(l_copy) {
    const rt_template_value all[3] = {rt_template_none(), rt_template_none(), rt_template_none()};
    (void)args;
    return rt_template_slice(ev, self, all);
}

const rt_template_function rt_template_list_methods[] = {
    {"index", "value", 1, l_index}, {"count", "value", 1, l_count}, {"copy", "", 0, l_copy},
    {"append", "*", 0, refuse},     {"extend", "*", 0, refuse},     {"insert", "*", 0, refuse},
    {"pop", "*", 0, refuse},        {"remove", "*", 0, refuse},     {"reverse", "*", 0, refuse},
    {"sort", "*", 0, refuse},       {"clear", "*", 0, refuse},      {0},
};

/* ---- loops, cyclers, floats ----------------------------------------------------------------- */

METHOD(loop_cycle) {
    if (!args->n) rt_template_raise(ev, GGUF_E_FORMAT, "cycle needs items");
    return args->n ? args->pos[self.as.loop->at % args->n] : rt_template_none();
}

METHOD(loop_changed) {
    rt_template_value now = rt_template_list_new(ev, RT_TEMPLATE_TUPLE);
    for (size_t i = 0; i < args->n; i++) rt_template_push(ev, now, args->pos[i]);
    bool changed = !rt_template_equal(ev, now, self.as.loop->changed);
    self.as.loop->changed = now;
    return rt_template_bool(changed);
}

const rt_template_function rt_template_loop_methods[] = {
    {"cycle", "*", 0, loop_cycle}, {"changed", "*", 0, loop_changed}, {0}};

METHOD(cycler_next) {
    rt_template_list *list = self.as.list;
    rt_template_value out = list->items[list->at];
    (void)ev, (void)args;
    list->at = (list->at + 1) % list->n;
    return out;
}

METHOD(cycler_reset) {
    (void)ev, (void)args;
    self.as.list->at = 0;
    return rt_template_none();
}

const rt_template_function rt_template_cycler_methods[] = {
    {"next", "", 0, cycler_next}, {"reset", "", 0, cycler_reset}, {0}};

METHOD(float_is_integer) {
    (void)ev, (void)args;
    return rt_template_bool(floor(self.as.real) == self.as.real);
}

const rt_template_function rt_template_float_methods[] = {{"is_integer", "", 0, float_is_integer},
                                                          {0}};
