/* Operations that go row by row, rows in parallel. */
#include "runtime/engine/cpu/cpu_internal.h"

#include <math.h>
#include <string.h>

enum { ROW_TASK_ELEMS = 32768 }; /* about what makes a task worth its call */

typedef struct row_job {
    rt_cpu *cpu;
    void (*fn)(const struct row_job *job, size_t row);
    size_t n_rows, task_rows, n_cols, x_stride, out_stride;
    const float *x, *y;
    float *out;
    float factor, cap, limit, eps;
    const rt_weight *table;
    const rt_norm_weights *norm;
    const rt_route_rule *rule;
    const int32_t *ids;
    const uint32_t *rows;
    uint32_t *experts;
    float *weights;
    int kind;
    uint32_t n_rot, n_head, k;
    const rt_xielu *xielu;
    const rt_hyper *hyper;
    float *more;
} row_job;

static void row_task(void *ctx, size_t task, unsigned worker) {
    const row_job *job = ctx;
    size_t end = (task + 1) * job->task_rows;
    (void)worker;
    if (end > job->n_rows) end = job->n_rows;
    for (size_t row = task * job->task_rows; row < end; row++) job->fn(job, row);
}

/* cost_cols: elements that a row costs. */
static void run_rows(rt_backend *backend, row_job *job, size_t cost_cols) {
    job->cpu = rt_cpu_of(backend);
    job->task_rows = ROW_TASK_ELEMS / cost_cols + 1;
    size_t n_tasks = (job->n_rows + job->task_rows - 1) / job->task_rows;
    gguf_pool_run(job->cpu->pool, n_tasks, row_task, job);
}

static void embed_row(const row_job *job, size_t row) {
    const rt_weight *table = job->table;
    const uint8_t *from = (const uint8_t *)table->data + (uint64_t)job->ids[row] * table->row_bytes;
    rt_cpu_check_rows(job->cpu, table, from, 1);
    quant_decode(table->type, from, 1, table->n_cols, job->out + row * job->n_cols, NULL);
}

void rt_cpu_embed(rt_backend *backend, const rt_weight *table, const int32_t *ids, size_t n,
                  rt_off out) {
    row_job job = {.fn = embed_row, .table = table, .ids = ids, .n_rows = n};
    job.out = rt_cpu_at(backend, out);
    job.n_cols = table->n_cols;
    run_rows(backend, &job, job.n_cols);
}

static void gather_row(const row_job *job, size_t row) {
    memcpy(job->out + row * job->n_cols, job->x + job->rows[row] * job->n_cols,
           job->n_cols * sizeof *job->out);
}

void rt_cpu_gather(rt_backend *backend, rt_off x, const uint32_t *rows, size_t n, size_t n_cols,
                   rt_off out) {
    row_job job = {.fn = gather_row, .rows = rows, .n_rows = n, .n_cols = n_cols};
    job.x = rt_cpu_at(backend, x);
    job.out = rt_cpu_at(backend, out);
    run_rows(backend, &job, n_cols);
}

static void norm_row(const row_job *job, size_t row) {
    const rt_cpu_kernels *kernels = job->cpu->kernels;
    const rt_norm_weights *s = job->norm;
    size_t off = row % s->n_rows * s->n_cols;
    float *out = job->out + row * job->out_stride;
    (job->kind == RT_NORM_RMS ? kernels->norm_rms : kernels->norm_layer)(
        job->x + row * job->out_stride, s->weight + off, job->eps, s->n_cols, out);
    if (s->bias) kernels->add(out, s->bias + off, 1, s->n_cols);
}

void rt_cpu_norm(rt_backend *backend, rt_norm kind, const rt_norm_weights *norm, float eps,
                 rt_off x, size_t n, size_t stride, rt_off out) {
    row_job job = {.fn = norm_row, .kind = kind, .norm = norm, .eps = eps, .n_rows = n};
    job.x = rt_cpu_at(backend, x);
    job.out = rt_cpu_at(backend, out);
    job.out_stride = stride;
    run_rows(backend, &job, norm->n_cols);
}

