/* Expressions, from the loosest binding to the tightest. */
#include "runtime/template/template_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- helpers ----------------------------------------------------------------------------- */

rt_tpl_node *tpl_node(tpl_parser *p, rt_tpl_kind kind, size_t off) {
    rt_tpl_node *node = p->code ? NULL : tpl_alloc(p, sizeof *node);
    /* After a failure the tree is thrown away: nodes are only written, never read. */
    if (!node) node = &p->scratch;
    *node = (rt_tpl_node){.kind = kind, .off = off};
    return node;
}

static bool has_text(const tpl_parser *p, tpl_token_kind kind, const char *text) {
    return !p->code && p->tok.kind == kind && gguf_str_eq(p->tok.text, text);
}

bool tpl_is_op(const tpl_parser *p, const char *op) {
    return has_text(p, TPL_TOK_OP, op);
}

bool tpl_is_name(const tpl_parser *p, const char *name) {
    return has_text(p, TPL_TOK_NAME, name);
}

bool tpl_skip_op(tpl_parser *p, const char *op) {
    if (!tpl_is_op(p, op)) return false;
    tpl_next_token(p);
    return true;
}

bool tpl_skip_name(tpl_parser *p, const char *name) {
    if (!tpl_is_name(p, name)) return false;
    tpl_next_token(p);
    return true;
}

static void fail_expected(tpl_parser *p, const char *what) {
    int n = (int)(p->tok.text.len < 40 ? p->tok.text.len : 40);
    tpl_fail(p, GGUF_E_FORMAT, p->tok.off, "expected %s before '%.*s'", what, n, p->tok.text.ptr);
}

void tpl_expect_op(tpl_parser *p, const char *op) {
    char what[8];
    if (tpl_skip_op(p, op)) return;
    snprintf(what, sizeof what, "'%s'", op);
    fail_expected(p, what);
}

gguf_str tpl_expect_name(tpl_parser *p, const char *what) {
    gguf_str text = p->tok.text;
    if (p->code || p->tok.kind != TPL_TOK_NAME) {
        fail_expected(p, what);
        return (gguf_str){"", 0};
    }
    tpl_next_token(p);
    return text;
}

bool tpl_enter(tpl_parser *p, size_t off) {
    if (++p->depth > RT_TPL_MAX_DEPTH)
        tpl_fail(p, GGUF_E_LIMIT, off, "nested deeper than %d levels", RT_TPL_MAX_DEPTH);
    return !p->code;
}

void tpl_leave(tpl_parser *p) {
    p->depth--;
}

void tpl_link(tpl_parser *p) {
    if (++p->links > RT_TPL_MAX_LINKS)
        tpl_fail(p, GGUF_E_LIMIT, p->tok.off, "more than %d operators in one tag",
                 RT_TPL_MAX_LINKS);
}

void tpl_append(rt_tpl_node ***tail, rt_tpl_node *node) {
    **tail = node;
    *tail = &node->next;
}

/* ---- literals ---------------------------------------------------------------------------- */

/* The digits of a number token without underscores. */
static void number_text(const tpl_parser *p, char *out, size_t room) {
    size_t n = 0;
    for (size_t i = 0; i < p->tok.text.len && n + 1 < room; i++)
        if (p->tok.text.ptr[i] != '_') out[n++] = p->tok.text.ptr[i];
    out[n] = '\0';
}

static int number_base(const char *text) {
    if (text[0] != '0' || !text[1]) return 10;
    char c = (char)(text[1] | 32);
    return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
}

