/* Ranks that are threads of one process, for what commands do under mpirun. */
#ifndef TESTS_UNIT_UNIT_RANKS_H
#define TESTS_UNIT_UNIT_RANKS_H

#include "libgguf/ranks_ops.h"
#include "tests/unit/unit.h"

#include <pthread.h>

enum { UNIT_MAX_RANKS = 8 };

typedef struct unit_message {
    struct unit_message *next;
    uint32_t from, to;
    size_t n;
    unsigned char bytes[];
} unit_message;

typedef struct unit_world {
    pthread_mutex_t lock;
    pthread_cond_t news;
    uint32_t n, n_waiting;
    uint64_t n_meetings;
    gguf_code codes[UNIT_MAX_RANKS], code;
    gguf_error errors[UNIT_MAX_RANKS], error;
    uint64_t values[UNIT_MAX_RANKS];
    unit_message *first, **last;
} unit_world;

typedef struct unit_rank {
    gguf_ranks base;
    unit_world *world;
    void (*fn)(gguf_ranks *ranks, void *ctx);
    void *ctx;
    pthread_t thread;
} unit_rank;

/* With the lock: go on when all have come. */
static inline void unit_meet(unit_world *w) {
    uint64_t meeting = w->n_meetings;
    if (++w->n_waiting == w->n) {
        w->n_waiting = 0;
        w->n_meetings++;
        pthread_cond_broadcast(&w->news);
    }
    while (w->n_meetings == meeting) pthread_cond_wait(&w->news, &w->lock);
}

static inline gguf_code unit_agree(gguf_ranks *ranks, gguf_code code, gguf_error *err) {
    unit_world *w = ((unit_rank *)ranks)->world;
    pthread_mutex_lock(&w->lock);
    if (!w->code) {
        w->codes[ranks->own] = code;
        w->errors[ranks->own] = err && code ? *err : (gguf_error){0};
        if (code) pthread_cond_broadcast(&w->news);
        unit_meet(w);
        for (uint32_t i = 0; i < w->n && !w->code; i++)
            if (w->codes[i] && w->codes[i] != GGUF_E_CANCELLED) {
                w->code = w->codes[i];
                w->error = w->errors[i];
            }
        for (uint32_t i = 0; i < w->n && !w->code; i++) w->code = w->codes[i];
        unit_meet(w);
    }
    code = w->code;
    if (code && err) *err = w->error;
    pthread_mutex_unlock(&w->lock);
    return code;
}

static inline gguf_code unit_send(gguf_ranks *ranks, uint32_t to, const void *bytes, size_t n,
                                  gguf_error *err) {
    unit_world *w = ((unit_rank *)ranks)->world;
    unit_message *m = malloc(sizeof *m + n);
    if (!m) return gguf_fail_memory(err);
    *m = (unit_message){.from = ranks->own, .to = to, .n = n};
    memcpy(m->bytes, bytes, n);
    pthread_mutex_lock(&w->lock);
    *w->last = m;
    w->last = &m->next;
    pthread_cond_broadcast(&w->news);
    pthread_mutex_unlock(&w->lock);
    return GGUF_OK;
}

/* Whether some rank comes with a failure: what is waited for may never be sent. */
static inline bool unit_failed(const unit_world *w) {
    for (uint32_t i = 0; i < w->n; i++)
        if (w->codes[i]) return true;
    return false;
}

static inline gguf_code unit_receive(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n,
                                     gguf_error *err) {
    unit_world *w = ((unit_rank *)ranks)->world;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        unit_message **at = &w->first;
        while (*at && ((*at)->from != from || (*at)->to != ranks->own)) at = &(*at)->next;
        unit_message *m = *at;
        if (m) {
            ck_assert_uint_eq(m->n, n);
            memcpy(bytes, m->bytes, n);
            if (w->last == &m->next) w->last = at;
            *at = m->next;
            free(m);
            break;
        }
        if (unit_failed(w)) {
            pthread_mutex_unlock(&w->lock);
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        }
        pthread_cond_wait(&w->news, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return GGUF_OK;
}

static inline void unit_spread(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n) {
    if (ranks->own != from) {
        unit_receive(ranks, from, bytes, n, NULL);
        return;
    }
    for (uint32_t to = 0; to < ranks->n; to++)
        if (to != from) unit_send(ranks, to, bytes, n, NULL);
}

static inline void unit_max(gguf_ranks *ranks, uint64_t *value) {
    unit_world *w = ((unit_rank *)ranks)->world;
    pthread_mutex_lock(&w->lock);
    w->values[ranks->own] = *value;
    unit_meet(w);
    for (uint32_t i = 0; i < w->n; i++)
        if (w->values[i] > *value) *value = w->values[i];
    unit_meet(w);
    pthread_mutex_unlock(&w->lock);
}

static inline uint64_t unit_progress(gguf_ranks *ranks, uint64_t done) {
    (void)ranks;
    return done;
}

static inline void *unit_rank_main(void *ctx) {
    unit_rank *rank = ctx;
    rank->fn(&rank->base, rank->ctx);
    return NULL;
}

/* Let n ranks call fn; its ctx is at ctx + rank * n_bytes. All messages have to have arrived,
 * unless the ranks failed. */
static inline void unit_ranks_run(uint32_t n, void (*fn)(gguf_ranks *ranks, void *ctx), void *ctx,
                                  size_t n_bytes) {
    static const gguf_ranks_ops ops = {.agree = unit_agree,
                                       .spread = unit_spread,
                                       .max = unit_max,
                                       .send = unit_send,
                                       .receive = unit_receive,
                                       .progress = unit_progress};
    unit_world w = {.n = n};
    unit_rank ranks[UNIT_MAX_RANKS];
    ck_assert_uint_le(n, UNIT_MAX_RANKS);
    w.last = &w.first;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.news, NULL);
    for (uint32_t i = 0; i < n; i++) {
        ranks[i] = (unit_rank){{&ops, i, n}, &w, fn, (char *)ctx + i * n_bytes, 0};
        ck_assert_int_eq(pthread_create(&ranks[i].thread, NULL, unit_rank_main, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < n; i++) pthread_join(ranks[i].thread, NULL);
    ck_assert(w.code || !w.first);
    for (unit_message *m = w.first, *next; m; m = next) {
        next = m->next;
        free(m);
    }
    pthread_cond_destroy(&w.news);
    pthread_mutex_destroy(&w.lock);
}

#endif
