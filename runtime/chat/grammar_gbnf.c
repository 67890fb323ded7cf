/* GBNF: rules `name ::= ...` with texts, classes, groups, repetitions and alternatives, as
 * llama.cpp has them. A rule goes on until the next name that ::= follows. */
#include "runtime/chat/grammar_build.h"
#include "runtime/tokenizer/utf8.h"

#include <string.h>

#define MAX_RANGES 512

typedef struct parser {
    rt_grammar_builder *b;
    const char *text;
    size_t n, at;
    unsigned depth;
} parser;

static rt_expr fail(parser *p, gguf_code code, const char *what) {
    if (!p->b->code)
        p->b->code = gguf_fail(p->b->err, code, NULL, (int64_t)p->at, "the grammar, byte %zu: %s",
                               p->at, what);
    return 0;
}

static bool at_end(const parser *p) {
    return p->at >= p->n || p->b->code;
}

static char here(const parser *p) {
    return at_end(p) ? '\0' : p->text[p->at];
}

static void skip_space(parser *p) {
    while (!at_end(p)) {
        char c = p->text[p->at];
        if (c == '#')
            while (!at_end(p) && p->text[p->at] != '\n') p->at++;
        else if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            p->at++;
        else
            break;
    }
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static size_t name_len(const parser *p) {
    size_t n = 0;
    while (p->at + n < p->n && is_name_char(p->text[p->at + n])) n++;
    return n;
}

/* A name that ::= follows begins the next rule. */
static bool at_rule(const parser *p) {
    parser ahead = *p;
    ahead.at += name_len(p);
    if (ahead.at == p->at) return false;
    skip_space(&ahead);
    return ahead.n - ahead.at >= 3 && memcmp(ahead.text + ahead.at, "::=", 3) == 0;
}

static uint32_t find_rule(parser *p, const char *name, size_t n) {
    for (size_t i = 0; i < p->b->n_rules; i++) {
        const char *known = p->b->rules[i].name;
        if (known && strlen(known) == n && memcmp(known, name, n) == 0) return (uint32_t)i;
    }
    return rt_rule_new(p->b, name, n);
}

/* ---- characters -------------------------------------------------------------------------- */

static uint32_t parse_hex(parser *p, unsigned n) {
    uint32_t value;
    unsigned n_read = rt_read_hex(p->text + p->at, p->n - p->at, n, &value);
    p->at += n_read;
    if (n_read < n) {
        fail(p, GGUF_E_FORMAT, "a hexadecimal digit is missing");
        return 0;
    }
    if (value > RT_MAX_CODE_POINT || (value >= 0xD800 && value <= 0xDFFF))
        fail(p, GGUF_E_FORMAT, "this is the number of no character");
    return value;
}

static uint32_t parse_char(parser *p) {
    static const char escapes[] = "nrt\\\"[]-^/", values[] = "\n\r\t\\\"[]-^/";
    size_t len = 1;
    if (here(p) == '\\') {
        p->at++;
        char e = here(p);
        const char *known = e ? strchr(escapes, e) : NULL;
        p->at++;
        if (known) return (unsigned char)values[known - escapes];
        if (e == 'x') return parse_hex(p, 2);
        if (e == 'u') return parse_hex(p, 4);
        if (e == 'U') return parse_hex(p, 8);
        p->at--;
        fail(p, GGUF_E_FORMAT, "this escape is not known");
        return 0;
    }
    uint32_t c = rt_utf8_decode((const unsigned char *)p->text + p->at, p->n - p->at, &len);
    if (c == RT_UTF8_INVALID) {
        fail(p, GGUF_E_FORMAT, "this is not UTF-8");
        return 0;
    }
    p->at += len;
    return c;
}

static rt_expr parse_text(parser *p) {
    rt_expr seq = rt_expr_seq(p->b);
    p->at++;
    while (!at_end(p) && here(p) != '"') {
        uint32_t c = parse_char(p);
        rt_expr_add(p->b, seq, rt_expr_class(p->b, &(rt_char_range){c, c}, 1));
    }
    if (at_end(p)) return fail(p, GGUF_E_FORMAT, "'\"' is missing");
    p->at++;
    return seq;
}

/* The characters that none of the ranges holds. */
static rt_expr complement(parser *p, const rt_char_range *r, size_t n) {
    rt_char_range out[MAX_RANGES + 1];
    size_t n_out = 0;
    uint32_t next = 0;
    while (next <= RT_MAX_CODE_POINT) {
        uint32_t begin = RT_MAX_CODE_POINT + 1, end = next;
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t i = 0; i < n; i++)
                if (r[i].first <= end && r[i].last >= end) end = r[i].last + 1, moved = true;
        }
        if (end > RT_MAX_CODE_POINT) break;
        for (size_t i = 0; i < n; i++)
            if (r[i].first > end && r[i].first < begin) begin = r[i].first;
        out[n_out++] = (rt_char_range){end, begin - 1};
        next = begin;
    }
    return rt_expr_class(p->b, out, n_out);
}

