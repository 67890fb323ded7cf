/* Lines no wider than the terminal. */
#ifndef TOOLS_COMMON_COLUMNS_H
#define TOOLS_COMMON_COLUMNS_H

#include <stddef.h>
#include <stdio.h>

#define TOOL_HELP_COLUMNS 80

/* Characters in a line of the terminal that stdout is, or was before a pager took its place; 0
 * where it is none. */
unsigned tool_columns(void);

/* Characters on a screen, not bytes; terminal sequences (ESC [ ... m) take no room. */
size_t tool_width(const char *text);

/* Print words so that no line gets wider than `columns` if its words are not; 0 = no limit.
 *   at      column where the first word goes
 *   indent  column where further lines begin
 * Returns the column behind the last word. */
size_t tool_print_words(FILE *out, const char *text, size_t at, size_t indent, size_t columns);

#endif
