/* Changing the metadata of a file: in its place where the header has room, else as an atomic copy.
 */
#ifndef LIBGGUF_EDIT_H
#define LIBGGUF_EDIT_H

#include "libgguf/gguf.h"

#include <stdatomic.h>

/* A string key that fills what is left of a header after an edit in place; readers ignore it. */
#define GGUF_PADDING_KEY "ggufkit.padding"

typedef struct gguf_edit_result {
    bool in_place;
    uint64_t old_header_bytes, new_header_bytes; /* up to the data section */
} gguf_edit_result;

/* Finish an edit in place that was interrupted: if FILE.header-journal is whole, write it again;
 * then remove it. Call before opening a file for an edit. Without a journal nothing happens.
 * Errors: GGUF_E_IO. */
gguf_code gguf_edit_recover(const char *path, gguf_error *err);

typedef struct gguf_edit_opts {
    const char *out_path;      /* where to write; NULL = the file itself */
    bool replace;              /* out_path may exist; a read-only file is replaced by a copy */
    bool dry_run;              /* only fill the result */
    const atomic_bool *cancel; /* ends a copy; may be NULL */
} gguf_edit_opts;

/* Save the file with other metadata; the tensors stay.
 *   meta  the new metadata; a padding key in it is replaced by what is needed
 * In place: the new header is written to a journal, flushed, written to the file, flushed, and the
 * journal removed; gguf_edit_recover repeats what was interrupted. Otherwise a temporary file with
 * the data section copied (shared where the file system can) replaces the old one. Errors:
 * GGUF_E_USAGE a split model or big-endian file, GGUF_E_IO a read-only file, in place or not,
 * GGUF_E_CANCELLED, those of outputs. */
gguf_code gguf_edit_save(const gguf_file *file, gguf_meta *meta, const gguf_edit_opts *opts,
                         gguf_edit_result *result, gguf_error *err);

#endif
