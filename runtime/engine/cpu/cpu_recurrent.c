/* Layers with a state: every task takes some channels, or some rows of a head's state, through all
 * runs of the batch, token by token. So a token's result depends neither on the division into
 * batches nor on its neighbours. */
#include "runtime/engine/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

enum {
    TASK_CHANNELS = 256, /* whole vectors */
    TASK_ROWS = RT_SCAN_CHANNELS,
    SCAN_TOKENS = 64,
    DELTA_TOKENS = 16
};

typedef struct head_rows head_rows;
typedef struct recurrent_job recurrent_job;

struct recurrent_job {
    const rt_cpu *cpu;
    const rt_state_layer *state;
    const rt_batch *batch;
    const rt_conv *conv;
    const rt_mamba *mamba;
    const rt_mamba2 *mamba2;
    const rt_gated_delta *delta;
    const rt_kda *kda;
    const rt_block_pool *pool;
    const float *q, *k, *f; /* of the last */
    float *x, *y;
    const float *dt, *bc, *before, *after;
    size_t x_stride, dt_stride, bc_stride;
    uint32_t head_tasks; /* of one head */
    /* Of the delta rules: width of a state, and what some tokens make of rows of one. */
    uint32_t n_state;
    void (*tokens)(const recurrent_job *job, const head_rows *h, size_t first, size_t n,
                   float *scratch);
};

static float *state_at(const recurrent_job *job, uint32_t slot) {
    uint64_t off = job->state->off + slot * job->state->slot_bytes;
    return (float *)(void *)(job->cpu->cache + off);
}

/* Floats of a layer's state, from where a run begins to where it ends. */
static float *begin_state(const recurrent_job *job, const rt_run *run, size_t off, size_t n) {
    float *to = state_at(job, run->to) + off;
    if (run->from == RT_NO_SLOT)
        memset(to, 0, n * sizeof *to);
    else
        memcpy(to, state_at(job, run->from) + off, n * sizeof *to);
    return to;
}

/* ---- convolution -------------------------------------------------------------------------------
 */

static void conv_task(void *ctx, size_t task, unsigned worker) {
    const recurrent_job *job = ctx;
    const rt_conv *conv = job->conv;
    uint32_t first = (uint32_t)task * TASK_CHANNELS, n = conv->n_channels - first;
    (void)worker;
    if (n > TASK_CHANNELS) n = TASK_CHANNELS;
    for (size_t i = 0; i < job->batch->n_runs; i++) {
        const rt_run *run = &job->batch->runs[i];
        for (uint32_t tap = 0; tap + 1 < conv->n_kernel; tap++)
            begin_state(job, run, (size_t)tap * conv->n_channels + first, n);
        size_t row = run->row * job->x_stride;
        const rt_conv_rows rows = {.x = job->x + row,
                                   .before = job->before ? job->before + row : NULL,
                                   .after = job->after ? job->after + row : NULL,
                                   .stride = job->x_stride,
                                   .n = run->n};
        job->cpu->kernels->conv(conv, first, n, state_at(job, run->to), &rows);
    }
}

void rt_cpu_conv(rt_backend *backend, const rt_conv *conv, const rt_state_layer *state,
                 const rt_batch *batch, rt_off x, size_t x_stride, rt_off before, rt_off after) {
    recurrent_job job = {.cpu = rt_cpu_of(backend), .state = state, .batch = batch, .conv = conv};
    job.x = rt_cpu_at(backend, x);
    job.before = before == RT_NO_OFF ? NULL : rt_cpu_at(backend, before);
    job.after = after == RT_NO_OFF ? NULL : rt_cpu_at(backend, after);
    job.x_stride = x_stride;
    gguf_pool_run(job.cpu->pool, (conv->n_channels + TASK_CHANNELS - 1) / TASK_CHANNELS, conv_task,
                  &job);
}

/* ---- Mamba -------------------------------------------------------------------------------------
 */

