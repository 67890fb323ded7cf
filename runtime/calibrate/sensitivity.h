/* How much a model's output changes when one of its matrices is quantised, measured on a text. */
#ifndef RUNTIME_CALIBRATE_SENSITIVITY_H
#define RUNTIME_CALIBRATE_SENSITIVITY_H

#include "runtime/runtime.h"

#include <stdatomic.h>

/* One matrix to be tried. */
typedef struct rt_probe {
    const char *tensor; /* GGUF name */
    uint32_t layer;     /* of the tensor; the number of layers for the head */
    uint32_t type;      /* to try */
    const float *imp;   /* [n_mats][n_cols] importance, or NULL */
    double kld;         /* mean KLD to the unchanged model; < 0 = not measured */
} rt_probe;

typedef struct rt_probe_opts {
    uint32_t n_ctx, n_chunks; /* tokens of a chunk, chunks (256, 2); 0 chunks = all */
    unsigned n_threads;
    int32_t bos;               /* replaces the first token of each chunk; -1 = none */
    double max_flops;          /* of all probes together; 0 = no limit */
    const atomic_bool *cancel; /* may be NULL */
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* may be NULL */
    void *progress_ctx;
} rt_probe_opts;

rt_probe_opts rt_probe_defaults(void); /* 6e13 operations, ten minutes at 100 GFLOP/s */

/* Measure the probes, evenly spread over the list as far as max_flops goes (counted, not timed, so
 * that the selection is the same on every machine). The model is as before when this returns;
 * nobody else may use it meanwhile.
 * Errors: of sessions, GGUF_E_USAGE too few tokens, GGUF_E_MISSING no such matrix,
 * GGUF_E_CANCELLED, GGUF_E_NOMEM. */
gguf_code rt_measure_probes(rt_model *model, const int32_t *tokens, size_t n_tokens,
                            const rt_probe_opts *opts, rt_probe *probes, size_t n_probes,
                            gguf_error *err);

#endif
