/* Running expressions: code points that no set tells apart share a byte, and PCRE2 runs on bytes.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/tokenizer/regex.h"

#include "runtime/tokenizer/regex_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MASK_WORDS  (RT_REGEX_MAX_ATOMS / 64)
#define MAX_CLASSES 256
#define BMP_POINTS  65536
#define LINE_FEED   10 /* the byte of the line feed: '^' and '$' depend on it */

/* From `first` up to the next boundary all characters have the byte `class`. */
typedef struct class_run {
    uint32_t first;
    uint8_t class;
} class_run;

struct rt_regex {
    pcre2_code *code;
    class_run *runs; /* beyond the BMP */
    size_t n_runs;
    uint8_t bmp[BMP_POINTS];
};

/* ---- classes ----------------------------------------------------------------------------- */

typedef struct boundary {
    uint32_t at;
    uint8_t atom; /* begins or ends here */
} boundary;

typedef struct classes {
    uint64_t masks[MAX_CLASSES][MASK_WORDS]; /* the sets that a class belongs to */
    bool used[MAX_CLASSES];
} classes;

static int compare_boundaries(const void *a, const void *b) {
    const boundary *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static boundary *collect_boundaries(const rt_regex_parsed *parsed, size_t *n_out) {
    size_t n = 0;
    for (size_t a = 0; a < parsed->n_atoms; a++) n += 2 * parsed->atoms[a].n;
    boundary *all = malloc((n + 1) * sizeof *all);
    if (!all) return NULL;
    n = 0;
    for (size_t a = 0; a < parsed->n_atoms; a++) {
        const rt_uniset *set = &parsed->atoms[a];
        for (size_t i = 0; i < set->n; i++) {
            all[n++] = (boundary){set->ranges[i].first, (uint8_t)a};
            all[n++] = (boundary){set->ranges[i].last + 1, (uint8_t)a};
        }
    }
    qsort(all, n, sizeof *all, compare_boundaries);
    *n_out = n;
    return all;
}

/* The class with this membership, a new one if need be; -1 if there are too many. */
static int class_of(classes *cls, const uint64_t mask[MASK_WORDS]) {
    if (mask[0] & 1) { /* the first set is the line feed */
        memcpy(cls->masks[LINE_FEED], mask, sizeof cls->masks[0]);
        cls->used[LINE_FEED] = true;
        return LINE_FEED;
    }
    for (int i = 0; i < MAX_CLASSES; i++) {
        if (i == LINE_FEED) continue;
        if (!cls->used[i]) {
            memcpy(cls->masks[i], mask, sizeof cls->masks[0]);
            cls->used[i] = true;
            return i;
        }
        if (memcmp(cls->masks[i], mask, sizeof cls->masks[0]) == 0) return i;
    }
    return -1;
}

static void fill_run(rt_regex *regex, uint32_t first, uint32_t end, uint8_t class) {
    for (uint32_t c = first; c < end && c < BMP_POINTS; c++) regex->bmp[c] = class;
    if (end <= BMP_POINTS) return;
    if (first < BMP_POINTS) first = BMP_POINTS;
    regex->runs[regex->n_runs++] = (class_run){first, class};
}

/* Sweep over the boundaries and give each stretch its class. */
static bool assign_classes(rt_regex *regex, const boundary *all, size_t n, classes *cls) {
    uint64_t mask[MASK_WORDS] = {0};
    uint32_t first = 0;
    for (size_t i = 0; i <= n;) {
        uint32_t end = i < n ? all[i].at : RT_LAST_CODE_POINT + 1;
        if (end > first) {
            int class = class_of(cls, mask);
            if (class < 0) return false;
            fill_run(regex, first, end, (uint8_t) class);
        }
        first = end;
        if (i == n) break;
        for (; i < n && all[i].at == first; i++)
            mask[all[i].atom / 64] ^= (uint64_t)1 << all[i].atom % 64;
    }
    return true;
}

static gguf_code build_classes(rt_regex *regex, const rt_regex_parsed *parsed, classes *cls,
                               gguf_error *err) {
    size_t n = 0;
    boundary *all = collect_boundaries(parsed, &n);
    regex->runs = malloc((n + 2) * sizeof *regex->runs);
    gguf_code code = GGUF_OK;
    if (!all || !regex->runs)
        code = gguf_fail_memory(err);
    else if (!assign_classes(regex, all, n, cls))
        code = gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "an expression distinguishes more than 255 kinds of characters");
    free(all);
    return code;
}

