/* Inside quant_hessian_factor. */
#ifndef QUANT_HESSIAN_FACTOR_H
#define QUANT_HESSIAN_FACTOR_H

#include "libgguf/pool.h"

typedef enum quant_factored {
    QUANT_FACTORED,
    QUANT_FACTOR_NONE, /* h is not positive definite, as far as f32 can tell */
    QUANT_FACTOR_MEMORY
} quant_factored;

/* u = upper Cholesky factor of the inverse of h, in 2/3 n³ multiplications and additions.
 *   h     [n][n] symmetric
 *   u     [n][n]; what is below the diagonal is of no use
 *   pool  may be NULL: the calling thread alone */
quant_factored quant_factor_inverse(const float *h, size_t n, gguf_pool *pool, float *u);

#endif
