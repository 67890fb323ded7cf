/* Values within calls: JSON, which is only followed, and literals as Python and Gemma have them,
 * which become JSON. */
#include "runtime/chat/tool_style.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Brackets within brackets. */
#define MAX_DEPTH 128

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void tool_skip_space(tool_cursor *c) {
    while (c->at < c->n && is_space(c->text[c->at])) c->at++;
}

tool_fit tool_fit_text(tool_cursor *c, gguf_str text) {
    tool_skip_space(c);
    for (size_t i = 0; i < text.len; i++) {
        if (is_space(text.ptr[i])) {
            tool_skip_space(c);
        } else {
            if (c->at == c->n) return TOOL_MORE;
            if (c->text[c->at] != text.ptr[i]) return TOOL_NO;
            c->at++;
        }
    }
    return TOOL_YES;
}

void tool_put_escaped(gguf_dynbuf *out, const char *text, size_t n) {
    static const char short_names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (size_t i = 0; i < n; i++) {
        char code[8] = {text[i]};
        if ((unsigned char)text[i] < 0x20) snprintf(code, sizeof code, "\\u%04x", text[i]);
        for (const char *s = short_names; *s; s += 2)
            if (*s == text[i]) snprintf(code, sizeof code, "\\%c", s[1]);
        gguf_dynbuf_put(out, code, code[0] ? strlen(code) : 1);
    }
}

/* Behind the quote that ends a string; at its beginning. */
static tool_fit skip_string(tool_cursor *c, char quote) {
    size_t at = c->at + 1;
    while (at < c->n && c->text[at] != quote) at += c->text[at] == '\\' ? 2 : 1;
    if (at >= c->n) return TOOL_MORE;
    c->at = at + 1;
    return TOOL_YES;
}

static bool is_word(char ch) {
    return isalnum((unsigned char)ch) || ch == '_' || ch == '.' || ch == '+' || ch == '-';
}

tool_fit tool_fit_json(tool_cursor *c) {
    size_t depth = 0;
    do {
        tool_skip_space(c);
        if (c->at == c->n) return TOOL_MORE;
        char ch = c->text[c->at];
        if (ch == '"') {
            if (skip_string(c, ch) == TOOL_MORE) return TOOL_MORE;
        } else if (ch == '{' || ch == '[') {
            if (++depth > MAX_DEPTH) return TOOL_NO;
            c->at++;
        } else if (depth && (ch == '}' || ch == ']')) {
            depth--;
            c->at++;
        } else if (depth && (ch == ',' || ch == ':')) {
            c->at++;
        } else if (is_word(ch)) {
            while (c->at < c->n && is_word(c->text[c->at])) c->at++;
            if (c->at == c->n) return TOOL_MORE;
        } else {
            return TOOL_NO;
        }
    } while (depth);
    return TOOL_YES;
}

/* ---- literals ---------------------------------------------------------------------------- */

/* What a backslash and a letter stand for. */
static void put_escape(gguf_dynbuf *out, char letter) {
    static const char known[] = "n\nr\rt\tb\bf\f0";
    char ch = letter;
    for (const char *k = known; *k && k[1]; k += 2)
        if (*k == letter) ch = k[1];
    tool_put_escaped(out, &ch, 1);
}

/* A string in one of Python's quotes; *closed: all of it is there. */
static tool_fit fit_quoted(tool_cursor *c, gguf_dynbuf *out) {
    char quote = c->text[c->at++];
    gguf_dynbuf_put(out, "\"", 1);
    while (c->at < c->n && c->text[c->at] != quote) {
        char ch = c->text[c->at];
        size_t n = ch != '\\' ? 1 : c->at + 1 < c->n && c->text[c->at + 1] == 'u' ? 6 : 2;
        if (c->at + n > c->n) return TOOL_MORE;
        if (n == 1)
            tool_put_escaped(out, &ch, 1);
        else if (n == 2)
            put_escape(out, c->text[c->at + 1]);
        else
            gguf_dynbuf_put(out, c->text + c->at, 6);
        c->at += n;
    }
    if (c->at == c->n) return TOOL_MORE;
    c->at++;
    gguf_dynbuf_put(out, "\"", 1);
    return TOOL_YES;
}

