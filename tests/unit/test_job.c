/* One plan carried out by several processes: any number of them, one that is killed, one that is
 * missed.
 */
#include "tests/unit/unit_plan.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Two tensors of several pieces, and a small one. */
static void build_large(quant_plan *plan, float *numbers) {
    enum { MANY_ROWS = 2000, MANY_COLS = 512 };
    gguf_error err = {0};
    for (int i = 0; i < MANY_ROWS * MANY_COLS; i++) numbers[i] = (float)(i % 1013) - 500;
    start_plan(plan);
    static const char *const names[] = {"a.weight", "b.weight", "c.weight"};
    for (uint64_t i = 0; i < 3; i++) {
        quant_plan_tensor t = memory_tensor(names[i], i ? GGUF_TYPE_Q4_0 : GGUF_TYPE_Q8_0);
        t.stage = i == 2;
        t.out.dims[0] = t.n_cols = MANY_COLS;
        t.out.dims[1] = t.n_rows = i == 1 ? 7 : MANY_ROWS;
        t.source.memory = numbers;
        t.source.n_bytes = t.n_rows * MANY_COLS * sizeof *numbers;
        unit_ok(quant_plan_add(plan, &t, &err), err);
    }
    plan->split.max_tensors = 2;
    unit_ok(quant_plan_finish(plan, &err), err);
}

static gguf_code run_part(quant_plan *plan, const char *path, uint32_t part, uint32_t n_parts,
                          const quant_execute_opts *opts, quant_job **job, gguf_error *err) {
    gguf_pool *pool;
    *err = (gguf_error){0};
    gguf_code code = *job ? GGUF_OK : quant_job_open(plan, path, part, n_parts, opts, job, err);
    if (!code) code = gguf_pool_new(1 + part % 2, &pool, err);
    if (code) return code;
    code = quant_job_run(*job, pool, err);
    gguf_pool_free(pool);
    return code;
}

/* A process that joins, does its part and leaves. */
static pid_t fork_part(quant_plan *plan, const char *path, uint32_t part, uint32_t n_parts,
                       const quant_execute_opts *opts) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child) return child;
    quant_job *job = NULL;
    gguf_error err;
    gguf_code code = run_part(plan, path, part, n_parts, opts, &job, &err);
    quant_job_close(job);
    _exit((int)code);
}

static void check_files(const char *path, unsigned char *const expected[2], const size_t n[2]) {
    char shard[600];
    for (uint32_t no = 0; no < 2; no++) {
        size_t n_bytes;
        ck_assert_int_eq(quant_shard_path(path, 2, no, shard, sizeof shard, NULL), GGUF_OK);
        unsigned char *bytes = unit_read(shard, &n_bytes);
        ck_assert_uint_eq(n_bytes, n[no]);
        ck_assert_mem_eq(bytes, expected[no], n_bytes);
        free(bytes);
        unlink(shard);
    }
}

static void read_files(const char *path, unsigned char *bytes[2], size_t n[2]) {
    char shard[600];
    for (uint32_t no = 0; no < 2; no++) {
        ck_assert_int_eq(quant_shard_path(path, 2, no, shard, sizeof shard, NULL), GGUF_OK);
        bytes[no] = unit_read(shard, &n[no]);
        unlink(shard);
    }
}

static void check_no_journals(const char *path) {
    char journal[600];
    for (int part = 0; part < 7; part++) {
        snprintf(journal, sizeof journal, part ? "%s.part.journal-%d" : "%s.part.journal", path,
                 part);
        ck_assert_int_ne(access(journal, F_OK), 0);
    }
}

/* Any number of processes writes the bytes of one, and says what the tensors lost in all. */
START_TEST(several_processes_share_a_plan) {
    float *numbers = malloc(2000 * 512 * sizeof *numbers);
    unsigned char *expected[2];
    size_t n[2];
    gguf_error err;
    quant_plan plan;
    quant_loss whole[3], parts[3];
    quant_execute_opts opts = quant_execute_defaults();
    build_large(&plan, numbers);
    const char *path = unit_temp("parts.gguf");
    opts.loss = whole;
    static const uint32_t counts[] = {1, 2, 3, 7};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uint32_t n_parts = counts[i];
        pid_t children[7];
        quant_job *job = NULL;
        gguf_pool *pool;
        err = (gguf_error){0};
        memset(parts, 0, sizeof parts);
        opts.loss = n_parts == 1 ? whole : parts;
        unit_ok(quant_job_open(&plan, path, 0, n_parts, &opts, &job, &err), err);
        for (uint32_t part = 1; part < n_parts; part++)
            children[part] = fork_part(&plan, path, part, n_parts, &opts);
        unit_ok(run_part(&plan, path, 0, n_parts, &opts, &job, &err), err);
        for (uint32_t part = 1; part < n_parts; part++) {
            int status;
            ck_assert_int_eq(waitpid(children[part], &status, 0), children[part]);
            ck_assert_int_eq(status, 0);
        }
        unit_ok(gguf_pool_new(1, &pool, &err), err);
        unit_ok(quant_job_commit(job, pool, &err), err);
        gguf_pool_free(pool);
        check_no_journals(path);
        if (n_parts == 1) {
            read_files(path, expected, n);
            continue;
        }
        check_files(path, expected, n);
        ck_assert_mem_eq(parts, whole, sizeof whole);
    }
    free(expected[0]);
    free(expected[1]);
    free(numbers);
    quant_plan_clear(&plan);
}
END_TEST

