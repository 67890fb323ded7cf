/* PCRE2 with limits: an expression that would go back and forth for hours is an error. */
#include "libgguf/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_STEPS = 1000000, MAX_DEPTH = 10000, MAX_HEAP_KIB = 16384 };

struct gguf_pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    char label[32];
    char *text;
};

static gguf_code compile(gguf_pattern *p, bool any_case, gguf_error *err) {
    int number;
    PCRE2_SIZE at;
    char why[160] = "";
    p->code =
        pcre2_compile((PCRE2_SPTR)p->text, PCRE2_ZERO_TERMINATED,
                      PCRE2_DOLLAR_ENDONLY | (any_case ? PCRE2_CASELESS : 0), &number, &at, NULL);
    if (p->code) return GGUF_OK;
    if (number == PCRE2_ERROR_NOMEMORY || number == PCRE2_ERROR_HEAP_FAILED)
        return gguf_fail_memory(err);
    pcre2_get_error_message(number, (PCRE2_UCHAR *)why, sizeof why);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "%s: '%s' is not a regular expression: %s at character %zu", p->label, p->text,
                     why, (size_t)at + 1);
}

static gguf_code prepare(gguf_pattern *p, gguf_error *err) {
    p->match = pcre2_match_data_create(1, NULL);
    p->limits = pcre2_match_context_create(NULL);
    if (!p->match || !p->limits) return gguf_fail_memory(err);
    pcre2_set_match_limit(p->limits, MAX_STEPS);
    pcre2_set_depth_limit(p->limits, MAX_DEPTH);
    pcre2_set_heap_limit(p->limits, MAX_HEAP_KIB);
    return GGUF_OK;
}

gguf_code gguf_pattern_new(const char *label, const char *text, bool any_case, gguf_pattern **out,
                           gguf_error *err) {
    gguf_pattern *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return gguf_fail_memory(err);
    snprintf(p->label, sizeof p->label, "%s", label);
    p->text = strdup(text);
    gguf_code code = p->text ? compile(p, any_case, err) : gguf_fail_memory(err);
    if (!code) code = prepare(p, err);
    if (code)
        gguf_pattern_free(p);
    else
        *out = p;
    return code;
}

void gguf_pattern_free(gguf_pattern *p) {
    if (!p) return;
    pcre2_match_context_free(p->limits);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p->text);
    free(p);
}

gguf_code gguf_pattern_find(const gguf_pattern *p, const char *text, size_t n, bool *found,
                            gguf_error *err) {
    int result = pcre2_match(p->code, (PCRE2_SPTR)text, n, 0, 0, p->match, p->limits);
    *found = result >= 0;
    if (*found || result == PCRE2_ERROR_NOMATCH) return GGUF_OK;
    if (result == PCRE2_ERROR_NOMEMORY) return gguf_fail_memory(err);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "%s: '%s' takes more than %d steps on '%.*s'", p->label, p->text, MAX_STEPS,
                     (int)(n < 128 ? n : 128), text);
}
