/* Template text into stripped text, tags and tokens. */
#include "runtime/template/template_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 16384

/* ---- memory and errors ------------------------------------------------------------------- */

void *rt_template_alloc(rt_template_parser *p, size_t n) {
    rt_template_chunk *chunk = p->tpl->chunks;
    n = (n + 15) / 16 * 16;
    if (!chunk || chunk->room - chunk->used < n) {
        size_t room = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        chunk = calloc(1, sizeof *chunk + room);
        if (!chunk) {
            rt_template_fail(p, GGUF_E_NOMEM, p->pos, "out of memory");
            return NULL;
        }
        chunk->room = room;
        chunk->next = p->tpl->chunks;
        p->tpl->chunks = chunk;
    }
    void *out = chunk->bytes + chunk->used;
    chunk->used += n;
    return out;
}

void rt_template_position(gguf_str source, size_t off, unsigned *line, unsigned *column) {
    *line = *column = 1;
    for (size_t i = 0; i < off && i < source.len; i++) {
        *line += source.ptr[i] == '\n';
        *column = source.ptr[i] == '\n' ? 1 : *column + 1;
    }
}

gguf_code rt_template_report(gguf_error *err, gguf_code code, gguf_str source, size_t off,
                             const char *format, va_list args) {
    char text[400];
    unsigned line, column;
    vsnprintf(text, sizeof text, format, args);
    rt_template_position(source, off, &line, &column);
    return gguf_fail(err, code, NULL, (int64_t)off, "line %u, column %u: %s", line, column, text);
}

void rt_template_fail(rt_template_parser *p, gguf_code code, size_t off, const char *format, ...) {
    va_list args;
    if (p->code) return;
    va_start(args, format);
    p->code = rt_template_report(p->err, code, (gguf_str){p->src, p->len}, off, format, args);
    va_end(args);
}

/* ---- tokens ------------------------------------------------------------------------------ */

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Bytes of other alphabets count as letters. */
static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool starts(const rt_template_parser *p, size_t at, const char *text) {
    size_t n = strlen(text);
    return n <= p->len - at && memcmp(p->src + at, text, n) == 0;
}

static void set_token(rt_template_parser *p, rt_template_token_kind kind, size_t n) {
    p->tok = (rt_template_token){kind, p->pos, {p->src + p->pos, n}};
    p->pos += n;
}

/* The end of a tag at the position, with its sign; also sets what happens to the text behind. */
static bool lex_end(rt_template_parser *p) {
    size_t sign = p->pos < p->len && (p->src[p->pos] == '-' || p->src[p->pos] == '+');
    if (p->brackets) return false;
    bool block = starts(p, p->pos + sign, "%}");
    if (!block && !starts(p, p->pos + sign, "}}")) return false;
    if (sign && p->src[p->pos] == '+' && !block) return false;
    p->strip_next = sign && p->src[p->pos] == '-';
    p->trim_newline = block && !sign;
    set_token(p, block ? RT_TEMPLATE_TOK_BLOCK_END : RT_TEMPLATE_TOK_VAR_END, sign + 2);
    return true;
}

static void lex_string(rt_template_parser *p) {
    char quote = p->src[p->pos];
    size_t end = p->pos + 1;
    while (end < p->len && p->src[end] != quote) end += p->src[end] == '\\' ? 2 : 1;
    if (end >= p->len)
        rt_template_fail(p, GGUF_E_FORMAT, p->pos, "a string is not closed");
    else
        set_token(p, RT_TEMPLATE_TOK_STRING, end + 1 - p->pos);
}

static size_t digits_end(const rt_template_parser *p, size_t at) {
    while (at < p->len && (is_digit(p->src[at]) ||
                           (p->src[at] == '_' && at + 1 < p->len && is_digit(p->src[at + 1]))))
        at++;
    return at;
}

static size_t exponent_end(const rt_template_parser *p, size_t at) {
    if (at >= p->len || (p->src[at] | 32) != 'e') return at;
    size_t sign = at + 1 < p->len && (p->src[at + 1] == '+' || p->src[at + 1] == '-');
    size_t end = digits_end(p, at + 1 + sign);
    return end > at + 1 + sign ? end : at;
}

static void lex_number(rt_template_parser *p) {
    size_t end = digits_end(p, p->pos), whole = end;
    if (p->src[p->pos] == '0' && end == p->pos + 1 && end < p->len &&
        strchr("xXoObB", p->src[end])) {
        for (end++; end < p->len && (is_digit(p->src[end]) || is_letter(p->src[end]));) end++;
        set_token(p, RT_TEMPLATE_TOK_INT, end - p->pos);
        return;
    }
    if (end + 1 < p->len && p->src[end] == '.' && is_digit(p->src[end + 1]))
        end = digits_end(p, end + 1);
    end = exponent_end(p, end);
    set_token(p, end > whole ? RT_TEMPLATE_TOK_FLOAT : RT_TEMPLATE_TOK_INT, end - p->pos);
}

