/* Regular expressions: the part of ECMAScript's that describes regular languages. Classes such as
 * \d hold ASCII characters only, and so do their complements: what every engine agrees on. */
#include "runtime/chat/grammar_build.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RANGES 512

typedef struct ranges {
    rt_char_range items[MAX_RANGES];
    size_t n;
} ranges;

typedef struct parser {
    rt_grammar_builder *b;
    const char *text;
    size_t n, at;
    bool json, anchored;
    unsigned depth;
} parser;

static rt_expr parse_alternatives(parser *p);

static rt_expr fail(parser *p, gguf_code code, const char *what) {
    if (!p->b->code)
        p->b->code = gguf_fail(p->b->err, code, NULL, (int64_t)p->at,
                               "the expression, byte %zu: %s", p->at, what);
    return 0;
}

static bool at_end(const parser *p) {
    return p->at >= p->n || p->b->code;
}

static bool looks(const parser *p, const char *text) {
    size_t n = strlen(text);
    return p->n - p->at >= n && memcmp(p->text + p->at, text, n) == 0;
}

/* ---- characters -------------------------------------------------------------------------- */

static void add_range(parser *p, ranges *r, uint32_t first, uint32_t last) {
    if (r->n == MAX_RANGES)
        fail(p, GGUF_E_LIMIT, "a class has too many ranges");
    else
        r->items[r->n++] = (rt_char_range){first, last};
}

static uint32_t next_char(parser *p) {
    size_t len;
    uint32_t c = rt_utf8_decode((const unsigned char *)p->text + p->at, p->n - p->at, &len);
    if (c == RT_UTF8_INVALID) {
        fail(p, GGUF_E_FORMAT, "this is not UTF-8");
        len = 1;
    }
    p->at += len;
    return c;
}

static uint32_t hex(parser *p, unsigned n) {
    uint32_t value;
    unsigned n_read = rt_read_hex(p->text + p->at, p->n - p->at, n, &value);
    p->at += n_read;
    if (n_read == n) return value;
    fail(p, GGUF_E_FORMAT, "a hexadecimal digit is missing");
    return 0;
}

