/* The thread pool. Workers spin briefly for the next loop, then sleep. */
#include "libgguf/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* About 20 microseconds: longer than the gap between the operations of one token. */
#define SPIN_ROUNDS 4000

struct gguf_pool {
    unsigned n_threads;
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    gguf_task_fn fn;
    void *ctx;
    size_t n_tasks;
    atomic_size_t next_task;
    atomic_uint loop;      /* number of the current loop; changes start the workers */
    atomic_uint n_running; /* workers that have not finished the current loop */
    bool quit;
};

typedef struct worker_arg {
    gguf_pool *pool;
    unsigned worker;
} worker_arg;

static inline void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void run_tasks(gguf_pool *pool, unsigned worker) {
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next_task, 1, memory_order_relaxed);
        if (task >= pool->n_tasks) return;
        pool->fn(pool->ctx, task, worker);
    }
}

/* Wait for a loop after `seen`; returns its number. */
static unsigned wait_for_loop(gguf_pool *pool, unsigned seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        unsigned loop = atomic_load_explicit(&pool->loop, memory_order_acquire);
        if (loop != seen) return loop;
        spin_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->loop, memory_order_acquire) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    unsigned loop = atomic_load_explicit(&pool->loop, memory_order_acquire);
    pthread_mutex_unlock(&pool->lock);
    return loop;
}

static void *worker_main(void *arg) {
    gguf_pool *pool = ((worker_arg *)arg)->pool;
    unsigned worker = ((worker_arg *)arg)->worker, loop = 0;
    free(arg);
    for (;;) {
        loop = wait_for_loop(pool, loop);
        if (pool->quit) return NULL;
        run_tasks(pool, worker);
        if (atomic_fetch_sub_explicit(&pool->n_running, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void start_loop(gguf_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->loop, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_until_done(gguf_pool *pool) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&pool->n_running, memory_order_acquire) == 0) return;
        spin_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->n_running, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void gguf_pool_run(gguf_pool *pool, size_t n_tasks, gguf_task_fn fn, void *ctx) {
    if (pool->n_threads == 1 || n_tasks <= 1) {
        for (size_t task = 0; task < n_tasks; task++) fn(ctx, task, 0);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n_tasks = n_tasks;
    atomic_store_explicit(&pool->next_task, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->n_running, pool->n_threads - 1, memory_order_relaxed);
    start_loop(pool);
    run_tasks(pool, pool->n_threads - 1);
    wait_until_done(pool);
}

static bool start_worker(gguf_pool *pool, unsigned worker) {
    worker_arg *arg = malloc(sizeof *arg);
    if (!arg) return false;
    *arg = (worker_arg){pool, worker};
    if (pthread_create(&pool->threads[worker], NULL, worker_main, arg) == 0) return true;
    free(arg);
    return false;
}

gguf_code gguf_pool_new(unsigned n_threads, gguf_pool **out, gguf_error *err) {
    if (n_threads == 0) n_threads = gguf_usable_cores();
    gguf_pool *pool = calloc(1, sizeof *pool);
    pthread_t *threads = calloc(n_threads, sizeof *threads);
    *out = NULL;
    if (!pool || !threads) {
        free(pool);
        free(threads);
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    }
    pool->threads = threads;
    pool->n_threads = 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (unsigned w = 0; w + 1 < n_threads; w++, pool->n_threads++) {
        if (start_worker(pool, w)) continue;
        gguf_pool_free(pool);
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "cannot start %u threads",
                         n_threads);
    }
    *out = pool;
    return GGUF_OK;
}

void gguf_pool_free(gguf_pool *pool) {
    if (!pool) return;
    pool->quit = true;
    start_loop(pool);
    for (unsigned w = 0; w + 1 < pool->n_threads; w++) pthread_join(pool->threads[w], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    free(pool->threads);
    free(pool);
}

unsigned gguf_pool_threads(const gguf_pool *pool) {
    return pool->n_threads;
}
