/* Residence of pages, as /proc/self/pagemap tells it. */
#include "runtime/sizing/mapped.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

enum { N_PLACES = 32, REACH = 512 /* pages to each side: 2 MiB of 4 KiB pages */ };

static bool is_present(uint64_t entry) {
    return entry >> 63;
}

/* Pages around page `at` that are resident without a gap, none beyond [first, last]; 0 if unknown.
 */
static uint64_t run_around(int pagemap, uint64_t at, uint64_t first, uint64_t last) {
    uint64_t entries[2 * REACH + 1];
    uint64_t begin = at - first > REACH ? at - REACH : first;
    uint64_t end = last - at > REACH ? at + REACH : last;
    size_t n = (size_t)(end - begin + 1), here = (size_t)(at - begin), n_pages = 0;
    ssize_t got = pread(pagemap, entries, n * sizeof *entries, (off_t)(begin * sizeof *entries));
    if (got != (ssize_t)(n * sizeof *entries) || !is_present(entries[here])) return 0;
    for (size_t i = here; i < n && is_present(entries[i]); i++) n_pages++;
    for (size_t i = here; i > 0 && is_present(entries[i - 1]); i--) n_pages++;
    return n_pages;
}

uint64_t rt_mapped_around(const void *table, uint64_t n_bytes) {
    const volatile uint8_t *bytes = table;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), sum = 0, n = 1;
    uint64_t first = (uintptr_t)table / page, last = ((uintptr_t)table + n_bytes - 1) / page;
    int pagemap = n_bytes ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) : -1;
    if (pagemap < 0) return RT_MAPPED_USUALLY;
    for (uint64_t i = 0; i < N_PLACES && n; i++) {
        uint64_t off = n_bytes / N_PLACES * i + n_bytes / N_PLACES / 2;
        (void)bytes[off];
        n = run_around(pagemap, ((uintptr_t)table + off) / page, first, last);
        sum += n;
    }
    close(pagemap);
    return n ? sum * page / N_PLACES : RT_MAPPED_USUALLY;
}
