/* Outputs that a command line names: asked about before the work starts. */
#ifndef TOOLS_COMMON_OUTPUT_FILES_H
#define TOOLS_COMMON_OUTPUT_FILES_H

#include "tools/common/tool.h"

typedef enum tool_output {
    TOOL_OUTPUT_FILE,   /* written at any place: no stream */
    TOOL_OUTPUT_STREAM, /* written in order, and all that the command has for standard output */
    TOOL_OUTPUT_EXTRA   /* written in order, beside a result on standard output */
} tool_output;

/* Whether the output can be written. The path is kept, so that no other output gets the same name.
 * Errors: GGUF_E_USAGE standard output that has something else, a name that was given twice; those
 * of gguf_outfile_check. */
gguf_code tool_check_output(tool *t, const char *path, tool_output kind, gguf_error *err);

/* GGUF_OUT_ flags for the outfile functions, from --force and the kind. */
unsigned tool_output_how(const tool *t, tool_output kind);

#endif
