/* Methods of strings, lists, dicts, loops. What would change a value is not there. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#define METHOD(name) static tpl_value name(tpl_eval *ev, tpl_value self, const tpl_args *args)

/* ---- strings ----------------------------------------------------------------------------- */

static tpl_value stripped(tpl_eval *ev, tpl_value self, const tpl_args *args, bool left,
                          bool right) {
    bool given = tpl_given(args->argv[0]);
    gguf_str chars = given ? tpl_as_str(ev, args->argv[0], "strip") : gguf_str_of("");
    return tpl_str(tpl_strip(self.as.str, given ? &chars : NULL, left, right));
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
static tpl_value words(tpl_eval *ev, gguf_str s, int64_t times, bool from_right) {
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    for (s = tpl_strip(s, NULL, true, true); s.len && tpl_step(ev, 1); times--) {
        size_t at = 0, found = SIZE_MAX, end = 0;
        for (size_t n; at < s.len; at += n) {
            n = tpl_char_len(s.ptr + at, s.len - at);
            if (!tpl_is_space((gguf_str){s.ptr + at, n})) continue;
            if (from_right && found != SIZE_MAX && end == at) {
                end = at + n;
                continue;
            }
            found = at;
            end = at + n;
            if (!from_right) break;
        }
        if (found == SIZE_MAX || times == 0) {
            tpl_push(ev, out, tpl_str(s));
            break;
        }
        gguf_str left = {s.ptr, found}, right = {s.ptr + end, s.len - end};
        tpl_push(ev, out, tpl_str(from_right ? right : left));
        s = from_right ? tpl_strip(left, NULL, false, true) : tpl_strip(right, NULL, true, false);
    }
    return out;
}

static size_t find_last(gguf_str s, gguf_str what) {
    size_t last = SIZE_MAX;
    for (size_t at = tpl_find_str(s, what, 0); at != SIZE_MAX; at = tpl_find_str(s, what, at + 1))
        last = at;
    return last;
}

static tpl_value pieces(tpl_eval *ev, gguf_str s, gguf_str by, int64_t times, bool from_right) {
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    if (by.len == 0) tpl_raise(ev, GGUF_E_FORMAT, "split at an empty string");
    for (; tpl_step(ev, 1 + (from_right ? s.len / 16 : 0)); times--) {
        size_t at = times == 0 ? SIZE_MAX : from_right ? find_last(s, by) : tpl_find_str(s, by, 0);
        if (at == SIZE_MAX) {
            tpl_push(ev, out, tpl_str(s));
            break;
        }
        gguf_str left = {s.ptr, at}, right = {s.ptr + at + by.len, s.len - at - by.len};
        tpl_push(ev, out, tpl_str(from_right ? right : left));
        s = from_right ? left : right;
    }
    return out;
}

static tpl_value split(tpl_eval *ev, tpl_value self, const tpl_args *args, bool from_right) {
    int64_t times = tpl_int_arg(ev, args->argv[1], -1);
    bool given = tpl_given(args->argv[0]);
    gguf_str by = given ? tpl_as_str(ev, args->argv[0], "split") : gguf_str_of("");
    const tpl_value back[3] = {tpl_none(), tpl_none(), tpl_int(-1)};
    tpl_value out = given ? pieces(ev, self.as.str, by, times, from_right)
                          : words(ev, self.as.str, times, from_right);
    return from_right && !ev->code ? tpl_slice(ev, out, back) : out;
}

METHOD(s_split) {
    return split(ev, self, args, false);
}

METHOD(s_rsplit) {
    return split(ev, self, args, true);
}

METHOD(s_splitlines) {
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    gguf_str s = self.as.str;
    bool keep = tpl_truth(args->argv[0]);
    for (size_t at = 0; at < s.len && !ev->code;) {
        size_t end = at;
        while (end < s.len && s.ptr[end] != '\n' && s.ptr[end] != '\r') end++;
        size_t next =
            end + (end < s.len) + (end + 1 < s.len && s.ptr[end] == '\r' && s.ptr[end + 1] == '\n');
        tpl_push(ev, out, tpl_str((gguf_str){s.ptr + at, (keep ? next : end) - at}));
        at = next;
    }
    return out;
}

static bool ends(gguf_str s, gguf_str with) {
    return s.len >= with.len && memcmp(s.ptr + s.len - with.len, with.ptr, with.len) == 0;
}

static tpl_value starts_or_ends(tpl_eval *ev, gguf_str s, tpl_value with, bool start) {
    tpl_list one = {.items = &with, .n = 1};
    tpl_list all = with.kind == TPL_TUPLE ? *with.as.list : one;
    for (size_t i = 0; i < all.n && !ev->code; i++) {
        gguf_str part = tpl_as_str(ev, all.items[i], start ? "startswith" : "endswith");
        if (start ? tpl_starts(s, part) : ends(s, part)) return tpl_bool(!ev->code);
    }
    return tpl_bool(false);
}

METHOD(s_startswith) {
    return starts_or_ends(ev, self.as.str, args->argv[0], true);
}

METHOD(s_endswith) {
    return starts_or_ends(ev, self.as.str, args->argv[0], false);
}

METHOD(s_removeprefix) {
    gguf_str s = self.as.str, part = tpl_as_str(ev, args->argv[0], "removeprefix");
    return tpl_starts(s, part) ? tpl_str((gguf_str){s.ptr + part.len, s.len - part.len}) : self;
}

METHOD(s_removesuffix) {
    gguf_str s = self.as.str, part = tpl_as_str(ev, args->argv[0], "removesuffix");
    return ends(s, part) ? tpl_str((gguf_str){s.ptr, s.len - part.len}) : self;
}

METHOD(s_upper) {
    (void)args;
    return tpl_str(tpl_change_case(ev, self.as.str, TPL_UPPER));
}

METHOD(s_lower) {
    (void)args;
    return tpl_str(tpl_change_case(ev, self.as.str, TPL_LOWER));
}

METHOD(s_title) {
    (void)args;
    return tpl_str(tpl_change_case(ev, self.as.str, TPL_TITLE));
}

METHOD(s_capitalize) {
    (void)args;
    return tpl_str(tpl_change_case(ev, self.as.str, TPL_CAPITALIZE));
}

METHOD(s_replace) {
    gguf_str old = tpl_as_str(ev, args->argv[0], "replace"),
             with = tpl_as_str(ev, args->argv[1], "replace");
    return tpl_str(tpl_replace(ev, self.as.str, old, with, tpl_int_arg(ev, args->argv[2], -1)));
}

/* Character at which `what` is found between the bounds, or -1. */
static int64_t position(tpl_eval *ev, tpl_value self, const tpl_args *args, bool last) {
    gguf_str what = tpl_as_str(ev, args->argv[0], "find");
    const tpl_value parts[3] = {args->argv[1], args->argv[2], tpl_none()};
    tpl_value in = tpl_slice(ev, self, parts);
    if (ev->code) return -1;
    size_t at = last ? find_last(in.as.str, what) : tpl_find_str(in.as.str, what, 0);
    if (at == SIZE_MAX) return -1;
    return (int64_t)tpl_n_chars(
        (gguf_str){self.as.str.ptr, (size_t)(in.as.str.ptr - self.as.str.ptr) + at});
}

METHOD(s_find) {
    return tpl_int(position(ev, self, args, false));
}

METHOD(s_rfind) {
    return tpl_int(position(ev, self, args, true));
}

METHOD(s_index) {
    int64_t at = position(ev, self, args, false);
    if (at < 0) tpl_raise(ev, GGUF_E_FORMAT, "the string is not found");
    return tpl_int(at);
}

METHOD(s_count) {
    gguf_str what = tpl_as_str(ev, args->argv[0], "count"), s = self.as.str;
    int64_t n = 0;
    if (what.len == 0) return tpl_int((int64_t)tpl_n_chars(s) + 1);
    for (size_t at = tpl_find_str(s, what, 0); at != SIZE_MAX;
         at = tpl_find_str(s, what, at + what.len))
        n++;
    return tpl_int(n);
}

METHOD(s_join) {
    gguf_dynbuf buf;
    tpl_list items = tpl_items(ev, args->argv[0]);
    tpl_buf_init(ev, &buf);
    for (size_t i = 0; i < items.n && tpl_step(ev, 1); i++) {
        gguf_str part = tpl_as_str(ev, items.items[i], "join");
        if (i) gguf_dynbuf_put(&buf, self.as.str.ptr, self.as.str.len);
        gguf_dynbuf_put(&buf, part.ptr, part.len);
    }
    return tpl_taken(ev, &buf);
}

METHOD(s_format) {
    return tpl_format(ev, self.as.str, args);
}

METHOD(s_partition) {
    gguf_str s = self.as.str, by = tpl_as_str(ev, args->argv[0], "partition");
    size_t at = tpl_find_str(s, by, 0);
    tpl_value out = tpl_list_new(ev, TPL_TUPLE);
    bool found = at != SIZE_MAX;
    tpl_push(ev, out, found ? tpl_str((gguf_str){s.ptr, at}) : self);
    tpl_push(ev, out, found ? tpl_str(by) : tpl_text(""));
    tpl_push(ev, out,
             found ? tpl_str((gguf_str){s.ptr + at + by.len, s.len - at - by.len}) : tpl_text(""));
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

static tpl_value all_chars(gguf_str s, bool (*holds)(utf8proc_category_t kind)) {
    for (size_t i = 0, n; i < s.len; i += n) {
        utf8proc_int32_t c = -1;
        n = tpl_char_len(s.ptr + i, s.len - i);
        utf8proc_iterate((const utf8proc_uint8_t *)s.ptr + i, (utf8proc_ssize_t)n, &c);
        if (!holds(utf8proc_category(c))) return tpl_bool(false);
    }
    return tpl_bool(s.len > 0);
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
    return tpl_bool(self.as.str.len > 0 && tpl_strip(self.as.str, NULL, true, false).len == 0);
}

METHOD(s_isupper) {
    return tpl_bool(tpl_test(ev, gguf_str_of("upper"), self, args));
}

METHOD(s_islower) {
    return tpl_bool(tpl_test(ev, gguf_str_of("lower"), self, args));
}

const tpl_function tpl_string_methods[] = {
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

static tpl_value parts_of(tpl_eval *ev, const tpl_dict *dict, part which) {
    tpl_value out = tpl_list_new(ev, TPL_LIST);
    for (size_t i = 0; i < dict->n && !ev->code; i++) {
        const tpl_entry *entry = &dict->entries[i];
        tpl_push(ev, out,
                 which == KEYS     ? entry->key
                 : which == VALUES ? entry->value
                                   : tpl_pair(ev, entry->key, entry->value));
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
    const tpl_value *found = tpl_get(ev, self.as.dict, args->argv[0]);
    if (found) return *found;
    return args->argv[1].kind == TPL_MISSING ? tpl_none() : args->argv[1];
}

METHOD(d_copy) {
    tpl_value out = tpl_dict_new(ev);
    (void)args;
    for (size_t i = 0; i < self.as.dict->n && !ev->code; i++)
        tpl_put(ev, out.as.dict, self.as.dict->entries[i].key, self.as.dict->entries[i].value);
    return out;
}

METHOD(refuse) {
    (void)self, (void)args;
    tpl_raise(ev, GGUF_E_FORMAT, "a template may not change what it was given");
    return tpl_none();
}

const tpl_function tpl_dict_methods[] = {
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
    tpl_list *list = self.as.list;
    for (size_t i = 0; i < list->n && tpl_step(ev, 1); i++)
        if (tpl_equal(ev, list->items[i], args->argv[0])) return tpl_int((int64_t)i);
    tpl_raise(ev, GGUF_E_FORMAT, "the list does not hold the value");
    return tpl_none();
}

METHOD(l_count) {
    tpl_list *list = self.as.list;
    int64_t n = 0;
    for (size_t i = 0; i < list->n && tpl_step(ev, 1); i++)
        n += tpl_equal(ev, list->items[i], args->argv[0]);
    return tpl_int(n);
}

METHOD(l_copy) {
    const tpl_value all[3] = {tpl_none(), tpl_none(), tpl_none()};
    (void)args;
    return tpl_slice(ev, self, all);
}

const tpl_function tpl_list_methods[] = {
    {"index", "value", 1, l_index}, {"count", "value", 1, l_count}, {"copy", "", 0, l_copy},
    {"append", "*", 0, refuse},     {"extend", "*", 0, refuse},     {"insert", "*", 0, refuse},
    {"pop", "*", 0, refuse},        {"remove", "*", 0, refuse},     {"reverse", "*", 0, refuse},
    {"sort", "*", 0, refuse},       {"clear", "*", 0, refuse},      {0},
};

/* ---- loops, cyclers, floats ----------------------------------------------------------------- */

METHOD(loop_cycle) {
    if (!args->n) tpl_raise(ev, GGUF_E_FORMAT, "cycle needs items");
    return args->n ? args->pos[self.as.loop->at % args->n] : tpl_none();
}

METHOD(loop_changed) {
    tpl_value now = tpl_list_new(ev, TPL_TUPLE);
    for (size_t i = 0; i < args->n; i++) tpl_push(ev, now, args->pos[i]);
    bool changed = !tpl_equal(ev, now, self.as.loop->changed);
    self.as.loop->changed = now;
    return tpl_bool(changed);
}

const tpl_function tpl_loop_methods[] = {
    {"cycle", "*", 0, loop_cycle}, {"changed", "*", 0, loop_changed}, {0}};

METHOD(cycler_next) {
    tpl_list *list = self.as.list;
    tpl_value out = list->items[list->at];
    (void)ev, (void)args;
    list->at = (list->at + 1) % list->n;
    return out;
}

METHOD(cycler_reset) {
    (void)ev, (void)args;
    self.as.list->at = 0;
    return tpl_none();
}

const tpl_function tpl_cycler_methods[] = {
    {"next", "", 0, cycler_next}, {"reset", "", 0, cycler_reset}, {0}};

METHOD(float_is_integer) {
    (void)ev, (void)args;
    return tpl_bool(floor(self.as.real) == self.as.real);
}

const tpl_function tpl_float_methods[] = {{"is_integer", "", 0, float_is_integer}, {0}};
