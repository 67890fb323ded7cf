/* A text file as token ids of a model. */
#ifndef TOOLS_COMMON_TEXT_TOKENS_H
#define TOOLS_COMMON_TEXT_TOKENS_H

#include "runtime/runtime.h"
#include "runtime/tokenizer/tokenizer.h"

/* Read a text file (or .gz) and tokenize it with the model's tokenizer, special tokens added.
 *   bos  the begin token if the tokenizer adds one itself, else -1 */
gguf_code text_tokens(const rt_model *model, const char *path, rt_ids *ids, int32_t *bos,
                      gguf_error *err);

#endif
