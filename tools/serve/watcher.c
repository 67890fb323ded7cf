/* One epoll for the sockets of all exchanges at work. Events carry place and serial number, so that
 * a late one finds nobody. */
#include "tools/serve/watcher.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define N_PLACES 4096
#define TICK_MS  500

typedef struct place {
    exchange *x; /* NULL: free */
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

/* With a reference, or NULL. */
static exchange *find(watcher *w, uint64_t key) {
    exchange *x = NULL;
    pthread_mutex_lock(&w->lock);
    const place *p = &w->places[key % N_PLACES];
    if (p->x && p->serial == key / N_PLACES) exchange_ref(x = p->x);
    pthread_mutex_unlock(&w->lock);
    return x;
}

static void ping_all(watcher *w) {
    for (size_t i = 0; i < N_PLACES; i++) {
        exchange *x = NULL;
        pthread_mutex_lock(&w->lock);
        if (w->places[i].x) exchange_ref(x = w->places[i].x);
        pthread_mutex_unlock(&w->lock);
        if (!x) continue;
        exchange_ping(x, tool_now_s());
        exchange_unref(x);
    }
}

static void *run(void *ctx) {
    watcher *w = ctx;
    struct epoll_event events[64];
    double pinged_s = tool_now_s();
    while (!atomic_load(&w->stop)) {
        int n = epoll_wait(w->epoll, events, 64, TICK_MS);
        for (int i = 0; i < n; i++) {
            exchange *x = find(w, events[i].data.u64);
            if (!x) continue;
            exchange_gone(x);
            exchange_unref(x);
        }
        if (tool_now_s() - pinged_s < 1) continue;
        ping_all(w);
        pinged_s = tool_now_s();
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

static size_t take_place(watcher *w, exchange *x, int fd) {
    for (size_t i = 0; i < N_PLACES; i++) {
        place *p = &w->places[i];
        if (p->x) continue;
        *p = (place){.x = x, .fd = fd, .serial = p->serial + 1};
        return i;
    }
    return SIZE_MAX;
}

void watcher_add(watcher *w, exchange *x) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int fd = info ? dup(info->connect_fd) : -1;
    if (fd < 0) return;
    pthread_mutex_lock(&w->lock);
    x->watch = take_place(w, x, fd);
    /* A client that ends its half counts as gone. */
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT};
    if (x->watch != SIZE_MAX)
        event.data.u64 = (uint64_t)w->places[x->watch].serial * N_PLACES + x->watch;
    bool added = x->watch != SIZE_MAX && epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
    if (!added) {
        if (x->watch != SIZE_MAX) w->places[x->watch].x = NULL;
        x->watch = SIZE_MAX;
        close(fd);
    }
    pthread_mutex_unlock(&w->lock);
}

void watcher_remove(watcher *w, exchange *x) {
    pthread_mutex_lock(&w->lock);
    if (x->watch != SIZE_MAX) {
        place *p = &w->places[x->watch];
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, p->fd, NULL);
        close(p->fd);
        p->x = NULL;
        x->watch = SIZE_MAX;
    }
    pthread_mutex_unlock(&w->lock);
}
