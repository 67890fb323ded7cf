/* Answers in channels, as gpt-oss writes them:
 * <|channel|>analysis<|message|>TEXT<|end|><|start|>assistant<|channel|>final<|message|>TEXT
 * What is not in the channel `final` is reasoning, but for calls of tools, whose name stands behind
 * the role or the channel:
 * <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>
 * (OpenAI Harmony response format.) */
#ifndef RUNTIME_CHAT_CHANNELS_H
#define RUNTIME_CHAT_CHANNELS_H

#include "libgguf/gguf.h"
#include "runtime/tokenizer/tokenizer.h"

#include <stdbool.h>

typedef enum rt_channel {
    RT_CHANNEL_ANSWER,
    RT_CHANNEL_REASONING,
    RT_CHANNEL_MARKUP,
    RT_CHANNEL_CALL /* arguments of a call */
} rt_channel;

/* Start as {0}: without such tokens all is the answer. */
typedef struct rt_channels {
    rt_channel part;         /* that the text now belongs to */
    bool in_name, name_ends; /* a special token ends it before the message does */
    char name[8];            /* its beginning */
    size_t n_name;
    bool named;       /* a channel was opened */
    char header[128]; /* of the message: role, channel, recipient */
    size_t n_header;
} rt_channels;

/* An answer that begins in the header of a message. */
#define RT_CHANNELS_IN_HEADER ((rt_channels){.part = RT_CHANNEL_MARKUP})

/* What a token is.
 *   text     of the token
 *   special  it is a special token; those are always markup */
rt_channel rt_channels_next(rt_channels *c, gguf_str text, bool special);

/* Whether a prompt ends in a message that the answer goes on with: in its header, or in its text
 * where that stands in a channel.
 *   out   where the answer begins; {0} if there is no such message
 *   from  the prompt's token behind <|start|> */
bool rt_channels_follow(const rt_tokenizer *tok, const int32_t *prompt, size_t n, rt_channels *out,
                        size_t *from);

/* The tool that the header of the message calls; empty: none. */
gguf_str rt_channels_recipient(const rt_channels *c);

#endif
