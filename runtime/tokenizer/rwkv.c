/* RWKV's tokenizer: the longest token at each place. In GGUF its tokens are spelled as Python
 * prints bytes, with escapes. */
#include "runtime/tokenizer/tokenizer_internal.h"

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte behind a backslash at s, which is not the end; its length in *used. */
static char escaped(const char *s, size_t n, size_t *used) {
    *used = 1;
    if (s[0] == 't') return '\t';
    if (s[0] == 'n') return '\n';
    if (s[0] == 'r') return '\r';
    if (s[0] != 'x' || n < 3 || hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0) return s[0];
    *used = 3;
    return (char)(hex_digit(s[1]) << 4 | hex_digit(s[2]));
}

size_t rt_rwkv_unescape(gguf_str piece, char *out) {
    size_t n = 0;
    for (size_t i = 0, used = 0; i < piece.len; i += used) {
        bool escape = piece.ptr[i] == '\\' && i + 1 < piece.len;
        i += escape;
        used = 1;
        out[n++] = escape ? escaped(piece.ptr + i, piece.len - i, &used) : piece.ptr[i];
    }
    return n;
}

void rt_rwkv_encode(rt_work *work, const char *text, size_t len) {
    const rt_tokenizer *tok = work->tok;
    for (size_t i = 0, used; i < len && !work->failed; i += used) {
        used = 1;
        int32_t id = rt_trie_longest(&tok->words, text + i, len - i, &used);
        if (id < 0) id = tok->special[RT_SPECIAL_UNKNOWN];
        if (id >= 0) rt_push_id(work, id);
    }
}
