/* Large blocks of memory, and how much there is. */
#include "runtime/engine/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* What the process had there before must not go into a file with what is kept of a cache. The
 * system hands out zeros where pages are given back, and they are not resident. */
static void make_zeros(uint8_t *p, uint64_t n_bytes) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = -(uintptr_t)p % page;
    uint64_t whole = n_bytes > before ? (n_bytes - before) / page * page : 0;
    if (whole == 0 || madvise(p + before, whole, MADV_DONTNEED)) {
        memset(p, 0, n_bytes);
        return;
    }
    memset(p, 0, before);
    memset(p + before + whole, 0, n_bytes - before - whole);
}

gguf_code rt_allocate(uint64_t n_bytes, uint8_t **out, gguf_error *err) {
    *out = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (!*out)
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "no memory for %" PRIu64 " bytes",
                         n_bytes);
    make_zeros(*out, n_bytes);
    wish_huge_pages(*out, n_bytes);
    return GGUF_OK;
}

/* ---- what is left ------------------------------------------------------------------------ */

/* The first number in a line of a file of `folder` that `form` reads, or `absent`. */
static uint64_t read_number(const char *folder, const char *name, const char *form,
                            uint64_t absent) {
    char path[4096], line[128];
    uint64_t n;
    int len = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = len > 0 && (size_t)len < sizeof path ? fopen(path, "re") : NULL;
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) found = sscanf(line, form, &n) == 1;
    if (f) fclose(f);
    return found ? n : absent;
}

/* What a control group's limit leaves. Pages of files count as used there, but go when memory is
 * needed, as they do for MemAvailable. */
static uint64_t left_in_group(const char *folder) {
    uint64_t limit = read_number(folder, "memory.max", "%" SCNu64, UINT64_MAX);
    uint64_t used = read_number(folder, "memory.current", "%" SCNu64, 0);
    uint64_t files = read_number(folder, "memory.stat", "active_file %" SCNu64, 0) +
                     read_number(folder, "memory.stat", "inactive_file %" SCNu64, 0);
    if (limit == UINT64_MAX) return limit;
    used = used > files ? used - files : 0;
    return limit > used ? limit - used : 0;
}

/* The limits of the process's own group and of all around it hold together. */
static uint64_t left_in_groups(const char *root) {
    char folder[4096], group[2048] = "/", line[2048];
    uint64_t least = UINT64_MAX;
    snprintf(folder, sizeof folder, "%s/proc/self/cgroup", root);
    FILE *f = fopen(folder, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "0::%2047[^\n]", group) == 1) break;
    if (f) fclose(f);
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = '\0';
        int n = snprintf(folder, sizeof folder, "%s/sys/fs/cgroup%s", root, group);
        uint64_t left = n > 0 && (size_t)n < sizeof folder ? left_in_group(folder) : UINT64_MAX;
        if (left < least) least = left;
    }
    return least;
}

uint64_t rt_available_bytes(const char *root) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/proc", root);
    uint64_t kib = read_number(folder, "meminfo", "MemAvailable: %" SCNu64, UINT64_MAX);
    uint64_t available = kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
    uint64_t left = left_in_groups(root);
    return left < available ? left : available;
}
