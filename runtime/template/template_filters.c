/* Filters on texts and numbers. */
#include "runtime/template/template_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELF_STR tpl_to_str(ev, self)

int64_t tpl_int_arg(tpl_eval *ev, tpl_value v, int64_t otherwise) {
    if (!tpl_given(v)) return otherwise;
    if (v.kind == TPL_INT || v.kind == TPL_BOOL) return tpl_whole(v);
    tpl_raise(ev, GGUF_E_FORMAT, "expected an int, not %s", tpl_kind_name(v));
    return otherwise;
}

/* What a filter made of markup is markup. */
static tpl_value as_safe_as(tpl_value self, gguf_str text) {
    return (tpl_value){
        .kind = TPL_STRING, .safe = self.kind == TPL_STRING && self.safe, .as.str = text};
}

static tpl_value f_trim(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str s = SELF_STR, chars = {"", 0};
    bool given = tpl_given(args->argv[0]);
    if (given) chars = tpl_as_str(ev, args->argv[0], "trim");
    return as_safe_as(self, tpl_strip(s, given ? &chars : NULL, true, true));
}

static tpl_value f_upper(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return as_safe_as(self, tpl_change_case(ev, SELF_STR, TPL_UPPER));
}

static tpl_value f_lower(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return as_safe_as(self, tpl_change_case(ev, SELF_STR, TPL_LOWER));
}

static tpl_value f_title(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return tpl_str(tpl_change_case(ev, SELF_STR, TPL_FILTER_TITLE));
}

static tpl_value f_capitalize(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return as_safe_as(self, tpl_change_case(ev, SELF_STR, TPL_CAPITALIZE));
}

static tpl_value f_replace(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str s = SELF_STR, old = tpl_to_str(ev, args->argv[0]),
             with = tpl_to_str(ev, args->argv[1]);
    return tpl_str(tpl_replace(ev, s, old, with, tpl_int_arg(ev, args->argv[2], -1)));
}

static tpl_value f_string(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return as_safe_as(self, SELF_STR);
}

static tpl_value f_safe(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return (tpl_value){.kind = TPL_STRING, .safe = true, .as.str = SELF_STR};
}

static tpl_value f_escape(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return tpl_escape(ev, self);
}

static tpl_value f_forceescape(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    return tpl_escape(ev, tpl_str(SELF_STR));
}

static void put_spaces(tpl_eval *ev, gguf_dynbuf *buf, size_t n) {
    for (; n > 0 && !buf->code && tpl_step(ev, 1); n--) gguf_dynbuf_put(buf, " ", 1);
}

static tpl_value f_center(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str s = SELF_STR;
    gguf_dynbuf buf;
    int64_t width = tpl_int_arg(ev, args->argv[0], 80), n = (int64_t)tpl_n_chars(s);
    if (ev->code || width <= n) return tpl_str(s);
    /* An odd space goes to the left where the width is odd. */
    size_t all = (size_t)(width - n), left = all / 2 + (all & (size_t)width & 1);
    tpl_buf_init(ev, &buf);
    put_spaces(ev, &buf, left);
    gguf_dynbuf_put(&buf, s.ptr, s.len);
    put_spaces(ev, &buf, all - left);
    return tpl_taken(ev, &buf);
}

/* The first words of a text that is longer than `length`, whole ones unless killwords. */
static tpl_value f_truncate(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str s = SELF_STR, end = tpl_given(args->argv[2])
                                     ? tpl_as_str(ev, args->argv[2], "truncate")
                                     : gguf_str_of("...");
    int64_t length = tpl_int_arg(ev, args->argv[0], 255),
            leeway = tpl_int_arg(ev, args->argv[3], 5), n_end = (int64_t)tpl_n_chars(end);
    if (length < n_end || leeway < 0)
        tpl_raise(ev, GGUF_E_FORMAT, "truncate to %lld characters with %lld of leeway",
                  (long long)length, (long long)leeway);
    if (ev->code || (int64_t)tpl_n_chars(s) - leeway <= length) return tpl_str(s);
    gguf_dynbuf buf;
    size_t kept = tpl_char_offset(s, (size_t)(length - n_end)), word = kept;
    while (word > 0 && s.ptr[word - 1] != ' ') word--;
    if (!tpl_truth(args->argv[1]) && word > 0) kept = word - 1;
    tpl_buf_init(ev, &buf);
    gguf_dynbuf_put(&buf, s.ptr, kept);
    gguf_dynbuf_put(&buf, end.ptr, end.len);
    return tpl_taken(ev, &buf);
}

