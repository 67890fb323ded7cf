/* Facts about the machine: from hwloc where it was there at build time, else from /proc and /sys.
 */
#include "tools/bench/machine.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#ifdef GGUFKIT_HWLOC
#include <hwloc.h>
#endif

#define MAX_CPUS 4096

/* The first line of a file, without its newline; false if there is none. */
static bool read_line(const char *root, const char *name, char *out, size_t room) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, name);
    out[0] = '\0';
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool ok = fgets(out, (int)room, f) != NULL;
    fclose(f);
    out[strcspn(out, "\n")] = '\0';
    return ok;
}

/* ---- /proc ------------------------------------------------------------------------------- */

/* The value behind "name   : ", if the line is of that name. */
static const char *value_of(const char *line, const char *name) {
    size_t n = strlen(name);
    if (strncmp(line, name, n) != 0 || (line[n] != '\t' && line[n] != ' ' && line[n] != ':'))
        return NULL;
    const char *colon = strchr(line, ':');
    return colon ? colon + 1 + strspn(colon + 1, " \t") : NULL;
}

static void copy_text(char *out, size_t room, const char *text) {
    snprintf(out, room, "%.*s", (int)strcspn(text, "\n"), text);
}

static bool has_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += n)
        if ((at == text || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\n' || at[n] == '\0'))
            return true;
    return false;
}

/* Of some hundred flags those that matter here. */
static void pick_flags(const char *text, char *out, size_t room) {
    static const char *const flags[] = {
        "avx",      "avx2",     "fma",      "f16c",        "avx512f",     "avx512bw",
        "avx512vl", "avx_vnni", "amx_int8", "avx512_vnni", "avx512_bf16", "asimd",
        "asimddp",  "i8mm",     "bf16",     "sve",         "sve2",        "hypervisor"};
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (has_word(text, flags[i]) && len < room)
            len += (size_t)snprintf(out + len, room - len, "%s%s", len ? " " : "", flags[i]);
}

static void read_cpuinfo(const char *root, bench_machine *out) {
    char path[512], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    FILE *f = fopen(path, "r");
    if (!f) return;
    /* All processors are alike, or the first speaks for them. */
    while (getline(&line, &room, f) > 1) {
        const char *value;
        if ((value = value_of(line, "model name")))
            copy_text(out->cpu_info, sizeof out->cpu_info, value);
        if ((value = value_of(line, "microcode")))
            copy_text(out->microcode, sizeof out->microcode, value);
        if ((value = value_of(line, "flags")) || (value = value_of(line, "Features")))
            pick_flags(value, out->cpu_flags, sizeof out->cpu_flags);
    }
    free(line);
    fclose(f);
}

static uint64_t read_memory(const char *root) {
    char line[128];
    unsigned long long kib = 0;
    if (!read_line(root, "/proc/meminfo", line, sizeof line)) return 0;
    return sscanf(line, "MemTotal: %llu kB", &kib) == 1 ? (uint64_t)kib << 10 : 0;
}

/* ---- /sys -------------------------------------------------------------------------------- */

/* Whether this processor is the first of those that a file of /sys lists. */
static bool is_first(const char *root, const char *name, unsigned cpu) {
    char line[256];
    return read_line(root, name, line, sizeof line) && strtoul(line, NULL, 10) == cpu;
}

static void add_cache(const char *root, unsigned cpu, unsigned index, bench_machine *out) {
    char name[160], line[64];
    int n = snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu%u/cache/index%u/", cpu, index);
    snprintf(name + n, sizeof name - (size_t)n, "shared_cpu_list");
    if (!is_first(root, name, cpu)) return;
    snprintf(name + n, sizeof name - (size_t)n, "size");
    if (!read_line(root, name, line, sizeof line)) return;
    uint64_t n_bytes = strtoull(line, NULL, 10) << (strchr(line, 'M') ? 20 : 10);
    snprintf(name + n, sizeof name - (size_t)n, "type");
    if (!read_line(root, name, line, sizeof line) || line[0] == 'I') return;
    snprintf(name + n, sizeof name - (size_t)n, "level");
    if (!read_line(root, name, line, sizeof line)) return;
    if (line[0] == '1') out->l1d_bytes += n_bytes;
    if (line[0] == '2') out->l2_bytes += n_bytes;
    if (line[0] == '3') out->l3_bytes += n_bytes;
}

static void read_topology(const char *root, bench_machine *out) {
    char name[160], line[64];
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
                 cpu);
        if (!read_line(root, name, line, sizeof line)) continue;
        out->n_cpus++;
        out->n_cores += strtoul(line, NULL, 10) == cpu;
        for (unsigned index = 0; index < 8; index++) add_cache(root, cpu, index, out);
    }
    for (unsigned node = 0; node < 1024; node++) {
        snprintf(name, sizeof name, "/sys/devices/system/node/node%u/cpulist", node);
        out->n_numa_nodes += read_line(root, name, line, sizeof line);
    }
}

