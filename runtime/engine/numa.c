/* Machines with several memory nodes. */
#include "libgguf/pool.h"
#include "runtime/engine/memory.h"
#include "runtime/runtime.h"

#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORD_BITS (8 * sizeof(unsigned long))

/* Of a list like 0-15,32-47, those in `cpus`. */
static unsigned count_cpus(const char *list, const cpu_set_t *cpus) {
    unsigned n = 0;
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;
        if (*end == '-') last = strtoul(end + 1, &end, 10);
        for (; first <= last && first < CPU_SETSIZE; first++) n += CPU_ISSET(first, cpus) != 0;
        list = *end == ',' ? end + 1 : end;
    }
    return n;
}

void rt_memory_nodes_read(const char *root, const cpu_set_t *cpus, rt_memory_nodes *out) {
    *out = (rt_memory_nodes){0};
    for (unsigned node = 0; node < RT_MAX_NODES; node++) {
        char path[256], list[4096];
        snprintf(path, sizeof path, "%s/sys/devices/system/node/node%u/cpulist", root, node);
        FILE *f = fopen(path, "re");
        if (!f) continue;
        unsigned n = fgets(list, sizeof list, f) ? count_cpus(list, cpus) : 0;
        fclose(f);
        if (n == 0) continue;
        out->mask[node / WORD_BITS] |= 1UL << node % WORD_BITS;
        out->n_nodes++;
        out->n_cpus += n;
        if (n > out->most_cpus) out->most_cpus = n;
    }
}

bool rt_memory_nodes_interleave(const rt_memory_nodes *nodes) {
    return syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, nodes->mask, RT_MAX_NODES + 1UL) == 0;
}

unsigned rt_spread_memory(unsigned n_threads) {
    cpu_set_t cpus;
    rt_memory_nodes nodes;
    int policy = MPOL_DEFAULT;
    unsigned n_cores = gguf_usable_cores();
    bool unknown = syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0) != 0;
    if (unknown || policy != MPOL_DEFAULT || sched_getaffinity(0, sizeof cpus, &cpus)) return 0;
    rt_memory_nodes_read("", &cpus, &nodes);
    if (nodes.n_nodes < 2) return 0;
    if (n_threads == 0) n_threads = n_cores;
    if ((uint64_t)n_threads * nodes.n_cpus <= (uint64_t)n_cores * nodes.most_cpus) return 0;
    return rt_memory_nodes_interleave(&nodes) ? nodes.n_nodes : 0;
}
