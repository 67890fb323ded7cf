/* The CPU backend: its table, its working memory, and the operations that go row by row. */
#include "runtime/cpu/cpu_internal.h"

#include <stdlib.h>

enum { ROW_TASK_ELEMS = 32768 }; /* about what makes a task worth its call */

/* ---- rows in parallel ---------------------------------------------------------------------------
 */

typedef struct row_job {
    const rt_cpu *cpu;
    void (*fn)(const struct row_job *job, size_t row);
    size_t n_rows, task_rows, n_cols;
    const float *x, *y;
    float *out;
    float eps;
    const rt_weight *table;
    const int32_t *tokens;
    rt_rope rope;
    uint32_t n_rot, n_head;
} row_job;

static void row_task(void *ctx, size_t task, unsigned worker) {
    const row_job *job = ctx;
    size_t end = (task + 1) * job->task_rows;
    (void)worker;
    if (end > job->n_rows) end = job->n_rows;
    for (size_t row = task * job->task_rows; row < end; row++) job->fn(job, row);
}

static void run_rows(row_job *job) {
    job->task_rows = ROW_TASK_ELEMS / job->n_cols + 1;
    size_t n_tasks = (job->n_rows + job->task_rows - 1) / job->task_rows;
    gguf_pool_run(job->cpu->pool, n_tasks, row_task, job);
}

/* ---- operations ---------------------------------------------------------------------------------
 */

static void embed_row(const row_job *job, size_t row) {
    const rt_weight *table = job->table;
    uint64_t off = (uint64_t)job->tokens[row] * table->row_bytes;
    quant_decode(table->type, (const uint8_t *)table->data + off, 1, table->n_cols,
                 job->out + row * job->n_cols, NULL);
}

static void embed(rt_backend *backend, const rt_weight *table, const int32_t *tokens, size_t n,
                  float *out) {
    row_job job = {.cpu = rt_cpu_of(backend), .fn = embed_row, .table = table, .tokens = tokens};
    job.n_rows = n;
    job.n_cols = table->n_cols;
    job.out = out;
    run_rows(&job);
}

static void norm_row(const row_job *job, size_t row) {
    size_t off = row * job->n_cols;
    job->cpu->kernels->norm_rms(job->x + off, job->y, job->eps, job->n_cols, job->out + off);
}

static void norm_rms(rt_backend *backend, const float *x, const float *weight, float eps, size_t n,
                     size_t n_cols, float *out) {
    row_job job = {.cpu = rt_cpu_of(backend), .fn = norm_row, .x = x, .y = weight, .eps = eps};
    job.n_rows = n;
    job.n_cols = n_cols;
    job.out = out;
    run_rows(&job);
}

/* Dimensions a and b of pair i are next to each other, or half a turn's width apart. */
static void rope_row(const row_job *job, size_t row) {
    uint32_t n_pairs = job->n_rot / 2, head_dim = (uint32_t)job->n_cols / job->n_head;
    uint32_t step = job->rope == RT_ROPE_ADJACENT ? 2 : 1;
    uint32_t apart = job->rope == RT_ROPE_ADJACENT ? 1 : n_pairs;
    const float *turn = job->y + row * job->n_rot;
    for (uint32_t head = 0; head < job->n_head; head++) {
        float *x = job->out + row * job->n_cols + (size_t)head * head_dim;
        for (uint32_t i = 0; i < n_pairs; i++, x += step) {
            float a = x[0], b = x[apart], cosine = turn[2 * i], sine = turn[2 * i + 1];
            x[0] = a * cosine - b * sine;
            x[apart] = a * sine + b * cosine;
        }
    }
}

static void rope(rt_backend *backend, rt_rope kind, const float *table, uint32_t n_rot, float *x,
                 size_t n, uint32_t n_head, uint32_t head_dim) {
    row_job job = {.cpu = rt_cpu_of(backend), .fn = rope_row, .rope = kind, .y = table};
    if (kind == RT_ROPE_NONE || n_rot == 0) return;
    job.n_rows = n;
    job.n_cols = (size_t)n_head * head_dim;
    job.n_rot = n_rot;
    job.n_head = n_head;
    job.out = x;
    run_rows(&job);
}

static void gated_row(const row_job *job, size_t row) {
    size_t off = row * job->n_cols;
    job->cpu->kernels->silu_gated(job->out + off, job->x + off, job->n_cols);
}

static void gated(rt_backend *backend, rt_activation activation, float *gate, const float *up,
                  size_t n, size_t n_cols) {
    row_job job = {.cpu = rt_cpu_of(backend), .fn = gated_row, .x = up, .out = gate};
    (void)activation; /* the only one that a description may name so far */
    job.n_rows = n;
    job.n_cols = n_cols;
    run_rows(&job);
}

static void add_row(const row_job *job, size_t row) {
    size_t off = row * job->n_cols;
    job->cpu->kernels->add(job->out + off, job->x + off, job->n_cols);
}

static void add(rt_backend *backend, float *x, const float *y, size_t n, size_t n_cols) {
    row_job job = {.cpu = rt_cpu_of(backend), .fn = add_row, .x = y, .out = x};
    job.n_rows = n;
    job.n_cols = n_cols;
    run_rows(&job);
}

/* ---- the backend --------------------------------------------------------------------------------
 */

static void cpu_free(rt_backend *backend) {
    free(rt_cpu_of(backend));
}

static const rt_backend_ops cpu_ops = {
    .name = "cpu",
    .free = cpu_free,
    .embed = embed,
    .norm_rms = norm_rms,
    .set_input = rt_cpu_set_input,
    .matmul = rt_cpu_matmul,
    .rope = rope,
    .kv_store = rt_cpu_kv_store,
    .attention = rt_cpu_attention,
    .gated = gated,
    .add = add,
};

/* Of one worker, in whole cache lines. */
static uint64_t scratch_bytes(const rt_hparams *hp) {
    uint64_t matmul = rt_cpu_matmul_scratch(), attention = rt_cpu_attention_scratch(hp);
    return rt_round_up(matmul > attention ? matmul : attention, 64);
}

uint64_t rt_cpu_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads) {
    return rt_round_up(rt_cpu_acts_bytes(hp, n_batch), 64) + n_threads * scratch_bytes(hp);
}

gguf_code rt_cpu_new(const rt_hparams *hp, uint32_t n_batch, bool exact, gguf_pool *pool,
                     void *work, rt_backend **out, gguf_error *err) {
    rt_cpu *cpu = calloc(1, sizeof *cpu);
    *out = NULL;
    if (!cpu) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    cpu->base.ops = &cpu_ops;
    cpu->kernels = rt_cpu_kernels_get();
    cpu->pool = pool;
    cpu->exact = exact;
    cpu->acts = work;
    cpu->scratch = (uint8_t *)work + rt_round_up(rt_cpu_acts_bytes(hp, n_batch), 64);
    cpu->scratch_bytes = scratch_bytes(hp);
    *out = &cpu->base;
    return GGUF_OK;
}
