/* Pre-tokenizers: a list of steps, each of which cuts the pieces of the one before. */
#include "runtime/tokenizer/pretokenize.h"

#include "runtime/tokenizer/json_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 64
#define MAX_TEXT  ((size_t)1 << 31)
#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define META_SPACE "\xE2\x96\x81"

typedef enum split_behavior {
    BEHAVIOR_ISOLATED,
    BEHAVIOR_REMOVED,
    BEHAVIOR_CONTIGUOUS,
    BEHAVIOR_WITH_PREVIOUS,
    BEHAVIOR_WITH_NEXT
} split_behavior;

static const char *const behavior_names[] = {"Isolated", "Removed", "Contiguous",
                                             "MergedWithPrevious", "MergedWithNext"};

typedef enum prefix_rule { PREFIX_NEVER, PREFIX_ALWAYS, PREFIX_FIRST } prefix_rule;

typedef struct step {
    rt_regex *regex; /* NULL: nothing is cut */
    char *pattern;
    split_behavior behavior;
    bool invert;
    bool spaces_to_meta;
    prefix_rule prefix;
    const char *prefix_text; /* NULL: none */
    char *space;             /* what spaces become, if that is not U+2581 */
} step;

struct rt_pretokenizer {
    step steps[MAX_STEPS];
    size_t n_steps;
    bool byte_level;
    bool only_describe; /* the expressions are not compiled */
};

/* ---- building ---------------------------------------------------------------------------- */

static gguf_code add_step(rt_pretokenizer *pre, const char *pattern, size_t len,
                          split_behavior behavior, bool invert, gguf_error *err) {
    if (pre->n_steps == MAX_STEPS)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "more than %d pre-tokenizer steps", MAX_STEPS);
    step *s = &pre->steps[pre->n_steps++];
    *s = (step){.behavior = behavior, .invert = invert};
    if (!pattern) return GGUF_OK;
    s->pattern = strndup(pattern, len);
    if (!s->pattern) return gguf_fail_memory(err);
    return pre->only_describe ? GGUF_OK : rt_regex_new(pattern, len, &s->regex, err);
}

static gguf_code read_behavior(const json_t *spec, const char *fallback, split_behavior *out,
                               gguf_error *err) {
    const char *name = rt_spec_text(spec, "behavior", fallback);
    for (size_t i = 0; name && i < sizeof behavior_names / sizeof *behavior_names; i++) {
        if (strcasecmp(name, behavior_names[i]) != 0) continue;
        *out = (split_behavior)i;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "pre-tokenizer behaviour '%s' is not known", name ? name : "");
}

static gguf_code build_split(rt_pretokenizer *pre, const json_t *spec, gguf_error *err) {
    split_behavior behavior = BEHAVIOR_ISOLATED;
    rt_pattern pattern;
    gguf_code code = read_behavior(spec, NULL, &behavior, err);
    if (code || (code = rt_spec_pattern(spec, &pattern, err))) return code;
    code = add_step(pre, pattern.text, pattern.len, behavior, rt_spec_bool(spec, "invert", false),
                    err);
    free(pattern.text);
    return code;
}

static gguf_code build_byte_level(rt_pretokenizer *pre, const json_t *spec, gguf_error *err) {
    gguf_code code = GGUF_OK;
    pre->byte_level = true;
    if (rt_spec_bool(spec, "add_prefix_space", true)) {
        code = add_step(pre, NULL, 0, BEHAVIOR_ISOLATED, false, err);
        if (code) return code;
        step *s = &pre->steps[pre->n_steps - 1];
        s->prefix = PREFIX_ALWAYS;
        s->prefix_text = " ";
    }
    if (!rt_spec_bool(spec, "use_regex", true)) return code;
    return add_step(pre, GPT2_PATTERN, strlen(GPT2_PATTERN), BEHAVIOR_ISOLATED, false, err);
}

