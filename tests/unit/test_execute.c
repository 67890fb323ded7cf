/* Plans and their execution: permutation, stacks, any chunk size and thread count, failures. */
#include "libgguf/map.h"
#include "quant/source.h"
#include "tests/unit/unit_plan.h"

#include <math.h>
#include <unistd.h>

START_TEST(heads_are_permuted) {
    quant_plan plan;
    gguf_error err = {0};
    gguf_file *file;
    start_plan(&plan);
    quant_plan_tensor t = memory_tensor("q.weight", GGUF_TYPE_F32);
    t.steps[t.n_steps++] = (quant_step){QUANT_STEP_PERMUTE_HEADS, 4}; /* heads of 6 rows */
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_ok(quant_plan_finish(&plan, &err), err);
    const char *path = unit_temp("permuted.gguf");
    unit_ok(execute(&plan, path, 2, 1, &err), err);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    const float *out = gguf_file_data(file, gguf_file_find_tensor(file, "q.weight"));
    for (size_t head = 0; head < 4; head++)
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 2; j++)
                ck_assert_mem_eq(out + (head * 6 + 2 * i + j) * N_COLS,
                                 source + (head * 6 + j * 3 + i) * N_COLS, N_COLS * sizeof(float));
    gguf_file_close(file);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

/* Several tensors and types, one of them a stack of matrices with its own importance each. */
static void build_unfinished(quant_plan *plan, const float *imp) {
    static const uint32_t types[] = {GGUF_TYPE_F32, GGUF_TYPE_F16, GGUF_TYPE_BF16, GGUF_TYPE_Q8_0,
                                     GGUF_TYPE_Q4_0};
    gguf_error err = {0};
    start_plan(plan);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu.weight", i);
        quant_plan_tensor t = memory_tensor(name, types[i]);
        t.out.n_dims = 3;
        t.out.dims[1] = N_ROWS / 3;
        t.out.dims[2] = 3;
        t.imp = imp;
        unit_ok(quant_plan_add(plan, &t, &err), err);
    }
}

static void build_mixed(quant_plan *plan, const float *imp) {
    gguf_error err = {0};
    build_unfinished(plan, imp);
    unit_ok(quant_plan_finish(plan, &err), err);
}

START_TEST(bytes_do_not_depend_on_threads_or_memory) {
    float imp[3 * N_COLS];
    quant_plan plan;
    gguf_error err;
    size_t n_first, n;
    for (size_t i = 0; i < 3 * N_COLS; i++) imp[i] = 1 + (float)(i * 7 % 11);
    build_mixed(&plan, imp);
    const char *path = unit_temp("mixed.gguf");
    unit_ok(execute(&plan, path, 1, 64 << 20, &err), err);
    unsigned char *first = unit_read(path, &n_first);
    ck_assert_uint_eq(n_first, quant_plan_file_bytes(&plan));
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++)
        for (uint64_t memory = 1; memory < 1 << 20; memory *= 32) {
            unit_ok(execute(&plan, path, n_threads, memory, &err), err);
            unsigned char *bytes = unit_read(path, &n);
            ck_assert_uint_eq(n, n_first);
            ck_assert_mem_eq(bytes, first, n);
            free(bytes);
        }
    free(first);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

