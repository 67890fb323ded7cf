/* Products with weights: rows of the weight are divided among the workers, tokens go in tiles that
 * stay in cache. Neither changes the sum of any element. */
#include "runtime/engine/cpu/cpu_internal.h"
#include "runtime/model/weights_check.h"

#include <string.h>

enum {
    ROW_STEP = 16,           /* tasks have whole multiples: a strip has as many rows */
    GATHER_ROWS = 96,        /* results that wait in scratch to be brought to their rows, */
    GATHER_TOKENS = 16,      /* and the inputs brought together for them */
    TASKS_PER_WORKER = 4,    /* so that a slow core does not hold up the others */
    MIN_TASK_ELEMS = 131072, /* fewer products than this are not worth handing out */
    ENCODE_ROWS = 4,
    PLANE_ROWS = 256, /* results of both planes that wait in scratch to be added, */
    PLANE_TOKENS = 64,
    MIN_FAST_TOKENS = 8 /* fewer wait for memory and gain nothing */
};

static uint64_t max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Of n rows, in the largest of the encodings. */
static uint64_t encoded_bytes(uint64_t n, uint64_t n_cols) {
    uint64_t q8 = quant_act_row_bytes(QUANT_ACT_Q8, rt_round_up(n_cols, 32));
    uint64_t q8_k = quant_act_row_bytes(QUANT_ACT_Q8_K, rt_round_up(n_cols, 256));
    return n * max_u64(max_u64(q8, q8_k), quant_act_row_bytes(QUANT_ACT_BF16, n_cols));
}

/* Rows of 8-bit activations for each of the input. */
static size_t n_planes(rt_precision precision) {
    return precision == RT_PRECISION_A16 ? 2 : 1;
}

uint64_t rt_cpu_acts_bytes(const rt_hparams *hp, uint32_t n_batch, rt_precision precision) {
    uint64_t cols =
        max_u64(max_u64(hp->n_embd, hp->n_ff), max_u64(hp->n_ff_shared, hp->q_lora_rank));
    uint32_t v_head_dim = hp->kv_lora_rank ? hp->v_head_dim : hp->head_dim_v;
    cols = max_u64(cols, hp->ssm_d_inner);
    cols = max_u64(cols, max_u64(hp->n_laurel, max_u64(hp->n_embd_layer, hp->n_stream)));
    uint64_t n_bytes = encoded_bytes(n_batch, max_u64(cols, (uint64_t)hp->n_head * v_head_dim));
    uint64_t experts = encoded_bytes((uint64_t)n_batch * hp->n_expert_used, hp->n_ff_expert);
    uint64_t heads = encoded_bytes((uint64_t)n_batch * hp->n_head,
                                   max_u64(hp->qk_nope_head_dim, hp->kv_lora_rank));
    uint64_t streams = encoded_bytes((uint64_t)n_batch * hp->n_stream, hp->n_embd);
    n_bytes = max_u64(n_bytes, hp->n_stream > 1 ? streams : 0);
    n_bytes = max_u64(n_bytes, max_u64(experts, hp->kv_lora_rank ? heads : 0));
    return n_bytes * n_planes(precision);
}

static size_t planes_bytes(rt_precision precision) {
    if (n_planes(precision) == 1) return 0;
    return (size_t)2 * PLANE_TOKENS * PLANE_ROWS * sizeof(float);
}

/* What products need and, behind it, the results and the inputs of a tile of a group; f32 is the
 * widest form of those. Before that the results of two planes. */
uint64_t rt_cpu_matmul_scratch(const rt_hparams *hp, rt_precision precision) {
    uint64_t cols = hp->n_expert ? max_u64(hp->n_embd, hp->n_ff_expert) : 0;
    if (hp->kv_lora_rank) cols = max_u64(cols, max_u64(hp->qk_nope_head_dim, hp->kv_lora_rank));
    if (hp->n_stream > 1) cols = max_u64(cols, hp->n_embd);
    uint64_t coded = encoded_bytes(1, cols) * n_planes(precision);
    uint64_t gathered = cols ? max_u64(cols * sizeof(float), coded) : 0;
    return planes_bytes(precision) + QUANT_MATMUL_SCRATCH_BYTES +
           GATHER_TOKENS * (GATHER_ROWS * sizeof(float) + gathered);
}

/* ---- input -------------------------------------------------------------------------------------
 */

void rt_cpu_set_input(rt_backend *backend, rt_off x, size_t n, size_t n_cols) {
    rt_cpu *cpu = rt_cpu_of(backend);
    cpu->input = rt_cpu_at(backend, x);
    cpu->n_inputs = n;
    cpu->n_input_cols = n_cols;
    cpu->encoded = QUANT_ACT_NONE;
}

