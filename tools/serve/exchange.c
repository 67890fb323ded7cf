/* Answers on their way from workers and the engine to the HTTP thread. */
#include "tools/serve/exchange.h"

#include "tools/serve/http.h"

#include <stdlib.h>
#include <string.h>

/* A reader with so much unread is slow; below the second it goes on. */
#define MAX_UNREAD    (256u << 10)
#define RESUME_UNREAD (64u << 10)
#define PING_AFTER_S  15.0

exchange *exchange_new(server *s, const char *method, const char *path) {
    exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    *x = (exchange){.s = s, .started_s = tool_now_s()};
    atomic_init(&x->n_refs, 1);
    pthread_mutex_init(&x->lock, NULL);
    gguf_dynbuf_init(&x->body, s->settings->max_body);
    gguf_dynbuf_init(&x->out, SIZE_MAX / 4);
    gguf_dynbuf_init(&x->said, SIZE_MAX / 4);
    snprintf(x->method, sizeof x->method, "%s", method);
    snprintf(x->path, sizeof x->path, "%s", path);
    return x;
}

void exchange_ref(exchange *x) {
    atomic_fetch_add(&x->n_refs, 1);
}

bool exchange_logs_text(const exchange *x) {
    return x->s->settings->log_text && x->route && !x->route->at_once;
}

void exchange_unref(exchange *x) {
    if (!x || atomic_fetch_sub(&x->n_refs, 1) != 1) return;
    rt_request_release(x->request);
    rt_grammar_unref(x->grammar);
    rt_ids_clear(&x->prediction);
    gguf_dynbuf_clear(&x->body);
    gguf_dynbuf_clear(&x->out);
    gguf_dynbuf_clear(&x->said);
    json_decref(x->json);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* With the lock held. Nobody is woken before it is known how the answer begins. */
static void wake(exchange *x) {
    if (!x->ready || !x->suspended || x->closed) return;
    x->suspended = false;
    http_resume(x);
}

static void put(exchange *x, const void *bytes, size_t n) {
    gguf_dynbuf_put(&x->out, bytes, n);
    if (exchange_logs_text(x)) gguf_dynbuf_put(&x->said, bytes, n);
    x->last_write_s = tool_now_s();
}

/* ---- answers ----------------------------------------------------------------------------- */

void exchange_reply_bytes(exchange *x, int status, const char *content_type, const void *bytes,
                          size_t n) {
    pthread_mutex_lock(&x->lock);
    if (!x->ready) {
        x->ready = x->ended = true;
        x->status = status;
        x->content_type = content_type;
        put(x, bytes, n);
        wake(x);
    }
    pthread_mutex_unlock(&x->lock);
}

void exchange_reply(exchange *x, int status, json_t *json) {
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text)
        exchange_reply_bytes(x, status, "application/json", text, strlen(text));
    else
        exchange_reply_bytes(x, 500, "application/json", "{\"error\":\"out of memory\"}", 25);
    free(text);
}

/* Where there is nothing at a path, its beginning says who asks. */
static dialect dialect_of(const exchange *x) {
    if (x->route) return x->route->dialect;
    if (strncmp(x->path, "/api/", 5) == 0) return DIALECT_OLLAMA;
    return strncmp(x->path, "/v1/messages/", 13) == 0 ? DIALECT_ANTHROPIC : DIALECT_OPENAI;
}

void exchange_fail(exchange *x, const api_error *error) {
    dialect shape = dialect_of(x);
    exchange_reply(x, api_error_status(error, shape), api_error_json(error, shape, x->request_id));
}

void exchange_stream(exchange *x, const char *content_type) {
    pthread_mutex_lock(&x->lock);
    if (!x->ready) {
        x->ready = x->stream = true;
        x->status = 200;
        x->content_type = content_type;
        x->last_write_s = tool_now_s();
        wake(x);
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- pieces ------------------------------------------------------------------------------ */

void exchange_write(exchange *x, const void *bytes, size_t n) {
    bool pause = false;
    pthread_mutex_lock(&x->lock);
    put(x, bytes, n);
    if (x->out.len - x->n_taken > MAX_UNREAD && !x->paused && x->request) pause = x->paused = true;
    rt_request *request = x->request;
    wake(x);
    pthread_mutex_unlock(&x->lock);
    if (pause) rt_request_pause(request, true);
}

void exchange_event(exchange *x, const char *name, json_t *json) {
    gguf_dynbuf event;
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) return;
    gguf_dynbuf_init(&event, SIZE_MAX / 4);
    if (name) {
        gguf_dynbuf_put_text(&event, "event: ");
        gguf_dynbuf_put_text(&event, name);
        gguf_dynbuf_put_text(&event, "\n");
    }
    gguf_dynbuf_put_text(&event, "data: ");
    gguf_dynbuf_put_text(&event, text);
    gguf_dynbuf_put_text(&event, "\n\n");
    exchange_write(x, event.data, event.len);
    gguf_dynbuf_clear(&event);
    free(text);
}

void exchange_line(exchange *x, json_t *json) {
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) return;
    size_t n = strlen(text);
    text[n] = '\n'; /* in the place of the NUL */
    exchange_write(x, text, n + 1);
    free(text);
}

void exchange_end(exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

/* ---- the request ------------------------------------------------------------------------- */

void exchange_set_request(exchange *x, rt_request *request) {
    pthread_mutex_lock(&x->lock);
    x->request = request;
    bool gone = x->gone;
    pthread_mutex_unlock(&x->lock);
    if (gone) rt_request_cancel(request);
}

void exchange_gone(exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->gone = true;
    rt_request *request = x->request;
    pthread_mutex_unlock(&x->lock);
    if (request) rt_request_cancel(request);
}

void exchange_ping(exchange *x, double now_s) {
    static const char sse[] = ": ping\n\n";
    static const char event[] = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    pthread_mutex_lock(&x->lock);
    bool due = x->stream && !x->ended && now_s - x->last_write_s > PING_AFTER_S &&
               x->out.len == x->n_taken;
    pthread_mutex_unlock(&x->lock);
    if (!due || x->route->dialect == DIALECT_OLLAMA) return;
    if (x->route->dialect == DIALECT_ANTHROPIC)
        exchange_write(x, event, sizeof event - 1);
    else
        exchange_write(x, sse, sizeof sse - 1);
}

/* ---- the reader (in the HTTP thread) ----------------------------------------------------- */

ssize_t exchange_read(exchange *x, char *out, size_t room) {
    bool resume = false;
    pthread_mutex_lock(&x->lock);
    size_t left = x->out.len - x->n_taken, n = left < room ? left : room;
    if (n) memcpy(out, x->out.data + x->n_taken, n);
    x->n_taken += n;
    if (x->n_taken == x->out.len) x->n_taken = x->out.len = 0;
    if (x->n_taken > MAX_UNREAD) { /* the front of a long buffer is given back */
        memmove(x->out.data, x->out.data + x->n_taken, x->out.len - x->n_taken);
        x->out.len -= x->n_taken;
        x->n_taken = 0;
    }
    if (x->paused && x->out.len - x->n_taken < RESUME_UNREAD) {
        x->paused = false;
        resume = true;
    }
    bool end = n == 0 && (x->ended || x->out.code);
    if (n == 0 && !end) {
        x->suspended = true;
        http_suspend(x);
    }
    rt_request *request = x->request;
    pthread_mutex_unlock(&x->lock);
    if (resume) rt_request_pause(request, false);
    return end ? -1 : (ssize_t)n;
}
