/* Slots of states: who holds which, and which snapshots are kept. */
#include "runtime/engine/state.h"

#include <string.h>

/* ---- slots ------------------------------------------------------------------------------------
 */

void rt_state_clear(rt_state *state) {
    state->n_free = state->n_slots;
    for (uint32_t i = 0; i < state->n_slots; i++) {
        state->free[i] = state->n_slots - 1 - i; /* the first slot is taken first */
        state->refs[i] = 0;
    }
    for (uint32_t i = 0; i < state->n_seqs && state->n_slots; i++) state->current[i] = RT_NO_SLOT;
    if (state->n_snapshots)
        memset(state->snapshots, 0, state->n_snapshots * sizeof *state->snapshots);
    state->clock = 0;
}

/* There is always one: two for each sequence, and one for each snapshot. */
static uint32_t take(rt_state *state) {
    uint32_t slot = state->free[--state->n_free];
    state->refs[slot] = 1;
    return slot;
}

static void release(rt_state *state, uint32_t slot) {
    if (slot != RT_NO_SLOT && --state->refs[slot] == 0) state->free[state->n_free++] = slot;
}

/* A sequence ends in a slot from now on; the reference is handed over. */
static void set_current(rt_state *state, uint32_t seq, uint32_t slot) {
    release(state, state->current[seq]);
    state->current[seq] = slot;
}

/* ---- snapshots ---------------------------------------------------------------------------------
 */

static void drop_snapshot(rt_state *state, rt_snapshot *s) {
    if (!s->used) return;
    release(state, s->slot);
    *s = (rt_snapshot){0};
}

/* The one that was not used for the longest time goes first, what is held for a step last. */
static bool goes_before(const rt_snapshot *a, const rt_snapshot *b) {
    return a->brief == b->brief ? a->used < b->used : b->brief;
}

/* An entry that is free, or becomes free. */
static rt_snapshot *oldest(rt_state *state) {
    rt_snapshot *found = state->snapshots;
    for (uint32_t i = 1; i < state->n_snapshots; i++)
        if (goes_before(&state->snapshots[i], found)) found = &state->snapshots[i];
    return found;
}

static rt_snapshot *oldest_used(rt_state *state) {
    rt_snapshot *found = NULL;
    for (uint32_t i = 0; i < state->n_snapshots; i++) {
        rt_snapshot *s = &state->snapshots[i];
        if (s->used && (!found || goes_before(s, found))) found = s;
    }
    return found;
}

static rt_snapshot *find_snapshot(const rt_state *state, uint32_t seq, uint32_t pos) {
    for (uint32_t i = 0; i < state->n_snapshots; i++) {
        rt_snapshot *s = &state->snapshots[i];
        if (s->used && s->seq == seq && s->pos == pos) return s;
    }
    return NULL;
}

/* The reference to the slot is handed over. */
static void keep_snapshot(rt_state *state, uint32_t seq, uint32_t pos, uint32_t slot) {
    rt_snapshot *s = find_snapshot(state, seq, pos);
    if (!s) s = oldest(state);
    drop_snapshot(state, s);
    *s = (rt_snapshot){.used = ++state->clock, .seq = seq, .pos = pos, .slot = slot};
}

/* ---- batches -----------------------------------------------------------------------------------
 */

/* Whether a slot is left over when every sequence takes one; old snapshots make room. */
static bool has_spare(rt_state *state) {
    while (state->n_snapshots && state->n_free <= state->n_seqs) {
        rt_snapshot *s = oldest_used(state);
        if (!s) return false;
        drop_snapshot(state, s);
    }
    return state->n_snapshots > 0;
}

uint32_t rt_state_plan(rt_state *state, uint32_t seq, uint32_t pos, uint32_t row, uint32_t n,
                       rt_run *runs) {
    uint32_t end = pos + n, cut = end / RT_KV_PAGE_TOKENS * RT_KV_PAGE_TOKENS;
    runs[0] = (rt_run){.seq = seq, .pos = pos, .from = state->current[seq], .row = row, .n = n};
    if (cut > pos && cut < end && has_spare(state)) {
        runs[0].n = cut - pos;
        runs[0].to = take(state);
        runs[1] = (rt_run){.seq = seq, .pos = cut, .from = runs[0].to, .row = row + runs[0].n};
        runs[1].n = end - cut;
        runs[1].to = take(state);
        return 2;
    }
    runs[0].to = take(state);
    return 1;
}