/* As kill -9 would, once something was written. */
static void die_after_some(void *ctx, uint64_t done, uint64_t total) {
    (void)ctx;
    if (done > 0 && done < total) raise(SIGKILL);
}

/* One of the processes is killed and started again: it goes on where it was, and nothing shows. */
START_TEST(a_killed_part_starts_again) {
    float *numbers = malloc(2000 * 512 * sizeof *numbers);
    unsigned char *expected[2];
    size_t n[2];
    int status;
    gguf_error err = {0};
    gguf_pool *pool;
    quant_plan plan;
    quant_job *job = NULL;
    quant_execute_opts opts = quant_execute_defaults();
    build_large(&plan, numbers);
    const char *path = unit_temp("killed.gguf");
    unit_ok(execute(&plan, path, 1, 64 << 20, &err), err);
    read_files(path, expected, n);
    opts.resume = true;
    unit_ok(quant_job_open(&plan, path, 0, 3, &opts, &job, &err), err);
    quant_execute_opts doomed = opts;
    doomed.progress = die_after_some;
    pid_t victim = fork_part(&plan, path, 1, 3, &doomed),
          other = fork_part(&plan, path, 2, 3, &opts);
    unit_ok(run_part(&plan, path, 0, 3, &opts, &job, &err), err);
    ck_assert_int_eq(waitpid(other, &status, 0), other);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(waitpid(victim, &status, 0), victim);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    victim = fork_part(&plan, path, 1, 3, &opts);
    ck_assert_int_eq(waitpid(victim, &status, 0), victim);
    ck_assert_int_eq(status, 0);
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(quant_job_commit(job, pool, &err), err);
    check_files(path, expected, n);
    check_no_journals(path);
    gguf_pool_free(pool);
    free(expected[0]);
    free(expected[1]);
    free(numbers);
    quant_plan_clear(&plan);
}
END_TEST

/* A part that did not come is missed; what came is found by the next run, with any number of parts.
 */
START_TEST(parts_are_missed_and_found_again) {
    float *numbers = malloc(2000 * 512 * sizeof *numbers);
    unsigned char *expected[2];
    size_t n[2];
    gguf_error err = {0};
    gguf_pool *pool;
    quant_plan plan;
    quant_job *first = NULL, *second = NULL;
    uint64_t resumed = 0;
    build_large(&plan, numbers);
    const char *path = unit_temp("missed.gguf");
    unit_ok(execute(&plan, path, 1, 64 << 20, &err), err);
    read_files(path, expected, n);
    quant_execute_opts opts = quant_execute_defaults();
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_fails(quant_job_open(&plan, path, 2, 2, &opts, &second, &err), GGUF_E_USAGE,
               "no part 2 of 2", err);
    err = (gguf_error){0};
    unit_fails(quant_job_open(&plan, path, 1, 2, &opts, &second, &err), GGUF_E_MISSING,
               "does not exist", err);
    unit_ok(run_part(&plan, path, 0, 1, &opts, &first, &err), err);
    err = (gguf_error){0};
    unit_fails(quant_job_open(&plan, path, 1, 2, &opts, &second, &err), GGUF_E_IO,
               "another process is writing", err);
    quant_job_close(first);
    first = NULL;
    unit_ok(run_part(&plan, path, 0, 2, &opts, &first, &err), err);
    unit_fails(quant_job_commit(first, pool, &err), GGUF_E_CHECK, "no part has written them", err);
    check_no_journals(path);
    opts.resume = true;
    first = NULL;
    err = (gguf_error){0};
    unit_ok(quant_job_open(&plan, path, 0, 2, &opts, &first, &err), err);
    unit_ok(run_part(&plan, path, 1, 2, &opts, &second, &err), err);
    quant_job_close(second);
    quant_job_close(first);
    opts.resumed_bytes = &resumed;
    unit_ok(quant_execute(&plan, path, pool, &opts, &err), err);
    ck_assert_uint_gt(resumed, quant_plan_data_bytes(&plan) / 3);
    ck_assert_uint_lt(resumed, quant_plan_data_bytes(&plan));
    check_files(path, expected, n);
    check_no_journals(path);
    gguf_pool_free(pool);
    free(expected[0]);
    free(expected[1]);
    free(numbers);
    quant_plan_clear(&plan);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job");
    TCase *tests = tcase_create("job");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, several_processes_share_a_plan);
    tcase_add_test(tests, a_killed_part_starts_again);
    tcase_add_test(tests, parts_are_missed_and_found_again);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
