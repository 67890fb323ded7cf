/* Models by their names: gguf-pull, which lies beside this program, finds or fetches them. */
#ifndef TOOLS_COMMON_MODEL_LOCATE_H
#define TOOLS_COMMON_MODEL_LOCATE_H

#include "tools/common/tool.h"

/* Replace an argument that is a model's name by the path of its file; a path stays.
 *   headers  sizes are all that is wanted: nothing but headers is fetched
 *   arg      the new text lives as long as the process
 * Errors: those of gguf-pull, whose message stands on stderr (and on stdout with --json): *err is
 * not set then. */
gguf_code model_locate(const tool *t, char **arg, bool headers, gguf_error *err);

#endif