/* ---- the byte expression ----------------------------------------------------------------- */

static void put_atom(gguf_dynbuf *out, const classes *cls, uint8_t atom) {
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    gguf_dynbuf_put_text(out, "[");
    for (int i = 0; i < MAX_CLASSES; i++) {
        if (!cls->used[i] || !(cls->masks[i][atom / 64] >> atom % 64 & 1)) continue;
        char hex[4] = {'\\', 'x', digits[i >> 4], digits[i & 15]};
        gguf_dynbuf_put(out, hex, 4);
        n++;
    }
    gguf_dynbuf_put_text(out, n ? "]" : "^\\x00-\\xff]");
}

static void write_pattern(const rt_regex_parsed *parsed, const classes *cls, gguf_dynbuf *out) {
    for (size_t i = 0; i < parsed->skeleton.len; i++) {
        uint8_t c = parsed->skeleton.data[i];
        if (c == RT_REGEX_ATOM)
            put_atom(out, cls, parsed->skeleton.data[++i]);
        else
            gguf_dynbuf_put(out, &c, 1);
    }
}

static gguf_code compile(rt_regex *regex, const gguf_dynbuf *pattern, gguf_error *err) {
    int number;
    PCRE2_SIZE offset;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context || pattern->code) {
        pcre2_compile_context_free(context);
        return gguf_fail_memory(err);
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    regex->code =
        pcre2_compile(pattern->data, pattern->len, PCRE2_MULTILINE, &number, &offset, context);
    pcre2_compile_context_free(context);
    /* Interpreted: with PCRE2 10.42's JIT the tests were seen to jump to address 0, once in some
     * hundred runs. */
    if (regex->code) return GGUF_OK;
    char text[128] = "";
    pcre2_get_error_message(number, (PCRE2_UCHAR *)text, sizeof text);
    return gguf_fail(err, number == PCRE2_ERROR_HEAP_FAILED ? GGUF_E_NOMEM : GGUF_E_UNSUPPORTED,
                     NULL, GGUF_NO_OFFSET, "%s", text);
}

gguf_code rt_regex_new(const char *pattern, size_t len, rt_regex **out, gguf_error *err) {
    gguf_code code;
    gguf_dynbuf bytes;
    rt_regex *regex = calloc(1, sizeof *regex);
    rt_regex_parsed *parsed = calloc(1, sizeof *parsed);
    classes *cls = calloc(1, sizeof *cls);
    gguf_dynbuf_init(&bytes, 64u << 20);
    if (!regex || !parsed || !cls) {
        code = gguf_fail_memory(err);
        goto done;
    }
    if ((code = rt_regex_parse(pattern, len, parsed, err))) goto done;
    if ((code = build_classes(regex, parsed, cls, err))) goto done;
    write_pattern(parsed, cls, &bytes);
    code = compile(regex, &bytes, err);
done:
    gguf_dynbuf_clear(&bytes);
    if (parsed) rt_regex_parsed_clear(parsed);
    free(parsed);
    free(cls);
    if (code)
        rt_regex_free(regex);
    else
        *out = regex;
    return code;
}

void rt_regex_free(rt_regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    free(regex->runs);
    free(regex);
}

gguf_code rt_regex_describe(const char *pattern, size_t len, gguf_dynbuf *out, gguf_error *err) {
    rt_regex_parsed *parsed = calloc(1, sizeof *parsed);
    if (!parsed) return gguf_fail_memory(err);
    gguf_code code = rt_regex_parse(pattern, len, parsed, err);
    for (size_t i = 0; !code && i < parsed->skeleton.len; i++) {
        gguf_dynbuf_put(out, &parsed->skeleton.data[i], 1);
        if (parsed->skeleton.data[i] != RT_REGEX_ATOM) continue;
        const rt_uniset *set = &parsed->atoms[parsed->skeleton.data[++i]];
        gguf_dynbuf_put(out, set->ranges, set->n * sizeof *set->ranges);
    }
    rt_regex_parsed_clear(parsed);
    free(parsed);
    return code;
}

