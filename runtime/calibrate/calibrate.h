/* Calibration: run a model over text and collect what its weights see. */
#ifndef RUNTIME_CALIBRATE_CALIBRATE_H
#define RUNTIME_CALIBRATE_CALIBRATE_H

#include "libgguf/ranks.h"
#include "quant/imatrix.h"
#include "runtime/runtime.h"

#include <stdatomic.h>

typedef struct rt_calibrate_opts {
    uint32_t n_ctx;         /* tokens of a chunk (512) */
    uint32_t n_chunks;      /* at most; 0 = all */
    uint32_t n_skip;        /* chunks at the start that `im` has already; they count in n_chunks */
    uint32_t n_together;    /* chunks computed at once; 0 = a few, as far as 2048 tokens go */
    uint64_t hessian_bytes; /* of rt_hessians, at once; 0 = 2 GiB; a single one may be larger */
    rt_precision precision;
    unsigned n_threads;
    gguf_ranks *ranks;         /* that share the chunks, called by all; NULL: this process alone */
    int32_t bos;               /* replaces the first token of each chunk; -1 = none */
    const atomic_bool *cancel; /* may be NULL */
    void (*progress)(void *ctx, uint64_t done_tokens, uint64_t total_tokens); /* may be NULL */
    void *progress_ctx;
    /* After each such group, n_done with those before; its failure ends the run. May be NULL. */
    gguf_code (*chunks_done)(void *ctx, uint32_t n_done, gguf_error *err);
    void *chunks_ctx;
} rt_calibrate_opts;

rt_calibrate_opts rt_calibrate_defaults(void);

/* Fewer chunks say little about a model: callers warn of them. */
enum { RT_FEW_CHUNKS = 20 };

/* How many chunks a text of n_tokens is, at most opts->n_chunks.
 * Errors: GGUF_E_USAGE less than one: what so little text shows harms a model. */
gguf_code rt_calibrate_n_chunks(size_t n_tokens, const rt_calibrate_opts *opts, uint32_t *n_chunks,
                                gguf_error *err);

/* What decides the numbers of a calibration: all tokens, n_ctx, n_chunks, bos and precision of the
 * options, the instruction set, and the model: its header, and samples of every tensor's data. */
uint64_t rt_calibrate_hash(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                           const rt_calibrate_opts *opts);

/* Add the squares of every weight's inputs to `im`, chunk by chunk of n_ctx tokens; an incomplete
 * last chunk is left out. Each group of chunks computed at once is summed by itself, and the sums
 * are added in the groups' order. With several ranks, rank 0 alone has all in `im`.
 *   n_done  chunks in `im`; may be NULL
 * Errors: of sessions; those of rt_calibrate_n_chunks; GGUF_E_NONFINITE an input overflows;
 * GGUF_E_CANCELLED; GGUF_E_NOMEM. The result does not depend on the number of threads and ranks. */
gguf_code rt_calibrate_importance(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                                  const rt_calibrate_opts *opts, quant_imatrix *im,
                                  uint32_t *n_done, gguf_error *err);

/* Matrices of experts, and how many of them saw too few rows for their importance to mean much. */
enum { RT_FEW_SAMPLES = 32 };
typedef struct rt_expert_samples {
    size_t n_mats, n_unseen, n_few; /* n_few: 1 to RT_FEW_SAMPLES - 1 rows */
} rt_expert_samples;
rt_expert_samples rt_calibrate_samples(const quant_imatrix *im);

#endif
