/* Text of a template's values: characters, case, searching, str(), repr(). */
#include "runtime/template/template_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- characters -------------------------------------------------------------------------- */

size_t rt_template_char_len(const char *at, size_t left) {
    utf8proc_int32_t ch;
    if ((unsigned char)*at < 0x80) return 1;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)at, (utf8proc_ssize_t)left, &ch);
    return n > 0 ? (size_t)n : 1;
}

size_t rt_template_n_chars(gguf_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; n++) i += rt_template_char_len(s.ptr + i, s.len - i);
    return n;
}

size_t rt_template_char_offset(gguf_str s, size_t i) {
    size_t at = 0;
    for (; i > 0 && at < s.len; i--) at += rt_template_char_len(s.ptr + at, s.len - at);
    return at;
}

static int32_t code_point(gguf_str ch) {
    utf8proc_int32_t out = -1;
    utf8proc_iterate((const utf8proc_uint8_t *)ch.ptr, (utf8proc_ssize_t)ch.len, &out);
    return out;
}

/* What str.isspace() says. */
bool rt_template_is_space(gguf_str ch) {
    int32_t c = code_point(ch);
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || utf8proc_category(c) == UTF8PROC_CATEGORY_ZS ||
           utf8proc_category(c) == UTF8PROC_CATEGORY_ZL ||
           utf8proc_category(c) == UTF8PROC_CATEGORY_ZP;
}

bool rt_template_starts(gguf_str s, gguf_str with) {
    return s.len >= with.len && memcmp(s.ptr, with.ptr, with.len) == 0;
}

size_t rt_template_find_str(gguf_str s, gguf_str what, size_t from) {
    if (what.len == 0) return from <= s.len ? from : SIZE_MAX;
    if (from > s.len || s.len - from < what.len) return SIZE_MAX;
    const char *at = memmem(s.ptr + from, s.len - from, what.ptr, what.len);
    return at ? (size_t)(at - s.ptr) : SIZE_MAX;
}

static bool is_stripped(gguf_str ch, const gguf_str *chars) {
    return chars ? rt_template_find_str(*chars, ch, 0) != SIZE_MAX : rt_template_is_space(ch);
}

gguf_str rt_template_strip(gguf_str s, const gguf_str *chars, bool left, bool right) {
    while (left && s.len) {
        size_t n = rt_template_char_len(s.ptr, s.len);
        if (!is_stripped((gguf_str){s.ptr, n}, chars)) break;
        s.ptr += n;
        s.len -= n;
    }
    while (right && s.len) {
        size_t at = s.len - 1;
        while (at > 0 && s.len - at < 4 && ((unsigned char)s.ptr[at] & 0xc0) == 0x80) at--;
        if (rt_template_char_len(s.ptr + at, s.len - at) != s.len - at) at = s.len - 1;
        if (!is_stripped((gguf_str){s.ptr + at, s.len - at}, chars)) break;
        s.len = at;
    }
    return s;
}

gguf_str rt_template_replace(rt_template_eval *ev, gguf_str s, gguf_str old, gguf_str with,
                             int64_t count) {
    gguf_dynbuf buf;
    size_t at = 0;
    rt_template_buf_init(ev, &buf);
    for (; count != 0 && at <= s.len && rt_template_step(ev, 1); count--) {
        size_t found = rt_template_find_str(s, old, at);
        if (found == SIZE_MAX) break;
        gguf_dynbuf_put(&buf, s.ptr + at, found - at);
        gguf_dynbuf_put(&buf, with.ptr, with.len);
        at = found + old.len;
        if (old.len) continue;
        size_t n = at < s.len ? rt_template_char_len(s.ptr + at, s.len - at) : 1;
        if (at < s.len) gguf_dynbuf_put(&buf, s.ptr + at, n);
        at += n;
    }
    if (at < s.len) gguf_dynbuf_put(&buf, s.ptr + at, s.len - at);
    return rt_template_taken(ev, &buf).as.str;
}

gguf_str rt_template_escape(rt_template_eval *ev, gguf_str s) {
    static const char *const entities[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++)
        s = rt_template_replace(ev, s, gguf_str_of(entities[i][0]), gguf_str_of(entities[i][1]),
                                -1);
    return s;
}

