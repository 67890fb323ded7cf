/* One epoll for the sockets of all connections. Events carry place and serial number, so that a
 * late one finds nobody. */
#include "tools/serve/watcher.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_PLACES 4096
#define TICK_MS  500

typedef struct place {
    bool taken, ended; /* by a connection, whose client has ended its half */
    exchange *x;       /* at work, or NULL */
    int fd;
    uint32_t serial;
} place;

struct watcher {
    int epoll;
    pthread_t thread;
    pthread_mutex_t lock;
    place places[N_PLACES];
    atomic_bool stop;
};

/* The client of a connection has ended its half. With a reference to its exchange, or NULL. */
static exchange *end_half(watcher *w, uint64_t key) {
    exchange *x = NULL;
    pthread_mutex_lock(&w->lock);
    place *p = &w->places[key % N_PLACES];
    if (p->taken && p->serial == key / N_PLACES) {
        p->ended = true;
        if (p->x) exchange_ref(x = p->x);
    }
    pthread_mutex_unlock(&w->lock);
    return x;
}

/* libmicrohttpd does not notice an end that came together with data, and would wait: it is told
 * again while nothing is at work. */
static void tend_all(watcher *w) {
    for (size_t i = 0; i < N_PLACES; i++) {
        exchange *x = NULL;
        pthread_mutex_lock(&w->lock);
        place *p = &w->places[i];
        if (p->x)
            exchange_ref(x = p->x);
        else if (p->ended)
            shutdown(p->fd, SHUT_RD);
        pthread_mutex_unlock(&w->lock);
        if (!x) continue;
        exchange_ping(x, tool_now_s());
        exchange_unref(x);
    }
}

static void *run(void *ctx) {
    watcher *w = ctx;
    struct epoll_event events[64];
    double tended_s = tool_now_s();
    while (!atomic_load(&w->stop)) {
        int n = epoll_wait(w->epoll, events, 64, TICK_MS);
        for (int i = 0; i < n; i++) {
            exchange *x = end_half(w, events[i].data.u64);
            if (!x) continue;
            exchange_gone(x);
            exchange_unref(x);
        }
        if (tool_now_s() - tended_s < 1) continue;
        tend_all(w);
        tended_s = tool_now_s();
    }
    return NULL;
}

gguf_code watcher_new(watcher **out, gguf_error *err) {
    watcher *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return gguf_fail_memory(err);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_init(&w->lock, NULL);
    if (w->epoll < 0 || pthread_create(&w->thread, NULL, run, w)) {
        if (w->epoll >= 0) close(w->epoll);
        free(w);
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "cannot watch connections");
    }
    *out = w;
    return GGUF_OK;
}

void watcher_free(watcher *w) {
    if (!w) return;
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
    close(w->epoll);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static size_t find_place(const watcher *w) {
    for (size_t i = 0; i < N_PLACES; i++)
        if (!w->places[i].taken) return i;
    return WATCHER_NONE;
}

size_t watcher_open(watcher *w, int socket) {
    int fd = dup(socket);
    if (fd < 0) return WATCHER_NONE;
    pthread_mutex_lock(&w->lock);
    size_t at = find_place(w);
    bool added = false;
    if (at != WATCHER_NONE) {
        place *p = &w->places[at];
        *p = (place){.fd = fd, .serial = p->serial + 1};
        struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT,
                                    .data.u64 = (uint64_t)p->serial * N_PLACES + at};
        added = p->taken = epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
    }
    pthread_mutex_unlock(&w->lock);
    if (added) return at;
    close(fd);
    return WATCHER_NONE;
}

void watcher_close(watcher *w, size_t at) {
    if (at == WATCHER_NONE) return;
    pthread_mutex_lock(&w->lock);
    place *p = &w->places[at];
    epoll_ctl(w->epoll, EPOLL_CTL_DEL, p->fd, NULL);
    close(p->fd);
    p->taken = p->ended = false;
    pthread_mutex_unlock(&w->lock);
}

void watcher_attach(watcher *w, size_t at, exchange *x) {
    if (at == WATCHER_NONE) return;
    pthread_mutex_lock(&w->lock);
    bool ended = w->places[at].ended;
    w->places[at].x = x;
    pthread_mutex_unlock(&w->lock);
    if (ended) exchange_gone(x);
}

void watcher_detach(watcher *w, size_t at) {
    if (at == WATCHER_NONE) return;
    pthread_mutex_lock(&w->lock);
    w->places[at].x = NULL;
    pthread_mutex_unlock(&w->lock);
}
