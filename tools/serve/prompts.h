/* Prompts as completions and embeddings have them: a text, token ids, or a list of either. */
#ifndef TOOLS_SERVE_PROMPTS_H
#define TOOLS_SERVE_PROMPTS_H

#include "tools/serve/generation.h"

/* Start as {0}. */
typedef struct prompts {
    rt_ids *ids; /* [n] */
    size_t n;
} prompts;

/*   value  the field, may be NULL after another mistake
 *   param  its name
 *   most   how many prompts there may be */
bool prompts_read(prompts *p, const server *s, const json_t *value, const char *param, size_t most,
                  api_error *error);
void prompts_clear(prompts *p);

/* A list of token ids, checked against the vocabulary. */
bool prompts_read_ids(const server *s, const json_t *list, const char *param, rt_ids *out,
                      api_error *error);
/* Append the tokens of a text, with what the tokenizer adds. */
bool prompts_tokenize(const server *s, const char *text, size_t n, unsigned flags, rt_ids *out,
                      api_error *error);

#endif
