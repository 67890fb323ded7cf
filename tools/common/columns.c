/* The terminal's width, and text broken to fit it. */
#include "tools/common/columns.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

unsigned tool_columns(void) {
    static unsigned columns;
    static int known;
    struct winsize size = {0};
    if (known) return columns;
    known = 1;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        columns = size.ws_col;
    return columns;
}

static size_t width_of(const char *text, size_t n) {
    size_t width = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\033')
            while (i + 1 < n && text[i] != 'm') i++;
        else
            width += (text[i] & 0xC0) != 0x80;
    }
    return width;
}

size_t tool_width(const char *text) {
    return width_of(text, strlen(text));
}

size_t tool_print_words(FILE *out, const char *text, size_t at, size_t indent, size_t columns) {
    for (const char *word = text; *word;) {
        size_t n_spaces = strspn(word, " ");
        size_t n = strcspn(word + n_spaces, " ");
        size_t width = width_of(word + n_spaces, n);
        if (columns && at + n_spaces + width > columns && at > indent) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else {
            fprintf(out, "%*s", (int)n_spaces, "");
            at += n_spaces;
        }
        fwrite(word + n_spaces, 1, n, out);
        at += width;
        word += n_spaces + n;
    }
    return at;
}
