/* Working memory of the merging models: symbols in a list, candidates in a heap. */
#include "runtime/tokenizer/tokenizer_internal.h"

#include <stdlib.h>

/* Make room for one more item; false when out of memory. */
static bool grow(rt_work *work, void **items, size_t n, size_t *room, size_t item_bytes) {
    if (n < *room) return true;
    size_t more = *room ? *room * 2 : 256;
    void *bigger = realloc(*items, more * item_bytes);
    if (!bigger) {
        work->failed = true;
        return false;
    }
    *items = bigger;
    *room = more;
    return true;
}

/* A negative id is unknown text in a vocabulary without an unknown token: it is left out. */
void rt_push_id(rt_work *work, int32_t id) {
    if (id < 0) return;
    rt_ids *out = work->out;
    void *data = out->data;
    if (!grow(work, &data, out->n, &out->room, sizeof *out->data)) return;
    out->data = data;
    out->data[out->n++] = id;
}

rt_symbol *rt_add_symbol(rt_work *work, size_t start, size_t len, int32_t id) {
    void *symbols = work->symbols;
    if (work->failed ||
        !grow(work, &symbols, work->n_symbols, &work->symbols_room, sizeof(rt_symbol)))
        return NULL;
    work->symbols = symbols;
    int32_t at = (int32_t)work->n_symbols++;
    work->symbols[at] = (rt_symbol){start, len, id, at - 1, -1, false};
    if (at > 0) work->symbols[at - 1].next = at;
    return &work->symbols[at];
}

static bool goes_first(const rt_candidate *a, const rt_candidate *b) {
    return a->order < b->order || (a->order == b->order && a->left < b->left);
}

void rt_push_candidate(rt_work *work, rt_candidate candidate) {
    void *heap = work->heap;
    if (work->failed || !grow(work, &heap, work->n_heap, &work->heap_room, sizeof(rt_candidate)))
        return;
    work->heap = heap;
    size_t i = work->n_heap++;
    for (; i > 0 && goes_first(&candidate, &work->heap[(i - 1) / 2]); i = (i - 1) / 2)
        work->heap[i] = work->heap[(i - 1) / 2];
    work->heap[i] = candidate;
}

bool rt_pop_candidate(rt_work *work, rt_candidate *out) {
    if (!work->n_heap) return false;
    rt_candidate *heap = work->heap, last = heap[--work->n_heap];
    size_t n = work->n_heap, i = 0;
    *out = heap[0];
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && goes_first(&heap[child + 1], &heap[child])) child++;
        if (!goes_first(&heap[child], &last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return true;
}
