/* The KV cache: pages of RT_KV_PAGE_TOKENS tokens, which sequences share until one of them writes.
 * Layers with a window have pages of their own, released as the window moves on. */
#ifndef RUNTIME_ENGINE_KV_H
#define RUNTIME_ENGINE_KV_H

#include "runtime/engine/backend.h"

/* One sequence. Of each class it holds the pages first .. end of its table. */
typedef struct rt_seq {
    uint32_t n_past, n_source; /* the first n_source positions are of a text */
    uint32_t first[RT_N_KV_CLASSES], end[RT_N_KV_CLASSES];
} rt_seq;

/* The pages of one class. */
typedef struct rt_kv_pool {
    uint32_t n_layers; /* 0: there is no layer of the class, and no page */
    uint32_t n_pages, n_free;
    uint32_t *free;   /* [n_pages], n_free of them used as a stack */
    uint32_t *refs;   /* [n_pages] sequences that hold the page */
    uint32_t *tables; /* [n_seqs][n_table] */
} rt_kv_pool;

typedef struct rt_kv {
    rt_kv_pool pools[RT_N_KV_CLASSES];
    rt_seq *seqs;
    uint32_t n_seqs, n_table;
    uint32_t n_window;
    /* Copy what all layers of the class have in a page. */
    void (*copy)(void *ctx, rt_kv_class kv_class, uint32_t from, uint32_t to);
    void *copy_ctx;
} rt_kv;

/* Forget everything: all pages are free. */
void rt_kv_clear(rt_kv *kv);

/* Make positions n_past .. n_past + n of a sequence writable in one class: its own pages, copied
 * where they were shared. Errors: GGUF_E_LIMIT, with the pages taken so far kept. */
gguf_code rt_kv_reserve(rt_kv *kv, rt_kv_class kv_class, uint32_t seq, uint32_t n, gguf_error *err);

/* Release pages behind n_past. */
void rt_kv_trim(rt_kv *kv, uint32_t seq);

/* Release the pages that no window reaches from position n_past on. */
void rt_kv_slide(rt_kv *kv, uint32_t seq);

/* See rt_seq_truncate and rt_seq_share; n <= n_past of the sequence that is read. */
gguf_code rt_kv_truncate(rt_kv *kv, uint32_t seq, uint32_t n, gguf_error *err);
gguf_code rt_kv_share(rt_kv *kv, uint32_t from, uint32_t to, uint32_t n, gguf_error *err);

/* The first page that position `pos` sees. */
uint32_t rt_kv_first_seen(const rt_kv *kv, rt_kv_class kv_class, uint32_t pos);
/* Let an empty sequence have n tokens: the pages that position n sees, to be filled by the caller.
 * Errors: GGUF_E_LIMIT; the sequence stays empty. */
gguf_code rt_kv_restore(rt_kv *kv, uint32_t seq, uint32_t n, gguf_error *err);

/* Drop whole pages from a sequence: positions first .. first + n. The pages behind them move up,
 * and become the sequence's own. Errors: GGUF_E_LIMIT, also if a window would reach what is not
 * held. */
gguf_code rt_kv_drop(rt_kv *kv, uint32_t seq, uint32_t first, uint32_t n, gguf_error *err);

const uint32_t *rt_kv_table(const rt_kv *kv, rt_kv_class kv_class, uint32_t seq);

#endif
