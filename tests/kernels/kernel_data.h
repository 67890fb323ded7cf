/* What the kernel tests share: seeded numbers, guarded buffers, instruction sets, the types. */
#ifndef TESTS_KERNELS_KERNEL_DATA_H
#define TESTS_KERNELS_KERNEL_DATA_H

#include "quant/kernels/kernels.h"

#include <check.h>

/* For quant_matmul. */
extern uint8_t matmul_scratch[QUANT_MATMUL_SCRATCH_BYTES];

/* ---- numbers ----------------------------------------------------------------------------- */

typedef struct rng {
    uint64_t state;
} rng;

uint64_t rng_next(rng *r);
float rng_uniform(rng *r); /* [0, 1) */
float rng_normal(rng *r);

typedef enum pattern {
    PATTERN_NORMAL,
    PATTERN_ZEROS,
    PATTERN_CONSTANT,
    PATTERN_OUTLIER, /* one number a thousand times the others */
    PATTERN_HEAVY,   /* cubes of normal numbers */
    PATTERN_POSITIVE,
    PATTERN_NEGATIVE,
    PATTERN_INTEGERS,  /* many ties */
    PATTERN_TINY,      /* around the smallest f16 */
    PATTERN_DENORMALS, /* f32 denormals */
    PATTERN_EXTREMES,  /* up to the greatest number that the type takes */
    N_PATTERNS
} pattern;

/* Fill x [n]; `most` is the greatest number allowed. */
void fill_pattern(rng *r, pattern p, float most, float *x, size_t n);

/* Importances: NULL for kind 0; otherwise buf [n] with log-normal numbers (1), some zeros (2),
 * whole blocks of zeros (3), or a range from 1e-30 to 1e30 (4). */
#define N_IMPORTANCES 5
const float *fill_importance(rng *r, int kind, float *buf, size_t n);

/* Random rows whose scales are finite and of ordinary size. */
void fill_blocks(rng *r, uint32_t type, uint8_t *rows, size_t n_rows, size_t n_cols);

/* ---- guarded memory: unmapped pages on both sides, canaries up to them ------------------- */

typedef struct guarded {
    uint8_t *data;
    size_t n_bytes;
    uint8_t *map;
    size_t map_bytes;
} guarded;

/* The data ends at the upper unmapped page, or starts after the lower one. */
guarded guarded_new(size_t n_bytes, bool at_end);
void guarded_check(const guarded *g); /* fails the test if a canary changed */
void guarded_free(guarded *g);

/* ---- what to test ------------------------------------------------------------------------ */

/* The first n_all_types have every kernel, the others of n_read_types only a decoder. */
extern uint32_t all_types[];
extern size_t n_all_types, n_read_types;
bool has_formula(
    uint32_t type);        /* whose values formula_tests.c computes; the others have fixtures */
void list_types(void);     /* fills them from the types' table */
extern uint64_t test_seed; /* printed; TEST_SEED in the environment sets it */

/* Kernels of each supported set: false after the last. Start with *isa = QUANT_ISA_SCALAR. */
bool next_kernels(quant_isa *isa, quant_kernels *table);

/* Every kernel that adds nothing to a smaller set is the same function; no need to test it again.
 */
#define FOR_EACH_ISA(isa, table) \
    for (quant_isa isa = QUANT_ISA_SCALAR; next_kernels(&isa, &(table)); isa++)

TCase *encode_tests(void);
TCase *decode_tests(void);
TCase *dot_tests(void);
TCase *formula_tests(void);
TCase *public_tests(void);
int bench_main(int argc, char **argv);

#endif
