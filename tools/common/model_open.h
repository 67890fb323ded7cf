/* Opening the model that a command runs. */
#ifndef TOOLS_COMMON_MODEL_OPEN_H
#define TOOLS_COMMON_MODEL_OPEN_H

#include "runtime/runtime.h"
#include "tools/common/tool.h"

/* rt_model_open, with a note of what the model has and does not compute. */
gguf_code model_open(tool *t, const char *path, rt_model **out, gguf_error *err);
/* The note alone, where there is something to say. */
void model_note_draft(tool *t, const char *path, uint32_t n_draft_layer);

#endif
