/* Chunks of a text. */
#include "runtime/calibrate/chunks.h"

#include <stdlib.h>
#include <string.h>

rt_chunks rt_chunks_of(const int32_t *tokens, size_t n_tokens, size_t n_ctx, size_t n_most,
                       int32_t bos) {
    if (n_ctx > n_tokens) n_ctx = n_tokens;
    size_t n = n_ctx ? n_tokens / n_ctx : 0;
    if (n_most && n > n_most) n = n_most;
    return (rt_chunks){tokens, n_tokens, n_ctx, n, bos};
}

gguf_code rt_chunks_each(const rt_chunks *chunks, rt_chunk_fn fn, void *ctx, gguf_error *err) {
    if (chunks->n == 0) return GGUF_OK;
    size_t n_ctx = chunks->n_ctx, n_all = chunks->n_tokens / n_ctx;
    int32_t *chunk = malloc(n_ctx * sizeof *chunk);
    if (!chunk) return gguf_fail_memory(err);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < chunks->n && !code; i++) {
        memcpy(chunk, chunks->tokens + i * n_all / chunks->n * n_ctx, n_ctx * sizeof *chunk);
        if (chunks->bos >= 0) chunk[0] = chunks->bos;
        code = fn(ctx, i, chunk, err);
    }
    free(chunk);
    return code;
}
