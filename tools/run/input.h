/* Messages from standard input: with a line editor on a terminal, else line by line. */
#ifndef TOOLS_RUN_INPUT_H
#define TOOLS_RUN_INPUT_H

#include "libgguf/dynbuf.h"

#include <stdbool.h>

typedef struct input input;

typedef enum input_status {
    INPUT_MESSAGE,
    INPUT_END,         /* of the file, or Ctrl-D */
    INPUT_INTERRUPTED, /* Ctrl-C; what was typed is lost */
    INPUT_FAILED       /* out of memory, or more than INPUT_MAX_BYTES */
} input_status;

#define INPUT_MAX_BYTES ((size_t)64 << 20)

/*   terminal  standard input and output are one: prompt, editing where it was built in
 *   history   file for the lines; NULL = none is kept
 *   commands  what Tab completes behind a slash; ends with NULL, kept by the caller
 * NULL: out of memory. */
input *input_open(bool terminal, const char *history, const char *const *commands);
void input_close(input *in); /* accepts NULL */

/* Read a message into `out`, which it replaces. What is typed between two calls is not echoed, and
 * belongs to the next message. A backslash at the end of a line goes on in the
 * next one; lines between three quotes and three quotes are one message. A NUL is behind the end.
 */
input_status input_read(input *in, gguf_dynbuf *out);

/* Whether something was typed before the last INPUT_INTERRUPTED. */
bool input_was_typing(const input *in);

/* For the editor: the next byte, or INPUT_BYTE_END, INPUT_BYTE_SIGNAL. */
#define INPUT_BYTE_END    (-1)
#define INPUT_BYTE_SIGNAL (-2)
int input_byte(input *in);
void input_unread(input *in); /* the last byte again */

#endif
