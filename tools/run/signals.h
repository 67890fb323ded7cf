/* Signals during a chat: they set flags, and wake up whoever waits for input. */
#ifndef TOOLS_RUN_SIGNALS_H
#define TOOLS_RUN_SIGNALS_H

#include <stdatomic.h>
#include <stdbool.h>

/* Set by SIGINT and SIGTERM: the answer ends. */
extern atomic_bool signals_interrupted;

/* From now on SIGINT sets the flag alone; SIGTERM sets tool_cancelled too. A third SIGINT that
 * nobody took ends the program. False: no pipe could be made. */
bool signals_start(void);

/* Clear the flag; returns what it was. */
bool signals_take(void);

/* The window has another size, or the program goes on after a stop, since the last call. */
bool signals_resized(void);
bool signals_continued(void);

/* Wait until the file can be read (1) or a signal came (0); -1 neither is possible. */
int signals_wait(int fd);

#endif
