/* Telling files from what stands in their place. */
#include "libgguf/placeholder.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Looked at; NUL-terminated, and text up to its first NUL. */
typedef struct head {
    char text[1024];
    size_t n;
} head;

static head head_of(const void *bytes, size_t n) {
    head h = {.n = n < sizeof h.text - 1 ? n : sizeof h.text - 1};
    if (h.n) memcpy(h.text, bytes, h.n);
    return h;
}

/* Behind a byte order mark and white space. */
static const char *first_word(const head *h) {
    const char *at = h->text;
    if (strncmp(at, "\xEF\xBB\xBF", 3) == 0) at += 3;
    while (isspace((unsigned char)*at)) at++;
    return at;
}

static bool starts_with(const char *text, const char *word) {
    return strncasecmp(text, word, strlen(word)) == 0;
}

static gguf_code check_pointer(const head *h, const char *path, gguf_error *err) {
    const char *size = strstr(h->text, "\nsize ");
    if (strncmp(h->text, "/annex/objects/", 15) == 0)
        return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                         "a git-annex pointer, not the file itself: 'git annex get' fetches it");
    if (strncmp(h->text, "version https://git-lfs.github.com/spec/", 40) != 0) return GGUF_OK;
    uint64_t n_bytes = size ? strtoull(size + 6, NULL, 10) : 0;
    return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                     "a Git LFS pointer, not the file itself: 'git lfs pull' fetches its %" PRIu64
                     " bytes",
                     n_bytes);
}

static gguf_code check_page(const head *h, const char *path, gguf_error *err) {
    const char *word = first_word(h), *title = strcasestr(word, "<title>");
    if (starts_with(word, "<?xml") && strstr(word, "<Error>"))
        return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                         "an error message of a server (XML), not the file: download it again");
    if (!starts_with(word, "<!doctype html") && !starts_with(word, "<html")) return GGUF_OK;
    title = title ? title + 7 : "";
    int n = (int)strcspn(title, "<\r\n");
    return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                     "a web page, not the file%s%.*s%s: download it from the file's own address",
                     n ? " (\"" : "", n < 100 ? n : 100, title, n ? "\")" : "");
}

static bool is_printable(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 && !isspace((unsigned char)text[i])) return false;
    return true;
}

static gguf_code check_message(const head *h, const char *path, gguf_error *err) {
    const char *word = first_word(h);
    size_t n = strcspn(word, "\r\n");
    /* A whole small object. */
    if (*word != '{' || (word[1] != '"' && !isspace((unsigned char)word[1])) || h->n < 12 ||
        h->n == sizeof h->text - 1 || !is_printable(h->text, h->n) ||
        !(strstr(word, "\"error\"") || strstr(word, "\"message\"")))
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                     "an error message of a server (JSON), not the file: %.*s",
                     (int)(n < 200 ? n : 200), word);
}

static gguf_code check_content(const head *h, const char *path, gguf_error *err) {
    size_t n_zeros = 0;
    while (n_zeros < h->n && h->text[n_zeros] == 0) n_zeros++;
    if (h->n == 0) return gguf_fail(err, GGUF_E_TRUNCATED, path, 0, "the file is empty");
    if (h->n <= 64 || n_zeros < h->n) return GGUF_OK;
    return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                     "the file begins with %zu zeros: a download that reserved its space and never "
                     "filled it",
                     n_zeros);
}

gguf_code gguf_placeholder_check(const void *bytes, size_t n, gguf_expected expected,
                                 const char *path, gguf_error *err) {
    const head h = head_of(bytes, n);
    gguf_code code = check_pointer(&h, path, err);
    if (!code && expected >= GGUF_EXPECTED_FIELDS) code = check_page(&h, path, err);
    if (!code && expected >= GGUF_EXPECTED_CONTENT) code = check_content(&h, path, err);
    if (!code && expected >= GGUF_EXPECTED_BINARY) code = check_message(&h, path, err);
    return code;
}
