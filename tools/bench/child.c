/* A child process and the pipe that brings its result back. */
#include "tools/bench/child.h"
#include "tools/common/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static bool write_all(int fd, const void *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t step = write(fd, (const char *)bytes + done, n - done);
        if (step < 0 && errno == EINTR) continue;
        if (step <= 0) return false;
        done += (size_t)step;
    }
    return true;
}

/* Reading is interrupted, so that the child hears of a signal that only its parent got. */
static bool read_all(int fd, pid_t child, void *bytes, size_t n) {
    bool told = false;
    for (size_t done = 0; done < n;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (atomic_load(&tool_cancelled) && !told) {
            kill(child, SIGINT);
            told = true;
        }
        if (poll(&wait, 1, 200) <= 0) continue;
        ssize_t step = read(fd, (char *)bytes + done, n - done);
        if (step < 0 && errno == EINTR) continue;
        if (step <= 0) return false;
        done += (size_t)step;
    }
    return true;
}

static void run_child(bench_child_fn fn, void *ctx, void *result, size_t n_bytes, int fd) {
    gguf_error err = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fn(ctx, result, &err);
    bool sent = write_all(fd, &err, sizeof err) && write_all(fd, result, n_bytes);
    _exit(sent ? 0 : 1);
}

gguf_code bench_in_child(bench_child_fn fn, void *ctx, void *result, size_t n_bytes,
                         gguf_error *err) {
    int fds[2], status = 0;
    gguf_error child_err = {0};
    fflush(stdout);
    if (pipe(fds) != 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "no pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        run_child(fn, ctx, result, n_bytes, fds[1]);
    }
    close(fds[1]);
    bool complete = child > 0 && read_all(fds[0], child, &child_err, sizeof child_err) &&
                    read_all(fds[0], child, result, n_bytes);
    close(fds[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!complete && atomic_load(&tool_cancelled))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    if (!complete)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         WIFSIGNALED(status) ? "the measuring process was ended by signal %d"
                                             : "the measuring process ended early (%d)",
                         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (child_err.code && err && !err->code) *err = child_err;
    return child_err.code;
}
