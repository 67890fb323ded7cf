/* This machine as a device: its memory, the bandwidth of a plain read, and the arithmetic that the
 * kernels of Q4_K reach on data in cache, all measured in about half a second. */
#include "tools/bench/run_fit.h"

#include "quant/quant.h"
#include "tools/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a container allows, or all there is. */
static uint64_t machine_memory(void) {
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    unsigned long long limit = 0;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "r");
    bool limited = f && fscanf(f, "%llu", &limit) == 1 && limit && limit < all;
    if (f) fclose(f);
    return limited ? limit : all;
}

enum { N_COLS = 2048, N_ROWS = 32, MAX_ACTS = 64, N_ROUNDS = 20 };

/* Multiplications and additions per second of one thread, the best of several rounds. */
static double product_rate(const void *rows, const void *acts, size_t n_acts, float *out,
                           void *scratch) {
    double best = 0;
    for (int round = 0; round < N_ROUNDS; round++) {
        size_t n_calls = 0;
        double start = tool_now_s(), seconds;
        do {
            quant_matmul(GGUF_TYPE_Q4_K, quant_act_of(GGUF_TYPE_Q4_K), rows, N_ROWS, N_COLS, acts,
                         n_acts, out, N_ROWS, scratch);
            n_calls++;
        } while ((seconds = tool_now_s() - start) < 2e-3);
        double rate = 2.0 * N_COLS * N_ROWS * (double)(n_acts * n_calls) / seconds;
        if (rate > best) best = rate;
    }
    return best;
}

static gguf_code measure_kernels(unsigned n_threads, rt_device *device, gguf_error *err) {
    size_t act_bytes = quant_act_row_bytes(quant_act_of(GGUF_TYPE_Q4_K), N_COLS);
    void *rows = calloc(N_ROWS, quant_row_bytes(GGUF_TYPE_Q4_K, N_COLS));
    void *acts = aligned_alloc(64, (MAX_ACTS * act_bytes + 63) / 64 * 64);
    float *out = calloc(N_ROWS * MAX_ACTS, sizeof *out);
    gguf_code code = GGUF_OK;
    void *scratch = aligned_alloc(64, QUANT_MATMUL_SCRATCH_BYTES);
    if (rows && acts && out && scratch) {
        memset(acts, 0, MAX_ACTS * act_bytes);
        device->vector_flop_per_s = n_threads * product_rate(rows, acts, 1, out, scratch);
        device->flop_per_s = n_threads * product_rate(rows, acts, MAX_ACTS, out, scratch);
    } else {
        code = gguf_fail_memory(err);
    }
    free(rows);
    free(acts);
    free(out);
    free(scratch);
    return code;
}

gguf_code fit_add_machine(rt_devices *devices, unsigned n_threads, gguf_error *err) {
    rt_device device = rt_device_usual(RT_DEVICE_CPU, machine_memory());
    snprintf(device.name, sizeof device.name, "this machine");
    device.bandwidth_share = device.arithmetic_share = 0.85;
    bench_bandwidth read;
    gguf_code code = bench_probe_bandwidth(n_threads, &read, err);
    if (!code) device.bytes_per_s = read.bytes_per_s;
    if (!code) code = measure_kernels(n_threads, &device, err);
    return code ? code : rt_devices_add(devices, &device, err);
}
