/* The filter tojson, as json.dumps writes. */
#include "runtime/template/template_value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

typedef struct writer {
    tpl_eval *ev;
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
        n = tpl_char_len(s.ptr + i, s.len - i);
        put_char(w, s.ptr + i, n);
    }
    gguf_dynbuf_put(w->buf, "\"", 1);
}

static void new_line(writer *w, unsigned level) {
    if (!w->pretty) return;
    gguf_dynbuf_put(w->buf, "\n", 1);
    while (level-- > 0 && !w->buf->code) put(w, w->indent);
}

static void put_value(writer *w, tpl_value v, unsigned level);

static void put_scalar(writer *w, tpl_value v) {
    if (v.kind == TPL_NONE)
        gguf_dynbuf_put_text(w->buf, "null");
    else if (v.kind == TPL_BOOL)
        gguf_dynbuf_put_text(w->buf, v.as.boolean ? "true" : "false");
    else if (v.kind == TPL_FLOAT && !isfinite(v.as.real))
        gguf_dynbuf_put_text(w->buf, isnan(v.as.real) ? "NaN"
                                     : v.as.real < 0  ? "-Infinity"
                                                      : "Infinity");
    else if (v.kind == TPL_STRING)
        put_string(w, v.as.str);
    else
        tpl_put_repr(w->ev, w->buf, v);
}

static void put_list(writer *w, const tpl_list *list, unsigned level) {
    gguf_dynbuf_put(w->buf, "[", 1);
    for (size_t i = 0; i < list->n && !w->ev->code; i++) {
        if (i) put(w, w->comma);
        new_line(w, level + 1);
        put_value(w, list->items[i], level + 1);
    }
    if (list->n) new_line(w, level);
    gguf_dynbuf_put(w->buf, "]", 1);
}

static void put_key(writer *w, tpl_value key) {
    gguf_dynbuf buf;
    writer inner = *w;
    if (key.kind == TPL_STRING) {
        put_string(w, key.as.str);
        return;
    }
    if (!tpl_is_number(key) && key.kind != TPL_NONE) {
        tpl_raise(w->ev, GGUF_E_FORMAT, "%s is not a key in JSON", tpl_kind_name(key));
        return;
    }
    tpl_buf_init(w->ev, &buf);
    inner.buf = &buf;
    put_scalar(&inner, key);
    put_string(w, tpl_taken(w->ev, &buf).as.str);
}

/* A copy of the entries in order of their keys. */
static tpl_dict sorted(tpl_eval *ev, const tpl_dict *dict) {
    tpl_dict out = *dict;
    out.entries = tpl_new(ev, dict->n * sizeof *out.entries);
    for (size_t i = 0; out.entries && i < dict->n; i++) {
        size_t at = i;
        for (; at > 0 && tpl_step(ev, 1) &&
               tpl_order(ev, out.entries[at - 1].key, dict->entries[i].key) > 0;
             at--)
            out.entries[at] = out.entries[at - 1];
        out.entries[at] = dict->entries[i];
    }
    if (!out.entries) out.n = 0;
    return out;
}

static void put_dict(writer *w, const tpl_dict *dict, unsigned level) {
    tpl_dict in_order = w->sort_keys ? sorted(w->ev, dict) : *dict;
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

static void put_value(writer *w, tpl_value v, unsigned level) {
    if (w->buf->code) tpl_raise(w->ev, w->buf->code, "a text is too long");
    if (tpl_deeper(w->ev) && tpl_step(w->ev, 1)) {
        if (tpl_is_list(v))
            put_list(w, v.as.list, level);
        else if (v.kind == TPL_DICT)
            put_dict(w, v.as.dict, level);
        else if (v.kind >= TPL_NONE && v.kind <= TPL_STRING)
            put_scalar(w, v);
        else
            tpl_raise(w->ev, GGUF_E_FORMAT, "%s cannot become JSON", tpl_kind_name(v));
    }
    tpl_back(w->ev);
}

static void set_indent(writer *w, tpl_value indent) {
    static const char spaces[] = "                ";
    if (!tpl_given(indent)) return;
    w->pretty = true;
    w->comma = gguf_str_of(",");
    if (indent.kind == TPL_STRING) {
        w->indent = indent.as.str;
        return;
    }
    int64_t n = tpl_int_arg(w->ev, indent, 0);
    if (n > 16) tpl_raise(w->ev, GGUF_E_LIMIT, "indent beyond 16");
    w->indent = (gguf_str){spaces, n < 0 || n > 16 ? 0 : (size_t)n};
}

tpl_value tpl_to_json(tpl_eval *ev, tpl_value v, const tpl_args *args) {
    gguf_dynbuf buf;
    writer w = {.ev = ev, .buf = &buf, .comma = gguf_str_of(", "), .colon = gguf_str_of(": ")};
    w.ascii = tpl_truth(args->argv[0]);
    w.sort_keys = tpl_truth(args->argv[3]);
    set_indent(&w, args->argv[1]);
    tpl_value separators = args->argv[2];
    if (tpl_is_list(separators) && separators.as.list->n == 2) {
        w.comma = tpl_as_str(ev, separators.as.list->items[0], "tojson");
        w.colon = tpl_as_str(ev, separators.as.list->items[1], "tojson");
    }
    tpl_buf_init(ev, &buf);
    put_value(&w, v, 0);
    return tpl_taken(ev, &buf);
}
