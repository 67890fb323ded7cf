/* Comparing a file with a manifest of hashes. */
#ifndef TOOLS_INSPECT_MANIFEST_H
#define TOOLS_INSPECT_MANIFEST_H

#include "tools/inspect/inspect.h"

/* One difference: what is "differs", "missing" (in the manifest only) or "extra". */
typedef void (*manifest_report_fn)(void *ctx, const char *what, const char *name,
                                   const char *expected, const char *found);

/* Hash the file with every algorithm that the manifest names and report each difference.
 * Errors: GGUF_E_CHECK (there were differences; err is not set), GGUF_E_IO, GGUF_E_FORMAT. */
gguf_code manifest_check(const inspect_call *c, const gguf_file *file, const char *path,
                         manifest_report_fn report, void *ctx);

#endif
