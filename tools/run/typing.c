/* Settings of the terminal during an answer. */
#include "tools/run/typing.h"

#include <signal.h>
#include <stdatomic.h>
#include <termios.h>
#include <unistd.h>

static struct termios shown, hidden; /* constant once `started` is set */
static atomic_bool started, is_hidden;

/* From the background it would stop the program, or change the terminal of others. */
static void set(const struct termios *settings) {
    if (atomic_load(&started) && tcgetpgrp(STDIN_FILENO) == getpgrp())
        tcsetattr(STDIN_FILENO, TCSANOW, settings);
}

void typing_start(bool edits) {
    if (tcgetattr(STDIN_FILENO, &shown)) return;
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (edits) {
        hidden.c_lflag &= ~(tcflag_t)ICANON;
        hidden.c_cc[VMIN] = 1;
        hidden.c_cc[VTIME] = 0;
    }
    atomic_store(&started, true);
}

void typing_hide(bool on) {
    atomic_store(&is_hidden, on);
    set(on ? &hidden : &shown);
}

void typing_restore(void) {
    set(&shown);
}

void typing_apply(void) {
    if (atomic_load(&is_hidden)) set(&hidden);
}