/* ---- case -------------------------------------------------------------------------------- */

static bool is_cased(int32_t c) {
    utf8proc_category_t kind = utf8proc_category(c);
    return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
           kind == UTF8PROC_CATEGORY_LT;
}

/* The title filter starts words behind white space, hyphens and opening brackets only. */
static bool starts_word(gguf_str ch, int32_t c, rt_template_case to) {
    if (to == RT_TEMPLATE_TITLE) return !is_cased(c);
    return rt_template_is_space(ch) || (c < 0x80 && c > 0 && strchr("-({[<", c));
}

gguf_str rt_template_change_case(rt_template_eval *ev, gguf_str s, rt_template_case to) {
    gguf_dynbuf buf;
    bool first = true;
    rt_template_buf_init(ev, &buf);
    rt_template_step(ev, s.len / 16);
    for (size_t i = 0, n; i < s.len; i += n) {
        utf8proc_uint8_t bytes[4];
        n = rt_template_char_len(s.ptr + i, s.len - i);
        gguf_str ch = {s.ptr + i, n};
        int32_t c = code_point(ch);
        bool upper = to == RT_TEMPLATE_UPPER || (to != RT_TEMPLATE_LOWER && first);
        bool sharp = upper && c == 0xdf; /* the one common letter that grows */
        if (c < 0)
            gguf_dynbuf_put(&buf, ch.ptr, n);
        else if (sharp)
            gguf_dynbuf_put_text(&buf, to == RT_TEMPLATE_UPPER ? "SS" : "Ss");
        else
            gguf_dynbuf_put(&buf, bytes,
                            (size_t)utf8proc_encode_char(
                                upper ? utf8proc_toupper(c) : utf8proc_tolower(c), bytes));
        first = to >= RT_TEMPLATE_TITLE && c >= 0 && starts_word(ch, c, to);
    }
    return rt_template_taken(ev, &buf).as.str;
}

/* ---- str and repr ------------------------------------------------------------------------ */

/* The shortest digits that read back as the same number, placed as Python places them. */
static void put_float(gguf_dynbuf *buf, double value) {
    char text[40];
    int digits = 1;
    if (isnan(value)) {
        gguf_dynbuf_put_text(buf, "nan");
        return;
    }
    if (isinf(value)) {
        gguf_dynbuf_put_text(buf, value < 0 ? "-inf" : "inf");
        return;
    }
    do snprintf(text, sizeof text, "%.*e", digits - 1, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    long exponent = strtol(strchr(text, 'e') + 1, NULL, 10);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - (int)exponent;
        snprintf(text, sizeof text, "%.*f", decimals > 1 ? decimals : 1, value);
    }
    gguf_dynbuf_put_text(buf, text);
}

static void put_quoted(gguf_dynbuf *buf, gguf_str s) {
    bool single = memchr(s.ptr, '\'', s.len) != NULL, dbl = memchr(s.ptr, '"', s.len) != NULL;
    char quote = single && !dbl ? '"' : '\'', text[12];
    gguf_dynbuf_put(buf, &quote, 1);
    for (size_t i = 0, n; i < s.len; i += n) {
        n = rt_template_char_len(s.ptr + i, s.len - i);
        unsigned char c = (unsigned char)s.ptr[i];
        const char *escape = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
        if (c == (unsigned char)quote || c == '\\') {
            snprintf(text, sizeof text, "\\%c", c);
            escape = text;
        } else if (!escape && (c < 0x20 || c == 0x7f)) {
            snprintf(text, sizeof text, "\\x%02x", c);
            escape = text;
        }
        if (escape)
            gguf_dynbuf_put_text(buf, escape);
        else
            gguf_dynbuf_put(buf, s.ptr + i, n);
    }
    gguf_dynbuf_put(buf, &quote, 1);
}

static void put_dict(rt_template_eval *ev, gguf_dynbuf *buf, const rt_template_dict *dict) {
    gguf_dynbuf_put_text(buf, "{");
    for (size_t i = 0; i < dict->n && !ev->code; i++) {
        if (i) gguf_dynbuf_put_text(buf, ", ");
        rt_template_put_repr(ev, buf, dict->entries[i].key);
        gguf_dynbuf_put_text(buf, ": ");
        rt_template_put_repr(ev, buf, dict->entries[i].value);
    }
    gguf_dynbuf_put_text(buf, "}");
}

