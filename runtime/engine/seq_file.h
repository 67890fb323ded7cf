/* Sequences in files: what the cache holds of a prompt, for a later session of the same model. */
#ifndef RUNTIME_ENGINE_SEQ_FILE_H
#define RUNTIME_ENGINE_SEQ_FILE_H

#include "runtime/runtime.h"

/* Write the pages of a sequence, and the states of its recurrent layers at its end and where there
 * are snapshots. The file appears whole or not at all, and takes the place of an older one.
 *   tokens  [rt_seq_n_past] of the sequence
 * Errors: GGUF_E_UNSUPPORTED layers on a device or in other processes, an encoder; those of
 * gguf_outfile_open. */
gguf_code rt_seq_save(const rt_session *session, uint32_t seq, const int32_t *tokens,
                      const char *path, gguf_error *err);

/* Let an empty sequence begin with as many of n tokens as the file holds the state behind.
 *   n_held  how many these are, maybe 0: the others have to be evaluated
 * Errors: as above; GGUF_E_FORMAT no such file, or a damaged one; GGUF_E_USAGE it is of another
 * model, or another form of numbers; GGUF_E_LIMIT. The sequence is empty then. */
gguf_code rt_seq_load(rt_session *session, uint32_t seq, const char *path, const int32_t *tokens,
                      size_t n, uint32_t *n_held, gguf_error *err);

#endif
