/* The files that a run writes: one per shard of the plan, and the journal that lets an interrupted
 * run go on. All appear together, or none does. Several processes may write the same files, each
 * with a journal of its own. */
#ifndef QUANT_OUTPUTS_H
#define QUANT_OUTPUTS_H

#include "quant/journal.h"
#include "quant/plan.h"

typedef struct quant_outputs quant_outputs;

/* Part 0 creates the files of a finished plan, or takes over what an interrupted run left
 * (opts->resume); the other ones of n_parts join it.
 * Errors: those of gguf_outfile_open, gguf_outfile_join and quant_journal_open. */
gguf_code quant_outputs_open(const quant_plan *plan, const char *path, uint32_t part,
                             uint32_t n_parts, const quant_execute_opts *opts, quant_outputs **out,
                             gguf_error *err);

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

/* Flush what this process wrote, for the one that commits. */
gguf_code quant_outputs_sync(const quant_outputs *outputs, gguf_error *err);

/* Read what the other parts noted, and say whether one of them wrote a piece. */
gguf_code quant_outputs_collect(quant_outputs *outputs, gguf_error *err);
bool quant_outputs_noted(const quant_outputs *outputs, const quant_piece *piece,
                         quant_loss_sums *loss);

/* Write the headers, flush and rename all files; the journals of all parts go. Frees the handle. */
gguf_code quant_outputs_commit(quant_outputs *outputs, gguf_error *err);

/* Remove the files, or leave them for another run if opts->resume is set. Accepts NULL. */
void quant_outputs_discard(quant_outputs *outputs);

/* A part that joined is done: the files and its journal are the committing process's business. */
void quant_outputs_leave(quant_outputs *outputs);

#endif
