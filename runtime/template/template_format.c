/* Formatting: text % arguments, and str.format. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct field {
    char flags[8];
    int width, precision; /* precision -1: not given */
    char type;
} field;

/* Digits at *at, at most 9999. */
static int read_int(gguf_str s, size_t *at) {
    int n = 0;
    for (; *at < s.len && s.ptr[*at] >= '0' && s.ptr[*at] <= '9'; (*at)++)
        n = n < 1000 ? n * 10 + s.ptr[*at] - '0' : 9999;
    return n;
}

static bool has_flag(const field *f, char flag) {
    return strchr(f->flags, flag) != NULL;
}

static void pad(gguf_dynbuf *buf, int n) {
    for (; n > 0; n--) gguf_dynbuf_put(buf, " ", 1);
}

static void put_padded(gguf_dynbuf *buf, const field *f, gguf_str s, bool to_left) {
    if (f->precision >= 0) s.len = rt_template_char_offset(s, (size_t)f->precision);
    int fill = f->width > (int)rt_template_n_chars(s) ? f->width - (int)rt_template_n_chars(s) : 0;
    int before = has_flag(f, '^') ? fill / 2 : to_left ? 0 : fill;
    pad(buf, before);
    gguf_dynbuf_put(buf, s.ptr, s.len);
    pad(buf, fill - before);
}

static void put_number(rt_template_eval *ev, gguf_dynbuf *buf, const field *f,
                       rt_template_value v) {
    char spec[40], flags[8] = "", text[400];
    int n = 0;
    if (!rt_template_is_number(v)) {
        rt_template_raise(ev, GGUF_E_FORMAT, "%%%c needs a number, not %s", f->type,
                          rt_template_kind_name(v));
        return;
    }
    for (const char *at = f->flags; *at; at++)
        if (strchr("-+ 0#", *at)) flags[n++] = *at;
    flags[n] = '\0';
    int width = f->width < 300 ? f->width : 300, precision = f->precision < 60 ? f->precision : 60;
    if (strchr("dixXo", f->type)) {
        snprintf(spec, sizeof spec, "%%%s%dll%c", flags, width, f->type);
        if (!width) snprintf(spec, sizeof spec, "%%%sll%c", flags, f->type);
        double real = rt_template_real(v);
        if (v.kind == RT_TEMPLATE_FLOAT && !(fabs(real) < 9e18))
            rt_template_raise(ev, GGUF_E_LIMIT, "a number does not fit into 64 bits");
        long long whole = v.kind != RT_TEMPLATE_FLOAT ? rt_template_whole(v)
                          : ev->code                  ? 0
                                                      : (long long)real;
        snprintf(text, sizeof text, spec, whole);
    } else {
        snprintf(spec, sizeof spec, "%%%s%d.%d%c", flags, width, precision < 0 ? 6 : precision,
                 f->type);
        if (!width)
            snprintf(spec, sizeof spec, "%%%s.%d%c", flags, precision < 0 ? 6 : precision, f->type);
        snprintf(text, sizeof text, spec, rt_template_real(v));
    }
    gguf_dynbuf_put_text(buf, text);
}

static void put_field(rt_template_eval *ev, gguf_dynbuf *buf, const field *f, rt_template_value v) {
    gguf_dynbuf repr;
    switch (f->type) {
    case 's':
        put_padded(buf, f, rt_template_to_str(ev, v), has_flag(f, '-'));
        break;
    case 'r':
        rt_template_buf_init(ev, &repr);
        rt_template_put_repr(ev, &repr, v);
        put_padded(buf, f, rt_template_taken(ev, &repr).as.str, has_flag(f, '-'));
        break;
    case 'd':
    case 'i':
    case 'x':
    case 'X':
    case 'o':
    case 'e':
    case 'f':
    case 'g':
        put_number(ev, buf, f, v);
        break;
    default:
        rt_template_raise(ev, GGUF_E_FORMAT, "the format %%%c is not known here", f->type);
    }
}

/* Flags, width, precision and type; false at the end of the text. */
static bool read_field(gguf_str s, size_t *at, field *f) {
    size_t n = 0;
    *f = (field){.precision = -1};
    for (; *at < s.len && s.ptr[*at] && strchr("-+ 0#", s.ptr[*at]); (*at)++)
        if (n + 1 < sizeof f->flags && !has_flag(f, s.ptr[*at])) f->flags[n++] = s.ptr[*at];
    f->width = read_int(s, at);
    if (*at < s.len && s.ptr[*at] == '.') {
        (*at)++;
        f->precision = read_int(s, at);
    }
    if (*at >= s.len) return false;
    f->type = s.ptr[(*at)++];
    return true;
}

/* The value for a field: by name, or the next in order. */
static rt_template_value percent_value(rt_template_eval *ev, gguf_str s, size_t *at,
                                       rt_template_value args, size_t *next) {
    if (*at < s.len && s.ptr[*at] == '(') {
        size_t end = rt_template_find_str(s, gguf_str_of(")"), *at);
        if (end == SIZE_MAX || args.kind != RT_TEMPLATE_DICT) {
            rt_template_raise(ev, GGUF_E_FORMAT, "a format by name needs a dict");
            return rt_template_none();
        }
        gguf_str name = {s.ptr + *at + 1, end - *at - 1};
        const rt_template_value *value = rt_template_get_str(args.as.dict, name);
        if (!value)
            rt_template_raise(ev, GGUF_E_FORMAT, "the dict lacks '%.*s'", RT_TEMPLATE_SHOWN(name));
        *at = end + 1;
        return value ? *value : rt_template_none();
    }
    size_t n = args.kind == RT_TEMPLATE_TUPLE ? args.as.list->n : 1, i = (*next)++;
    if (i < n) return args.kind == RT_TEMPLATE_TUPLE ? args.as.list->items[i] : args;
    rt_template_raise(ev, GGUF_E_FORMAT, "too few arguments for the format");
    return rt_template_none();
}