static tpl_value f_tojson(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    return tpl_to_json(ev, self, args);
}

/* Lines behind the first, or all, moved to the right. */
static tpl_value f_indent(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str s = SELF_STR, by;
    gguf_dynbuf buf;
    bool first = tpl_truth(args->argv[1]), blank = tpl_truth(args->argv[2]);
    if (args->argv[0].kind == TPL_STRING) {
        by = args->argv[0].as.str;
    } else {
        int64_t n = tpl_int_arg(ev, args->argv[0], 4);
        tpl_value spaces = tpl_binary(ev, RT_TPL_OP_MUL, tpl_text(" "), tpl_int(n));
        if (ev->code) return tpl_none();
        by = spaces.as.str;
    }
    tpl_buf_init(ev, &buf);
    for (size_t at = 0, line = 0; at <= s.len && tpl_step(ev, 1); line++) {
        size_t end = tpl_find_str(s, gguf_str_of("\n"), at);
        if (end == SIZE_MAX) end = s.len;
        bool indented = (line > 0 || first) && (end > at || blank || line == 0);
        if (line) gguf_dynbuf_put(&buf, "\n", 1);
        if (indented) gguf_dynbuf_put(&buf, by.ptr, by.len);
        gguf_dynbuf_put(&buf, s.ptr + at, end - at);
        at = end + 1;
    }
    return as_safe_as(self, tpl_taken(ev, &buf).as.str);
}

static tpl_value f_default(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    bool absent = self.kind == TPL_UNDEFINED || (tpl_truth(args->argv[1]) && !tpl_truth(self));
    (void)ev;
    if (!absent) return self;
    return args->argv[0].kind == TPL_MISSING ? tpl_text("") : args->argv[0];
}

/* A number in a text as float() reads it; false if there is none. */
static bool read_real(tpl_eval *ev, gguf_str s, double *out) {
    char text[64], *end;
    s = tpl_strip(s, NULL, true, true);
    (void)ev;
    if (s.len == 0 || s.len >= sizeof text || memchr(s.ptr, 'x', s.len) ||
        memchr(s.ptr, 'X', s.len))
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *out = strtod(text, &end);
    return end == text + s.len;
}

static bool read_whole(gguf_str s, int base, int64_t *out) {
    char text[80], *end;
    s = tpl_strip(s, NULL, true, true);
    if (s.len == 0 || s.len >= sizeof text) return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    errno = 0;
    *out = strtoll(text, &end, base);
    return end == text + s.len && !errno;
}

static tpl_value truncated(tpl_eval *ev, double value, tpl_value otherwise) {
    if (isnan(value) || isinf(value)) return otherwise;
    if (fabs(value) < 9.2e18) return tpl_int((int64_t)value);
    tpl_raise(ev, GGUF_E_LIMIT, "a number does not fit into 64 bits");
    return otherwise;
}

static tpl_value f_int(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value otherwise = args->argv[0].kind == TPL_MISSING ? tpl_int(0) : args->argv[0];
    int64_t whole, base = tpl_int_arg(ev, args->argv[1], 10);
    double real;
    if (self.kind == TPL_INT || self.kind == TPL_BOOL) return tpl_int(tpl_whole(self));
    if (self.kind == TPL_FLOAT) return truncated(ev, self.as.real, otherwise);
    if (self.kind == TPL_UNDEFINED) tpl_raise(ev, GGUF_E_FORMAT, "int of an undefined value");
    if (self.kind != TPL_STRING || ev->code || base < 2 || base > 36) return otherwise;
    if (read_whole(self.as.str, (int)base, &whole)) return tpl_int(whole);
    return read_real(ev, self.as.str, &real) ? truncated(ev, real, otherwise) : otherwise;
}

