/* Byte-pair encoding by rank, over bytes or over characters. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table of merges ----------------------------------------------------------------- */

static uint64_t pair_of(int32_t left, int32_t right) {
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

static rt_merge *merge_slot(const rt_merges *merges, uint64_t pair) {
    size_t mask = merges->n_slots - 1, i = (size_t)((pair * 0x9E3779B97F4A7C15u) >> 32) & mask;
    while (merges->slots[i].pair && merges->slots[i].pair != pair) i = (i + 1) & mask;
    return &merges->slots[i];
}

/* The merge of two symbols, or NULL. */
static const rt_merge *find_merge(const rt_tokenizer *tok, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return NULL;
    const rt_merge *merge = merge_slot(&tok->merges, pair_of(left, right));
    return merge->pair ? merge : NULL;
}

static gguf_code make_table(rt_tokenizer *tok, uint64_t n_merges, gguf_error *err) {
    size_t n_slots = 16;
    while (n_slots < 2 * n_merges) n_slots *= 2;
    tok->merges.slots = calloc(n_slots, sizeof *tok->merges.slots);
    tok->merges.n_slots = n_slots;
    if (tok->merges.slots) return GGUF_OK;
    return gguf_fail_memory(err);
}

/* The token whose spelling is that of two others in a row, or -1. */
static int32_t joined(const rt_tokenizer *tok, int32_t left, int32_t right) {
    char text[1024];
    gguf_str a = tok->tokens[left].piece, b = tok->tokens[right].piece;
    char *both = a.len + b.len <= sizeof text ? text : malloc(a.len + b.len);
    if (!both) return -1;
    memcpy(both, a.ptr, a.len);
    memcpy(both + a.len, b.ptr, b.len);
    int32_t id = rt_find_piece(tok, both, a.len + b.len);
    if (both != text) free(both);
    return id;
}

static gguf_code add_merge(rt_tokenizer *tok, uint32_t rank, int32_t left, int32_t right,
                           gguf_error *err) {
    int32_t id = joined(tok, left, right);
    if (id < 0)
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "merge %u joins tokens %d and %d to a text that is not a token", rank,
                         left, right);
    rt_merge *slot = merge_slot(&tok->merges, pair_of(left, right));
    *slot =
        (rt_merge){pair_of(left, right), rank, (uint32_t)id}; /* of equal pairs the last counts */
    return GGUF_OK;
}

/* "A B", cut at the first space behind the first byte. */
static gguf_code add_merge_text(rt_tokenizer *tok, uint32_t rank, gguf_str text, gguf_error *err) {
    const char *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    size_t left_len = space ? (size_t)(space - text.ptr) : 0;
    int32_t left = space ? rt_find_piece(tok, text.ptr, left_len) : -1;
    int32_t right = space ? rt_find_piece(tok, space + 1, text.len - left_len - 1) : -1;
    if (left < 0 || right < 0)
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "merge %u '%.*s' does not name two tokens", rank,
                         (int)(text.len < 100 ? text.len : 100), text.ptr);
    return add_merge(tok, rank, left, right, err);
}

static gguf_code read_merge_texts(rt_tokenizer *tok, const gguf_kv *kv, gguf_error *err) {
    gguf_kv_iter it = {kv, 0, 0};
    gguf_str text;
    gguf_code code = make_table(tok, kv->count, err);
    for (uint32_t rank = 0; !code && gguf_kv_next_str(&it, &text); rank++)
        code = add_merge_text(tok, rank, text, err);
    return code;
}

static gguf_code read_merge_pairs(rt_tokenizer *tok, const gguf_kv *kv, gguf_error *err) {
    gguf_kv_iter it = {kv, 0, 0};
    int64_t left, right;
    gguf_code code = make_table(tok, kv->count / 2, err);
    for (uint32_t rank = 0; !code && gguf_kv_next_i64(&it, &left) && gguf_kv_next_i64(&it, &right);
         rank++) {
        if (left < 0 || right < 0 || (uint64_t)left >= tok->n_tokens ||
            (uint64_t)right >= tok->n_tokens)
            return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                             "merge %u does not name tokens", rank);
        code = add_merge(tok, rank, (int32_t)left, (int32_t)right, err);
    }
    return code;
}

void rt_bytes_prepare(rt_tokenizer *tok) {
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        tok->bytes[b] = rt_find_piece(tok, name, 6);
    }
}

static void alphabet_prepare(rt_tokenizer *tok) {
    for (int b = 0; b < 256; b++) {
        char text[4];
        tok->bytes[b] =
            rt_find_piece(tok, text, rt_utf8_encode(rt_alphabet_char((uint8_t)b), text));
    }
}