static void mamba_task(void *ctx, size_t task, unsigned worker) {
    const recurrent_job *job = ctx;
    const rt_mamba *m = job->mamba;
    uint32_t first = (uint32_t)task * TASK_ROWS, n = m->n_channels - first;
    (void)worker;
    if (n > TASK_ROWS) n = TASK_ROWS;
    for (size_t i = 0; i < job->batch->n_runs; i++) {
        const rt_run *run = &job->batch->runs[i];
        const size_t row = run->row;
        float *held = begin_state(job, run, (size_t)first * m->n_state, (size_t)n * m->n_state);
        const rt_channel_scan scan = {.a = m->a + (size_t)first * m->n_state,
                                      .d = m->d + first,
                                      .u = job->x + row * job->x_stride + first,
                                      .b = job->bc + row * job->bc_stride,
                                      .c = job->bc + row * job->bc_stride + m->n_state,
                                      .dt = job->dt + row * m->n_channels + first,
                                      .u_stride = job->x_stride,
                                      .bc_stride = job->bc_stride,
                                      .dt_stride = m->n_channels,
                                      .n_tokens = run->n,
                                      .n_channels = n,
                                      .n_state = m->n_state};
        job->cpu->kernels->scan_channels(&scan, held, job->y + row * m->n_channels + first);
    }
}

void rt_cpu_mamba(rt_backend *backend, const rt_mamba *mamba, const rt_state_layer *state,
                  const rt_batch *batch, rt_off x, size_t x_stride, rt_off bc, size_t bc_stride,
                  rt_off dt, rt_off y) {
    recurrent_job job = {.cpu = rt_cpu_of(backend), .state = state, .batch = batch, .mamba = mamba};
    job.x = rt_cpu_at(backend, x);
    job.x_stride = x_stride;
    job.bc = rt_cpu_at(backend, bc);
    job.bc_stride = bc_stride;
    job.dt = rt_cpu_at(backend, dt);
    job.y = rt_cpu_at(backend, y);
    gguf_pool_run(job.cpu->pool, (mamba->n_channels + TASK_ROWS - 1) / TASK_ROWS, mamba_task, &job);
}

/* ---- Mamba 2 -----------------------------------------------------------------------------------
 */

/* ln(1 + e^x) */
static float softplus(float x) {
    return x > 20 ? x : log1pf(expf(x));
}

/* Some rows of one head's state. */
struct head_rows {
    uint32_t head, row, n_rows;
    float *state;
};

/* At most SCAN_TOKENS tokens from row `first` of the batch on. */
static void scan_tokens(const recurrent_job *job, const head_rows *h, size_t first, size_t n) {
    const rt_mamba2 *m = job->mamba2;
    size_t inner = (size_t)m->n_head * m->head_dim, group = h->head / (m->n_head / m->n_group);
    const float *x = job->x + first * job->x_stride;
    size_t column = (size_t)h->head * m->head_dim + h->row;
    float dt[SCAN_TOKENS], decay[SCAN_TOKENS];
    for (size_t t = 0; t < n; t++) {
        dt[t] = softplus(job->dt[(first + t) * job->dt_stride + h->head] + m->dt_bias[h->head]);
        decay[t] = expf(dt[t] * m->a[h->head]);
    }
    const rt_scan scan = {.b = x + inner + group * m->n_state,
                          .c = x + inner + (m->n_group + group) * m->n_state,
                          .dt = dt,
                          .decay = decay,
                          .d = m->d[h->head],
                          .n_tokens = n,
                          .x_stride = job->x_stride,
                          .y_stride = inner,
                          .n_state = m->n_state};
    job->cpu->kernels->scan(&scan, h->state, x + column, h->n_rows,
                            job->y + first * inner + column);
}

