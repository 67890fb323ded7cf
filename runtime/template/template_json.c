/* The filter tojson, as json.dumps writes. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

typedef struct writer {
    rt_template_eval *ev;
    gguf_dynbuf *buf;
    bool ascii, sort_keys, pretty;
    gguf_str indent, comma, colon;
} writer;

static void put(writer *w, gguf_str s) {
    gguf_dynbuf_put(w->buf, s.ptr, s.len);
}

static void put_unit(writer *w, unsigned unit) {
    char text[16];
    snprintf(text, sizeof text, "\\u%04x", unit);
    gguf_dynbuf_put_text(w->buf, text);
}

static void put_beyond_ascii(writer *w, const char *at, size_t n) {
    utf8proc_int32_t c = 0xfffd;
    utf8proc_iterate((const utf8proc_uint8_t *)at, (utf8proc_ssize_t)n, &c);
    if (c < 0) c = 0xfffd;
    if (c >= 0x10000) {
        put_unit(w, 0xd800 + (unsigned)((c - 0x10000) >> 10));
        put_unit(w, 0xdc00 + (unsigned)((c - 0x10000) & 0x3ff));
    } else {
        put_unit(w, (unsigned)c);
    }
}

static void put_char(writer *w, const char *at, size_t n) {
    static const char plain[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    unsigned char c = (unsigned char)*at;
    const char *found = c ? strchr(plain, c) : NULL;
    if (found) {
        char text[2] = {'\\', letters[found - plain]};
        gguf_dynbuf_put(w->buf, text, 2);
    } else if (c < 0x20) {
        put_unit(w, c);
    } else if (c >= 0x80 && w->ascii) {
        put_beyond_ascii(w, at, n);
    } else {
        gguf_dynbuf_put(w->buf, at, n);
    }
}

static void put_string(writer *w, gguf_str s) {
    gguf_dynbuf_put(w->buf, "\"", 1);
    for (size_t i = 0, n; i < s.len; i += n) {
        n = rt_template_char_len(s.ptr + i, s.len - i);
        put_char(w, s.ptr + i, n);
    }
    gguf_dynbuf_put(w->buf, "\"", 1);
}

static void new_line(writer *w, unsigned level) {
    if (!w->pretty) return;
    gguf_dynbuf_put(w->buf, "\n", 1);
    while (level-- > 0 && !w->buf->code) put(w, w->indent);
}

static void put_value(writer *w, rt_template_value v, unsigned level);

static void put_scalar(writer *w, rt_template_value v) {
    if (v.kind == RT_TEMPLATE_NONE)
        gguf_dynbuf_put_text(w->buf, "null");
    else if (v.kind == RT_TEMPLATE_BOOL)
        gguf_dynbuf_put_text(w->buf, v.as.boolean ? "true" : "false");
    else if (v.kind == RT_TEMPLATE_FLOAT && !isfinite(v.as.real))
        gguf_dynbuf_put_text(w->buf, isnan(v.as.real) ? "NaN"
                                     : v.as.real < 0  ? "-Infinity"
                                                      : "Infinity");
    else if (v.kind == RT_TEMPLATE_STRING)
        put_string(w, v.as.str);
    else
        rt_template_put_repr(w->ev, w->buf, v);
}

static void put_list(writer *w, const rt_template_list *list, unsigned level) {
    gguf_dynbuf_put(w->buf, "[", 1);
    for (size_t i = 0; i < list->n && !w->ev->code; i++) {
        if (i) put(w, w->comma);
        new_line(w, level + 1);
        put_value(w, list->items[i], level + 1);
    }
    if (list->n) new_line(w, level);
    gguf_dynbuf_put(w->buf, "]", 1);
}

static void put_key(writer *w, rt_template_value key) {
    gguf_dynbuf buf;
    writer inner = *w;
    if (key.kind == RT_TEMPLATE_STRING) {
        put_string(w, key.as.str);
        return;
    }
    if (!rt_template_is_number(key) && key.kind != RT_TEMPLATE_NONE) {
        rt_template_raise(w->ev, GGUF_E_FORMAT, "%s is not a key in JSON",
                          rt_template_kind_name(key));
        return;
    }
    rt_template_buf_init(w->ev, &buf);
    inner.buf = &buf;
    put_scalar(&inner, key);
    put_string(w, rt_template_taken(w->ev, &buf).as.str);
}

/* A copy of the entries in order of their keys. */
static rt_template_dict sorted(rt_template_eval *ev, const rt_template_dict *dict) {
    rt_template_dict out = *dict;
    out.entries = rt_template_new(ev, dict->n * sizeof *out.entries);
    for (size_t i = 0; out.entries && i < dict->n; i++) {
        size_t at = i;
        for (; at > 0 && rt_template_step(ev, 1) &&
               rt_template_order(ev, out.entries[at - 1].key, dict->entries[i].key) > 0;
             at--)
            out.entries[at] = out.entries[at - 1];
        out.entries[at] = dict->entries[i];
    }
    if (!out.entries) out.n = 0;
    return out;
}

