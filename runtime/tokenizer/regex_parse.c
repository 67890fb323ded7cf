/* Parsing expressions: every literal, escape and bracket becomes a set of code points. */
#include "runtime/tokenizer/regex_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

typedef struct parser {
    const char *start, *p, *end;
    rt_regex_parsed *out;
    unsigned depth;
    bool icase, dotall;                         /* options in force */
    bool icases[MAX_DEPTH], dotalls[MAX_DEPTH]; /* those outside the open groups */
    gguf_error *err;
    gguf_code code;
} parser;

static gguf_code fail(parser *ps, const char *what) {
    if (ps->code) return ps->code;
    int shown = ps->end - ps->start > 200 ? 200 : (int)(ps->end - ps->start);
    ps->code =
        gguf_fail(ps->err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                  "expression '%.*s': %s at byte %td", shown, ps->start, what, ps->p - ps->start);
    return ps->code;
}

static bool at(const parser *ps, const char *text) {
    size_t n = strlen(text);
    return (size_t)(ps->end - ps->p) >= n && memcmp(ps->p, text, n) == 0;
}

static bool skip(parser *ps, const char *text) {
    if (!at(ps, text)) return false;
    ps->p += strlen(text);
    return true;
}

static uint32_t next_char(parser *ps) {
    size_t len;
    uint32_t c = rt_utf8_decode((const uint8_t *)ps->p, (size_t)(ps->end - ps->p), &len);
    if (c == RT_UTF8_INVALID) fail(ps, "malformed UTF-8");
    ps->p += len;
    return c;
}

/* ---- sets -------------------------------------------------------------------------------- */

/* Add what matches c when case does not matter: characters of the same lower case, and a few that
 * only fold to it. (Oniguruma also folds single characters to several, such as U+00DF to "ss"; no
 * tokenizer depends on that.) */
static void add_other_cases(rt_uniset *set, uint32_t c) {
    static const uint32_t folds[][2] = {{0x17F, 's'}, {0x212A, 'k'}, {0x3C2, 0x3C3}, {0xB5, 0x3BC}};
    uint32_t lower = rt_unicode_lower(c);
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
        if (lower == folds[i][0]) lower = folds[i][1];
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
        if (lower == folds[i][1]) rt_uniset_add(set, folds[i][0], folds[i][0]);
    rt_uniset_add(set, lower, lower);
    if (lower >= 'a' && lower <= 'z') rt_uniset_add(set, lower - 32, lower - 32);
    if (lower >= 0x80) rt_unicode_upper(lower, set);
}

static void add_char(const parser *ps, rt_uniset *set, uint32_t c) {
    rt_uniset_add(set, c, c);
    if (ps->icase) add_other_cases(set, c);
}

/* A range adds the other cases of its ASCII letters. */
static void add_char_range(const parser *ps, rt_uniset *set, uint32_t first, uint32_t last) {
    rt_uniset_add(set, first, last);
    for (uint32_t c = 'A'; ps->icase && c <= 'z'; c++)
        if (c >= first && c <= last && ((c & ~32u) >= 'A' && (c & ~32u) <= 'Z'))
            add_other_cases(set, c);
}

static bool same_set(const rt_uniset *a, const rt_uniset *b) {
    return a->n == b->n && (!a->n || memcmp(a->ranges, b->ranges, a->n * sizeof *a->ranges) == 0);
}

/* Write a set to the skeleton; takes its memory. */
static void put_set(parser *ps, rt_uniset *set) {
    rt_regex_parsed *out = ps->out;
    rt_uniset_tidy(set);
    if (set->failed) ps->code = gguf_fail_memory(ps->err);
    size_t i = 0;
    while (i < out->n_atoms && !same_set(&out->atoms[i], set)) i++;
    if (i == RT_REGEX_MAX_ATOMS) fail(ps, "too many different characters and classes");
    if (ps->code || i < out->n_atoms)
        rt_uniset_clear(set);
    else
        out->atoms[out->n_atoms++] = *set;
    if (ps->code) return;
    uint8_t bytes[2] = {RT_REGEX_ATOM, (uint8_t)i};
    gguf_dynbuf_put(&out->skeleton, bytes, 2);
}

