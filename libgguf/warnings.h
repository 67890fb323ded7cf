/* Lists of warnings, as readers gather them. */
#ifndef GGUF_WARNINGS_H
#define GGUF_WARNINGS_H

#include <stdarg.h>
#include <stddef.h>

/* Append to *list, which has *n texts, each and the list itself malloc'ed. Without memory for it a
 * warning is lost. */
void gguf_warnings_add(char ***list, size_t *n, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
/* The same with a malloc'ed text, which is taken. */
void gguf_warnings_take(char ***list, size_t *n, char *text);

#endif
