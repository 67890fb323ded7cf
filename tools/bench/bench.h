/* What the parts of gguf-bench share. */
#ifndef TOOLS_BENCH_BENCH_H
#define TOOLS_BENCH_BENCH_H

#include "runtime/runtime.h"
#include "tools/bench/record.h"
#include "tools/common/device_opts.h"
#include "tools/common/model_open.h"
#include "tools/common/tool.h"

#include <stdio.h>

/* What a quality has to reach. */
typedef struct quality_gates {
    double max_ppl, max_kld, min_top1; /* infinity, infinity, -1: none */
    const char *against;               /* a record of an earlier run, or NULL */
} quality_gates;

typedef struct bench_opts {
    /* speed */
    uint32_t *prompts, *gens, *depths, *pairs; /* pairs: prompt, generation, ... */
    size_t n_prompts, n_gens, n_depths, n_pairs;
    uint32_t *threads, *batches, *kv_types; /* each of these is measured with each other */
    size_t n_threads, n_batches, n_kv_types;
    bool default_prompts, default_gens; /* not asked for: what a model cannot do is left out */
    uint32_t repetitions;
    uint32_t n_batch, kv_type; /* of the measurement that runs */
    rt_precision precision;    /* quality too */
    bool no_repack;
    model_loras loras;     /* of every model, quality's base aside */
    const char *format;    /* table, md, json, jsonl, csv */
    double min_tg, min_pp; /* 0 = none */
    uint64_t max_rss_bytes, max_vram_bytes;
    device_opts device;
    const char *plot, *report;
    /* compare */
    double significance;
    bool fail_on_regression;
    /* quality */
    const char *text, *base, *save_base, *choices;
    bool engine, has_precision;
    uint32_t n_ctx, n_chunks;
    quality_gates gates;
} bench_opts;

/* One combination to measure. */
typedef struct bench_case {
    const char *path;
    uint32_t n_prompt, n_gen, n_depth;
} bench_case;

/* Measure one combination in a process of its own, so that the peak memory is its own.
 *   machine  described and probed */
gguf_code bench_measure(const tool *t, const bench_opts *o, const bench_case *which,
                        const bench_machine *machine, bench_record *record, gguf_error *err);

/* Prints records one by one as they come. */
typedef struct bench_printer {
    const struct bench_format *format;
    size_t n_printed;
} bench_printer;

/* Errors: GGUF_E_USAGE an unknown format. */
gguf_code bench_printer_start(bench_printer *printer, const char *format, gguf_error *err);
/* Errors: GGUF_E_IO; a reader that left is none. */
gguf_code bench_print(bench_printer *printer, const bench_record *record, gguf_error *err);
/* Also after a failure: what was printed becomes a whole document. */
void bench_printer_end(bench_printer *printer);

/* A record as the cells of a table. */
enum { BENCH_COLUMNS = 12, BENCH_CELL = 96 };
extern const char *const bench_headings[BENCH_COLUMNS];
void bench_fill_cells(const bench_record *record, char cells[BENCH_COLUMNS][BENCH_CELL]);

/* Pictures and a page of records. */
gguf_code bench_write_plot(const tool *t, const char *path, const bench_record *records, size_t n,
                           gguf_error *err);
gguf_code bench_write_report(const tool *t, const char *path, const bench_record *records, size_t n,
                             gguf_error *err);

/* The verbs. */
gguf_code bench_speed(tool *t, bench_opts *o, gguf_error *err);
gguf_code bench_compare(tool *t, const bench_opts *o, const char *path_a, const char *path_b,
                        gguf_error *err);
gguf_code bench_quality(tool *t, const bench_opts *o, const char *path, gguf_error *err);
/* List what computes beside the CPU, as a table or JSON. */
gguf_code bench_devices(tool *t, gguf_error *err);
/* The part of quality that scores multiple-choice questions; adds its results to `json` or prints
 * them. */
gguf_code bench_choices(tool *t, const bench_opts *o, const rt_model *model, json_t *json,
                        gguf_error *err);

/* gguf-bench fit MODEL: a command of its own, with its own options; argv[0] is "fit". */
int bench_fit_main(int argc, char **argv);
/* Its options; ctx is missing. */
const tool_spec *bench_fit_spec(void);

#endif
