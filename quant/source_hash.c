/* Hashes of what a plan reads: per tensor, the stored bytes of its source with scales and zeros (of
 * a stack: one matrix after the other). */
#include "libgguf/hash.h"
#include "libgguf/map.h"
#include "quant/source.h"

#include <stdlib.h>

#define STEP_BYTES ((size_t)1 << 20)

typedef struct job {
    const quant_plan *plan;
    const atomic_bool *cancel;
    gguf_hash *hashes;
    uint8_t *buffers; /* STEP_BYTES per worker */
    atomic_int failure;
} job;

static gguf_code add_part(const job *j, const quant_bytes *part, const char *path, uint8_t *buffer,
                          gguf_hasher *hasher) {
    gguf_code code = GGUF_OK;
    if (part->memory) gguf_hasher_add(hasher, part->memory, part->n_bytes);
    for (uint64_t off = 0; off < part->n_bytes && !part->memory && !code; off += STEP_BYTES) {
        size_t n = part->n_bytes - off < STEP_BYTES ? (size_t)(part->n_bytes - off) : STEP_BYTES;
        if (j->cancel && atomic_load(j->cancel)) return GGUF_E_CANCELLED;
        code = gguf_read_at(part->fd, path, buffer, n, part->off + off, NULL);
        if (!code) gguf_hasher_add(hasher, buffer, n);
    }
    return code;
}

static gguf_code add_source(const job *j, const quant_source *s, uint8_t *buffer,
                            gguf_hasher *hasher) {
    quant_bytes parts[QUANT_MAX_SOURCE_PARTS];
    size_t n = quant_source_parts(s, parts);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n && !code; i++) code = add_part(j, &parts[i], s->path, buffer, hasher);
    return code;
}

static void hash_task(void *ctx, size_t task, unsigned worker) {
    job *j = ctx;
    const quant_plan_tensor *t = &j->plan->tensors[task];
    gguf_hasher *hasher;
    uint64_t per_mat = quant_rows_per_matrix(t), n = t->stack && per_mat ? t->n_rows / per_mat : 1;
    gguf_code code = gguf_hasher_new(GGUF_HASH_XXH3, &hasher, NULL);
    if (!code) {
        for (uint64_t i = 0; i < n && !code; i++)
            code = add_source(j, t->stack ? &t->stack[i] : &t->source,
                              j->buffers + worker * STEP_BYTES, hasher);
        j->hashes[task] = gguf_hasher_end(hasher);
    }
    if (code) atomic_store(&j->failure, (int)code);
}

gguf_code quant_source_hashes(const quant_plan *plan, gguf_pool *pool, const atomic_bool *cancel,
                              gguf_hash *hashes, gguf_error *err) {
    job j = {.plan = plan, .cancel = cancel, .hashes = hashes};
    j.buffers = malloc(gguf_pool_threads(pool) * STEP_BYTES);
    if (!j.buffers) return gguf_fail_memory(err);
    gguf_pool_run(pool, plan->n_tensors, hash_task, &j);
    free(j.buffers);
    gguf_code code = (gguf_code)atomic_load(&j.failure);
    if (code == GGUF_E_CANCELLED) return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "interrupted");
    return code ? gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "cannot read a source again") : code;
}
