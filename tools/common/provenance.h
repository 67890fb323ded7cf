/* Keys that tell how a file was made; no paths, no dates. */
#ifndef TOOLS_COMMON_PROVENANCE_H
#define TOOLS_COMMON_PROVENANCE_H

#include "libgguf/gguf.h"

/* Set ggufkit.recipe and, if imatrix_file is not NULL, ggufkit.imatrix.xxh3, the hash of its bytes.
 *   recipe  NULL or "" if types were kept: then no key is set
 * Errors: those of reading the file. */
gguf_code provenance_set(gguf_meta *meta, const char *recipe, const char *imatrix_file,
                         gguf_error *err);

#endif
