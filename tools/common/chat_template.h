/* Chat templates of models and files. */
#ifndef TOOLS_COMMON_CHAT_TEMPLATE_H
#define TOOLS_COMMON_CHAT_TEMPLATE_H

#include "runtime/template/template.h"

/* Read the template, from the file if there is one, else from the model's keys.
 * Errors: those of rt_template_parse, with the file; GGUF_E_MISSING the model has no template. */
gguf_code chat_template_read(const char *file, const gguf_meta *meta, const char *model,
                             rt_template **out, gguf_error *err);

#endif