static rt_expr parse_class(parser *p) {
    rt_char_range ranges[MAX_RANGES];
    size_t n = 0;
    p->at++;
    bool negated = here(p) == '^';
    if (negated) p->at++;
    while (!at_end(p) && here(p) != ']') {
        uint32_t first = parse_char(p), last = first;
        if (here(p) == '-' && p->at + 1 < p->n && p->text[p->at + 1] != ']') {
            p->at++;
            last = parse_char(p);
        }
        if (last < first) return fail(p, GGUF_E_FORMAT, "a range ends before it begins");
        if (n == MAX_RANGES) return fail(p, GGUF_E_LIMIT, "a class has too many ranges");
        ranges[n++] = (rt_char_range){first, last};
    }
    if (at_end(p)) return fail(p, GGUF_E_FORMAT, "']' is missing");
    p->at++;
    return negated ? complement(p, ranges, n) : rt_expr_class(p->b, ranges, n);
}

/* ---- structure --------------------------------------------------------------------------- */

static rt_expr parse_alternatives(parser *p);

static rt_expr parse_group(parser *p) {
    p->at++;
    if (++p->depth > RT_GRAMMAR_MAX_DEPTH)
        return fail(p, GGUF_E_LIMIT, "brackets are nested too deeply");
    rt_expr inner = parse_alternatives(p);
    p->depth--;
    if (here(p) != ')') return fail(p, GGUF_E_FORMAT, "')' is missing");
    p->at++;
    return inner;
}

static rt_expr parse_atom(parser *p) {
    char c = here(p);
    if (c == '"') return parse_text(p);
    if (c == '[') return parse_class(p);
    if (c == '(') return parse_group(p);
    if (c == '.') {
        p->at++;
        return rt_expr_class(p->b, &(rt_char_range){0, RT_MAX_CODE_POINT}, 1);
    }
    if (c == '<' || c == '!')
        return fail(p, GGUF_E_UNSUPPORTED, "tokens in a grammar are not supported");
    size_t n = name_len(p);
    if (n == 0) return fail(p, GGUF_E_FORMAT, "a text, a class, a name or a group is missing");
    uint32_t rule = find_rule(p, p->text + p->at, n);
    p->at += n;
    return rt_expr_rule(p->b, rule);
}

static uint32_t parse_number(parser *p) {
    uint32_t value = 0;
    skip_space(p);
    if (here(p) < '0' || here(p) > '9') fail(p, GGUF_E_FORMAT, "a number is missing");
    for (; here(p) >= '0' && here(p) <= '9'; p->at++)
        if (value < RT_GRAMMAR_MAX_STATES) value = value * 10 + (uint32_t)(here(p) - '0');
    skip_space(p);
    return value;
}

static rt_expr parse_repeats(parser *p, rt_expr part) {
    for (unsigned n = 0;; n++) {
        uint32_t min = 0, max = RT_GRAMMAR_UNLIMITED;
        skip_space(p);
        char c = here(p);
        if (!c || !strchr("*+?{", c)) return part;
        if (n) return fail(p, GGUF_E_FORMAT, "a repetition is repeated: put brackets around it");
        p->at++;
        if (c == '{') {
            min = max = parse_number(p);
            if (here(p) == ',') {
                p->at++;
                skip_space(p);
                max = here(p) == '}' ? RT_GRAMMAR_UNLIMITED : parse_number(p);
            }
            if (here(p) != '}' || max < min)
                return fail(p, GGUF_E_FORMAT, "a repetition is {n}, {n,} or {n,m} with n <= m");
            p->at++;
        } else {
            min = c == '+';
            if (c == '?') max = 1;
        }
        part = rt_expr_repeat(p->b, part, min, max);
    }
}

static rt_expr parse_sequence(parser *p) {
    rt_expr seq = rt_expr_seq(p->b);
    for (skip_space(p); !at_end(p) && here(p) != '|' && here(p) != ')' && !at_rule(p);
         skip_space(p))
        rt_expr_add(p->b, seq, parse_repeats(p, parse_atom(p)));
    return seq;
}

static rt_expr parse_alternatives(parser *p) {
    rt_expr any = rt_expr_alt(p->b);
    rt_expr_add(p->b, any, parse_sequence(p));
    while (here(p) == '|') {
        p->at++;
        rt_expr_add(p->b, any, parse_sequence(p));
    }
    return any;
}

static void parse_rule(parser *p) {
    if (!at_rule(p)) {
        fail(p, GGUF_E_FORMAT, "a rule, NAME ::= ..., is missing");
        return;
    }
    uint32_t rule = find_rule(p, p->text + p->at, name_len(p));
    if (p->b->code) return;
    if (p->b->rules[rule].defined) fail(p, GGUF_E_FORMAT, "this rule is there already");
    p->at += name_len(p);
    skip_space(p);
    p->at += 3;
    rt_expr body = parse_alternatives(p);
    if (here(p) == ')') fail(p, GGUF_E_FORMAT, "')' closes nothing");
    rt_rule_define(p->b, rule, body);
}

gguf_code rt_grammar_gbnf(const char *text, size_t n, rt_grammar **out, gguf_error *err) {
    rt_grammar_builder b;
    *out = NULL;
    if (n > RT_GRAMMAR_MAX_BYTES)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "the grammar has %zu bytes, %u are allowed", n, RT_GRAMMAR_MAX_BYTES);
    rt_builder_init(&b, err);
    parser p = {.b = &b, .text = text, .n = n};
    uint32_t root = rt_rule_new(&b, "root", 4);
    for (skip_space(&p); !at_end(&p); skip_space(&p)) parse_rule(&p);
    if (!b.code && !b.rules[root].defined) {
        b.code =
            gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "the grammar has no rule 'root'");
    }
    gguf_code code = rt_grammar_finish(&b, root, out);
    rt_builder_clear(&b);
    return code;
}
