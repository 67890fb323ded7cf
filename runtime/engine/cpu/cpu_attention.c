/* The KV cache and attention. A unit of work is a tile of tokens, one KV head and some of its
 * query heads: each page of keys and values is brought to f32 once and serves all of them. Pages
 * come in order, so a token's result does not depend on its neighbours. */
#include "runtime/engine/cpu/cpu_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    UNIT_HEADS = 16,       /* query heads, at most */
    MIN_TASK_ELEMS = 65536 /* fewer elements of keys than this are not worth handing out */
};

/* ---- storing -----------------------------------------------------------------------------------
 */

typedef struct store_job {
    uint8_t *cache;
    const rt_kv_layer *kv;
    const rt_batch *batch;
    const float *k, *v;
    atomic_size_t failed; /* 1 + a position that could not be stored, or 0 */
} store_job;

uint8_t *rt_cpu_kv_row(uint8_t *cache, const rt_kv_layer *kv, const rt_tile *tile, uint32_t row,
                       uint64_t off, uint64_t row_bytes) {
    uint32_t n_block = kv->n_block > 1 ? kv->n_block : 1, pos = (row + 1) * n_block - 1;
    uint64_t page = tile->pages[kv->kv_class][pos / RT_KV_PAGE_TOKENS];
    return cache + kv->off + page * kv->page_bytes + off +
           pos % RT_KV_PAGE_TOKENS / n_block * row_bytes;
}

static bool store_row(uint32_t type, const float *src, size_t n_cols, uint8_t *dst) {
    if (type != GGUF_TYPE_F32)
        return quant_encode(type, src, 1, n_cols, NULL, dst, NULL) == GGUF_OK;
    memcpy(dst, src, n_cols * sizeof *src);
    return true;
}

static void store_task(void *ctx, size_t task, unsigned worker) {
    store_job *job = ctx;
    const rt_kv_layer *kv = job->kv;
    const rt_tile *tile = &job->batch->tiles[task];
    (void)worker;
    for (uint32_t t = 0; t < tile->n; t++) {
        uint32_t pos = tile->pos + t;
        size_t row = tile->row + t;
        bool ok = store_row(kv->type, job->k + row * kv->n_cols_k, kv->n_cols_k,
                            rt_cpu_kv_row(job->cache, kv, tile, pos, kv->k_off, kv->row_bytes_k));
        if (job->v && ok)
            ok = store_row(kv->type, job->v + row * kv->n_cols_v, kv->n_cols_v,
                           rt_cpu_kv_row(job->cache, kv, tile, pos, kv->v_off, kv->row_bytes_v));
        if (!ok) atomic_store(&job->failed, pos + (size_t)1);
    }
}

void rt_cpu_kv_store(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k,
                     rt_off v) {
    rt_cpu *cpu = rt_cpu_of(backend);
    store_job job = {.cache = cpu->cache, .kv = kv, .batch = batch};
    job.k = rt_cpu_at(backend, k);
    job.v = rt_cpu_at(backend, v);
    gguf_pool_run(cpu->pool, batch->n_tiles, store_task, &job);
    size_t failed = atomic_load(&job.failed);
    if (failed)
        gguf_fail(&backend->failure, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                  "the keys or values of position %zu do not fit the KV type %s", failed - 1,
                  gguf_type_name(kv->type));
}

void rt_cpu_kv_load(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k) {
    uint8_t *cache = rt_cpu_of(backend)->cache;
    float *rows = rt_cpu_at(backend, k);
    for (size_t i = 0; i < batch->n_tiles; i++) {
        const rt_tile *tile = &batch->tiles[i];
        for (uint32_t t = 0; t < tile->n; t++)
            quant_decode(kv->type,
                         rt_cpu_kv_row(cache, kv, tile, tile->pos + t, kv->k_off, kv->row_bytes_k),
                         1, kv->n_cols_k, rows + (size_t)(tile->row + t) * kv->n_cols_k, NULL);
    }
}

