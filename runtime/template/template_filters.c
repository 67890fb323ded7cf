/* Filters on texts and numbers. */
#include "runtime/template/template_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELF_STR rt_template_to_str(ev, self)

int64_t rt_template_int_arg(rt_template_eval *ev, rt_template_value v, int64_t otherwise) {
    if (!rt_template_given(v)) return otherwise;
    if (v.kind == RT_TEMPLATE_INT || v.kind == RT_TEMPLATE_BOOL) return rt_template_whole(v);
    rt_template_raise(ev, GGUF_E_FORMAT, "expected an int, not %s", rt_template_kind_name(v));
    return otherwise;
}

static rt_template_value f_trim(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    gguf_str s = SELF_STR, chars = {"", 0};
    bool given = rt_template_given(args->argv[0]);
    if (given) chars = rt_template_as_str(ev, args->argv[0], "trim");
    return rt_template_str(rt_template_strip(s, given ? &chars : NULL, true, true));
}

static rt_template_value f_upper(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, SELF_STR, RT_TEMPLATE_UPPER));
}

static rt_template_value f_lower(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, SELF_STR, RT_TEMPLATE_LOWER));
}

static rt_template_value f_title(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, SELF_STR, RT_TEMPLATE_FILTER_TITLE));
}

static rt_template_value f_capitalize(rt_template_eval *ev, rt_template_value self,
                                      const rt_template_args *args) {
    (void)args;
    return rt_template_str(rt_template_change_case(ev, SELF_STR, RT_TEMPLATE_CAPITALIZE));
}

static rt_template_value f_replace(rt_template_eval *ev, rt_template_value self,
                                   const rt_template_args *args) {
    gguf_str s = SELF_STR, old = rt_template_to_str(ev, args->argv[0]),
             with = rt_template_to_str(ev, args->argv[1]);
    return rt_template_str(
        rt_template_replace(ev, s, old, with, rt_template_int_arg(ev, args->argv[2], -1)));
}

static rt_template_value f_string(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    (void)args;
    return rt_template_str(SELF_STR);
}

static rt_template_value f_escape(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    (void)args;
    return rt_template_str(rt_template_escape(ev, SELF_STR));
}

static void put_spaces(rt_template_eval *ev, gguf_dynbuf *buf, size_t n) {
    for (; n > 0 && !buf->code && rt_template_step(ev, 1); n--) gguf_dynbuf_put(buf, " ", 1);
}

static rt_template_value f_center(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    gguf_str s = SELF_STR;
    gguf_dynbuf buf;
    int64_t width = rt_template_int_arg(ev, args->argv[0], 80), n = (int64_t)rt_template_n_chars(s);
    if (ev->code || width <= n) return rt_template_str(s);
    /* An odd space goes to the left where the width is odd. */
    size_t all = (size_t)(width - n), left = all / 2 + (all & (size_t)width & 1);
    rt_template_buf_init(ev, &buf);
    put_spaces(ev, &buf, left);
    gguf_dynbuf_put(&buf, s.ptr, s.len);
    put_spaces(ev, &buf, all - left);
    return rt_template_taken(ev, &buf);
}

/* The first words of a text that is longer than `length`, whole ones unless killwords. */
static rt_template_value f_truncate(rt_template_eval *ev, rt_template_value self,
                                    const rt_template_args *args) {
    gguf_str s = SELF_STR, end = rt_template_given(args->argv[2])
                                     ? rt_template_as_str(ev, args->argv[2], "truncate")
                                     : gguf_str_of("...");
    int64_t length = rt_template_int_arg(ev, args->argv[0], 255),
            leeway = rt_template_int_arg(ev, args->argv[3], 5),
            n_end = (int64_t)rt_template_n_chars(end);
    if (length < n_end || leeway < 0)
        rt_template_raise(ev, GGUF_E_FORMAT, "truncate to %lld characters with %lld of leeway",
                          (long long)length, (long long)leeway);
    if (ev->code || (int64_t)rt_template_n_chars(s) - leeway <= length) return rt_template_str(s);
    gguf_dynbuf buf;
    size_t kept = rt_template_char_offset(s, (size_t)(length - n_end)), word = kept;
    while (word > 0 && s.ptr[word - 1] != ' ') word--;
    if (!rt_template_truth(args->argv[1]) && word > 0) kept = word - 1;
    rt_template_buf_init(ev, &buf);
    gguf_dynbuf_put(&buf, s.ptr, kept);
    gguf_dynbuf_put(&buf, end.ptr, end.len);
    return rt_template_taken(ev, &buf);
}

