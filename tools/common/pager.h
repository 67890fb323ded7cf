/* Long output and colour, only on a terminal. */
#ifndef TOOLS_COMMON_PAGER_H
#define TOOLS_COMMON_PAGER_H

#include <stdbool.h>

typedef enum tool_style {
    TOOL_PLAIN,
    TOOL_BOLD,
    TOOL_DIM,
    TOOL_RED,
    TOOL_GREEN,
    TOOL_CYAN
} tool_style;

/* Send what follows on stdout through $PAGER (less -RF if unset) when stdout is a terminal; without
 * one, nothing happens. Before the first output. */
void tool_page(void);
/* Wait until the reader has left the pager; false if there was none. Called by tool_end. */
bool tool_page_end(void);

/* The escape sequence that starts a style, "" where output is not coloured (no terminal, NO_COLOR,
 * TERM=dumb). TOOL_PLAIN ends a style. */
const char *tool_style_text(tool_style style);

#endif
