/* Pages of the KV cache: who holds which. */
#include "runtime/engine/kv.h"

#include <inttypes.h>
#include <string.h>

static uint32_t pages_for(uint32_t n_tokens) {
    return (uint32_t)(((uint64_t)n_tokens + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS);
}

static uint32_t *table_of(const rt_kv *kv, rt_kv_class kv_class, uint32_t seq) {
    return kv->pools[kv_class].tables + (size_t)seq * kv->n_table;
}

const uint32_t *rt_kv_table(const rt_kv *kv, rt_kv_class kv_class, uint32_t seq) {
    return table_of(kv, kv_class, seq);
}

uint32_t rt_kv_first_seen(const rt_kv *kv, rt_kv_class kv_class, uint32_t pos) {
    if (kv_class == RT_KV_FULL || pos < kv->n_window) return 0;
    return (pos - kv->n_window + 1) / RT_KV_PAGE_TOKENS;
}

void rt_kv_clear(rt_kv *kv) {
    memset(kv->seqs, 0, kv->n_seqs * sizeof *kv->seqs);
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        rt_kv_pool *pool = &kv->pools[c];
        pool->n_free = pool->n_pages;
        for (uint32_t i = 0; i < pool->n_pages; i++) {
            pool->free[i] = pool->n_pages - 1 - i; /* the first page is taken first */
            pool->refs[i] = 0;
        }
    }
}

static gguf_code take(rt_kv_pool *pool, uint32_t *page, gguf_error *err) {
    if (pool->n_free == 0)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "all %" PRIu32 " pages of %d tokens of the KV cache are in use",
                         pool->n_pages, RT_KV_PAGE_TOKENS);
    *page = pool->free[--pool->n_free];
    pool->refs[*page] = 1;
    return GGUF_OK;
}

static void drop(rt_kv_pool *pool, uint32_t page) {
    if (--pool->refs[page] == 0) pool->free[pool->n_free++] = page;
}

/* A page that is about to be written belongs to one sequence. */
static gguf_code own(rt_kv *kv, rt_kv_class kv_class, uint32_t *page, gguf_error *err) {
    rt_kv_pool *pool = &kv->pools[kv_class];
    uint32_t shared = *page;
    if (pool->refs[shared] == 1) return GGUF_OK;
    gguf_code code = take(pool, page, err);
    if (code) return code;
    kv->copy(kv->copy_ctx, kv_class, shared, *page);
    drop(pool, shared);
    return GGUF_OK;
}

gguf_code rt_kv_reserve(rt_kv *kv, rt_kv_class kv_class, uint32_t seq, uint32_t n,
                        gguf_error *err) {
    rt_kv_pool *pool = &kv->pools[kv_class];
    rt_seq *s = &kv->seqs[seq];
    uint32_t *table = table_of(kv, kv_class, seq), end = pages_for(s->n_past + n);
    uint32_t current = s->n_past / RT_KV_PAGE_TOKENS;
    gguf_code code = GGUF_OK;
    if (pool->n_layers == 0) return GGUF_OK;
    if (current < s->end[kv_class]) code = own(kv, kv_class, &table[current], err);
    while (s->end[kv_class] < end && !code) {
        code = take(pool, &table[s->end[kv_class]], err);
        if (!code) s->end[kv_class]++;
    }
    return code;
}

/* Hold no page outside first .. end. */
static void keep(rt_kv *kv, rt_kv_class kv_class, uint32_t seq, uint32_t first, uint32_t end) {
    rt_kv_pool *pool = &kv->pools[kv_class];
    rt_seq *s = &kv->seqs[seq];
    uint32_t *table = table_of(kv, kv_class, seq);
    for (uint32_t i = s->first[kv_class]; i < s->end[kv_class]; i++)
        if (i < first || i >= end) drop(pool, table[i]);
    if (s->first[kv_class] < first) s->first[kv_class] = first;
    if (s->end[kv_class] > end) s->end[kv_class] = end;
    if (s->end[kv_class] < s->first[kv_class]) s->end[kv_class] = s->first[kv_class];
}

void rt_kv_trim(rt_kv *kv, uint32_t seq) {
    for (int c = 0; c < RT_N_KV_CLASSES; c++)
        keep(kv, (rt_kv_class)c, seq, 0, pages_for(kv->seqs[seq].n_past));
}

void rt_kv_slide(rt_kv *kv, uint32_t seq) {
    uint32_t first = rt_kv_first_seen(kv, RT_KV_WINDOW, kv->seqs[seq].n_past);
    if (kv->pools[RT_KV_WINDOW].n_layers) keep(kv, RT_KV_WINDOW, seq, first, UINT32_MAX);
}

/* What position n sees is still held. */
static gguf_code check_held(const rt_kv *kv, uint32_t seq, uint32_t n, gguf_error *err) {
    const rt_seq *s = &kv->seqs[seq];
    if (n > s->n_past)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "sequence %" PRIu32 " has %" PRIu32 " tokens, not %" PRIu32, seq,
                         s->n_past, n);
    if (n == 0 || s->first[RT_KV_WINDOW] <= rt_kv_first_seen(kv, RT_KV_WINDOW, n)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                     "layers with a window of %" PRIu32 " no longer hold what position %" PRIu32
                     " sees",
                     kv->n_window, n);
}

