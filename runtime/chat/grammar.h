/* Grammars: which texts a model may write. A grammar is a pushdown automaton over bytes; a matcher
 * follows one text, and says which tokens may come next. */
#ifndef RUNTIME_CHAT_GRAMMAR_H
#define RUNTIME_CHAT_GRAMMAR_H

#include "libgguf/error.h"
#include "runtime/chat/channels.h"
#include "runtime/tokenizer/tokenizer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_grammar rt_grammar;

#define RT_GRAMMAR_MAX_BYTES (64u << 10)  /* of a grammar or an expression */
#define RT_SCHEMA_MAX_BYTES  (256u << 10) /* of a JSON schema */

/* A grammar as GBNF has it; the text matches the rule `root`.
 * Errors: GGUF_E_FORMAT with the byte; GGUF_E_UNSUPPORTED; GGUF_E_LIMIT too long, too deep, too
 * many states; GGUF_E_NOMEM. */
gguf_code rt_grammar_gbnf(const char *text, size_t n, rt_grammar **out, gguf_error *err);

/* A regular expression that the whole text matches. Errors: as above. */
gguf_code rt_grammar_regex(const char *pattern, size_t n, rt_grammar **out, gguf_error *err);

/* One of these texts. Errors: as above; GGUF_E_USAGE none is given, or one is no text. */
gguf_code rt_grammar_choice(const json_t *texts, rt_grammar **out, gguf_error *err);

/* JSON that a schema (draft 2020-12; docs/structured-output.md lists the keywords) accepts. true
 * or {} stands for any value.
 * Errors, with the place in the schema: GGUF_E_UNSUPPORTED a keyword that is not enforced;
 * GGUF_E_FORMAT, GGUF_E_LIMIT, GGUF_E_NOMEM. */
gguf_code rt_grammar_schema(const json_t *schema, rt_grammar **out, gguf_error *err);

/* Any JSON object. */
gguf_code rt_grammar_json_object(rt_grammar **out, gguf_error *err);

/* Threads: any. */
rt_grammar *rt_grammar_ref(rt_grammar *grammar);
void rt_grammar_unref(rt_grammar *grammar); /* accepts NULL */
size_t rt_grammar_n_states(const rt_grammar *grammar);

/* ---- the vocabulary ---------------------------------------------------------------------- */

/* The texts of a vocabulary in order, so that those with the same beginning are tried once. */
typedef struct rt_token_table rt_token_table;

/* Special tokens are kept apart: those that end a text, and those that only grammars of calls
 * (tools.h) admit.
 *   tok      kept
 *   n_vocab  logits of the model; tokens beyond are never admitted
 * Errors: GGUF_E_NOMEM. Threads: may be used from several threads. */
gguf_code rt_token_table_new(const rt_tokenizer *tok, uint32_t n_vocab, rt_token_table **out,
                             gguf_error *err);
void rt_token_table_free(rt_token_table *table); /* accepts NULL */

/* ---- matching ---------------------------------------------------------------------------- */

/* Where a text stands. Matchers of one grammar share what was worked out, and lock it. */
typedef struct rt_matcher {
    rt_grammar *grammar;
    uint32_t state;
    bool failed; /* the text left the grammar */
} rt_matcher;

/* Begin a text; takes a reference. Clear gives it back and accepts {0}. */
void rt_matcher_init(rt_matcher *m, rt_grammar *grammar);
void rt_matcher_clear(rt_matcher *m);

/* Bytes that the text goes on with. False, for good: the grammar does not have them. */
bool rt_matcher_take(rt_matcher *m, const char *bytes, size_t n);
/* The text may end here. */
bool rt_matcher_may_end(rt_matcher *m);
/* It must: nothing can follow. */
bool rt_matcher_must_end(rt_matcher *m);

/* Which tokens may come next: a bit for each, tokens that end a text where the text may end.
 *   mask  [(n_vocab + 63) / 64]
 * False: out of memory, or none may (the vocabulary lacks a byte that is needed, or the grammar is
 * so ambiguous that following it takes too much). */
bool rt_matcher_mask(rt_matcher *m, const rt_token_table *table, uint64_t *mask);

/* ---- answers ----------------------------------------------------------------------------- */

/* Holds an answer to a grammar. Start as {0}; clear frees. */
typedef struct rt_constraint {
    rt_matcher matcher;
    const rt_tokenizer *tok;
    const rt_token_table *table;
    uint64_t *mask;
    bool in_channels; /* the answer is in channels, and held from its first token */
    rt_channels channels;
    uint32_t n_thoughts, most_thoughts; /* tokens of reasoning in channels */
    bool off; /* the grammar is of answers in channels, and this one is not */
} rt_constraint;

/* Where a prompt ends in a message in channels, or in the header of one, the answer goes on with
 * it, and a grammar of texts is that of its final message. Where it ends in what opens a call, a
 * grammar of calls goes on behind that. Errors: GGUF_E_USAGE the message that goes on leaves the
 * grammar; GGUF_E_NOMEM. Clear also after a failure.
 *   prompt      [n_prompt], only read here
 *   tok, table  must outlive it */
gguf_code rt_constraint_init(rt_constraint *c, rt_grammar *grammar, const rt_tokenizer *tok,
                             const rt_token_table *table, const int32_t *prompt, size_t n_prompt,
                             gguf_error *err);
void rt_constraint_clear(rt_constraint *c);

/* The answer has so many tokens at most: where it must be a call, reasoning in channels takes half
 * of them, and never more than RT_MOST_THOUGHTS. */
void rt_constraint_limit(rt_constraint *c, uint32_t n_tokens);
#define RT_MOST_THOUGHTS 4096

/* Whether the next token is held: what a model thinks is not, but in channels. */
bool rt_constraint_holds(const rt_constraint *c, bool thinks);
/* The tokens that may come next. Errors: GGUF_E_LIMIT none may. */
gguf_code rt_constraint_next(rt_constraint *c, gguf_error *err);
/* Beside them the token that this text is, if there is one. */
void rt_constraint_admit(rt_constraint *c, const char *text);
/* A token that was chosen of them. True: the answer is complete. */
bool rt_constraint_take(rt_constraint *c, int32_t id);

#endif
