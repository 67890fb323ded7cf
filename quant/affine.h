/* Reading matrices of packed integers with scales and zeros: GPTQ, AWQ, compressed-tensors. */
#ifndef QUANT_AFFINE_H
#define QUANT_AFFINE_H

#include "quant/plan.h"

/* n bytes of b from byte `from` on. path: the file of the tensor's source, for bytes without a path
 * of their own. Errors: GGUF_E_IO, GGUF_E_TRUNCATED. */
gguf_code quant_bytes_read(const quant_bytes *b, const char *path, uint64_t from, uint64_t n,
                           void *dst, gguf_error *err);

/* Every table is as large as the matrix asks for. Errors: GGUF_E_SHAPE. */
gguf_code quant_affine_check(const quant_affine *a, const char *name, const char *path,
                             gguf_error *err);

/* Decode a part of the matrix.
 *   dst  [n_rows][n_cols]
 * Errors: GGUF_E_IO, GGUF_E_TRUNCATED, GGUF_E_FORMAT (a group that does not exist), GGUF_E_NOMEM.
 */
gguf_code quant_affine_read(const quant_affine *a, const char *path, uint64_t row, uint64_t n_rows,
                            uint64_t col, uint64_t n_cols, float *dst, gguf_error *err);

#endif
