/* Second-order information of a linear layer: H = mean of x xᵀ over its inputs x, and the upper
 * Cholesky factor of its inverse. */
#ifndef QUANT_HESSIAN_H
#define QUANT_HESSIAN_H

#include "libgguf/pool.h"
#include "libgguf/ranks.h"

#include <stdint.h>

/* Off the diagonal, means are multiplied with this: correlations of a sample overstate those of
 * another text. */
#define QUANT_HESSIAN_TRUST 0.9f

typedef struct quant_hessian {
    size_t n; /* columns of the weight */
    uint64_t n_samples;
    double mean; /* of the diagonal, as it was summed */
    double damp; /* share of that mean that was added to the diagonal */
    float *h;    /* [n][n] */
    float *u;    /* [n][n] upper, uᵀ u = inverse of h; NULL until quant_hessian_factor */
    /* While parts are summed: */
    float *total;            /* [n][n] of the parts that ended */
    uint64_t n_part_samples; /* of the part that is being summed */
} quant_hessian;

/* All zeros. Errors: GGUF_E_NOMEM, GGUF_E_LIMIT n * n overflows. */
gguf_code quant_hessian_new(size_t n, quant_hessian **out, gguf_error *err);
void quant_hessian_free(quant_hessian *hessian); /* accepts NULL */

/* Add the rows' outer products to the upper triangle of h (sums; divided by quant_hessian_mean).
 * Tiles of h are independent, so the sums do not depend on the number of threads.
 *   rows  [n_rows][n] finite */
void quant_hessian_add(quant_hessian *hessian, const float *rows, size_t n_rows, gguf_pool *pool);

/* What was added since the last call was a part of the text: it joins the total, and h starts again
 * with zeros. Sums of parts are added in their order, whoever summed them: collective, each rank
 * ended one part of the next n_parts <= gguf_ranks_n, in the order of ranks; those from n_parts on
 * ended none. Of the total, a rank only has its share before quant_hessian_end_parts, which makes h
 * the whole. Errors: GGUF_E_NOMEM, those of gguf_ranks_receive. */
gguf_code quant_hessian_end_part(quant_hessian *hessian, gguf_ranks *ranks, uint32_t n_parts,
                                 gguf_error *err);
gguf_code quant_hessian_end_parts(quant_hessian *hessian, gguf_ranks *ranks, gguf_error *err);

/* Make h the mean, symmetric, with QUANT_HESSIAN_TRUST, and damped. Columns that were always 0 get
 * the mean diagonal, so that their weights are rounded alone. Errors: GGUF_E_NONFINITE. */
gguf_code quant_hessian_mean(quant_hessian *hessian, double damp, gguf_error *err);

/* What quant_hessian_factor does when factors do not exist: ten times the damp. */
void quant_hessian_raise_damp(quant_hessian *hessian);

/* The same as quant_hessian_mean, then compute u; `damp` is raised tenfold until the factors exist.
 *   pool  may be NULL: the calling thread alone; the bytes are the same
 * Errors: GGUF_E_NONFINITE, GGUF_E_NOMEM. */
gguf_code quant_hessian_factor(quant_hessian *hessian, double damp, gguf_pool *pool,
                               gguf_error *err);

/* Collective: the factor that quant_hessian_factor computed on one rank, to all others, where
 * quant_hessian_mean made the same of h. Errors: GGUF_E_NOMEM on any rank. */
gguf_code quant_hessian_spread(quant_hessian *hessian, gguf_ranks *ranks, uint32_t from,
                               gguf_error *err);

#endif