static rt_template_value f_tojson(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    return rt_template_to_json(ev, self, args);
}

/* Lines behind the first, or all, moved to the right. */
static rt_template_value f_indent(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    gguf_str s = SELF_STR, by;
    gguf_dynbuf buf;
    bool first = rt_template_truth(args->argv[1]), blank = rt_template_truth(args->argv[2]);
    if (args->argv[0].kind == RT_TEMPLATE_STRING) {
        by = args->argv[0].as.str;
    } else {
        int64_t n = rt_template_int_arg(ev, args->argv[0], 4);
        rt_template_value spaces =
            rt_template_binary(ev, RT_TPL_OP_MUL, rt_template_text(" "), rt_template_int(n));
        if (ev->code) return rt_template_none();
        by = spaces.as.str;
    }
    rt_template_buf_init(ev, &buf);
    for (size_t at = 0, line = 0; at <= s.len && rt_template_step(ev, 1); line++) {
        size_t end = rt_template_find_str(s, gguf_str_of("\n"), at);
        if (end == SIZE_MAX) end = s.len;
        bool indented = (line > 0 || first) && (end > at || blank || line == 0);
        if (line) gguf_dynbuf_put(&buf, "\n", 1);
        if (indented) gguf_dynbuf_put(&buf, by.ptr, by.len);
        gguf_dynbuf_put(&buf, s.ptr + at, end - at);
        at = end + 1;
    }
    return rt_template_taken(ev, &buf);
}

static rt_template_value f_default(rt_template_eval *ev, rt_template_value self,
                                   const rt_template_args *args) {
    bool absent = self.kind == RT_TEMPLATE_UNDEFINED ||
                  (rt_template_truth(args->argv[1]) && !rt_template_truth(self));
    (void)ev;
    if (!absent) return self;
    return args->argv[0].kind == RT_TEMPLATE_MISSING ? rt_template_text("") : args->argv[0];
}

/* A number in a text as float() reads it; false if there is none. */
static bool read_real(rt_template_eval *ev, gguf_str s, double *out) {
    char text[64], *end;
    s = rt_template_strip(s, NULL, true, true);
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
    s = rt_template_strip(s, NULL, true, true);
    if (s.len == 0 || s.len >= sizeof text) return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    errno = 0;
    *out = strtoll(text, &end, base);
    return end == text + s.len && !errno;
}

static rt_template_value truncated(rt_template_eval *ev, double value,
                                   rt_template_value otherwise) {
    if (isnan(value) || isinf(value)) return otherwise;
    if (fabs(value) < 9.2e18) return rt_template_int((int64_t)value);
    rt_template_raise(ev, GGUF_E_LIMIT, "a number does not fit into 64 bits");
    return otherwise;
}

static rt_template_value f_int(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    rt_template_value otherwise =
        args->argv[0].kind == RT_TEMPLATE_MISSING ? rt_template_int(0) : args->argv[0];
    int64_t whole, base = rt_template_int_arg(ev, args->argv[1], 10);
    double real;
    if (self.kind == RT_TEMPLATE_INT || self.kind == RT_TEMPLATE_BOOL)
        return rt_template_int(rt_template_whole(self));
    if (self.kind == RT_TEMPLATE_FLOAT) return truncated(ev, self.as.real, otherwise);
    if (self.kind == RT_TEMPLATE_UNDEFINED)
        rt_template_raise(ev, GGUF_E_FORMAT, "int of an undefined value");
    if (self.kind != RT_TEMPLATE_STRING || ev->code || base < 2 || base > 36) return otherwise;
    if (read_whole(self.as.str, (int)base, &whole)) return rt_template_int(whole);
    return read_real(ev, self.as.str, &real) ? truncated(ev, real, otherwise) : otherwise;
}

