/* Who holds the pages of a session's cache: for a caller that shares them out among sequences. A
 * page has RT_PAGE_TOKENS tokens of all layers that see the whole context. Layers with a window
 * have pages of their own, which always suffice. */
#ifndef RUNTIME_ENGINE_PAGES_H
#define RUNTIME_ENGINE_PAGES_H

#include "libgguf/pool.h"
#include "runtime/runtime.h"

typedef struct rt_pages {
    uint32_t n_total; /* 0: no layer sees the whole context */
    uint32_t n_free;
} rt_pages;

/* The session's threads, for work between evaluations. */
gguf_pool *rt_session_pool(const rt_session *session);

rt_pages rt_session_pages(const rt_session *session);

/* Different pages that these sequences hold.
 *   seqs     [n]
 *   scratch  [(n_total + 63) / 64] */
uint32_t rt_session_held(const rt_session *session, const uint32_t *seqs, size_t n,
                         uint64_t *scratch);

/* Free pages that appending n tokens to a sequence takes; a page that it shares is copied. */
uint32_t rt_seq_pages_needed(const rt_session *session, uint32_t seq, uint32_t n);

/* How many tokens behind the next one can be appended together with it, at most n, so that
 * rt_seq_truncate can take them back: none where keys are compressed, where layers keep a state all
 * of them and the next one, after rt_seq_hold. A window must not move on to another page. */
uint32_t rt_seq_returnable(const rt_session *session, uint32_t seq, uint32_t n);
/* Keep the state at the end of a sequence until it is kept at another place or released, so that
 * rt_seq_truncate can go back to it. It is one of the session's snapshots, and the last to give way
 * to others. False: the session keeps none. */
bool rt_seq_hold(rt_session *session, uint32_t seq);
void rt_seq_release(rt_session *session, uint32_t seq);

#endif
