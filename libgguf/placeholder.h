/* What stands in the place of a file: pointers of Git LFS and git-annex, web pages and error
 * messages that were saved under its name, nothing at all. Readers ask before they complain about a
 * format. */
#ifndef LIBGGUF_PLACEHOLDER_H
#define LIBGGUF_PLACEHOLDER_H

#include "libgguf/error.h"

#include <stddef.h>

/* What the reader expects; each has the checks of those before it. */
typedef enum gguf_expected {
    GGUF_EXPECTED_ANY,     /* any text: pointers */
    GGUF_EXPECTED_FIELDS,  /* JSON, YAML, a template: web pages and a server's XML, too */
    GGUF_EXPECTED_CONTENT, /* it has to hold something: empty files and zeros, too */
    GGUF_EXPECTED_BINARY   /* a server's JSON, too */
} gguf_expected;

/* Errors: GGUF_E_FORMAT it is something else, GGUF_E_TRUNCATED it is empty; the message says what
 * it is and what helps. bytes  the file's beginning, n of them: all, or a few hundred at least */
gguf_code gguf_placeholder_check(const void *bytes, size_t n, gguf_expected expected,
                                 const char *path, gguf_error *err);

#endif
