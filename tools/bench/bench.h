/* What the parts of gguf-bench share. */
#ifndef TOOLS_BENCH_BENCH_H
#define TOOLS_BENCH_BENCH_H

#include "runtime/runtime.h"
#include "tools/common/tool.h"

typedef struct bench_opts {
    /* speed */
    uint32_t *prompts, *gens, *depths;
    size_t n_prompts, n_gens, n_depths;
    uint32_t repetitions, n_batch, kv_type;
    const char *format; /* table, md, json, jsonl, csv, sql */
    /* quality */
    const char *text, *base;
    uint32_t n_ctx, n_chunks;
} bench_opts;

/* One measurement: a prompt of n_prompt tokens, or n_gen generated tokens, behind n_depth tokens.
 */
typedef struct bench_record {
    char model_filename[256], model_type[64], type_k[16], isa[16];
    uint64_t model_size, model_n_params; /* bytes of tensors, elements */
    uint32_t n_threads, n_batch, n_prompt, n_gen, n_depth, repetitions;
    double avg_ns, stddev_ns, avg_ts, stddev_ts; /* of one repetition; tokens per second */
    double ttft_s, itl_p50_s, itl_p99_s;         /* NaN where it has no meaning */
    uint64_t peak_rss_bytes, predicted_rss_bytes;
    uint64_t peak_device_bytes, predicted_device_bytes; /* 0: no device is used */
    double bandwidth_share;                             /* NaN for prompts */
} bench_record;

/* Measure one combination in a process of its own, so that the peak memory is its own.
 *   bandwidth  bytes per second that a plain read reaches with the same threads */
gguf_code bench_measure(tool *t, const bench_opts *o, const char *path, uint32_t n_prompt,
                        uint32_t n_gen, uint32_t n_depth, double bandwidth, bench_record *record,
                        gguf_error *err);

/* Bytes per second that n_threads reach when they read memory far larger than the caches. */
gguf_code bench_bandwidth(unsigned n_threads, double *bytes_per_s, gguf_error *err);

/* Print records in the format of the options, as llama-bench names the fields. */
gguf_code bench_print(const bench_record *records, size_t n, const char *format, gguf_error *err);

/* gguf-bench fit MODEL: a command of its own, with its own options; argv[0] is "fit". */
int bench_fit_main(int argc, char **argv);

/* gguf-bench quality MODEL */
gguf_code bench_quality(tool *t, const bench_opts *o, const char *path, gguf_error *err);

#endif
