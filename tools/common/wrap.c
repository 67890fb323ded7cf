/* Words, lines, fences. */
#include "tools/common/wrap.h"

#include <locale.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>

#define LEAST_WIDTH 16 /* narrower ones are left to the terminal */

unsigned wrap_columns(const char *bytes, size_t n) {
    static locale_t utf8;
    wchar_t c;
    mbstate_t state = {0};
    if (n == 1) return 1;
    if (!utf8) utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!utf8) return 1;
    locale_t before = uselocale(utf8);
    int columns = mbrtowc(&c, bytes, n, &state) == n ? wcwidth(c) : 1;
    uselocale(before);
    return columns < 0 ? 1 : (unsigned)columns;
}

static void end_word(wrap *w) {
    w->n_word = w->word_columns = 0;
    w->word_fixed = false;
}

static void start_line(wrap *w) {
    struct winsize size;
    end_word(w);
    w->column = 0;
    w->line_full = false;
    if (w->terminal >= 0)
        w->width = ioctl(w->terminal, TIOCGWINSZ, &size) == 0 && size.ws_col >= LEAST_WIDTH
                       ? size.ws_col
                       : 0;
}

static void start_text_line(wrap *w) {
    if (w->is_fence) w->in_code = !w->in_code;
    w->is_fence = w->in_text = false;
    w->n_fence = w->n_indent = 0;
}

void wrap_begin(wrap *w, FILE *out, int terminal) {
    *w = (wrap){.out = out, .terminal = terminal, .width = w->width};
    start_line(w);
}

/* Whether the line that this character belongs to is a fence, as far as can be seen. */
static void look_for_fence(wrap *w, char c) {
    if (w->in_text || w->is_fence) return;
    if (c == ' ' && !w->n_fence && w->n_indent < 3) {
        w->n_indent++;
    } else if ((c == '`' || c == '~') && (w->n_fence == 0 || c == w->fence) &&
               (!w->in_code || c == w->fence)) {
        w->fence = c;
        w->is_fence = ++w->n_fence == 3;
    } else {
        w->in_text = true;
    }
}

/* The word in front of the cursor moves to the next line, if there is one and it did not begin
 * this line. */
static void break_line(wrap *w) {
    char word[WRAP_WORD_BYTES];
    size_t n = w->word_fixed ? 0 : w->n_word;
    unsigned columns = n ? w->word_columns : 0;
    memcpy(word, w->word, n);
    if (columns) fprintf(w->out, "\033[%uD\033[K", columns);
    putc('\n', w->out);
    start_line(w);
    fwrite(word, 1, n, w->out);
    memcpy(w->word, word, n);
    w->n_word = n;
    w->word_columns = w->column = columns;
}

static void add_to_word(wrap *w, const char *bytes, size_t n, unsigned columns) {
    if (w->n_word + n > sizeof w->word) w->word_fixed = true;
    if (w->word_fixed) return;
    memcpy(w->word + w->n_word, bytes, n);
    w->n_word += n;
    w->word_columns += columns;
}

static void put_space(wrap *w, const char *bytes, unsigned columns) {
    end_word(w);
    if (w->column + columns >= w->width) {
        w->line_full = true;
        return;
    }
    putc(*bytes, w->out);
    w->column += columns;
}

/* The last column stays free: a terminal's cursor behind it is not where it seems to be. */
static void put_visible(wrap *w, const char *bytes, size_t n, unsigned columns) {
    if (w->line_full) break_line(w);
    if (columns == 2) end_word(w); /* lines may break before and behind wide characters */
    if (w->column + columns >= w->width && !w->word_fixed) {
        if (w->word_columns == w->column && w->column)
            w->word_fixed = true; /* the line's only word: the terminal breaks it */
        else
            break_line(w);
    }
    fwrite(bytes, 1, n, w->out);
    w->column += columns;
    if (w->column > w->width) w->column = columns;
    if (columns == 2)
        end_word(w);
    else
        add_to_word(w, bytes, n, columns);
}

void wrap_put(wrap *w, const char *bytes, size_t n) {
    if (n == 1 && *bytes == '\n') {
        putc('\n', w->out);
        start_line(w);
        start_text_line(w);
        return;
    }
    look_for_fence(w, *bytes);
    if (!w->width || w->in_code || w->is_fence) {
        fwrite(bytes, 1, n, w->out);
        return;
    }
    if (n == 1 && (*bytes == ' ' || *bytes == '\t'))
        put_space(w, bytes, *bytes == ' ' ? 1 : 8 - w->column % 8);
    else
        put_visible(w, bytes, n, wrap_columns(bytes, n));
}
