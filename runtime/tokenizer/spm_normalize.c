/* SentencePiece's own normaliser: character map, white space, the space before the text. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <string.h>

/* The normal form of the characters at s; *used bytes are consumed. */
static gguf_str normal_prefix(const rt_tokenizer *tok, const char *s, size_t n, size_t *used) {
    if (rt_trie_longest(&tok->user_defined, s, n, used) >= 0) return (gguf_str){s, *used};
    gguf_str mapped = rt_charsmap_find(&tok->charsmap, s, n, used);
    if (*used) return mapped;
    *used = rt_utf8_len((uint8_t)s[0]);
    return (gguf_str){s, *used};
}

static void put_escaped(gguf_dynbuf *out, gguf_str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ' ')
            gguf_dynbuf_put_text(out, RT_META_SPACE);
        else
            gguf_dynbuf_put(out, text.ptr + i, 1);
    }
}

static size_t skip_leading_spaces(const rt_tokenizer *tok, const char *text, size_t len) {
    size_t i = 0, used;
    while (i < len) {
        gguf_str form = normal_prefix(tok, text + i, len - i, &used);
        if (!gguf_str_eq(form, " ")) break;
        i += used;
    }
    return i;
}

static void drop_trailing_spaces(gguf_dynbuf *out) {
    while (out->len >= 3 && memcmp(out->data + out->len - 3, RT_META_SPACE, 3) == 0) out->len -= 3;
}

void rt_spm_normalize(rt_work *work, const char *text, size_t len, bool prefix) {
    const rt_tokenizer *tok = work->tok;
    gguf_dynbuf *out = &work->pieces.text;
    bool after_space = tok->remove_extra_spaces;
    size_t i = after_space ? skip_leading_spaces(tok, text, len) : 0, used;
    out->len = 0;
    if (i == len) return;
    if (prefix) gguf_dynbuf_put_text(out, RT_META_SPACE);
    for (; i < len; i += used) {
        gguf_str form = normal_prefix(tok, text + i, len - i, &used);
        for (; after_space && form.len && form.ptr[0] == ' '; form.ptr++) form.len--;
        put_escaped(out, form);
        if (form.len) after_space = tok->remove_extra_spaces && form.ptr[form.len - 1] == ' ';
    }
    if (tok->remove_extra_spaces) drop_trailing_spaces(out);
}