static rt_template_value f_float(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    double real;
    if (self.kind == RT_TEMPLATE_UNDEFINED)
        rt_template_raise(ev, GGUF_E_FORMAT, "float of an undefined value");
    if (rt_template_is_number(self)) return rt_template_float(rt_template_real(self));
    if (self.kind == RT_TEMPLATE_STRING && read_real(ev, self.as.str, &real))
        return rt_template_float(real);
    return args->argv[0].kind == RT_TEMPLATE_MISSING ? rt_template_float(0) : args->argv[0];
}

static rt_template_value f_abs(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    (void)args;
    if (self.kind == RT_TEMPLATE_FLOAT) return rt_template_float(fabs(self.as.real));
    bool negative = rt_template_is_number(self) && rt_template_whole(self) < 0;
    return rt_template_negate(ev, negative ? RT_TPL_OP_SUB : RT_TPL_OP_ADD, self);
}

static rt_template_value f_round(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    int64_t digits = rt_template_int_arg(ev, args->argv[0], 0);
    gguf_str how = rt_template_given(args->argv[1]) ? rt_template_as_str(ev, args->argv[1], "round")
                                                    : gguf_str_of("common");
    if (!rt_template_is_number(self))
        rt_template_raise(ev, GGUF_E_FORMAT, "round of %s", rt_template_kind_name(self));
    if (digits < -300 || digits > 300)
        rt_template_raise(ev, GGUF_E_FORMAT, "round to %lld digits", (long long)digits);
    if (ev->code) return rt_template_none();
    double value = rt_template_real(self), scale = pow(10, (double)digits);
    if (gguf_str_eq(how, "ceil")) return rt_template_float(ceil(value * scale) / scale);
    if (gguf_str_eq(how, "floor")) return rt_template_float(floor(value * scale) / scale);
    if (!gguf_str_eq(how, "common"))
        rt_template_raise(ev, GGUF_E_FORMAT, "round knows common, ceil and floor");
    if (self.kind != RT_TEMPLATE_FLOAT && digits >= 0)
        return rt_template_int(rt_template_whole(self));
    char text[400];
    if (digits < 0) return rt_template_float(nearbyint(value * scale) / scale);
    snprintf(text, sizeof text, "%.*f", (int)(digits < 60 ? digits : 60), value);
    return rt_template_float(strtod(text, NULL));
}

static rt_template_value f_wordcount(rt_template_eval *ev, rt_template_value self,
                                     const rt_template_args *args) {
    gguf_str s = SELF_STR;
    int64_t n = 0;
    bool inside = false;
    (void)args;
    for (size_t i = 0, len; i < s.len; i += len) {
        len = rt_template_char_len(s.ptr + i, s.len - i);
        bool space = rt_template_is_space((gguf_str){s.ptr + i, len});
        n += !space && !inside;
        inside = !space;
    }
    return rt_template_int(n);
}

static rt_template_value f_format(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    rt_template_value values = rt_template_list_new(ev, RT_TEMPLATE_TUPLE);
    for (size_t i = 0; i < args->n; i++) rt_template_push(ev, values, args->pos[i]);
    if (args->named && !args->n)
        values = (rt_template_value){.kind = RT_TEMPLATE_DICT,
                                     .as.dict = (rt_template_dict *)args->named};
    return ev->code ? values : rt_template_percent(ev, SELF_STR, values);
}

const rt_template_function rt_template_string_filters[] = {
    {"trim", "chars", 0, f_trim},
    {"upper", "", 0, f_upper},
    {"lower", "", 0, f_lower},
    {"title", "", 0, f_title},
    {"capitalize", "", 0, f_capitalize},
    {"replace", "old,new,count", 2, f_replace},
    {"string", "", 0, f_string},
    {"safe", "", 0, f_string},
    {"escape", "", 0, f_escape},
    {"e", "", 0, f_escape},
    {"forceescape", "", 0, f_escape},
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
