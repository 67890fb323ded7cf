/* Slots of recurrent states: random sequences of batches, failures, truncations and copies, beside
 * a plain model of what every slot holds. */
#include "runtime/engine/state.h"
#include "unit.h"

enum { N_SEQS = 4, N_SNAPSHOTS = 5, N_SLOTS = 2 * N_SEQS + N_SNAPSHOTS, MAX_TOKENS = 1024 };

/* The state after some tokens is known by the hash of those tokens. */
typedef struct world {
    rt_state state;
    uint32_t free[N_SLOTS], refs[N_SLOTS], current[N_SEQS];
    rt_snapshot snapshots[N_SNAPSHOTS];
    uint64_t held[N_SLOTS];
    uint64_t history[N_SEQS][MAX_TOKENS + 1]; /* hash after so many tokens */
    uint32_t n_past[N_SEQS];
    uint64_t random, next_token;
} world;

static uint32_t pick(world *w, uint32_t n) {
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33) % n;
}

static void start(world *w, uint64_t seed, uint32_t n_snapshots) {
    *w = (world){.random = seed};
    w->state = (rt_state){.n_slots = 2 * N_SEQS + n_snapshots,
                          .n_seqs = N_SEQS,
                          .n_snapshots = n_snapshots,
                          .free = w->free,
                          .refs = w->refs,
                          .current = w->current,
                          .snapshots = w->snapshots};
    rt_state_clear(&w->state);
}

static void check(const world *w) {
    uint32_t refs[N_SLOTS] = {0}, n_used = 0;
    for (uint32_t seq = 0; seq < N_SEQS; seq++) {
        uint32_t slot = w->current[seq];
        ck_assert_int_eq(slot == RT_NO_SLOT, w->n_past[seq] == 0);
        if (slot == RT_NO_SLOT) continue;
        refs[slot]++;
        ck_assert(w->held[slot] == w->history[seq][w->n_past[seq]]);
    }
    for (uint32_t i = 0; i < w->state.n_snapshots; i++) {
        const rt_snapshot *s = &w->snapshots[i];
        if (!s->used) continue;
        refs[s->slot]++;
        ck_assert_uint_le(s->pos, w->n_past[s->seq]);
        ck_assert(w->held[s->slot] == w->history[s->seq][s->pos]);
    }
    for (uint32_t i = 0; i < w->state.n_slots; i++) {
        ck_assert_uint_eq(refs[i], w->refs[i]);
        n_used += refs[i] > 0;
    }
    ck_assert_uint_eq(w->state.n_free, w->state.n_slots - n_used);
}

/* Some sequences move on by some tokens, or would have. */
static void batch(world *w) {
    rt_run runs[2 * N_SEQS];
    uint32_t n_runs = 0, added[N_SEQS] = {0};
    bool fails = pick(w, 4) == 0;
    for (uint32_t seq = 0; seq < N_SEQS; seq++) {
        uint32_t n = pick(w, 3) ? 1 + pick(w, pick(w, 2) ? 3 : 150) : 0, at = w->n_past[seq];
        if (n == 0 || at + n > MAX_TOKENS) continue;
        for (uint32_t t = at; t < at + n; t++)
            w->history[seq][t + 1] = w->history[seq][t] * 31 + ++w->next_token;
        added[seq] = n;
        n_runs += rt_state_plan(&w->state, seq, at, 0, n, &runs[n_runs]);
    }
    for (uint32_t i = 0; i < n_runs; i++) {
        const rt_run *r = &runs[i];
        if (r->from != RT_NO_SLOT) ck_assert(w->held[r->from] == w->history[r->seq][r->pos]);
        ck_assert_uint_ne(r->from, r->to);
        w->held[r->to] = w->history[r->seq][r->pos + r->n];
    }
    if (fails) {
        rt_state_reject(&w->state, runs, n_runs);
        return;
    }
    rt_state_accept(&w->state, runs, n_runs);
    for (uint32_t seq = 0; seq < N_SEQS; seq++) w->n_past[seq] += added[seq];
}

