/* The choice of keys for sparse attention: scores of all keys that a token sees, and the best of
 * them as one bit each. A task is one token, so that its choice depends on nothing else. */
#include "runtime/engine/cpu/cpu_internal.h"

#include <string.h>

typedef struct select_job {
    const rt_cpu *cpu;
    const rt_indexer *indexer;
    const rt_kv_layer *kv;
    const rt_batch *batch;
    const float *q, *weights;
    uint64_t *selection;
    float *scores; /* two stretches of n_scores for every worker */
} select_job;

/* The first n rows of keys of the page at position `start`, as f32. */
static void load_keys(const select_job *job, const rt_tile *tile, uint32_t start, uint32_t n,
                      float *keys) {
    const rt_kv_layer *kv = job->kv;
    uint32_t at_once = kv->n_block < 2 ? n : 1; /* rows of a page lie one after the other */
    for (uint32_t r = 0; r < n; r += at_once, keys += (size_t)at_once * kv->n_cols_k) {
        const uint8_t *row =
            rt_cpu_kv_row(job->cpu->cache, kv, tile, start + r, kv->k_off, kv->row_bytes_k);
        if (kv->type == GGUF_TYPE_F32)
            memcpy(keys, row, (size_t)at_once * kv->n_cols_k * sizeof *keys);
        else
            quant_decode(kv->type, row, at_once, kv->n_cols_k, keys, NULL);
    }
}

/* scores[i]: the best of block i's, over the keys below n_seen.
 *   q, weights  of the heads that choose together: n of them, weights NULL for one alone */
static void score_keys(const select_job *job, const rt_tile *tile, uint32_t n_seen, const float *q,
                       const float *weights, uint32_t n, float *keys, float *scores) {
    const rt_indexer *ix = job->indexer;
    float page_scores[RT_KV_PAGE_TOKENS];
    for (uint32_t start = 0; start < n_seen; start += RT_KV_PAGE_TOKENS) {
        uint32_t rows = n_seen - start < RT_KV_PAGE_TOKENS ? n_seen - start : RT_KV_PAGE_TOKENS;
        load_keys(job, tile, start, rows, keys);
        job->cpu->kernels->index_scores(q, weights, n, ix->head_dim, keys, rows, page_scores);
        for (uint32_t r = 0; r < rows; r++) {
            uint32_t block = (start + r) / ix->n_block;
            bool first = (start + r) % ix->n_block == 0;
            if (first || page_scores[r] > scores[block]) scores[block] = page_scores[r];
        }
    }
}

/* The k-th largest of n numbers, which change places. */
static float kth_largest(float *x, uint32_t n, uint32_t k) {
    uint32_t low = 0, high = n - 1;
    while (low < high) {
        float pivot = x[low + (high - low) / 2];
        uint32_t i = low, j = high;
        for (;;) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i >= j) break;
            float swap = x[i];
            x[i++] = x[j];
            x[j--] = swap;
        }
        if (k - 1 <= j)
            high = j;
        else
            low = j + 1;
    }
    return x[k - 1];
}

/* The positions of blocks first .. end, in keys. */
static void mark(const rt_indexer *ix, uint64_t *words, uint32_t first, uint32_t end) {
    for (uint32_t i = first * ix->n_expand; i < end * ix->n_expand; i++)
        words[i / 64] |= UINT64_C(1) << i % 64;
}

/* The best blocks, of equal ones the first, and always the last n_local. */
static void choose(const rt_indexer *ix, const float *scores, uint32_t n_seen, float *room,
                   uint64_t *words) {
    uint32_t n = (n_seen + ix->n_block - 1) / ix->n_block;
    uint32_t local = ix->n_local < n ? ix->n_local : n, left = ix->n_best - local;
    memset(words, 0, ix->n_words * sizeof *words);
    if (n <= ix->n_best) {
        mark(ix, words, 0, n_seen);
        return;
    }
    mark(ix, words, (n - local) * ix->n_block, n_seen);
    n -= local;
    if (left == 0 || n == 0) return;
    memcpy(room, scores, n * sizeof *room);
    float least = kth_largest(room, n, left);
    for (uint32_t i = 0; i < n; i++) left -= scores[i] > least;
    for (uint32_t i = 0; i < n; i++) {
        bool tie = scores[i] == least && left > 0;
        left -= tie;
        if (tie || scores[i] > least) mark(ix, words, i * ix->n_block, (i + 1) * ix->n_block);
    }
}

/* Positions that no key stands for yet. */
static void mark_rest(const rt_indexer *ix, uint64_t *words, uint32_t n_seen, uint32_t end) {
    for (uint32_t i = n_seen * ix->n_expand; i < end && ix->n_expand > 1; i++)
        words[i / 64] |= UINT64_C(1) << i % 64;
}

static void select_token(const select_job *job, const rt_tile *tile, uint32_t t, unsigned worker) {
    const rt_indexer *ix = job->indexer;
    float *scores = job->scores + (size_t)worker * 2 * ix->n_scores;
    float *keys = rt_cpu_scratch(job->cpu, worker);
    size_t row = tile->row + t;
    uint32_t n_block = job->kv->n_block > 1 ? job->kv->n_block : 1;
    uint32_t n_seen = (tile->pos + t + 1) / n_block, n_choices = job->weights ? 1 : ix->n_head;
    for (uint32_t i = 0; i < n_choices; i++) {
        uint64_t *words = job->selection + (row * n_choices + i) * ix->n_words;
        const float *q = job->q + (row * ix->n_head + i) * ix->head_dim;
        bool all = (uint64_t)n_seen <= (uint64_t)ix->n_best * ix->n_block;
        if (!all)
            score_keys(job, tile, n_seen, q, job->weights ? job->weights + row * ix->n_head : NULL,
                       job->weights ? ix->n_head : 1, keys, scores);
        choose(ix, scores, n_seen, scores + ix->n_scores, words);
        mark_rest(ix, words, n_seen, tile->pos + t + 1);
    }
}

static void select_task(void *ctx, size_t task, unsigned worker) {
    const select_job *job = ctx;
    const rt_tile *tile = &job->batch->tiles[task / RT_TILE_TOKENS];
    uint32_t t = task % RT_TILE_TOKENS;
    if (t < tile->n) select_token(job, tile, t, worker);
}

uint64_t rt_cpu_select_scratch(const rt_hparams *hp) {
    return (uint64_t)RT_KV_PAGE_TOKENS * hp->index_head_dim * sizeof(float);
}

void rt_cpu_select(rt_backend *backend, const rt_indexer *indexer, const rt_kv_layer *kv,
                   const rt_batch *batch, rt_off q, rt_off weights, rt_off selection) {
    select_job job = {.cpu = rt_cpu_of(backend), .indexer = indexer, .kv = kv, .batch = batch};
    job.q = rt_cpu_at(backend, q);
    job.weights = rt_cpu_at(backend, weights);
    job.selection = (uint64_t *)(void *)rt_cpu_at(backend, selection);
    job.scores = rt_cpu_at(backend, indexer->scores);
    gguf_pool_run(job.cpu->pool, batch->n_tiles * RT_TILE_TOKENS, select_task, &job);
}