rt_template_value rt_template_percent(rt_template_eval *ev, gguf_str s, rt_template_value args) {
    gguf_dynbuf buf;
    size_t next = 0;
    field f;
    rt_template_buf_init(ev, &buf);
    for (size_t at = 0; at < s.len && rt_template_step(ev, 1);) {
        size_t sign = rt_template_find_str(s, gguf_str_of("%"), at);
        if (sign == SIZE_MAX) sign = s.len;
        gguf_dynbuf_put(&buf, s.ptr + at, sign - at);
        at = sign + 1;
        if (sign == s.len) break;
        if (at < s.len && s.ptr[at] == '%') {
            gguf_dynbuf_put(&buf, s.ptr + at++, 1);
            continue;
        }
        rt_template_value v = percent_value(ev, s, &at, args, &next);
        if (!ev->code && !read_field(s, &at, &f))
            rt_template_raise(ev, GGUF_E_FORMAT, "incomplete format");
        if (!ev->code) put_field(ev, &buf, &f, v);
    }
    if (args.kind == RT_TEMPLATE_TUPLE && next < args.as.list->n)
        rt_template_raise(ev, GGUF_E_FORMAT, "too many arguments for the format");
    return rt_template_taken(ev, &buf);
}

/* ---- str.format -------------------------------------------------------------------------- */

static rt_template_value format_value(rt_template_eval *ev, gguf_str name,
                                      const rt_template_args *args, size_t *next) {
    size_t at = 0, index = name.len ? (size_t)read_int(name, &at) : (*next)++;
    if (at == name.len && index < args->n) return args->pos[index];
    const rt_template_value *named =
        args->named && name.len ? rt_template_get_str(args->named, name) : NULL;
    if (named) return *named;
    rt_template_raise(ev, GGUF_E_FORMAT, "no argument for the field '%.*s'",
                      RT_TEMPLATE_SHOWN(name));
    return rt_template_none();
}

static void put_format(rt_template_eval *ev, gguf_dynbuf *buf, gguf_str spec, rt_template_value v) {
    field f;
    size_t at = 0;
    char align = spec.len && spec.ptr[0] && strchr("<>^", spec.ptr[0]) ? spec.ptr[at++] : '\0';
    char last = spec.len > at ? spec.ptr[spec.len - 1] : '\0';
    bool typed = (last >= 'a' && last <= 'z') || (last >= 'A' && last <= 'Z');
    char text[64];
    int n = (int)(spec.len - at);
    if (n > 40) {
        rt_template_raise(ev, GGUF_E_FORMAT, "a format that is too long");
        return;
    }
    bool number = rt_template_is_number(v) && v.kind != RT_TEMPLATE_BOOL;
    char type =
        number ? v.kind == RT_TEMPLATE_FLOAT && memchr(spec.ptr, '.', spec.len) ? 'g' : 's' : 's';
    snprintf(text, sizeof text, typed ? "%.*s" : "%.*s%c", n, spec.ptr + at, type);
    at = 0;
    read_field(gguf_str_of(text), &at, &f);
    if (at != strlen(text))
        rt_template_raise(ev, GGUF_E_FORMAT, "the format ':%s' is not known here", text);
    bool right = align == '>' || (!align && number);
    if (f.type == 's' || align) {
        field inner = {.precision = f.precision, .type = f.type};
        gguf_dynbuf plain;
        rt_template_buf_init(ev, &plain);
        put_field(ev, &plain, &inner, v);
        f.precision = -1;
        if (align == '^') memcpy(f.flags, "^", 2);
        put_padded(buf, &f, rt_template_taken(ev, &plain).as.str, !right);
        return;
    }
    put_field(ev, buf, &f, v);
}

rt_template_value rt_template_format(rt_template_eval *ev, gguf_str s,
                                     const rt_template_args *args) {
    gguf_dynbuf buf;
    size_t next = 0;
    rt_template_buf_init(ev, &buf);
    for (size_t at = 0; at < s.len && rt_template_step(ev, 1);) {
        char c = s.ptr[at];
        if (c != '{' && c != '}') {
            gguf_dynbuf_put(&buf, s.ptr + at++, 1);
            continue;
        }
        if (at + 1 < s.len && s.ptr[at + 1] == c) {
            gguf_dynbuf_put(&buf, &c, 1);
            at += 2;
            continue;
        }
        size_t end = rt_template_find_str(s, gguf_str_of("}"), at + 1);
        if (c == '}' || end == SIZE_MAX) {
            rt_template_raise(ev, GGUF_E_FORMAT, "a single '%c' in a format", c);
            break;
        }
        gguf_str name = {s.ptr + at + 1, end - at - 1}, spec = {"", 0};
        size_t colon = rt_template_find_str(name, gguf_str_of(":"), 0);
        if (colon != SIZE_MAX) {
            spec = (gguf_str){name.ptr + colon + 1, name.len - colon - 1};
            name.len = colon;
        }
        rt_template_value v = format_value(ev, name, args, &next);
        if (!ev->code) put_format(ev, &buf, spec, v);
        at = end + 1;
    }
    return rt_template_taken(ev, &buf);
}
