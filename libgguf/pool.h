/* The one thread pool: parallel loops over numbered tasks. */
#ifndef LIBGGUF_POOL_H
#define LIBGGUF_POOL_H

#include "libgguf/error.h"

#include <stddef.h>

typedef struct gguf_pool gguf_pool;

/* Called once per task number in [0, n_tasks); `worker` is in [0, n_threads). */
typedef void (*gguf_task_fn)(void *ctx, size_t task, unsigned worker);

/* n_threads - 1 threads are started; the caller of gguf_pool_run is the last worker.
 * n_threads 0 means gguf_usable_cores(). */
gguf_code gguf_pool_new(unsigned n_threads, gguf_pool **out, gguf_error *err);
void gguf_pool_free(gguf_pool *pool); /* accepts NULL */
unsigned gguf_pool_threads(const gguf_pool *pool);

/* Run all tasks and return when the last has ended. Tasks are handed out in order of number.
 * Not to be called from inside a task, nor from two threads at once. */
void gguf_pool_run(gguf_pool *pool, size_t n_tasks, gguf_task_fn fn, void *ctx);

/* Processors that this process may use: affinity and cgroup quota respected, one per core. */
unsigned gguf_usable_cores(void);

#endif
