/* Characters of JSON strings, and numbers between bounds. */
#include "runtime/chat/grammar_build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- characters -------------------------------------------------------------------------- */

static bool holds(const rt_char_range *ranges, size_t n, uint32_t c) {
    for (size_t i = 0; i < n; i++)
        if (ranges[i].first <= c && c <= ranges[i].last) return true;
    return false;
}

static rt_expr escape_of(rt_grammar_builder *b, uint32_t c) {
    static const char *const short_names = "\bb\ff\nn\rr\tt\"\"\\\\";
    char text[8];
    int n = snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    for (const char *s = short_names; *s; s += 2)
        if ((uint32_t)*s == c) n = snprintf(text, sizeof text, "\\%c", s[1]);
    return rt_expr_text(b, text, (size_t)n);
}

/* The parts of the ranges that may stand in a JSON string as they are. */
static rt_expr unescaped(rt_grammar_builder *b, const rt_char_range *ranges, size_t n) {
    static const rt_char_range plain[] = {
        {0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, RT_MAX_CODE_POINT}};
    rt_char_range *out = malloc((3 * n + 1) * sizeof *out);
    size_t n_out = 0;
    if (!out) {
        if (!b->code) b->code = gguf_fail_memory(b->err);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < 3; j++) {
            rt_char_range r = ranges[i];
            if (r.first < plain[j].first) r.first = plain[j].first;
            if (r.last > plain[j].last) r.last = plain[j].last;
            if (r.first <= r.last) out[n_out++] = r;
        }
    rt_expr expr = rt_expr_class(b, out, n_out);
    free(out);
    return expr;
}

rt_expr rt_json_class(rt_grammar_builder *b, const rt_char_range *ranges, size_t n) {
    rt_expr any = rt_expr_alt(b);
    rt_expr_add(b, any, unescaped(b, ranges, n));
    for (uint32_t c = 0; c < 0x80; c++)
        if ((c < 0x20 || c == '"' || c == '\\') && holds(ranges, n, c))
            rt_expr_add(b, any, escape_of(b, c));
    return any;
}

/* ---- numbers between bounds -------------------------------------------------------------- */

/* Doubles tell decimals of as many digits apart. */
#define MAX_DIGITS      15
#define MORE_DECIMALS   6
#define BOUND_DECIMALS  17
#define MAX_BOUND_CHARS 64

/* A bound, from 0 on: digits before and behind the point. */
typedef struct bound {
    bool there, exclusive;
    char digits[MAX_BOUND_CHARS];
    unsigned n_int, n_frac;
} bound;

typedef struct between {
    rt_grammar_builder *b;
    bound lo, hi;
    bool integer;
    unsigned n_int, n_frac;                /* of the numbers that are being made */
    uint32_t rules[2 * MAX_DIGITS + 2][4]; /* by digits made and what is still equal; 0: none */
} between;

enum { EQUAL_LO = 1, EQUAL_HI = 2 };

static bool read_bound(rt_grammar_builder *b, double value, bool exclusive, bound *out) {
    char text[400];
    int decimals = 0;
    *out = (bound){.there = true, .exclusive = exclusive};
    for (; decimals <= BOUND_DECIMALS; decimals++) {
        snprintf(text, sizeof text, "%.*f", decimals, value);
        if (strtod(text, NULL) == value) break;
    }
    if (decimals > BOUND_DECIMALS || strlen(text) >= MAX_BOUND_CHARS) {
        if (!b->code)
            b->code = gguf_fail(b->err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                                "the bound %g has too many digits", value);
        return false;
    }
    const char *point = strchr(text, '.');
    out->n_int = (unsigned)(point ? (size_t)(point - text) : strlen(text));
    out->n_frac = (unsigned)decimals;
    memcpy(out->digits, text, out->n_int);
    if (point) memcpy(out->digits + out->n_int, point + 1, out->n_frac);
    return true;
}

static unsigned digit_of(const bound *x, unsigned at) {
    return at < x->n_int + x->n_frac ? (unsigned)(x->digits[at] - '0') : 0;
}

static bool rest_is_zero(const bound *x, unsigned at) {
    for (; at < x->n_int + x->n_frac; at++)
        if (x->digits[at] != '0') return false;
    return true;
}

static bool may_end(const between *w, unsigned at, unsigned equal) {
    if ((equal & EQUAL_LO) && (!rest_is_zero(&w->lo, at) || w->lo.exclusive)) return false;
    return !((equal & EQUAL_HI) && rest_is_zero(&w->hi, at) && w->hi.exclusive);
}

static rt_expr digits(rt_grammar_builder *b, unsigned first, unsigned last) {
    return rt_expr_class(b, &(rt_char_range){'0' + first, '0' + last}, 1);
}

static rt_expr rest_of(between *w, unsigned at, unsigned equal);

