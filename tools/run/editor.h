/* Editing a line on a terminal, with history: libedit behind a narrow door. */
#ifndef TOOLS_RUN_EDITOR_H
#define TOOLS_RUN_EDITOR_H

#include "tools/run/input.h"

typedef struct editor editor;

/* NULL where libedit was not built in, or the terminal cannot be edited on. Arguments as for
 * input_open; bytes come from `in`. */
editor *editor_open(input *in, const char *history, const char *const *commands);
void editor_close(editor *e); /* accepts NULL */

/* Append a line to `out`, as UTF-8 and without its end.
 *   typing  set at INPUT_INTERRUPTED: the line was not empty */
input_status editor_line(editor *e, const char *prompt, gguf_dynbuf *out, bool *typing);

/* Put a message into the history, and at the end of its file. */
void editor_remember(editor *e, const char *message);

#endif
