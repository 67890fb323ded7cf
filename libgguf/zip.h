/* ZIP archives: a table of entries with the places of their data. */
#ifndef LIBGGUF_ZIP_H
#define LIBGGUF_ZIP_H

#include "libgguf/gguf.h"

typedef struct gguf_zip_entry {
    gguf_str name;              /* in the archive's bytes */
    uint64_t off;               /* of the data, from the start of the file */
    uint64_t n_bytes, n_stored; /* unpacked, in the file */
    uint16_t method;            /* 0 stored, 8 deflated */
} gguf_zip_entry;

typedef struct gguf_zip {
    const uint8_t *bytes;
    uint64_t n_bytes;
    const char *path; /* for errors */
    gguf_zip_entry *entries;
    size_t n_entries;
} gguf_zip;

/* bytes and path must outlive the archive. Every entry's data lie inside the file.
 * Errors: GGUF_E_FORMAT, GGUF_E_TRUNCATED, GGUF_E_LIMIT (over 1,000,000 entries), GGUF_E_NOMEM.
 * Source: PKWARE APPNOTE 6.3, including ZIP64. */
gguf_code gguf_zip_open(const uint8_t *bytes, uint64_t n_bytes, const char *path, gguf_zip *zip,
                        gguf_error *err);
void gguf_zip_close(gguf_zip *zip); /* accepts a zeroed one */

/* The entry of this name, or NULL. */
const gguf_zip_entry *gguf_zip_find(const gguf_zip *zip, gguf_str name);
/* Unpack an entry into malloc'ed memory. Errors: GGUF_E_FORMAT, GGUF_E_LIMIT, GGUF_E_UNSUPPORTED.
 */
gguf_code gguf_zip_read(const gguf_zip *zip, const gguf_zip_entry *entry, size_t max_bytes,
                        uint8_t **out, gguf_error *err);

/* Unpack a deflated entry to a file, in pieces; n_bytes are written at `off`. Errors: GGUF_E_FORMAT
 * (broken, or larger than the directory says), GGUF_E_IO, GGUF_E_NOSPACE. */
gguf_code gguf_zip_unpack(const gguf_zip *zip, const gguf_zip_entry *entry, int fd, uint64_t off,
                          gguf_error *err);

#endif
