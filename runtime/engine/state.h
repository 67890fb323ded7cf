/* The states of recurrent layers: slots of fixed size, each with the state of all recurrent layers
 * after some tokens of a sequence. A slot is written once, by the batch that makes it, and then
 * shared by all that need it: the sequence that ends there, copies of that sequence, snapshots. So
 * a batch that fails leaves the state as it was. */
#ifndef RUNTIME_ENGINE_STATE_H
#define RUNTIME_ENGINE_STATE_H

#include "runtime/engine/backend.h"

/* The state of a sequence after its first `pos` tokens. */
typedef struct rt_snapshot {
    uint64_t used; /* when it was made or taken; 0: the entry is free */
    uint32_t seq, pos, slot;
    bool brief; /* until it is released */
} rt_snapshot;

typedef struct rt_state {
    uint32_t n_slots; /* 0: the model has no recurrent layer, and nothing below does anything */
    uint32_t n_free, n_seqs, n_snapshots;
    uint32_t *free;    /* [n_slots], n_free of them used as a stack */
    uint32_t *refs;    /* [n_slots] */
    uint32_t *current; /* [n_seqs] the slot at the end of each sequence; RT_NO_SLOT: it is empty */
    rt_snapshot *snapshots; /* [n_snapshots] */
    uint64_t clock;
} rt_state;

/* Forget everything: all slots are free. */
void rt_state_clear(rt_state *state);

/* Plan the runs of n > 0 tokens that continue a sequence at position pos: one, or, where a snapshot
 * is wanted on the way, two. Takes the slots that they write.
 *   runs  room for two
 * Returns how many. */
uint32_t rt_state_plan(rt_state *state, uint32_t seq, uint32_t pos, uint32_t row, uint32_t n,
                       rt_run *runs);
/* The runs were computed: sequences move on, and snapshots are kept. */
void rt_state_accept(rt_state *state, const rt_run *runs, size_t n_runs);
/* They were not: their slots are free again. */
void rt_state_reject(rt_state *state, const rt_run *runs, size_t n_runs);

/* The last position up to n at which the state of a sequence is held; n_past is its end. */
uint32_t rt_state_held(const rt_state *state, uint32_t seq, uint32_t n_past, uint32_t n);
/* Go back to position n, which is held. */
void rt_state_truncate(rt_state *state, uint32_t seq, uint32_t n_past, uint32_t n);
/* Hold the state of a sequence at its end, pos, until it is held elsewhere or released: no copy is
 * made, as batches write to other slots. False: no snapshots are kept. */
bool rt_state_hold(rt_state *state, uint32_t seq, uint32_t pos);
void rt_state_release(rt_state *state, uint32_t seq);
/* A slot for the state of a sequence at position pos, to be filled by the caller: that of its end,
 * or a snapshot. False: no snapshots are kept. */
bool rt_state_restore(rt_state *state, uint32_t seq, uint32_t pos, bool is_end, uint32_t *slot);
/* Let `to` begin with the first n tokens of `from`, where the state is held. */
void rt_state_share(rt_state *state, uint32_t from, uint32_t to, uint32_t n_past, uint32_t n);

#endif
