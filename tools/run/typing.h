/* What is typed while an answer is shown: not echoed, and kept for the next line. */
#ifndef TOOLS_RUN_TYPING_H
#define TOOLS_RUN_TYPING_H

#include <stdbool.h>

/* The terminal of standard input as it is now is what typing_restore goes back to.
 *   edits  lines are read key by key, so that keys are kept as they come; otherwise in lines */
void typing_start(bool edits);

/* Hide what is typed from now on, or show it again. Nothing happens before typing_start, and to a
 * terminal of which this program is not in the foreground. */
void typing_hide(bool hidden);

/* For handlers of signals: the terminal as it was, and again as the last typing_hide wanted it. */
void typing_restore(void);
void typing_apply(void);

#endif