static void put_list(rt_template_eval *ev, gguf_dynbuf *buf, rt_template_value v) {
    const rt_template_list *list = v.as.list;
    bool tuple = v.kind == RT_TEMPLATE_TUPLE;
    gguf_dynbuf_put_text(buf, tuple ? "(" : "[");
    for (size_t i = 0; i < list->n && !ev->code; i++) {
        if (i) gguf_dynbuf_put_text(buf, ", ");
        rt_template_put_repr(ev, buf, list->items[i]);
    }
    gguf_dynbuf_put_text(buf, !tuple ? "]" : list->n == 1 ? ",)" : ")");
}

static void put_object(rt_template_eval *ev, gguf_dynbuf *buf, rt_template_value v) {
    if (v.kind == RT_TEMPLATE_NAMESPACE) {
        gguf_dynbuf_put_text(buf, "<Namespace ");
        put_dict(ev, buf, v.as.dict);
        gguf_dynbuf_put_text(buf, ">");
        return;
    }
    gguf_dynbuf_put_text(buf, "<");
    gguf_dynbuf_put_text(buf, rt_template_kind_name(v));
    gguf_dynbuf_put_text(buf, ">");
}

static void put_scalar(gguf_dynbuf *buf, rt_template_value v) {
    char text[32];
    if (v.kind == RT_TEMPLATE_INT) {
        snprintf(text, sizeof text, "%lld", (long long)v.as.integer);
        gguf_dynbuf_put_text(buf, text);
    }
    if (v.kind == RT_TEMPLATE_NONE) gguf_dynbuf_put_text(buf, "None");
    if (v.kind == RT_TEMPLATE_BOOL) gguf_dynbuf_put_text(buf, v.as.boolean ? "True" : "False");
    if (v.kind == RT_TEMPLATE_FLOAT) put_float(buf, v.as.real);
    if (v.kind == RT_TEMPLATE_STRING) put_quoted(buf, v.as.str);
    if (v.kind == RT_TEMPLATE_UNDEFINED) gguf_dynbuf_put_text(buf, "Undefined");
}

void rt_template_put_repr(rt_template_eval *ev, gguf_dynbuf *buf, rt_template_value v) {
    if (buf->code) rt_template_raise(ev, buf->code, "a text is too long");
    if (rt_template_deeper(ev) && rt_template_step(ev, 1)) {
        if (v.kind <= RT_TEMPLATE_STRING)
            put_scalar(buf, v);
        else if (rt_template_is_list(v))
            put_list(ev, buf, v);
        else if (v.kind == RT_TEMPLATE_DICT)
            put_dict(ev, buf, v.as.dict);
        else
            put_object(ev, buf, v);
    }
    rt_template_back(ev);
}

void rt_template_put_str(rt_template_eval *ev, gguf_dynbuf *buf, rt_template_value v) {
    if (v.kind == RT_TEMPLATE_STRING)
        gguf_dynbuf_put(buf, v.as.str.ptr, v.as.str.len);
    else if (v.kind != RT_TEMPLATE_UNDEFINED && v.kind != RT_TEMPLATE_MISSING)
        rt_template_put_repr(ev, buf, v);
    if (buf->code) rt_template_raise(ev, buf->code, "the output is too long");
}

gguf_str rt_template_to_str(rt_template_eval *ev, rt_template_value v) {
    gguf_dynbuf buf;
    if (v.kind == RT_TEMPLATE_STRING) return v.as.str;
    rt_template_buf_init(ev, &buf);
    rt_template_put_str(ev, &buf, v);
    return rt_template_taken(ev, &buf).as.str;
}

gguf_str rt_template_as_str(rt_template_eval *ev, rt_template_value v, const char *who) {
    if (v.kind == RT_TEMPLATE_STRING) return v.as.str;
    rt_template_raise(ev, GGUF_E_FORMAT, "%s needs a string, not %s", who,
                      rt_template_kind_name(v));
    return gguf_str_of("");
}
