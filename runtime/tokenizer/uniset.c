/* Sets of code points as sorted ranges. */
#include "runtime/tokenizer/uniset.h"

#include <stdlib.h>

void rt_uniset_clear(rt_uniset *set) {
    free(set->ranges);
    *set = (rt_uniset){0};
}

void rt_uniset_add(rt_uniset *set, uint32_t first, uint32_t last) {
    if (set->failed) return;
    if (set->n && set->ranges[set->n - 1].last + 1 == first && first <= last) {
        set->ranges[set->n - 1].last = last;
        return;
    }
    if (set->n == set->room) {
        size_t room = set->room ? set->room * 2 : 16;
        rt_range *ranges = realloc(set->ranges, room * sizeof *ranges);
        set->failed = !ranges;
        if (!ranges) return;
        set->ranges = ranges;
        set->room = room;
    }
    set->ranges[set->n++] = (rt_range){first, last};
}

void rt_uniset_add_set(rt_uniset *set, const rt_uniset *other) {
    for (size_t i = 0; i < other->n; i++)
        rt_uniset_add(set, other->ranges[i].first, other->ranges[i].last);
    set->failed |= other->failed;
}

static int compare_ranges(const void *a, const void *b) {
    const rt_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static bool is_tidy(const rt_uniset *set) {
    for (size_t i = 1; i < set->n; i++)
        if (set->ranges[i].first <= set->ranges[i - 1].last + 1) return false;
    return true;
}

void rt_uniset_tidy(rt_uniset *set) {
    if (is_tidy(set)) return;
    qsort(set->ranges, set->n, sizeof *set->ranges, compare_ranges);
    size_t n = 1;
    for (size_t i = 1; i < set->n; i++) {
        rt_range *last = &set->ranges[n - 1], next = set->ranges[i];
        if (next.first > last->last + 1)
            set->ranges[n++] = next;
        else if (next.last > last->last)
            last->last = next.last;
    }
    set->n = n;
}

void rt_uniset_negate(rt_uniset *set) {
    rt_uniset_tidy(set);
    rt_uniset out = {.failed = set->failed};
    uint32_t next = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (set->ranges[i].first > next) rt_uniset_add(&out, next, set->ranges[i].first - 1);
        next = set->ranges[i].last + 1;
    }
    if (next <= RT_LAST_CODE_POINT) rt_uniset_add(&out, next, RT_LAST_CODE_POINT);
    rt_uniset_clear(set);
    *set = out;
}

void rt_uniset_intersect(rt_uniset *set, rt_uniset *other) {
    rt_uniset_negate(set); /* a and b = not (not a or not b) */
    rt_uniset_negate(other);
    rt_uniset_add_set(set, other);
    rt_uniset_negate(set);
    rt_uniset_negate(other);
}

bool rt_uniset_has(const rt_uniset *set, uint32_t c) {
    size_t lo = 0, hi = set->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (set->ranges[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < set->n && set->ranges[lo].first <= c;
}
