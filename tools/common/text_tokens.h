/* A text file as token ids of a model. */
#ifndef TOOLS_COMMON_TEXT_TOKENS_H
#define TOOLS_COMMON_TEXT_TOKENS_H

#include "runtime/calibrate/calibrate.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tools/common/tool.h"

/* Read a text file (or .gz) to learn or to score; *out is malloc'ed. Errors: those of
 * gguf_read_text; GGUF_E_FORMAT what is there is no text. */
gguf_code text_read(const char *path, char **out, size_t *n_bytes, gguf_error *err);

/* What text_tokens would refuse of a text, without a model. */
gguf_code text_check(const char *path, gguf_error *err);

/* Read a text, or take the program's own (rt_corpus_is_name), and tokenize it with the model's
 * tokenizer, special tokens added.
 *   bos  the begin token if the tokenizer adds one itself, else -1
 * Errors: of the file and the tokenizer; GGUF_E_SHAPE an id for which the model has no row. */
gguf_code text_tokens(const rt_model *model, const char *path, rt_ids *ids, int32_t *bos,
                      gguf_error *err);

/* rt_calibrate_n_chunks, with the text's name in the error. */
gguf_code text_check_calibration(const char *path, size_t n_tokens, const rt_calibrate_opts *opts,
                                 uint32_t *n_chunks, gguf_error *err);
/* The warning below RT_FEW_CHUNKS: n_chunks, tool_s of it, tokens of a chunk, RT_FEW_CHUNKS. */
#define TEXT_FEW_CHUNKS \
    "%u chunk%s of %u tokens: a calibration from fewer than %d says little about a model"

/* Warn where a sequence of n_tokens is longer than those that the model was trained with, of
 * n_ctx_train tokens (0: not known). */
void text_warn_context(tool *t, uint32_t n_ctx_train, uint64_t n_tokens);

#endif
