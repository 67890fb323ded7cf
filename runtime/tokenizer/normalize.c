/* Normalisers: a list of steps, each of which rewrites the text. */
#include "runtime/tokenizer/normalize.h"

#include "runtime/tokenizer/json_spec.h"
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/uniset.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define MAX_STEPS 64

typedef enum step_kind {
    STEP_FORM,        /* NFC, NFD, NFKC, NFKD */
    STEP_LOWER,       /* lower case */
    STEP_DROP,        /* drop the characters of `set` */
    STEP_SPACES,      /* every white space becomes a space */
    STEP_PAD_CHINESE, /* spaces around Chinese characters */
    STEP_PREPEND,     /* `content` before a text that is not empty */
    STEP_REPLACE,     /* matches of `regex` become `content` */
    STEP_STRIP,       /* white space at the ends */
    STEP_NMT,         /* drop control characters, turn odd white space into spaces */
    STEP_CHARSMAP     /* SentencePiece's compiled map, as the original applies it */
} step_kind;

typedef struct step {
    step_kind kind;
    utf8proc_option_t form;
    rt_uniset set; /* FORM: characters that are left alone; DROP; SPACES and STRIP: white space */
    rt_regex *regex;
    char *content;
    size_t content_len;
    bool left, right;
    rt_charsmap map;
} step;

struct rt_normalizer {
    step steps[MAX_STEPS];
    size_t n_steps;
};

/* ---- building ---------------------------------------------------------------------------- */

static step *add_step(rt_normalizer *nm, step_kind kind, const char *set_name) {
    if (nm->n_steps == MAX_STEPS) return NULL;
    step *s = &nm->steps[nm->n_steps++];
    s->kind = kind;
    if (set_name) rt_unicode_set(set_name, &s->set);
    rt_uniset_tidy(&s->set);
    return s->set.failed ? NULL : s;
}

/* Why add_step gave NULL. */
static gguf_code no_step(const rt_normalizer *nm, gguf_error *err) {
    for (size_t i = 0; i < nm->n_steps; i++)
        if (nm->steps[i].set.failed) return gguf_fail_memory(err);
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "more than %d normaliser steps",
                     MAX_STEPS);
}

static gguf_code add_form(rt_normalizer *nm, const char *name, gguf_error *err) {
    step *s = add_step(nm, STEP_FORM, "NewerMark");
    if (!s) return no_step(nm, err);
    s->form = strchr(name, 'C') ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (strchr(name, 'K')) s->form |= UTF8PROC_COMPAT;
    return GGUF_OK;
}

static gguf_code set_content(step *s, const json_t *spec, const char *key, gguf_error *err) {
    const json_t *content = json_object_get(spec, key);
    if (!json_is_string(content))
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "a normaliser without its text '%s'", key);
    s->content_len = json_string_length(content);
    s->content = malloc(s->content_len + 1);
    if (!s->content) return gguf_fail_memory(err);
    memcpy(s->content, json_string_value(content), s->content_len + 1);
    return GGUF_OK;
}

static gguf_code build_replace(rt_normalizer *nm, const json_t *spec, gguf_error *err) {
    rt_pattern pattern;
    step *s = add_step(nm, STEP_REPLACE, NULL);
    gguf_code code = s ? set_content(s, spec, "content", err) : no_step(nm, err);
    if (code || (code = rt_spec_pattern(spec, &pattern, err))) return code;
    code = rt_regex_new(pattern.text, pattern.len, &s->regex, err);
    free(pattern.text);
    return code;
}

static gguf_code build_prepend(rt_normalizer *nm, const json_t *spec, gguf_error *err) {
    step *s = add_step(nm, STEP_PREPEND, NULL);
    return s ? set_content(s, spec, "prepend", err) : no_step(nm, err);
}

static gguf_code build_strip(rt_normalizer *nm, const json_t *spec, gguf_error *err) {
    step *s = add_step(nm, STEP_STRIP, "s");
    if (!s) return no_step(nm, err);
    s->left = rt_spec_bool(spec, "strip_left", true);
    s->right = rt_spec_bool(spec, "strip_right", true);
    return GGUF_OK;
}