/* ---- attention ---------------------------------------------------------------------------------
 */

typedef struct attention_job {
    const rt_cpu *cpu;
    const rt_attention *shape;
    const rt_kv_layer *kv;
    const rt_batch *batch;
    const float *q;
    float *out;
    const uint64_t *selection; /* or NULL */
    uint32_t group;            /* query heads per KV head */
    uint32_t unit_heads;       /* query heads per unit */
    uint32_t n_parts;          /* units per KV head */
    uint32_t task_units;       /* units of one tile that make a task */
    uint32_t n_k, n_v;         /* head dimensions, padded to whole vectors */
} attention_job;

/* A worker's scratch, in this order. */
typedef struct attention_scratch {
    float *k, *v;      /* of a page, see rt_kv_page */
    float *rows;       /* [RT_STRIP][max(n_k, n_v)] */
    float *q, *acc;    /* [RT_TILE_TOKENS * unit_heads][n_k], [..][n_v] */
    rt_softmax *state; /* [RT_TILE_TOKENS * unit_heads] */
    float *blocks;     /* whole blocks that cover one head's part of a row */
} attention_scratch;

/* Some query heads of one KV head, for one tile. Query i is head `head + i % n_heads` of token
 * `i / n_heads`. */
typedef struct unit {
    const rt_tile *tile;
    uint32_t head_kv, head, n_heads;
} unit;

static uint32_t padded(uint32_t n) {
    return (uint32_t)rt_round_up(n, RT_STRIP);
}

static uint64_t layer_scratch(const rt_layer_hparams *l) {
    uint64_t n_k = padded(l->head_dim_k), n_v = padded(l->head_dim_v);
    uint32_t group = l->n_head / l->n_head_kv;
    uint64_t n_rows = RT_KV_PAGE_TOKENS + RT_STRIP +
                      UINT64_C(1) * RT_TILE_TOKENS * (group < UNIT_HEADS ? group : UNIT_HEADS);
    uint64_t n_floats = n_rows * (n_k + n_v + 2) + n_k + n_v + 64;
    return n_floats * sizeof(float);
}

uint64_t rt_cpu_attention_scratch(const rt_hparams *hp) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        uint64_t n_bytes = hp->layers[i].n_head ? layer_scratch(&hp->layers[i]) : 0;
        if (n_bytes > most) most = n_bytes;
    }
    return most;
}