/* Dimensions a and b of pair i are next to each other, or half a turn's width apart. */
static void rope_row(const row_job *job, size_t row) {
    uint32_t n_pairs = job->n_rot / 2, head_dim = (uint32_t)job->n_cols / job->n_head;
    uint32_t step = job->kind == RT_ROPE_ADJACENT ? 2 : 1;
    uint32_t apart = job->kind == RT_ROPE_ADJACENT ? 1 : n_pairs;
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

void rt_cpu_rope(rt_backend *backend, rt_rope kind, rt_off table, uint32_t n_rot, rt_off x,
                 size_t n, uint32_t n_head, uint32_t head_dim) {
    row_job job = {.fn = rope_row, .kind = kind, .n_rows = n};
    job.y = rt_cpu_at(backend, table);
    job.out = rt_cpu_at(backend, x);
    if (kind == RT_ROPE_NONE || n_rot == 0) return;
    job.n_cols = (size_t)n_head * head_dim;
    job.n_rot = n_rot;
    job.n_head = n_head;
    run_rows(backend, &job, job.n_cols);
}

static void activate_row(const row_job *job, size_t row) {
    size_t off = row * job->n_cols;
    job->cpu->kernels->activate((rt_activation)job->kind, job->out + off,
                                job->x ? job->x + off : NULL, job->n_cols);
}

void rt_cpu_activate(rt_backend *backend, rt_activation activation, rt_off gate, rt_off up,
                     size_t n, size_t n_cols) {
    row_job job = {.fn = activate_row, .kind = (int)activation, .n_rows = n};
    job.x = rt_cpu_at(backend, up);
    job.out = rt_cpu_at(backend, gate);
    job.n_cols = n_cols;
    run_rows(backend, &job, n_cols);
}

static void add_row(const row_job *job, size_t row) {
    size_t off = row * job->n_cols;
    float factor = job->y ? job->factor / (1 + expf(-job->y[row])) : job->factor;
    job->cpu->kernels->add(job->out + off, job->x + off, factor, job->n_cols);
}

void rt_cpu_add(rt_backend *backend, rt_off x, rt_off y, float factor, rt_off gates, size_t n,
                size_t n_cols) {
    row_job job = {.fn = add_row, .factor = factor, .n_rows = n};
    job.x = rt_cpu_at(backend, y);
    job.y = rt_cpu_at(backend, gates);
    job.out = rt_cpu_at(backend, x);
    job.n_cols = n_cols;
    run_rows(backend, &job, n_cols);
}

static void combine_row(const row_job *job, size_t row) {
    float *out = job->out + row * job->n_cols;
    memset(out, 0, job->n_cols * sizeof *out);
    for (size_t i = row * job->k; i < (row + 1) * job->k; i++)
        job->cpu->kernels->add(out, job->x + i * job->n_cols, job->y[i], job->n_cols);
}

void rt_cpu_combine(rt_backend *backend, rt_off x, rt_off weights, uint32_t k, size_t n,
                    size_t n_cols, rt_off out) {
    row_job job = {.fn = combine_row, .k = k, .n_rows = n};
    job.x = rt_cpu_at(backend, x);
    job.y = rt_cpu_at(backend, weights);
    job.out = rt_cpu_at(backend, out);
    job.n_cols = n_cols;
    run_rows(backend, &job, n_cols * k);
}

static void scale_softcap_row(const row_job *job, size_t row) {
    float *x = job->out + row * job->n_cols, limit = job->limit;
    for (size_t i = 0; i < job->n_cols && job->factor != 1; i++) x[i] *= job->factor;
    if (job->cap != 0) job->cpu->kernels->soft_cap(x, job->cap, job->n_cols);
    for (size_t i = 0; i < job->n_cols && limit != 0; i++)
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
}

void rt_cpu_scale_softcap(rt_backend *backend, rt_off x, float factor, float cap, float limit,
                          size_t n, size_t n_cols) {
    row_job job = {.fn = scale_softcap_row, .factor = factor, .cap = cap, .limit = limit};
    job.out = rt_cpu_at(backend, x);
    job.n_rows = n;
    job.n_cols = n_cols;
    run_rows(backend, &job, n_cols);
}

static void clamp_row(const row_job *job, size_t row) {
    job->cpu->kernels->clamp(job->out + row * job->n_cols, job->factor, job->limit, job->n_cols);
}

void rt_cpu_clamp(rt_backend *backend, rt_off x, float low, float high, size_t n, size_t n_cols) {
    row_job job = {.fn = clamp_row, .factor = low, .limit = high, .n_rows = n, .n_cols = n_cols};
    job.out = rt_cpu_at(backend, x);
    run_rows(backend, &job, n_cols);
}

static void xielu_row(const row_job *job, size_t row) {
    job->cpu->kernels->xielu(job->xielu, job->out + row * job->n_cols, job->n_cols);
}

void rt_cpu_xielu(rt_backend *backend, const rt_xielu *xielu, rt_off x, size_t n, size_t n_cols) {
    row_job job = {.fn = xielu_row, .xielu = xielu, .n_rows = n, .n_cols = n_cols};
    job.out = rt_cpu_at(backend, x);
    run_rows(backend, &job, n_cols);
}

static void scale_row(const row_job *job, size_t row) {
    job->cpu->kernels->scale(job->out + row * job->n_cols, job->y[row], job->n_cols);
}

void rt_cpu_scale_rows(rt_backend *backend, rt_off x, rt_off factors, size_t n, size_t n_cols) {
    row_job job = {.fn = scale_row, .n_rows = n, .n_cols = n_cols};
    job.y = rt_cpu_at(backend, factors);
    job.out = rt_cpu_at(backend, x);
    run_rows(backend, &job, n_cols);
}

/* Column by column of a row, all streams. */
static void mix_row(const row_job *job, size_t row) {
    const float *weights = job->y + row * job->n_head * job->k;
    for (uint32_t i = 0; i < job->n_head; i++)
        job->cpu->kernels->mix(job->x + row * job->n_cols, job->x_stride, weights + i * job->k,
                               job->k, job->n_cols,
                               job->out + i * job->out_stride + row * job->n_cols);
}

void rt_cpu_mix(rt_backend *backend, rt_off x, uint64_t x_stride, uint32_t n_in, rt_off weights,
                uint32_t n_out, size_t n, size_t n_cols, rt_off out, uint64_t out_stride) {
    row_job job = {.fn = mix_row, .n_rows = n, .n_cols = n_cols, .k = n_in, .n_head = n_out};
    job.x = rt_cpu_at(backend, x);
    job.y = rt_cpu_at(backend, weights);
    job.out = rt_cpu_at(backend, out);
    job.x_stride = x_stride;
    job.out_stride = out_stride;
    run_rows(backend, &job, n_cols * n_out * n_in);
}

/* The sums of columns or rows of a [n][n], to which they come to 1; a little is added to each. */
static void balance(const rt_hyper *h, float *mix, uint32_t step, uint32_t apart) {
    for (uint32_t i = 0; i < h->n; i++) {
        float sum = h->eps, *x = mix + (size_t)i * step;
        for (uint32_t k = 0; k < h->n; k++) sum += x[(size_t)k * apart];
        for (uint32_t k = 0; k < h->n; k++) x[(size_t)k * apart] /= sum;
    }
}

static void softmax_row(float *x, uint32_t n, float eps) {
    float max = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (uint32_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    for (uint32_t i = 0; i < n; i++) x[i] = x[i] / sum + eps;
}

/* mix[r][s] is the part of stream r in stream s to be. */
static void hyper_row(const row_job *job, size_t row) {
    const rt_hyper *h = job->hyper;
    uint32_t n = h->n;
    float *f = job->out + row * (h->n_steps ? n * (n + 2) : n), *mix = f + 2 * n;
    for (uint32_t i = 0; i < n; i++)
        job->weights[row * n + i] = 1 / (1 + expf(-(f[i] * h->scale[0] + h->base[i]))) + h->eps;
    if (h->n_steps == 0) return;
    float *write = job->more + row * n * (n + 1);
    for (uint32_t i = 0; i < n * n; i++) mix[i] = mix[i] * h->scale[2] + h->base[2 * n + i];
    for (uint32_t i = 0; i < n; i++) softmax_row(mix + i * n, n, h->eps);
    balance(h, mix, 1, n);
    for (uint32_t step = 1; step < h->n_steps; step++) {
        balance(h, mix, n, 1);
        balance(h, mix, 1, n);
    }
    for (uint32_t s = 0; s < n; s++, write += n + 1) {
        write[0] = 2 / (1 + expf(-(f[n + s] * h->scale[1] + h->base[n + s])));
        for (uint32_t r = 0; r < n; r++) write[1 + r] = mix[r * n + s];
    }
}

void rt_cpu_hyper(rt_backend *backend, const rt_hyper *hyper, rt_off f, size_t n, rt_off read,
                  rt_off write) {
    row_job job = {.fn = hyper_row, .hyper = hyper, .n_rows = n};
    job.out = rt_cpu_at(backend, f);
    job.weights = rt_cpu_at(backend, read);
    job.more = rt_cpu_at(backend, write);
    run_rows(backend, &job, (size_t)hyper->n * hyper->n * (2 * hyper->n_steps + 1));
}

static void match_row(const row_job *job, size_t row) {
    const rt_cpu_kernels *kernels = job->cpu->kernels;
    size_t n = job->n_cols;
    float *x = job->out + row * n;
    float wanted = kernels->mean_square(job->y + row * n, n), has = kernels->mean_square(x, n);
    kernels->scale(x, sqrtf(wanted) / sqrtf(has > 1e-5f ? has : 1e-5f), n);
}

void rt_cpu_match_rows(rt_backend *backend, rt_off x, rt_off y, size_t n, size_t n_cols) {
    row_job job = {.fn = match_row, .n_rows = n, .n_cols = n_cols};
    job.y = rt_cpu_at(backend, y);
    job.out = rt_cpu_at(backend, x);
    run_rows(backend, &job, n_cols);
}

static void cut_row(const row_job *job, size_t row) {
    job->cpu->kernels->cut(job->out + row * job->n_cols, job->factor, job->n_cols);
}

void rt_cpu_cut_rows(rt_backend *backend, rt_off x, float factor, size_t n, size_t n_cols) {
    row_job job = {.fn = cut_row, .factor = factor, .n_rows = n, .n_cols = n_cols};
    job.out = rt_cpu_at(backend, x);
    run_rows(backend, &job, n_cols);
}

static void copy_row(const row_job *job, size_t row) {
    memcpy(job->out + row * job->out_stride, job->x + row * job->x_stride,
           job->n_cols * sizeof *job->out);
}

void rt_cpu_copy(rt_backend *backend, rt_off x, size_t x_stride, size_t n, size_t n_cols,
                 rt_off out, size_t out_stride) {
    row_job job = {.fn = copy_row, .n_rows = n, .n_cols = n_cols};
    job.x = rt_cpu_at(backend, x);
    job.out = rt_cpu_at(backend, out);
    job.x_stride = x_stride;
    job.out_stride = out_stride;
    run_rows(backend, &job, n_cols);
}

static void route_row(const row_job *job, size_t row) {
    const rt_route_rule *rule = job->rule;
    rt_route(rule, job->out + row * rule->n_expert, job->experts + row * rule->n_used,
             job->weights + row * rule->n_used);
}

void rt_cpu_route(rt_backend *backend, const rt_route_rule *rule, rt_off logits, size_t n,
                  rt_off experts, rt_off weights) {
    row_job job = {.fn = route_row, .rule = rule, .n_rows = n};
    job.out = rt_cpu_at(backend, logits);
    job.experts = rt_cpu_ids_at(backend, experts);
    job.weights = rt_cpu_at(backend, weights);
    run_rows(backend, &job, (size_t)rule->n_expert * (rule->n_used + rule->n_group));
}

void rt_cpu_group(rt_backend *backend, rt_off mats, size_t n, const rt_grouping *grouping) {
    rt_groups_sort(rt_cpu_ids_at(backend, mats), n, grouping->n_mats,
                   rt_cpu_ids_at(backend, grouping->first), rt_cpu_ids_at(backend, grouping->rows));
}