static void lex_operator(rt_template_parser *p) {
    static const char *const operators[] = {"==", "!=", "<=", ">=", "//", "**", "<", ">", "=",
                                            "+",  "-",  "*",  "/",  "%",  "~",  "|", "(", ")",
                                            "[",  "]",  "{",  "}",  ".",  ",",  ":", ";"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!starts(p, p->pos, operators[i])) continue;
        char c = operators[i][0];
        if (strchr("([{", c)) p->brackets++;
        if (strchr(")]}", c) && p->brackets-- == 0) {
            p->brackets = 0;
            rt_template_fail(p, GGUF_E_FORMAT, p->pos, "'%c' was not opened", c);
            return;
        }
        set_token(p, RT_TEMPLATE_TOK_OP, strlen(operators[i]));
        return;
    }
    rt_template_fail(p, GGUF_E_FORMAT, p->pos, "unexpected character 0x%02x",
                     (unsigned char)p->src[p->pos]);
}

void rt_template_next_token(rt_template_parser *p) {
    if (p->code) return;
    while (p->pos < p->len && is_space(p->src[p->pos])) p->pos++;
    if (p->pos >= p->len) {
        rt_template_fail(p, GGUF_E_FORMAT, p->len, "the template ends inside a tag");
        return;
    }
    char c = p->src[p->pos];
    if (lex_end(p)) return;
    if (c == '"' || c == '\'') {
        lex_string(p);
    } else if (is_digit(c)) {
        lex_number(p);
    } else if (is_letter(c)) {
        size_t end = p->pos;
        while (end < p->len && (is_letter(p->src[end]) || is_digit(p->src[end]))) end++;
        set_token(p, RT_TEMPLATE_TOK_NAME, end - p->pos);
    } else {
        lex_operator(p);
    }
}

/* ---- strings ----------------------------------------------------------------------------- */

static size_t put_utf8(char *out, uint32_t c) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

