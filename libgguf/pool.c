/* The thread pool. Workers spin briefly for the next loop, then sleep. A loop waits only for
 * workers that have joined it: on a busy machine the caller does the work of those that are not
 * running. */
#include "libgguf/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* About 20 microseconds: longer than the gap between the operations of one token. */
#define SPIN_ROUNDS 4000

/* pool->state: the loop's number above, whether workers may join it, how many have and are not
 * done. */
#define NEXT_LOOP   (UINT64_C(1) << 32)
#define OPEN        (UINT64_C(1) << 31)
#define N_JOINED(s) ((s) & (OPEN - 1))

struct gguf_pool {
    unsigned n_threads;
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    gguf_task_fn fn; /* what the loop runs; only written while nobody has joined */
    void *ctx;
    size_t n_tasks;
    atomic_size_t next_task;
    _Atomic uint64_t state;
    atomic_uint n_sleeping; /* workers; counted before they look at the state for the last time */
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

static bool is_new(uint64_t state, uint64_t seen) {
    return state / NEXT_LOOP != seen / NEXT_LOOP;
}

/* Wait for a loop after that of `seen`; returns the state then. */
static uint64_t wait_for_loop(gguf_pool *pool, uint64_t seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        uint64_t state = atomic_load_explicit(&pool->state, memory_order_acquire);
        if (is_new(state, seen)) return state;
        spin_pause();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->n_sleeping, 1);
    uint64_t state = atomic_load(&pool->state);
    for (; !is_new(state, seen); state = atomic_load(&pool->state))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
    return state;
}

/* False if the loop of `state` is closed already. */
static bool join_loop(gguf_pool *pool, uint64_t state) {
    uint64_t number = state / NEXT_LOOP;
    while (state / NEXT_LOOP == number && (state & OPEN))
        if (atomic_compare_exchange_weak(&pool->state, &state, state + 1)) return true;
    return false;
}

static void leave_loop(gguf_pool *pool) {
    uint64_t before = atomic_fetch_sub(&pool->state, 1);
    if ((before & OPEN) || N_JOINED(before) != 1) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg) {
    gguf_pool *pool = ((worker_arg *)arg)->pool;
    unsigned worker = ((worker_arg *)arg)->worker;
    uint64_t state = 0;
    free(arg);
    for (;;) {
        state = wait_for_loop(pool, state);
        if (!join_loop(pool, state)) continue;
        if (pool->quit) return NULL;
        run_tasks(pool, worker);
        leave_loop(pool);
    }
}

static void start_loop(gguf_pool *pool) {
    uint64_t number = atomic_load(&pool->state) / NEXT_LOOP;
    atomic_store(&pool->state, (number + 1) * NEXT_LOOP | OPEN);
    if (atomic_load(&pool->n_sleeping) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void finish_loop(gguf_pool *pool) {
    uint64_t state = atomic_fetch_and(&pool->state, ~OPEN);
    for (int i = 0; i < SPIN_ROUNDS && N_JOINED(state); i++) {
        spin_pause();
        state = atomic_load(&pool->state);
    }
    if (!N_JOINED(state)) return;
    pthread_mutex_lock(&pool->lock);
    while (N_JOINED(atomic_load(&pool->state))) pthread_cond_wait(&pool->done, &pool->lock);
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
    start_loop(pool);
    run_tasks(pool, pool->n_threads - 1);
    finish_loop(pool);
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
        return gguf_fail_memory(err);
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
