/* Products with weights: rows of the weight are divided among the workers, tokens go in tiles that
 * stay in cache. Neither changes the sum of any element. */
#include "runtime/cpu/cpu_internal.h"

#include <string.h>

enum {
    TILE_ROWS = 64,          /* of the weight, at most, in one tile */
    TILE_TOKENS = 64,        /* results that wait in scratch to be turned over */
    TASKS_PER_WORKER = 4,    /* so that a slow core does not hold up the others */
    MIN_TASK_ELEMS = 131072, /* fewer products than this are not worth handing out */
    ENCODE_ROWS = 4
};

uint64_t rt_cpu_matmul_scratch(void) {
    return (uint64_t)TILE_ROWS * TILE_TOKENS * sizeof(float);
}

static uint64_t max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

uint64_t rt_cpu_acts_bytes(const rt_hparams *hp, uint32_t n_batch) {
    uint64_t cols = max_u64(hp->n_embd, hp->n_ff);
    cols = max_u64(cols, (uint64_t)hp->n_head * hp->head_dim_v);
    uint64_t q8 = quant_act_row_bytes(QUANT_ACT_Q8, rt_round_up(cols, 32));
    uint64_t q8_k = quant_act_row_bytes(QUANT_ACT_Q8_K, rt_round_up(cols, 256));
    return n_batch * max_u64(q8, q8_k);
}

/* ---- input -------------------------------------------------------------------------------------
 */

void rt_cpu_set_input(rt_backend *backend, const float *x, size_t n, size_t n_cols) {
    rt_cpu *cpu = rt_cpu_of(backend);
    cpu->input = x;
    cpu->n_inputs = n;
    cpu->n_input_cols = n_cols;
    cpu->encoded = QUANT_ACT_NONE;
}

static void encode_task(void *ctx, size_t task, unsigned worker) {
    const rt_cpu *cpu = ctx;
    size_t row_bytes = quant_act_row_bytes(cpu->encoded, cpu->n_input_cols);
    size_t end = (task + 1) * ENCODE_ROWS;
    (void)worker;
    if (end > cpu->n_inputs) end = cpu->n_inputs;
    for (size_t t = task * ENCODE_ROWS; t < end; t++)
        quant_act_encode(cpu->encoded, cpu->input + t * cpu->n_input_cols, cpu->n_input_cols,
                         cpu->acts + t * row_bytes);
}

/* The input as the weight's type multiplies it; encoded once for all weights of a kind. */
static const void *input_as(rt_cpu *cpu, quant_act act) {
    if (act == QUANT_ACT_NONE) return cpu->input;
    if (cpu->encoded != act) {
        cpu->encoded = act;
        gguf_pool_run(cpu->pool, (cpu->n_inputs + ENCODE_ROWS - 1) / ENCODE_ROWS, encode_task, cpu);
    }
    return cpu->acts;
}

/* ---- products ----------------------------------------------------------------------------------
 */

typedef struct product {
    const rt_cpu *cpu;
    const rt_weight *weight;
    const uint8_t *acts;
    size_t n_acts, act_bytes; /* of one row of acts */
    size_t task_rows;
    float *out; /* [n_acts][weight->n_rows] */
} product;

static void multiply(const product *p, size_t row, size_t n_rows, size_t token, size_t n_tokens,
                     float *out, size_t stride) {
    const rt_weight *w = p->weight;
    const uint8_t *rows = (const uint8_t *)w->data + row * w->row_bytes;
    const void *acts = p->acts + token * p->act_bytes;
    if (p->cpu->exact)
        quant_matmul_f32(w->type, rows, n_rows, w->n_cols, acts, n_tokens, out, stride);
    else
        quant_matmul(w->type, rows, n_rows, w->n_cols, acts, n_tokens, out, stride);
}

/* out[token + t][row + r] = tile[r][t] + bias[row + r] */
static void turn_over(const product *p, const float *tile, size_t row, size_t n_rows, size_t token,
                      size_t n_tokens) {
    const float *bias = p->weight->bias;
    for (size_t t = 0; t < n_tokens; t++) {
        float *out = p->out + (token + t) * p->weight->n_rows + row;
        for (size_t r = 0; r < n_rows; r++) out[r] = tile[r * n_tokens + t];
        for (size_t r = 0; bias && r < n_rows; r++) out[r] += bias[row + r];
    }
}

/* Rows of one task, at most TILE_ROWS, times all tokens. */
static void product_rows(const product *p, size_t row, size_t n_rows, float *tile) {
    for (size_t token = 0; token < p->n_acts; token += TILE_TOKENS) {
        size_t n = p->n_acts - token < TILE_TOKENS ? p->n_acts - token : TILE_TOKENS;
        multiply(p, row, n_rows, token, n, tile, n);
        turn_over(p, tile, row, n_rows, token, n);
    }
}

static void product_task(void *ctx, size_t task, unsigned worker) {
    const product *p = ctx;
    size_t row = task * p->task_rows, end = row + p->task_rows;
    if (end > p->weight->n_rows) end = p->weight->n_rows;
    for (; row < end; row += TILE_ROWS)
        product_rows(p, row, end - row < TILE_ROWS ? end - row : TILE_ROWS,
                     rt_cpu_scratch(p->cpu, worker));
}

/* Rows per task: few enough that all workers stay busy, enough that a task is worth its call. */
static size_t rows_per_task(const rt_cpu *cpu, const rt_weight *weight) {
    size_t n_tasks = (size_t)gguf_pool_threads(cpu->pool) * TASKS_PER_WORKER;
    size_t rows = (weight->n_rows + n_tasks - 1) / n_tasks;
    size_t least = MIN_TASK_ELEMS / (weight->n_cols * cpu->n_inputs) + 1;
    return rows > least ? rows : least;
}

void rt_cpu_matmul(rt_backend *backend, const rt_weight *weight, float *out) {
    rt_cpu *cpu = rt_cpu_of(backend);
    quant_act act = cpu->exact ? QUANT_ACT_NONE : quant_act_of(weight->type);
    product p = {.cpu = cpu, .weight = weight, .n_acts = cpu->n_inputs, .out = out};
    p.acts = input_as(cpu, act);
    p.act_bytes = act == QUANT_ACT_NONE ? weight->n_cols * sizeof(float)
                                        : quant_act_row_bytes(act, weight->n_cols);
    p.task_rows = rows_per_task(cpu, weight);
    gguf_pool_run(cpu->pool, (weight->n_rows + p.task_rows - 1) / p.task_rows, product_task, &p);
}
