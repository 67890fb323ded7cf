/* Large blocks of memory. Internal to runtime. */
#ifndef RUNTIME_ENGINE_MEMORY_H
#define RUNTIME_ENGINE_MEMORY_H

#include "libgguf/error.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* n_bytes of zeros, 64-aligned, in huge pages where the system has them; free() them.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_allocate(uint64_t n_bytes, uint8_t **out, gguf_error *err);

/* What this process may still take: what the system has without swapping, within what the limits of
 * its control group and of those around it leave; UINT64_MAX where neither is known.
 *   root  "", or a folder that has copies of /proc and /sys */
uint64_t rt_available_bytes(const char *root);

/* ---- nodes (NUMA) ------------------------------------------------------------------------ */

#define RT_MAX_NODES 1024

/* The memory nodes that have some of the processors `cpus`, and how many of them. */
typedef struct rt_memory_nodes {
    unsigned long mask[RT_MAX_NODES / (8 * sizeof(unsigned long))];
    unsigned n_nodes, n_cpus, most_cpus; /* most_cpus: of one node */
} rt_memory_nodes;

/* root: "", or a folder that has a copy of /sys. */
void rt_memory_nodes_read(const char *root, const cpu_set_t *cpus, rt_memory_nodes *out);

/* False where the system forbids it. */
bool rt_memory_nodes_interleave(const rt_memory_nodes *nodes);

#endif