#ifdef GGUFKIT_HWLOC

static uint64_t cache_bytes(hwloc_topology_t topology, hwloc_obj_type_t type) {
    uint64_t sum = 0;
    for (hwloc_obj_t cache = NULL; (cache = hwloc_get_next_obj_by_type(topology, type, cache));)
        sum += cache->attr->cache.size;
    return sum;
}

static uint32_t count(hwloc_topology_t topology, hwloc_obj_type_t type) {
    int n = hwloc_get_nbobjs_by_type(topology, type);
    return n > 0 ? (uint32_t)n : 0;
}

static bool ask_hwloc(bench_machine *out) {
    hwloc_topology_t topology;
    setenv("HWLOC_HIDE_ERRORS", "2", 0); /* where /sys is not there, /proc answers */
    if (hwloc_topology_init(&topology) != 0) return false;
    bool ok = hwloc_topology_load(topology) == 0;
    if (ok) {
        out->n_cpus = count(topology, HWLOC_OBJ_PU);
        out->n_cores = count(topology, HWLOC_OBJ_CORE);
        out->n_numa_nodes = count(topology, HWLOC_OBJ_NUMANODE);
        out->l1d_bytes = cache_bytes(topology, HWLOC_OBJ_L1CACHE);
        out->l2_bytes = cache_bytes(topology, HWLOC_OBJ_L2CACHE);
        out->l3_bytes = cache_bytes(topology, HWLOC_OBJ_L3CACHE);
    }
    hwloc_topology_destroy(topology);
    return ok;
}

#else

static bool ask_hwloc(bench_machine *out) {
    (void)out;
    return false;
}

#endif

/* ---- all of it --------------------------------------------------------------------------- */

void bench_machine_describe(const char *root, bench_machine *out) {
    struct utsname names;
    char line[64];
    *out = (bench_machine){.cpu_max_hz = NAN,
                           .bandwidth_bytes_per_s = NAN,
                           .peak_f32_ops_per_s = NAN,
                           .peak_i8_ops_per_s = NAN};
    read_cpuinfo(root, out);
    out->memory_bytes = read_memory(root);
    if (root[0] || !ask_hwloc(out)) read_topology(root, out);
    const char *frequency = "/sys/devices/system/cpu/cpu0/cpufreq/";
    char name[128];
    snprintf(name, sizeof name, "%sscaling_governor", frequency);
    read_line(root, name, out->governor, sizeof out->governor);
    snprintf(name, sizeof name, "%scpuinfo_max_freq", frequency);
    if (read_line(root, name, line, sizeof line)) out->cpu_max_hz = strtod(line, NULL) * 1e3;
    if (uname(&names) == 0)
        snprintf(out->kernel, sizeof out->kernel, "%.40s %.60s %.20s", names.sysname, names.release,
                 names.machine);
}
