/* Answers that are held to a grammar. */
#include "runtime/chat/grammar.h"

#include "runtime/chat/token_table.h"

#include <stdlib.h>

gguf_code rt_constraint_init(rt_constraint *c, rt_grammar *grammar, const rt_tokenizer *tok,
                             const rt_token_table *table, gguf_error *err) {
    *c = (rt_constraint){.tok = tok, .table = table};
    rt_matcher_init(&c->matcher, grammar);
    c->has_channels = rt_tokenizer_find(tok, gguf_str_of("<|channel|>")) >= 0;
    c->mask = malloc((table->n_vocab + 63) / 64 * sizeof *c->mask);
    return c->mask ? GGUF_OK : gguf_fail_memory(err);
}

void rt_constraint_clear(rt_constraint *c) {
    rt_matcher_clear(&c->matcher);
    free(c->mask);
    *c = (rt_constraint){0};
}

gguf_code rt_constraint_next(rt_constraint *c, gguf_error *err) {
    if (rt_matcher_mask(&c->matcher, c->table, c->mask)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                     "no token of the vocabulary goes on as the grammar wants, or it is so "
                     "ambiguous that following it takes too much");
}

bool rt_constraint_take(rt_constraint *c, int32_t id) {
    gguf_str text = rt_token_text(c->tok, id);
    rt_matcher_take(&c->matcher, text.ptr, text.len);
    return rt_matcher_must_end(&c->matcher);
}
