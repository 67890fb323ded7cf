/* Facts about a model for people: the general.* keys from the front matter of README.md, from a
 * metadata file of the user's, and from generation_config.json. */
#ifndef RUNTIME_IMPORT_CARD_H
#define RUNTIME_IMPORT_CARD_H

#include "libgguf/gguf.h"
#include "libgguf/yaml.h"

#include <jansson.h>

/* Where fields with the same name mean different things: a model card's `url` is that of the
 * source, a user's that of the new file. */
typedef enum rt_card_kind { RT_CARD_README, RT_CARD_USER } rt_card_kind;

/* Set the keys of all known fields of a map; a list may replace what is there or, from a README,
 * grow from several fields.
 *   n_params  see rt_model_id_parse
 *   unknown   called for every field that has no meaning here; may be NULL */
void rt_card_apply(const gguf_yaml *map, rt_card_kind kind, double n_params, gguf_meta *meta,
                   void (*unknown)(void *ctx, const gguf_yaml *field), void *ctx);

/* The front matter between two lines "---" at the start; false if there is none. */
bool rt_card_front_matter(const char *text, size_t len, const char **start, size_t *n_bytes);

/* general.sampling.* from generation_config.json. */
void rt_card_sampling(const json_t *config, gguf_meta *meta);

#endif
