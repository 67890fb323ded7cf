/* The machine that a measurement ran on: what it is, and what it reaches. */
#ifndef TOOLS_BENCH_MACHINE_H
#define TOOLS_BENCH_MACHINE_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

/* Texts are "", counts 0 and reals NaN where the system does not say. */
typedef struct bench_machine {
    char cpu_info[128];  /* the processor's name */
    char cpu_flags[192]; /* instruction sets that the kernels could use; "hypervisor" */
    char microcode[32], governor[32], kernel[128];
    uint32_t n_cores, n_cpus, n_numa_nodes;
    uint64_t l1d_bytes, l2_bytes, l3_bytes, memory_bytes; /* of the whole machine */
    double cpu_max_hz;
    /* Measured with the threads of the run. An operation is one multiplication or addition. */
    double bandwidth_bytes_per_s;
    uint32_t bandwidth_streams, bandwidth_prefetch; /* the way of reading that gave most */
    double peak_f32_ops_per_s, peak_i8_ops_per_s;
} bench_machine;

/* Fill in the facts.
 *   root  "" for this machine, or a folder that holds copies of proc/ and sys/ */
void bench_machine_describe(const char *root, bench_machine *out);

/* The best rate of several ways to read. */
typedef struct bench_bandwidth {
    double bytes_per_s;
    size_t n_streams; /* that each thread reads side by side */
    size_t ahead;     /* bytes from what is read to what is asked for; 0: nothing is */
} bench_bandwidth;

/* What n_threads reach when they read memory far larger than the caches, in huge pages where the
 * system gives them. Takes about half a second. */
gguf_code bench_probe_bandwidth(unsigned n_threads, bench_bandwidth *out, gguf_error *err);

/* Fill in what n_threads reach: reading memory far larger than the caches, multiplying and adding
 * floats, and 8-bit integers into 32 bits, in registers, with the instruction set that the kernels
 * use. Takes about a second. */
gguf_code bench_machine_probe(unsigned n_threads, bench_machine *out, gguf_error *err);

/* ---- energy ------------------------------------------------------------------------------ */

enum { BENCH_MAX_ZONES = 32 };

/* Energy counters of processor packages and their memory (RAPL). */
typedef struct bench_energy {
    size_t n_zones; /* 0: the system has none, or does not let us read them */
    struct {
        char path[512];
        double last_j, range_j;
    } zones[BENCH_MAX_ZONES];
    double total_j;
} bench_energy;

void bench_energy_start(const char *root, bench_energy *energy); /* root as above */
/* Joules since the start; NaN without counters. To be called more often than the counters wrap,
 * which takes minutes. */
double bench_energy_j(bench_energy *energy);

/* ---- noise ------------------------------------------------------------------------------- */

/* What else the machine did while we measured. */
typedef struct bench_noise {
    double busy_s, own_s, start_s;
    double freq_min_hz, freq_max_hz;
} bench_noise;

void bench_noise_start(bench_noise *noise);
void bench_noise_sample(bench_noise *noise); /* look at the clock frequency */
/* Cores that others kept busy, time stolen from a virtual machine included; NaN if the span was
 * below half a second or the system does not count. */
double bench_noise_other_cores(const bench_noise *noise);

#endif
