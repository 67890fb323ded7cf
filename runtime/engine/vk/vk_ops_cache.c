/* The KV cache, attention and indexers. The tables of a batch's sequences go with every operation:
 * they are small beside what it reads. */
#include "runtime/engine/vk/vk_internal.h"

#include <string.h>

enum { MAX_GROUPS = 65535 };

/* As kernels have it. */
typedef struct device_tile {
    uint64_t pages;
    uint32_t row, n, pos, n_seen;
} device_tile;

static uint64_t table_bytes(const rt_tile *tile) {
    uint32_t end = tile->pos + tile->n > tile->n_seen ? tile->pos + tile->n : tile->n_seen;
    return (uint64_t)((end + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS) * sizeof(uint32_t);
}

static uint64_t round_up(uint64_t n_bytes) {
    return (n_bytes + 63) / 64 * 64;
}

/* Tiles first .. end share their table. */
static size_t end_of_table(const rt_batch *batch, rt_kv_class kv_class, size_t first,
                           uint64_t *n_bytes) {
    size_t i = first;
    for (*n_bytes = 0; i < batch->n_tiles; i++) {
        if (batch->tiles[i].pages[kv_class] != batch->tiles[first].pages[kv_class]) break;
        uint64_t own = table_bytes(&batch->tiles[i]);
        if (own > *n_bytes) *n_bytes = own;
    }
    return i;
}

/* The tiles of a batch and their tables in the staging buffer; returns the tiles' address, or 0. */
static uint64_t stage_tiles(vk_backend *vk, const rt_batch *batch, rt_kv_class kv_class) {
    uint64_t n_tiles_bytes = round_up(batch->n_tiles * sizeof(device_tile)), n_bytes;
    uint64_t total = n_tiles_bytes;
    for (size_t i = 0; i < batch->n_tiles;) {
        i = end_of_table(batch, kv_class, i, &n_bytes);
        total += round_up(n_bytes);
    }
    uint64_t off = vk_stage(vk, total);
    if (off == RT_NO_OFF) return 0;
    device_tile *tiles = (device_tile *)(void *)(vk->staging.host + off);
    uint64_t at = off + n_tiles_bytes;
    for (size_t i = 0, end; i < batch->n_tiles; i = end, at += round_up(n_bytes)) {
        end = end_of_table(batch, kv_class, i, &n_bytes);
        memcpy(vk->staging.host + at, batch->tiles[i].pages[kv_class], n_bytes);
        for (size_t k = i; k < end; k++) {
            const rt_tile *t = &batch->tiles[k];
            tiles[k] = (device_tile){vk->staging.address + at, t->row, t->n, t->pos, t->n_seen};
        }
    }
    return vk->staging.address + off;
}

/* Layers are told apart by where their rows begin in a page. */
static vk_access access_of(const rt_kv_layer *kv, bool writes) {
    uint64_t name = kv->off + kv->k_off;
    return (vk_access){VK_CACHE, writes, name, name + 1};
}

static uint32_t tile_groups(const rt_batch *batch) {
    uint64_t n = (uint64_t)batch->n_tiles * RT_TILE_TOKENS;
    return n < MAX_GROUPS ? (uint32_t)n : MAX_GROUPS;
}

typedef struct rows_push {
    vk_at at;
    uint64_t tiles, base, page_bytes, failed;
    uint32_t n_tiles, row_bytes, n_cols;
} rows_push;

static void store(vk_backend *vk, const rt_kv_layer *kv, const rt_batch *batch, rows_push p,
                  rt_off x) {
    vk_job job = {.shader = VK_KV_STORE,
                  .variant = kv->type,
                  .push = &p,
                  .push_bytes = sizeof p,
                  .operands = {{x, batch->n * p.n_cols, false}},
                  .n_operands = 1,
                  .cache = access_of(kv, true),
                  .groups = {tile_groups(batch), 1, 1}};
    vk_dispatch(vk, &job);
}

void vk_op_kv_store(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k,
                    rt_off v) {
    vk_backend *vk = vk_of(backend);
    rows_push p = {.tiles = stage_tiles(vk, batch, kv->kv_class),
                   .base = vk->cache.address + kv->off + kv->k_off,
                   .page_bytes = kv->page_bytes,
                   .failed = vk->staging.address,
                   .n_tiles = (uint32_t)batch->n_tiles,
                   .row_bytes = (uint32_t)kv->row_bytes_k,
                   .n_cols = kv->n_cols_k};
    store(vk, kv, batch, p, k);
    if (v == RT_NO_OFF) return;
    p.base = vk->cache.address + kv->off + kv->v_off;
    p.row_bytes = (uint32_t)kv->row_bytes_v;
    p.n_cols = kv->n_cols_v;
    store(vk, kv, batch, p, v);
}

void vk_op_kv_load(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k) {
    vk_backend *vk = vk_of(backend);
    struct {
        vk_at at;
        uint64_t tiles, base, page_bytes;
        uint32_t n_tiles, row_bytes, n_cols;
    } p = {.tiles = stage_tiles(vk, batch, kv->kv_class),
           .base = vk->cache.address + kv->off + kv->k_off,
           .page_bytes = kv->page_bytes,
           .n_tiles = (uint32_t)batch->n_tiles,
           .row_bytes = (uint32_t)kv->row_bytes_k,
           .n_cols = kv->n_cols_k};
    vk_job job = {.shader = VK_KV_LOAD,
                  .variant = kv->type,
                  .push = &p,
                  .push_bytes = sizeof p,
                  .operands = {{k, batch->n * kv->n_cols_k, true}},
                  .n_operands = 1,
                  .cache = access_of(kv, false),
                  .groups = {tile_groups(batch), 1, 1}};
    vk_dispatch(vk, &job);
}

static uint64_t selection_elems(const rt_attention *a, const rt_batch *batch) {
    return UINT64_C(2) * batch->n * a->n_choices * a->n_words;
}

void vk_op_attention(rt_backend *backend, const rt_attention *a, const rt_kv_layer *kv,
                     const rt_batch *batch, rt_off q, rt_off out) {
    vk_backend *vk = vk_of(backend);
    uint64_t keys = vk->cache.address + kv->off + kv->k_off;
    struct {
        vk_at at;
        uint64_t tiles, keys, values, page_bytes, sinks, slopes;
        uint32_t row_bytes_k, row_bytes_v, heads, dims, window, flags, choices;
        float scale, cap;
    } p = {.tiles = stage_tiles(vk, batch, kv->kv_class),
           .keys = keys,
           .values = kv->n_cols_v ? vk->cache.address + kv->off + kv->v_off : keys,
           .page_bytes = kv->page_bytes,
           .sinks = vk_address(vk, a->sinks),
           .slopes = vk_address(vk, a->slopes),
           .row_bytes_k = (uint32_t)kv->row_bytes_k,
           .row_bytes_v = (uint32_t)(kv->n_cols_v ? kv->row_bytes_v : kv->row_bytes_k),
           .heads = a->n_head | a->n_head / a->n_head_kv << 16,
           .dims = a->head_dim_k | a->head_dim_v << 16,
           .window = a->n_window,
           .flags =
               (a->causal ? 1 : 0) | (a->chunked ? 2 : 0) | (a->selection != RT_NO_OFF ? 4 : 0),
           .choices = a->n_choices << 24 | a->n_words,
           .scale = a->scale,
           .cap = a->cap};
    vk_job job = {.shader = VK_ATTENTION,
                  .variant = kv->type,
                  .push = &p,
                  .push_bytes = sizeof p,
                  .operands = {{q, (uint64_t)batch->n * a->n_head * a->head_dim_k, false},
                               {out, (uint64_t)batch->n * a->n_head * a->head_dim_v, true},
                               {a->selection, selection_elems(a, batch), false}},
                  .n_operands = 3,
                  .cache = access_of(kv, false),
                  .groups = {a->n_head, (uint32_t)batch->n_tiles * RT_TILE_TOKENS, 1}};
    if (job.groups[1] > MAX_GROUPS)
        gguf_fail(&backend->failure, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                  "a batch of %zu tokens is too large for the device", batch->n);
    vk_dispatch(vk, &job);
}

void vk_op_select(rt_backend *backend, const rt_indexer *ix, const rt_kv_layer *kv,
                  const rt_batch *batch, rt_off q, rt_off weights, rt_off selection) {
    vk_backend *vk = vk_of(backend);
    uint32_t n_choices = weights != RT_NO_OFF ? 1 : ix->n_head;
    struct {
        vk_at at;
        uint64_t tiles, keys, page_bytes;
        uint32_t n_tiles, row_bytes, n_head, head_dim, n_best, n_block, n_local, n_words, n_scores;
        uint32_t together;
    } p = {.tiles = stage_tiles(vk, batch, kv->kv_class),
           .keys = vk->cache.address + kv->off + kv->k_off,
           .page_bytes = kv->page_bytes,
           .n_tiles = (uint32_t)batch->n_tiles,
           .row_bytes = (uint32_t)kv->row_bytes_k,
           .n_head = ix->n_head,
           .head_dim = ix->head_dim,
           .n_best = ix->n_best,
           .n_block = ix->n_block,
           .n_local = ix->n_local,
           .n_words = ix->n_words,
           .n_scores = ix->n_scores,
           .together = weights != RT_NO_OFF};
    vk_job job = {.shader = VK_SELECT,
                  .variant = kv->type,
                  .push = &p,
                  .push_bytes = sizeof p,
                  .operands = {{q, (uint64_t)batch->n * ix->n_head * ix->head_dim, false},
                               {weights, (uint64_t)batch->n * ix->n_head, false},
                               {selection, UINT64_C(2) * batch->n * n_choices * ix->n_words, true},
                               {ix->scores, UINT64_C(2) * vk->n_slots * ix->n_scores, true}},
                  .n_operands = 4,
                  .cache = access_of(kv, false),
                  .groups = {vk->n_slots, 1, 1}};
    vk_dispatch(vk, &job);
}
