/* Every output goes through here, and only here it is decided what an output may take the place of:
 * nothing, or a regular file that this process does not read (libgguf/inputs.h). Links are
 * resolved; folders, sockets, block devices and links that lead nowhere are refused.
 *
 * A file is written as a temporary beside it (PATH.part), flushed to disk and renamed: it appears
 * whole or not at all. A pipe, a character device, "-" and /dev/stdout are streams: their bytes
 * leave in order, and the node stays what it is. */
#ifndef LIBGGUF_OUTFILE_H
#define LIBGGUF_OUTFILE_H

#include "libgguf/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gguf_outfile gguf_outfile;

/* How an output is opened; flags to be joined. */
enum {
    GGUF_OUT_REPLACE = 1,   /* GGUF_WRITE_REPLACE: an existing regular file may be replaced */
    GGUF_OUT_STREAM = 2,    /* GGUF_WRITE_STREAM: the bytes come in order, it may be a stream */
    GGUF_OUT_OVER_INPUT = 4 /* even what this process reads: an edit of the file itself */
};

/* "-", or one of the names of standard output. */
bool gguf_is_stdout(const char *path);

/* Whether an output could be created at all; to be asked before long work.
 * Errors: GGUF_E_EXISTS; GGUF_E_USAGE an input of this run, or a stream where none may be;
 * GGUF_E_IO (its folder is absent or not writable, or there is what no output can replace). */
gguf_code gguf_outfile_check(const char *path, unsigned how, gguf_error *err);

/* Whether the disk of an output has room for n_bytes more: for what all files of a set take in
 * together, each being reserved when it is opened. Errors: GGUF_E_NOSPACE. */
gguf_code gguf_outfile_check_space(const char *path, uint64_t n_bytes, gguf_error *err);

/* Check that an open file beside an output, such as a journal or a temporary, may be written to: a
 * regular file with one name that is no input. Errors: GGUF_E_IO, GGUF_E_USAGE. */
gguf_code gguf_outfile_check_side(int fd, const char *path, gguf_error *err);
/* How to open one: links are not followed, pipes not waited for. */
#define GGUF_OUT_SIDE_FLAGS (O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* Create the temporary file, or open the stream.
 *   n_bytes  the final size, reserved on disk where the file system can, and zeros until written;
 *            0 = not known yet
 *   how      GGUF_OUT_ flags; what is replaced keeps its permissions, and a link keeps pointing to
 * it Errors: those of gguf_outfile_check; GGUF_E_IO also where another process writes it;
 * GGUF_E_NOSPACE. */
gguf_code gguf_outfile_open(const char *path, uint64_t n_bytes, unsigned how, gguf_outfile **out,
                            gguf_error *err);

/* Go on with the temporary file that gguf_outfile_keep left, or that a killed process did; what it
 * holds stays. Errors: those of gguf_outfile_open; GGUF_E_MISSING if there is none. */
gguf_code gguf_outfile_reopen(const char *path, uint64_t n_bytes, unsigned how, gguf_outfile **out,
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

/* Write n bytes at off. Of a stream the offsets must not fall; what is left out is zero
 * (GGUF_E_USAGE where they fall). Threads: safe for ranges of a file that do not overlap. */
gguf_code gguf_outfile_write(gguf_outfile *file, const void *bytes, size_t n, uint64_t off,
                             gguf_error *err);

/* Copy n bytes from another file, sharing its extents where the file system can.
 *   src_fd  -1: src_path is opened
 *   cancel  looked at every 64 MiB (GGUF_E_CANCELLED); may be NULL */
gguf_code gguf_outfile_copy(gguf_outfile *file, int src_fd, const char *src_path, uint64_t src_off,
                            uint64_t n, uint64_t off, const atomic_bool *cancel, gguf_error *err);

/* Flush to disk and rename to the final path, or end the stream. Frees the handle; on failure
 * nothing is left behind. */
gguf_code gguf_outfile_commit(gguf_outfile *file, gguf_error *err);

/* Close the descriptor until the end; each access opens the temporary file again. For outputs of
 * very many files. */
void gguf_outfile_park(gguf_outfile *file);

/* Close the handle and leave the temporary file for gguf_outfile_reopen. Accepts NULL. */
void gguf_outfile_keep(gguf_outfile *file);

/* Remove the temporary file and free the handle. Accepts NULL. */
void gguf_outfile_discard(gguf_outfile *file);

/* Write a whole small file the same way. */
gguf_code gguf_outfile_save(const char *path, const void *bytes, size_t n, unsigned how,
                            gguf_error *err);

#endif