static void mamba2_task(void *ctx, size_t task, unsigned worker) {
    const recurrent_job *job = ctx;
    const rt_mamba2 *m = job->mamba2;
    head_rows h = {.head = (uint32_t)(task / job->head_tasks),
                   .row = (uint32_t)(task % job->head_tasks) * TASK_ROWS};
    (void)worker;
    h.n_rows = m->head_dim - h.row < TASK_ROWS ? m->head_dim - h.row : TASK_ROWS;
    for (size_t i = 0; i < job->batch->n_runs; i++) {
        const rt_run *run = &job->batch->runs[i];
        size_t off = ((size_t)h.head * m->head_dim + h.row) * m->n_state;
        h.state = begin_state(job, run, off, (size_t)h.n_rows * m->n_state);
        for (size_t t = 0; t < run->n; t += SCAN_TOKENS)
            scan_tokens(job, &h, run->row + t, run->n - t < SCAN_TOKENS ? run->n - t : SCAN_TOKENS);
    }
}

void rt_cpu_mamba2(rt_backend *backend, const rt_mamba2 *mamba2, const rt_state_layer *state,
                   const rt_batch *batch, rt_off x, size_t x_stride, rt_off dt, size_t dt_stride,
                   rt_off y) {
    recurrent_job job = {
        .cpu = rt_cpu_of(backend), .state = state, .batch = batch, .mamba2 = mamba2};
    job.x = rt_cpu_at(backend, x);
    job.x_stride = x_stride;
    job.dt = rt_cpu_at(backend, dt);
    job.dt_stride = dt_stride;
    job.y = rt_cpu_at(backend, y);
    job.head_tasks = (mamba2->head_dim + TASK_ROWS - 1) / TASK_ROWS;
    gguf_pool_run(job.cpu->pool, (size_t)mamba2->n_head * job.head_tasks, mamba2_task, &job);
}

/* ---- gated delta rule --------------------------------------------------------------------------
 */

/* Queries and keys of some tokens, normed, and decays of channels. */
uint64_t rt_cpu_recurrent_scratch(const rt_hparams *hp) {
    return UINT64_C(3) * DELTA_TOKENS * hp->ssm_d_state * sizeof(float);
}

static float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

/* Decay and beta of a head at some row of the batch. */
static void delta_gates(const recurrent_job *job, uint32_t head, size_t row, float *decay,
                        float *beta) {
    const rt_gated_delta *d = job->delta;
    uint32_t group = d->tiled ? d->n_head : d->n_head / d->n_head_k;
    const float *ba = job->dt + row * 2 * d->n_head + (size_t)head / group * 2 * group;
    *beta = sigmoid(ba[head % group]);
    *decay = expf(d->a[head] * softplus(ba[group + head % group] + d->dt_bias[head]));
}

/* At most DELTA_TOKENS tokens from row `first` of the batch on. */
static void delta_tokens(const recurrent_job *job, const head_rows *h, size_t first, size_t n,
                         float *scratch) {
    const rt_gated_delta *d = job->delta;
    const rt_cpu_kernels *kernels = job->cpu->kernels;
    uint32_t dim = d->n_state, per_key = d->n_head / d->n_head_k;
    size_t key_head = d->tiled ? h->head % d->n_head_k : h->head / per_key;
    size_t keys = (size_t)d->n_head_k * dim, column = (size_t)h->head * dim + h->row;
    float decay[DELTA_TOKENS], beta[DELTA_TOKENS], *q = scratch, *k = q + DELTA_TOKENS * dim;
    for (size_t t = 0; t < n; t++) {
        const float *x = job->x + (first + t) * job->x_stride + key_head * dim;
        kernels->norm_l2(x, 1 / sqrtf((float)dim), dim, q + t * dim);
        kernels->norm_l2(x + keys, 1, dim, k + t * dim);
        delta_gates(job, h->head, first + t, &decay[t], &beta[t]);
    }
    const rt_delta_scan scan = {.q = q,
                                .k = k,
                                .decay = decay,
                                .beta = beta,
                                .n_tokens = n,
                                .v_stride = job->x_stride,
                                .y_stride = (size_t)d->n_head * dim,
                                .n_state = dim};
    kernels->delta(&scan, h->state, job->x + first * job->x_stride + 2 * keys + column, h->n_rows,
                   job->y + first * scan.y_stride + column);
}

