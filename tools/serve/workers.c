/* A queue of things to do. */
#include "tools/serve/workers.h"

#include "libgguf/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 8

typedef struct job {
    void (*run)(void *ctx);
    void *ctx;
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

/* Whole numbers beyond 64 bits become real ones of the same length, so that who reads them names
 * the field: of 20 digits the last two become e2. */
static void widen_integers(uint8_t *text, size_t len) {
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') in_string = !in_string;
        if (in_string && text[i] == '\\') i++;
        if (in_string || !isdigit(text[i])) continue;
        size_t begin = i;
        while (i + 1 < len && (isdigit(text[i + 1]) || strchr(".eE+-", text[i + 1]))) i++;
        size_t n = i + 1 - begin;
        if (n < 19 || n > 99 || strspn((const char *)text + begin, "0123456789") < n) continue;
        memcpy(text + begin + n - 2, "e2", 2);
    }
}

static gguf_code parse(const uint8_t *text, size_t len, json_t **out, gguf_error *err) {
    gguf_error first = {0};
    gguf_code code = gguf_json_parse((const char *)text, len, GGUF_JSON_EXACT_INTS, NULL,
                                     GGUF_NO_OFFSET, out, &first);
    if (code && strstr(first.message, "too big")) {
        uint8_t *copy = malloc(len + 1);
        if (!copy) return gguf_fail_memory(err);
        memcpy(copy, text, len);
        copy[len] = 0;
        widen_integers(copy, len);
        code = gguf_json_parse((const char *)copy, len, GGUF_JSON_EXACT_INTS, NULL, GGUF_NO_OFFSET,
                               out, err);
        free(copy);
        return code;
    }
    if (code && err) *err = first;
    return code;
}

bool workers_parse(const uint8_t *text, size_t len, json_t **out, api_error *error) {
    gguf_error err = {0};
    *out = NULL;
    if (too_deep(text, len))
        return api_fail(error, NULL, "invalid_json", "the body has more than %d levels",
                        WORKERS_MAX_JSON_DEPTH);
    if (parse(text, len, out, &err))
        return api_fail(error, NULL, "invalid_json", "the body is no valid JSON: %s", err.message);
    if (json_is_object(*out)) return true;
    json_decref(*out);
    *out = NULL;
    return api_fail(error, NULL, "invalid_json", "the body must be a JSON object");
}

/* ---- threads ----------------------------------------------------------------------------- */

static void do_exchange(void *ctx) {
    exchange *x = ctx;
    api_error error = {0};
    if (workers_parse(x->body.data, x->body.len, &x->json, &error))
        x->route->handle(x);
    else
        exchange_fail(x, &error);
    if (!exchange_logs_text(x)) gguf_dynbuf_clear(&x->body);
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
        next->run(next->ctx);
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

/* False: it is not taken. */
static bool put(workers *w, void (*what)(void *ctx), void *ctx) {
    job *j = w ? malloc(sizeof *j) : NULL;
    if (!j) return false;
    *j = (job){.run = what, .ctx = ctx};
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    if (!stop) {
        *w->tail = j;
        w->tail = &j->next;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    if (stop) free(j);
    return !stop;
}

void workers_run(workers *w, void (*what)(void *ctx), void *ctx) {
    if (!put(w, what, ctx)) what(ctx);
}

void workers_put(workers *w, exchange *x) {
    if (!put(w, do_exchange, x)) refuse(x, 503, "draining", "the server is shutting down");
}
