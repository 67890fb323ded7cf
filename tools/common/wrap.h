/* Text that streams to a terminal, broken between words: a word that does not fit its line is taken
 * back and written again in the next one. */
#ifndef TOOLS_COMMON_WRAP_H
#define TOOLS_COMMON_WRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define WRAP_WORD_BYTES 256 /* a longer word stays where it began */

typedef struct wrap {
    FILE *out;
    int terminal;    /* a descriptor; -1: `width` stays as it is */
    unsigned width;  /* columns of the line; 0: nothing is broken */
    unsigned column; /* where the cursor is */
    char word[WRAP_WORD_BYTES];
    size_t n_word; /* bytes of the word in front of the cursor, */
    unsigned word_columns;
    bool word_fixed; /* which fills its line, or is too long */
    bool line_full;  /* a space was left out at the end of the line */
    /* Between lines that begin with three of these all lines stay as they are. */
    char fence;
    unsigned n_fence, n_indent;
    bool in_text, in_code, is_fence;
} wrap;

/* The cursor is at the start of a line of `out`.
 *   terminal  asked for its width at the start of every line */
void wrap_begin(wrap *w, FILE *out, int terminal);

/* Write one character, of n bytes in UTF-8; control characters but \n and \t are not for this. */
void wrap_put(wrap *w, const char *bytes, size_t n);

/* Columns that a character in UTF-8 takes on a terminal: 0, 1 or 2. */
unsigned wrap_columns(const char *bytes, size_t n);

#endif