static gguf_code build_metaspace(rt_pretokenizer *pre, const json_t *spec, gguf_error *err) {
    const char *old = rt_spec_bool(spec, "add_prefix_space", true) ? "always" : "never";
    const char *scheme = rt_spec_text(spec, "prepend_scheme", old);
    const char *space = rt_spec_text(spec, "replacement", META_SPACE);
    bool split = rt_spec_bool(spec, "split", true);
    rt_pattern pattern;
    gguf_code code = rt_spec_literal(space, strlen(space), &pattern, err);
    if (code) return code;
    code = add_step(pre, split ? pattern.text : NULL, pattern.len, BEHAVIOR_WITH_NEXT, false, err);
    free(pattern.text);
    if (code) return code;
    step *s = &pre->steps[pre->n_steps - 1];
    s->spaces_to_meta = true;
    s->prefix_text = META_SPACE;
    if (strcmp(space, META_SPACE) != 0) s->prefix_text = s->space = strdup(space);
    if (!s->prefix_text) return gguf_fail_memory(err);
    s->prefix = strcmp(scheme, "always") == 0  ? PREFIX_ALWAYS
                : strcmp(scheme, "first") == 0 ? PREFIX_FIRST
                                               : PREFIX_NEVER;
    return GGUF_OK;
}

static gguf_code build_simple(rt_pretokenizer *pre, const char *pattern, split_behavior behavior,
                              bool invert, gguf_error *err) {
    return add_step(pre, pattern, strlen(pattern), behavior, invert, err);
}

static gguf_code build_punctuation(rt_pretokenizer *pre, const json_t *spec, gguf_error *err) {
    split_behavior behavior = BEHAVIOR_ISOLATED;
    gguf_code code = read_behavior(spec, "Isolated", &behavior, err);
    return code ? code : build_simple(pre, "\\p{BertPunct}", behavior, false, err);
}

/* Cut at one character, which is dropped. */
static gguf_code build_delimiter(rt_pretokenizer *pre, const json_t *spec, gguf_error *err) {
    const char *delimiter = rt_spec_text(spec, "delimiter", NULL);
    rt_pattern pattern;
    if (!delimiter || !*delimiter)
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "a CharDelimiterSplit without its 'delimiter'");
    gguf_code code = rt_spec_literal(delimiter, strlen(delimiter), &pattern, err);
    if (code) return code;
    code = add_step(pre, pattern.text, pattern.len, BEHAVIOR_REMOVED, false, err);
    free(pattern.text);
    return code;
}

static gguf_code build_fixed_length(rt_pretokenizer *pre, const json_t *spec, gguf_error *err) {
    const json_t *length = json_object_get(spec, "length");
    char pattern[64];
    double n = json_is_number(length) ? json_number_value(length) : 5;
    if (!(n >= 1 && n <= 1000))
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "a FixedLength with a 'length' that is not 1 to 1000");
    snprintf(pattern, sizeof pattern, "[\\s\\S]{1,%d}", (int)n);
    return build_simple(pre, pattern, BEHAVIOR_ISOLATED, false, err);
}

static gguf_code build(rt_pretokenizer *pre, const json_t *spec, unsigned depth, gguf_error *err);

static gguf_code build_sequence(rt_pretokenizer *pre, const json_t *spec, unsigned depth,
                                gguf_error *err) {
    const json_t *list = json_object_get(spec, "pretokenizers");
    gguf_code code = GGUF_OK;
    if (!json_is_array(list) || depth > 8)
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "a pre-tokenizer Sequence without its list 'pretokenizers'");
    for (size_t i = 0; !code && i < json_array_size(list); i++)
        code = build(pre, json_array_get(list, i), depth + 1, err);
    return code;
}

static gguf_code build(rt_pretokenizer *pre, const json_t *spec, unsigned depth, gguf_error *err) {
    const char *type = rt_spec_text(spec, "type", "");
    if (!spec || json_is_null(spec)) return GGUF_OK;
    if (strcmp(type, "Sequence") == 0) return build_sequence(pre, spec, depth, err);
    if (strcmp(type, "Split") == 0) return build_split(pre, spec, err);
    if (strcmp(type, "ByteLevel") == 0) return build_byte_level(pre, spec, err);
    if (strcmp(type, "Metaspace") == 0) return build_metaspace(pre, spec, err);
    if (strcmp(type, "Punctuation") == 0) return build_punctuation(pre, spec, err);
    if (strcmp(type, "CharDelimiterSplit") == 0) return build_delimiter(pre, spec, err);
    if (strcmp(type, "FixedLength") == 0) return build_fixed_length(pre, spec, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return build_simple(pre, "\\s", BEHAVIOR_REMOVED, false, err);
    if (strcmp(type, "Whitespace") == 0)
        return build_simple(pre, "\\p{RustWord}+|[^\\p{RustWord}\\s]+", BEHAVIOR_REMOVED, true,
                            err);
    if (strcmp(type, "Digits") == 0)
        return build_simple(pre, "\\p{RustNumeric}",
                            rt_spec_bool(spec, "individual_digits", false) ? BEHAVIOR_ISOLATED
                                                                           : BEHAVIOR_CONTIGUOUS,
                            false, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        gguf_code code = build_simple(pre, "\\s", BEHAVIOR_REMOVED, false, err);
        return code ? code : build_simple(pre, "\\p{BertPunct}", BEHAVIOR_ISOLATED, false, err);
    }
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "pre-tokenizer type '%s' is not supported", type);
}

