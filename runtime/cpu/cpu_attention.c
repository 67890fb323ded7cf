/* The KV cache and attention. A task is one KV head and a few neighbouring tokens: each page of
 * keys and values is brought to f32 once and serves all query heads of the group and all tokens of
 * the task. Pages come in order, so a token's result does not depend on its neighbours. */
#include "runtime/cpu/cpu_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    TASK_TOKENS = 8,
    MIN_TASK_ELEMS = 65536 /* fewer elements of keys than this are not worth handing out */
};

/* ---- storing -----------------------------------------------------------------------------------
 */

typedef struct store_job {
    const rt_kv_layer *kv;
    const float *k, *v;
    uint32_t pos;
    atomic_size_t failed; /* 1 + a row that could not be stored, or 0 */
} store_job;

static uint8_t *kv_row(const rt_kv_layer *kv, uint32_t pos, uint64_t off, uint64_t row_bytes) {
    uint64_t page = kv->pages[pos / RT_KV_PAGE_TOKENS];
    return kv->base + page * kv->page_bytes + off + pos % RT_KV_PAGE_TOKENS * row_bytes;
}

static bool store_row(uint32_t type, const float *src, size_t n_cols, uint8_t *dst) {
    if (type != GGUF_TYPE_F32)
        return quant_encode(type, src, 1, n_cols, NULL, dst, NULL) == GGUF_OK;
    memcpy(dst, src, n_cols * sizeof *src);
    return true;
}

static void store_task(void *ctx, size_t t, unsigned worker) {
    store_job *job = ctx;
    const rt_kv_layer *kv = job->kv;
    uint32_t pos = job->pos + (uint32_t)t;
    (void)worker;
    bool ok = store_row(kv->type, job->k + t * kv->n_cols_k, kv->n_cols_k,
                        kv_row(kv, pos, kv->k_off, kv->row_bytes_k)) &&
              store_row(kv->type, job->v + t * kv->n_cols_v, kv->n_cols_v,
                        kv_row(kv, pos, kv->v_off, kv->row_bytes_v));
    if (!ok) atomic_store(&job->failed, t + 1);
}

gguf_code rt_cpu_kv_store(rt_backend *backend, const rt_kv_layer *kv, const float *k,
                          const float *v, uint32_t pos, size_t n, gguf_error *err) {
    store_job job = {.kv = kv, .k = k, .v = v, .pos = pos};
    gguf_pool_run(rt_cpu_of(backend)->pool, n, store_task, &job);
    size_t failed = atomic_load(&job.failed);
    if (!failed) return GGUF_OK;
    return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                     "the keys or values of position %zu do not fit the KV type %s",
                     pos + failed - 1, gguf_type_name(kv->type));
}

/* ---- attention ---------------------------------------------------------------------------------
 */

typedef struct attention_job {
    const rt_cpu *cpu;
    const rt_attention *shape;
    const rt_kv_layer *kv;
    const float *q;
    float *out;
    uint32_t pos;
    size_t n;
    uint32_t group;    /* query heads per KV head */
    uint32_t n_k, n_v; /* head dimensions, padded */
    uint32_t task_heads;
} attention_job;

/* A worker's scratch, in this order. */
typedef struct attention_scratch {
    float *k, *v;      /* [RT_KV_PAGE_TOKENS][n_k], [..][n_v] */
    float *q, *acc;    /* [TASK_TOKENS * group][n_k], [..][n_v] */
    rt_softmax *state; /* [TASK_TOKENS * group] */
    float *blocks;     /* whole blocks that cover one head's part of a row */
} attention_scratch;

static uint32_t padded(uint32_t n) {
    return (uint32_t)rt_round_up(n, RT_LANES);
}

uint64_t rt_cpu_attention_scratch(const rt_hparams *hp) {
    uint64_t n_k = padded(hp->head_dim_k), n_v = padded(hp->head_dim_v);
    uint64_t n_rows = RT_KV_PAGE_TOKENS + (uint64_t)TASK_TOKENS * (hp->n_head / hp->n_head_kv);
    uint64_t n_floats = n_rows * (n_k + n_v + 2) + n_k + n_v + 64;
    return n_floats * sizeof(float);
}

