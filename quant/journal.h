/* The journal of a run: which row ranges of the plan are in the output already, with the hash of
 * their bytes. It lies beside the unfinished output; a later run reads it and does the rest. */
#ifndef QUANT_JOURNAL_H
#define QUANT_JOURNAL_H

#include "libgguf/error.h"
#include "quant/output_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of one tensor of the plan. */
typedef struct quant_piece {
    uint32_t tensor;
    uint64_t row, n_rows;
} quant_piece;

/* Sums over the elements of a piece, see quant_loss, and what is known of its output. */
typedef struct quant_loss_sums {
    double squares, weighted, weights;
    quant_output_sums output;
    uint64_t n_samples; /* that the Hessian saw; 0 without one */
    uint64_t n_unfed;   /* rows without feedback */
} quant_loss_sums;

typedef struct quant_journal_entry {
    quant_piece piece;
    uint64_t hash; /* XXH3 of the encoded bytes */
    quant_loss_sums loss;
} quant_journal_entry;

typedef struct quant_journal quant_journal;

/* Start an empty journal; `fingerprint` stands for all that decides the output's bytes. */
gguf_code quant_journal_create(const char *path, uint64_t fingerprint, quant_journal **out,
                               gguf_error *err);

/* Read a journal and append to it. A torn last entry is dropped.
 * Errors: GGUF_E_MISSING there is none, GGUF_E_CHECK it has another fingerprint, GGUF_E_IO. */
gguf_code quant_journal_open(const char *path, uint64_t fingerprint, quant_journal **out,
                             gguf_error *err);

/* Add what the journal of another process has, which may be writing it: it is only read.
 * Errors: as quant_journal_open. */
gguf_code quant_journal_take(quant_journal *journal, const char *path, uint64_t fingerprint,
                             gguf_error *err);

/* The entry of exactly this piece in what was read, or NULL. */
const quant_journal_entry *quant_journal_find(const quant_journal *journal,
                                              const quant_piece *piece);

/* Append an entry for later runs. Threads: safe. */
gguf_code quant_journal_add(quant_journal *journal, const quant_journal_entry *entry,
                            gguf_error *err);

void quant_journal_close(quant_journal *journal, bool remove); /* accepts NULL */

#endif
