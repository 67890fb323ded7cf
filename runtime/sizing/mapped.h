/* What a look at one place of a mapped file makes resident. */
#ifndef RUNTIME_SIZING_MAPPED_H
#define RUNTIME_SIZING_MAPPED_H

#include <stdint.h>

/* What Linux maps around a page of a file that is touched: since 6.18 also more, namely the whole
 * of a larger piece in which the file lies in memory. */
#define RT_MAPPED_USUALLY (UINT64_C(64) << 10)

/* The mean over some places of a table in a mapping, found by touching them; RT_MAPPED_USUALLY
 * where the system does not tell (/proc/self/pagemap). The pages stay resident. */
uint64_t rt_mapped_around(const void *table, uint64_t n_bytes);

#endif
