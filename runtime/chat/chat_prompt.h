/* From messages to the tokens of a prompt, by a chat template. */
#ifndef RUNTIME_CHAT_CHAT_PROMPT_H
#define RUNTIME_CHAT_CHAT_PROMPT_H

#include "runtime/template/template.h"
#include "runtime/tokenizer/tokenizer.h"

/* Set bos_token, eos_token and their like where the variables, an object, do not name them. */
void rt_chat_add_tokens(json_t *variables, const rt_tokenizer *tok);

/* Render with the machine's local time. *out is malloc'ed. Errors: those of rt_template_render. */
gguf_code rt_chat_render(const rt_template *tpl, const json_t *variables, char **out, size_t *len,
                         gguf_error *err);

/* Append the ids of a text that a template made; the begin token comes first if the tokenizer wants
 * it and the template did not write it. Errors: those of tokenizing. */
gguf_code rt_chat_text_ids(const rt_tokenizer *tok, const char *text, size_t len, rt_ids *out,
                           gguf_error *err);

/* Render and append the ids. Errors: those of rendering, with "chat template" where no file is
 * named, and of tokenizing. */
gguf_code rt_chat_ids(const rt_template *tpl, const json_t *variables, const rt_tokenizer *tok,
                      rt_ids *out, gguf_error *err);

#endif