static int digit_value(char c) {
    if (is_digit(c)) return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* The number of up to `max` digits at s; how many there were. */
static size_t read_digits(const char *s, const char *end, int base, size_t max, uint32_t *value) {
    size_t n = 0;
    for (*value = 0; n < max && s + n < end && digit_value(s[n]) < base; n++)
        *value = *value * (uint32_t)base + (uint32_t)digit_value(s[n]);
    return n;
}

/* The escape behind a backslash at s; bytes of source used. */
static size_t unescape_one(rt_template_parser *p, const char *s, const char *end, char *out,
                           size_t *len) {
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    const char *simple = *s ? strchr(from, *s) : NULL;
    uint32_t value;
    if (simple) {
        out[(*len)++] = to[simple - from];
        return 1;
    }
    if (*s == '\n') return 1;
    if (*s >= '0' && *s <= '7') {
        size_t n = read_digits(s, end, 8, 3, &value);
        *len += put_utf8(out + *len, value);
        return n;
    }
    size_t wanted = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
    if (!wanted) {
        out[(*len)++] = '\\';
        return 0;
    }
    if (read_digits(s + 1, end, 16, wanted, &value) != wanted || value > 0x10FFFF ||
        (value >= 0xD800 && value < 0xE000)) {
        rt_template_fail(p, GGUF_E_FORMAT, (size_t)(s - 1 - p->src),
                         "'\\%c' is not followed by a character number", *s);
        return 1;
    }
    *len += put_utf8(out + *len, value);
    return 1 + wanted;
}

gguf_str rt_template_unescape(rt_template_parser *p, rt_template_token tok) {
    const char *s = tok.text.ptr + 1, *end = tok.text.ptr + tok.text.len - 1;
    if (!memchr(s, '\\', (size_t)(end - s))) return (gguf_str){s, (size_t)(end - s)};
    char *out = rt_template_alloc(p, tok.text.len + 4);
    size_t len = 0;
    while (out && s < end && !p->code) {
        if (*s != '\\')
            out[len++] = *s++;
        else
            s += 1 + unescape_one(p, s + 1, end, out, &len);
    }
    return (gguf_str){out ? out : "", len};
}

/* ---- text -------------------------------------------------------------------------------- */

static size_t find_tag(const rt_template_parser *p, size_t at) {
    for (; at + 1 < p->len; at++)
        if (p->src[at] == '{' && strchr("{%#", p->src[at + 1]) && p->src[at + 1]) return at;
    return p->len;
}

/* Apply what the last tag asked for to the text that starts at the position. */
static void strip_start(rt_template_parser *p) {
    if (p->strip_next)
        while (p->pos < p->len && is_space(p->src[p->pos])) p->pos++;
    else if (p->trim_newline && p->pos < p->len && p->src[p->pos] == '\n')
        p->pos++;
    p->strip_next = p->trim_newline = false;
}

/* Where the text from `start` ends before a tag at `tag`. */
static size_t strip_end(const rt_template_parser *p, size_t start, size_t tag) {
    char sign = tag + 2 < p->len ? p->src[tag + 2] : '\0';
    size_t end = tag;
    if (sign == '-') {
        while (end > start && is_space(p->src[end - 1])) end--;
        return end;
    }
    if (p->src[tag + 1] == '{' || sign == '+') return tag;
    while (end > start && is_space(p->src[end - 1]) && p->src[end - 1] != '\n') end--;
    bool line_start = end == 0 || p->src[end - 1] == '\n';
    return line_start ? end : tag;
}

static void skip_comment(rt_template_parser *p, size_t tag) {
    for (size_t at = tag + 2; at + 1 < p->len; at++) {
        if (p->src[at] != '#' || p->src[at + 1] != '}') continue;
        char sign = at > tag + 2 ? p->src[at - 1] : '\0';
        p->strip_next = sign == '-';
        p->trim_newline = sign != '-' && sign != '+';
        p->pos = at + 2;
        return;
    }
    rt_template_fail(p, GGUF_E_FORMAT, tag, "a comment is not closed");
}

/* Step over "{%- word -%}" at `at`; false if it is something else. */
static bool skip_simple_tag(rt_template_parser *p, size_t at, const char *word) {
    rt_template_parser probe = *p;
    gguf_error ignored = {0};
    if (!starts(p, at, "{%")) return false;
    probe.err = &ignored;
    probe.pos = at + 2;
    probe.brackets = 0;
    if (probe.pos < p->len && strchr("-+", p->src[probe.pos]) && p->src[probe.pos]) probe.pos++;
    rt_template_next_token(&probe);
    if (probe.code || !rt_template_is_name(&probe, word)) return false;
    rt_template_next_token(&probe);
    if (probe.code || probe.tok.kind != RT_TEMPLATE_TOK_BLOCK_END) return false;
    p->pos = probe.pos;
    p->strip_next = probe.strip_next;
    p->trim_newline = probe.trim_newline;
    return true;
}

/* The text of a raw block whose opening tag was just passed. */
static gguf_str raw_text(rt_template_parser *p, size_t tag) {
    strip_start(p);
    size_t start = p->pos;
    for (size_t at = start; at + 1 < p->len; at++) {
        if (p->src[at] != '{' || !skip_simple_tag(p, at, "endraw")) continue;
        return (gguf_str){p->src + start, strip_end(p, start, at) - start};
    }
    rt_template_fail(p, GGUF_E_FORMAT, tag, "'raw' is not closed by 'endraw'");
    return (gguf_str){"", 0};
}

static rt_template_tag open_tag(rt_template_parser *p, size_t tag) {
    bool block = p->src[tag + 1] == '%';
    p->pos = tag + 2;
    p->brackets = p->links = 0;
    if (p->pos < p->len && (p->src[p->pos] == '-' || (block && p->src[p->pos] == '+'))) p->pos++;
    rt_template_next_token(p);
    return block ? RT_TEMPLATE_TAG_BLOCK : RT_TEMPLATE_TAG_VAR;
}

rt_template_tag rt_template_next_text(rt_template_parser *p, size_t *off, gguf_str *text) {
    strip_start(p);
    size_t start = p->pos, tag = find_tag(p, start);
    *off = start;
    *text = (gguf_str){p->src + start, p->len - start};
    p->pos = tag;
    if (tag >= p->len) return RT_TEMPLATE_TAG_NONE;
    text->len = strip_end(p, start, tag) - start;
    if (p->src[tag + 1] == '#') {
        skip_comment(p, tag);
        return RT_TEMPLATE_TAG_NONE;
    }
    if (p->src[tag + 1] == '%' && skip_simple_tag(p, tag, "raw")) {
        if (text->len == 0) {
            *text = raw_text(p, tag);
            return RT_TEMPLATE_TAG_NONE;
        }
        /* The next call starts at the tag again, with no text before it. */
        p->pos = tag;
        p->strip_next = p->trim_newline = false;
        return RT_TEMPLATE_TAG_NONE;
    }
    return open_tag(p, tag);
}
