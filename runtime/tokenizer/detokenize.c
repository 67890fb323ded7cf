/* Tokens back to text, and facts about them. */
#include "runtime/tokenizer/tokenizer_internal.h"

#include <string.h>

static bool in_range(const rt_tokenizer *tok, int32_t id) {
    return id >= 0 && (size_t)id < tok->n_tokens;
}

gguf_str rt_token_text(const rt_tokenizer *tok, int32_t id) {
    return in_range(tok, id) ? tok->tokens[id].text : (gguf_str){"", 0};
}

bool rt_tokens_end_with(const rt_tokenizer *tok, const int32_t *ids, size_t n, gguf_str text) {
    size_t left = text.len;
    while (left && n) {
        gguf_str last = rt_token_text(tok, ids[--n]);
        size_t part = last.len < left ? last.len : left;
        if (part && memcmp(text.ptr + left - part, last.ptr + last.len - part, part) != 0)
            return false;
        left -= part;
    }
    return left == 0;
}

gguf_str rt_token_piece(const rt_tokenizer *tok, int32_t id) {
    return in_range(tok, id) ? tok->tokens[id].piece : (gguf_str){"", 0};
}

bool rt_token_is_special(const rt_tokenizer *tok, int32_t id) {
    if (!in_range(tok, id)) return false;
    return tok->tokens[id].type == RT_TOKEN_CONTROL || tok->tokens[id].type == RT_TOKEN_UNKNOWN;
}

/* Whether a text starts with a space of the tokenizer's own. */
static bool strips_first_space(const rt_tokenizer *tok) {
    if (tok->kind == RT_MODEL_WORDPIECE) return true;
    return !tok->byte_level && tok->space_prefix;
}

gguf_code rt_detokenize(const rt_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
                        char **out, size_t *len, gguf_error *err) {
    gguf_dynbuf text;
    bool first = strips_first_space(tok);
    gguf_dynbuf_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < n; i++) {
        gguf_str part = rt_token_text(tok, ids[i]);
        if (rt_token_is_special(tok, ids[i])) {
            if (!skip_special) gguf_dynbuf_put(&text, part.ptr, part.len);
            continue;
        }
        bool strip = first && part.len && part.ptr[0] == ' ';
        gguf_dynbuf_put(&text, part.ptr + strip, part.len - strip);
        first = false;
    }
    *len = text.len;
    gguf_dynbuf_put(&text, "", 1);
    if (text.code) {
        gguf_code code = gguf_fail(err, text.code, NULL, GGUF_NO_OFFSET, "out of memory");
        gguf_dynbuf_clear(&text);
        return code;
    }
    *out = (char *)text.data;
    return GGUF_OK;
}

size_t rt_tokenizer_n_tokens(const rt_tokenizer *tok) {
    return tok->n_tokens;
}

int32_t rt_tokenizer_special(const rt_tokenizer *tok, rt_special which) {
    return which < RT_N_SPECIAL ? tok->special[which] : -1;
}

bool rt_tokenizer_adds_bos(const rt_tokenizer *tok) {
    return tok->prefix.n > 0 && tok->prefix.data[0] == tok->special[RT_SPECIAL_BOS];
}

bool rt_tokenizer_is_end(const rt_tokenizer *tok, int32_t id) {
    return in_range(tok, id) && (tok->is_end[id / 8] >> id % 8 & 1);
}

int32_t rt_tokenizer_find(const rt_tokenizer *tok, gguf_str text) {
    uint32_t id;
    if (gguf_index_get(&tok->by_text, text, &id)) return (int32_t)id;
    return rt_find_piece(tok, text.ptr, text.len);
}
