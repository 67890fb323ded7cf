/* Answers in channels, as gpt-oss writes them:
 * <|channel|>analysis<|message|>TEXT<|end|><|start|>assistant<|channel|>final<|message|>TEXT
 * What is not in the channel `final` is reasoning. (OpenAI Harmony response format.) */
#ifndef TOOLS_RUN_CHANNELS_H
#define TOOLS_RUN_CHANNELS_H

#include "libgguf/gguf.h"

#include <stdbool.h>

typedef enum channel_part { CHANNEL_ANSWER, CHANNEL_REASONING, CHANNEL_MARKUP } channel_part;

/* Start as {0}: without such tokens all is the answer. */
typedef struct channels {
    channel_part part; /* that the text now belongs to */
    bool in_name;
    char name[8]; /* its beginning */
    size_t n_name;
} channels;

/* What a token is.
 *   text     of the token
 *   special  it is a special token; those are always markup */
channel_part channels_next(channels *c, gguf_str text, bool special);

#endif
