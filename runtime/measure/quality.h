/* How well a model predicts a text: perplexity, and the divergence from a base model.
 *
 * The tokens are cut into chunks of n_ctx; an incomplete last one is left out. In each chunk the
 * first token is replaced by the begin token, the first half is context only, and every token
 * behind position n_ctx / 2 is scored, as llama-perplexity does. */
#ifndef RUNTIME_MEASURE_QUALITY_H
#define RUNTIME_MEASURE_QUALITY_H

#include "libgguf/ranks.h"
#include "runtime/runtime.h"

#include <stdatomic.h>

/* A saved base: a sample of a model's distributions over a text, at most a hundredth of their size
 * (docs/bench.md describes the file and its error). */
typedef struct rt_quality_base rt_quality_base;

/* Open and check a saved base.
 * Errors: GGUF_E_IO, GGUF_E_FORMAT, GGUF_E_TRUNCATED, GGUF_E_LIMIT, GGUF_E_UNSUPPORTED (version),
 * GGUF_E_NOMEM. Threads: safe. */
gguf_code rt_quality_base_open(const char *path, rt_quality_base **out, gguf_error *err);
void rt_quality_base_close(rt_quality_base *base); /* accepts NULL */

typedef struct rt_quality_opts {
    gguf_ranks *ranks;       /* that share the chunks, called by all; NULL: this process alone */
    rt_session_opts session; /* n_ctx is the length of a chunk, at least 3 */
    uint32_t n_chunks;       /* at most; 0 = all */
    int32_t bos;             /* the begin token; -1 = none, the first token stays */
    bool engine; /* the base has activations in 16 bits: what those of the session add to the
                    file's damage, if both are the same model */
    const rt_quality_base *saved_base; /* in place of a base model; NULL = none */
    const char *save_base;     /* save the model's distributions to this file; NULL = do not */
    bool replace;              /* an existing file */
    const atomic_bool *cancel; /* may be NULL */
    /* After every step; may be NULL. ppl is that of the tokens so far. */
    void (*progress)(void *ctx, uint64_t done_tokens, uint64_t total_tokens, double ppl);
    void *progress_ctx;
} rt_quality_opts;

rt_quality_opts rt_quality_defaults(void); /* session defaults with n_ctx 512, all chunks, no bos */

#define RT_QUALITY_POSITIONS 8

/* The scored tokens at the positions first to last of their chunks. */
typedef struct rt_quality_position {
    uint32_t first, last;
    double ppl, ppl_stderr, kld_mean, kld_stderr;
} rt_quality_position;

typedef struct rt_quality {
    uint64_t n_chunks, n_tokens; /* n_tokens were scored */
    double ppl, ppl_stderr;
    uint64_t n_positions;
    rt_quality_position positions[RT_QUALITY_POSITIONS];
    /* With a base; 0 without. Natural logarithms; shares between 0 and 1. */
    double base_ppl, base_ppl_stderr;
    double kld_mean, kld_stderr, kld_median, kld_p99, kld_p999, kld_max; /* base || model */
    double top1_agreement, top1_stderr; /* share of tokens where both find the same most likely */
    double delta_p_mean, delta_p_rms; /* of the model's minus the base's probability of the token */
} rt_quality;

/* Measure `model` on a text. The result does not depend on the number of threads and ranks, which
 * all have it; rank 0 saves a base.
 *   base    NULL, or a model with the same vocabulary, run at the same time
 *   tokens  [n_tokens] without special tokens around them
 * Errors: of sessions; GGUF_E_USAGE (n_ctx, or less than one chunk of tokens), GGUF_E_SHAPE (the
 * vocabularies differ in size, or the saved base is of another text), GGUF_E_UNSUPPORTED (an
 * embedding model), GGUF_E_NONFINITE (a logit), GGUF_E_CANCELLED, GGUF_E_NOMEM; those of
 * gguf_outfile_open. */
gguf_code rt_quality_measure(const rt_model *model, const rt_model *base, const int32_t *tokens,
                             size_t n_tokens, const rt_quality_opts *opts, rt_quality *out,
                             gguf_error *err);

#endif
