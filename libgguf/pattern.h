/* Regular expressions that users write: Perl-compatible (PCRE2), with bounds on steps and memory.
 */
#ifndef LIBGGUF_PATTERN_H
#define LIBGGUF_PATTERN_H

#include "libgguf/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct gguf_pattern gguf_pattern;

/* Compile an expression; it may be found anywhere in a text unless it has anchors.
 *   label     what errors call it, e.g. "--tensor"; copied
 *   any_case  capital and small letters are the same
 * Errors: GGUF_E_USAGE with the column of what is wrong, GGUF_E_NOMEM. */
gguf_code gguf_pattern_new(const char *label, const char *text, bool any_case, gguf_pattern **out,
                           gguf_error *err);
void gguf_pattern_free(gguf_pattern *pattern); /* accepts NULL */

/* Whether `n` bytes of text hold it. Errors: GGUF_E_USAGE where that takes more steps than the
 * limit (docs/limits.md), GGUF_E_NOMEM; *found is false then. Threads: one at a time. */
gguf_code gguf_pattern_find(const gguf_pattern *pattern, const char *text, size_t n, bool *found,
                            gguf_error *err);

#endif
