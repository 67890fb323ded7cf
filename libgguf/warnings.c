/* Lists of warnings. */
#include "libgguf/warnings.h"

#include <stdio.h>
#include <stdlib.h>

void gguf_warnings_take(char ***list, size_t *n, char *text) {
    char **grown = realloc(*list, (*n + 1) * sizeof **list);
    if (!grown) {
        free(text);
        return;
    }
    *list = grown;
    grown[(*n)++] = text;
}

void gguf_warnings_add(char ***list, size_t *n, const char *format, va_list args) {
    char *text = NULL;
    if (vasprintf(&text, format, args) >= 0) gguf_warnings_take(list, n, text);
}
