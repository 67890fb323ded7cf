/* Sequences: those of running tasks, and those that stay parked after their request with what they
 * hold. A new one begins with the pages of the one that has the most in common with it. */
#include "runtime/serve/serve_internal.h"

#include <stdlib.h>
#include <string.h>

/* Shorter beginnings are not worth a sequence. */
#define MIN_PARKED 16

/* ---- what is parked ---------------------------------------------------------------------- */

static void drop(rt_serve *s, uint32_t seq) {
    rt_seq_truncate(s->session, seq, 0, &(uint32_t){0}, NULL);
    rt_ids_clear(&s->parked[seq].ids);
    s->parked[seq] = (rt_parked){0};
}

static uint32_t least_recent(const rt_serve *s) {
    uint32_t found = RT_NO_SEQ;
    for (uint32_t i = 0; i < s->n_seqs; i++) {
        uint64_t used = s->parked[i].used;
        if (used && (found == RT_NO_SEQ || used < s->parked[found].used)) found = i;
    }
    return found;
}

bool rt_cache_evict(rt_serve *s) {
    uint32_t seq = least_recent(s);
    if (seq == RT_NO_SEQ) return false;
    drop(s, seq);
    return true;
}

/* An empty sequence; RT_NO_SEQ if all belong to running tasks. */
static uint32_t take_seq(rt_serve *s) {
    for (uint32_t i = 0; i < s->n_seqs; i++)
        if (!s->taken[i] && !s->parked[i].used) return i;
    uint32_t seq = least_recent(s);
    if (seq != RT_NO_SEQ) drop(s, seq);
    return seq;
}

static bool copy_ids(rt_ids *to, const int32_t *ids, size_t n) {
    to->data = malloc(n * sizeof *ids);
    if (!to->data) return false;
    memcpy(to->data, ids, n * sizeof *ids);
    to->n = to->room = n;
    return true;
}

/* What is parked and begins what `ids` holds is no longer needed, where a sequence can go back to
 * any of its positions. */
static void drop_prefixes(rt_serve *s, const rt_ids *ids, size_t n) {
    for (uint32_t i = 0; i < s->n_seqs && !s->sparse_cache; i++) {
        const rt_parked *p = &s->parked[i];
        if (p->used && p->ids.n <= n &&
            memcmp(p->ids.data, ids->data, p->ids.n * sizeof *ids->data) == 0)
            drop(s, i);
    }
}

static bool same_is_parked(const rt_serve *s, const rt_ids *ids, size_t n) {
    for (uint32_t i = 0; i < s->n_seqs; i++) {
        const rt_parked *p = &s->parked[i];
        if (p->used && p->ids.n >= n && (!s->sparse_cache || p->ids.n == n) &&
            memcmp(p->ids.data, ids->data, n * sizeof *ids->data) == 0)
            return true;
    }
    return false;
}

static void park(rt_serve *s, uint32_t seq, const rt_ids *ids, size_t n) {
    drop_prefixes(s, ids, n);
    if (same_is_parked(s, ids, n) || !copy_ids(&s->parked[seq].ids, ids->data, n))
        drop(s, seq);
    else
        s->parked[seq].used = ++s->clock;
}

/* Drafts are as many as can be taken back; otherwise all is computed again. Layers that keep a
 * state go back to before the step, and what was right in it comes again with the next token. */
void rt_cache_retract(rt_serve *s, rt_task *t) {
    uint32_t n = rt_seq_n_past(s->session, t->seq) - (uint32_t)t->n_doubtful, n_kept = n;
    if (t->n_doubtful && rt_seq_truncate(s->session, t->seq, n, &n_kept, NULL)) {
        n_kept = 0;
        rt_seq_truncate(s->session, t->seq, 0, NULL, NULL);
    }
    if (t->n_doubtful && n - n_kept >= t->n_now) t->read = false; /* more than the step had */
    t->n_doubtful = 0;
    rt_seq_release(s->session, t->seq);
}

void rt_cache_end(rt_serve *s, rt_task *t, bool keep) {
    rt_cache_retract(s, t);
    uint32_t seq = t->seq, n = rt_seq_n_past(s->session, seq);
    s->taken[seq] = false;
    t->seq = RT_NO_SEQ;
    if (keep && n >= MIN_PARKED && !s->embedder)
        park(s, seq, &t->ids, n);
    else
        drop(s, seq);
}