gguf_code rt_pretokenizer_new(const json_t *spec, rt_pretokenizer **out, gguf_error *err) {
    rt_pretokenizer *pre = calloc(1, sizeof *pre);
    if (!pre) return gguf_fail_memory(err);
    gguf_code code = build(pre, spec, 0, err);
    if (code)
        rt_pretokenizer_free(pre);
    else
        *out = pre;
    return code;
}

void rt_pretokenizer_free(rt_pretokenizer *pre) {
    if (!pre) return;
    for (size_t i = 0; i < pre->n_steps; i++) {
        rt_regex_free(pre->steps[i].regex);
        free(pre->steps[i].pattern);
        free(pre->steps[i].space);
    }
    free(pre);
}

bool rt_pretokenizer_is_byte_level(const rt_pretokenizer *pre) {
    return pre->byte_level;
}

/* ---- recognising ------------------------------------------------------------------------- */

static gguf_code describe(const step *s, bool alone, gguf_dynbuf *out, gguf_error *err) {
    /* with one expression that covers every character both spellings cut alike */
    bool isolated = alone && s->invert && s->behavior == BEHAVIOR_REMOVED;
    uint8_t head[4] = {isolated ? BEHAVIOR_ISOLATED : (uint8_t)s->behavior, s->invert && !isolated,
                       s->spaces_to_meta, (uint8_t)s->prefix};
    if (s->behavior == BEHAVIOR_ISOLATED) head[1] = 0;
    gguf_dynbuf_put(out, head, sizeof head);
    gguf_dynbuf_put_text(out, s->prefix_text ? s->prefix_text : "");
    return s->pattern ? rt_regex_describe(s->pattern, strlen(s->pattern), out, err) : GGUF_OK;
}

gguf_code rt_pretokenizer_describe(const json_t *spec, gguf_dynbuf *out, gguf_error *err) {
    rt_pretokenizer *pre = calloc(1, sizeof *pre);
    if (!pre) return gguf_fail_memory(err);
    pre->only_describe = true;
    gguf_code code = build(pre, spec, 0, err);
    for (size_t i = 0; !code && i < pre->n_steps; i++)
        code = describe(&pre->steps[i], pre->n_steps == 1, out, err);
    gguf_dynbuf_put(out, &pre->byte_level, 1);
    rt_pretokenizer_free(pre);
    if (!code && out->code) code = gguf_fail(err, out->code, NULL, GGUF_NO_OFFSET, "out of memory");
    return code;
}

/* ---- running ----------------------------------------------------------------------------- */

void rt_pieces_init(rt_pieces *pieces) {
    *pieces = (rt_pieces){0};
    gguf_dynbuf_init(&pieces->text, MAX_TEXT);
    gguf_dynbuf_init(&pieces->spare_text, MAX_TEXT);
}

void rt_pieces_clear(rt_pieces *pieces) {
    gguf_dynbuf_clear(&pieces->text);
    gguf_dynbuf_clear(&pieces->spare_text);
    rt_spans_clear(&pieces->spans);
    rt_spans_clear(&pieces->spare_spans);
    rt_regex_scratch_clear(&pieces->scratch);
}

static bool wants_prefix(const step *s, const rt_pieces *pieces, size_t i) {
    if (s->prefix == PREFIX_NEVER) return false;
    return s->prefix == PREFIX_ALWAYS || (i == 0 && pieces->at_start);
}

/* space: what spaces become, or NULL */
static void copy_text(gguf_dynbuf *out, const char *text, size_t len, const char *space) {
    size_t done = 0;
    for (size_t i = 0; space && i < len; i++) {
        if (text[i] != ' ') continue;
        gguf_dynbuf_put(out, text + done, i - done);
        gguf_dynbuf_put_text(out, space);
        done = i + 1;
    }
    gguf_dynbuf_put(out, text + done, len - done);
}

