/* One request over HTTP and its answer: a body at once, or a stream of pieces. The HTTP thread owns
 * the connection; workers and the engine's thread write answers. */
#ifndef TOOLS_SERVE_EXCHANGE_H
#define TOOLS_SERVE_EXCHANGE_H

#include "libgguf/dynbuf.h"
#include "tools/serve/api_error.h"
#include "tools/serve/server.h"

#include <pthread.h>

struct MHD_Connection;
typedef struct exchange exchange;

/* What a path does. */
typedef struct route {
    const char *path;    /* a last "*" stands for anything */
    const char *methods; /* "GET HEAD" */
    dialect dialect;
    /* Reads the body and answers, or lets a generation do so. In a worker's thread, or, at_once, in
     * the HTTP thread, which it must not hold up. */
    void (*handle)(exchange *x);
    bool at_once, open; /* open: without a key */
} route;

typedef enum exchange_phase {
    EXCHANGE_READING,
    EXCHANGE_WORKING,
    EXCHANGE_ANSWERING
} exchange_phase;

struct exchange {
    server *s;
    struct MHD_Connection *connection; /* of the HTTP thread; not after `closed` */
    const route *route;
    char method[16], path[256], request_id[96], origin[256], peer[64];
    bool wants_html;       /* Accept names text/html */
    bool takes_gzip, gzip; /* Accept-Encoding; the answer is compressed */
    char if_none_match[64], etag[32];
    bool anthropic; /* anthropic-version was sent */
    uint64_t key;   /* who asks */
    bool counted;   /* in the server's n_of_key */
    bool closes;    /* the connection ends with the answer */
    exchange_phase phase;
    gguf_dynbuf body;
    bool too_large;
    json_t *json; /* the body, parsed */
    double started_s;
    size_t watch;      /* its connection's place with the watcher */
    char ignored[512]; /* names for x-ggufkit-ignored */
    atomic_int n_refs;

    pthread_mutex_t lock;         /* of all below */
    bool suspended, closed, gone; /* gone: the client is */
    bool ready, stream, ended;
    int status;
    const char *content_type;
    gguf_dynbuf out;
    size_t n_taken;   /* of out */
    gguf_dynbuf said; /* all that went through out, for the log */
    double last_write_s;
    bool paused;         /* the reader is slow, and the engine waits for it */
    rt_grammar *grammar; /* of its answers; or NULL */
    rt_ids prediction;   /* of its answers */
    rt_request *request; /* that is being answered */
};

/* An exchange that nobody is connected to yet; NULL when out of memory. */
exchange *exchange_new(server *s, const char *method, const char *path);
void exchange_ref(exchange *x);
void exchange_unref(exchange *x);
/* --log-text: its body and its answer are kept for the log. */
bool exchange_logs_text(const exchange *x);

/* ---- answers; one of these, once ---- */

void exchange_reply_bytes(exchange *x, int status, const char *content_type, const void *bytes,
                          size_t n);
void exchange_reply(exchange *x, int status, json_t *json); /* takes the reference */
void exchange_fail(exchange *x, const api_error *error);
/* Then pieces, then the end. */
void exchange_stream(exchange *x, const char *content_type);

void exchange_write(exchange *x, const void *bytes, size_t n);
/* One event of a stream: SSE with a name or NULL, or a line of JSON. Takes the reference. */
void exchange_event(exchange *x, const char *name, json_t *json);
void exchange_line(exchange *x, json_t *json);
void exchange_end(exchange *x);

/* The request that makes the answer: cancelled with the exchange. Takes the handle. */
void exchange_set_request(exchange *x, rt_request *request);
/* The client went away. */
void exchange_gone(exchange *x);
/* Send a sign of life on a stream that was silent for long. */
void exchange_ping(exchange *x, double now_s);

#endif
