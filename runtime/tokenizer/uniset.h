/* Sets of code points as sorted ranges, and the named sets of the generated Unicode table. */
#ifndef RUNTIME_TOKENIZER_UNISET_H
#define RUNTIME_TOKENIZER_UNISET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_LAST_CODE_POINT 0x10FFFFu

typedef struct rt_range {
    uint32_t first, last;
} rt_range;

/* first, first + step, ... last map to themselves + distance */
typedef struct rt_lower_run {
    uint32_t first, last;
    int32_t distance;
    uint32_t step;
} rt_lower_run;

/* Start as {0}; clear frees. Sorted and disjoint after rt_uniset_tidy; out of memory sticks. */
typedef struct rt_uniset {
    rt_range *ranges;
    size_t n, room;
    bool failed;
} rt_uniset;

void rt_uniset_clear(rt_uniset *set);
void rt_uniset_add(rt_uniset *set, uint32_t first, uint32_t last);
void rt_uniset_add_set(rt_uniset *set, const rt_uniset *other);
void rt_uniset_tidy(rt_uniset *set);
void rt_uniset_negate(rt_uniset *set);
void rt_uniset_intersect(rt_uniset *set, rt_uniset *other); /* tidies both */
bool rt_uniset_has(const rt_uniset *set, uint32_t c);       /* of a tidy set */

/* Add a general category ("L", "Lu"), a script, "s", "w" or a set that one of the original
 * tokenizer steps uses (see scripts/make_unicode_table.py). False if the name is unknown. */
bool rt_unicode_set(const char *name, rt_uniset *set);

/* Lower case of one code point; U+0130, whose lower case is two of them, maps to itself. */
uint32_t rt_unicode_lower(uint32_t c);
/* Add the other code points that have this lower case. */
void rt_unicode_upper(uint32_t lower, rt_uniset *set);

#endif