static void empty(rt_kv *kv, uint32_t seq) {
    for (int c = 0; c < RT_N_KV_CLASSES; c++) keep(kv, (rt_kv_class)c, seq, 0, 0);
    kv->seqs[seq] = (rt_seq){0};
}

gguf_code rt_kv_truncate(rt_kv *kv, uint32_t seq, uint32_t n, gguf_error *err) {
    gguf_code code = check_held(kv, seq, n, err);
    if (code) return code;
    kv->seqs[seq].n_past = n;
    if (n == 0)
        empty(kv, seq);
    else
        rt_kv_trim(kv, seq);
    return GGUF_OK;
}

gguf_code rt_kv_share(rt_kv *kv, uint32_t from, uint32_t to, uint32_t n, gguf_error *err) {
    gguf_code code = check_held(kv, from, n, err);
    if (code || from == to) return code ? code : rt_kv_truncate(kv, to, n, err);
    empty(kv, to);
    kv->seqs[to].n_past = n;
    kv->seqs[to].n_source = n ? kv->seqs[from].n_source : 0;
    for (int c = 0; c < RT_N_KV_CLASSES && n > 0; c++) {
        rt_kv_pool *pool = &kv->pools[c];
        const uint32_t *source = table_of(kv, (rt_kv_class)c, from);
        uint32_t *table = table_of(kv, (rt_kv_class)c, to);
        if (pool->n_layers == 0) continue;
        uint32_t first = rt_kv_first_seen(kv, (rt_kv_class)c, n), end = pages_for(n);
        for (uint32_t i = first; i < end; i++) pool->refs[table[i] = source[i]]++;
        kv->seqs[to].first[c] = first;
        kv->seqs[to].end[c] = end;
    }
    return GGUF_OK;
}

gguf_code rt_kv_restore(rt_kv *kv, uint32_t seq, uint32_t n, gguf_error *err) {
    rt_seq *s = &kv->seqs[seq];
    gguf_code code = GGUF_OK;
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        if (kv->pools[c].n_layers == 0) continue;
        uint32_t *table = table_of(kv, (rt_kv_class)c, seq);
        s->first[c] = s->end[c] = rt_kv_first_seen(kv, (rt_kv_class)c, n);
        while (s->end[c] < pages_for(n) && !code) {
            code = take(&kv->pools[c], &table[s->end[c]], err);
            if (!code) s->end[c]++;
        }
    }
    s->n_past = n;
    if (code) empty(kv, seq);
    return code;
}

/* Pages first .. end leave the table of one class; those behind them move up. */
static gguf_code drop_pages(rt_kv *kv, rt_kv_class kv_class, uint32_t seq, uint32_t first,
                            uint32_t end, gguf_error *err) {
    rt_kv_pool *pool = &kv->pools[kv_class];
    rt_seq *s = &kv->seqs[seq];
    uint32_t *table = table_of(kv, kv_class, seq), held = s->first[kv_class];
    uint32_t kept = held < first ? first : held < end ? end : held;
    gguf_code code = GGUF_OK;
    for (uint32_t i = first > held ? first : held; i < end && i < s->end[kv_class]; i++)
        drop(pool, table[i]);
    for (uint32_t i = end > held ? end : held; i < s->end[kv_class]; i++)
        table[i - (end - first)] = table[i];
    /* What was held is now first .. ; before it only pages in front of the dropped ones. */
    if (held >= first) s->first[kv_class] = kept - (end - first);
    s->end[kv_class] -= end - first;
    for (uint32_t i = s->first[kv_class] > first ? s->first[kv_class] : first;
         i < s->end[kv_class] && !code; i++)
        code = own(kv, kv_class, &table[i], err);
    return code;
}

/* Behind the drop, windows must not reach pages in front of it that are gone. */
static gguf_code check_drop(const rt_kv *kv, uint32_t seq, uint32_t first, uint32_t n,
                            gguf_error *err) {
    const rt_seq *s = &kv->seqs[seq];
    uint32_t held = s->first[RT_KV_WINDOW], gone = n / RT_KV_PAGE_TOKENS;
    uint32_t begin = first / RT_KV_PAGE_TOKENS;
    if (kv->pools[RT_KV_WINDOW].n_layers == 0 || held <= begin)
        begin = held;
    else if (held >= begin + gone)
        begin = held - gone;
    if (begin == 0 || begin <= rt_kv_first_seen(kv, RT_KV_WINDOW, s->n_past - n)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                     "layers with a window of %" PRIu32 " no longer hold what lies before position "
                     "%" PRIu32,
                     kv->n_window, first);
}

gguf_code rt_kv_drop(rt_kv *kv, uint32_t seq, uint32_t first, uint32_t n, gguf_error *err) {
    gguf_code code = check_drop(kv, seq, first, n, err);
    if (code) return code;
    for (int c = 0; c < RT_N_KV_CLASSES && !code; c++)
        if (kv->pools[c].n_layers)
            code = drop_pages(kv, (rt_kv_class)c, seq, first / RT_KV_PAGE_TOKENS,
                              (first + n) / RT_KV_PAGE_TOKENS, err);
    kv->seqs[seq].n_past -= n;
    return code;
}