static void truncate_one(world *w) {
    uint32_t seq = pick(w, N_SEQS), n = pick(w, w->n_past[seq] + 1);
    uint32_t kept = rt_state_held(&w->state, seq, w->n_past[seq], n);
    ck_assert_uint_le(kept, n);
    rt_state_truncate(&w->state, seq, w->n_past[seq], kept);
    w->n_past[seq] = kept;
}

static void share(world *w) {
    uint32_t from = pick(w, N_SEQS), to = pick(w, N_SEQS), n = pick(w, w->n_past[from] + 1);
    if (from == to) return;
    if (pick(w, 2)) n = w->n_past[from];
    uint32_t kept = rt_state_held(&w->state, from, w->n_past[from], n);
    rt_state_share(&w->state, from, to, w->n_past[from], kept);
    memcpy(w->history[to], w->history[from], (kept + 1) * sizeof w->history[0][0]);
    w->n_past[to] = kept;
}

static void hold(world *w) {
    uint32_t seq = pick(w, N_SEQS);
    if (pick(w, 2)) {
        rt_state_release(&w->state, seq);
        return;
    }
    bool holds = rt_state_hold(&w->state, seq, w->n_past[seq]);
    ck_assert_int_eq(holds, w->n_past[seq] == 0 || w->state.n_snapshots > 0);
}

START_TEST(slots_hold_what_they_should) {
    static world w;
    start(&w, 1 + (uint64_t)_i, (uint32_t)_i % (N_SNAPSHOTS + 1));
    for (int step = 0; step < 3000; step++) {
        uint32_t what = pick(&w, 12);
        if (what < 6)
            batch(&w);
        else if (what < 8)
            truncate_one(&w);
        else if (what < 10)
            share(&w);
        else
            hold(&w);
        check(&w);
    }
}
END_TEST

/* A prompt leaves a snapshot at its last whole page, and the newest stay. */
START_TEST(prompts_leave_snapshots) {
    static world w;
    rt_run runs[2];
    start(&w, 1, 2);
    for (uint32_t round = 0; round < 3; round++) {
        ck_assert_uint_eq(rt_state_plan(&w.state, 0, 100 * round, 0, 100, runs), 2);
        ck_assert_uint_eq(runs[1].pos % RT_PAGE_TOKENS, 0);
        rt_state_accept(&w.state, runs, 2);
    }
    ck_assert_uint_eq(rt_state_held(&w.state, 0, 300, 299), 256);
    ck_assert_uint_eq(rt_state_held(&w.state, 0, 300, 255), 192);
    ck_assert_uint_eq(rt_state_held(&w.state, 0, 300, 191), 0);
}
END_TEST

/* What is held for a step outlasts the snapshots of prompts, until it is released. */
START_TEST(held_states_stay) {
    static world w;
    rt_run runs[2];
    start(&w, 1, 2);
    rt_state_accept(&w.state, runs, rt_state_plan(&w.state, 0, 0, 0, 10, runs));
    ck_assert(rt_state_hold(&w.state, 0, 10));
    rt_state_accept(&w.state, runs, rt_state_plan(&w.state, 0, 10, 0, 5, runs));
    for (uint32_t round = 0; round < 5; round++)
        rt_state_accept(&w.state, runs, rt_state_plan(&w.state, 1, 100 * round, 0, 100, runs));
    ck_assert_uint_eq(rt_state_held(&w.state, 0, 15, 14), 10);
    ck_assert_uint_eq(rt_state_held(&w.state, 1, 500, 499), 448);
    rt_state_release(&w.state, 0);
    ck_assert_uint_eq(rt_state_held(&w.state, 0, 15, 14), 0);
    rt_state_accept(&w.state, runs, rt_state_plan(&w.state, 1, 500, 0, 100, runs));
    ck_assert_uint_eq(rt_state_held(&w.state, 1, 600, 575), 448);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("state");
    TCase *tc = tcase_create("state");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, slots_hold_what_they_should, 0, 24);
    tcase_add_test(tc, prompts_leave_snapshots);
    tcase_add_test(tc, held_states_stay);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
