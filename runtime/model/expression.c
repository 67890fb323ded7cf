/* The one evaluator of expressions in descriptions, and the one expansion of their names. */
#include "runtime/model/expression.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluation {
    rt_lookup lookup;
    void *ctx;
    rt_expression_failure *why;
} evaluation;

static rt_expression_result operand(const evaluation *e, const char *text, uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 10);
    if (end != text && !*end) return RT_EXPRESSION_OK;
    if (e->lookup(e->ctx, text, out)) return RT_EXPRESSION_OK;
    if (e->why) snprintf(e->why->name, sizeof e->why->name, "%s", text);
    return RT_EXPRESSION_UNKNOWN;
}

static bool round_up(uint64_t left, uint64_t unit, uint64_t *out) {
    if (!unit) return false;
    uint64_t rest = left % unit;
    return !__builtin_add_overflow(left, rest ? unit - rest : 0, out);
}

static bool combine(const char *op, uint64_t left, uint64_t right, uint64_t *out) {
    if (strcmp(op, "up") == 0) return round_up(left, right, out);
    if (strcmp(op, "//") == 0 && right) {
        *out = left / right;
        return true;
    }
    if (op[0] == '\0' || op[1] != '\0') return false;
    if (*op == '*') return !__builtin_mul_overflow(left, right, out);
    if (*op == '+') return !__builtin_add_overflow(left, right, out);
    if (*op == '-') return !__builtin_sub_overflow(left, right, out);
    if (*op != '/' || !right || left % right) return false;
    *out = left / right;
    return true;
}

static rt_expression_result apply(const evaluation *e, const char *op, uint64_t right,
                                  uint64_t *value) {
    uint64_t left = *value;
    if (combine(op, left, right, value)) return RT_EXPRESSION_OK;
    if (e->why) {
        e->why->left = left;
        e->why->right = right;
        snprintf(e->why->op, sizeof e->why->op, "%s", op);
    }
    return RT_EXPRESSION_NO_COUNT;
}

rt_expression_result rt_expression_eval(const char *expression, rt_lookup lookup, void *ctx,
                                        uint64_t *out, rt_expression_failure *why) {
    const evaluation e = {lookup, ctx, why};
    char text[256], *save = NULL;
    snprintf(text, sizeof text, "%s", expression);
    const char *word = strtok_r(text, " ", &save), *next;
    rt_expression_result result = operand(&e, word ? word : "", out);
    while (!result && (word = strtok_r(NULL, " ", &save))) {
        uint64_t right = 0;
        next = strtok_r(NULL, " ", &save);
        result = operand(&e, next ? next : "", &right);
        if (!result) result = apply(&e, word, right, out);
    }
    return result;
}

bool rt_kv_number(const gguf_kv *kv, uint64_t layer, uint64_t *out) {
    gguf_kv_iter it = {.kv = kv};
    int64_t value = -1;
    if (!kv || kv->type != GGUF_VALUE_ARRAY) return gguf_kv_u64(kv, out);
    for (uint64_t i = 0; i <= layer; i++)
        if (!gguf_kv_next_i64(&it, &value)) return false;
    *out = (uint64_t)value;
    return value >= 0;
}

void rt_expand_name(const char *pattern, uint64_t layer, uint64_t expert, char *out, size_t n) {
    size_t len = 0;
    while (*pattern && len + 24 < n) {
        bool is_layer = strncmp(pattern, "{layer}", 7) == 0;
        if (is_layer || strncmp(pattern, "{expert}", 8) == 0) {
            len += (size_t)snprintf(out + len, n - len, "%" PRIu64, is_layer ? layer : expert);
            pattern += is_layer ? 7 : 8;
        } else {
            out[len++] = *pattern++;
        }
    }
    out[len] = '\0';
}

void rt_full_key(const char *architecture, const char *key, char *out, size_t n) {
    if (*key == '.')
        snprintf(out, n, "%s", key + 1);
    else
        snprintf(out, n, "%s.%s", architecture, key);
}
