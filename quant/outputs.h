/* The files that a run writes: one per shard of the plan, and the journal that lets an interrupted
 * run go on. All appear together, or none does. */
#ifndef QUANT_OUTPUTS_H
#define QUANT_OUTPUTS_H

#include "quant/journal.h"
#include "quant/plan.h"

typedef struct quant_outputs quant_outputs;

/* Create the files of a finished plan, or take over what an interrupted run left (opts->resume).
 * Errors: those of gguf_outfile_open and quant_journal_open. */
gguf_code quant_outputs_open(const quant_plan *plan, const char *path,
                             const quant_execute_opts *opts, quant_outputs **out, gguf_error *err);

/* Whether an interrupted run wrote this piece, and its bytes are still so.
 *   scratch  room bytes, at least 1: they are read back in steps
 *   loss     set if it did
 * Threads: safe. */
bool quant_outputs_has(const quant_outputs *outputs, const quant_piece *piece, uint8_t *scratch,
                       size_t room, quant_loss_sums *loss);

/* Write encoded rows of a piece, or of a part of one. Threads: safe. */
gguf_code quant_outputs_write(quant_outputs *outputs, const quant_piece *rows, const uint8_t *bytes,
                              size_t n_bytes, gguf_error *err);

/* Note in the journal that all rows of a piece are written. Threads: safe. */
gguf_code quant_outputs_note(quant_outputs *outputs, const quant_journal_entry *entry,
                             gguf_error *err);

/* Write the headers, flush and rename all files. Frees the handle. */
gguf_code quant_outputs_commit(quant_outputs *outputs, gguf_error *err);

/* Remove the files, or leave them for another run if opts->resume is set. Accepts NULL. */
void quant_outputs_discard(quant_outputs *outputs);

#endif
