/* A file mapped read-only, and plain positioned reads. */
#ifndef LIBGGUF_MAP_H
#define LIBGGUF_MAP_H

#include "libgguf/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gguf_map {
    const uint8_t *data; /* NULL for an empty file */
    uint64_t n_bytes;
    int fd;        /* stays open for executors, which read tensor data through it; or -1 */
    bool borrowed; /* the bytes are somebody else's memory */
} gguf_map;

/* Open a regular file for reading; the caller closes *fd, which is -1 after an error. A pipe or a
 * device is refused and not waited for.
 * Errors: GGUF_E_IO (absent, not readable, a folder, not a regular file). */
gguf_code gguf_open_regular(const char *path, int *fd, uint64_t *n_bytes, gguf_error *err);
/* The first bytes of a regular file, at most n: how many were read, 0 where there is no such file.
 */
size_t gguf_file_start(const char *path, void *bytes, size_t n);
/* Whether a regular file begins as GGUF files do. */
bool gguf_file_has_magic(const char *path);

/* Errors: GGUF_E_IO (absent, a folder, not readable), GGUF_E_NOMEM. */
gguf_code gguf_map_open(const char *path, gguf_map *map, gguf_error *err);
void gguf_map_close(gguf_map *map); /* accepts a zeroed one */
/* The mapping stays. Of a model of many files not all descriptors can. */
void gguf_map_close_fd(gguf_map *map);
#define GGUF_KEEP_OPEN 256
/* Bytes that are not needed soon: their pages stop counting as memory of the process. The file's
 * pages in the system's cache stay. Of borrowed bytes nothing is released. */
void gguf_map_release(const gguf_map *map, uint64_t off, uint64_t n_bytes);

/* A file that is in memory already, such as one part of a download. Who made it keeps it alive. */
typedef struct gguf_memory_file {
    const char *name; /* without folders */
    const void *bytes;
    size_t n_bytes;
} gguf_memory_file;

/* The first file of that name, or NULL. */
const gguf_memory_file *gguf_memory_file_named(const gguf_memory_file *files, size_t n_files,
                                               const char *name);

/* Read exactly n bytes at off.
 *   fd  -1: the path is opened for this read
 * Errors: GGUF_E_IO, GGUF_E_TRUNCATED. */
gguf_code gguf_read_at(int fd, const char *path, void *dst, size_t n, uint64_t off,
                       gguf_error *err);

/* Read a whole small file; *out is malloc'ed with a NUL behind its end.
 * Errors: GGUF_E_IO, GGUF_E_LIMIT (larger than max_bytes), GGUF_E_FORMAT (a pointer or a web page
 * in its place), GGUF_E_NOMEM. */
gguf_code gguf_read_file(const char *path, size_t max_bytes, char **out, size_t *n_bytes,
                         gguf_error *err);

/* Read a whole text file, plain or gzip-compressed; *out is malloc'ed with a NUL behind its end. A
 * pipe or a terminal is waited for until *cancel (may be NULL) is set.
 * Errors: GGUF_E_CANCELLED, GGUF_E_IO, GGUF_E_LIMIT (over 1 GiB of text), GGUF_E_FORMAT (broken
 * gzip, or a pointer of Git LFS in its place), GGUF_E_NOMEM. */
gguf_code gguf_read_text(const char *path, char **out, size_t *n_bytes, const atomic_bool *cancel,
                         gguf_error *err);

#endif