/* A row, and behind it, with two planes, what it leaves of the input. */
static void encode_row(const rt_cpu *cpu, const float *x, uint8_t *row) {
    size_t row_bytes = quant_act_row_bytes(cpu->encoded, cpu->n_input_cols);
    quant_act_encode(cpu->encoded, x, cpu->n_input_cols, row);
    if (n_planes(cpu->precision) == 2)
        quant_act_encode_rest(cpu->encoded, x, cpu->n_input_cols, row, row + row_bytes);
}

/* Bytes of an encoded row of the input. */
static size_t encoded_row_bytes(const rt_cpu *cpu, quant_act act, size_t n_cols) {
    size_t n = act == QUANT_ACT_NONE ? 1 : n_planes(cpu->precision);
    return n * quant_act_row_bytes(act, n_cols);
}

static void encode_task(void *ctx, size_t task, unsigned worker) {
    const rt_cpu *cpu = ctx;
    size_t row_bytes = encoded_row_bytes(cpu, cpu->encoded, cpu->n_input_cols);
    size_t end = (task + 1) * ENCODE_ROWS;
    (void)worker;
    if (end > cpu->n_inputs) end = cpu->n_inputs;
    for (size_t t = task * ENCODE_ROWS; t < end; t++)
        encode_row(cpu, cpu->input + t * cpu->n_input_cols, cpu->acts + t * row_bytes);
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
    rt_cpu *cpu;
    const rt_weight *weight;
    quant_act act;
    bool repacked; /* rows in whole multiples of 16 */
    const uint8_t *acts;
    size_t n_acts, act_bytes; /* of one row of acts */
    size_t task_rows;
    float *out; /* rows `stride` apart */
    size_t stride;
    uint32_t n_mats;         /* 1: the same for all rows */
    const rt_groups *groups; /* the rows of each; NULL: every n_mats-th row */
    size_t row_tasks;        /* of one matrix */
} product;

/* Rows of one matrix of the stack. */
static const uint8_t *rows_of(const product *p, uint32_t mat, size_t row) {
    const rt_weight *w = p->weight;
    if (p->repacked)
        return w->placed + (mat * w->n_rows + row) * quant_repacked_row_bytes(w->type, w->n_cols);
    return (const uint8_t *)w->data + mat * w->mat_bytes + row * w->row_bytes;
}

static void multiply_acts(const product *p, const uint8_t *rows, size_t n_rows, const void *acts,
                          size_t n_tokens, float *out, size_t stride, void *scratch) {
    const rt_weight *w = p->weight;
    if (p->repacked)
        quant_matmul_repacked(w->type, rows, n_rows, w->n_cols, acts, n_tokens, out, stride,
                              scratch);
    else
        quant_matmul(w->type, p->act, rows, n_rows, w->n_cols, acts, n_tokens, out, stride,
                     scratch);
}

/* Both planes of some tokens, and their sum. A few rows at a time stay in the cache. */
static void multiply_planes(const product *p, const uint8_t *rows, size_t n_rows,
                            const uint8_t *acts, size_t n_tokens, float *out, size_t stride,
                            float *sums, void *scratch) {
    const rt_weight *w = p->weight;
    size_t row_bytes = p->repacked ? quant_repacked_row_bytes(w->type, w->n_cols) : w->row_bytes;
    for (size_t r = 0; r < n_rows; r += PLANE_ROWS) {
        size_t n = n_rows - r < PLANE_ROWS ? n_rows - r : PLANE_ROWS;
        multiply_acts(p, rows + r * row_bytes, n, acts, 2 * n_tokens, sums, n, scratch);
        for (size_t t = 0; t < n_tokens; t++)
            for (size_t i = 0; i < n; i++)
                out[t * stride + r + i] = sums[2 * t * n + i] + sums[(2 * t + 1) * n + i];
    }
}

/*   scratch  planes_bytes, then what products need */
static void multiply(const product *p, const uint8_t *rows, size_t n_rows, const uint8_t *acts,
                     size_t n_tokens, float *out, size_t stride, uint8_t *scratch) {
    uint8_t *behind = scratch + planes_bytes(p->cpu->precision);
    if (p->act == QUANT_ACT_NONE || n_planes(p->cpu->precision) == 1) {
        multiply_acts(p, rows, n_rows, acts, n_tokens, out, stride, behind);
        return;
    }
    for (size_t t = 0; t < n_tokens; t += PLANE_TOKENS)
        multiply_planes(p, rows, n_rows, acts + t * p->act_bytes,
                        n_tokens - t < PLANE_TOKENS ? n_tokens - t : PLANE_TOKENS, out + t * stride,
                        stride, (float *)(void *)scratch, behind);
}