void rt_state_accept(rt_state *state, const rt_run *runs, size_t n_runs) {
    for (size_t i = 0; i < n_runs; i++) {
        const rt_run *r = &runs[i];
        bool last = i + 1 == n_runs || runs[i + 1].seq != r->seq;
        if (last) set_current(state, r->seq, r->to);
        if (state->n_snapshots && (r->pos + r->n) % RT_KV_PAGE_TOKENS == 0) {
            if (last) state->refs[r->to]++;
            keep_snapshot(state, r->seq, r->pos + r->n, r->to);
        }
    }
}

void rt_state_reject(rt_state *state, const rt_run *runs, size_t n_runs) {
    for (size_t i = 0; i < n_runs; i++) release(state, runs[i].to);
}

/* ---- sequences ---------------------------------------------------------------------------------
 */

uint32_t rt_state_held(const rt_state *state, uint32_t seq, uint32_t n_past, uint32_t n) {
    uint32_t held = 0;
    if (state->n_slots == 0 || n == n_past) return n;
    for (uint32_t i = 0; i < state->n_snapshots; i++) {
        const rt_snapshot *s = &state->snapshots[i];
        if (s->used && s->seq == seq && s->pos <= n && s->pos > held) held = s->pos;
    }
    return held;
}

/* A new reference to the state at a position that is held. */
static uint32_t state_at(rt_state *state, uint32_t seq, uint32_t n_past, uint32_t n) {
    rt_snapshot *s = n < n_past ? find_snapshot(state, seq, n) : NULL;
    uint32_t slot = s ? s->slot : n ? state->current[seq] : RT_NO_SLOT;
    if (s) s->used = ++state->clock;
    if (slot != RT_NO_SLOT) state->refs[slot]++;
    return slot;
}

static void drop_after(rt_state *state, uint32_t seq, uint32_t n) {
    for (uint32_t i = 0; i < state->n_snapshots; i++) {
        rt_snapshot *s = &state->snapshots[i];
        if (s->seq == seq && (s->pos > n || n == 0)) drop_snapshot(state, s);
    }
}

void rt_state_truncate(rt_state *state, uint32_t seq, uint32_t n_past, uint32_t n) {
    if (state->n_slots == 0) return;
    set_current(state, seq, state_at(state, seq, n_past, n));
    drop_after(state, seq, n);
}

void rt_state_share(rt_state *state, uint32_t from, uint32_t to, uint32_t n_past, uint32_t n) {
    if (state->n_slots == 0) return;
    uint32_t slot = state_at(state, from, n_past, n);
    drop_after(state, to, 0);
    set_current(state, to, slot);
    /* The copy may go back to where it began. */
    if (n % RT_KV_PAGE_TOKENS == 0 && slot != RT_NO_SLOT && state->n_snapshots) {
        state->refs[slot]++;
        keep_snapshot(state, to, n, slot);
    }
}

void rt_state_release(rt_state *state, uint32_t seq) {
    for (uint32_t i = 0; i < state->n_snapshots; i++)
        if (state->snapshots[i].brief && state->snapshots[i].seq == seq)
            drop_snapshot(state, &state->snapshots[i]);
}

bool rt_state_hold(rt_state *state, uint32_t seq, uint32_t pos) {
    if (state->n_slots == 0 || pos == 0) return true;
    rt_state_release(state, seq);
    if (find_snapshot(state, seq, pos)) return true;
    if (!state->n_snapshots) return false;
    state->refs[state->current[seq]]++;
    keep_snapshot(state, seq, pos, state->current[seq]);
    find_snapshot(state, seq, pos)->brief = true;
    return true;
}

bool rt_state_restore(rt_state *state, uint32_t seq, uint32_t pos, bool is_end, uint32_t *slot) {
    if (!is_end && !state->n_snapshots) return false;
    *slot = take(state);
    if (is_end)
        set_current(state, seq, *slot);
    else
        keep_snapshot(state, seq, pos, *slot);
    return true;
}
