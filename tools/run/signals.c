/* The handlers, and the pipe by which they wake up a wait. */
#include "tools/run/signals.h"
#include "tools/common/tool.h"
#include "tools/run/typing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

atomic_bool signals_interrupted;
static atomic_bool resized, continued;
static atomic_int n_untaken;
static int wake[2] = {-1, -1};

static void on_signal(int number) {
    int saved = errno;
    if (number == SIGINT && atomic_fetch_add(&n_untaken, 1) >= 2) {
        typing_restore();
        _exit(130);
    }
    bool ends = number == SIGTERM || number == SIGHUP;
    if (ends) atomic_store(&tool_cancelled, true);
    if (ends || number == SIGINT) atomic_store(&signals_interrupted, true);
    if (number == SIGWINCH) atomic_store(&resized, true);
    if (number == SIGCONT) {
        typing_apply();
        atomic_store(&continued, true);
    }
    ssize_t n = write(wake[1], "", 1);
    (void)n; /* a full pipe wakes up too */
    errno = saved;
}

/* Ctrl-Z and Ctrl-\\ do what they do, with the terminal as it was. */
static void on_stop(int number) {
    int saved = errno;
    struct sigaction usual = {.sa_handler = SIG_DFL}, own;
    sigset_t set;
    typing_restore();
    sigaction(number, &usual, &own);
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sigaction(number, &own, NULL);
    on_signal(SIGCONT); /* also where the system stopped nobody: there is no shell to go on */
    errno = saved;
}

/* What is ignored, by nohup or a shell without jobs, stays so. */
static void handle_stop(int number) {
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART}, before = {0};
    sigaction(number, NULL, &before);
    if (before.sa_handler == SIG_DFL) sigaction(number, &action, NULL);
}

bool signals_start(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK)) return false;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction before = {0};
        sigaction(numbers[i], NULL, &before);
        bool ignored = numbers[i] == SIGHUP && before.sa_handler == SIG_IGN; /* by nohup */
        if (!ignored) sigaction(numbers[i], &action, NULL);
    }
    handle_stop(SIGTSTP);
    handle_stop(SIGQUIT);
    return true;
}

bool signals_take(void) {
    atomic_store(&n_untaken, 0);
    return atomic_exchange(&signals_interrupted, false);
}

bool signals_resized(void) {
    return atomic_exchange(&resized, false);
}

bool signals_continued(void) {
    return atomic_exchange(&continued, false);
}

int signals_wait(int fd) {
    struct pollfd files[] = {{.fd = fd, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
    char bytes[64];
    while (poll(files, 2, -1) < 0)
        if (errno != EINTR) return -1;
    if (!files[1].revents) return 1;
    while (read(wake[0], bytes, sizeof bytes) > 0) {
    }
    return 0;
}