START_TEST(each_matrix_of_a_stack_has_its_importance) {
    float imp[3 * N_COLS];
    quant_plan plan;
    gguf_error err = {0};
    gguf_file *file;
    for (size_t i = 0; i < 3 * N_COLS; i++) imp[i] = i / N_COLS == 1 && i % 2 ? 1000 : 1;
    build_mixed(&plan, imp);
    const char *path = unit_temp("stack.gguf");
    unit_ok(execute(&plan, path, 2, 1 << 20, &err), err);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    const uint8_t *data = gguf_file_data(file, gguf_file_find_tensor(file, "t4.weight"));
    size_t matrix_bytes = N_ROWS / 3 * quant_row_bytes(GGUF_TYPE_Q4_0, N_COLS);
    uint8_t expected[4096];
    for (size_t m = 0; m < 3; m++) {
        unit_ok(quant_encode(GGUF_TYPE_Q4_0, source + m * N_ROWS / 3 * N_COLS, N_ROWS / 3, N_COLS,
                             imp + m * N_COLS, expected, &err),
                err);
        ck_assert_mem_eq(data + m * matrix_bytes, expected, matrix_bytes);
    }
    gguf_file_close(file);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

START_TEST(failures_leave_no_output) {
    quant_plan plan;
    gguf_error err = {0};
    start_plan(&plan);
    source[5 * N_COLS + 3] = NAN;
    quant_plan_tensor t = memory_tensor("bad.weight", GGUF_TYPE_F32);
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_ok(quant_plan_finish(&plan, &err), err);
    const char *path = unit_temp("failed.gguf");
    unit_fails(execute(&plan, path, 2, 1 << 20, &err), GGUF_E_NONFINITE, "row 5, column 3", err);
    ck_assert_int_ne(access(path, F_OK), 0);
    quant_plan_clear(&plan);
    start_plan(&plan);
    source[0] = INFINITY;
    t.out.type = GGUF_TYPE_Q8_0;
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_ok(quant_plan_finish(&plan, &err), err);
    unit_fails(execute(&plan, path, 1, 1 << 20, &err), GGUF_E_NONFINITE, "'bad.weight'", err);
    ck_assert_int_ne(access(path, F_OK), 0);
    unit_fails(execute(&plan, "/no/such/folder/x.gguf", 1, 1 << 20, &err), GGUF_E_IO, "create",
               err);
    quant_plan_clear(&plan);
}
END_TEST

START_TEST(cancelled_runs_leave_no_output) {
    quant_plan plan;
    gguf_error err = {0};
    gguf_pool *pool;
    atomic_bool cancel = true;
    quant_execute_opts opts = quant_execute_defaults();
    opts.cancel = &cancel;
    build_mixed(&plan, NULL);
    const char *path = unit_temp("cancelled.gguf");
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    unit_fails(quant_execute(&plan, path, pool, &opts, &err), GGUF_E_CANCELLED, "interrupted", err);
    ck_assert_int_ne(access(path, F_OK), 0);
    gguf_pool_free(pool);
    quant_plan_clear(&plan);
}
END_TEST

/* ---- interrupted runs -------------------------------------------------------------------- */

typedef struct interruption {
    atomic_bool cancel;
    uint64_t after_bytes;
} interruption;

static void interrupt(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    interruption *i = ctx;
    (void)total_bytes;
    if (done_bytes >= i->after_bytes) atomic_store(&i->cancel, true);
}

/* One run with --resume that is interrupted after some bytes; UINT64_MAX = never. */
static gguf_code resume_run(quant_plan *plan, const char *path, uint64_t after_bytes,
                            quant_loss *loss, gguf_error *err) {
    gguf_pool *pool;
    interruption i = {.after_bytes = after_bytes};
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = 64 << 10;
    opts.resume = true;
    opts.cancel = &i.cancel;
    opts.progress = interrupt;
    opts.progress_ctx = &i;
    opts.loss = loss;
    *err = (gguf_error){0};
    unit_ok(gguf_pool_new(2, &pool, err), *err);
    gguf_code code = quant_execute(plan, path, pool, &opts, err);
    gguf_pool_free(pool);
    return code;
}

static void part_paths(const char *path, char *part, char *journal) {
    snprintf(part, 600, "%s.part", path);
    snprintf(journal, 600, "%s.part.journal", path);
}

START_TEST(interrupted_runs_go_on) {
    char part[600], journal[600];
    quant_plan plan;
    gguf_error err = {0};
    quant_loss whole[5], pieces[5];
    size_t n, n_expected;
    build_mixed(&plan, NULL);
    const char *path = unit_temp("resumed.gguf");
    part_paths(path, part, journal);
    unit_ok(resume_run(&plan, path, UINT64_MAX, whole, &err), err);
    unsigned char *expected = unit_read(path, &n_expected);
    unlink(path);
    for (uint64_t after = 1000; after < quant_plan_data_bytes(&plan); after += 3000)
        ck_assert_int_eq(resume_run(&plan, path, after, pieces, &err), GGUF_E_CANCELLED);
    ck_assert_int_eq(access(part, F_OK), 0);
    ck_assert_int_ne(access(path, F_OK), 0);
    /* What a crash of the machine did to the data is found and written again. */
    unsigned char *bytes = unit_read(part, &n);
    bytes[n_expected - 100] ^= 1;
    bytes[n_expected / 2] ^= 1;
    unit_write(part, bytes, n);
    free(bytes);
    unit_ok(resume_run(&plan, path, UINT64_MAX, pieces, &err), err);
    bytes = unit_read(path, &n);
    ck_assert_uint_eq(n, n_expected);
    ck_assert_mem_eq(bytes, expected, n);
    ck_assert_mem_eq(pieces, whole, sizeof whole);
    ck_assert_int_ne(access(journal, F_OK), 0);
    free(bytes);
    free(expected);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

/* Pieces are those of the plan: any number of threads and any memory finds what another run noted,
 * also where its steps are smaller than a piece. */
START_TEST(other_threads_and_memory_go_on) {
    enum { MANY_ROWS = 1200, MANY_COLS = 512, PIECE_ROWS = 512 };
    gguf_error err = {0};
    gguf_pool *pool;
    size_t n, n_expected;
    float *numbers = malloc(MANY_ROWS * MANY_COLS * sizeof *numbers);
    for (int i = 0; i < MANY_ROWS * MANY_COLS; i++) numbers[i] = (float)(i % 1013) - 500;
    quant_plan plan;
    start_plan(&plan);
    quant_plan_tensor t = memory_tensor("many.weight", GGUF_TYPE_Q8_0);
    t.out.dims[0] = t.n_cols = MANY_COLS;
    t.out.dims[1] = t.n_rows = MANY_ROWS;
    t.source.memory = numbers;
    t.source.n_bytes = MANY_ROWS * MANY_COLS * sizeof *numbers;
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_ok(quant_plan_finish(&plan, &err), err);
    const char *path = unit_temp("many.gguf");
    unit_ok(execute(&plan, path, 1, 1 << 20, &err), err);
    unsigned char *expected = unit_read(path, &n_expected);
    unlink(path);
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        uint64_t resumed = 0;
        interruption i = {.after_bytes = 1};
        quant_execute_opts opts = quant_execute_defaults();
        opts.resume = true;
        opts.max_memory_bytes = UINT64_C(1) << 14 * n_threads;
        opts.cancel = &i.cancel;
        opts.progress = interrupt;
        opts.progress_ctx = &i;
        unit_ok(gguf_pool_new(1, &pool, &err), err);
        ck_assert_int_eq(quant_execute(&plan, path, pool, &opts, &err), GGUF_E_CANCELLED);
        gguf_pool_free(pool);
        err = (gguf_error){0};
        opts = quant_execute_defaults();
        opts.resume = true;
        opts.max_memory_bytes = UINT64_C(1) << (30 - 8 * n_threads);
        opts.resumed_bytes = &resumed;
        unit_ok(gguf_pool_new(n_threads, &pool, &err), err);
        unit_ok(quant_execute(&plan, path, pool, &opts, &err), err);
        gguf_pool_free(pool);
        ck_assert_uint_eq(resumed, PIECE_ROWS * quant_row_bytes(GGUF_TYPE_Q8_0, MANY_COLS));
        unsigned char *bytes = unit_read(path, &n);
        ck_assert_uint_eq(n, n_expected);
        ck_assert_mem_eq(bytes, expected, n);
        free(bytes);
        unlink(path);
    }
    free(expected);
    free(numbers);
    quant_plan_clear(&plan);
}
END_TEST

/* What decides the numbers beside the plan: the tokens of a calibration, for one. */
START_TEST(other_inputs_do_not_go_on) {
    gguf_error err = {0};
    gguf_pool *pool;
    quant_plan plan;
    build_mixed(&plan, NULL);
    const char *path = unit_temp("inputs.gguf");
    interruption i = {.after_bytes = 1};
    quant_execute_opts opts = quant_execute_defaults();
    opts.resume = true;
    opts.inputs_hash = 1;
    opts.cancel = &i.cancel;
    opts.progress = interrupt;
    opts.progress_ctx = &i;
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    ck_assert_int_eq(quant_execute(&plan, path, pool, &opts, &err), GGUF_E_CANCELLED);
    opts.cancel = NULL;
    opts.inputs_hash = 2;
    err = (gguf_error){0};
    unit_fails(quant_execute(&plan, path, pool, &opts, &err), GGUF_E_CHECK, "other inputs", err);
    opts.inputs_hash = 1;
    err = (gguf_error){0};
    unit_ok(quant_execute(&plan, path, pool, &opts, &err), err);
    gguf_pool_free(pool);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

START_TEST(another_plan_does_not_go_on) {
    char part[600], journal[600];
    quant_plan plan, other;
    gguf_error err = {0};
    build_mixed(&plan, NULL);
    const char *path = unit_temp("other.gguf");
    part_paths(path, part, journal);
    ck_assert_int_eq(resume_run(&plan, path, 1, NULL, &err), GGUF_E_CANCELLED);
    quant_plan_clear(&plan);
    start_plan(&other);
    source[0] = 17;
    quant_plan_tensor t = memory_tensor("t0.weight", GGUF_TYPE_F32);
    unit_ok(quant_plan_add(&other, &t, &err), err);
    unit_ok(quant_plan_finish(&other, &err), err);
    unit_fails(resume_run(&other, path, UINT64_MAX, NULL, &err), GGUF_E_CHECK, "other inputs", err);
    ck_assert_int_eq(access(part, F_OK), 0);
    /* Without --resume it starts afresh. */
    unit_ok(execute(&other, path, 1, 1 << 20, &err), err);
    ck_assert_int_ne(access(part, F_OK), 0);
    ck_assert_int_ne(access(journal, F_OK), 0);
    quant_plan_clear(&other);
    unlink(path);
}
END_TEST

START_TEST(torn_journals_are_read_up_to_the_tear) {
    char part[600], journal[600];
    quant_plan plan;
    gguf_error err = {0};
    size_t n, n_expected;
    build_mixed(&plan, NULL);
    const char *path = unit_temp("torn.gguf");
    part_paths(path, part, journal);
    unit_ok(execute(&plan, path, 1, 1 << 20, &err), err);
    unsigned char *expected = unit_read(path, &n_expected);
    unlink(path);
    ck_assert_int_eq(resume_run(&plan, path, 9000, NULL, &err), GGUF_E_CANCELLED);
    unsigned char *bytes = unit_read(journal, &n);
    unit_write(journal, bytes, n - 13);
    free(bytes);
    unit_ok(resume_run(&plan, path, UINT64_MAX, NULL, &err), err);
    bytes = unit_read(path, &n);
    ck_assert_uint_eq(n, n_expected);
    ck_assert_mem_eq(bytes, expected, n);
    free(bytes);
    free(expected);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

/* ---- several files ----------------------------------------------------------------------- */

START_TEST(plans_are_split) {
    quant_plan plan;
    gguf_error err = {0};
    gguf_file *whole, *split;
    char first[600];
    build_mixed(&plan, NULL);
    const char *path = unit_temp("whole.gguf"), *parts = unit_temp("parts.gguf");
    unit_ok(execute(&plan, path, 1, 1 << 20, &err), err);
    quant_plan_clear(&plan);
    build_unfinished(&plan, NULL);
    plan.split.max_tensors = 2;
    unit_ok(quant_plan_finish(&plan, &err), err);
    ck_assert_uint_eq(plan.n_shards, 3);
    unit_ok(execute(&plan, parts, 2, 1 << 20, &err), err);
    unit_ok(quant_shard_path(parts, 3, 0, first, sizeof first, &err), err);
    unit_ok(gguf_file_open(first, GGUF_OPEN_DEFAULT, &split, &err), err);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &whole, &err), err);
    ck_assert_uint_eq(gguf_file_n_tensors(split), gguf_file_n_tensors(whole));
    for (size_t i = 0; i < gguf_file_n_tensors(whole); i++) {
        const gguf_tensor *a = gguf_file_tensor(whole, i), *b = gguf_file_tensor(split, i);
        ck_assert_uint_eq(b->shard, i / 2);
        ck_assert_mem_eq(gguf_file_data(whole, a), gguf_file_data(split, b), a->n_bytes);
    }
    gguf_file_close(whole);
    gguf_file_close(split);
    for (uint32_t no = 0; no < 3; no++) {
        unit_ok(quant_shard_path(parts, 3, no, first, sizeof first, &err), err);
        unlink(first);
    }
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

/* ---- checks ------------------------------------------------------------------------------ */

START_TEST(plans_are_checked) {
    quant_plan plan;
    gguf_error err = {0};
    start_plan(&plan);
    quant_plan_tensor t = memory_tensor("short.weight", GGUF_TYPE_F32);
    t.source.n_bytes -= 4;
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_fails(quant_plan_finish(&plan, &err), GGUF_E_SHAPE, "needs another number", err);
    quant_plan_clear(&plan);
    err = (gguf_error){0};
    start_plan(&plan);
    t = memory_tensor("int.weight", GGUF_TYPE_I32);
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_fails(quant_plan_finish(&plan, &err), GGUF_E_UNSUPPORTED, "F32 to I32", err);
    quant_plan_clear(&plan);
}
END_TEST

START_TEST(losses_are_measured) {
    quant_plan plan;
    gguf_error err = {0};
    gguf_pool *pool;
    quant_loss loss[5];
    quant_execute_opts opts = quant_execute_defaults();
    opts.loss = loss;
    opts.replace = true;
    build_mixed(&plan, NULL);
    const char *path = unit_temp("loss.gguf");
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    unit_ok(quant_execute(&plan, path, pool, &opts, &err), err);
    ck_assert(loss[0].rmse == 0);
    ck_assert(loss[3].rmse > 0 && loss[3].rmse < 1);
    ck_assert(loss[4].rmse > loss[3].rmse);
    ck_assert(loss[4].rmse == loss[4].weighted_rmse);
    gguf_pool_free(pool);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

/* ---- sources that are no plain rows -------------------------------------------------------- */

/* Execute a plan of one tensor with several chunk sizes; the F32 data, which must not depend on
 * them, malloc'ed. */
static float *execute_one(const quant_plan_tensor *t) {
    quant_plan plan;
    gguf_error err = {0};
    size_t n = (size_t)gguf_tensor_n_elems(&t->out);
    float *first = NULL;
    start_plan(&plan);
    unit_ok(quant_plan_add(&plan, t, &err), err);
    unit_ok(quant_plan_finish(&plan, &err), err);
    const char *path = unit_temp("one.gguf");
    for (uint64_t memory = 1; memory < 1 << 20; memory *= 64) {
        gguf_file *file;
        float *data = malloc(n * sizeof *data);
        ck_assert_ptr_nonnull(data);
        unit_ok(execute(&plan, path, 2, memory, &err), err);
        unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
        memcpy(data, gguf_file_data(file, gguf_file_tensor(file, 0)), n * sizeof *data);
        gguf_file_close(file);
        if (first) ck_assert_mem_eq(data, first, n * sizeof *data);
        free(first);
        first = data;
    }
    quant_plan_clear(&plan);
    unlink(path);
    return first;
}

START_TEST(stacks_are_transposed_and_split) {
    quant_source stack[3];
    quant_plan_tensor t = memory_tensor("parts.weight", GGUF_TYPE_F32);
    fill_source();
    /* of each 8 x 64 matrix the columns 1, 3, ... as rows */
    for (size_t m = 0; m < 3; m++) {
        stack[m] = t.source;
        stack[m].first = m * 8 * N_COLS + 1;
    }
    t.stack = stack;
    t.view = (quant_view){.row_stride = 2, .col_stride = N_COLS};
    t.n_cols = 8;
    t.n_rows = 3 * N_COLS / 2;
    t.out.n_dims = 3;
    t.out.dims[0] = 8;
    t.out.dims[1] = N_COLS / 2;
    t.out.dims[2] = 3;
    float *out = execute_one(&t);
    for (size_t m = 0; m < 3; m++)
        for (size_t r = 0; r < N_COLS / 2; r++)
            for (size_t c = 0; c < 8; c++)
                ck_assert(out[(m * N_COLS / 2 + r) * 8 + c] ==
                          source[(m * 8 + c) * N_COLS + 2 * r + 1]);
    free(out);
}
END_TEST

START_TEST(every_second_row_and_a_constant) {
    quant_plan_tensor t = memory_tensor("rows.weight", GGUF_TYPE_F32);
    fill_source();
    t.source.first = N_COLS;
    t.view = (quant_view){.row_stride = 2 * N_COLS, .col_stride = 1};
    t.n_rows = t.out.dims[1] = N_ROWS / 2;
    t.steps[t.n_steps++] = (quant_step){QUANT_STEP_ADD, 1};
    float *out = execute_one(&t);
    for (size_t r = 0; r < N_ROWS / 2; r++)
        for (size_t c = 0; c < N_COLS; c++)
            ck_assert(out[r * N_COLS + c] == source[(2 * r + 1) * N_COLS + c] + 1);
    free(out);
}
END_TEST

/* 24 x 64 codes with a scale per 16 x 48 block: 2 x 2 scales, the last ones of cut blocks. */
static quant_plan_tensor fp8_tensor(quant_coding coding, const uint8_t *codes,
                                    const float *scales) {
    quant_plan_tensor t = memory_tensor("fp8.weight", GGUF_TYPE_F32);
    t.source.memory = codes;
    t.source.n_bytes = N_ROWS * N_COLS;
    t.source.scales = (quant_bytes){.memory = scales, .n_bytes = 4 * sizeof *scales};
    t.scaling = (quant_scaling){N_COLS, 16, 48, GGUF_TYPE_F32};
    t.coding = coding;
    return t;
}

START_TEST(fp8_codes_are_scaled_by_block) {
    static const float scales[4] = {1, 2, 4, 8};
    static const uint8_t e4m3[4] = {0x38, 0xb8, 0x7e, 0x01}, e5m2[4] = {0x3c, 0xbc, 0x7b, 0x01};
    static const float value[2][4] = {{1, -1, 448, 0x1p-9f}, {1, -1, 57344, 0x1p-16f}};
    uint8_t codes[N_ROWS * N_COLS];
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < sizeof codes; i++) codes[i] = (kind ? e5m2 : e4m3)[i % 4];
        quant_plan_tensor t =
            fp8_tensor(kind ? QUANT_CODING_E5M2 : QUANT_CODING_E4M3, codes, scales);
        float *out = execute_one(&t);
        for (size_t i = 0; i < sizeof codes; i++) {
            size_t block = i / N_COLS / 16 * 2 + i % N_COLS / 48;
            ck_assert(out[i] == value[kind][i % 4] * scales[block]);
        }
        free(out);
    }
}
END_TEST

/* The hash of a source is that of all it reads: codes and scales. */
START_TEST(scales_are_part_of_the_source_hash) {
    float scales[4] = {1, 2, 4, 8};
    static const uint8_t codes[N_ROWS * N_COLS] = {3};
    uint8_t read[sizeof codes + sizeof scales];
    gguf_error err = {0};
    gguf_hash hash[2];
    gguf_pool *pool;
    char expected[17];
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    for (int i = 0; i < 2; i++, scales[3] = 9) {
        quant_plan plan;
        start_plan(&plan);
        quant_plan_tensor t = fp8_tensor(QUANT_CODING_E4M3, codes, scales);
        unit_ok(quant_plan_add(&plan, &t, &err), err);
        unit_ok(quant_source_hashes(&plan, pool, NULL, &hash[i], &err), err);
        memcpy(read, codes, sizeof codes);
        memcpy(read + sizeof codes, scales, sizeof scales);
        snprintf(expected, sizeof expected, "%016llx",
                 (unsigned long long)gguf_xxh3(read, sizeof read, 0));
        ck_assert_str_eq(hash[i].hex, expected);
        quant_plan_clear(&plan);
    }
    ck_assert_str_ne(hash[0].hex, hash[1].hex);
    gguf_pool_free(pool);
}
END_TEST

START_TEST(rows_of_codes_move_with_their_scales) {
    static const float scales[4] = {1, 2, 4, 8};
    static const uint8_t codings[4] = {0x38, 0x40, 0x48, 0x50}; /* 1, 2, 4, 8 */
    uint8_t codes[N_ROWS * N_COLS];
    for (size_t i = 0; i < sizeof codes; i++) codes[i] = codings[(i / N_COLS + i) % 4];
    quant_plan_tensor t = fp8_tensor(QUANT_CODING_E4M3, codes, scales);
    float *plain = execute_one(&t);
    /* 4 groups of 6 rows become 6 groups of 4; the halves of the columns change places */
    t.row_order = (quant_order){{{0, 6, 4, 1, 6, 1}}, 1};
    t.col_order =
        (quant_order){{{N_COLS / 2, 1, 1, 0, 0, N_COLS / 2}, {0, 1, 1, 0, 0, N_COLS / 2}}, 2};
    float *moved = execute_one(&t);
    for (size_t r = 0; r < N_ROWS; r++)
        for (size_t c = 0; c < N_COLS; c++)
            ck_assert(moved[r * N_COLS + c] ==
                      plain[(r % 4 * 6 + r / 4) * N_COLS + (c + N_COLS / 2) % N_COLS]);
    free(plain);
    free(moved);
}
END_TEST

START_TEST(scales_must_cover_the_tensor) {
    static const float scales[4] = {1, 1, 1, 1};
    static const uint8_t codes[N_ROWS * N_COLS];
    quant_plan plan;
    gguf_error err = {0};
    start_plan(&plan);
    quant_plan_tensor t = fp8_tensor(QUANT_CODING_E4M3, codes, scales);
    t.scaling.block_rows = 8;
    unit_ok(quant_plan_add(&plan, &t, &err), err);
    unit_fails(quant_plan_finish(&plan, &err), GGUF_E_SHAPE, "do not cover", err);
    quant_plan_clear(&plan);
}
END_TEST

START_TEST(mxfp4_is_repacked) {
    uint8_t blocks[N_ROWS * N_COLS / 2], exponents[N_ROWS * N_COLS / 32];
    static const float fp4[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i < sizeof exponents; i++) exponents[i] = (uint8_t)(120 + i % 16);
    quant_plan_tensor t = memory_tensor("mxfp4.weight", GGUF_TYPE_F32);
    t.source.memory = blocks;
    t.source.n_bytes = sizeof blocks;
    t.source.scales = (quant_bytes){.memory = exponents, .n_bytes = sizeof exponents};
    t.scaling = (quant_scaling){N_COLS, 1, 32, 0};
    t.coding = QUANT_CODING_MXFP4;
    t.source_type = GGUF_TYPE_MXFP4;
    float *out = execute_one(&t);
    for (size_t i = 0; i < N_ROWS * N_COLS; i++) {
        unsigned code = blocks[i / 2] >> 4 * (i % 2) & 15;
        float value = ldexpf(fp4[code & 7], exponents[i / 32] - 127);
        ck_assert(out[i] == (code & 8 ? -value : value));
    }
    free(out);
}
END_TEST

/* Rows with heads are read as whole ones. */
START_TEST(rows_with_heads_are_decoded) {
    enum { ROW = 8 + N_COLS };
    uint8_t rows[N_ROWS * ROW];
    for (size_t i = 0; i < sizeof rows; i++) rows[i] = (uint8_t)(i * 37);
    for (size_t r = 0; r < N_ROWS; r++) memcpy(rows + r * ROW, &(float){ldexpf(1, (int)r)}, 4);
    quant_plan_tensor t = memory_tensor("bytes.weight", GGUF_TYPE_F32);
    t.source.memory = rows;
    t.source.n_bytes = sizeof rows;
    t.source_type = GGUF_TYPE_Q8_KV;
    float *out = execute_one(&t);
    for (size_t i = 0; i < N_ROWS * N_COLS; i++) {
        size_t r = i / N_COLS;
        ck_assert(out[i] == ldexpf((int8_t)rows[r * ROW + 8 + i % N_COLS], (int)r));
    }
    free(out);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("execute");
    TCase *tests = tcase_create("plans");
    tcase_add_test(tests, heads_are_permuted);
    tcase_add_test(tests, bytes_do_not_depend_on_threads_or_memory);
    tcase_add_test(tests, each_matrix_of_a_stack_has_its_importance);
    tcase_add_test(tests, failures_leave_no_output);
    tcase_add_test(tests, cancelled_runs_leave_no_output);
    tcase_add_test(tests, interrupted_runs_go_on);
    tcase_add_test(tests, another_plan_does_not_go_on);
    tcase_add_test(tests, other_threads_and_memory_go_on);
    tcase_add_test(tests, other_inputs_do_not_go_on);
    tcase_add_test(tests, torn_journals_are_read_up_to_the_tear);
    tcase_add_test(tests, plans_are_split);
    tcase_add_test(tests, plans_are_checked);
    tcase_add_test(tests, losses_are_measured);
    tcase_add_test(tests, stacks_are_transposed_and_split);
    tcase_add_test(tests, every_second_row_and_a_constant);
    tcase_add_test(tests, fp8_codes_are_scaled_by_block);
    tcase_add_test(tests, scales_are_part_of_the_source_hash);
    tcase_add_test(tests, rows_of_codes_move_with_their_scales);
    tcase_add_test(tests, scales_must_cover_the_tensor);
    tcase_add_test(tests, mxfp4_is_repacked);
    tcase_add_test(tests, rows_with_heads_are_decoded);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