/* Scale and bias of the weight. */
static void finish_rows(const product *p, uint32_t mat, size_t row, size_t n_rows, float *out) {
    const float *bias = p->weight->bias, *scale = p->weight->scale;
    for (size_t r = 0; r < n_rows && scale; r++) out[r] *= scale[p->weight->own_scales ? mat : 0];
    if (!bias) return;
    bias += (size_t)mat * p->weight->bias_stride + row;
    for (size_t r = 0; r < n_rows; r++) out[r] += bias[r];
}

/* Rows of a matrix that nobody has looked at yet. Where products show what is wrong, those with one
 * token tell whether the rows need be looked at: that costs nothing.
 *   out  [n_rows] products of the rows with any token */
static void check_new(const product *p, uint32_t mat, size_t row, size_t n_rows, const float *out) {
    const rt_weight *w = p->weight;
    if (!rt_weight_is_new(w, mat)) return;
    if (quant_product_shows_nonfinite(w->type, p->act) &&
        quant_find_nonfinite(GGUF_TYPE_F32, out, 1, n_rows) == n_rows)
        return;
    const uint8_t *rows = (const uint8_t *)w->data + mat * w->mat_bytes + row * w->row_bytes;
    rt_cpu_check_rows(p->cpu, w, rows, n_rows);
}

/* Rows of one task times all tokens. */
static void product_rows(const product *p, size_t row, size_t n_rows, uint8_t *scratch) {
    float *out = p->out + row;
    multiply(p, rows_of(p, 0, row), n_rows, p->acts, p->n_acts, out, p->stride, scratch);
    if (p->n_acts) check_new(p, 0, row, n_rows, out);
    for (size_t t = 0; t < p->n_acts; t++) finish_rows(p, 0, row, n_rows, out + t * p->stride);
}

/* A tile of a group: some rows of a matrix and the tokens that it multiplies. */
typedef struct tile_job {
    uint32_t mat;
    size_t row, n_rows, n_tokens;
    uint32_t tokens[GATHER_TOKENS]; /* output rows */
} tile_job;

static size_t n_rows_of(const product *p, uint32_t mat) {
    if (!p->groups) return p->n_acts / p->n_mats;
    return p->groups->first[mat + 1] - p->groups->first[mat];
}

static uint32_t row_of(const product *p, uint32_t mat, size_t i) {
    return p->groups ? p->groups->rows[p->groups->first[mat] + i] : (uint32_t)i * p->n_mats + mat;
}

/* The inputs of a tile, next to one another. */
static const uint8_t *gather(const product *p, const tile_job *t, uint8_t *scratch) {
    uint32_t share = p->groups ? p->groups->n_share : 1;
    if (t->n_tokens == 1) return p->acts + t->tokens[0] / share * p->act_bytes;
    for (size_t i = 0; i < t->n_tokens; i++)
        memcpy(scratch + i * p->act_bytes, p->acts + t->tokens[i] / share * p->act_bytes,
               p->act_bytes);
    return scratch;
}

/* The results of a tile to their rows. */
static void scatter(const product *p, const tile_job *t, const float *tile) {
    for (size_t i = 0; i < t->n_tokens; i++) {
        float *out = p->out + t->tokens[i] * p->stride + t->row;
        memcpy(out, tile + i * t->n_rows, t->n_rows * sizeof *out);
        finish_rows(p, t->mat, t->row, t->n_rows, out);
    }
}

/* Rows of one matrix of a stack times the tokens that it multiplies.
 *   scratch  of the products, then the tile */
static void group_rows(const product *p, uint32_t mat, size_t row, size_t n_rows,
                       uint8_t *scratch) {
    float *tile =
        (float *)(void *)(scratch + planes_bytes(p->cpu->precision) + QUANT_MATMUL_SCRATCH_BYTES);
    uint8_t *gathered = (uint8_t *)(tile + GATHER_ROWS * GATHER_TOKENS);
    for (size_t i = 0, n = n_rows_of(p, mat); i < n; i += GATHER_TOKENS) {
        tile_job t = {.mat = mat, .row = row, .n_rows = n_rows};
        t.n_tokens = n - i < GATHER_TOKENS ? n - i : GATHER_TOKENS;
        for (size_t k = 0; k < t.n_tokens; k++) t.tokens[k] = row_of(p, mat, i + k);
        multiply(p, rows_of(p, mat, row), n_rows, gather(p, &t, gathered), t.n_tokens, tile, n_rows,
                 scratch);
        if (i == 0) check_new(p, mat, row, n_rows, tile);
        scatter(p, &t, tile);
    }
}

/* The matrix that has rows, after n others that have. */
static uint32_t nth_used(const product *p, size_t n) {
    uint32_t mat = 0;
    for (;; mat++)
        if (n_rows_of(p, mat) > 0 && n-- == 0) return mat;
}

