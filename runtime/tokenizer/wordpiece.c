/* WordPiece: the longest token at the start of what is left of a word. In GGUF the first token of a
 * word is spelled with U+2581 before it, those behind it without a mark. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <string.h>

#define MAX_WORD_BYTES 4096

/* A token that starts with the mark belongs to the start of a word; only the bare mark is the
 * character itself. */
static int32_t find_part(const rt_tokenizer *tok, const char *word, size_t start, size_t end) {
    const char *from = start == 0 ? word - 3 : word + start; /* the mark lies before the word */
    size_t len = (size_t)(word + end - from);
    if (start > 0 && len > 3 && memcmp(from, RT_META_SPACE, 3) == 0) return -1;
    int32_t id = rt_find_piece(tok, from, len);
    return id >= 0 && tok->tokens[id].type != RT_TOKEN_CONTROL ? id : -1;
}

static int32_t longest_part(const rt_tokenizer *tok, const char *word, size_t start, size_t len,
                            size_t *end) {
    size_t longest = start + tok->max_piece_bytes;
    for (*end = len < longest ? len : longest; *end > start; (*end)--) {
        if (*end < len && rt_utf8_is_tail((uint8_t)word[*end])) continue;
        int32_t id = find_part(tok, word, start, *end);
        if (id >= 0) return id;
    }
    return -1;
}

static size_t n_chars(const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += !rt_utf8_is_tail((uint8_t)text[i]);
    return n;
}

void rt_wordpiece_encode(rt_work *work, const char *text, size_t len) {
    const rt_tokenizer *tok = work->tok;
    size_t before = work->out->n, end = 0;
    char buffer[3 + MAX_WORD_BYTES];
    bool ok = len <= MAX_WORD_BYTES && n_chars(text, len) <= tok->max_word_chars;
    if (ok) {
        memcpy(buffer, RT_META_SPACE, 3);
        memcpy(buffer + 3, text, len);
    }
    for (size_t start = 0; ok && start < len; start = end) {
        int32_t id = longest_part(tok, buffer + 3, start, len, &end);
        ok = id >= 0;
        if (ok) rt_push_id(work, id);
    }
    if (ok) return;
    work->out->n = before;
    rt_push_id(work, tok->special[RT_SPECIAL_UNKNOWN]);
}
