/* The HTTP server, on libmicrohttpd: one thread per address that waits for sockets; what takes time
 * is done elsewhere while the connection is suspended. */
#include "tools/serve/http.h"

#include "tools/serve/http_checks.h"
#include "tools/serve/listen.h"
#include "tools/serve/metrics.h"
#include "tools/serve/watcher.h"
#include "tools/serve/workers.h"

#include <microhttpd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONNECTIONS 2048u
#define HEADER_BYTES    (64u << 10)
#define CHUNK_BYTES     (16u << 10)
/* Seconds: for the handshake and the header of a new connection, between parts of a body, between
 * requests, and for a reader that takes nothing. */
#define HEADER_TIMEOUT 30u
#define BODY_TIMEOUT   60u
#define IDLE_TIMEOUT   120u
#define READER_TIMEOUT 600u
/* As GnuTLS names them: nothing older than 1.2. */
#define TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* An address; its thread alone counts. */
typedef struct entrance {
    server *s;
    struct MHD_Daemon *daemon;
    size_t n_connections;
} entrance;

struct http {
    server *s;
    listener listeners[SERVER_MAX_NAMES];
    size_t n_listeners;
    entrance entrances[SERVER_MAX_NAMES];
};

void http_suspend(exchange *x) {
    MHD_suspend_connection(x->connection);
}

void http_resume(exchange *x) {
    MHD_resume_connection(x->connection);
}

static void set_timeout(struct MHD_Connection *connection, unsigned seconds) {
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

/* ---- answers ----------------------------------------------------------------------------- */

static ssize_t read_stream(void *ctx, uint64_t pos, char *out, size_t room) {
    (void)pos;
    ssize_t n = exchange_read(ctx, out, room);
    return n < 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

static void free_stream(void *ctx) {
    exchange_unref(ctx);
}

static void add_cors(const exchange *x, struct MHD_Response *r) {
    if (!x->origin[0]) return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", x->origin);
    MHD_add_response_header(r, "Access-Control-Expose-Headers",
                            "x-request-id, request-id, retry-after, x-ggufkit-ignored");
    MHD_add_response_header(r, "Vary", "Origin");
}

static void add_allow(const exchange *x, struct MHD_Response *r) {
    char methods[64];
    size_t n = 0;
    for (const char *c = x->route->methods; *c && n + 3 < sizeof methods; c++) {
        if (*c == ' ') methods[n++] = ',';
        methods[n++] = *c;
    }
    methods[n] = '\0';
    MHD_add_response_header(r, "Allow", methods);
}

static void add_headers(const exchange *x, struct MHD_Response *r) {
    if (x->content_type) MHD_add_response_header(r, "Content-Type", x->content_type);
    MHD_add_response_header(r, "x-request-id", x->request_id);
    if (x->closes) MHD_add_response_header(r, "Connection", "close");
    if (x->route && x->route->dialect == DIALECT_ANTHROPIC)
        MHD_add_response_header(r, "request-id", x->request_id);
    if (x->stream) {
        MHD_add_response_header(r, "Cache-Control", "no-cache");
        MHD_add_response_header(r, "X-Accel-Buffering", "no");
    }
    if (x->ignored[0]) MHD_add_response_header(r, "x-ggufkit-ignored", x->ignored);
    if (x->status == 429 || x->status == 503 || x->status == 529)
        MHD_add_response_header(r, "Retry-After", "1");
    if (x->status == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (x->status == 405 && x->route) add_allow(x, r);
    http_add_page_headers(x, r);
    add_cors(x, r);
}

static enum MHD_Result send_answer(exchange *x) {
    struct MHD_Response *r;
    pthread_mutex_lock(&x->lock);
    x->phase = EXCHANGE_ANSWERING;
    if (x->stream) {
        exchange_ref(x);
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK_BYTES, read_stream, x,
                                              free_stream);
    } else {
        r = MHD_create_response_from_buffer(x->out.len, x->out.data ? x->out.data : (void *)"",
                                            MHD_RESPMEM_MUST_COPY);
    }
    pthread_mutex_unlock(&x->lock);
    if (!r) {
        if (x->stream) exchange_unref(x);
        return MHD_NO;
    }
    add_headers(x, r);
    if (strcmp(x->method, "OPTIONS") == 0) http_add_preflight(x->connection, r);
    set_timeout(x->connection, READER_TIMEOUT);
    enum MHD_Result queued = MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return queued;
}

static enum MHD_Result send_error(exchange *x, const api_error *error) {
    exchange_fail(x, error);
    return send_answer(x);
}

/* ---- requests ---------------------------------------------------------------------------- */

static exchange *open_exchange(server *s, struct MHD_Connection *connection, const char *path,
                               const char *method) {
    const union MHD_ConnectionInfo *place =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    exchange *x = exchange_new(s, method, path);
    if (!x) return NULL;
    x->connection = connection;
    x->watch = place ? (size_t)(uintptr_t)place->socket_context - 1 : WATCHER_NONE;
    http_read_headers(x, connection);
    atomic_fetch_add(&s->n_open, 1);
    return x;
}

/* The header was read: everything that needs no body. */
static enum MHD_Result begin(exchange *x) {
    api_error error = {0};
    set_timeout(x->connection, BODY_TIMEOUT);
    if (!http_check(x, &error)) return send_error(x, &error);
    if (strcmp(x->method, "OPTIONS") == 0) {
        exchange_reply_bytes(x, 204, NULL, "", 0);
        return send_answer(x);
    }
    return MHD_YES;
}

static enum MHD_Result take_body(exchange *x, const char *data, size_t *size) {
    if (!x->too_large) gguf_dynbuf_put(&x->body, data, *size);
    if (x->body.code) x->too_large = true;
    *size = 0;
    return MHD_YES;
}

/* The body is complete. */
static enum MHD_Result work(exchange *x) {
    api_error error = {0};
    if (x->too_large) {
        http_fail_size(x, &error);
        return send_error(x, &error);
    }
    if (x->route->at_once) {
        x->route->handle(x);
        return send_answer(x);
    }
    x->phase = EXCHANGE_WORKING;
    x->suspended = true;
    MHD_suspend_connection(x->connection);
    watcher_attach(x->s->watcher, x->watch, x);
    exchange_ref(x);
    workers_put(x->s->workers, x);
    return MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **own) {
    exchange *x = *own;
    const entrance *e = ctx;
    (void)version;
    if (!x) {
        x = open_exchange(e->s, connection, url, method);
        if (!x) return MHD_NO;
        *own = x;
        return begin(x);
    }
    if (*size) return take_body(x, data, size);
    if (x->phase == EXCHANGE_READING) return work(x);
    return x->phase == EXCHANGE_WORKING ? send_answer(x) : MHD_YES;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **own,
                         enum MHD_RequestTerminationCode how) {
    exchange *x = *own;
    (void)ctx;
    if (!x) return;
    *own = NULL;
    if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK) set_timeout(connection, IDLE_TIMEOUT);
    watcher_detach(x->s->watcher, x->watch);
    pthread_mutex_lock(&x->lock);
    x->closed = true;
    rt_request *request = x->ended ? NULL : x->request;
    pthread_mutex_unlock(&x->lock);
    if (request) rt_request_cancel(request);
    metrics_count(x->s->metrics, x);
    if (x->counted) atomic_fetch_sub(&x->s->n_of_key[x->key], 1);
    atomic_fetch_sub(&x->s->n_open, 1);
    exchange_unref(x);
}

/* ---- connections ------------------------------------------------------------------------- */

/* At its limit libmicrohttpd would accept none, and let clients wait: the excess is closed. */
static enum MHD_Result accept_connection(void *ctx, const struct sockaddr *address, socklen_t len) {
    const entrance *e = ctx;
    (void)address, (void)len;
    return e->n_connections < MAX_CONNECTIONS ? MHD_YES : MHD_NO;
}

/* The connection's own pointer is its place with the watcher, plus one. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **own,
                          enum MHD_ConnectionNotificationCode how) {
    entrance *e = ctx;
    if (how == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        size_t at = info ? watcher_open(e->s->watcher, info->connect_fd) : WATCHER_NONE;
        *own = (void *)(uintptr_t)(at + 1);
        e->n_connections++;
    } else {
        watcher_close(e->s->watcher, (size_t)(uintptr_t)*own - 1);
        e->n_connections--;
    }
}

/* ---- start and end ----------------------------------------------------------------------- */

static void be_silent(void *ctx, const char *format, va_list args) {
    (void)ctx, (void)format, (void)args;
}

static struct MHD_Daemon *make_daemon(entrance *e, int fd) {
    const tls_pair *tls = &e->s->tls;
    struct MHD_OptionItem more[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, tls->cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, tls->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_VERSIONS},
        {MHD_OPTION_END, 0, NULL}};
    if (!tls->cert) more[0].option = MHD_OPTION_END;
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
            (tls->cert ? MHD_USE_TLS : 0u),
        0, accept_connection, e, on_request, e, MHD_OPTION_EXTERNAL_LOGGER, be_silent, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_CONNECTION, on_connection, e,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, e, MHD_OPTION_CONNECTION_TIMEOUT, HEADER_TIMEOUT,
        MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES + CHUNK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, more,
        MHD_OPTION_END);
}