static void delta_task(void *ctx, size_t task, unsigned worker) {
    const recurrent_job *job = ctx;
    uint32_t dim = job->n_state;
    head_rows h = {.head = (uint32_t)(task / job->head_tasks),
                   .row = (uint32_t)(task % job->head_tasks) * TASK_ROWS};
    h.n_rows = dim - h.row < TASK_ROWS ? dim - h.row : TASK_ROWS;
    for (size_t i = 0; i < job->batch->n_runs; i++) {
        const rt_run *run = &job->batch->runs[i];
        size_t off = ((size_t)h.head * dim + h.row) * dim;
        h.state = begin_state(job, run, off, (size_t)h.n_rows * dim);
        for (size_t t = 0, n; t < run->n; t += n) {
            n = run->n - t < DELTA_TOKENS ? run->n - t : DELTA_TOKENS;
            job->tokens(job, &h, run->row + t, n, rt_cpu_scratch(job->cpu, worker));
        }
    }
}

static void run_delta(recurrent_job *job, uint32_t n_head) {
    job->head_tasks = (job->n_state + TASK_ROWS - 1) / TASK_ROWS;
    gguf_pool_run(job->cpu->pool, (size_t)n_head * job->head_tasks, delta_task, job);
}

void rt_cpu_gated_delta(rt_backend *backend, const rt_gated_delta *delta,
                        const rt_state_layer *state, const rt_batch *batch, rt_off x,
                        size_t x_stride, rt_off ba, rt_off y) {
    recurrent_job job = {.cpu = rt_cpu_of(backend), .state = state, .batch = batch, .delta = delta};
    job.n_state = delta->n_state;
    job.tokens = delta_tokens;
    job.x = rt_cpu_at(backend, x);
    job.x_stride = x_stride;
    job.dt = rt_cpu_at(backend, ba);
    job.y = rt_cpu_at(backend, y);
    run_delta(&job, delta->n_head);
}

/* ---- Kimi's delta attention --------------------------------------------------------------------
 */

/* At most DELTA_TOKENS tokens from row `first` of the batch on. */
static void kda_tokens(const recurrent_job *job, const head_rows *h, size_t first, size_t n,
                       float *scratch) {
    const rt_kda *m = job->kda;
    const rt_cpu_kernels *kernels = job->cpu->kernels;
    size_t dim = m->n_state, inner = m->n_head * dim, head = h->head * dim;
    float beta[DELTA_TOKENS], *q = scratch, *k = q + DELTA_TOKENS * dim;
    float *decay = k + DELTA_TOKENS * dim;
    for (size_t t = 0; t < n; t++) {
        size_t at = (first + t) * inner + head;
        kernels->norm_l2(job->q + at, 1 / sqrtf((float)dim), dim, q + t * dim);
        kernels->norm_l2(job->k + at, 1, dim, k + t * dim);
        kernels->channel_decay(job->f + at, m->dt_bias + head, m->a[h->head], m->bound, dim,
                               decay + t * dim);
        beta[t] = sigmoid(job->dt[(first + t) * m->n_head + h->head]);
    }
    const rt_delta_scan scan = {.q = q,
                                .k = k,
                                .decay = decay,
                                .beta = beta,
                                .n_tokens = n,
                                .v_stride = inner,
                                .y_stride = inner,
                                .n_state = m->n_state};
    size_t at = first * inner + head + h->row;
    kernels->channel_delta(&scan, h->state, job->x + at, h->n_rows, job->y + at);
}

