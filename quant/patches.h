/* Tensors that are put together from parts of others: the way back from what a view, an order and
 * steps made of a stored tensor. */
#ifndef QUANT_PATCHES_H
#define QUANT_PATCHES_H

#include "quant/plan.h"

/* A tensor whose elements stand in a target: number (m, r, c), of matrix, row and column, is the
 * target's element first + m * mat_stride + rows(r) * view.row_stride + columns(c) *
 * view.col_stride. */
typedef struct quant_patch {
    quant_bytes bytes; /* rows of n_cols numbers of `type`, [n_mats][n_rows] */
    uint32_t type;     /* GGUF type */
    uint64_t n_mats, n_rows, n_cols;
    uint64_t n_used_rows; /* rows from here on stand nowhere, of a single matrix */
    uint64_t first, mat_stride;
    quant_view view;
    quant_order row_order, col_order;
    uint64_t head_rows; /* over all matrices: rows of a head, whose halves were interleaved; or 0 */
    quant_step steps[QUANT_MAX_STEPS]; /* that made these numbers; undone, the last one first */
    uint32_t n_steps;
    const float
        *row_factors; /* [n_rows] that multiplied each row of a matrix, or NULL; not owned */
} quant_patch;

struct quant_patches {
    const quant_patch *list;
    size_t n;
};

/* Every number has a place among n_elems of the target. Errors: GGUF_E_SHAPE, GGUF_E_UNSUPPORTED
 * (the type cannot be decoded). */
gguf_code quant_patches_check(const quant_patches *patches, uint64_t n_elems, const char *name,
                              gguf_error *err);

/* How many elements of the target the patches give. */
uint64_t quant_patches_elems(const quant_patches *patches);

/* Rows of the target; what no patch gives is 0.
 *   n_cols  of the target's rows
 *   dst     [n_rows][n_cols]
 * Errors: GGUF_E_IO, GGUF_E_TRUNCATED, GGUF_E_NOMEM, those of decoding. Threads: safe. */
gguf_code quant_patches_read(const quant_patches *patches, uint64_t n_cols, uint64_t row,
                             uint64_t n_rows, float *dst, gguf_error *err);

#endif
