/* What disturbs a measurement: other work, time that the host takes, changes of the clock. */
#include "tools/bench/machine.h"
#include "tools/common/tool.h"

#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* Seconds that all processors were busy, those taken by the host of a virtual machine included. */
static double busy_seconds(void) {
    double user, nice, system, idle, wait, irq, softirq, steal;
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return NAN;
    int n = fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &wait,
                   &irq, &softirq, &steal);
    fclose(f);
    if (n != 8) return NAN;
    return (user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

static double own_seconds(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return NAN;
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           1e-6 * ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec);
}

/* Of the first processor that says; NaN where none does, as in most virtual machines. */
static double frequency(void) {
    double khz = NAN;
    FILE *f = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "r");
    if (!f) return NAN;
    if (fscanf(f, "%lf", &khz) != 1) khz = NAN;
    fclose(f);
    return khz * 1e3;
}

void bench_noise_start(bench_noise *noise) {
    *noise = (bench_noise){.freq_min_hz = NAN, .freq_max_hz = NAN};
    noise->busy_s = busy_seconds();
    noise->own_s = own_seconds();
    noise->start_s = tool_now_s();
}

void bench_noise_sample(bench_noise *noise) {
    double now = frequency();
    noise->freq_min_hz = fmin(noise->freq_min_hz, now);
    noise->freq_max_hz = fmax(noise->freq_max_hz, now);
}

double bench_noise_other_cores(const bench_noise *noise) {
    double span = tool_now_s() - noise->start_s;
    if (span < 0.5) return NAN;
    double others = busy_seconds() - noise->busy_s - (own_seconds() - noise->own_s);
    return others > 0 ? others / span : others <= 0 ? 0 : NAN;
}
