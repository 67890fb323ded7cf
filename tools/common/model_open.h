/* Opening the model that a command runs, and its adapters. */
#ifndef TOOLS_COMMON_MODEL_OPEN_H
#define TOOLS_COMMON_MODEL_OPEN_H

#include "runtime/runtime.h"
#include "tools/common/tool.h"

#define MODEL_MAX_LORAS 16
#define LORA_HELP       "let an adapter take part, SCALE times (1); may be repeated"

/* Adapters that were asked for. */
typedef struct model_loras {
    const char *args[MODEL_MAX_LORAS]; /* as they were given */
    char *paths[MODEL_MAX_LORAS];
    float scales[MODEL_MAX_LORAS];
    size_t n;
} model_loras;

/* Take "FILE" or "FILE:SCALE". Errors: GGUF_E_USAGE, GGUF_E_NOMEM. */
gguf_code model_loras_add(model_loras *loras, const char *arg, gguf_error *err);
/* What was given, commas between. Returns out. */
const char *model_loras_text(const model_loras *loras, char *out, size_t room);
void model_loras_clear(model_loras *loras);

/* rt_model_open and its adapters, with a note of what the model has and does not compute.
 *   loras  may be NULL */
gguf_code model_open(tool *t, const char *path, const model_loras *loras, rt_model **out,
                     gguf_error *err);
/* The adapters alone, of a model that is open. */
gguf_code model_add_loras(rt_model *model, const model_loras *loras, gguf_error *err);
/* "mean", "cls" or "last" of --pooling. Errors: GGUF_E_USAGE. */
gguf_code model_parse_pooling(const char *word, rt_pooling *out, gguf_error *err);
/* The note alone, where there is something to say. */
void model_note_draft(tool *t, const char *path, uint32_t n_draft_layer);

#endif