static gguf_code build_bert(rt_normalizer *nm, const json_t *spec, gguf_error *err) {
    bool lower = rt_spec_bool(spec, "lowercase", true), ok = true;
    if (rt_spec_bool(spec, "clean_text", true))
        ok = add_step(nm, STEP_DROP, "BertDropped") && add_step(nm, STEP_SPACES, "s");
    if (rt_spec_bool(spec, "handle_chinese_chars", true))
        ok &= add_step(nm, STEP_PAD_CHINESE, NULL) != NULL;
    if (rt_spec_bool(spec, "strip_accents", lower)) {
        ok &= add_form(nm, "NFD", NULL) == GGUF_OK;
        ok &= add_step(nm, STEP_DROP, "BertMark") != NULL;
    }
    if (lower) ok &= add_step(nm, STEP_LOWER, NULL) != NULL;
    return ok ? GGUF_OK : no_step(nm, err);
}

static int base64_digit(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Bytes of a text in base 64, at most 3/4 of its length; 0 if a character is none of it. */
static size_t decode_base64(const char *text, size_t len, uint8_t *out) {
    size_t n = 0;
    uint32_t bits = 0;
    while (len && text[len - 1] == '=') len--;
    for (size_t i = 0; i < len; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) return 0;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4) out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return n;
}

static gguf_code build_precompiled(rt_normalizer *nm, const json_t *spec, gguf_error *err) {
    const json_t *map = json_object_get(spec, "precompiled_charsmap");
    size_t len = json_string_length(map);
    step *s = add_step(nm, STEP_CHARSMAP, NULL);
    if (!s) return no_step(nm, err);
    if (len == 0) return GGUF_OK; /* an empty map changes nothing */
    uint8_t *bytes = malloc(len);
    if (!bytes) return gguf_fail_memory(err);
    size_t n = decode_base64(json_string_value(map), len, bytes);
    gguf_code code = rt_charsmap_read(bytes, n, &s->map, err);
    free(bytes);
    return code;
}

static gguf_code build(rt_normalizer *nm, const json_t *spec, unsigned depth, gguf_error *err);

static gguf_code build_sequence(rt_normalizer *nm, const json_t *spec, unsigned depth,
                                gguf_error *err) {
    const json_t *list = json_object_get(spec, "normalizers");
    gguf_code code = GGUF_OK;
    if (!json_is_array(list) || depth > 8)
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "a normaliser Sequence without its list 'normalizers'");
    for (size_t i = 0; !code && i < json_array_size(list); i++)
        code = build(nm, json_array_get(list, i), depth + 1, err);
    return code;
}

static gguf_code build(rt_normalizer *nm, const json_t *spec, unsigned depth, gguf_error *err) {
    const char *type = rt_spec_text(spec, "type", "");
    if (!spec || json_is_null(spec)) return GGUF_OK;
    if (strcmp(type, "Sequence") == 0) return build_sequence(nm, spec, depth, err);
    if (strcmp(type, "NFC") == 0 || strcmp(type, "NFD") == 0 || strcmp(type, "NFKC") == 0 ||
        strcmp(type, "NFKD") == 0)
        return add_form(nm, type, err);
    if (strcmp(type, "Replace") == 0) return build_replace(nm, spec, err);
    if (strcmp(type, "Prepend") == 0) return build_prepend(nm, spec, err);
    if (strcmp(type, "Strip") == 0) return build_strip(nm, spec, err);
    if (strcmp(type, "BertNormalizer") == 0) return build_bert(nm, spec, err);
    if (strcmp(type, "Precompiled") == 0) return build_precompiled(nm, spec, err);
    if (strcmp(type, "Nmt") == 0) return add_step(nm, STEP_NMT, NULL) ? GGUF_OK : no_step(nm, err);
    if (strcmp(type, "Lowercase") == 0)
        return add_step(nm, STEP_LOWER, NULL) ? GGUF_OK : no_step(nm, err);
    if (strcmp(type, "StripAccents") == 0)
        return add_step(nm, STEP_DROP, "CombiningMark") ? GGUF_OK : no_step(nm, err);
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "normaliser type '%s' is not supported", type);
}

