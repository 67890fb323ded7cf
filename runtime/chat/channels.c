/* Channels of an answer. */
#include "runtime/chat/channels.h"

#include <string.h>

gguf_str rt_channels_recipient(const rt_channels *c) {
    static const char before[] = "to=functions.";
    size_t n = sizeof before - 1, len = 0;
    const char *at = memmem(c->header, c->n_header, before, n);
    if (!at) return (gguf_str){"", 0};
    at += n;
    size_t left = (size_t)(c->header + c->n_header - at);
    while (len < left && at[len] != ' ' && at[len] != '<') len++;
    return (gguf_str){at, len};
}

/* Words of the header are apart where special tokens stand between them. */
static void add_to_header(rt_channels *c, char byte) {
    if (c->n_header < sizeof c->header) c->header[c->n_header++] = byte;
}

static void take_special(rt_channels *c, gguf_str text) {
    if (gguf_str_eq(text, "<|channel|>")) {
        if (c->part != RT_CHANNEL_MARKUP) c->n_header = 0;
        c->part = RT_CHANNEL_MARKUP;
        add_to_header(c, ' ');
        c->in_name = true;
        c->name_ends = false;
        c->n_name = 0;
    } else if (c->in_name && gguf_str_eq(text, "<|message|>")) {
        size_t n = c->n_name;
        while (c->name_ends && n && c->name[n - 1] == ' ') n--;
        bool final = gguf_str_eq((gguf_str){c->name, n}, "final");
        c->part = rt_channels_recipient(c).len ? RT_CHANNEL_CALL
                  : final                      ? RT_CHANNEL_ANSWER
                                               : RT_CHANNEL_REASONING;
        c->in_name = false;
        c->named = true;
    } else if (gguf_str_eq(text, "<|start|>")) {
        c->part = RT_CHANNEL_MARKUP; /* the role follows */
        c->n_header = 0;
    } else if (c->part == RT_CHANNEL_MARKUP) {
        c->name_ends = true;
        add_to_header(c, ' ');
    }
}

/* The last message's header, as far as the prompt has it, and its text. */
static bool follow(const rt_tokenizer *tok, const int32_t *ids, size_t n, rt_channels *c) {
    for (size_t i = 0; i < n; i++) {
        gguf_str text = rt_token_text(tok, ids[i]);
        bool special = rt_token_is_special(tok, ids[i]), names = c->in_name;
        bool ends = gguf_str_eq(text, "<|end|>") || rt_tokenizer_is_end(tok, ids[i]);
        if (special && (ends || (!names && gguf_str_eq(text, "<|message|>")))) return false;
        rt_channels_next(c, text, special);
    }
    return true;
}

bool rt_channels_follow(const rt_tokenizer *tok, const int32_t *prompt, size_t n, rt_channels *out,
                        size_t *from) {
    int32_t channel = rt_tokenizer_find(tok, gguf_str_of("<|channel|>")),
            message = rt_tokenizer_find(tok, gguf_str_of("<|message|>")),
            start = rt_tokenizer_find(tok, gguf_str_of("<|start|>"));
    size_t at = n;
    *out = (rt_channels){0};
    if (channel < 0 || message < 0 || start < 0) return false;
    while (at && prompt[at - 1] != start) at--;
    if (at == 0) return false;
    *from = at;
    *out = RT_CHANNELS_IN_HEADER;
    if (follow(tok, prompt + at, n - at, out)) return true;
    *out = (rt_channels){0};
    return false;
}

rt_channel rt_channels_next(rt_channels *c, gguf_str text, bool special) {
    if (special) {
        take_special(c, text);
        return RT_CHANNEL_MARKUP;
    }
    for (size_t i = 0; c->in_name && !c->name_ends && i < text.len && c->n_name < sizeof c->name;
         i++)
        c->name[c->n_name++] = text.ptr[i];
    for (size_t i = 0; c->part == RT_CHANNEL_MARKUP && i < text.len; i++)
        add_to_header(c, text.ptr[i]);
    return c->part;
}
