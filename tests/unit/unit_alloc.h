/* Counting and failing allocations in a test program. The program is linked with --wrap for every
 * function that is wrapped here (tests/unit/CMakeLists.txt); jansson asks through its own hook.
 * What libyaml and PCRE2 allocate inside fails as a whole call. Include it in one file of a
 * program. */
#ifndef TESTS_UNIT_UNIT_ALLOC_H
#define TESTS_UNIT_UNIT_ALLOC_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <pcre2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct unit_allocs {
    size_t n;       /* allocations since the start */
    size_t fail_at; /* this one fails, counted from 1; 0 = none */
    bool and_after; /* and all behind it */
    bool failed;
    bool in_json;           /* jansson parses */
    size_t largest;         /* bytes of the largest request */
    long long in_use, peak; /* bytes */
} unit_allocs;

static unit_allocs unit_alloc;

static inline void unit_alloc_start(size_t fail_at, bool and_after) {
    unit_alloc = (unit_allocs){.fail_at = fail_at, .and_after = and_after};
}

/* Whether this allocation shall fail. */
static inline bool unit_alloc_fails(size_t n_bytes) {
    unit_alloc.n++;
    if (n_bytes > unit_alloc.largest) unit_alloc.largest = n_bytes;
    bool fails = unit_alloc.fail_at && (unit_alloc.and_after ? unit_alloc.n >= unit_alloc.fail_at
                                                             : unit_alloc.n == unit_alloc.fail_at);
    unit_alloc.failed |= fails;
    return fails;
}

static inline void *unit_alloc_note(void *p) {
    if (p) unit_alloc.in_use += (long long)malloc_usable_size(p);
    if (unit_alloc.in_use > unit_alloc.peak) unit_alloc.peak = unit_alloc.in_use;
    return p;
}

static inline void unit_alloc_forget(void *p) {
    if (p) unit_alloc.in_use -= (long long)malloc_usable_size(p);
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
char *__real_realpath(const char *path, char *out);
int __real_yaml_parser_initialize(yaml_parser_t *parser);
int __real_yaml_parser_parse(yaml_parser_t *parser, yaml_event_t *event);
pcre2_code *__real_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE len, uint32_t options, int *code,
                                   PCRE2_SIZE *off, pcre2_compile_context *context);
json_t *__real_json_loadb(const char *text, size_t n, size_t flags, json_error_t *err);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_vasprintf(char **out, const char *format, va_list args);
int __wrap_asprintf(char **out, const char *format, ...);
char *__wrap_realpath(const char *path, char *out);
int __wrap_yaml_parser_initialize(yaml_parser_t *parser);
int __wrap_yaml_parser_parse(yaml_parser_t *parser, yaml_event_t *event);
pcre2_code *__wrap_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE len, uint32_t options, int *code,
                                   PCRE2_SIZE *off, pcre2_compile_context *context);
json_t *__wrap_json_loadb(const char *text, size_t n, size_t flags, json_error_t *err);

void *__wrap_malloc(size_t n) {
    return unit_alloc_fails(n) ? NULL : unit_alloc_note(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size) {
    return unit_alloc_fails(n * size) ? NULL : unit_alloc_note(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n) {
    if (unit_alloc_fails(n)) return NULL;
    unit_alloc_forget(p);
    return unit_alloc_note(__real_realloc(p, n));
}

void __wrap_free(void *p) {
    unit_alloc_forget(p);
    __real_free(p);
}

char *__wrap_strndup(const char *text, size_t n) {
    size_t len = strnlen(text, n);
    char *copy = __wrap_malloc(len + 1);
    if (!copy) return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *__wrap_strdup(const char *text) {
    return __wrap_strndup(text, strlen(text));
}

int __wrap_vasprintf(char **out, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0 || !(*out = __wrap_malloc((size_t)n + 1))) return -1;
    return vsnprintf(*out, (size_t)n + 1, format, args);
}

int __wrap_asprintf(char **out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = __wrap_vasprintf(out, format, args);
    va_end(args);
    return n;
}

char *__wrap_realpath(const char *path, char *out) {
    if (!unit_alloc_fails(4096)) return unit_alloc_note(__real_realpath(path, out));
    errno = ENOMEM;
    return NULL;
}

int __wrap_yaml_parser_initialize(yaml_parser_t *parser) {
    return unit_alloc_fails(0) ? 0 : __real_yaml_parser_initialize(parser);
}

int __wrap_yaml_parser_parse(yaml_parser_t *parser, yaml_event_t *event) {
    if (!unit_alloc_fails(0)) return __real_yaml_parser_parse(parser, event);
    memset(event, 0, sizeof *event);
    parser->error = YAML_MEMORY_ERROR;
    return 0;
}

pcre2_code *__wrap_pcre2_compile_8(PCRE2_SPTR pattern, PCRE2_SIZE len, uint32_t options, int *code,
                                   PCRE2_SIZE *off, pcre2_compile_context *context) {
    if (!unit_alloc_fails(0))
        return __real_pcre2_compile_8(pattern, len, options, code, off, context);
    *code = PCRE2_ERROR_HEAP_FAILED;
    *off = 0;
    return NULL;
}

/* The parser of jansson 2.14 itself breaks where its buffer cannot grow, so that inside it nothing
 * fails; the whole call does. */
static inline void *unit_alloc_json(size_t n) {
    return unit_alloc.in_json ? unit_alloc_note(__real_malloc(n)) : __wrap_malloc(n);
}

json_t *__wrap_json_loadb(const char *text, size_t n, size_t flags, json_error_t *err) {
    if (unit_alloc_fails(0)) {
        memset(err, 0, sizeof *err);
        return NULL;
    }
    unit_alloc.in_json = true;
    json_t *root = __real_json_loadb(text, n, flags, err);
    unit_alloc.in_json = false;
    return root;
}

static inline void unit_alloc_hook_json(void) {
    json_set_alloc_funcs(unit_alloc_json, __wrap_free);
}

#endif