static attention_scratch carve_scratch(const attention_job *job, unsigned worker) {
    attention_scratch s = {.k = rt_cpu_scratch(job->cpu, worker)};
    size_t n_queries = (size_t)TASK_TOKENS * job->group;
    s.v = s.k + (size_t)RT_KV_PAGE_TOKENS * job->n_k;
    s.q = s.v + (size_t)RT_KV_PAGE_TOKENS * job->n_v;
    s.acc = s.q + n_queries * job->n_k;
    s.state = (rt_softmax *)(void *)(s.acc + n_queries * job->n_v);
    s.blocks = (float *)(void *)(s.state + n_queries);
    return s;
}

/* n values of a row, starting at element `from`, as f32. */
static void load_part(const attention_job *job, const uint8_t *row, size_t from, size_t n,
                      float *blocks, float *out) {
    uint32_t type = job->kv->type;
    if (type == GGUF_TYPE_F32) {
        memcpy(out, row + from * sizeof(float), n * sizeof(float));
    } else if (type == GGUF_TYPE_F16) {
        job->cpu->kernels->load_f16(row + from * sizeof(uint16_t), n, out);
    } else {
        const gguf_type_layout *layout = gguf_type_layout_of(type);
        size_t first = from / layout->block_elems, skip = from % layout->block_elems;
        size_t n_elems = rt_round_up(skip + n, layout->block_elems);
        quant_decode(type, row + first * layout->block_bytes, 1, n_elems, blocks, NULL);
        memcpy(out, blocks + skip, n * sizeof(float));
    }
}

/* One head's part of rows first .. end of a page; every row padded with zeros. */
static void load_rows(const attention_job *job, const uint8_t *rows, uint64_t row_bytes,
                      uint32_t head, uint32_t dim, uint32_t n_padded, const rt_kv_page *page,
                      float *blocks, float *out) {
    for (uint32_t r = page->first; r < page->end; r++) {
        float *dst = out + (size_t)r * n_padded;
        load_part(job, rows + r * row_bytes, (size_t)head * dim, dim, blocks, dst);
        memset(dst + dim, 0, (n_padded - dim) * sizeof *dst);
    }
}

/* First position that `pos` sees. */
static uint32_t first_visible(const attention_job *job, uint32_t pos) {
    uint32_t window = job->shape->n_window;
    return window == 0 || pos < window ? 0 : pos - window + 1;
}

/* Bring all queries of the task forward by the page that starts at position `start`. */
static void attend_page(const attention_job *job, const attention_scratch *s, uint32_t head,
                        uint32_t pos, uint32_t n_tokens, uint32_t start) {
    const rt_kv_layer *kv = job->kv;
    const rt_attention *shape = job->shape;
    uint32_t last = pos + n_tokens, seen = first_visible(job, pos);
    rt_kv_page page = {s->k, s->v, job->n_k, job->n_v, 0, RT_KV_PAGE_TOKENS, shape->scale};
    if (seen > start) page.first = seen - start;
    if (last - start < page.end) page.end = last - start;
    load_rows(job, kv_row(kv, start, kv->k_off, 0), kv->row_bytes_k, head, shape->head_dim_k,
              job->n_k, &page, s->blocks, s->k);
    load_rows(job, kv_row(kv, start, kv->v_off, 0), kv->row_bytes_v, head, shape->head_dim_v,
              job->n_v, &page, s->blocks, s->v);
    for (uint32_t t = 0; t < n_tokens; t++) {
        uint32_t from = first_visible(job, pos + t), end = pos + t + 1;
        if (end <= start || from >= start + RT_KV_PAGE_TOKENS) continue;
        page.first = from > start ? from - start : 0;
        page.end = end - start < RT_KV_PAGE_TOKENS ? end - start : RT_KV_PAGE_TOKENS;
        for (uint32_t g = t * job->group; g < (t + 1) * job->group; g++)
            job->cpu->kernels->attend(&page, s->q + (size_t)g * job->n_k, &s->state[g],
                                      s->acc + (size_t)g * job->n_v);
    }
}

