/* Answers that are held to a grammar. */
#include "runtime/chat/grammar.h"

#include "runtime/chat/channels.h"
#include "runtime/chat/grammar_channels.h"
#include "runtime/chat/grammar_internal.h"
#include "runtime/chat/token_table.h"

#include <stdlib.h>
#include <string.h>

/* What the prompt has of the message that goes on. */
static bool take_begun(rt_constraint *c, const int32_t *ids, size_t n) {
    static const char role[] = "assistant", special[] = {(char)RT_SPECIAL_BYTE};
    size_t n_role = 0;
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        gguf_str text = rt_token_text(c->tok, ids[i]);
        if (rt_token_is_special(c->tok, ids[i])) good = rt_matcher_take(&c->matcher, special, 1);
        for (; good && n_role < sizeof role - 1 && text.len; text.ptr++, text.len--)
            good = *text.ptr == role[n_role++];
        good = good && rt_matcher_take(&c->matcher, text.ptr, text.len);
    }
    return good;
}

gguf_code rt_constraint_init(rt_constraint *c, rt_grammar *grammar, const rt_tokenizer *tok,
                             const rt_token_table *table, const int32_t *prompt, size_t n_prompt,
                             gguf_error *err) {
    size_t from = 0;
    *c = (rt_constraint){.tok = tok, .table = table};
    bool follows = rt_channels_follow(tok, prompt, n_prompt, &c->channels, &from);
    /* Behind the beginning of a final message a grammar of texts holds what is new. */
    c->in_channels = follows && (grammar->in_channels || c->channels.part != RT_CHANNEL_ANSWER);
    c->off = grammar->in_channels && !c->in_channels;
    if (c->in_channels) grammar = rt_grammar_in_channels(grammar);
    if (!grammar) return gguf_fail_memory(err);
    rt_matcher_init(&c->matcher, grammar);
    gguf_str opening = gguf_str_of(grammar->opening ? grammar->opening : "");
    if (rt_tokens_end_with(tok, prompt, n_prompt, opening))
        rt_matcher_take(&c->matcher, opening.ptr, opening.len);
    if (c->in_channels && !take_begun(c, prompt + from, n_prompt - from))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the message that the answer goes on with cannot become what is asked "
                         "for: a final message becomes no call");
    c->most_thoughts = RT_MOST_THOUGHTS;
    c->mask = malloc((table->n_vocab + 63) / 64 * sizeof *c->mask);
    return c->mask ? GGUF_OK : gguf_fail_memory(err);
}

void rt_constraint_clear(rt_constraint *c) {
    rt_matcher_clear(&c->matcher);
    free(c->mask);
    *c = (rt_constraint){0};
}

bool rt_constraint_holds(const rt_constraint *c, bool thinks) {
    return c->matcher.grammar && !c->off && (c->in_channels || !thinks);
}

void rt_constraint_admit(rt_constraint *c, const char *text) {
    int32_t id = rt_tokenizer_find(c->tok, gguf_str_of(text));
    if (id >= 0 && (uint32_t)id < c->table->n_vocab) c->mask[id / 64] |= UINT64_C(1) << id % 64;
}

void rt_constraint_limit(rt_constraint *c, uint32_t n_tokens) {
    c->most_thoughts = n_tokens / 2 < RT_MOST_THOUGHTS ? n_tokens / 2 : RT_MOST_THOUGHTS;
}

/* Reasoning that has taken its share ends now. */
static void end_thoughts(rt_constraint *c) {
    int32_t id = rt_tokenizer_find(c->tok, gguf_str_of("<|end|>"));
    bool thinks = c->channels.part == RT_CHANNEL_REASONING && c->n_thoughts >= c->most_thoughts;
    if (!thinks || !c->matcher.grammar->needs_call || id < 0 || (uint32_t)id >= c->table->n_vocab)
        return;
    if (!(c->mask[id / 64] >> id % 64 & 1)) return; /* within a character */
    memset(c->mask, 0, (c->table->n_vocab + 63) / 64 * sizeof *c->mask);
    c->mask[id / 64] = UINT64_C(1) << id % 64;
}

gguf_code rt_constraint_next(rt_constraint *c, gguf_error *err) {
    if (rt_matcher_mask(&c->matcher, c->table, c->mask)) {
        if (c->in_channels) end_thoughts(c);
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                     "no token of the vocabulary goes on as the grammar wants, or it is so "
                     "ambiguous that following it takes too much");
}

bool rt_constraint_take(rt_constraint *c, int32_t id) {
    static const char special[] = {(char)RT_SPECIAL_BYTE};
    gguf_str text = rt_token_text(c->tok, id);
    bool is_special = rt_token_is_special(c->tok, id);
    if (c->in_channels && is_special) rt_matcher_take(&c->matcher, special, 1);
    if (c->in_channels)
        c->n_thoughts += rt_channels_next(&c->channels, text, is_special) == RT_CHANNEL_REASONING;
    rt_matcher_take(&c->matcher, text.ptr, text.len);
    return rt_matcher_must_end(&c->matcher);
}
