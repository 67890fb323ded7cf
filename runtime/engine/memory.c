/* Large blocks of memory, and how much there is. */
#include "runtime/engine/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Rows of a batch are far apart: with small pages the processor would look up one for each. A wish;
 * a failure changes nothing. */
static void wish_huge_pages(uint8_t *p, uint64_t n_bytes) {
#ifdef MADV_HUGEPAGE
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = -(uintptr_t)p % page;
    if (n_bytes > before) madvise(p + before, n_bytes - before, MADV_HUGEPAGE);
#else
    (void)p, (void)n_bytes;
#endif
}

gguf_code rt_allocate(uint64_t n_bytes, uint8_t **out, gguf_error *err) {
    *out = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (!*out)
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no memory for %" PRIu64 " bytes",
                         n_bytes);
    wish_huge_pages(*out, n_bytes);
    return GGUF_OK;
}

/* The first number in a line of `path` that `form` reads, or UINT64_MAX. */
static uint64_t read_number(const char *path, const char *form) {
    char line[128];
    uint64_t n = UINT64_MAX;
    FILE *f = fopen(path, "re");
    if (!f) return n;
    while (fgets(line, sizeof line, f) && sscanf(line, form, &n) != 1) continue;
    fclose(f);
    return n;
}

uint64_t rt_available_bytes(void) {
    uint64_t kib = read_number("/proc/meminfo", "MemAvailable: %" SCNu64);
    uint64_t limit = read_number("/sys/fs/cgroup/memory.max", "%" SCNu64);
    uint64_t available = kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
    return limit < available ? limit : available;
}
