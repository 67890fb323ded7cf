/* How many processors this process may use. */
#include "libgguf/pool.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>

/* The first number of the processor's sibling list is the core's representative. */
static bool is_first_thread_of_core(int cpu) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    int first = cpu;
    if (f) {
        if (fscanf(f, "%d", &first) != 1) first = cpu;
        fclose(f);
    }
    return first == cpu;
}

/* Processors that a cgroup quota allows, rounded up; 0 = no quota. */
static unsigned read_quota(const char *quota_path, const char *period_path) {
    FILE *f = fopen(quota_path, "r");
    double quota = 0, period = 0;
    int n = 0;
    if (f) {
        n = fscanf(f, "%lf %lf", &quota, &period);
        fclose(f);
    }
    if (n == 1 && period_path && (f = fopen(period_path, "r"))) {
        n += fscanf(f, "%lf", &period);
        fclose(f);
    }
    if (n != 2 || quota <= 0 || period <= 0) return 0;
    return (unsigned)((quota + period - 1) / period);
}

static unsigned cgroup_cores(void) {
    unsigned v2 = read_quota("/sys/fs/cgroup/cpu.max", NULL);
    if (v2) return v2;
    return read_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
                      "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
}

unsigned gguf_usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    unsigned n_cpus = 0, n_cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set)) continue;
        n_cpus++;
        if (is_first_thread_of_core(cpu)) n_cores++;
    }
    /* An affinity mask may leave out the first thread of every core. */
    unsigned n = n_cores ? n_cores : n_cpus, quota = cgroup_cores();
    if (quota && quota < n) n = quota;
    return n ? n : 1;
}