/* A digit, and what may follow it. */
static rt_expr next_digit(between *w, unsigned at, unsigned equal) {
    rt_grammar_builder *b = w->b;
    unsigned lo = equal & EQUAL_LO ? digit_of(&w->lo, at) : 0;
    unsigned hi = equal & EQUAL_HI ? digit_of(&w->hi, at) : 9;
    rt_expr any = rt_expr_alt(b);
    for (unsigned d = lo; d <= hi; d++) {
        if (d == 0 && at == 0 && w->n_int > 1) continue;
        unsigned still = (equal & EQUAL_LO && d == lo ? EQUAL_LO : 0) |
                         (equal & EQUAL_HI && d == hi ? EQUAL_HI : 0);
        rt_expr seq = rt_expr_seq(b);
        rt_expr_add(b, seq, digits(b, d, d));
        rt_expr_add(b, seq, rest_of(w, at + 1, still));
        rt_expr_add(b, any, seq);
    }
    return any;
}

static rt_expr free_rest(between *w, unsigned at) {
    rt_grammar_builder *b = w->b;
    rt_expr seq = rt_expr_seq(b), frac;
    unsigned n_frac = w->integer ? 0 : w->n_frac;
    if (at <= w->n_int) {
        unsigned n = w->n_int - at;
        rt_expr_add(b, seq, rt_expr_repeat(b, digits(b, 0, 9), n, n));
        if (n_frac == 0) return seq;
        frac = rt_expr_seq(b);
        rt_expr_add(b, frac, rt_expr_text(b, ".", 1));
        rt_expr_add(b, frac, rt_expr_repeat(b, digits(b, 0, 9), 1, n_frac));
        rt_expr_add(b, seq, rt_expr_repeat(b, frac, 0, 1));
        return seq;
    }
    unsigned most = w->n_int + n_frac - at;
    return rt_expr_repeat(b, digits(b, 0, 9), 0, most);
}

static rt_expr bounded_rest(between *w, unsigned at, unsigned equal) {
    rt_grammar_builder *b = w->b;
    if (at < w->n_int) return next_digit(w, at, equal);
    rt_expr any = rt_expr_alt(b);
    if (may_end(w, at, equal)) rt_expr_add(b, any, 0);
    if (!w->integer && at < w->n_int + w->n_frac) {
        rt_expr seq = rt_expr_seq(b);
        if (at == w->n_int) rt_expr_add(b, seq, rt_expr_text(b, ".", 1));
        rt_expr_add(b, seq, next_digit(w, at, equal));
        rt_expr_add(b, any, seq);
    }
    return any;
}

static rt_expr rest_of(between *w, unsigned at, unsigned equal) {
    if (w->b->code) return 0;
    if (!equal) return free_rest(w, at);
    uint32_t *rule = &w->rules[at][equal];
    if (!*rule) {
        *rule = rt_rule_new(w->b, NULL, 0) + 1;
        rt_rule_define(w->b, *rule - 1, bounded_rest(w, at, equal));
    }
    return rt_expr_rule(w->b, *rule - 1);
}

/* Numbers from 0 on. */
static rt_expr magnitudes(rt_grammar_builder *b, const bound *lo, const bound *hi, bool integer) {
    rt_expr any = rt_expr_alt(b);
    unsigned most = hi->there && hi->n_int < MAX_DIGITS ? hi->n_int : MAX_DIGITS;
    unsigned wanted = MORE_DECIMALS + (lo->n_frac > hi->n_frac ? lo->n_frac : hi->n_frac);
    for (unsigned n = lo->there ? lo->n_int : 1; n <= most; n++) {
        between w = {.b = b, .lo = *lo, .hi = *hi, .integer = integer, .n_int = n};
        w.n_frac = wanted < MAX_DIGITS - n ? wanted : MAX_DIGITS - n;
        unsigned equal = (lo->there && lo->n_int == n ? EQUAL_LO : 0) |
                         (hi->there && hi->n_int == n ? EQUAL_HI : 0);
        rt_expr_add(b, any, next_digit(&w, 0, equal));
    }
    return any;
}

rt_expr rt_number_expr(rt_grammar_builder *b, const rt_number_bounds *bounds) {
    rt_number_bounds n = *bounds;
    bound lo = {.there = false}, hi = {.there = false};
    rt_expr any = rt_expr_alt(b);
    if (n.integer && n.has_min) {
        n.min = n.min_exclusive ? floor(n.min) + 1 : ceil(n.min);
        n.min_exclusive = false;
    }
    if (n.integer && n.has_max) {
        n.max = n.max_exclusive ? ceil(n.max) - 1 : floor(n.max);
        n.max_exclusive = false;
    }
    if (!(n.has_max && n.max < 0)) {
        if (n.has_min && n.min >= 0 && !read_bound(b, n.min, n.min_exclusive, &lo)) return 0;
        if (n.has_max && !read_bound(b, n.max, n.max_exclusive, &hi)) return 0;
        rt_expr_add(b, any, magnitudes(b, &lo, &hi, n.integer));
    }
    if (!(n.has_min && n.min >= 0)) {
        lo = (bound){.there = false};
        hi = lo;
        bool below = n.has_max && n.max < 0;
        /* There is no -0. */
        if (!read_bound(b, below ? -n.max : 0, below ? n.max_exclusive : true, &lo)) return 0;
        if (n.has_min && !read_bound(b, -n.min, n.min_exclusive, &hi)) return 0;
        rt_expr seq = rt_expr_seq(b);
        rt_expr_add(b, seq, rt_expr_text(b, "-", 1));
        rt_expr_add(b, seq, magnitudes(b, &lo, &hi, n.integer));
        rt_expr_add(b, any, seq);
    }
    return any;
}