/* ---- matching ---------------------------------------------------------------------------- */

void rt_spans_clear(rt_text_spans *spans) {
    free(spans->items);
    *spans = (rt_text_spans){0};
}

void rt_spans_add(rt_text_spans *spans, size_t start, size_t end, bool is_match) {
    if (spans->failed) return;
    if (spans->n == spans->room) {
        size_t room = spans->room ? spans->room * 2 : 64;
        rt_text_span *items = realloc(spans->items, room * sizeof *items);
        spans->failed = !items;
        if (!items) return;
        spans->items = items;
        spans->room = room;
    }
    spans->items[spans->n++] = (rt_text_span){start, end, is_match};
}

void rt_regex_scratch_clear(rt_regex_scratch *scratch) {
    free(scratch->classes);
    pcre2_match_data_free(scratch->match);
    *scratch = (rt_regex_scratch){0};
}

static bool scratch_prepare(rt_regex_scratch *scratch, size_t len) {
    if (!scratch->match) scratch->match = pcre2_match_data_create(1, NULL);
    if (scratch->room < len) {
        free(scratch->classes);
        scratch->room = len < 1024 ? 1024 : len;
        scratch->classes = malloc(scratch->room);
        if (!scratch->classes) scratch->room = 0;
    }
    return scratch->match && scratch->room >= len;
}

static uint8_t class_beyond_bmp(const rt_regex *regex, uint32_t c) {
    size_t lo = 0, hi = regex->n_runs;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (regex->runs[mid].first <= c)
            lo = mid;
        else
            hi = mid;
    }
    return regex->runs[lo].class;
}

/* Translate text to classes; returns their number. */
static size_t translate(const rt_regex *regex, const uint8_t *text, size_t len, uint8_t *out) {
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        if (text[i] < 0x80) {
            out[n++] = regex->bmp[text[i++]];
            continue;
        }
        size_t used;
        uint32_t c = rt_utf8_decode(text + i, len - i, &used);
        out[n++] = c < BMP_POINTS ? regex->bmp[c] : class_beyond_bmp(regex, c);
        i += used;
    }
    return n;
}

/* Walks from character numbers to byte positions; they only grow. */
typedef struct position {
    const uint8_t *text;
    size_t chars, bytes;
    bool ascii; /* they are the same */
} position;

static size_t byte_of(position *pos, size_t chars) {
    if (pos->ascii) return chars;
    for (; pos->chars < chars; pos->chars++) pos->bytes += rt_utf8_len(pos->text[pos->bytes]);
    return pos->bytes;
}

static int match_at(const rt_regex *regex, rt_regex_scratch *scratch, size_t n, size_t from) {
    return pcre2_match(regex->code, scratch->classes, n, from, 0, scratch->match, NULL);
}

gguf_code rt_regex_find(const rt_regex *regex, rt_regex_scratch *scratch, const char *text,
                        size_t len, size_t base, rt_text_spans *out, gguf_error *err) {
    if (!scratch_prepare(scratch, len)) return gguf_fail_memory(err);
    size_t n = translate(regex, (const uint8_t *)text, len, scratch->classes), from = 0, done = 0;
    size_t last_end = SIZE_MAX;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(scratch->match);
    position pos = {.text = (const uint8_t *)text, .ascii = n == len};
    int rc = PCRE2_ERROR_NOMATCH;
    while (from <= n && (rc = match_at(regex, scratch, n, from)) >= 0) {
        bool empty = found[1] == found[0];
        from = empty ? found[1] + 1 : found[1];
        if (empty && found[0] == last_end) continue; /* as Oniguruma's bindings do */
        size_t start = byte_of(&pos, found[0]), end = byte_of(&pos, found[1]);
        if (start > done) rt_spans_add(out, base + done, base + start, false);
        rt_spans_add(out, base + start, base + end, true);
        done = end;
        last_end = found[1];
    }
    if (done < len) rt_spans_add(out, base + done, base + len, false);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "a pre-tokenizer expression needs too many steps (PCRE2 error %d)", rc);
    if (out->failed) return gguf_fail_memory(err);
    return GGUF_OK;
}