/* The daemon's thread inherits the policy. It is woken for each token and must not interrupt the
 * engine for it: as a batch thread it runs when a core is free or its turn has come, and then sends
 * what all streams have. */
static struct MHD_Daemon *start_daemon(entrance *e, int fd) {
    const struct sched_param priority = {0};
    bool lowers =
        sched_getscheduler(0) == SCHED_OTHER && sched_setscheduler(0, SCHED_BATCH, &priority) == 0;
    struct MHD_Daemon *daemon = make_daemon(e, fd);
    if (lowers) sched_setscheduler(0, SCHED_OTHER, &priority);
    return daemon;
}

gguf_code http_start(server *s, gguf_error *err) {
    http *h = calloc(1, sizeof *h);
    if (!h) return gguf_fail_memory(err);
    s->http = h;
    h->s = s;
    gguf_code code = listen_all(s->settings, h->listeners, &h->n_listeners, err);
    for (size_t i = 0; i < h->n_listeners && !code; i++) {
        h->entrances[i].s = s;
        h->entrances[i].daemon = start_daemon(&h->entrances[i], h->listeners[i].fd);
        if (!h->entrances[i].daemon)
            code = gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "%s: cannot start to listen%s%s",
                             h->listeners[i].address, s->tls.cert ? " with " : "",
                             s->tls.cert ? s->settings->tls_cert : "");
    }
    return code;
}

const char *http_address(const http *h, size_t i) {
    return i < h->n_listeners ? h->listeners[i].address : NULL;
}

void http_quiesce(http *h) {
    for (size_t i = 0; i < h->n_listeners; i++) {
        if (!h->entrances[i].daemon || h->listeners[i].fd < 0) continue;
        MHD_quiesce_daemon(h->entrances[i].daemon);
        listen_close(&h->listeners[i]);
    }
}

void http_stop(http *h) {
    if (!h) return;
    http_quiesce(h);
    for (size_t i = 0; i < h->n_listeners; i++)
        if (h->entrances[i].daemon) MHD_stop_daemon(h->entrances[i].daemon);
    for (size_t i = 0; i < h->n_listeners; i++) listen_close(&h->listeners[i]);
    free(h);
}