static attention_scratch carve_scratch(const attention_job *job, unsigned worker) {
    attention_scratch s = {.k = rt_cpu_scratch(job->cpu, worker)};
    size_t n_queries = (size_t)RT_TILE_TOKENS * job->unit_heads;
    s.v = s.k + (size_t)RT_KV_PAGE_TOKENS * job->n_k;
    s.rows = s.v + (size_t)RT_KV_PAGE_TOKENS * job->n_v;
    s.q = s.rows + (size_t)RT_STRIP * (job->n_k > job->n_v ? job->n_k : job->n_v);
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

/* One head's part of the rows first .. end, of which there are at most RT_STRIP, to where they lie
 * in a strip; every row padded with zeros, the other rows are 0. */
static void load_rows(const attention_job *job, const unit *u, uint32_t start, uint64_t off,
                      uint64_t row_bytes, uint32_t dim, uint32_t n_padded, uint32_t first,
                      uint32_t end, const attention_scratch *s) {
    const uint8_t *row = NULL;
    bool plain = job->kv->n_block < 2; /* rows of a page lie one after the other */
    uint32_t strip = first / RT_STRIP * RT_STRIP;
    if (end - first < RT_STRIP) memset(s->rows, 0, sizeof(float) * RT_STRIP * n_padded);
    for (uint32_t r = first; r < end; r++) {
        float *dst = s->rows + (size_t)(r - strip) * n_padded;
        row = row && plain
                  ? row + row_bytes
                  : rt_cpu_kv_row(job->cpu->cache, job->kv, u->tile, start + r, off, row_bytes);
        load_part(job, row, (size_t)u->head_kv * dim, dim, s->blocks, dst);
        memset(dst + dim, 0, (n_padded - dim) * sizeof *dst);
    }
}

/* Loaded rows become rows first .. end of the page's values; their first n_v columns do. */
static void place_values(const attention_job *job, const attention_scratch *s, uint32_t stride,
                         uint32_t first, uint32_t end) {
    uint32_t strip = first / RT_STRIP * RT_STRIP;
    for (uint32_t c = 0; c < job->n_v; c += RT_STRIP)
        for (uint32_t r = first; r < end; r++)
            memcpy(s->v + (size_t)c * RT_KV_PAGE_TOKENS + (size_t)r * RT_STRIP,
                   s->rows + (size_t)(r - strip) * stride + c, RT_STRIP * sizeof(float));
}

/* First position that token t sees, and the end of those; or of blocks. */
static uint32_t first_visible(const attention_job *job, const rt_tile *tile, uint32_t t) {
    if (job->kv->n_block > 1 || job->shape->of_source) return 0;
    uint32_t window = job->shape->n_window, pos = tile->pos + t;
    if (!job->shape->causal) window = window ? window / 2 + 1 : 0;
    if (job->shape->chunked && window) return pos / window * window;
    return window == 0 || pos < window ? tile->n_source : pos - window + 1;
}

static uint32_t end_visible(const attention_job *job, const rt_tile *tile, uint32_t t) {
    uint32_t end = tile->pos + t + 1, half = job->shape->n_window / 2;
    if (job->shape->of_source) return tile->n_source;
    if (job->kv->n_block > 1) return end / job->kv->n_block;
    if (job->shape->causal) return end;
    return job->shape->n_window && half < tile->n_seen - end ? end + half : tile->n_seen;
}

/* The rows first .. end of the page at position `start` among the visible positions. */
typedef struct visible {
    uint32_t first, end;
} visible;

static visible visible_rows(uint32_t start, uint32_t first, uint32_t end) {
    visible v = {first > start ? first - start : 0, 0};
    if (end > start) v.end = end - start < RT_KV_PAGE_TOKENS ? end - start : RT_KV_PAGE_TOKENS;
    return v;
}

/* Rows of one strip of a page: keys, and values, which in some layers are the keys' first columns.
 */
static void load_strip(const attention_job *job, const attention_scratch *s, const unit *u,
                       uint32_t start, uint32_t first, uint32_t end) {
    const rt_kv_layer *kv = job->kv;
    const rt_attention *shape = job->shape;
    load_rows(job, u, start, kv->k_off, kv->row_bytes_k, shape->head_dim_k, job->n_k, first, end,
              s);
    job->cpu->kernels->transpose(s->rows, job->n_k,
                                 s->k + (size_t)(first / RT_STRIP * RT_STRIP) * job->n_k);
    if (kv->n_cols_v == 0) {
        place_values(job, s, job->n_k, first, end);
        return;
    }
    load_rows(job, u, start, kv->v_off, kv->row_bytes_v, shape->head_dim_v, job->n_v, first, end,
              s);
    place_values(job, s, job->n_v, first, end);
}

static void load_page(const attention_job *job, const attention_scratch *s, const unit *u,
                      uint32_t start, visible rows) {
    for (uint32_t r = rows.first, end; r < rows.end; r = end) {
        end = (r / RT_STRIP + 1) * RT_STRIP;
        if (end > rows.end) end = rows.end;
        load_strip(job, s, u, start, r, end);
    }
}

/* The keys of the page at position `start` that token t counts, as bits. */
static uint64_t seen_of(const attention_job *job, const unit *u, uint32_t t, uint32_t start) {
    const rt_attention *shape = job->shape;
    if (!job->selection || (shape->blocks && job->kv != shape->blocks)) return UINT64_MAX;
    size_t choice = (size_t)(u->tile->row + t) * shape->n_choices;
    if (shape->n_choices > 1) choice += u->head_kv;
    return job->selection[choice * shape->n_words + start / RT_KV_PAGE_TOKENS];
}

/* Whether any token of the tile counts a key of the page. */
static bool is_seen(const attention_job *job, const unit *u, uint32_t start) {
    uint64_t seen = 0;
    for (uint32_t t = 0; t < u->tile->n; t++) seen |= seen_of(job, u, t, start);
    return seen != 0;
}

/* What the scores of a page's rows get by their distance to `pos`; NULL: nothing. Beyond its reach
 * all numbers of a bias are the same. */
static const float *bias_of(const attention_job *job, uint32_t head, uint32_t pos, uint32_t start) {
    int64_t reach = job->shape->bias_reach, before = (int64_t)start - (int64_t)pos;
    if (!job->shape->bias) return NULL;
    if (before < -reach) before = -reach;
    if (before > reach + 1 - RT_KV_PAGE_TOKENS) before = reach + 1 - RT_KV_PAGE_TOKENS;
    return job->shape->bias + head * (2 * reach + 1) + reach + before;
}

/* Bring all queries of the unit forward by the page that starts at position `start`. */
static void attend_page(const attention_job *job, const attention_scratch *s, const unit *u,
                        uint32_t start) {
    const rt_tile *tile = u->tile;
    const rt_kv_page page = {s->k, s->v, job->n_k, job->n_v, job->shape->scale, job->shape->cap};
    load_page(
        job, s, u, start,
        visible_rows(start, first_visible(job, tile, 0), end_visible(job, tile, tile->n - 1)));
    uint32_t n_queries = tile->n * u->n_heads;
    for (uint32_t i = 0; i < n_queries; i += RT_QUERIES) {
        rt_queries qs = {.q = s->q + (size_t)i * job->n_k, .acc = s->acc + (size_t)i * job->n_v};
        qs.state = &s->state[i];
        qs.n = n_queries - i < RT_QUERIES ? n_queries - i : RT_QUERIES;
        for (uint32_t k = 0; k < qs.n; k++) {
            uint32_t t = (i + k) / u->n_heads;
            visible rows =
                visible_rows(start, first_visible(job, tile, t), end_visible(job, tile, t));
            qs.seen[k] = seen_of(job, u, t, start);
            if (qs.seen[k] == 0) rows.end = 0;
            qs.slope[k] =
                job->shape->slopes ? job->shape->slopes[u->head + (i + k) % u->n_heads] : 0;
            qs.bias[k] = bias_of(job, u->head + (i + k) % u->n_heads, tile->pos + t, start);
            qs.before[k] = (float)((int64_t)start - (int64_t)(tile->pos + t));
            qs.first[k] = rows.first;
            qs.end[k] = rows.end;
        }
        job->cpu->kernels->attend(&page, &qs);
    }
}

static size_t query_index(const attention_job *job, const unit *u, size_t i) {
    return (u->tile->row + i / u->n_heads) * job->shape->n_head + u->head + i % u->n_heads;
}

/* A sink is a key that was seen already, and has no value. */
static void start_queries(const attention_job *job, const attention_scratch *s, const unit *u) {
    uint32_t dim = job->shape->head_dim_k;
    size_t n_queries = (size_t)u->tile->n * u->n_heads;
    const float *sinks = job->shape->sinks;
    memset(s->q, 0, n_queries * job->n_k * sizeof *s->q);
    memset(s->acc, 0, n_queries * job->n_v * sizeof *s->acc);
    for (size_t i = 0; i < n_queries; i++) {
        s->state[i] =
            sinks ? (rt_softmax){sinks[u->head + i % u->n_heads], 1} : (rt_softmax){-INFINITY, 0};
        memcpy(s->q + i * job->n_k, job->q + query_index(job, u, i) * dim, dim * sizeof *s->q);
    }
}

static void finish_queries(const attention_job *job, const attention_scratch *s, const unit *u) {
    uint32_t dim = job->shape->head_dim_v;
    for (size_t i = 0; i < (size_t)u->tile->n * u->n_heads; i++) {
        const float *acc = s->acc + i * job->n_v;
        float *out = job->out + query_index(job, u, i) * dim;
        float scale = 1.0f / s->state[i].sum;
        for (uint32_t d = 0; d < dim; d++) out[d] = acc[d] * scale;
    }
}

static void attend_keys(const attention_job *job, const attention_scratch *s, const unit *u) {
    uint32_t start = first_visible(job, u->tile, 0) / RT_KV_PAGE_TOKENS * RT_KV_PAGE_TOKENS;
    uint32_t end = end_visible(job, u->tile, u->tile->n - 1);
    for (; start < end; start += RT_KV_PAGE_TOKENS)
        if (is_seen(job, u, start)) attend_page(job, s, u, start);
}

static void attend_unit(const attention_job *job, const attention_scratch *s, const unit *u) {
    start_queries(job, s, u);
    attend_keys(job, s, u);
    if (job->shape->blocks) {
        attention_job rest = *job;
        rest.kv = job->shape->blocks;
        attend_keys(&rest, s, u);
    }
    finish_queries(job, s, u);
}

static uint32_t units_per_tile(const attention_job *job) {
    return job->shape->n_head_kv * job->n_parts;
}

static void attention_task(void *ctx, size_t task, unsigned worker) {
    const attention_job *job = ctx;
    attention_scratch s = carve_scratch(job, worker);
    uint32_t n_units = units_per_tile(job);
    uint32_t tasks = (n_units + job->task_units - 1) / job->task_units;
    uint32_t index = (uint32_t)(task % tasks) * job->task_units, end = index + job->task_units;
    for (; index < end && index < n_units; index++) {
        unit u = {.tile = &job->batch->tiles[task / tasks], .head_kv = index / job->n_parts};
        uint32_t first = index % job->n_parts * job->unit_heads, left = job->group - first;
        u.head = u.head_kv * job->group + first;
        u.n_heads = left < job->unit_heads ? left : job->unit_heads;
        attend_unit(job, &s, &u);
    }
}

/* As many units as make a task worth its call. */
static uint32_t units_per_task(const attention_job *job) {
    size_t n_seen = 1;
    for (size_t c = 0; c < job->batch->n_tiles; c++)
        if (job->batch->tiles[c].n_seen > n_seen) n_seen = job->batch->tiles[c].n_seen;
    size_t tokens = job->batch->n < RT_TILE_TOKENS ? job->batch->n : RT_TILE_TOKENS;
    size_t elems = n_seen * tokens * job->unit_heads * job->n_k;
    uint32_t units = (uint32_t)(MIN_TASK_ELEMS / elems + 1);
    return units < units_per_tile(job) ? units : units_per_tile(job);
}

void rt_cpu_attention(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                      const rt_batch *batch, rt_off q, rt_off out) {
    attention_job job = {.cpu = rt_cpu_of(backend), .shape = attention, .kv = kv, .batch = batch};
    job.q = rt_cpu_at(backend, q);
    job.out = rt_cpu_at(backend, out);
    job.selection = (const uint64_t *)(void *)rt_cpu_at(backend, attention->selection);
    job.group = attention->n_head / attention->n_head_kv;
    job.unit_heads = job.group < UNIT_HEADS ? job.group : UNIT_HEADS;
    job.n_parts = (job.group + job.unit_heads - 1) / job.unit_heads;
    job.n_k = padded(attention->head_dim_k);
    job.n_v = padded(attention->head_dim_v);
    job.task_units = units_per_task(&job);
    size_t n_tasks = (units_per_tile(&job) + job.task_units - 1) / job.task_units;
    gguf_pool_run(job.cpu->pool, batch->n_tiles * n_tasks, attention_task, &job);
}
