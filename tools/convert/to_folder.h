/* gguf-convert, the other way: a GGUF file as a Hugging Face folder. */
#ifndef TOOLS_CONVERT_TO_FOLDER_H
#define TOOLS_CONVERT_TO_FOLDER_H

#include "tools/common/tool.h"
#include "tools/common/write_model.h"

/* Write the folder, or print what would be written.
 *   o  of these: type (NULL or auto: BF16, unless the file is F32), split, resume, dry_run,
 *      max_memory_bytes
 * Errors: those of rt_export_open and of writing; GGUF_E_EXISTS the folder is there and not empty.
 */
gguf_code to_folder(tool *t, const char *path, const char *output, const char *arch_file,
                    const write_opts *o, gguf_error *err);

#endif
