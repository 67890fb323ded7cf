/* Texts to calibrate with that are part of the program (configs/calibration). */
#ifndef RUNTIME_CHAT_CORPUS_H
#define RUNTIME_CHAT_CORPUS_H

#include "libgguf/gguf.h"
#include "runtime/tokenizer/tokenizer.h"

/* A name begins with '@'; a file with such a name is reached as ./@name. */
bool rt_corpus_is_name(const char *name);
/* Errors: GGUF_E_USAGE there is no such text. */
gguf_code rt_corpus_check(const char *name, gguf_error *err);

/* Append the tokens of all texts, one after the other. Conversations are written by the model's
 * chat template; without one, or where it refuses one, message after message.
 *   meta  of the model, for the template
 * Errors: those of rt_corpus_check, of parsing the template and of tokenizing. */
gguf_code rt_corpus_ids(const char *name, const gguf_meta *meta, const rt_tokenizer *tok,
                        rt_ids *ids, gguf_error *err);

#endif