static void put_text(parser *ps, const char *text) {
    gguf_dynbuf_put_text(&ps->out->skeleton, text);
}

/* ---- escapes ----------------------------------------------------------------------------- */

static uint32_t hex_digits(parser *ps, size_t max) {
    uint32_t value = 0;
    size_t n = 0;
    for (; n < max && ps->p < ps->end; n++, ps->p++) {
        int c = *ps->p, digit = c >= '0' && c <= '9'                   ? c - '0'
                                : ((c | 32) >= 'a' && (c | 32) <= 'f') ? (c | 32) - 'a' + 10
                                                                       : -1;
        if (digit < 0) break;
        value = value * 16 + (uint32_t)digit;
    }
    if (!n || value > RT_LAST_CODE_POINT) fail(ps, "bad hexadecimal code");
    return value;
}

/* \p{Name} \P{Name} \p{^Name} \pL, behind the letter p. */
static void property(parser *ps, bool negate, rt_uniset *set) {
    char name[32] = {0};
    size_t n = 0;
    if (!skip(ps, "{")) {
        if (ps->p < ps->end) name[0] = *ps->p++;
    } else {
        if (skip(ps, "^")) negate = !negate;
        while (ps->p < ps->end && *ps->p != '}' && n < sizeof name - 1) name[n++] = *ps->p++;
        if (!skip(ps, "}")) fail(ps, "unfinished property");
    }
    if (!ps->code && !rt_unicode_set(name, set)) fail(ps, "unknown property");
    if (negate) rt_uniset_negate(set);
}

/* Outside brackets \w has these too. */
static void add_latin1_numbers(rt_uniset *set) {
    rt_uniset_add(set, 0xB2, 0xB3);
    rt_uniset_add(set, 0xB9, 0xB9);
    rt_uniset_add(set, 0xBC, 0xBE);
}

/* \d \s \w \h and their opposites. False if `c` is none of them. */
static bool class_escape(char c, bool in_bracket, rt_uniset *set) {
    switch (c | 32) {
    case 'd':
        rt_unicode_set("Nd", set);
        break;
    case 's':
        rt_unicode_set("s", set);
        break;
    case 'w':
        rt_unicode_set("w", set);
        if (!in_bracket) add_latin1_numbers(set);
        break;
    case 'h':
        rt_uniset_add(set, '0', '9');
        rt_uniset_add(set, 'A', 'F');
        rt_uniset_add(set, 'a', 'f');
        break;
    default:
        return false;
    }
    if (!(c & 32)) rt_uniset_negate(set);
    return true;
}

/* An escape that stands for one character, behind the backslash. */
static uint32_t char_escape(parser *ps) {
    static const char names[] = "nrtfvae", values[] = "\n\r\t\f\v\a\033";
    char c = *ps->p;
    const char *known = strchr(names, c);
    if (c && known) {
        ps->p++;
        return (uint8_t)values[known - names];
    }
    if (skip(ps, "x{")) {
        uint32_t value = hex_digits(ps, 8);
        if (!skip(ps, "}")) fail(ps, "unfinished code");
        return value;
    }
    if (skip(ps, "x")) return hex_digits(ps, 2);
    if (skip(ps, "u")) return hex_digits(ps, 4);
    if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'))
        fail(ps, "unsupported escape");
    return next_char(ps);
}

/* Any escape inside or outside brackets, behind the backslash. Returns true if it is a class;
 * otherwise *c is the one character. */
static bool escape(parser *ps, bool in_bracket, rt_uniset *set, uint32_t *c) {
    if (ps->p == ps->end) {
        fail(ps, "unfinished escape");
        return true;
    }
    if ((*ps->p | 32) == 'p') {
        bool negate = *ps->p++ == 'P';
        property(ps, negate, set);
        return true;
    }
    if (class_escape(*ps->p, in_bracket, set)) {
        ps->p++;
        return true;
    }
    *c = char_escape(ps);
    return false;
}

/* ---- brackets ---------------------------------------------------------------------------- */

static void bracket(parser *ps, rt_uniset *set, unsigned depth);

