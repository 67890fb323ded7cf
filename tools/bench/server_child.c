/* Starting gguf-serve beside this program, and ending it. */
#include "tools/bench/server_child.h"

#include "tools/common/beside.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void become_server(const tool *t, const char *model, uint32_t n_users, int out) {
    char path[4096], threads[16], users[16];
    const char *args[12] = {"gguf-serve", model, "--port", "0", "-q", "--parallel", users};
    size_t n = 7;
    snprintf(users, sizeof users, "%u", (unsigned)n_users);
    snprintf(threads, sizeof threads, "%u", t->n_threads);
    if (t->log_json) args[n++] = "--log-json";
    if (t->n_threads) args[n++] = "-t", args[n++] = threads;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    setpgid(0, 0); /* Ctrl-C ends the measurement, and that ends the server */
    if (tool_path_beside("gguf-serve", path, sizeof path) && dup2(out, STDOUT_FILENO) >= 0)
        execv(path, (char *const *)(void *)args);
    _exit(127);
}

/* "listening on URL" */
static bool take_line(server_child *s, const char *line) {
    const char *url = strstr(line, "http");
    const char *end = url ? strpbrk(url, " \n") : NULL;
    if (!end || strncmp(line, "listening on ", 13) != 0) return false;
    while (end > url && end[-1] == '/') end--;
    snprintf(s->url, sizeof s->url, "%.*s", (int)(end - url), url);
    return true;
}

/* Its message stands on stderr already; its exit status becomes ours. */
static gguf_code fail_ended(server_child *s, gguf_error *err) {
    static const gguf_code codes[] = {
        [3] = GGUF_E_IO, [4] = GGUF_E_FORMAT, [5] = GGUF_E_UNSUPPORTED, [6] = GGUF_E_NOMEM};
    int status = 0;
    while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR) continue;
    s->pid = 0;
    size_t exited = WIFEXITED(status) ? (size_t)WEXITSTATUS(status) : 0;
    gguf_code code = exited < sizeof codes / sizeof codes[0] ? codes[exited] : GGUF_OK;
    return gguf_fail(err, code ? code : GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                     "gguf-serve did not start");
}

static gguf_code wait_ready(server_child *s, int in, gguf_error *err) {
    char line[512];
    size_t n = 0;
    while (n + 1 < sizeof line) {
        struct pollfd wait = {.fd = in, .events = POLLIN};
        if (atomic_load(&tool_cancelled))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        if (poll(&wait, 1, 200) <= 0) continue;
        ssize_t got = read(in, line + n, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n++;
        line[n] = 0;
        if (line[n - 1] != '\n') continue;
        if (take_line(s, line)) return GGUF_OK;
        n = 0;
    }
    return fail_ended(s, err);
}

gguf_code server_child_start(server_child *s, const tool *t, const char *model, uint32_t n_users,
                             gguf_error *err) {
    int fds[2];
    if (pipe(fds) != 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "no pipe: %s", strerror(errno));
    fflush(stdout);
    s->pid = fork();
    if (s->pid == 0) {
        close(fds[0]);
        become_server(t, model, n_users, fds[1]);
    }
    close(fds[1]);
    gguf_code code = s->pid > 0 ? wait_ready(s, fds[0], err)
                                : gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "no process: %s",
                                            strerror(errno));
    close(fds[0]);
    return code;
}

void server_child_stop(server_child *s) {
    if (s->pid <= 0) return;
    kill(s->pid, SIGTERM);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    s->pid = 0;
}