/* Query i of a task is head `i % group` of token `i / group`. */
static size_t query_index(const attention_job *job, uint32_t head, size_t token, size_t i) {
    return (token + i / job->group) * job->shape->n_head + head * job->group + i % job->group;
}

static void start_queries(const attention_job *job, const attention_scratch *s, uint32_t head,
                          size_t token, size_t n_queries) {
    uint32_t dim = job->shape->head_dim_k;
    memset(s->q, 0, n_queries * job->n_k * sizeof *s->q);
    memset(s->acc, 0, n_queries * job->n_v * sizeof *s->acc);
    for (size_t i = 0; i < n_queries; i++) {
        s->state[i] = (rt_softmax){-INFINITY, 0};
        memcpy(s->q + i * job->n_k, job->q + query_index(job, head, token, i) * dim,
               dim * sizeof *s->q);
    }
}

static void finish_queries(const attention_job *job, const attention_scratch *s, uint32_t head,
                           size_t token, size_t n_queries) {
    uint32_t dim = job->shape->head_dim_v;
    for (size_t i = 0; i < n_queries; i++) {
        const float *acc = s->acc + i * job->n_v;
        float *out = job->out + query_index(job, head, token, i) * dim;
        float scale = 1.0f / s->state[i].sum;
        for (uint32_t d = 0; d < dim; d++) out[d] = acc[d] * scale;
    }
}

static void attend_head(const attention_job *job, const attention_scratch *s, uint32_t head,
                        size_t token, uint32_t n_tokens) {
    uint32_t pos = job->pos + (uint32_t)token;
    uint32_t start = first_visible(job, pos) / RT_KV_PAGE_TOKENS * RT_KV_PAGE_TOKENS;
    start_queries(job, s, head, token, (size_t)n_tokens * job->group);
    for (; start < pos + n_tokens; start += RT_KV_PAGE_TOKENS)
        attend_page(job, s, head, pos, n_tokens, start);
    finish_queries(job, s, head, token, (size_t)n_tokens * job->group);
}

static void attention_task(void *ctx, size_t task, unsigned worker) {
    const attention_job *job = ctx;
    attention_scratch s = carve_scratch(job, worker);
    uint32_t n_heads = job->shape->n_head_kv;
    uint32_t tasks = (n_heads + job->task_heads - 1) / job->task_heads;
    uint32_t head = (uint32_t)(task % tasks) * job->task_heads, end = head + job->task_heads;
    size_t token = task / tasks * TASK_TOKENS;
    uint32_t n_tokens = job->n - token < TASK_TOKENS ? (uint32_t)(job->n - token) : TASK_TOKENS;
    for (; head < end && head < n_heads; head++) attend_head(job, &s, head, token, n_tokens);
}

/* As many heads as make a task worth its call. */
static uint32_t heads_per_task(const attention_job *job) {
    size_t tokens = job->n < TASK_TOKENS ? job->n : TASK_TOKENS;
    size_t elems = (job->pos + job->n) * tokens * job->group * job->n_k;
    uint32_t heads = (uint32_t)(MIN_TASK_ELEMS / elems + 1);
    return heads < job->shape->n_head_kv ? heads : job->shape->n_head_kv;
}

void rt_cpu_attention(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const float *q, uint32_t pos, size_t n, float *out) {
    attention_job job = {.cpu = rt_cpu_of(backend), .shape = attention, .kv = kv, .q = q};
    job.out = out;
    job.pos = pos;
    job.n = n;
    job.group = attention->n_head / attention->n_head_kv;
    job.n_k = padded(attention->head_dim_k);
    job.n_v = padded(attention->head_dim_v);
    job.task_heads = heads_per_task(&job);
    size_t n_chunks = (n + TASK_TOKENS - 1) / TASK_TOKENS;
    size_t n_tasks = (attention->n_head_kv + job.task_heads - 1) / job.task_heads;
    gguf_pool_run(job.cpu->pool, n_chunks * n_tasks, attention_task, &job);
}