void rt_cache_checkpoint(rt_serve *s, rt_task *t) {
    if (!s->sparse_cache || t->n_prompt < MIN_PARKED || t->request->opts.no_cache) return;
    if (same_is_parked(s, &t->ids, t->n_prompt)) return;
    uint32_t seq = take_seq(s);
    if (seq == RT_NO_SEQ) return;
    if (rt_seq_share(s->session, t->seq, seq, (uint32_t)t->n_prompt, NULL, NULL))
        drop(s, seq);
    else
        park(s, seq, &t->ids, t->n_prompt);
}

/* ---- beginning --------------------------------------------------------------------------- */

static size_t common(const rt_ids *a, size_t n_a, const rt_ids *b, size_t n_b) {
    size_t n = n_a < n_b ? n_a : n_b, i = 0;
    while (i < n && a->data[i] == b->data[i]) i++;
    return i;
}

/* One that can be begun with. */
typedef struct source {
    uint32_t seq;
    size_t n; /* tokens in common */
} source;

/* How far a sequence with these ids helps. */
static size_t usable(const rt_serve *s, const rt_ids *ids, size_t n, const rt_task *t) {
    size_t most = t->ids.n - 1, same = common(ids, n, &t->ids, most);
    if (!s->sparse_cache || same == n) return same;
    return same / RT_PAGE_TOKENS * RT_PAGE_TOKENS; /* states are held there, at best */
}

static source best_source(const rt_serve *s, const rt_task *t, const bool *tried) {
    source best = {RT_NO_SEQ, 0};
    for (uint32_t i = 0; i < s->n_seqs; i++) {
        if (!s->parked[i].used || (tried && tried[i])) continue;
        size_t n = usable(s, &s->parked[i].ids, s->parked[i].ids.n, t);
        if (n > best.n) best = (source){i, n};
    }
    for (size_t i = 0; i < s->n_running; i++) {
        const rt_task *r = s->running[i];
        if (r == t || r->seq == RT_NO_SEQ || (tried && tried[r->seq])) continue;
        size_t n = usable(s, &r->ids, rt_seq_n_past(s->session, r->seq), t);
        if (n > best.n) best = (source){r->seq, n};
    }
    return best;
}

size_t rt_cache_find(const rt_serve *s, const rt_task *t) {
    if (t->request->opts.no_cache || s->embedder) return 0;
    return best_source(s, t, NULL).n;
}

/* Begin with what a sequence has; false: it no longer holds it. */
static bool begin_with(rt_serve *s, uint32_t seq, source from) {
    uint32_t n_kept = 0;
    if (s->parked[from.seq].used) s->parked[from.seq].used = ++s->clock;
    gguf_code code = rt_seq_share(s->session, from.seq, seq, (uint32_t)from.n, &n_kept, NULL);
    return !code && n_kept > 0;
}

void rt_cache_begin(rt_serve *s, rt_task *t) {
    bool tried[RT_SERVE_MAX_SEQS] = {false}, found = t->request->opts.no_cache || s->embedder;
    uint32_t seq = RT_NO_SEQ;
    for (int i = 0; i < 4 && !found; i++) {
        source from = best_source(s, t, tried);
        if (from.seq == RT_NO_SEQ) break;
        tried[from.seq] = true;
        if (s->parked[from.seq].used) s->parked[from.seq].used = ++s->clock; /* not evicted now */
        if (seq == RT_NO_SEQ) seq = take_seq(s);
        if (seq == from.seq) { /* the only one that was parked */
            seq = RT_NO_SEQ;
            break;
        }
        found = seq != RT_NO_SEQ && begin_with(s, seq, from);
    }
    if (seq == RT_NO_SEQ) seq = take_seq(s);
    t->seq = seq;
    s->taken[seq] = true;
    t->n_cached = t->n_cached ? t->n_cached : rt_seq_n_past(s->session, seq);
}

uint32_t rt_cache_held(rt_serve *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++)
        if (s->running[i]->seq != RT_NO_SEQ) s->seqs[n++] = s->running[i]->seq;
    return rt_session_held(s->session, s->seqs, n, s->page_bits);
}
