/* What gguf-bench quality has to reach: numbers, and the record of an earlier run. */
#ifndef TOOLS_BENCH_QUALITY_GATES_H
#define TOOLS_BENCH_QUALITY_GATES_H

#include "runtime/measure/quality.h"
#include "tools/bench/bench.h"

/* Figures of a document that --json printed; NaN where it has none. */
typedef struct quality_record {
    uint64_t n_tokens; /* 0: no record */
    double ppl, ppl_stderr, kld, kld_stderr, top1, top1_stderr;
} quality_record;

/*   has_base  divergence will be measured
 * Errors: GGUF_E_IO, GGUF_E_FORMAT it is no such document, GGUF_E_USAGE it has a divergence, and
 * none will be measured. */
gguf_code quality_record_read(const char *path, bool has_base, quality_record *out,
                              gguf_error *err);

/* Print a line for every figure that misses, and set *missed.
 *   has_base  divergence was measured
 * Errors: GGUF_E_USAGE the record is of another text. */
gguf_code quality_check(tool *t, const quality_gates *gates, const quality_record *record,
                        const rt_quality *q, bool has_base, bool *missed, gguf_error *err);

#endif
