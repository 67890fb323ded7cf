/* Energy counters that Linux shows under /sys/class/powercap. */
#include "tools/bench/machine.h"

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool read_number(const char *folder, const char *name, double *out) {
    char path[640];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool ok = fscanf(f, "%lf", out) == 1 && isfinite(*out) && *out >= 0;
    fclose(f);
    return ok;
}

/* Packages, and the memory beside them; cores and graphics are parts of a package, and "psys" is
 * the whole board. */
static bool is_counted(const char *folder) {
    char path[640], name[32] = "";
    snprintf(path, sizeof path, "%s/name", folder);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    if (fscanf(f, "%31s", name) != 1) name[0] = '\0';
    fclose(f);
    return strncmp(name, "package", 7) == 0 || strcmp(name, "dram") == 0;
}

static void add_zone(bench_energy *energy, const char *root, const char *name) {
    double now, range;
    char path[512];
    int n = snprintf(path, sizeof path, "%s/sys/class/powercap/%s", root, name);
    if (n < 0 || (size_t)n >= sizeof path || energy->n_zones == BENCH_MAX_ZONES) return;
    if (!is_counted(path) || !read_number(path, "energy_uj", &now) ||
        !read_number(path, "max_energy_range_uj", &range))
        return;
    size_t i = energy->n_zones++;
    memcpy(energy->zones[i].path, path, sizeof path);
    energy->zones[i].last_j = now * 1e-6;
    energy->zones[i].range_j = range * 1e-6;
}

void bench_energy_start(const char *root, bench_energy *energy) {
    char path[512];
    *energy = (bench_energy){0};
    snprintf(path, sizeof path, "%s/sys/class/powercap", root);
    DIR *folder = opendir(path);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strncmp(entry->d_name, "intel-rapl:", 11) == 0) add_zone(energy, root, entry->d_name);
    closedir(folder);
}

double bench_energy_j(bench_energy *energy) {
    if (!energy->n_zones) return NAN;
    for (size_t i = 0; i < energy->n_zones; i++) {
        double now;
        if (!read_number(energy->zones[i].path, "energy_uj", &now)) return NAN;
        now *= 1e-6;
        double used = now - energy->zones[i].last_j;
        energy->total_j += used < 0 ? used + energy->zones[i].range_j : used;
        energy->zones[i].last_j = now;
    }
    return energy->total_j;
}
