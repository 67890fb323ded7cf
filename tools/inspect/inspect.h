/* The views of gguf-inspect. */
#ifndef TOOLS_INSPECT_INSPECT_H
#define TOOLS_INSPECT_INSPECT_H

#include "libgguf/gguf.h"

#include <jansson.h>

typedef struct inspect_opts {
    uint32_t max_array;
} inspect_opts;

void inspect_summary(const gguf_file *file, const inspect_opts *o);
void inspect_meta(const gguf_file *file, const inspect_opts *o);
void inspect_tensors(const gguf_file *file, const inspect_opts *o);
json_t *inspect_json(const gguf_file *file, const inspect_opts *o);

#endif
