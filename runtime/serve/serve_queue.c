/* The queue: the key that has spent the fewest tokens comes first, within a key who came first.
 * Whoever waited too long goes before that. */
#include "runtime/serve/serve_internal.h"

#include <stdlib.h>

#define TOO_LONG_S 30.0

static rt_serve_key *find(rt_serve_queue *q, uint64_t key) {
    for (size_t i = 0; i < q->n_keys; i++)
        if (q->keys[i].key == key) return &q->keys[i];
    return NULL;
}

static double least_spent(const rt_serve_queue *q) {
    double least = 0;
    bool any = false;
    for (size_t i = 0; i < q->n_keys; i++) {
        if (!q->keys[i].first) continue;
        if (!any || q->keys[i].spent < least) least = q->keys[i].spent;
        any = true;
    }
    return least;
}

/* Tails point into the keys, which move. */
static gguf_code grow(rt_serve_queue *q) {
    size_t room = q->room ? 2 * q->room : 8;
    rt_serve_key *keys = realloc(q->keys, room * sizeof *keys);
    if (!keys) return GGUF_E_NOMEM;
    q->keys = keys;
    q->room = room;
    for (size_t i = 0; i < q->n_keys; i++)
        if (!keys[i].first) keys[i].tail = &keys[i].first;
    return GGUF_OK;
}

/* A place whose key has nothing waiting is used again, once there are many. */
static rt_serve_key *place_for(rt_serve_queue *q, uint64_t key) {
    rt_serve_key *k = find(q, key);
    for (size_t i = 0; !k && q->n_keys >= 1024 && i < q->n_keys; i++)
        if (!q->keys[i].first) k = &q->keys[i];
    if (k && k->key == key) return k;
    double spent = least_spent(q);
    if (!k) {
        if (q->n_keys == q->room && grow(q)) return NULL;
        k = &q->keys[q->n_keys++];
    }
    *k = (rt_serve_key){.key = key, .spent = spent};
    k->tail = &k->first;
    return k;
}

gguf_code rt_queue_put(rt_serve_queue *q, rt_task *t) {
    rt_serve_key *k = place_for(q, t->request->opts.key);
    if (!k) return GGUF_E_NOMEM;
    /* Nobody saves up tokens while nothing of theirs waits. */
    if (!k->first && k->spent < least_spent(q)) k->spent = least_spent(q);
    t->next = NULL;
    *k->tail = t;
    k->tail = &t->next;
    k->n_tasks++;
    q->n_tasks++;
    return GGUF_OK;
}

void rt_queue_put_front(rt_serve_queue *q, rt_task *t) {
    t->next = q->front;
    q->front = t;
    q->n_tasks++;
}

rt_task *rt_queue_first(rt_serve_queue *q, double now_s) {
    const rt_serve_key *cheapest = NULL, *oldest = NULL;
    if (q->front) return q->front;
    for (size_t i = 0; i < q->n_keys; i++) {
        const rt_serve_key *k = &q->keys[i];
        if (!k->first) continue;
        if (!cheapest || k->spent < cheapest->spent) cheapest = k;
        if (!oldest || k->first->request->submitted_s < oldest->first->request->submitted_s)
            oldest = k;
    }
    if (!cheapest) return NULL;
    bool too_long = now_s - oldest->first->request->submitted_s > TOO_LONG_S;
    return too_long ? oldest->first : cheapest->first;
}

static bool unlink_from(rt_task **link, rt_task *t) {
    while (*link && *link != t) link = &(*link)->next;
    if (!*link) return false;
    *link = t->next;
    return true;
}

void rt_queue_remove(rt_serve_queue *q, rt_task *t) {
    if (unlink_from(&q->front, t)) {
        q->n_tasks--;
        return;
    }
    rt_serve_key *k = find(q, t->request->opts.key);
    if (!k || !unlink_from(&k->first, t)) return;
    k->tail = &k->first;
    while (*k->tail) k->tail = &(*k->tail)->next;
    k->n_tasks--;
    q->n_tasks--;
}

void rt_queue_spend(rt_serve_queue *q, uint64_t key, double n_tokens) {
    rt_serve_key *k = find(q, key);
    if (k) k->spent += n_tokens;
}

void rt_queue_clear(rt_serve_queue *q) {
    free(q->keys);
    *q = (rt_serve_queue){0};
}
