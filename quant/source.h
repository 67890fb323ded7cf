/* Reading rows of a plan's tensors from where they are stored. */
#ifndef QUANT_SOURCE_H
#define QUANT_SOURCE_H

#include "libgguf/hash.h"
#include "quant/plan.h"

/* A chunk never crosses from one matrix of a stack to the next; importance is per matrix. */
uint64_t quant_rows_per_matrix(const quant_plan_tensor *t);

/* Every element that the tensor asks for lies inside its source. Errors: GGUF_E_SHAPE. */
gguf_code quant_source_check(const quant_plan_tensor *t, gguf_error *err);

/* Everything that a source reads: its own bytes, the scales of its coding, and the codes, zeros,
 * scales and groups of an affine one. Parts that are absent are left out. Returns how many. */
#define QUANT_MAX_SOURCE_PARTS 6
size_t quant_source_parts(const quant_source *source, quant_bytes parts[QUANT_MAX_SOURCE_PARTS]);

/* Read n_rows rows of one matrix, decoded to rows of t->source_type.
 *   row      of the whole tensor
 *   dst, scratch  8 bytes per element of the rows each */
gguf_code quant_source_read(const quant_plan_tensor *t, uint64_t row, uint64_t n_rows, uint8_t *dst,
                            uint8_t *scratch, gguf_error *err);

/* XXH3 of all stored bytes that each tensor comes from, in the order of quant_source_parts.
 *   hashes  [plan->n_tensors]
 *   cancel  polled; may be NULL
 * Errors: GGUF_E_IO, GGUF_E_NOMEM, GGUF_E_CANCELLED. */
gguf_code quant_source_hashes(const quant_plan *plan, gguf_pool *pool, const atomic_bool *cancel,
                              gguf_hash *hashes, gguf_error *err);

#endif
