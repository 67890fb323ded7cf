/* gguf-bench without a model: statistics against tables, the machine's facts and energy counters
 * from made-up folders. */
#include "runtime/engine/memory.h"
#include "runtime/runtime.h"
#include "tools/bench/machine.h"
#include "tools/bench/statistics.h"
#include "unit.h"

#include <errno.h>
#include <ftw.h>
#include <linux/mempolicy.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- statistics -------------------------------------------------------------------------- */

/* Published tables of Student's distribution. */
START_TEST(student) {
    static const struct {
        double df, share, t;
    } rows[] = {{1, 0.975, 12.706205}, {2, 0.975, 4.302653},  {4, 0.975, 2.776445},
                {9, 0.975, 2.262157},  {30, 0.975, 2.042272}, {4, 0.995, 4.604095},
                {1, 0.75, 1.0},        {1e6, 0.975, 1.959966}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_double_eq_tol(bench_student_quantile(rows[i].share, rows[i].df), rows[i].t, 2e-6);
        ck_assert_double_eq_tol(bench_student_cdf(rows[i].t, rows[i].df), rows[i].share, 1e-7);
        ck_assert_double_eq_tol(bench_student_cdf(-rows[i].t, rows[i].df), 1 - rows[i].share, 1e-7);
    }
    ck_assert_double_eq(bench_student_cdf(0, 3), 0.5);
}
END_TEST

START_TEST(moments) {
    const double values[] = {2, 4, 4, 4, 5, 5, 7, 9};
    bench_moments m = bench_moments_of(values, 8);
    ck_assert_double_eq(m.mean, 5);
    ck_assert_double_eq_tol(m.deviation, sqrt(32.0 / 7), 1e-12);
    ck_assert_double_eq_tol(m.ci95, 2.364624 * m.deviation / sqrt(8), 1e-5);
    m = bench_moments_of(values, 1);
    ck_assert_double_eq(m.mean, 2);
    ck_assert(isnan(m.ci95));
}
END_TEST

START_TEST(percentiles) {
    double values[] = {5, 1, 4, 2, 3};
    ck_assert_double_eq(bench_percentile(values, 5, 0.5), 3);
    ck_assert_double_eq(bench_percentile(values, 5, 0.99), 5);
    ck_assert_double_eq(bench_percentile(values, 5, 0), 1);
    ck_assert(isnan(bench_percentile(values, 0, 0.5)));
}
END_TEST

/* Welch's test on plain numbers: these are their exponentials, whose logarithms are taken. */
START_TEST(welch) {
    const double x[] = {27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1,
                        21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4};
    const double y[] = {27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0,
                        24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 24.4};
    double a[15], b[15];
    for (int i = 0; i < 15; i++) a[i] = exp(x[i]), b[i] = exp(y[i]);
    bench_comparison c = bench_compare_samples(a, 15, b, 15);
    ck_assert_double_eq_tol(c.p, 0.0080719, 1e-7); /* by numerical integration */
    ck_assert_double_eq_tol(log(c.ratio), 23.6533333 - 20.82, 1e-4);
    ck_assert(c.ratio_lo > 1 && c.ratio_lo < c.ratio && c.ratio < c.ratio_hi);
    c = bench_compare_samples(a, 15, a, 15);
    ck_assert_double_eq_tol(c.p, 1, 1e-12);
    ck_assert_double_eq(c.ratio, 1);
}
END_TEST

START_TEST(few_samples) {
    const double a[] = {10, 10}, b[] = {5, 5};
    bench_comparison c = bench_compare_samples(a, 1, b, 2);
    ck_assert_double_eq_tol(c.ratio, 0.5, 1e-12);
    const double uneven[] = {5, 20};
    c = bench_compare_samples(uneven, 2, a, 1);
    ck_assert_double_eq_tol(c.mean_a, 10, 1e-12);
    ck_assert_double_eq_tol(c.ratio, c.mean_b / c.mean_a, 1e-12);
    c = bench_compare_samples(a, 1, b, 2);
    ck_assert(isnan(c.p) && isnan(c.ratio_lo));
    c = bench_compare_samples(a, 2, b, 2);
    ck_assert_double_eq(c.p, 0);
    c = bench_compare_samples(a, 2, a, 2);
    ck_assert_double_eq(c.p, 1);
}
END_TEST

/* ---- a machine made of files ------------------------------------------------------------- */

static char root[64];

