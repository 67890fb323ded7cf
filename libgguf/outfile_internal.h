/* What the files of outputs share. */
#ifndef LIBGGUF_OUTFILE_INTERNAL_H
#define LIBGGUF_OUTFILE_INTERNAL_H

#include "libgguf/outfile.h"

typedef enum gguf_out_place {
    GGUF_OUT_IS_FREE,  /* nothing is there */
    GGUF_OUT_IS_FILE,  /* a regular file that may be replaced */
    GGUF_OUT_IS_STREAM /* written to as it is */
} gguf_out_place;

/* What stands under the name of an output, if the output may be there at all.
 *   how  GGUF_OUT_ flags
 * Errors: those of gguf_outfile_check but for its folder. */
gguf_code gguf_out_look(const char *path, unsigned how, gguf_out_place *is, gguf_error *err);

/* The path, or where a link to an existing file leads: the link stays one. malloc'ed; NULL without
 * memory. */
char *gguf_out_resolve(const char *path);

/* "cannot DOING: errno's text", GGUF_E_NOSPACE where the disk is full, else GGUF_E_IO. */
gguf_code gguf_out_fail_errno(gguf_error *err, const char *path, int64_t off, const char *doing);
gguf_code gguf_out_fail(gguf_error *err, gguf_code code, const char *path, const char *what);

#endif
