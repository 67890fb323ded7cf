/* A queue of exchanges. */
#include "tools/serve/workers.h"

#include "libgguf/json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 8

typedef struct job {
    exchange *x;
    struct job *next;
} job;

struct workers {
    pthread_t threads[MAX_THREADS];
    unsigned n_threads;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    job *first, **tail;
    bool stop;
};

/* ---- bodies ------------------------------------------------------------------------------ */

/* Objects and lists inside each other; the parser's own limit is higher. */
static bool too_deep(const uint8_t *text, size_t len) {
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') in_string = !in_string;
        if (in_string && text[i] == '\\') i++;
        if (in_string) continue;
        if (text[i] == '{' || text[i] == '[') depth++;
        if ((text[i] == '}' || text[i] == ']') && depth) depth--;
        if (depth > WORKERS_MAX_JSON_DEPTH) return true;
    }
    return false;
}

bool workers_parse(const uint8_t *text, size_t len, json_t **out, api_error *error) {
    gguf_error err = {0};
    *out = NULL;
    if (too_deep(text, len))
        return api_fail(error, NULL, "invalid_json", "the body has more than %d levels",
                        WORKERS_MAX_JSON_DEPTH);
    if (gguf_json_parse((const char *)text, len, GGUF_JSON_EXACT_INTS, NULL, GGUF_NO_OFFSET, out,
                        &err))
        return api_fail(error, NULL, "invalid_json", "the body is no valid JSON: %s", err.message);
    if (json_is_object(*out)) return true;
    json_decref(*out);
    *out = NULL;
    return api_fail(error, NULL, "invalid_json", "the body must be a JSON object");
}

/* ---- threads ----------------------------------------------------------------------------- */

static void do_job(exchange *x) {
    api_error error = {0};
    if (workers_parse(x->body.data, x->body.len, &x->json, &error))
        x->route->handle(x);
    else
        exchange_fail(x, &error);
    gguf_dynbuf_clear(&x->body);
    exchange_unref(x);
}

static void *run(void *ctx) {
    workers *w = ctx;
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (!w->first && !w->stop) pthread_cond_wait(&w->wake, &w->lock);
        job *next = w->first;
        if (next) {
            w->first = next->next;
            if (!w->first) w->tail = &w->first;
        }
        pthread_mutex_unlock(&w->lock);
        if (!next) return NULL;
        do_job(next->x);
        free(next);
    }
}

gguf_code workers_new(unsigned n_threads, workers **out, gguf_error *err) {
    workers *w = calloc(1, sizeof *w);
    *out = w;
    if (!w) return gguf_fail_memory(err);
    w->tail = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    for (; w->n_threads < n_threads && w->n_threads < MAX_THREADS; w->n_threads++)
        if (pthread_create(&w->threads[w->n_threads], NULL, run, w))
            return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "cannot start a thread");
    return GGUF_OK;
}

void workers_end(workers *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
    w->n_threads = 0;
}

void workers_free(workers *w) {
    if (!w) return;
    workers_end(w);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void refuse(exchange *x, int status, const char *code, const char *message) {
    api_error error = {0};
    api_fail_status(&error, status, code, "%s", message);
    exchange_fail(x, &error);
    exchange_unref(x);
}

void workers_put(workers *w, exchange *x) {
    job *j = malloc(sizeof *j);
    if (!j) {
        refuse(x, 500, NULL, "out of memory");
        return;
    }
    *j = (job){.x = x};
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    if (!stop) {
        *w->tail = j;
        w->tail = &j->next;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    if (!stop) return;
    free(j);
    refuse(x, 503, "draining", "the server is shutting down");
}
