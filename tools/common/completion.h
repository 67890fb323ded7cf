/* Completion scripts for shells. */
#ifndef TOOLS_COMMON_COMPLETION_H
#define TOOLS_COMMON_COMPLETION_H

#include "tools/common/tool.h"

/* Print the script of a command to stdout.
 *   shell  bash, zsh or fish; anything else is GGUF_E_USAGE */
gguf_code tool_print_completion(const tool_spec *spec, const tool_option *common, const char *shell,
                                gguf_error *err);

#endif
