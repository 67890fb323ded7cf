/* Answers in channels, as gpt-oss writes them:
 * <|channel|>analysis<|message|>TEXT<|end|><|start|>assistant<|channel|>final<|message|>TEXT
 * What is not in the channel `final` is reasoning. (OpenAI Harmony response format.) */
#ifndef RUNTIME_CHAT_CHANNELS_H
#define RUNTIME_CHAT_CHANNELS_H

#include "libgguf/gguf.h"

#include <stdbool.h>

typedef enum rt_channel { RT_CHANNEL_ANSWER, RT_CHANNEL_REASONING, RT_CHANNEL_MARKUP } rt_channel;

/* Start as {0}: without such tokens all is the answer. */
typedef struct rt_channels {
    rt_channel part; /* that the text now belongs to */
    bool in_name;
    char name[8]; /* its beginning */
    size_t n_name;
    bool named; /* a channel was opened */
} rt_channels;

/* What a token is.
 *   text     of the token
 *   special  it is a special token; those are always markup */
rt_channel rt_channels_next(rt_channels *c, gguf_str text, bool special);

#endif
