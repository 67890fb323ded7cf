/* Counting the pages of the cache. */
#include "runtime/engine/pages.h"

#include "runtime/engine/session_internal.h"

#include <string.h>

gguf_pool *rt_session_pool(const rt_session *session) {
    return session->pool;
}

rt_pages rt_session_pages(const rt_session *session) {
    const rt_kv_pool *pool = &session->kv.pools[RT_KV_FULL];
    return (rt_pages){pool->n_pages, pool->n_free};
}

uint32_t rt_session_held(const rt_session *session, const uint32_t *seqs, size_t n,
                         uint64_t *scratch) {
    const rt_kv *kv = &session->kv;
    uint32_t n_held = 0;
    memset(scratch, 0, (kv->pools[RT_KV_FULL].n_pages + (size_t)63) / 64 * sizeof *scratch);
    for (size_t i = 0; i < n; i++) {
        const rt_seq *seq = &kv->seqs[seqs[i]];
        const uint32_t *table = rt_kv_table(kv, RT_KV_FULL, seqs[i]);
        for (uint32_t p = seq->first[RT_KV_FULL]; p < seq->end[RT_KV_FULL]; p++) {
            uint64_t *word = &scratch[table[p] / 64], bit = UINT64_C(1) << table[p] % 64;
            n_held += !(*word & bit);
            *word |= bit;
        }
    }
    return n_held;
}

uint32_t rt_seq_pages_needed(const rt_session *session, uint32_t seq, uint32_t n) {
    const rt_kv_pool *pool = &session->kv.pools[RT_KV_FULL];
    const rt_seq *s = &session->kv.seqs[seq];
    if (pool->n_layers == 0 || n == 0) return 0;
    uint32_t current = s->n_past / RT_KV_PAGE_TOKENS;
    uint32_t end = (s->n_past + n + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS;
    uint32_t n_new = end > s->end[RT_KV_FULL] ? end - s->end[RT_KV_FULL] : 0;
    if (current >= s->end[RT_KV_FULL]) return n_new;
    uint32_t page = rt_kv_table(&session->kv, RT_KV_FULL, seq)[current];
    return n_new + (pool->refs[page] > 1);
}

/* How many tokens from `next` on can be taken back, at most n. */
static uint32_t returnable_from(const rt_kv *kv, uint32_t next, uint32_t n) {
    if (kv->pools[RT_KV_WINDOW].n_layers == 0 || next + (uint64_t)n < kv->n_window) return n;
    /* Up to the position that would see one page less. */
    uint32_t seen = next >= kv->n_window ? (next - kv->n_window + 1) / RT_PAGE_TOKENS : 0;
    uint32_t last = (seen + 1) * RT_PAGE_TOKENS + kv->n_window - 2;
    return last - next < n ? last - next : n;
}

uint32_t rt_seq_returnable(const rt_session *session, uint32_t seq, uint32_t n) {
    const rt_kv *kv = &session->kv;
    uint32_t n_past = kv->seqs[seq].n_past;
    if (rt_model_hparams(session->model)->n_compress[0]) return 0;
    if (n == 0 || !session->state.n_slots) return returnable_from(kv, n_past + 1, n);
    uint32_t all = returnable_from(kv, n_past, n + 1); /* also the token before them */
    return all ? all - 1 : 0;
}

bool rt_seq_hold(rt_session *session, uint32_t seq) {
    return rt_state_hold(&session->state, seq, session->kv.seqs[seq].n_past);
}

void rt_seq_release(rt_session *session, uint32_t seq) {
    rt_state_release(&session->state, seq);
}
