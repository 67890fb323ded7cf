/* SentencePiece BPE: join the neighbours whose joint piece has the highest score. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>

/* Pieces that text can be joined to; control, unknown and byte tokens are none. */
static int32_t find_text_piece(const rt_tokenizer *tok, const char *text, size_t len) {
    int32_t id = len <= tok->max_piece_bytes ? rt_find_piece(tok, text, len) : -1;
    if (id < 0) return -1;
    uint8_t type = tok->tokens[id].type;
    return type == RT_TOKEN_NORMAL || type == RT_TOKEN_USER_DEFINED || type == RT_TOKEN_UNUSED ? id
                                                                                               : -1;
}

static void start_symbols(rt_work *work, const char *text, size_t len) {
    work->n_symbols = 0;
    for (size_t i = 0, n; i < len; i += n) {
        n = 0;
        bool frozen = rt_trie_longest(&work->tok->user_defined, text + i, len - i, &n) >= 0;
        if (!frozen) n = rt_utf8_len((uint8_t)text[i]);
        rt_symbol *symbol = rt_add_symbol(work, i, n, -1);
        if (symbol) symbol->frozen = frozen;
    }
}

static void propose(rt_work *work, const char *text, int32_t left) {
    int32_t right = left < 0 ? -1 : work->symbols[left].next;
    if (right < 0 || work->symbols[left].frozen || work->symbols[right].frozen) return;
    const rt_symbol *a = &work->symbols[left];
    size_t len = a->len + work->symbols[right].len;
    int32_t id = find_text_piece(work->tok, text + a->start, len);
    if (id < 0) return;
    rt_push_candidate(
        work, (rt_candidate){-(double)work->tok->tokens[id].score, (uint32_t)left, id, len});
    if (work->unused_left) work->unused_left[id] = (uint32_t)a->len;
}

static void apply(rt_work *work, const char *text, const rt_candidate *c) {
    rt_symbol *left = &work->symbols[c->left];
    if (!left->len || left->next < 0) return;
    rt_symbol *right = &work->symbols[left->next];
    if (left->len + right->len != c->len) return;
    left->len = c->len;
    left->next = right->next;
    right->len = 0;
    if (left->next >= 0) work->symbols[left->next].prev = (int32_t)c->left;
    propose(work, text, left->prev);
    propose(work, text, (int32_t)c->left);
}

/* A piece without a token: its bytes, or unknown, once for a run of them. */
static void put_unknown(rt_work *work, const char *text, size_t len, bool after_unknown) {
    int32_t unknown = work->tok->special[RT_SPECIAL_UNKNOWN];
    bool bytes = work->tok->byte_fallback;
    for (size_t i = 0; bytes && i < len; i++) {
        int32_t id = work->tok->bytes[(uint8_t)text[i]];
        rt_push_id(work, id >= 0 ? id : unknown);
    }
    if (!bytes && !after_unknown && unknown >= 0) rt_push_id(work, unknown);
}

/* Unused pieces are taken apart again; returns whether the last token is unknown. */
static bool put_piece(rt_work *work, const char *text, size_t len, bool after_unknown) {
    int32_t id = rt_find_piece(work->tok, text, len);
    if (id < 0 || work->tok->tokens[id].type == RT_TOKEN_UNKNOWN) {
        put_unknown(work, text, len, after_unknown);
        return true;
    }
    size_t left = work->tok->tokens[id].type == RT_TOKEN_UNUSED && work->unused_left
                      ? work->unused_left[id]
                      : 0;
    if (!left || left >= len) {
        rt_push_id(work, id);
        return false;
    }
    after_unknown = put_piece(work, text, left, after_unknown);
    return put_piece(work, text + left, len - left, after_unknown);
}

void rt_spm_encode(rt_work *work, const char *text, size_t len) {
    rt_candidate candidate;
    bool after_unknown = false;
    if (work->tok->has_unused && !work->unused_left)
        work->unused_left = calloc(work->tok->n_tokens, sizeof *work->unused_left);
    start_symbols(work, text, len);
    work->n_heap = 0;
    for (size_t i = 0; i + 1 < work->n_symbols; i++) propose(work, text, (int32_t)i);
    while (!work->failed && rt_pop_candidate(work, &candidate)) apply(work, text, &candidate);
    for (int32_t i = work->n_symbols ? 0 : -1; i >= 0; i = work->symbols[i].next)
        after_unknown =
            put_piece(work, text + work->symbols[i].start, work->symbols[i].len, after_unknown);
}