void rt_cpu_kda(rt_backend *backend, const rt_kda *kda, const rt_state_layer *state,
                const rt_batch *batch, rt_off q, rt_off k, rt_off v, rt_off f, rt_off beta,
                rt_off y) {
    recurrent_job job = {.cpu = rt_cpu_of(backend), .state = state, .batch = batch, .kda = kda};
    job.n_state = kda->n_state;
    job.tokens = kda_tokens;
    job.q = rt_cpu_at(backend, q);
    job.k = rt_cpu_at(backend, k);
    job.x = rt_cpu_at(backend, v);
    job.f = rt_cpu_at(backend, f);
    job.dt = rt_cpu_at(backend, beta);
    job.y = rt_cpu_at(backend, y);
    run_delta(&job, kda->n_head);
}

/* ---- blocks ------------------------------------------------------------------------------------
 */

/* Some channels of the blocks of a run. */
typedef struct block_channels {
    const rt_block_pool *pool;
    uint32_t first, n; /* channels */
    float *own, *next; /* [3][n] of the block that a token lies in, and of that behind it */
} block_channels;

/* A block is complete: its means; what the next one has already becomes its own. */
static void end_block(const block_channels *b, float *out) {
    const float *sum = b->own + b->n, *acc = sum + b->n;
    size_t n_bytes = 3 * b->n * sizeof *b->own;
    for (uint32_t i = 0; i < b->n; i++) out[i] = acc[i] / sum[i];
    if (!b->pool->overlaps) {
        memset(b->own, 0, n_bytes);
        return;
    }
    memcpy(b->own, b->next, n_bytes);
    memset(b->next, 0, n_bytes);
}

/* Returns the rows that it made. */
static size_t pool_run(const recurrent_job *job, const block_channels *b, const rt_run *run,
                       float *out) {
    const rt_block_pool *p = b->pool;
    size_t width = (size_t)p->n_channels * (p->overlaps ? 2 : 1), n_rows = 0;
    for (uint32_t t = 0; t < run->n; t++) {
        size_t at = (run->row + t) * width + b->first, in_block = (run->pos + t) % p->n_block;
        const float *ape = p->ape + in_block * width + b->first;
        if (p->overlaps) {
            job->cpu->kernels->pool(job->x + at, job->dt + at, ape, b->n, b->next);
            at += p->n_channels;
            ape += p->n_channels;
        }
        job->cpu->kernels->pool(job->x + at, job->dt + at, ape, b->n, b->own);
        if (in_block + 1 == p->n_block) end_block(b, out + n_rows++ * p->n_channels);
    }
    return n_rows;
}

static void pool_task(void *ctx, size_t task, unsigned worker) {
    const recurrent_job *job = ctx;
    const rt_block_pool *p = job->pool;
    block_channels b = {.pool = p, .first = (uint32_t)task * TASK_CHANNELS};
    float *out = job->y + b.first;
    (void)worker;
    b.n = p->n_channels - b.first < TASK_CHANNELS ? p->n_channels - b.first : TASK_CHANNELS;
    size_t n_parts = p->overlaps ? 6 : 3;
    for (size_t i = 0; i < job->batch->n_runs; i++) {
        b.own = begin_state(job, &job->batch->runs[i], n_parts * b.first, n_parts * b.n);
        b.next = b.own + (size_t)3 * b.n;
        out += pool_run(job, &b, &job->batch->runs[i], out) * p->n_channels;
    }
}

void rt_cpu_pool_blocks(rt_backend *backend, const rt_block_pool *pool, const rt_state_layer *state,
                        const rt_batch *batch, rt_off values, rt_off scores, rt_off out) {
    recurrent_job job = {.cpu = rt_cpu_of(backend), .state = state, .batch = batch, .pool = pool};
    job.x = rt_cpu_at(backend, values);
    job.dt = rt_cpu_at(backend, scores);
    job.y = rt_cpu_at(backend, out);
    gguf_pool_run(job.cpu->pool, (pool->n_channels + TASK_CHANNELS - 1) / TASK_CHANNELS, pool_task,
                  &job);
}