static rt_tpl_node *parse_number(tpl_parser *p) {
    char text[80], *end;
    bool is_real = p->tok.kind == TPL_TOK_FLOAT;
    rt_tpl_node *node = tpl_node(p, is_real ? RT_TPL_FLOAT : RT_TPL_INT, p->tok.off);
    number_text(p, text, sizeof text);
    errno = 0;
    if (is_real) {
        node->real = strtod(text, &end);
    } else {
        int base = number_base(text);
        node->integer = strtoll(base == 10 ? text : text + 2, &end, base);
        if (errno) tpl_fail(p, GGUF_E_LIMIT, p->tok.off, "'%s' does not fit into 64 bits", text);
        if (end == text + (base == 10 ? 0 : 2)) end = text;
    }
    if (*end || end == text) tpl_fail(p, GGUF_E_FORMAT, p->tok.off, "'%s' is not a number", text);
    tpl_next_token(p);
    return node;
}

/* Strings beside each other are one. */
static rt_tpl_node *parse_string(tpl_parser *p) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_STRING, p->tok.off);
    node->text = tpl_unescape(p, p->tok);
    tpl_next_token(p);
    while (!p->code && p->tok.kind == TPL_TOK_STRING) {
        gguf_str more = tpl_unescape(p, p->tok);
        char *joined = tpl_alloc(p, node->text.len + more.len + 1);
        if (!joined) break;
        memcpy(joined, node->text.ptr, node->text.len);
        memcpy(joined + node->text.len, more.ptr, more.len);
        node->text = (gguf_str){joined, node->text.len + more.len};
        tpl_next_token(p);
    }
    return node;
}

static rt_tpl_node *parse_name(tpl_parser *p) {
    gguf_str name = p->tok.text;
    rt_tpl_node *node = tpl_node(p, RT_TPL_NAME, p->tok.off);
    node->text = name;
    node->integer = gguf_str_eq(name, "true") || gguf_str_eq(name, "True");
    if (node->integer || gguf_str_eq(name, "false") || gguf_str_eq(name, "False"))
        node->kind = RT_TPL_BOOL;
    if (gguf_str_eq(name, "none") || gguf_str_eq(name, "None")) node->kind = RT_TPL_NONE;
    tpl_next_token(p);
    return node;
}

static rt_tpl_node *parse_list(tpl_parser *p) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_LIST, p->tok.off), **tail = &node->args;
    tpl_next_token(p);
    while (!p->code && !tpl_is_op(p, "]")) {
        tpl_append(&tail, tpl_parse_expression(p));
        if (!tpl_is_op(p, "]")) tpl_expect_op(p, ",");
    }
    tpl_expect_op(p, "]");
    return node;
}

static rt_tpl_node *parse_dict(tpl_parser *p) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_DICT, p->tok.off), **tail = &node->args;
    tpl_next_token(p);
    while (!p->code && !tpl_is_op(p, "}")) {
        rt_tpl_node *pair = tpl_node(p, RT_TPL_PAIR, p->tok.off);
        pair->a = tpl_parse_expression(p);
        tpl_expect_op(p, ":");
        pair->b = tpl_parse_expression(p);
        tpl_append(&tail, pair);
        if (!tpl_is_op(p, "}")) tpl_expect_op(p, ",");
    }
    tpl_expect_op(p, "}");
    return node;
}

static rt_tpl_node *parse_parentheses(tpl_parser *p) {
    size_t off = p->tok.off;
    tpl_next_token(p);
    rt_tpl_node *node =
        tpl_is_op(p, ")") ? tpl_node(p, RT_TPL_TUPLE, off) : tpl_parse_tuple(p, true, NULL);
    tpl_expect_op(p, ")");
    return node;
}