/* Bytes at the end of a text that may be the beginning of what it is searched for. */
static size_t n_begun(const char *text, size_t n, gguf_str what) {
    size_t part = what.len - 1 < n ? what.len - 1 : n;
    while (part && memcmp(text + n - part, what.ptr, part) != 0) part--;
    return part;
}

static tool_fit fit_between(tool_cursor *c, gguf_str quote, gguf_dynbuf *out) {
    const char *from = c->text + c->at;
    const char *end = memmem(from, c->n - c->at, quote.ptr, quote.len);
    size_t n = end ? (size_t)(end - from) : c->n - c->at - n_begun(from, c->n - c->at, quote);
    gguf_dynbuf_put(out, "\"", 1);
    tool_put_escaped(out, from, n);
    if (!end) return TOOL_MORE;
    gguf_dynbuf_put(out, "\"", 1);
    c->at += n + quote.len;
    return TOOL_YES;
}

/* A word: a key where a colon follows within an object, a constant, a number, or a text. */
static tool_fit fit_word(tool_cursor *c, bool may_be_key, gguf_dynbuf *out) {
    static const struct {
        const char *word, *json;
    } constants[] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                     {"true", "true"}, {"false", "false"}, {"null", "null"}};
    size_t from = c->at, end;
    while (c->at < c->n && (is_word(c->text[c->at]) || (unsigned char)c->text[c->at] >= 0x80))
        c->at++;
    end = c->at;
    if (end == from) return TOOL_NO;
    tool_skip_space(c);
    if (c->at == c->n) return TOOL_MORE;
    gguf_str word = {c->text + from, end - from};
    const char *json = NULL;
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (gguf_str_eq(word, constants[i].word)) json = constants[i].json;
    if (may_be_key && c->text[c->at] == ':') json = NULL;
    bool number = !(may_be_key && c->text[c->at] == ':') &&
                  (isdigit((unsigned char)*word.ptr) ||
                   (*word.ptr == '-' && word.len > 1 && isdigit((unsigned char)word.ptr[1])));
    if (json) {
        gguf_dynbuf_put_text(out, json);
    } else if (number) {
        gguf_dynbuf_put(out, word.ptr, word.len);
    } else {
        gguf_dynbuf_put(out, "\"", 1);
        tool_put_escaped(out, word.ptr, word.len);
        gguf_dynbuf_put(out, "\"", 1);
    }
    return TOOL_YES;
}

/* A bracket, a comma or a colon; *depth counts. */
static bool put_mark(char ch, char *closing, size_t *depth, gguf_dynbuf *out) {
    if (ch == '{' || ch == '[' || ch == '(') {
        if (*depth == MAX_DEPTH) return false;
        closing[(*depth)++] = ch == '{' ? '}' : ']';
        gguf_dynbuf_put_text(out, ch == '{' ? "{" : "[");
        return true;
    }
    if (*depth == 0) return false;
    if (ch == ',' || ch == ':') {
        gguf_dynbuf_put_text(out, ch == ',' ? ", " : ": ");
        return true;
    }
    if ((ch == ')' ? ']' : ch) != closing[*depth - 1]) return false;
    gguf_dynbuf_put(out, &closing[--*depth], 1);
    return true;
}

tool_fit tool_fit_literal(tool_cursor *c, gguf_str quote, gguf_dynbuf *out) {
    char closing[MAX_DEPTH];
    size_t depth = 0;
    do {
        tool_skip_space(c);
        size_t left = c->n - c->at;
        if (left == 0) return TOOL_MORE;
        char ch = c->text[c->at];
        tool_fit fit;
        if (quote.len && ch == *quote.ptr) {
            if (memcmp(c->text + c->at, quote.ptr, left < quote.len ? left : quote.len) != 0)
                return TOOL_NO;
            if (left < quote.len) return TOOL_MORE;
            c->at += quote.len;
            fit = fit_between(c, quote, out);
        } else if (ch == '"' || ch == '\'') {
            fit = fit_quoted(c, out);
        } else if (strchr("{[(,:)]}", ch)) {
            fit = put_mark(ch, closing, &depth, out) ? TOOL_YES : TOOL_NO;
            c->at++;
        } else {
            fit = fit_word(c, depth && closing[depth - 1] == '}', out);
        }
        if (fit != TOOL_YES) return fit;
    } while (depth);
    return TOOL_YES;
}
