/* Whether the metadata of a file make sense as a model: keys of its architecture, tokenizer, chat
 * templates. Works on metadata of broken files too. */
#ifndef RUNTIME_CHECK_H
#define RUNTIME_CHECK_H

#include "libgguf/verify.h"

/* Add everything that is wrong; a set without general.architecture that is an imatrix or adapter is
 * checked as such. Errors: GGUF_E_NOMEM. */
gguf_code rt_check_meta(const gguf_meta *meta, gguf_findings *findings, gguf_error *err);

#endif