gguf_code rt_normalizer_new(const json_t *spec, rt_normalizer **out, gguf_error *err) {
    rt_normalizer *nm = calloc(1, sizeof *nm);
    if (!nm) return gguf_fail_memory(err);
    gguf_code code = build(nm, spec, 0, err);
    if (code)
        rt_normalizer_free(nm);
    else
        *out = nm;
    return code;
}

void rt_normalizer_free(rt_normalizer *nm) {
    if (!nm) return;
    for (size_t i = 0; i < nm->n_steps; i++) {
        rt_uniset_clear(&nm->steps[i].set);
        rt_regex_free(nm->steps[i].regex);
        free(nm->steps[i].content);
        rt_charsmap_clear(&nm->steps[i].map);
    }
    free(nm);
}

bool rt_normalizer_is_empty(const rt_normalizer *nm) {
    return nm->n_steps == 0;
}

/* ---- running ----------------------------------------------------------------------------- */

static void put_char(gguf_dynbuf *out, uint32_t c) {
    char bytes[4];
    gguf_dynbuf_put(out, bytes, rt_utf8_encode(c, bytes));
}

static void put_form(const uint8_t *text, size_t len, utf8proc_option_t form, gguf_dynbuf *out) {
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map(text, (utf8proc_ssize_t)len, &mapped, UTF8PROC_STABLE | form);
    if (n >= 0)
        gguf_dynbuf_put(out, mapped, (size_t)n);
    else if (!out->code)
        out->code = GGUF_E_NOMEM;
    free(mapped);
}

/* The end of the stretch of characters beyond ASCII, none of them in `alone`, that starts at i. */
static size_t stretch_end(const uint8_t *text, size_t len, size_t i, const rt_uniset *alone) {
    size_t used;
    while (i < len && text[i] >= 0x80 &&
           !rt_uniset_has(alone, rt_utf8_decode(text + i, len - i, &used)))
        i += used;
    return i;
}

/* Normalisation form, stretch by stretch: an ASCII character can only change together with what
 * follows it, and characters of a newer Unicode than the original's are as good as unassigned. */
static void run_form(const step *s, const uint8_t *text, size_t len, gguf_dynbuf *out) {
    for (size_t i = 0; i < len;) {
        size_t ascii = i;
        while (ascii < len && text[ascii] < 0x80) ascii++;
        size_t start = ascii > i && ascii < len ? ascii - 1 : ascii;
        size_t end = stretch_end(text, len, ascii, &s->set);
        gguf_dynbuf_put(out, text + i, start - i);
        if (end > start) put_form(text + start, end - start, s->form, out);
        i = end;
        if (i < len && text[i] >= 0x80) {
            gguf_dynbuf_put(out, text + i, rt_utf8_len(text[i]));
            i += rt_utf8_len(text[i]);
        }
    }
}

