/* Expressions of architecture descriptions, and the names with {layer} and {expert} in them. */
#ifndef RUNTIME_MODEL_EXPRESSION_H
#define RUNTIME_MODEL_EXPRESSION_H

#include "libgguf/gguf.h"

/* The value of a name in an expression; false if it has none. */
typedef bool (*rt_lookup)(void *ctx, const char *name, uint64_t *out);

typedef enum rt_expression_result {
    RT_EXPRESSION_OK,
    RT_EXPRESSION_UNKNOWN, /* a name without a value */
    RT_EXPRESSION_NO_COUNT /* a quotient that is not whole, or a number out of range */
} rt_expression_result;

/* Why an expression has no value. */
typedef struct rt_expression_failure {
    char name[128]; /* without a value */
    uint64_t left, right;
    char op[4]; /* between the two */
} rt_expression_failure;

/* The value of OPERAND {operator OPERAND}, left to right without precedence. An operand is a number
 * or a name; operators are * / + -, // for the whole part of a quotient, and `up`, which goes up to
 * the next multiple.
 *   why  may be NULL */
rt_expression_result rt_expression_eval(const char *text, rt_lookup lookup, void *ctx,
                                        uint64_t *out, rt_expression_failure *why);

/* A number, or that of a layer where a key has one for each. False if there is none. */
bool rt_kv_number(const gguf_kv *kv, uint64_t layer, uint64_t *out);

/* A key of an architecture: behind its name, or, if it begins with a dot, without it. */
void rt_full_key(const char *architecture, const char *key, char *out, size_t n);

/* `pattern` with every {layer} and {expert} replaced; cut to n - 1 bytes. */
void rt_expand_name(const char *pattern, uint64_t layer, uint64_t expert, char *out, size_t n);

#endif
