/* What the engine shows of itself. */
#include "runtime/serve/serve_internal.h"

#include <string.h>

const double rt_serve_time_bounds[RT_SERVE_N_BUCKETS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60};
const double rt_serve_count_bounds[RT_SERVE_N_BUCKETS] = {1,  2,  4,   8,   16,  24,   32,
                                                          48, 64, 128, 256, 512, 1024, 2048};

void rt_stats_observe(rt_serve_histogram *h, const double *bounds, double value) {
    size_t i = 0;
    while (i < RT_SERVE_N_BUCKETS && value > bounds[i]) i++;
    h->counts[i]++;
    h->n++;
    h->sum += value;
}

static void show_task(rt_serve *s, const rt_task *t, bool running, double now) {
    if (s->n_slots == s->slots_room) return;
    const rt_request *r = t->request;
    s->slots[s->n_slots++] = (rt_serve_slot){.id = r->id,
                                             .index = t->index,
                                             .running = running,
                                             .n_prompt = (uint32_t)t->n_prompt,
                                             .n_cached = (uint32_t)t->n_cached,
                                             .n_decoded = (uint32_t)t->n_generated,
                                             .n_ctx = r->n_ctx,
                                             .seconds = now - r->submitted_s};
}

static void show_tasks(rt_serve *s, double now) {
    s->n_slots = 0;
    for (size_t i = 0; i < s->n_running; i++) show_task(s, s->running[i], true, now);
    for (const rt_task *t = s->queue.front; t; t = t->next) show_task(s, t, false, now);
    for (size_t i = 0; i < s->queue.n_keys; i++)
        for (const rt_task *t = s->queue.keys[i].first; t; t = t->next) show_task(s, t, false, now);
}

void rt_serve_publish(rt_serve *s) {
    rt_pages pages = rt_session_pages(s->session);
    rt_serve_stats *now = &s->now_stats;
    now->n_running = (uint32_t)s->n_running;
    now->n_waiting = (uint32_t)s->queue.n_tasks;
    now->n_pages = pages.n_total;
    now->n_pages_used = pages.n_total - pages.n_free;
    now->n_pages_parked = now->n_pages_used - rt_cache_held(s);
    pthread_mutex_lock(&s->lock);
    now->ready = s->prepared;
    s->stats = *now;
    show_tasks(s, rt_serve_now(s));
    pthread_mutex_unlock(&s->lock);
}

void rt_serve_stats_get(rt_serve *serve, rt_serve_stats *out) {
    pthread_mutex_lock(&serve->lock);
    *out = serve->stats;
    pthread_mutex_unlock(&serve->lock);
}

size_t rt_serve_slots(rt_serve *serve, rt_serve_slot *out, size_t room) {
    pthread_mutex_lock(&serve->lock);
    size_t n = serve->n_slots < room ? serve->n_slots : room;
    memcpy(out, serve->slots, n * sizeof *out);
    pthread_mutex_unlock(&serve->lock);
    return n;
}
