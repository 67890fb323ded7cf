/* A text as chunks for calibration: a few of equal length, spread evenly over it, since the parts
 * of a text differ. */
#ifndef RUNTIME_CALIBRATE_CHUNKS_H
#define RUNTIME_CALIBRATE_CHUNKS_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct rt_chunks {
    const int32_t *tokens; /* borrowed */
    size_t n_tokens;
    size_t n_ctx, n; /* tokens of a chunk, chunks; both 0 without tokens */
    int32_t bos;     /* replaces the first token of each chunk; -1 = none */
} rt_chunks;

/* Up to n_most chunks (0: as many as there are) of n_ctx tokens; a shorter text is one chunk. */
rt_chunks rt_chunks_of(const int32_t *tokens, size_t n_tokens, size_t n_ctx, size_t n_most,
                       int32_t bos);

/* Call fn with each chunk of n_ctx tokens until it fails. Errors: of fn, GGUF_E_NOMEM. */
typedef gguf_code (*rt_chunk_fn)(void *ctx, size_t i, const int32_t *chunk, gguf_error *err);
gguf_code rt_chunks_each(const rt_chunks *chunks, rt_chunk_fn fn, void *ctx, gguf_error *err);

#endif
