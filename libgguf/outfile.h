/* Every output file goes through here: a temporary beside it (PATH.part), positioned writes, flush
 * to disk, rename. The output appears whole or not at all. */
#ifndef LIBGGUF_OUTFILE_H
#define LIBGGUF_OUTFILE_H

#include "libgguf/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gguf_outfile gguf_outfile;

/* Whether an output could be created at all; to be asked before long work.
 * Errors: GGUF_E_EXISTS, GGUF_E_IO (its folder is absent or not writable). */
gguf_code gguf_outfile_check(const char *path, bool replace, gguf_error *err);

/* Create the temporary file.
 *   n_bytes  the final size, reserved on disk where the file system can, and zeros until written;
 *            0 = not known yet
 *   replace  whether an existing `path` may be replaced; it keeps its permissions, and a link keeps
 *            pointing to it
 * Errors: GGUF_E_EXISTS, GGUF_E_IO (also: another process writes it), GGUF_E_NOSPACE. */
gguf_code gguf_outfile_open(const char *path, uint64_t n_bytes, bool replace, gguf_outfile **out,
                            gguf_error *err);

/* Go on with the temporary file that gguf_outfile_keep left, or that a killed process did; what it
 * holds stays. Errors: those of gguf_outfile_open; GGUF_E_MISSING if there is none. */
gguf_code gguf_outfile_reopen(const char *path, uint64_t n_bytes, bool replace, gguf_outfile **out,
                              gguf_error *err);

/* Let other processes write ranges of their own: from now on gguf_outfile_join opens the temporary
 * file that this process created; gguf_outfile_open and _reopen refuse as before. */
gguf_code gguf_outfile_share(gguf_outfile *file, gguf_error *err);
/* Errors: GGUF_E_MISSING there is no temporary file, GGUF_E_IO (also: it is not shared). The handle
 * is to be closed with gguf_outfile_keep. */
gguf_code gguf_outfile_join(const char *path, gguf_outfile **out, gguf_error *err);
/* Flush what was written to disk. */
gguf_code gguf_outfile_sync(const gguf_outfile *file, gguf_error *err);

/* Read n bytes at off back. Threads: safe. */
gguf_code gguf_outfile_read(const gguf_outfile *file, void *bytes, size_t n, uint64_t off,
                            gguf_error *err);

/* Write n bytes at off. Threads: safe for ranges that do not overlap. */
gguf_code gguf_outfile_write(gguf_outfile *file, const void *bytes, size_t n, uint64_t off,
                             gguf_error *err);

/* Copy n bytes from another file, sharing its extents where the file system can.
 *   cancel  looked at every 64 MiB (GGUF_E_CANCELLED); may be NULL */
gguf_code gguf_outfile_copy(gguf_outfile *file, int src_fd, const char *src_path, uint64_t src_off,
                            uint64_t n, uint64_t off, const atomic_bool *cancel, gguf_error *err);

/* Flush to disk and rename to the final path. Frees the handle; on failure nothing is left behind.
 */
gguf_code gguf_outfile_commit(gguf_outfile *file, gguf_error *err);

/* Close the handle and leave the temporary file for gguf_outfile_reopen. Accepts NULL. */
void gguf_outfile_keep(gguf_outfile *file);

/* Remove the temporary file and free the handle. Accepts NULL. */
void gguf_outfile_discard(gguf_outfile *file);

/* Write a whole small file the same way. */
gguf_code gguf_outfile_save(const char *path, const void *bytes, size_t n, bool replace,
                            gguf_error *err);

#endif