static bool is_chinese(uint32_t c) {
    return (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x4E00 && c <= 0x9FFF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
}

static void run_char(const step *s, uint32_t c, gguf_dynbuf *out) {
    bool pad = s->kind == STEP_PAD_CHINESE && is_chinese(c);
    if (s->kind == STEP_DROP && rt_uniset_has(&s->set, c)) return;
    if (s->kind == STEP_SPACES && rt_uniset_has(&s->set, c)) c = ' ';
    if (s->kind == STEP_LOWER && c == 0x130) {
        gguf_dynbuf_put_text(out, "i\xCC\x87");
        return;
    }
    if (s->kind == STEP_LOWER) c = rt_unicode_lower(c);
    if (pad) put_char(out, ' ');
    put_char(out, c);
    if (pad) put_char(out, ' ');
}

static void run_chars(const step *s, const uint8_t *text, size_t len, gguf_dynbuf *out) {
    for (size_t i = 0, used; i < len; i += used)
        run_char(s, rt_utf8_decode(text + i, len - i, &used), out);
}

static gguf_code run_replace(const step *s, const gguf_dynbuf *text, rt_regex_scratch *scratch,
                             gguf_dynbuf *out, gguf_error *err) {
    rt_text_spans found = {0};
    gguf_code code =
        rt_regex_find(s->regex, scratch, (char *)text->data, text->len, 0, &found, err);
    for (size_t i = 0; !code && i < found.n; i++) {
        rt_text_span span = found.items[i];
        if (span.is_match)
            gguf_dynbuf_put(out, s->content, s->content_len);
        else
            gguf_dynbuf_put(out, text->data + span.start, span.end - span.start);
    }
    rt_spans_clear(&found);
    return code;
}

static void run_strip(const step *s, const uint8_t *text, size_t len, gguf_dynbuf *out) {
    size_t start = 0, used;
    while (s->left && start < len &&
           rt_uniset_has(&s->set, rt_utf8_decode(text + start, len - start, &used)))
        start += used;
    while (s->right && len > start) {
        size_t last = len - 1;
        while (last > start && rt_utf8_is_tail(text[last])) last--;
        if (!rt_uniset_has(&s->set, rt_utf8_decode(text + last, len - last, &used))) break;
        len = last;
    }
    gguf_dynbuf_put(out, text + start, len - start);
}

/* The control characters and spaces that NMT preprocessing knows. */
static void run_nmt(const uint8_t *text, size_t len, gguf_dynbuf *out) {
    for (size_t i = 0, used; i < len; i += used) {
        uint32_t c = rt_utf8_decode(text + i, len - i, &used);
        bool dropped = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
                       c == 0x8F || c == 0x9F;
        bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
        if (!dropped) put_char(out, space ? ' ' : c);
    }
}

/* The end of the grapheme cluster that starts at i. */
static size_t cluster_end(const uint8_t *text, size_t len, size_t i) {
    utf8proc_int32_t state = 0;
    size_t used;
    uint32_t c = rt_utf8_decode(text + i, len - i, &used);
    for (i += used; i < len; i += used) {
        uint32_t next = rt_utf8_decode(text + i, len - i, &used);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
        c = next;
    }
    return i;
}

static bool put_mapped(const rt_charsmap *map, const uint8_t *text, size_t n, gguf_dynbuf *out) {
    gguf_str found = rt_charsmap_first(map, (const char *)text, n);
    if (found.ptr) gguf_dynbuf_put(out, found.ptr, found.len);
    return found.ptr != NULL;
}

/* A short cluster that starts with a key becomes that key's text as a whole; otherwise its
 * characters do, one by one. So does the original, odd as it is. */
static void run_charsmap(const step *s, const uint8_t *text, size_t len, gguf_dynbuf *out) {
    for (size_t i = 0, end; i < len; i = end) {
        end = cluster_end(text, len, i);
        if (end - i < 6 && put_mapped(&s->map, text + i, end - i, out)) continue;
        for (size_t k = i, used; k < end; k += used) {
            rt_utf8_decode(text + k, end - k, &used);
            if (!put_mapped(&s->map, text + k, used, out)) gguf_dynbuf_put(out, text + k, used);
        }
    }
}

static gguf_code run_step(const step *s, const gguf_dynbuf *text, gguf_dynbuf *out,
                          rt_regex_scratch *scratch, gguf_error *err) {
    if (!text->len) return GGUF_OK;
    switch (s->kind) {
    case STEP_FORM:
        run_form(s, text->data, text->len, out);
        break;
    case STEP_PREPEND:
        gguf_dynbuf_put(out, s->content, s->content_len);
        gguf_dynbuf_put(out, text->data, text->len);
        break;
    case STEP_REPLACE:
        return run_replace(s, text, scratch, out, err);
    case STEP_NMT:
        run_nmt(text->data, text->len, out);
        break;
    case STEP_CHARSMAP:
        run_charsmap(s, text->data, text->len, out);
        break;
    case STEP_STRIP:
        run_strip(s, text->data, text->len, out);
        break;
    default:
        run_chars(s, text->data, text->len, out);
        break;
    }
    return GGUF_OK;
}

gguf_code rt_normalize(const rt_normalizer *nm, gguf_dynbuf *text, gguf_dynbuf *spare,
                       rt_regex_scratch *scratch, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; !code && i < nm->n_steps; i++) {
        spare->len = 0;
        code = run_step(&nm->steps[i], text, spare, scratch, err);
        gguf_dynbuf old = *text;
        *text = *spare;
        *spare = old;
    }
    if (!code && text->code)
        code = gguf_fail(err, text->code, NULL, GGUF_NO_OFFSET, "out of memory");
    return code;
}
