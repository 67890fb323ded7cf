/* Sorting a vocabulary. */
#include "runtime/chat/token_table.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b) {
    const rt_token_entry *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    if (order) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void add_token(rt_token_table *t, const rt_tokenizer *tok, int32_t id) {
    gguf_str text = rt_token_text(tok, id);
    if (rt_tokenizer_is_end(tok, id)) {
        t->ends[t->n_ends++] = id;
    } else if (text.len && text.len <= RT_TOKEN_MAX_BYTES) {
        rt_token_entry entry = {
            .text = (const uint8_t *)text.ptr, .id = id, .n = (uint8_t)text.len};
        if (rt_token_is_special(tok, id))
            t->specials[t->n_specials++] = entry;
        else
            t->entries[t->n++] = entry;
    }
}

static size_t count_special(const rt_tokenizer *tok, size_t n_tokens) {
    size_t n = 0;
    for (size_t id = 0; id < n_tokens; id++) n += rt_token_is_special(tok, (int32_t)id);
    return n;
}

static void compare(rt_token_table *t) {
    for (uint32_t i = 0; i < t->n; i++) {
        rt_token_entry *e = &t->entries[i];
        const rt_token_entry *before = i ? e - 1 : NULL;
        unsigned most = before ? before->n < e->n ? before->n : e->n : 0, n = 0;
        while (n < most && before->text[n] == e->text[n]) n++;
        e->n_common = (uint8_t)n;
        e->rest_is_plain = true;
        for (; n < e->n; n++) e->rest_is_plain &= rt_byte_is_plain(e->text[n]);
        t->first[e->text[0] + 1] = i + 1;
    }
    for (unsigned b = 1; b <= 256; b++)
        if (t->first[b] < t->first[b - 1]) t->first[b] = t->first[b - 1];
}

gguf_code rt_token_table_new(const rt_tokenizer *tok, uint32_t n_vocab, rt_token_table **out,
                             gguf_error *err) {
    size_t n_tokens = rt_tokenizer_n_tokens(tok);
    if (n_tokens > n_vocab) n_tokens = n_vocab;
    rt_token_table *t = calloc(1, sizeof *t);
    *out = t;
    if (t) {
        t->n_vocab = n_vocab;
        t->entries = malloc((n_tokens + 1) * sizeof *t->entries);
        t->ends = malloc((n_tokens + 1) * sizeof *t->ends);
        t->specials = malloc((count_special(tok, n_tokens) + 1) * sizeof *t->specials);
    }
    if (!t || !t->entries || !t->ends || !t->specials) {
        rt_token_table_free(t);
        *out = NULL;
        return gguf_fail_memory(err);
    }
    for (size_t id = 0; id < n_tokens; id++) add_token(t, tok, (int32_t)id);
    qsort(t->entries, t->n, sizeof *t->entries, by_text);
    compare(t);
    return GGUF_OK;
}

void rt_token_table_free(rt_token_table *table) {
    if (!table) return;
    free(table->entries);
    free(table->ends);
    free(table->specials);
    free(table);
}
