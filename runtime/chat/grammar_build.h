/* What grammars are compiled from: a tree of expressions, which the front ends (GBNF, regular
 * expressions, JSON Schema) write, and the states that come of it. */
#ifndef RUNTIME_CHAT_GRAMMAR_BUILD_H
#define RUNTIME_CHAT_GRAMMAR_BUILD_H

#include "libgguf/error.h"
#include "runtime/chat/grammar.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_GRAMMAR_MAX_DEPTH  64
#define RT_GRAMMAR_MAX_STATES 200000
#define RT_GRAMMAR_UNLIMITED  UINT32_MAX
#define RT_MAX_CODE_POINT     0x10FFFF

/* An expression: its place in the tree. 0 matches the empty text. */
typedef uint32_t rt_expr;

typedef enum rt_expr_kind {
    RT_EXPR_EMPTY,
    RT_EXPR_NEVER,
    RT_EXPR_CLASS,  /* one character of [n] ranges, as UTF-8 */
    RT_EXPR_BYTES,  /* these bytes */
    RT_EXPR_SEQ,    /* its parts, the last one first */
    RT_EXPR_ALT,    /* one of its parts */
    RT_EXPR_REPEAT, /* a part, min to max times */
    RT_EXPR_RULE
} rt_expr_kind;

typedef struct rt_expr_node {
    rt_expr_kind kind;
    uint32_t a, n;     /* first part, rule, or place in ranges or bytes; and how many */
    uint32_t min, max; /* of REPEAT */
} rt_expr_node;

/* A part of SEQ or ALT. */
typedef struct rt_expr_link {
    rt_expr part;
    uint32_t next; /* 0: the end */
} rt_expr_link;

typedef struct rt_char_range {
    uint32_t first, last;
} rt_char_range;

typedef struct rt_rule {
    char *name; /* for messages; or NULL */
    rt_expr body;
    uint32_t start; /* its first state */
    bool defined;
} rt_rule;

/* Start as {0}; clear frees. The first failure sticks in `code`, and later calls do nothing. */
typedef struct rt_grammar_builder {
    rt_expr_node *nodes;
    rt_expr_link *links;
    rt_char_range *ranges;
    uint8_t *bytes;
    rt_rule *rules;
    size_t n_nodes, n_links, n_ranges, n_bytes, n_rules;
    size_t nodes_room, links_room, ranges_room, bytes_room, rules_room;
    uint32_t json_rules[8]; /* of JSON values, which all schemas of a grammar share; */
    bool has_json_rules;    /* made by the first one */
    gguf_code code;
    gguf_error *err;
} rt_grammar_builder;

void rt_builder_init(rt_grammar_builder *b, gguf_error *err);
void rt_builder_clear(rt_grammar_builder *b);

rt_expr rt_expr_never(rt_grammar_builder *b);
rt_expr rt_expr_text(rt_grammar_builder *b, const char *bytes, size_t n);
rt_expr rt_expr_class(rt_grammar_builder *b, const rt_char_range *ranges, size_t n);
rt_expr rt_expr_repeat(rt_grammar_builder *b, rt_expr part, uint32_t min, uint32_t max);
rt_expr rt_expr_rule(rt_grammar_builder *b, uint32_t rule);
rt_expr rt_expr_seq(rt_grammar_builder *b); /* to be added to, from first to last */
rt_expr rt_expr_alt(rt_grammar_builder *b);
void rt_expr_add(rt_grammar_builder *b, rt_expr list, rt_expr part);

/* A rule without a body yet. name may be NULL; copied. */
uint32_t rt_rule_new(rt_grammar_builder *b, const char *name, size_t n);
void rt_rule_define(rt_grammar_builder *b, uint32_t rule, rt_expr body);
/* A rule without a name, for what is used several times. */
rt_expr rt_expr_as_rule(rt_grammar_builder *b, rt_expr body);

/* A regular expression over characters, as ECMAScript has them; without `anchored` it may match
 * anywhere in the text unless it says ^ and $ itself.
 *   json  the characters stand in a JSON string, escaped where they have to be
 * Errors, in b: GGUF_E_FORMAT, GGUF_E_UNSUPPORTED, with the byte of the pattern. */
rt_expr rt_regex_expr(rt_grammar_builder *b, const char *pattern, size_t n, bool json,
                      bool anchored);
/* A class of characters of a JSON string: those that must be escaped are. */
rt_expr rt_json_class(rt_grammar_builder *b, const rt_char_range *ranges, size_t n);
/* Decimal numbers between two bounds, either may be NULL: decimal texts without exponents. */
typedef struct rt_number_bounds {
    bool has_min, has_max, min_exclusive, max_exclusive, integer;
    double min, max;
} rt_number_bounds;
rt_expr rt_number_expr(rt_grammar_builder *b, const rt_number_bounds *bounds);

/* Up to n hexadecimal digits at text, which has n_left bytes. Returns how many there are. */
unsigned rt_read_hex(const char *text, size_t n_left, unsigned n, uint32_t *value);

/* The states of a rule and all that it needs. Errors: what the front end left in b;
 * GGUF_E_FORMAT left recursion, a rule that matches nothing; GGUF_E_LIMIT; GGUF_E_NOMEM. */
gguf_code rt_grammar_finish(rt_grammar_builder *b, uint32_t root, rt_grammar **out);

#endif
