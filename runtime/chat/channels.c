/* Channels of an answer. */
#include "runtime/chat/channels.h"

static void take_special(rt_channels *c, gguf_str text) {
    if (gguf_str_eq(text, "<|channel|>")) {
        c->part = RT_CHANNEL_MARKUP;
        c->in_name = true;
        c->n_name = 0;
    } else if (c->in_name && gguf_str_eq(text, "<|message|>")) {
        c->part = gguf_str_eq((gguf_str){c->name, c->n_name}, "final") ? RT_CHANNEL_ANSWER
                                                                       : RT_CHANNEL_REASONING;
        c->in_name = false;
        c->named = true;
    } else if (gguf_str_eq(text, "<|start|>")) {
        c->part = RT_CHANNEL_MARKUP; /* the role follows */
    }
}

rt_channel rt_channels_next(rt_channels *c, gguf_str text, bool special) {
    if (special) {
        take_special(c, text);
        return RT_CHANNEL_MARKUP;
    }
    for (size_t i = 0; c->in_name && i < text.len && c->n_name < sizeof c->name; i++)
        c->name[c->n_name++] = text.ptr[i];
    return c->part;
}