/* Rewrite every piece: spaces, prefix. */
static void rewrite(const step *s, rt_pieces *pieces) {
    gguf_dynbuf *out = &pieces->spare_text;
    size_t prefix_len = strlen(s->prefix_text);
    out->len = 0;
    for (size_t i = 0; i < pieces->spans.n; i++) {
        rt_text_span *span = &pieces->spans.items[i];
        const char *text = (const char *)pieces->text.data + span->start;
        size_t len = span->end - span->start, start = out->len;
        bool has = len >= prefix_len && memcmp(text, s->prefix_text, prefix_len) == 0;
        if (s->spaces_to_meta && len && text[0] == ' ') has = true;
        if (wants_prefix(s, pieces, i) && !has) gguf_dynbuf_put_text(out, s->prefix_text);
        copy_text(out, text, len, s->spaces_to_meta ? s->prefix_text : NULL);
        *span = (rt_text_span){start, out->len, false};
    }
    gguf_dynbuf old = pieces->text;
    pieces->text = *out;
    pieces->spare_text = old;
}

static void keep(rt_text_spans *out, size_t start, size_t end) {
    if (end > start) rt_spans_add(out, start, end, false);
}

/* Matches join the piece before them, or the one behind when walking backwards. */
static void merge_matches(const rt_text_spans *found, bool with_next, rt_text_spans *out) {
    bool after_match = false;
    size_t begin = out->n;
    for (size_t k = 0; k < found->n; k++) {
        rt_text_span span = found->items[with_next ? found->n - 1 - k : k];
        bool join = span.is_match && !after_match && out->n > begin;
        if (join && with_next)
            out->items[out->n - 1].start = span.start;
        else if (join)
            out->items[out->n - 1].end = span.end;
        else
            rt_spans_add(out, span.start, span.end, false);
        after_match = span.is_match;
        if (out->failed) return;
    }
    for (size_t a = begin, b = out->n; with_next && a + 1 < b; a++) {
        rt_text_span other = out->items[--b];
        out->items[b] = out->items[a];
        out->items[a] = other;
    }
}

static void apply_behavior(const step *s, rt_text_spans *found, rt_text_spans *out) {
    if (s->behavior >= BEHAVIOR_WITH_PREVIOUS) {
        merge_matches(found, s->behavior == BEHAVIOR_WITH_NEXT, out);
        return;
    }
    for (size_t i = 0; i < found->n; i++) {
        rt_text_span span = found->items[i];
        if (s->behavior == BEHAVIOR_REMOVED && span.is_match) continue;
        while (s->behavior == BEHAVIOR_CONTIGUOUS && i + 1 < found->n &&
               found->items[i + 1].is_match == span.is_match)
            span.end = found->items[++i].end;
        keep(out, span.start, span.end);
    }
}

static gguf_code cut(const step *s, rt_pieces *pieces, rt_text_spans *found, gguf_error *err) {
    rt_text_spans *out = &pieces->spare_spans;
    gguf_code code = GGUF_OK;
    out->n = 0;
    for (size_t i = 0; !code && i < pieces->spans.n; i++) {
        rt_text_span span = pieces->spans.items[i];
        found->n = 0;
        code = rt_regex_find(s->regex, &pieces->scratch, (char *)pieces->text.data + span.start,
                             span.end - span.start, span.start, found, err);
        for (size_t k = 0; s->invert && k < found->n; k++) found->items[k].is_match ^= true;
        apply_behavior(s, found, out);
    }
    rt_text_spans old = pieces->spans;
    pieces->spans = *out;
    pieces->spare_spans = old;
    return code;
}

gguf_code rt_pretokenize(const rt_pretokenizer *pre, rt_pieces *pieces, gguf_error *err) {
    gguf_code code = GGUF_OK;
    rt_text_spans found = {0};
    for (size_t i = 0; !code && i < pre->n_steps; i++) {
        const step *s = &pre->steps[i];
        if (pieces->spans.failed || pieces->text.code) break;
        if (s->prefix || s->spaces_to_meta) rewrite(s, pieces);
        if (s->regex && !pieces->text.code) code = cut(s, pieces, &found, err);
    }
    rt_spans_clear(&found);
    if (!code && (pieces->spans.failed || pieces->text.code)) code = gguf_fail_memory(err);
    return code;
}