static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void make_root(void) {
    snprintf(root, sizeof root, "/tmp/ggufkit-bench-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place) {
    (void)st, (void)kind, (void)place;
    return remove(path);
}

static void remove_root(void) {
    ck_assert_int_eq(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#define CPU "sys/devices/system/cpu/"

static void put_cpu(int cpu, const char *siblings, const char *l3_cpus) {
    char name[128];
    snprintf(name, sizeof name, CPU "cpu%d/topology/thread_siblings_list", cpu);
    put(name, siblings);
    static const char *const caches[][3] = {{"1", "Data", "32K\n"},
                                            {"1", "Instruction", "64K\n"},
                                            {"2", "Unified", "1024K\n"},
                                            {"3", "Unified", "16M\n"}};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, CPU "cpu%d/cache/index%d/level", cpu, i);
        put(name, caches[i][0]);
        snprintf(name, sizeof name, CPU "cpu%d/cache/index%d/type", cpu, i);
        put(name, caches[i][1]);
        snprintf(name, sizeof name, CPU "cpu%d/cache/index%d/size", cpu, i);
        put(name, caches[i][2]);
        snprintf(name, sizeof name, CPU "cpu%d/cache/index%d/shared_cpu_list", cpu, i);
        put(name, i == 3 ? l3_cpus : siblings);
    }
}

/* Two cores of two threads each. */
START_TEST(machine_from_files) {
    bench_machine m;
    make_root();
    put("proc/cpuinfo", "processor\t: 0\nmodel name\t: Test CPU @ 2 GHz\nmicrocode\t: 0x12\n"
                        "flags\t\t: fpu avx avx2 fma avx512fp16 hypervisor avx512_vnni\n\n"
                        "processor\t: 1\nmodel name\t: Other\n");
    put("proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 1 kB\n");
    put_cpu(0, "0,2\n", "0-3\n");
    put_cpu(1, "1,3\n", "0-3\n");
    put_cpu(2, "0,2\n", "0-3\n");
    put_cpu(3, "1,3\n", "0-3\n");
    put("sys/devices/system/node/node0/cpulist", "0-3\n");
    put(CPU "cpu0/cpufreq/scaling_governor", "powersave\n");
    put(CPU "cpu0/cpufreq/cpuinfo_max_freq", "3500000\n");
    bench_machine_describe(root, &m);
    ck_assert_str_eq(m.cpu_info, "Test CPU @ 2 GHz");
    ck_assert_str_eq(m.cpu_flags, "avx avx2 fma avx512_vnni hypervisor");
    ck_assert_str_eq(m.microcode, "0x12");
    ck_assert_str_eq(m.governor, "powersave");
    ck_assert_uint_eq(m.n_cpus, 4);
    ck_assert_uint_eq(m.n_cores, 2);
    ck_assert_uint_eq(m.n_numa_nodes, 1);
    ck_assert_uint_eq(m.l1d_bytes, 64 << 10);
    ck_assert_uint_eq(m.l2_bytes, 2 << 20);
    ck_assert_uint_eq(m.l3_bytes, 16 << 20);
    ck_assert_uint_eq(m.memory_bytes, UINT64_C(16000000) << 10);
    ck_assert_double_eq(m.cpu_max_hz, 3.5e9);
    remove_root();
    bench_machine_describe(root, &m);
    ck_assert_uint_eq(m.n_cpus, 0);
    ck_assert_str_eq(m.cpu_info, "");
    ck_assert(isnan(m.cpu_max_hz));
}
END_TEST

START_TEST(memory_nodes_from_files) {
    rt_memory_nodes nodes;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (int cpu = 1; cpu < 8; cpu++) CPU_SET(cpu, &cpus);
    make_root();
    put("sys/devices/system/node/node0/cpulist", "0-1,4\n");
    put("sys/devices/system/node/node2/cpulist", "\n"); /* memory alone */
    put("sys/devices/system/node/node3/cpulist", "2-3,5-7\n");
    put("sys/devices/system/node/node70/cpulist", "7-99999999999\n");
    put("sys/devices/system/node/node71/cpulist", "8-20\n"); /* not ours */
    rt_memory_nodes_read(root, &cpus, &nodes);
    remove_root();
    ck_assert_uint_eq(nodes.n_nodes, 3);
    ck_assert_uint_eq(nodes.n_cpus, 2 + 5 + 1);
    ck_assert_uint_eq(nodes.most_cpus, 5);
    ck_assert_uint_eq(nodes.mask[0], 1 << 0 | 1 << 3);
    ck_assert_uint_eq(nodes.mask[1], 1 << 6);
}
END_TEST

/* What the limits leave, of the group and of those around it; files give way. */
START_TEST(available_memory_from_files) {
    make_root();
    ck_assert_uint_eq(rt_available_bytes(root), UINT64_MAX);
    put("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n");
    ck_assert_uint_eq(rt_available_bytes(root), 8000 << 10);
    put("sys/fs/cgroup/memory.max", "max\n");
    ck_assert_uint_eq(rt_available_bytes(root), 8000 << 10);
    put("proc/self/cgroup", "1:cpu:/x\n0::/jobs/one\n");
    put("sys/fs/cgroup/jobs/memory.max", "4096000\n");
    put("sys/fs/cgroup/jobs/memory.current", "3000000\n");
    ck_assert_uint_eq(rt_available_bytes(root), 1096000);
    put("sys/fs/cgroup/jobs/one/memory.max", "2000000\n");
    put("sys/fs/cgroup/jobs/one/memory.current", "1500000\n");
    ck_assert_uint_eq(rt_available_bytes(root), 500000);
    put("sys/fs/cgroup/jobs/one/memory.stat",
        "anon 5\ninactive_anon 7\nactive_file 200000\ninactive_file 100000\n");
    ck_assert_uint_eq(rt_available_bytes(root), 800000);
    put("sys/fs/cgroup/jobs/one/memory.current", "2300001\n");
    ck_assert_uint_eq(rt_available_bytes(root), 0);
    remove_root();
}
END_TEST

/* Also on a machine with one node, which then has all pages. */
START_TEST(memory_is_interleaved) {
    rt_memory_nodes nodes = {.mask = {1}, .n_nodes = 1};
    int policy = -1;
    if (!rt_memory_nodes_interleave(&nodes)) {
        ck_assert_msg(errno == EPERM || errno == ENOSYS, "set_mempolicy: %s", strerror(errno));
        return; /* as some containers do */
    }
    ck_assert_int_eq(syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0), 0);
    ck_assert_int_eq(policy, MPOL_INTERLEAVE);
    ck_assert_uint_eq(rt_spread_memory(0), 0); /* a choice was made */
    ck_assert_int_eq(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0), 0);
}
END_TEST