static void bracket_item(parser *ps, rt_uniset *set, unsigned depth) {
    uint32_t first, last;
    rt_uniset inner = {0};
    if (at(ps, "[:")) fail(ps, "unsupported POSIX class");
    if (skip(ps, "[")) {
        bracket(ps, &inner, depth + 1);
        rt_uniset_add_set(set, &inner);
        rt_uniset_clear(&inner);
        return;
    }
    if (!skip(ps, "\\"))
        first = next_char(ps);
    else if (escape(ps, true, &inner, &first)) {
        rt_uniset_add_set(set, &inner);
        rt_uniset_clear(&inner);
        return;
    }
    if (ps->end - ps->p < 2 || ps->p[0] != '-' || ps->p[1] == ']') {
        add_char(ps, set, first);
        return;
    }
    ps->p++;
    if (!skip(ps, "\\"))
        last = next_char(ps);
    else if (escape(ps, true, &inner, &last)) { /* "a-\w": three items */
        add_char(ps, set, first);
        add_char(ps, set, '-');
        rt_uniset_add_set(set, &inner);
        rt_uniset_clear(&inner);
        return;
    }
    if (last < first)
        fail(ps, "range out of order");
    else
        add_char_range(ps, set, first, last);
}

/* A bracket expression, behind its '['. */
static void bracket(parser *ps, rt_uniset *set, unsigned depth) {
    if (depth > MAX_DEPTH) fail(ps, "nested too deeply");
    bool negate = skip(ps, "^"), intersected = false, first = true;
    rt_uniset part = {0};
    while (!ps->code && (first || !at(ps, "]"))) {
        if (ps->p == ps->end)
            fail(ps, "unfinished bracket");
        else if (skip(ps, "&&")) {
            if (intersected)
                rt_uniset_intersect(set, &part);
            else
                rt_uniset_add_set(set, &part);
            rt_uniset_clear(&part);
            intersected = true;
        } else
            bracket_item(ps, &part, depth);
        first = false;
    }
    skip(ps, "]");
    if (intersected)
        rt_uniset_intersect(set, &part);
    else
        rt_uniset_add_set(set, &part);
    rt_uniset_clear(&part);
    if (negate) rt_uniset_negate(set);
}

/* ---- operators --------------------------------------------------------------------------- */

/* Option letters behind "(?"; `:` opens a group with them, `)` sets them for the rest. */
static void group_options(parser *ps, bool *opens) {
    bool on = true, icase = ps->icase, dotall = ps->dotall;
    for (; ps->p < ps->end && *ps->p != ':' && *ps->p != ')'; ps->p++) {
        if (*ps->p == '-')
            on = false;
        else if (*ps->p == 'i')
            icase = on;
        else if (*ps->p == 'm')
            dotall = on;
        else {
            fail(ps, "unsupported group");
            return;
        }
    }
    *opens = at(ps, ":");
    if (*opens && ps->depth < MAX_DEPTH) {
        ps->icases[ps->depth] = ps->icase;
        ps->dotalls[ps->depth++] = ps->dotall;
        put_text(ps, "(?:");
    } else if (*opens)
        fail(ps, "nested too deeply");
    if (ps->p == ps->end)
        fail(ps, "unfinished group");
    else
        ps->p++;
    ps->icase = icase;
    ps->dotall = dotall;
}

static void open_group(parser *ps) {
    static const char *const kinds[] = {"(?<=", "(?<!", "(?=", "(?!", "(?>", "(?:"};
    bool opens;
    const char *kind = "(?:"; /* captures are never read */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!skip(ps, kinds[i])) continue;
        kind = kinds[i];
        goto open;
    }
    if (skip(ps, "(?")) {
        group_options(ps, &opens);
        return;
    }
    ps->p++;
open:
    if (ps->depth == MAX_DEPTH) {
        fail(ps, "nested too deeply");
        return;
    }
    ps->icases[ps->depth] = ps->icase;
    ps->dotalls[ps->depth++] = ps->dotall;
    put_text(ps, kind);
}

static void close_group(parser *ps) {
    if (!ps->depth) {
        fail(ps, "unmatched )");
        return;
    }
    ps->depth--;
    ps->icase = ps->icases[ps->depth];
    ps->dotall = ps->dotalls[ps->depth];
    ps->p++;
    put_text(ps, ")");
}

