/* Importance matrices: per weight tensor and column, the mean of the squared inputs that it
 * multiplies. Format: llama.cpp's GGUF imatrix files (general.type "imatrix"). */
#ifndef QUANT_IMATRIX_H
#define QUANT_IMATRIX_H

#include "quant/plan.h"

/* Sums over calibration tokens of one weight tensor with n_mats matrices of n_cols columns. */
typedef struct quant_imatrix_entry {
    char *name; /* of the weight, e.g. "blk.0.attn_q.weight" */
    size_t n_cols, n_mats;
    double *sums;   /* [n_mats][n_cols] of squares */
    double *counts; /* [n_mats] rows seen */
} quant_imatrix_entry;

typedef struct quant_imatrix quant_imatrix;

quant_imatrix *quant_imatrix_new(void); /* NULL when out of memory */
void quant_imatrix_free(quant_imatrix *im);

/* The entry of a name, created with zeros if absent; NULL when out of memory or when it exists with
 * another shape. Valid until the next call of this function. */
quant_imatrix_entry *quant_imatrix_entry_of(quant_imatrix *im, const char *name, size_t n_cols,
                                            size_t n_mats);

size_t quant_imatrix_count(const quant_imatrix *im);
const quant_imatrix_entry *quant_imatrix_at(const quant_imatrix *im, size_t i);
const quant_imatrix_entry *quant_imatrix_find(const quant_imatrix *im, const char *name);

/* Keep the entries whose names hold one of the texts, or with `drop` all others.
 * Errors: GGUF_E_USAGE a text that no name holds; GGUF_E_NOMEM. */
gguf_code quant_imatrix_select(quant_imatrix *im, const char *const *texts, size_t n, bool drop,
                               gguf_error *err);

/* Mean squares into means [n_mats][n_cols]; a matrix without samples gets ones. */
void quant_imatrix_means(const quant_imatrix_entry *entry, float *means);

/* Where the calibration came from; `datasets` and its strings are copied. */
typedef struct quant_imatrix_info {
    char *dataset; /* name of the calibration file, without folders */
    uint32_t n_chunks;
    uint32_t chunk_tokens;
    uint64_t inputs_hash; /* of what decides the numbers, see rt_calibrate_hash; 0 = not known */
} quant_imatrix_info;
const quant_imatrix_info *quant_imatrix_info_of(const quant_imatrix *im);
/* Sets all but inputs_hash, which becomes 0. */
gguf_code quant_imatrix_set_info(quant_imatrix *im, const char *dataset, uint32_t n_chunks,
                                 uint32_t chunk_tokens, gguf_error *err);
void quant_imatrix_set_inputs_hash(quant_imatrix *im, uint64_t inputs_hash);

/* Errors of gguf_file_open; GGUF_E_MISSING for a key or an unpaired tensor, GGUF_E_SHAPE,
 * GGUF_E_NONFINITE. */
gguf_code quant_imatrix_load(const char *path, quant_imatrix **out, gguf_error *err);
/* The same from an open file, which is not kept. */
gguf_code quant_imatrix_read(const gguf_file *file, quant_imatrix **out, gguf_error *err);
gguf_code quant_imatrix_save(const quant_imatrix *im, const char *path, bool replace,
                             gguf_error *err);

/* The legacy binary format. Loading keeps a stack of matrices as one long row, because the file
 * does not say where they end. Errors: as quant_imatrix_load. quant_imatrix_load takes both
 * formats. */
gguf_code quant_imatrix_read_dat(const void *bytes, size_t n_bytes, const char *name,
                                 quant_imatrix **out, gguf_error *err);
gguf_code quant_imatrix_load_dat(const char *path, quant_imatrix **out, gguf_error *err);
gguf_code quant_imatrix_save_dat(const quant_imatrix *im, const char *path, bool replace,
                                 gguf_error *err);

/* Round the sums to what a file holds: a collection that goes on from the saved file then gives the
 * same bytes as one that goes on in memory. */
void quant_imatrix_round(quant_imatrix *im);

/* Add the sums and counts of `from`; entries that only it has are copied.
 * Errors: GGUF_E_SHAPE an entry has another shape, GGUF_E_NOMEM. */
gguf_code quant_imatrix_merge(quant_imatrix *into, const quant_imatrix *from, gguf_error *err);

/* Start the sums and counts of all entries again. */
void quant_imatrix_zero(quant_imatrix *im);

/* The sums and counts from one rank to another, where they replace what is there.
 * Errors: those of gguf_ranks_send and gguf_ranks_receive, GGUF_E_SHAPE, GGUF_E_NOMEM. */
gguf_code quant_imatrix_send(const quant_imatrix *im, gguf_ranks *ranks, uint32_t to,
                             gguf_error *err);
gguf_code quant_imatrix_receive(quant_imatrix *im, gguf_ranks *ranks, uint32_t from,
                                gguf_error *err);

/* What an entry says about its tensor, over all columns of all matrices that saw rows. */
typedef struct quant_imatrix_stats {
    double energy; /* sum of the mean squares */
    double mean, max, deviation;
    double entropy;       /* bits; log2(columns) if all count the same */
    double z_density;     /* share of columns more than a deviation from the mean */
    double active_share;  /* columns with at least a hundred-thousandth of the mean */
    size_t n_unseen_mats; /* matrices without a row */
    size_t n_rare_mats;   /* matrices with rows, but fewer than a tenth of the mean */
} quant_imatrix_stats;
quant_imatrix_stats quant_imatrix_stats_of(const quant_imatrix_entry *entry);

typedef enum quant_imatrix_samples {
    QUANT_IMATRIX_UNSEEN,
    QUANT_IMATRIX_RARE,
    QUANT_IMATRIX_ENOUGH
} quant_imatrix_samples;
/* Whether one matrix of a stack saw enough rows. */
quant_imatrix_samples quant_imatrix_samples_of(const quant_imatrix_entry *entry, size_t mat);

/* The same weight one layer before ("blk.2.x" for "blk.3.x"), or NULL. */
const quant_imatrix_entry *quant_imatrix_layer_before(const quant_imatrix *im,
                                                      const quant_imatrix_entry *entry);

/* Cosine of the angle between the mean squares of two entries; NaN if their shapes differ or one is
 * all zeros. */
double quant_imatrix_cosine(const quant_imatrix_entry *a, const quant_imatrix_entry *b);

/* ---- importance in plans ----------------------------------------------------------------- */

typedef struct quant_coverage {
    size_t n_covered, n_missing; /* quantised tensors with and without an entry */
    const char *first_missing;   /* name in the plan, or NULL */
} quant_coverage;

/* Give every quantised tensor that has an entry its column importance.
 * Errors: GGUF_E_SHAPE if an entry does not fit its tensor, GGUF_E_NOMEM. */
gguf_code quant_plan_attach_importance(quant_plan *plan, const quant_imatrix *im, gguf_error *err);

/* Give every quantised tensor of the plan its column importance and record the matrix in the
 * metadata (quantize.imatrix.*; `file` is stored without folders). Types are to be set before.
 * Errors: GGUF_E_SHAPE if an entry does not fit its tensor, GGUF_E_NOMEM. */
gguf_code quant_plan_set_importance(quant_plan *plan, const quant_imatrix *im, const char *file,
                                    quant_coverage *coverage, gguf_error *err);

#endif