static rt_tpl_node *parse_primary(tpl_parser *p) {
    switch (p->tok.kind) {
    case TPL_TOK_NAME:
        return parse_name(p);
    case TPL_TOK_STRING:
        return parse_string(p);
    case TPL_TOK_INT:
    case TPL_TOK_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (tpl_is_op(p, "(")) return parse_parentheses(p);
    if (tpl_is_op(p, "[")) return parse_list(p);
    if (tpl_is_op(p, "{")) return parse_dict(p);
    fail_expected(p, "an expression");
    return tpl_node(p, RT_TPL_NONE, p->tok.off);
}

/* ---- what follows an operand ------------------------------------------------------------- */

static rt_tpl_node *parse_argument(tpl_parser *p, bool *keyword) {
    size_t off = p->tok.off;
    rt_tpl_node *node = NULL;
    int stars = tpl_skip_op(p, "**") ? 2 : tpl_skip_op(p, "*") ? 1 : 0;
    if (stars) {
        node = tpl_node(p, RT_TPL_SPREAD, off);
        node->integer = stars;
        node->a = tpl_parse_expression(p);
        *keyword = *keyword || stars == 2;
        return node;
    }
    rt_tpl_node *value = tpl_parse_expression(p);
    if (value->kind == RT_TPL_NAME && tpl_skip_op(p, "=")) {
        node = tpl_node(p, RT_TPL_KEYWORD, off);
        node->text = value->text;
        node->a = tpl_parse_expression(p);
        *keyword = true;
        return node;
    }
    if (*keyword) tpl_fail(p, GGUF_E_FORMAT, off, "a plain argument behind a named one");
    return value;
}

rt_tpl_node *tpl_parse_call_args(tpl_parser *p) {
    rt_tpl_node *first = NULL, **tail = &first;
    bool keyword = false;
    while (!p->code && !tpl_is_op(p, ")")) {
        tpl_append(&tail, parse_argument(p, &keyword));
        if (!tpl_is_op(p, ")")) tpl_expect_op(p, ",");
    }
    tpl_expect_op(p, ")");
    return first;
}

static rt_tpl_node *parse_slice(tpl_parser *p, rt_tpl_node *start, size_t off) {
    rt_tpl_node *slice = tpl_node(p, RT_TPL_SLICE, off);
    slice->a = start;
    tpl_expect_op(p, ":");
    if (!tpl_is_op(p, ":") && !tpl_is_op(p, "]")) slice->b = tpl_parse_expression(p);
    if (tpl_skip_op(p, ":") && !tpl_is_op(p, "]")) slice->c = tpl_parse_expression(p);
    return slice;
}

static rt_tpl_node *parse_index(tpl_parser *p, rt_tpl_node *inner) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_INDEX, p->tok.off);
    tpl_next_token(p);
    size_t off = p->tok.off;
    node->a = inner;
    rt_tpl_node *start = tpl_is_op(p, ":") ? NULL : tpl_parse_tuple(p, true, NULL);
    node->b = tpl_is_op(p, ":") ? parse_slice(p, start, off) : start;
    tpl_expect_op(p, "]");
    return node;
}

static rt_tpl_node *parse_attribute(tpl_parser *p, rt_tpl_node *inner) {
    tpl_next_token(p);
    rt_tpl_node *node = tpl_node(p, RT_TPL_ATTRIBUTE, p->tok.off);
    node->a = inner;
    if (!p->code && p->tok.kind == TPL_TOK_INT) {
        node->kind = RT_TPL_INDEX;
        node->b = parse_number(p);
        return node;
    }
    node->text = tpl_expect_name(p, "a name");
    return node;
}

static rt_tpl_node *parse_call(tpl_parser *p, rt_tpl_node *inner) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_CALL, p->tok.off);
    tpl_next_token(p);
    node->a = inner;
    node->args = tpl_parse_call_args(p);
    return node;
}

