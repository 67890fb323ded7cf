/* Sorting a vocabulary. */
#include "runtime/chat/token_table.h"
#include "runtime/tokenizer/utf8.h"

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

static void compare(rt_token_entry *entries, uint32_t n_entries) {
    for (uint32_t i = 0; i < n_entries; i++) {
        rt_token_entry *e = &entries[i];
        const rt_token_entry *before = i ? e - 1 : NULL;
        unsigned most = before ? before->n < e->n ? before->n : e->n : 0, n = 0;
        while (n < most && before->text[n] == e->text[n]) n++;
        e->n_common = (uint8_t)n;
        e->rest_is_plain = true;
        for (; n < e->n; n++) e->rest_is_plain &= rt_byte_is_plain(e->text[n]);
    }
}

static void find_first(rt_token_table *t) {
    for (uint32_t i = 0; i < t->n; i++) t->first[t->entries[i].text[0] + 1] = i + 1;
    for (unsigned b = 1; b <= 256; b++)
        if (t->first[b] < t->first[b - 1]) t->first[b] = t->first[b - 1];
}

/* Characters of plain text that a token begins with, and their bytes. */
static unsigned count_chars(const rt_token_entry *e, unsigned *n_bytes) {
    unsigned n_chars = 0;
    *n_bytes = 0;
    for (size_t len; *n_bytes < e->n; *n_bytes += (unsigned)len, n_chars++) {
        uint32_t c = rt_utf8_decode(e->text + *n_bytes, (size_t)e->n - *n_bytes, &len);
        if (c == RT_UTF8_INVALID || (c < 0x80 && !rt_byte_is_plain((uint8_t)c))) break;
    }
    return n_chars;
}

static bool divide(rt_token_table *t) {
    uint32_t whole_at[RT_TOKEN_MAX_BYTES + 2] = {0}, tail_at[RT_TOKEN_MAX_BYTES + 2];
    unsigned n_bytes;
    t->tails = malloc((t->n + (size_t)1) * sizeof *t->tails);
    t->whole = malloc((t->n + (size_t)1) * sizeof *t->whole);
    t->whole_mask = calloc((t->n_vocab + (size_t)63) / 64 + 1, sizeof *t->whole_mask);
    if (!t->tails || !t->whole || !t->whole_mask) return false;
    for (uint32_t i = 0; i < t->n; i++) {
        unsigned n = count_chars(&t->entries[i], &n_bytes);
        *(n_bytes == t->entries[i].n ? &t->n_upto[n] : &t->first_tail[n + 1]) += 1;
        if (n > t->most_chars) t->most_chars = n;
    }
    for (unsigned n = 1; n <= RT_TOKEN_MAX_BYTES + 1; n++) {
        t->first_tail[n] += t->first_tail[n - 1];
        if (n <= RT_TOKEN_MAX_BYTES) t->n_upto[n] += t->n_upto[n - 1];
        whole_at[n] = t->n_upto[n - 1];
    }
    memcpy(tail_at, t->first_tail, sizeof tail_at);
    for (uint32_t i = 0; i < t->n; i++) {
        rt_token_entry e = t->entries[i];
        unsigned n = count_chars(&e, &n_bytes);
        if (n_bytes == e.n) {
            t->whole[whole_at[n]++] = e.id;
            t->whole_mask[e.id / 64] |= UINT64_C(1) << e.id % 64;
            continue;
        }
        e.text += n_bytes;
        e.n = (uint8_t)(e.n - n_bytes);
        t->tails[tail_at[n]++] = e;
    }
    t->n_whole = t->n_upto[RT_TOKEN_MAX_BYTES];
    for (unsigned n = 0; n <= RT_TOKEN_MAX_BYTES; n++) {
        rt_token_entry *first = t->tails + t->first_tail[n];
        uint32_t n_tails = t->first_tail[n + 1] - t->first_tail[n];
        if (n_tails) qsort(first, n_tails, sizeof *first, by_text);
        compare(first, n_tails);
    }
    return true;
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
    bool fits = t && t->entries && t->ends && t->specials;
    if (fits) {
        for (size_t id = 0; id < n_tokens; id++) add_token(t, tok, (int32_t)id);
        qsort(t->entries, t->n, sizeof *t->entries, by_text);
        fits = divide(t);
    }
    if (!fits) {
        rt_token_table_free(t);
        *out = NULL;
        return gguf_fail_memory(err);
    }
    compare(t->entries, t->n);
    find_first(t);
    return GGUF_OK;
}

void rt_token_table_free(rt_token_table *table) {
    if (!table) return;
    free(table->entries);
    free(table->tails);
    free(table->whole);
    free(table->whole_mask);
    free(table->ends);
    free(table->specials);
    free(table);
}