gguf_code rt_bpe_prepare(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    const gguf_kv *pairs = gguf_meta_find(meta, "tokenizer.ggufkit.merges");
    const gguf_kv *texts = gguf_meta_find(meta, "tokenizer.ggml.merges");
    if (tok->byte_level)
        alphabet_prepare(tok);
    else
        rt_bytes_prepare(tok);
    if (pairs && pairs->type == GGUF_VALUE_ARRAY && pairs->elem_type == GGUF_VALUE_U32)
        return read_merge_pairs(tok, pairs, err);
    if (texts && texts->type == GGUF_VALUE_ARRAY && texts->elem_type == GGUF_VALUE_STRING)
        return read_merge_texts(tok, texts, err);
    return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET,
                     "'tokenizer.ggml.merges' is missing or not an array of strings");
}

/* ---- encoding ---------------------------------------------------------------------------- */

/* The model "whitespace" passes over what its vocabulary does not have, but merges nothing across
 * it: a symbol without an id stays there. */
static void add_unknown(rt_work *work, size_t start, size_t len) {
    const rt_tokenizer *tok = work->tok;
    int32_t unknown = tok->special[RT_SPECIAL_UNKNOWN];
    if (tok->plain_spaces) rt_add_symbol(work, start, len, -1);
    if (unknown < 0 || tok->plain_spaces) return;
    rt_symbol *last = work->n_symbols ? &work->symbols[work->n_symbols - 1] : NULL;
    if (tok->fuse_unknown && last && last->id == unknown)
        last->len += len;
    else
        rt_add_symbol(work, start, len, unknown);
}

static void add_bytes(rt_work *work, const char *text, size_t start, size_t len) {
    for (size_t i = start; i < start + len; i++) {
        int32_t id = work->tok->bytes[(uint8_t)text[i]];
        if (id >= 0)
            rt_add_symbol(work, i, 1, id);
        else
            add_unknown(work, i, 1);
    }
}

static bool has_all_bytes(const rt_tokenizer *tok, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (tok->bytes[(uint8_t)text[i]] < 0) return false;
    return true;
}

/* The symbols to start from. */
static void start_symbols(rt_work *work, const char *text, size_t len) {
    const rt_tokenizer *tok = work->tok;
    work->n_symbols = 0;
    if (tok->byte_level) {
        add_bytes(work, text, 0, len);
        return;
    }
    for (size_t i = 0, n; i < len; i += n) {
        n = rt_utf8_len((uint8_t)text[i]);
        int32_t id = rt_find_piece(tok, text + i, n);
        if (id >= 0)
            rt_add_symbol(work, i, n, id);
        else if (tok->byte_fallback && has_all_bytes(tok, text + i, n))
            add_bytes(work, text, i, n);
        else
            add_unknown(work, i, n);
    }
}

static void propose(rt_work *work, int32_t left) {
    int32_t right = left < 0 ? -1 : work->symbols[left].next;
    if (right < 0) return;
    const rt_merge *merge = find_merge(work->tok, work->symbols[left].id, work->symbols[right].id);
    if (merge)
        rt_push_candidate(work, (rt_candidate){merge->rank, (uint32_t)left, (int32_t)merge->id, 0});
}

/* Apply a candidate if its pair still stands. */
static void apply(rt_work *work, const rt_candidate *c) {
    rt_symbol *left = &work->symbols[c->left];
    if (left->id < 0 || left->next < 0) return;
    rt_symbol *right = &work->symbols[left->next];
    const rt_merge *merge = find_merge(work->tok, left->id, right->id);
    if (!merge || (int32_t)merge->id != c->id) return;
    left->id = c->id;
    left->len += right->len;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0) work->symbols[left->next].prev = (int32_t)c->left;
    propose(work, left->prev);
    propose(work, (int32_t)c->left);
}

void rt_bpe_encode(rt_work *work, const char *text, size_t len) {
    rt_candidate candidate;
    start_symbols(work, text, len);
    work->n_heap = 0;
    for (size_t i = 0; i + 1 < work->n_symbols; i++) propose(work, (int32_t)i);
    while (!work->failed && rt_pop_candidate(work, &candidate)) apply(work, &candidate);
    for (int32_t i = work->n_symbols ? 0 : -1; i >= 0; i = work->symbols[i].next)
        if (work->symbols[i].id >= 0) rt_push_id(work, work->symbols[i].id);
}
