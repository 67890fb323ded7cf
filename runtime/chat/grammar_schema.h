/* Compiling JSON schemas: what the parts of the compiler share. */
#ifndef RUNTIME_CHAT_GRAMMAR_SCHEMA_H
#define RUNTIME_CHAT_GRAMMAR_SCHEMA_H

#include "runtime/chat/grammar_build.h"

#include <jansson.h>

typedef struct schema_ref {
    const json_t *target;
    uint32_t rule;
} schema_ref;

typedef struct schema_compiler {
    rt_grammar_builder b;
    const json_t *root;
    char path[256]; /* of the schema at work, for messages */
    unsigned depth;
    json_t *owned; /* schemas that were made on the way */
    unsigned n_merged;
    schema_ref *refs;
    size_t n_refs;
    uint32_t a_char, a_string, an_integer, a_number, a_bool, a_value, an_object, an_array;
} schema_compiler;

/* The values of a schema, as a part of a grammar. Errors stay in b.
 *   root  what references within the schema are looked up in; often the schema itself */
rt_expr rt_schema_expr(rt_grammar_builder *b, const json_t *schema, const json_t *root);
/* Take out of a schema, in place, the keywords and formats that are not enforced; their paths,
 * which begin with `path`, are appended to a list of texts. */
void rt_schema_prune(json_t *schema, const char *path, json_t *left_out);

rt_expr rt_schema_fail(schema_compiler *c, gguf_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Go down in the path; returns what rt_schema_leave takes. */
size_t rt_schema_enter(schema_compiler *c, const char *name);
void rt_schema_leave(schema_compiler *c, size_t n);

rt_expr rt_schema_compile(schema_compiler *c, const json_t *schema);
/* properties, required, additionalProperties */
rt_expr rt_schema_object(schema_compiler *c, const json_t *schema);

/* A keyword that only describes. */
bool rt_schema_says_nothing(const char *keyword);
/* The schema that a $ref means, or NULL after an error. */
const json_t *rt_schema_resolve(schema_compiler *c, const json_t *ref);
/* A schema for what both accept, or NULL after an error; belongs to the compiler. */
const json_t *rt_schema_merge(schema_compiler *c, const json_t *a, const json_t *b);

#endif
