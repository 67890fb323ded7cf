/* --check-tokenizer: does our tokenizer give the ids that a list says? */
#ifndef TOOLS_CONVERT_CHECK_TOKENIZER_H
#define TOOLS_CONVERT_CHECK_TOKENIZER_H

#include "tools/common/tool.h"

/* `input` is a model folder (tokenizer files suffice) or a GGUF file; `list` a JSON list of
 * {"text", "ids"} and, optionally, "ids_special" (with the tokens that the tokenizer adds itself).
 * Errors: GGUF_E_CHECK if any id differs. */
gguf_code check_tokenizer(tool *t, const char *input, const char *list, gguf_error *err);

#endif
