/* Cutting added tokens out of a text, as the tokenizers library does. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/uniset.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>

static void add_fragment(rt_fragments *out, size_t start, size_t end, int32_t id) {
    if (out->failed) return;
    if (out->n == out->room) {
        size_t room = out->room ? out->room * 2 : 16;
        rt_fragment *items = realloc(out->items, room * sizeof *items);
        out->failed = !items;
        if (!items) return;
        out->items = items;
        out->room = room;
    }
    out->items[out->n++] = (rt_fragment){start, end, id};
}

static uint32_t char_before(const char *text, size_t at, size_t *start) {
    size_t i = at - 1, used;
    while (i > 0 && rt_utf8_is_tail((uint8_t)text[i])) i--;
    *start = i;
    return rt_utf8_decode((const uint8_t *)text + i, at - i, &used);
}

/* One character's membership in a named set; only asked next to tokens with flags. */
static bool is_in(const char *set_name, uint32_t c) {
    rt_uniset set = {0};
    rt_unicode_set(set_name, &set);
    rt_uniset_tidy(&set);
    bool found = rt_uniset_has(&set, c);
    rt_uniset_clear(&set);
    return found;
}

static bool is_single_word(const char *text, size_t len, size_t start, size_t end) {
    size_t used;
    if (start > 0 && is_in("RustWord", char_before(text, start, &used))) return false;
    return end == len ||
           !is_in("RustWord", rt_utf8_decode((const uint8_t *)text + end, len - end, &used));
}

static size_t strip_left(const char *text, size_t start, size_t floor) {
    size_t before;
    while (start > floor && is_in("s", char_before(text, start, &before))) start = before;
    return start;
}

static size_t strip_right(const char *text, size_t len, size_t end) {
    size_t used;
    while (end < len && is_in("s", rt_utf8_decode((const uint8_t *)text + end, len - end, &used)))
        end += used;
    return end;
}

static bool is_wanted(const rt_token *token, bool parse_special) {
    bool listed = token->added & RT_ADDED_LISTED;
    bool special = listed ? token->added & RT_ADDED_SPECIAL : token->type != RT_TOKEN_USER_DEFINED;
    return parse_special || !special;
}

void rt_split_added(const rt_tokenizer *tok, const rt_trie *trie, const char *text, size_t len,
                    bool parse_special, rt_fragments *out) {
    size_t done = 0, n = 0;
    for (size_t i = 0; i < len;) {
        bool may_be = trie->first[(uint8_t)text[i]];
        int32_t id = may_be ? rt_trie_longest(trie, text + i, len - i, &n) : -1;
        if (id < 0) {
            i++;
            continue;
        }
        uint8_t flags = tok->tokens[id].added;
        size_t start = i, end = i + n;
        i = end;
        if (!is_wanted(&tok->tokens[id], parse_special)) continue;
        if ((flags & RT_ADDED_SINGLE_WORD) && !is_single_word(text, len, start, end)) continue;
        if (flags & RT_ADDED_LSTRIP) start = strip_left(text, start, done);
        if (flags & RT_ADDED_RSTRIP) end = strip_right(text, len, end);
        if (start > done) add_fragment(out, done, start, -1);
        add_fragment(out, start, end, id);
        done = i = end;
    }
    if (done < len) add_fragment(out, done, len, -1);
}
