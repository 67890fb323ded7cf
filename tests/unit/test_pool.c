/* The thread pool: every task once, in any number of loops. */
#include "libgguf/pool.h"
#include "tests/unit/unit.h"

#include <stdatomic.h>
#include <stdint.h>

#define N_TASKS 1000

typedef struct counts {
    atomic_uint per_task[N_TASKS];
    atomic_uint bad_workers;
    unsigned n_threads;
} counts;

static void count_task(void *ctx, size_t task, unsigned worker) {
    counts *c = ctx;
    atomic_fetch_add(&c->per_task[task], 1);
    if (worker >= c->n_threads) atomic_fetch_add(&c->bad_workers, 1);
}

START_TEST(every_task_runs_once_per_loop) {
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        static counts c;
        gguf_pool *pool;
        gguf_error err = {0};
        memset(&c, 0, sizeof c);
        c.n_threads = n_threads;
        unit_ok(gguf_pool_new(n_threads, &pool, &err), err);
        ck_assert_uint_eq(gguf_pool_threads(pool), n_threads);
        for (int loop = 0; loop < 200; loop++) gguf_pool_run(pool, N_TASKS, count_task, &c);
        for (size_t i = 0; i < N_TASKS; i++) ck_assert_uint_eq(atomic_load(&c.per_task[i]), 200);
        ck_assert_uint_eq(atomic_load(&c.bad_workers), 0);
        gguf_pool_run(pool, 0, count_task, &c);
        gguf_pool_free(pool);
    }
}
END_TEST

START_TEST(there_is_at_least_one_core) {
    ck_assert_uint_ge(gguf_usable_cores(), 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pool");
    TCase *tests = tcase_create("pool");
    tcase_add_test(tests, every_task_runs_once_per_loop);
    tcase_add_test(tests, there_is_at_least_one_core);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