static void product_task(void *ctx, size_t task, unsigned worker) {
    const product *p = ctx;
    size_t row = task % p->row_tasks * p->task_rows, end = row + p->task_rows;
    if (end > p->weight->n_rows) end = p->weight->n_rows;
    uint8_t *scratch = (uint8_t *)rt_cpu_scratch(p->cpu, worker);
    if (!p->groups && p->n_mats == 1) {
        product_rows(p, row, end - row, scratch);
        return;
    }
    uint32_t mat = nth_used(p, task / p->row_tasks);
    for (; row < end; row += GATHER_ROWS)
        group_rows(p, mat, row, end - row < GATHER_ROWS ? end - row : GATHER_ROWS, scratch);
}

/* Rows per task: few enough that all workers stay busy, enough that a task is worth its call. */
static size_t rows_per_task(const rt_cpu *cpu, const rt_weight *weight, size_t n_tokens) {
    size_t n_tasks = (size_t)gguf_pool_threads(cpu->pool) * TASKS_PER_WORKER;
    size_t rows = (weight->n_rows + n_tasks - 1) / n_tasks;
    size_t least = MIN_TASK_ELEMS / (weight->n_cols * n_tokens) + 1;
    return rt_round_up(rows > least ? rows : least,
                       rows > ROW_STEP || weight->placed ? ROW_STEP : 4);
}

/* The form in which a weight multiplies the input. */
static quant_act act_for(const rt_cpu *cpu, const rt_weight *weight) {
    static const quant_act fast[] = {
        [RT_PRECISION_BF16] = QUANT_ACT_BF16, [RT_PRECISION_Q8] = QUANT_ACT_Q8};
    quant_act act = quant_act_of(weight->type);
    if (cpu->precision == RT_PRECISION_F32) return QUANT_ACT_NONE;
    if (cpu->precision == RT_PRECISION_DEFAULT || cpu->precision == RT_PRECISION_A16 ||
        cpu->n_inputs < MIN_FAST_TOKENS)
        return act;
    quant_act wish = fast[cpu->precision];
    return quant_can_multiply(weight->type, wish, weight->n_cols) ? wish : act;
}

static product start_product(rt_cpu *cpu, const rt_weight *weight, float *out, size_t stride) {
    product p = {.cpu = cpu, .weight = weight, .n_acts = cpu->n_inputs, .out = out, .n_mats = 1};
    p.stride = stride;
    p.act = act_for(cpu, weight);
    p.repacked = weight->placed && p.act == quant_act_of(weight->type);
    p.acts = input_as(cpu, p.act);
    p.act_bytes = encoded_row_bytes(cpu, p.act, weight->n_cols);
    return p;
}

/* Whether no weight was found wrong: only then those that were multiplied have passed. */
static bool is_sound(rt_cpu *cpu) {
    return atomic_load(&cpu->fault) == UINTPTR_MAX;
}

/* n_used matrices, each times n_tokens rows. */
static void run_product(product *p, size_t n_used, size_t n_tokens) {
    p->task_rows = rows_per_task(p->cpu, p->weight, n_tokens);
    p->row_tasks = (p->weight->n_rows + p->task_rows - 1) / p->task_rows;
    gguf_pool_run(p->cpu->pool, n_used * p->row_tasks, product_task, p);
    for (uint32_t mat = 0; mat < p->n_mats && is_sound(p->cpu); mat++)
        if (n_rows_of(p, mat) > 0) rt_weight_passed(p->weight, mat);
}

void rt_cpu_matmul(rt_backend *backend, const rt_weight *weight, rt_off out) {
    rt_cpu *cpu = rt_cpu_of(backend);
    product p = start_product(cpu, weight, rt_cpu_at(backend, out), weight->n_rows);
    run_product(&p, 1, cpu->n_inputs);
}

void rt_cpu_matmul_heads(rt_backend *backend, const rt_weight *weight, rt_off out, size_t stride) {
    rt_cpu *cpu = rt_cpu_of(backend);
    product p = start_product(cpu, weight, rt_cpu_at(backend, out), stride);
    p.n_mats = weight->n_mats;
    run_product(&p, weight->n_mats, cpu->n_inputs / weight->n_mats);
}

void rt_cpu_matmul_groups(rt_backend *backend, const rt_weight *weight, const rt_grouping *grouping,
                          rt_off out) {
    rt_cpu *cpu = rt_cpu_of(backend);
    product p = start_product(cpu, weight, rt_cpu_at(backend, out), weight->n_rows);
    const rt_groups groups = {grouping->n_mats, rt_cpu_ids_at(backend, grouping->first),
                              rt_cpu_ids_at(backend, grouping->rows), grouping->n_share};
    size_t n_used = 0;
    p.groups = &groups;
    p.n_mats = groups.n_mats;
    for (uint32_t mat = 0; mat < groups.n_mats; mat++) n_used += n_rows_of(&p, mat) > 0;
    if (n_used) run_product(&p, n_used, groups.first[groups.n_mats] / n_used);
}
