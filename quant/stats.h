/* Statistics of one tensor's weights, and comparison of two. A tensor is decoded in pieces, so
 * memory does not grow with it; the results are the same for every number of threads. */
#ifndef QUANT_STATS_H
#define QUANT_STATS_H

#include "libgguf/pool.h"
#include "quant/quant.h"

#include <stdatomic.h>

#define QUANT_STATS_BINS  64
#define QUANT_STATS_CODES 256

typedef struct quant_stats {
    uint64_t n, n_zero, n_nan, n_inf;
    double min, max;         /* of the finite values; 0 if there are none */
    double mean, sum_sq_dev; /* sum of (x - mean)^2 */
    /* Equal bins over [-hist_limit, hist_limit]; the limit is the largest magnitude. */
    double hist_limit;
    uint64_t hist[QUANT_STATS_BINS];
    /* How often each code of a block type occurs; n_codes is 0 where a type has none. */
    unsigned n_codes;
    uint64_t codes[QUANT_STATS_CODES];
} quant_stats;

/* Statistics of n values stored as `type`, in rows of n_cols.
 *   cancel  polled; may be NULL
 * Errors: GGUF_E_UNSUPPORTED, GGUF_E_SHAPE, GGUF_E_NOMEM, GGUF_E_CANCELLED. */
gguf_code quant_stats_of(uint32_t type, const void *data, uint64_t n, uint64_t n_cols,
                         gguf_pool *pool, const atomic_bool *cancel, quant_stats *out,
                         gguf_error *err);

/* Add the moments, counts and extremes of b to a (start with {0}); histogram and codes of a are
 * left alone. */
void quant_stats_merge(quant_stats *a, const quant_stats *b);

double quant_stats_std(const quant_stats *s);
unsigned quant_stats_codes_used(const quant_stats *s);
double quant_stats_code_entropy(const quant_stats *s); /* bits per code; log2(n_codes) at most */

/* How many codes a block type has; 0 for types without codes that are known here. */
unsigned quant_code_count(uint32_t type);
/* Count the codes of n_blocks blocks. counts [quant_code_count(type)] is added to. */
void quant_code_histogram(uint32_t type, const void *blocks, size_t n_blocks, uint64_t *counts);

/* The difference of two tensors with as many values, of any types that can be decoded. */
typedef struct quant_difference {
    uint64_t n, n_unequal;   /* values that are not equal as numbers; two NaNs are equal */
    uint64_t n_incomparable; /* where one of the two is not finite and they are not equal */
    double sum_sq_a, sum_sq_error, max_abs;
} quant_difference;

gguf_code quant_compare(uint32_t type_a, const void *a, uint32_t type_b, const void *b, uint64_t n,
                        uint64_t n_cols, gguf_pool *pool, const atomic_bool *cancel,
                        quant_difference *out, gguf_error *err);

/* sqrt(error / signal): inf, and an SNR of -inf, where values are incomparable. */
double quant_difference_relative(const quant_difference *d);
double quant_difference_snr_db(const quant_difference *d); /* inf if equal */

/* One run of blocks whose stored numbers are not finite. */
typedef struct quant_defects {
    uint64_t n_blocks;  /* how many blocks */
    uint64_t first_off; /* byte of the first one in the data */
} quant_defects;

/* Blocks with values, scales or minimums that are NaN or infinite, or rows with such a head; of
 * unknown types none. Threads: safe. */
quant_defects quant_find_defects(uint32_t type, const void *data, uint64_t n, uint64_t n_cols);

#endif