/* {n} {n,} {,m} {n,m}: copied, anything else is a literal brace. */
static bool quantifier(parser *ps) {
    const char *q = ps->p + 1;
    size_t digits = 0, commas = 0;
    for (; q < ps->end && ((*q >= '0' && *q <= '9') || *q == ','); q++)
        *q == ',' ? commas++ : digits++;
    if (q == ps->end || *q != '}' || !digits || commas > 1 || digits > 9) return false;
    put_text(ps, ps->p[1] == ',' ? "{0" : "{");
    gguf_dynbuf_put(&ps->out->skeleton, ps->p + 1, (size_t)(q - ps->p));
    ps->p = q + 1;
    return true;
}

/* \b and \B by looking at the characters on both sides. */
static void word_boundary(parser *ps, bool negate) {
    static const char *const parts[2][4] = {{"(?:(?<=", ")(?!", ")|(?<!", ")(?="},
                                            {"(?:(?<=", ")(?=", ")|(?<!", ")(?!"}};
    for (int i = 0; i < 4; i++) {
        rt_uniset word = {0};
        put_text(ps, parts[negate][i]);
        class_escape('w', false, &word);
        put_set(ps, &word);
    }
    put_text(ps, "))");
}

static void backslash(parser *ps) {
    uint32_t c;
    rt_uniset set = {0};
    if (skip(ps, "\\A"))
        put_text(ps, "\\A");
    else if (skip(ps, "\\Z"))
        put_text(ps, "\\Z");
    else if (skip(ps, "\\z"))
        put_text(ps, "\\z");
    else if (skip(ps, "\\b"))
        word_boundary(ps, false);
    else if (skip(ps, "\\B"))
        word_boundary(ps, true);
    else {
        ps->p++;
        if (!escape(ps, false, &set, &c)) add_char(ps, &set, c);
        put_set(ps, &set);
    }
}

static void dot(parser *ps) {
    rt_uniset set = {0};
    if (!ps->dotall) rt_uniset_add(&set, '\n', '\n');
    rt_uniset_negate(&set);
    put_set(ps, &set);
    ps->p++;
}

static void literal(parser *ps) {
    rt_uniset set = {0};
    add_char(ps, &set, next_char(ps));
    put_set(ps, &set);
}

static void item(parser *ps) {
    rt_uniset set = {0};
    char c = *ps->p;
    if (c == '(')
        open_group(ps);
    else if (c == ')')
        close_group(ps);
    else if (c == '\\')
        backslash(ps);
    else if (c == '.')
        dot(ps);
    else if (c == '[') {
        ps->p++;
        bracket(ps, &set, 0);
        put_set(ps, &set);
    } else if (c && strchr("|*+?^$", c)) {
        gguf_dynbuf_put(&ps->out->skeleton, ps->p++, 1);
    } else if (c != '{' || !quantifier(ps)) {
        literal(ps);
    }
}

gguf_code rt_regex_parse(const char *pattern, size_t len, rt_regex_parsed *parsed,
                         gguf_error *err) {
    parser ps = {.start = pattern, .p = pattern, .end = pattern + len, .out = parsed, .err = err};
    gguf_dynbuf_init(&parsed->skeleton, 16 * RT_REGEX_MAX_PATTERN);
    rt_uniset_add(&parsed->atoms[0], '\n', '\n');
    parsed->n_atoms = 1;
    if (len > RT_REGEX_MAX_PATTERN)
        ps.code = gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                            "an expression of more than %d bytes", RT_REGEX_MAX_PATTERN);
    while (!ps.code && ps.p < ps.end) item(&ps);
    if (ps.depth) fail(&ps, "unfinished group");
    if (!ps.code && (parsed->skeleton.code || parsed->atoms[0].failed))
        ps.code = gguf_fail_memory(err);
    return ps.code;
}

void rt_regex_parsed_clear(rt_regex_parsed *parsed) {
    gguf_dynbuf_clear(&parsed->skeleton);
    for (size_t i = 0; i < parsed->n_atoms; i++) rt_uniset_clear(&parsed->atoms[i]);
    parsed->n_atoms = 0;
}