static void put_dict(writer *w, const rt_template_dict *dict, unsigned level) {
    rt_template_dict in_order = w->sort_keys ? sorted(w->ev, dict) : *dict;
    gguf_dynbuf_put(w->buf, "{", 1);
    for (size_t i = 0; i < in_order.n && !w->ev->code; i++) {
        if (i) put(w, w->comma);
        new_line(w, level + 1);
        put_key(w, in_order.entries[i].key);
        put(w, w->colon);
        put_value(w, in_order.entries[i].value, level + 1);
    }
    if (in_order.n) new_line(w, level);
    gguf_dynbuf_put(w->buf, "}", 1);
}

static void put_value(writer *w, rt_template_value v, unsigned level) {
    if (w->buf->code) rt_template_raise(w->ev, w->buf->code, "a text is too long");
    if (rt_template_deeper(w->ev) && rt_template_step(w->ev, 1)) {
        if (rt_template_is_list(v))
            put_list(w, v.as.list, level);
        else if (v.kind == RT_TEMPLATE_DICT)
            put_dict(w, v.as.dict, level);
        else if (v.kind >= RT_TEMPLATE_NONE && v.kind <= RT_TEMPLATE_STRING)
            put_scalar(w, v);
        else
            rt_template_raise(w->ev, GGUF_E_FORMAT, "%s cannot become JSON",
                              rt_template_kind_name(v));
    }
    rt_template_back(w->ev);
}

static void set_indent(writer *w, rt_template_value indent) {
    static const char spaces[] = "                ";
    if (!rt_template_given(indent)) return;
    w->pretty = true;
    w->comma = gguf_str_of(",");
    if (indent.kind == RT_TEMPLATE_STRING) {
        w->indent = indent.as.str;
        return;
    }
    int64_t n = rt_template_int_arg(w->ev, indent, 0);
    if (n > 16) rt_template_raise(w->ev, GGUF_E_LIMIT, "indent beyond 16");
    w->indent = (gguf_str){spaces, n < 0 || n > 16 ? 0 : (size_t)n};
}

rt_template_value rt_template_to_json(rt_template_eval *ev, rt_template_value v,
                                      const rt_template_args *args) {
    gguf_dynbuf buf;
    writer w = {.ev = ev, .buf = &buf, .comma = gguf_str_of(", "), .colon = gguf_str_of(": ")};
    w.ascii = rt_template_truth(args->argv[0]);
    w.sort_keys = rt_template_truth(args->argv[3]);
    set_indent(&w, args->argv[1]);
    rt_template_value separators = args->argv[2];
    if (rt_template_is_list(separators) && separators.as.list->n == 2) {
        w.comma = rt_template_as_str(ev, separators.as.list->items[0], "tojson");
        w.colon = rt_template_as_str(ev, separators.as.list->items[1], "tojson");
    }
    rt_template_buf_init(ev, &buf);
    put_value(&w, v, 0);
    return rt_template_taken(ev, &buf);
}
