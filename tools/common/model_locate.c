/* Asking gguf-pull where a model lies. */
#include "tools/common/model_locate.h"

#include "libgguf/dynbuf.h"
#include "libgguf/inputs.h"
#include "runtime/pull/model_name.h"
#include "tools/common/beside.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ANSWER_BYTES (16u << 20)

static void become_pull(const tool *t, const char *name, bool headers, int out) {
    char path[4096], threads[16];
    const char *args[14] = {"gguf-pull", "--json", "--if-missing", "--progress",
                            t->show_progress ? "always" : "never"};
    size_t n = 5;
    snprintf(threads, sizeof threads, "%u", t->n_threads);
    if (headers) args[n++] = "--headers";
    if (t->quiet) args[n++] = "-q";
    if (t->log_json) args[n++] = "--log-json";
    if (t->n_threads) args[n++] = "-t", args[n++] = threads;
    args[n++] = "--";
    args[n++] = name;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (tool_path_beside("gguf-pull", path, sizeof path) && dup2(out, STDOUT_FILENO) >= 0)
        execv(path, (char *const *)(void *)args);
    _exit(127);
}

static void read_answer(int in, gguf_dynbuf *answer) {
    char bytes[4096];
    for (;;) {
        ssize_t n = read(in, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        gguf_dynbuf_put(answer, bytes, (size_t)n);
    }
    gguf_dynbuf_put(answer, "", 1);
}

/* Its own message stands on stderr, and with --json its document becomes ours. */
static gguf_code take_failure(const tool *t, int status, const gguf_dynbuf *answer,
                              gguf_error *err) {
    static const gguf_code codes[] = {
        [1] = GGUF_E_CHECK,  [2] = GGUF_E_USAGE,       [3] = GGUF_E_IO,
        [4] = GGUF_E_FORMAT, [5] = GGUF_E_UNSUPPORTED, [6] = GGUF_E_NOSPACE};
    int exited = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (exited == 127)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "gguf-pull, which finds models by their names, is not installed");
    if (exited == 130 || exited < 0) return GGUF_E_CANCELLED;
    if (t->json) fputs((const char *)answer->data, stdout);
    return exited > 0 && exited < 7 ? codes[exited] : GGUF_E_IO;
}

static gguf_code take_path(const gguf_dynbuf *answer, char **arg, gguf_error *err) {
    json_t *root = json_loads((const char *)answer->data, 0, NULL);
    const char *path = json_string_value(json_object_get(root, "path"));
    char *copy = path ? strdup(path) : NULL;
    json_decref(root);
    if (!copy)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "gguf-pull did not say where '%s' is", *arg);
    gguf_inputs_add(copy);
    *arg = copy;
    return GGUF_OK;
}

gguf_code model_locate(const tool *t, char **arg, bool headers, gguf_error *err) {
    rt_name name;
    gguf_dynbuf answer;
    int fds[2], status = 0;
    gguf_code code = rt_name_parse(*arg, &name, err);
    if (code || name.kind == RT_NAME_PATH) return code;
    if (pipe(fds) != 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "no pipe: %s", strerror(errno));
    gguf_dynbuf_init(&answer, MAX_ANSWER_BYTES);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        become_pull(t, *arg, headers, fds[1]);
    }
    close(fds[1]);
    if (pid > 0) {
        read_answer(fds[0], &answer);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
        if (answer.code)
            code = gguf_fail_memory(err);
        else
            code = status ? take_failure(t, status, &answer, err) : take_path(&answer, arg, err);
    } else {
        code = gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "no process: %s", strerror(errno));
    }
    close(fds[0]);
    gguf_dynbuf_clear(&answer);
    return code;
}
