/* From a conversation to a prompt: the chat template of a model or of a file. */
#ifndef TOOLS_RUN_PROMPT_H
#define TOOLS_RUN_PROMPT_H

#include "runtime/template/template.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tools/run/run.h"

/* Read the template, from the file if there is one, else from the model's keys.
 * Errors: those of rt_template_parse, with the file; GGUF_E_MISSING the model has no template. */
gguf_code prompt_template(const char *file, const gguf_meta *meta, const char *model,
                          rt_template **out, gguf_error *err);

#endif