static rt_tpl_node *parse_postfix(tpl_parser *p, rt_tpl_node *node) {
    for (; !p->code; tpl_link(p)) {
        if (tpl_is_op(p, "."))
            node = parse_attribute(p, node);
        else if (tpl_is_op(p, "["))
            node = parse_index(p, node);
        else if (tpl_is_op(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* A name, with dots. */
static gguf_str dotted_name(tpl_parser *p, const char *what) {
    gguf_str name = tpl_expect_name(p, what);
    while (tpl_skip_op(p, ".")) {
        gguf_str last = tpl_expect_name(p, what);
        if (last.len) name.len = (size_t)(last.ptr + last.len - name.ptr);
    }
    return name;
}

rt_tpl_node *tpl_parse_filters(tpl_parser *p, rt_tpl_node *inner, bool inline_first) {
    while (!p->code && (inline_first || tpl_is_op(p, "|"))) {
        tpl_link(p);
        if (!inline_first) tpl_next_token(p);
        inline_first = false;
        rt_tpl_node *node = tpl_node(p, RT_TPL_FILTER, p->tok.off);
        node->a = inner;
        node->text = dotted_name(p, "a filter");
        if (tpl_skip_op(p, "(")) node->args = tpl_parse_call_args(p);
        inner = node;
    }
    return inner;
}

/* Whether a test without parentheses takes what follows as its argument. */
static bool starts_test_argument(const tpl_parser *p) {
    if (p->tok.kind == TPL_TOK_OP) return tpl_is_op(p, "[") || tpl_is_op(p, "{");
    if (p->tok.kind == TPL_TOK_BLOCK_END || p->tok.kind == TPL_TOK_VAR_END) return false;
    return !tpl_is_name(p, "else") && !tpl_is_name(p, "or") && !tpl_is_name(p, "and");
}

static rt_tpl_node *parse_test(tpl_parser *p, rt_tpl_node *inner) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_TEST, p->tok.off);
    tpl_next_token(p);
    node->a = inner;
    node->integer = tpl_skip_name(p, "not");
    node->text = dotted_name(p, "a test");
    if (tpl_skip_op(p, "(")) {
        node->args = tpl_parse_call_args(p);
    } else if (!p->code && starts_test_argument(p)) {
        if (tpl_is_name(p, "is"))
            tpl_fail(p, GGUF_E_FORMAT, p->tok.off, "a test cannot follow a test");
        node->args = parse_postfix(p, parse_primary(p));
    }
    return node;
}

static rt_tpl_node *parse_filters_and_tests(tpl_parser *p, rt_tpl_node *node) {
    for (; !p->code; tpl_link(p)) {
        if (tpl_is_op(p, "|"))
            node = tpl_parse_filters(p, node, false);
        else if (tpl_is_name(p, "is"))
            node = parse_test(p, node);
        else if (tpl_is_op(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* ---- operators --------------------------------------------------------------------------- */

static rt_tpl_node *parse_unary(tpl_parser *p, bool with_filters) {
    rt_tpl_node *node;
    if (!tpl_enter(p, p->tok.off)) return tpl_node(p, RT_TPL_NONE, 0);
    if (tpl_is_op(p, "-") || tpl_is_op(p, "+")) {
        node = tpl_node(p, RT_TPL_UNARY, p->tok.off);
        node->op = tpl_is_op(p, "-") ? RT_TPL_OP_SUB : RT_TPL_OP_ADD;
        tpl_next_token(p);
        node->a = parse_unary(p, false);
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filters) node = parse_filters_and_tests(p, node);
    tpl_leave(p);
    return node;
}

typedef struct operator_row {
    const char *text;
    rt_tpl_op op;
} operator_row;

static const operator_row level_power[] = {{"**", RT_TPL_OP_POW}, {NULL, 0}};
static const operator_row level_product[] = {{"*", RT_TPL_OP_MUL},
                                             {"/", RT_TPL_OP_DIV},
                                             {"//", RT_TPL_OP_FLOORDIV},
                                             {"%", RT_TPL_OP_MOD},
                                             {NULL, 0}};
static const operator_row level_concat[] = {{"~", RT_TPL_OP_CONCAT}, {NULL, 0}};
static const operator_row level_sum[] = {{"+", RT_TPL_OP_ADD}, {"-", RT_TPL_OP_SUB}, {NULL, 0}};
static const operator_row level_compare[] = {{"==", RT_TPL_OP_EQ},
                                             {"!=", RT_TPL_OP_NE},
                                             {"<=", RT_TPL_OP_LE},
                                             {"<", RT_TPL_OP_LT},
                                             {">=", RT_TPL_OP_GE},
                                             {">", RT_TPL_OP_GT},
                                             {NULL, 0}};
static const operator_row *const levels[] = {level_sum, level_concat, level_product, level_power};

#define N_LEVELS (sizeof levels / sizeof levels[0])

static rt_tpl_op find_operator(const tpl_parser *p, const operator_row *rows) {
    for (; rows->text; rows++)
        if (tpl_is_op(p, rows->text)) return rows->op;
    return RT_TPL_OP_NONE;
}

static rt_tpl_node *parse_level(tpl_parser *p, size_t level) {
    if (level == N_LEVELS) return parse_unary(p, true);
    rt_tpl_node *left = parse_level(p, level + 1);
    for (rt_tpl_op op; (op = find_operator(p, levels[level]));) {
        rt_tpl_node *node = tpl_node(p, RT_TPL_BINARY, p->tok.off);
        tpl_link(p);
        tpl_next_token(p);
        node->op = op;
        node->a = left;
        node->b = parse_level(p, level + 1);
        left = node;
    }
    return left;
}

/* The comparison at the position, stepped over. */
static rt_tpl_op take_comparison(tpl_parser *p) {
    rt_tpl_op op = find_operator(p, level_compare);
    if (op) {
        tpl_next_token(p);
        return op;
    }
    if (tpl_skip_name(p, "in")) return RT_TPL_OP_IN;
    if (!tpl_is_name(p, "not")) return RT_TPL_OP_NONE;
    tpl_next_token(p);
    if (tpl_skip_name(p, "in")) return RT_TPL_OP_NOT_IN;
    fail_expected(p, "'in'");
    return RT_TPL_OP_NONE;
}

static rt_tpl_node *parse_compare(tpl_parser *p) {
    size_t off = p->tok.off;
    rt_tpl_node *first = parse_level(p, 0), *node = NULL, **tail = NULL;
    for (;;) {
        size_t op_off = p->tok.off;
        rt_tpl_op op = take_comparison(p);
        if (!op || p->code) break;
        if (!node) {
            node = tpl_node(p, RT_TPL_COMPARE, off);
            node->a = first;
            tail = &node->args;
        }
        rt_tpl_node *operand = tpl_node(p, RT_TPL_OPERAND, op_off);
        operand->op = op;
        operand->a = parse_level(p, 0);
        tpl_append(&tail, operand);
    }
    return node ? node : first;
}

static rt_tpl_node *parse_not(tpl_parser *p) {
    if (!tpl_is_name(p, "not")) return parse_compare(p);
    rt_tpl_node *node = tpl_node(p, RT_TPL_UNARY, p->tok.off);
    node->op = RT_TPL_OP_NOT;
    if (!tpl_enter(p, p->tok.off)) return node;
    tpl_next_token(p);
    node->a = parse_not(p);
    tpl_leave(p);
    return node;
}

static rt_tpl_node *parse_logical(tpl_parser *p, const char *name, rt_tpl_op op,
                                  rt_tpl_node *(*operand)(tpl_parser *p)) {
    rt_tpl_node *left = operand(p);
    while (tpl_is_name(p, name)) {
        rt_tpl_node *node = tpl_node(p, RT_TPL_BINARY, p->tok.off);
        tpl_link(p);
        tpl_next_token(p);
        node->op = op;
        node->a = left;
        node->b = operand(p);
        left = node;
    }
    return left;
}

static rt_tpl_node *parse_and(tpl_parser *p) {
    return parse_logical(p, "and", RT_TPL_OP_AND, parse_not);
}

static rt_tpl_node *parse_or(tpl_parser *p) {
    return parse_logical(p, "or", RT_TPL_OP_OR, parse_and);
}

rt_tpl_node *tpl_parse_expression(tpl_parser *p) {
    if (!tpl_enter(p, p->tok.off)) return tpl_node(p, RT_TPL_NONE, 0);
    rt_tpl_node *node = parse_or(p);
    while (tpl_is_name(p, "if")) {
        rt_tpl_node *choice = tpl_node(p, RT_TPL_CHOICE, p->tok.off);
        tpl_link(p);
        tpl_next_token(p);
        choice->b = node;
        choice->a = parse_or(p);
        if (tpl_skip_name(p, "else")) choice->c = tpl_parse_expression(p);
        node = choice;
    }
    tpl_leave(p);
    return node;
}

/* ---- tuples, targets, parameters --------------------------------------------------------- */

static bool ends_tuple(const tpl_parser *p, const char *stop) {
    if (p->code || p->tok.kind == TPL_TOK_BLOCK_END || p->tok.kind == TPL_TOK_VAR_END) return true;
    return tpl_is_op(p, ")") || tpl_is_op(p, "]") || (stop && tpl_is_name(p, stop));
}

rt_tpl_node *tpl_parse_tuple(tpl_parser *p, bool with_choice, const char *stop) {
    size_t off = p->tok.off;
    rt_tpl_node *first = with_choice ? tpl_parse_expression(p) : parse_or(p);
    if (!tpl_is_op(p, ",")) return first;
    rt_tpl_node *tuple = tpl_node(p, RT_TPL_TUPLE, off), **tail = &tuple->args;
    tpl_append(&tail, first);
    while (tpl_skip_op(p, ",") && !ends_tuple(p, stop))
        tpl_append(&tail, with_choice ? tpl_parse_expression(p) : parse_or(p));
    return tuple;
}

static rt_tpl_node *parse_target_name(tpl_parser *p) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_NAME, p->tok.off);
    node->text = tpl_expect_name(p, "a variable");
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (gguf_str_eq(node->text, reserved[i]))
            tpl_fail(p, GGUF_E_FORMAT, node->off, "'%s' cannot be set", reserved[i]);
    return node;
}

static rt_tpl_node *parse_target_item(tpl_parser *p) {
    if (!tpl_is_op(p, "(")) return parse_target_name(p);
    if (!tpl_enter(p, p->tok.off)) return tpl_node(p, RT_TPL_NONE, 0);
    tpl_next_token(p);
    rt_tpl_node *node = tpl_parse_target(p, false);
    tpl_expect_op(p, ")");
    tpl_leave(p);
    return node;
}

rt_tpl_node *tpl_parse_target(tpl_parser *p, bool with_attribute) {
    size_t off = p->tok.off;
    rt_tpl_node *first = parse_target_item(p);
    if (with_attribute && tpl_is_op(p, ".")) return parse_attribute(p, first);
    if (!tpl_is_op(p, ",")) return first;
    rt_tpl_node *tuple = tpl_node(p, RT_TPL_TUPLE, off), **tail = &tuple->args;
    tpl_append(&tail, first);
    while (tpl_skip_op(p, ",") && !ends_tuple(p, NULL)) tpl_append(&tail, parse_target_item(p));
    return tuple;
}

rt_tpl_node *tpl_parse_params(tpl_parser *p) {
    rt_tpl_node *first = NULL, **tail = &first;
    bool has_default = false;
    while (!p->code && !tpl_is_op(p, ")")) {
        rt_tpl_node *param = tpl_node(p, RT_TPL_PARAM, p->tok.off);
        param->text = parse_target_name(p)->text;
        if (tpl_skip_op(p, "="))
            param->a = tpl_parse_expression(p);
        else if (has_default)
            tpl_fail(p, GGUF_E_FORMAT, param->off, "a parameter without default behind one with");
        has_default = param->a != NULL;
        tpl_append(&tail, param);
        if (!tpl_is_op(p, ")")) tpl_expect_op(p, ",");
    }
    tpl_expect_op(p, ")");
    return first;
}