static int by_first(const void *a, const void *b) {
    const rt_char_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* In order, without overlaps. */
static void normalise(ranges *r) {
    size_t n = 0;
    if (r->n) qsort(r->items, r->n, sizeof r->items[0], by_first);
    for (size_t i = 0; i < r->n; i++) {
        if (n && r->items[i].first <= r->items[n - 1].last + 1) {
            if (r->items[i].last > r->items[n - 1].last) r->items[n - 1].last = r->items[i].last;
        } else {
            r->items[n++] = r->items[i];
        }
    }
    r->n = n;
}

static void complement(parser *p, ranges *r, uint32_t last) {
    ranges out = {.n = 0};
    uint32_t next = 0;
    normalise(r);
    for (size_t i = 0; i < r->n && r->items[i].first <= last; i++) {
        if (r->items[i].first > next) add_range(p, &out, next, r->items[i].first - 1);
        next = r->items[i].last + 1;
    }
    if (next <= last) add_range(p, &out, next, last);
    *r = out;
}

static void add_class(parser *p, ranges *r, char kind) {
    ranges own = {.n = 0};
    char lower = (char)(kind | 0x20);
    if (lower != 's') add_range(p, &own, '0', '9');
    if (lower == 'w') {
        add_range(p, &own, 'A', 'Z');
        add_range(p, &own, 'a', 'z');
        add_range(p, &own, '_', '_');
    } else if (lower == 's') {
        add_range(p, &own, '\t', '\r');
        add_range(p, &own, ' ', ' ');
    }
    if (kind != lower) {
        complement(p, &own, 0x7F);
        /* Python counts these as white space, ECMAScript does not. */
        if (lower == 's') own.n = 0, add_range(p, &own, '!', '~');
    }
    for (size_t i = 0; i < own.n; i++) add_range(p, r, own.items[i].first, own.items[i].last);
}

/* What follows a backslash: a class, added to r (true), or a character. */
static bool parse_escape(parser *p, ranges *r, uint32_t *c) {
    static const char plain[] = "^$\\.*+?()[]{}|/-\"'#&~@!%,:;<=>`_ ";
    if (at_end(p)) {
        fail(p, GGUF_E_FORMAT, "nothing follows the backslash");
        return false;
    }
    char e = p->text[p->at++];
    if (e && strchr("dDwWsS", e)) {
        add_class(p, r, e);
        return true;
    }
    switch (e) {
    case 'n':
        *c = '\n';
        break;
    case 'r':
        *c = '\r';
        break;
    case 't':
        *c = '\t';
        break;
    case 'f':
        *c = '\f';
        break;
    case 'v':
        *c = '\v';
        break;
    case '0':
        *c = 0;
        break;
    case 'x':
        *c = hex(p, 2);
        break;
    case 'u':
        *c = hex(p, 4);
        break;
    default:
        p->at--;
        if (e && strchr(plain, e))
            *c = (unsigned char)p->text[p->at++];
        else
            fail(p, GGUF_E_UNSUPPORTED,
                 "this escape (a reference, a boundary, a property) is not supported");
    }
    if (*c >= 0xD800 && *c <= 0xDFFF) fail(p, GGUF_E_UNSUPPORTED, "half of a surrogate pair");
    return false;
}

static rt_expr make_class(parser *p, ranges *r) {
    normalise(r);
    return p->json ? rt_json_class(p->b, r->items, r->n) : rt_expr_class(p->b, r->items, r->n);
}

static rt_expr parse_class(parser *p) {
    ranges r = {.n = 0};
    bool negated = looks(p, "^");
    if (negated) p->at++;
    while (!at_end(p) && p->text[p->at] != ']') {
        uint32_t first = 0, last;
        bool is_class = false;
        if (p->text[p->at] == '\\') {
            p->at++;
            if (looks(p, "b"))
                first = '\b', p->at++;
            else
                is_class = parse_escape(p, &r, &first);
        } else {
            first = next_char(p);
        }
        if (is_class) continue;
        last = first;
        if (looks(p, "-") && p->at + 1 < p->n && p->text[p->at + 1] != ']') {
            p->at++;
            bool other = false;
            if (looks(p, "\\"))
                p->at++, other = parse_escape(p, &r, &last);
            else
                last = next_char(p);
            if (other) return fail(p, GGUF_E_FORMAT, "a range ends with a class");
        }
        if (last < first) return fail(p, GGUF_E_FORMAT, "a range ends before it begins");
        add_range(p, &r, first, last);
    }
    if (at_end(p)) return fail(p, GGUF_E_FORMAT, "']' is missing");
    p->at++;
    if (negated) complement(p, &r, RT_MAX_CODE_POINT);
    return make_class(p, &r);
}

static rt_expr any_char(parser *p) {
    ranges r = {.n = 0};
    add_range(p, &r, '\n', '\n');
    add_range(p, &r, '\r', '\r');
    add_range(p, &r, 0x2028, 0x2029);
    complement(p, &r, RT_MAX_CODE_POINT);
    return make_class(p, &r);
}

/* Whatever stands before or behind what an expression asks for. */
static rt_expr anything(parser *p) {
    ranges r = {.n = 0};
    add_range(p, &r, 0, RT_MAX_CODE_POINT);
    return rt_expr_repeat(p->b, make_class(p, &r), 0, RT_GRAMMAR_UNLIMITED);
}

/* ---- structure --------------------------------------------------------------------------- */

static rt_expr parse_group(parser *p) {
    if (looks(p, "?:")) {
        p->at += 2;
    } else if (looks(p, "?<") && !looks(p, "?<=") && !looks(p, "?<!")) {
        const char *end = memchr(p->text + p->at, '>', p->n - p->at);
        if (!end) return fail(p, GGUF_E_FORMAT, "'>' is missing");
        p->at = (size_t)(end - p->text) + 1;
    } else if (looks(p, "?")) {
        return fail(p, GGUF_E_UNSUPPORTED, "looking ahead or behind is not supported");
    }
    if (++p->depth > RT_GRAMMAR_MAX_DEPTH)
        return fail(p, GGUF_E_LIMIT, "brackets are nested too deeply");
    rt_expr inner = parse_alternatives(p);
    p->depth--;
    if (!looks(p, ")")) return fail(p, GGUF_E_FORMAT, "')' is missing");
    p->at++;
    return inner;
}

static rt_expr parse_atom(parser *p) {
    ranges r = {.n = 0};
    uint32_t c = 0;
    switch (p->text[p->at]) {
    case '(':
        p->at++;
        return parse_group(p);
    case '[':
        p->at++;
        return parse_class(p);
    case '.':
        p->at++;
        return any_char(p);
    case '\\':
        p->at++;
        if (!parse_escape(p, &r, &c)) add_range(p, &r, c, c);
        return make_class(p, &r);
    case '*':
    case '+':
    case '?':
        return fail(p, GGUF_E_FORMAT, "there is nothing to repeat");
    case '^':
    case '$':
        return fail(p, GGUF_E_UNSUPPORTED, "'^' and '$' are supported at the ends only");
    default:
        c = next_char(p);
        add_range(p, &r, c, c);
        return make_class(p, &r);
    }
}

static bool parse_number(parser *p, uint32_t *out) {
    size_t start = p->at;
    *out = 0;
    for (; !at_end(p) && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++)
        if (*out < RT_GRAMMAR_MAX_STATES) *out = *out * 10 + (uint32_t)(p->text[p->at] - '0');
    return p->at > start;
}

/* {n}, {n,}, {n,m}; false: the bracket is none. */
static bool parse_counts(parser *p, uint32_t *min, uint32_t *max) {
    p->at++;
    bool good = parse_number(p, min);
    *max = *min;
    if (good && looks(p, ",")) {
        p->at++;
        if (!parse_number(p, max)) *max = RT_GRAMMAR_UNLIMITED;
    }
    if (!good || !looks(p, "}") || *max < *min) {
        fail(p, GGUF_E_FORMAT, "a repetition is {n}, {n,} or {n,m} with n <= m");
        return false;
    }
    p->at++;
    return true;
}

static rt_expr parse_repeats(parser *p, rt_expr part) {
    for (unsigned n = 0; !at_end(p); n++) {
        uint32_t min = 0, max = RT_GRAMMAR_UNLIMITED;
        char c = p->text[p->at];
        if (!c || !strchr("*+?{", c)) break;
        if (n) return fail(p, GGUF_E_FORMAT, "a repetition is repeated");
        if (c == '{') {
            if (!parse_counts(p, &min, &max)) return 0;
        } else {
            p->at++;
            min = c == '+';
            if (c == '?') max = 1;
        }
        part = rt_expr_repeat(p->b, part, min, max);
        if (looks(p, "?")) p->at++; /* which of several matches is no matter */
    }
    return part;
}

static rt_expr parse_sequence(parser *p) {
    rt_expr seq = rt_expr_seq(p->b);
    while (!at_end(p) && p->text[p->at] != '|' && p->text[p->at] != ')') {
        bool last = p->depth == 0 && p->text[p->at] == '$' &&
                    (p->at + 1 == p->n || p->text[p->at + 1] == '|');
        if (last) break;
        rt_expr_add(p->b, seq, parse_repeats(p, parse_atom(p)));
    }
    return seq;
}

/* Of the outermost alternatives each has its own ^ and $. */
static rt_expr parse_whole(parser *p) {
    rt_expr seq = rt_expr_seq(p->b);
    bool begins = looks(p, "^");
    if (begins) p->at++;
    if (!begins && !p->anchored) rt_expr_add(p->b, seq, anything(p));
    rt_expr_add(p->b, seq, parse_sequence(p));
    bool ends = looks(p, "$");
    if (ends) p->at++;
    if (!ends && !p->anchored) rt_expr_add(p->b, seq, anything(p));
    return seq;
}

static rt_expr parse_alternatives(parser *p) {
    bool outer = p->depth == 0;
    rt_expr first = outer ? parse_whole(p) : parse_sequence(p);
    if (at_end(p) || p->text[p->at] != '|') return first;
    rt_expr any = rt_expr_alt(p->b);
    rt_expr_add(p->b, any, first);
    while (!at_end(p) && p->text[p->at] == '|') {
        p->at++;
        rt_expr_add(p->b, any, outer ? parse_whole(p) : parse_sequence(p));
    }
    return any;
}

rt_expr rt_regex_expr(rt_grammar_builder *b, const char *pattern, size_t n, bool json,
                      bool anchored) {
    parser p = {.b = b, .text = pattern, .n = n, .json = json, .anchored = anchored};
    if (b->code) return 0;
    if (n > RT_GRAMMAR_MAX_BYTES) return fail(&p, GGUF_E_LIMIT, "it is too long");
    rt_expr expr = parse_alternatives(&p);
    if (!at_end(&p)) return fail(&p, GGUF_E_FORMAT, "')' closes nothing");
    return expr;
}

gguf_code rt_grammar_regex(const char *pattern, size_t n, rt_grammar **out, gguf_error *err) {
    rt_grammar_builder b;
    *out = NULL;
    rt_builder_init(&b, err);
    uint32_t root = rt_rule_new(&b, NULL, 0);
    rt_rule_define(&b, root, rt_regex_expr(&b, pattern, n, false, true));
    gguf_code code = rt_grammar_finish(&b, root, out);
    rt_builder_clear(&b);
    return code;
}

gguf_code rt_grammar_choice(const json_t *texts, rt_grammar **out, gguf_error *err) {
    rt_grammar_builder b;
    size_t i;
    const json_t *text;
    *out = NULL;
    if (!json_is_array(texts) || json_array_size(texts) == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "a choice is a list of at least one text");
    rt_builder_init(&b, err);
    uint32_t root = rt_rule_new(&b, NULL, 0);
    rt_expr any = rt_expr_alt(&b);
    json_array_foreach(texts, i, text) {
        if (!json_is_string(text) && !b.code)
            b.code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                               "entry %zu of the choice is no text", i);
        rt_expr_add(&b, any, rt_expr_text(&b, json_string_value(text), json_string_length(text)));
    }
    rt_rule_define(&b, root, any);
    gguf_code code = rt_grammar_finish(&b, root, out);
    rt_builder_clear(&b);
    return code;
}
