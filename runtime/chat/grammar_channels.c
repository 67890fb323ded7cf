/* Grammars of answers in channels. */
#include "runtime/chat/grammar_channels.h"
#include "runtime/chat/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

static void add_text(rt_grammar_builder *b, rt_expr list, const char *text) {
    rt_expr_add(b, list, rt_expr_text(b, text, strlen(text)));
}

rt_expr rt_channel_mark(rt_grammar_builder *b, const char *token) {
    static const char special[] = {(char)RT_SPECIAL_BYTE};
    rt_expr seq = rt_expr_seq(b);
    rt_expr_add(b, seq, rt_expr_text(b, special, 1));
    add_text(b, seq, token);
    return seq;
}

rt_expr rt_channel_text(rt_grammar_builder *b) {
    static const rt_char_range all = {1, RT_MAX_CODE_POINT};
    return rt_expr_repeat(b, rt_expr_class(b, &all, 1), 0, RT_GRAMMAR_UNLIMITED);
}

rt_expr rt_channel_thoughts(rt_grammar_builder *b, uint32_t most, bool preamble) {
    rt_expr seq = rt_expr_seq(b), name = rt_expr_alt(b);
    add_text(b, name, "analysis");
    if (preamble) add_text(b, name, "commentary");
    rt_expr_add(b, seq, rt_channel_mark(b, "<|channel|>"));
    rt_expr_add(b, seq, name);
    rt_expr_add(b, seq, rt_channel_mark(b, "<|message|>"));
    rt_expr_add(b, seq, rt_channel_text(b));
    rt_expr_add(b, seq, rt_channel_mark(b, "<|end|>"));
    rt_expr_add(b, seq, rt_channel_mark(b, "<|start|>"));
    add_text(b, seq, "assistant");
    return rt_expr_repeat(b, seq, 0, most);
}

rt_expr rt_channel_form(rt_grammar_builder *b) {
    rt_expr seq = rt_expr_seq(b);
    rt_expr_add(b, seq, rt_expr_repeat(b, rt_expr_text(b, " ", 1), 0, 1));
    rt_expr_add(b, seq, rt_channel_mark(b, "<|constrain|>"));
    add_text(b, seq, "json");
    return rt_expr_repeat(b, seq, 0, 1);
}

rt_expr rt_channel_final(rt_grammar_builder *b, rt_expr body) {
    rt_expr seq = rt_expr_seq(b);
    rt_expr_add(b, seq, rt_channel_mark(b, "<|channel|>"));
    add_text(b, seq, "final");
    rt_expr_add(b, seq, rt_channel_form(b));
    rt_expr_add(b, seq, rt_channel_mark(b, "<|message|>"));
    rt_expr_add(b, seq, body);
    return seq;
}

/* ---- around a grammar -------------------------------------------------------------------- */

/* Append the inner grammar's states, and call it where the rule that stands for it is called. */
static bool insert(rt_grammar *outer, uint32_t place, const rt_grammar *inner) {
    size_t n = outer->n_states;
    rt_state *states = realloc(outer->states, (n + inner->n_states) * sizeof *states);
    if (!states) return false;
    outer->states = states;
    for (size_t i = 0; i < n; i++)
        if (states[i].kind == RT_STATE_CALL && states[i].b == place)
            states[i].b = (uint32_t)n + inner->start;
    for (size_t i = 0; i < inner->n_states; i++) {
        rt_state s = inner->states[i];
        if (s.kind == RT_STATE_BYTE || s.kind == RT_STATE_SPLIT || s.kind == RT_STATE_CALL)
            s.a += (uint32_t)n;
        if (s.kind == RT_STATE_SPLIT || s.kind == RT_STATE_CALL) s.b += (uint32_t)n;
        states[n + i] = s;
    }
    outer->n_states = n + inner->n_states;
    rt_grammar_classes(outer);
    return true;
}

static rt_grammar *wrap(const rt_grammar *inner) {
    rt_grammar_builder b;
    rt_grammar *g = NULL;
    gguf_error err = {0};
    rt_builder_init(&b, &err);
    uint32_t body = rt_rule_new(&b, NULL, 0), root = rt_rule_new(&b, NULL, 0);
    rt_expr answer = rt_expr_seq(&b);
    rt_rule_define(&b, body, rt_expr_text(&b, "x", 1)); /* stands for the inner grammar */
    rt_expr_add(&b, answer, rt_channel_thoughts(&b, RT_GRAMMAR_UNLIMITED, true));
    rt_expr_add(&b, answer, rt_channel_final(&b, rt_expr_rule(&b, body)));
    rt_rule_define(&b, root, answer);
    gguf_code code = rt_grammar_finish(&b, root, &g);
    if (!code) g->in_channels = true;
    if (!code && !insert(g, b.rules[body].start, inner)) {
        rt_grammar_unref(g);
        g = NULL;
    }
    rt_builder_clear(&b);
    return g;
}

rt_grammar *rt_grammar_in_channels(rt_grammar *grammar) {
    if (grammar->in_channels) return grammar;
    pthread_mutex_lock(&grammar->lock);
    if (!grammar->wrapped) grammar->wrapped = wrap(grammar);
    pthread_mutex_unlock(&grammar->lock);
    return grammar->wrapped;
}