static tpl_value f_float(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    double real;
    if (self.kind == TPL_UNDEFINED) tpl_raise(ev, GGUF_E_FORMAT, "float of an undefined value");
    if (tpl_is_number(self)) return tpl_float(tpl_real(self));
    if (self.kind == TPL_STRING && read_real(ev, self.as.str, &real)) return tpl_float(real);
    return args->argv[0].kind == TPL_MISSING ? tpl_float(0) : args->argv[0];
}

static tpl_value f_abs(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    (void)args;
    if (self.kind == TPL_FLOAT) return tpl_float(fabs(self.as.real));
    bool negative = tpl_is_number(self) && tpl_whole(self) < 0;
    return tpl_negate(ev, negative ? RT_TPL_OP_SUB : RT_TPL_OP_ADD, self);
}

static tpl_value f_round(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    int64_t digits = tpl_int_arg(ev, args->argv[0], 0);
    gguf_str how =
        tpl_given(args->argv[1]) ? tpl_as_str(ev, args->argv[1], "round") : gguf_str_of("common");
    if (!tpl_is_number(self)) tpl_raise(ev, GGUF_E_FORMAT, "round of %s", tpl_kind_name(self));
    if (digits < -300 || digits > 300)
        tpl_raise(ev, GGUF_E_FORMAT, "round to %lld digits", (long long)digits);
    if (ev->code) return tpl_none();
    double value = tpl_real(self), scale = pow(10, (double)digits);
    if (gguf_str_eq(how, "ceil")) return tpl_float(ceil(value * scale) / scale);
    if (gguf_str_eq(how, "floor")) return tpl_float(floor(value * scale) / scale);
    if (!gguf_str_eq(how, "common"))
        tpl_raise(ev, GGUF_E_FORMAT, "round knows common, ceil and floor");
    if (self.kind != TPL_FLOAT && digits >= 0) return tpl_int(tpl_whole(self));
    char text[400];
    if (digits < 0) return tpl_float(nearbyint(value * scale) / scale);
    snprintf(text, sizeof text, "%.*f", (int)(digits < 60 ? digits : 60), value);
    return tpl_float(strtod(text, NULL));
}

static tpl_value f_wordcount(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    gguf_str s = SELF_STR;
    int64_t n = 0;
    bool inside = false;
    (void)args;
    for (size_t i = 0, len; i < s.len; i += len) {
        len = tpl_char_len(s.ptr + i, s.len - i);
        bool space = tpl_is_space((gguf_str){s.ptr + i, len});
        n += !space && !inside;
        inside = !space;
    }
    return tpl_int(n);
}

static tpl_value f_format(tpl_eval *ev, tpl_value self, const tpl_args *args) {
    tpl_value values = tpl_list_new(ev, TPL_TUPLE);
    for (size_t i = 0; i < args->n; i++) tpl_push(ev, values, args->pos[i]);
    if (args->named && !args->n)
        values = (tpl_value){.kind = TPL_DICT, .as.dict = (tpl_dict *)args->named};
    return ev->code ? values : tpl_percent(ev, SELF_STR, values);
}

const tpl_function tpl_string_filters[] = {
    {"trim", "chars", 0, f_trim},
    {"upper", "", 0, f_upper},
    {"lower", "", 0, f_lower},
    {"title", "", 0, f_title},
    {"capitalize", "", 0, f_capitalize},
    {"replace", "old,new,count", 2, f_replace},
    {"string", "", 0, f_string},
    {"safe", "", 0, f_safe},
    {"escape", "", 0, f_escape},
    {"e", "", 0, f_escape},
    {"forceescape", "", 0, f_forceescape},
    {"center", "width", 0, f_center},
    {"truncate", "length,killwords,end,leeway", 0, f_truncate},
    {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, f_tojson},
    {"indent", "width,first,blank", 0, f_indent},
    {"default", "default_value,boolean", 0, f_default},
    {"d", "default_value,boolean", 0, f_default},
    {"int", "default,base", 0, f_int},
    {"float", "default", 0, f_float},
    {"abs", "", 0, f_abs},
    {"round", "precision,method", 0, f_round},
    {"wordcount", "", 0, f_wordcount},
    {"format", "*", 0, f_format},
    {0},
};
