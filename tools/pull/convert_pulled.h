/* Converting a repository that has no GGUF file, as gguf-convert does. */
#ifndef TOOLS_PULL_CONVERT_PULLED_H
#define TOOLS_PULL_CONVERT_PULLED_H

#include "libgguf/error.h"

/* For rt_pull_opts.convert: the same bytes as gguf-convert FOLDER -o OUT --outtype TYPE.
 *   ctx  the tool
 * Errors: those of importing and writing; GGUF_E_USAGE an unknown type. */
gguf_code convert_pulled(void *ctx, const char *folder, const char *out, const char *type,
                         gguf_error *err);

#endif