/* ---- energy ------------------------------------------------------------------------------ */

static void put_zone(const char *zone, const char *name, const char *energy, const char *range) {
    char path[128];
    snprintf(path, sizeof path, "sys/class/powercap/%s/name", zone);
    put(path, name);
    snprintf(path, sizeof path, "sys/class/powercap/%s/energy_uj", zone);
    put(path, energy);
    snprintf(path, sizeof path, "sys/class/powercap/%s/max_energy_range_uj", zone);
    put(path, range);
}

/* A package, its cores (not counted twice), its memory; the package's counter wraps. */
START_TEST(energy) {
    bench_energy e;
    make_root();
    put_zone("intel-rapl:0", "package-0\n", "9000000\n", "10000000\n");
    put_zone("intel-rapl:0:0", "core\n", "5000000\n", "10000000\n");
    put_zone("intel-rapl:0:1", "dram\n", "1000000\n", "10000000\n");
    put_zone("intel-rapl-mmio:0", "package-0\n", "9000000\n", "10000000\n");
    bench_energy_start(root, &e);
    ck_assert_uint_eq(e.n_zones, 2);
    ck_assert_double_eq(bench_energy_j(&e), 0);
    put_zone("intel-rapl:0", "package-0\n", "2000000\n", "10000000\n");
    put_zone("intel-rapl:0:1", "dram\n", "1500000\n", "10000000\n");
    ck_assert_double_eq_tol(bench_energy_j(&e), 3.5, 1e-9);
    put_zone("intel-rapl:0", "package-0\n", "4000000\n", "10000000\n");
    ck_assert_double_eq_tol(bench_energy_j(&e), 5.5, 1e-9);
    put("sys/class/powercap/intel-rapl:0/energy_uj", "unreadable\n");
    ck_assert(isnan(bench_energy_j(&e)));
    remove_root();
    bench_energy_start(root, &e);
    ck_assert(isnan(bench_energy_j(&e)));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("bench");
    TCase *tc = tcase_create("bench");
    tcase_add_test(tc, student);
    tcase_add_test(tc, moments);
    tcase_add_test(tc, percentiles);
    tcase_add_test(tc, welch);
    tcase_add_test(tc, few_samples);
    tcase_add_test(tc, machine_from_files);
    tcase_add_test(tc, memory_nodes_from_files);
    tcase_add_test(tc, available_memory_from_files);
    tcase_add_test(tc, memory_is_interleaved);
    tcase_add_test(tc, energy);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
