/* The pager is a child that reads what we write to stdout. */
#include "tools/common/pager.h"
#include "tools/common/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pager_pid;
static bool on_terminal; /* stdout was one before the pager took its place */

static void exec_pager(const int pipe_ends[2]) {
    const char *pager = getenv("PAGER");
    dup2(pipe_ends[0], STDIN_FILENO);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    setenv("LESS", "RF", 0);
    /* Without the pager's program the text is shown as it is. */
    if (pager && *pager)
        execl("/bin/sh", "sh", "-c", "eval \"$1\"; test $? -ne 127 || exec cat", "sh", pager,
              (char *)NULL);
    execlp("less", "less", "-RF", (char *)NULL);
    execlp("cat", "cat", (char *)NULL);
    _exit(127);
}

void tool_page(void) {
    const char *pager = getenv("PAGER");
    int ends[2];
    if (pager_pid || !isatty(STDOUT_FILENO) || (pager && strcmp(pager, "cat") == 0)) return;
    on_terminal = true;
    tool_columns(); /* known from here on */
    fflush(stdout);
    if (pipe(ends) != 0) return;
    pager_pid = fork();
    if (pager_pid == 0) exec_pager(ends);
    if (pager_pid > 0) dup2(ends[1], STDOUT_FILENO);
    if (pager_pid < 0) pager_pid = 0;
    close(ends[0]);
    close(ends[1]);
}

bool tool_page_end(void) {
    if (!pager_pid) return false;
    fflush(stdout);
    close(STDOUT_FILENO);
    waitpid(pager_pid, NULL, 0);
    pager_pid = 0;
    return true;
}

static bool is_coloured(void) {
    const char *term = getenv("TERM"), *off = getenv("NO_COLOR");
    if ((off && *off) || !term || strcmp(term, "dumb") == 0) return false;
    return on_terminal || isatty(STDOUT_FILENO);
}

const char *tool_style_text(tool_style style) {
    static const char *const codes[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                        "\033[31m", "\033[32m", "\033[36m"};
    static int coloured = -1;
    if (coloured < 0) coloured = is_coloured();
    return coloured ? codes[style] : "";
}
