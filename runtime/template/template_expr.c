/* Expressions, from the loosest binding to the tightest. */
#include "runtime/template/template_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- helpers ----------------------------------------------------------------------------- */

rt_tpl_node *rt_template_node(rt_template_parser *p, rt_tpl_kind kind, size_t off) {
    rt_tpl_node *node = p->code ? NULL : rt_template_alloc(p, sizeof *node);
    /* After a failure the tree is thrown away: nodes are only written, never read. */
    if (!node) node = &p->scratch;
    *node = (rt_tpl_node){.kind = kind, .off = off};
    return node;
}

static bool has_text(const rt_template_parser *p, rt_template_token_kind kind, const char *text) {
    return !p->code && p->tok.kind == kind && gguf_str_eq(p->tok.text, text);
}

bool rt_template_is_op(const rt_template_parser *p, const char *op) {
    return has_text(p, RT_TEMPLATE_TOK_OP, op);
}

bool rt_template_is_name(const rt_template_parser *p, const char *name) {
    return has_text(p, RT_TEMPLATE_TOK_NAME, name);
}

bool rt_template_skip_op(rt_template_parser *p, const char *op) {
    if (!rt_template_is_op(p, op)) return false;
    rt_template_next_token(p);
    return true;
}

bool rt_template_skip_name(rt_template_parser *p, const char *name) {
    if (!rt_template_is_name(p, name)) return false;
    rt_template_next_token(p);
    return true;
}

static void fail_expected(rt_template_parser *p, const char *what) {
    int n = (int)(p->tok.text.len < 40 ? p->tok.text.len : 40);
    rt_template_fail(p, GGUF_E_FORMAT, p->tok.off, "expected %s before '%.*s'", what, n,
                     p->tok.text.ptr);
}

void rt_template_expect_op(rt_template_parser *p, const char *op) {
    char what[8];
    if (rt_template_skip_op(p, op)) return;
    snprintf(what, sizeof what, "'%s'", op);
    fail_expected(p, what);
}

gguf_str rt_template_expect_name(rt_template_parser *p, const char *what) {
    gguf_str text = p->tok.text;
    if (p->code || p->tok.kind != RT_TEMPLATE_TOK_NAME) {
        fail_expected(p, what);
        return (gguf_str){"", 0};
    }
    rt_template_next_token(p);
    return text;
}

bool rt_template_enter(rt_template_parser *p, size_t off) {
    if (++p->depth > RT_TPL_MAX_DEPTH)
        rt_template_fail(p, GGUF_E_LIMIT, off, "nested deeper than %d levels", RT_TPL_MAX_DEPTH);
    return !p->code;
}

void rt_template_leave(rt_template_parser *p) {
    p->depth--;
}

void rt_template_link(rt_template_parser *p) {
    if (++p->links > RT_TPL_MAX_LINKS)
        rt_template_fail(p, GGUF_E_LIMIT, p->tok.off, "more than %d operators in one tag",
                         RT_TPL_MAX_LINKS);
}

void rt_template_append(rt_tpl_node ***tail, rt_tpl_node *node) {
    **tail = node;
    *tail = &node->next;
}

/* ---- literals ---------------------------------------------------------------------------- */

/* The digits of a number token without underscores. */
static void number_text(const rt_template_parser *p, char *out, size_t room) {
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

static rt_tpl_node *parse_number(rt_template_parser *p) {
    char text[80], *end;
    bool is_real = p->tok.kind == RT_TEMPLATE_TOK_FLOAT;
    rt_tpl_node *node = rt_template_node(p, is_real ? RT_TPL_FLOAT : RT_TPL_INT, p->tok.off);
    number_text(p, text, sizeof text);
    errno = 0;
    if (is_real) {
        node->real = strtod(text, &end);
    } else {
        int base = number_base(text);
        node->integer = strtoll(base == 10 ? text : text + 2, &end, base);
        if (errno)
            rt_template_fail(p, GGUF_E_LIMIT, p->tok.off, "'%s' does not fit into 64 bits", text);
        if (end == text + (base == 10 ? 0 : 2)) end = text;
    }
    if (*end || end == text)
        rt_template_fail(p, GGUF_E_FORMAT, p->tok.off, "'%s' is not a number", text);
    rt_template_next_token(p);
    return node;
}

/* Strings beside each other are one. */
static rt_tpl_node *parse_string(rt_template_parser *p) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_STRING, p->tok.off);
    node->text = rt_template_unescape(p, p->tok);
    rt_template_next_token(p);
    while (!p->code && p->tok.kind == RT_TEMPLATE_TOK_STRING) {
        gguf_str more = rt_template_unescape(p, p->tok);
        char *joined = rt_template_alloc(p, node->text.len + more.len + 1);
        if (!joined) break;
        memcpy(joined, node->text.ptr, node->text.len);
        memcpy(joined + node->text.len, more.ptr, more.len);
        node->text = (gguf_str){joined, node->text.len + more.len};
        rt_template_next_token(p);
    }
    return node;
}

static rt_tpl_node *parse_name(rt_template_parser *p) {
    gguf_str name = p->tok.text;
    rt_tpl_node *node = rt_template_node(p, RT_TPL_NAME, p->tok.off);
    node->text = name;
    node->integer = gguf_str_eq(name, "true") || gguf_str_eq(name, "True");
    if (node->integer || gguf_str_eq(name, "false") || gguf_str_eq(name, "False"))
        node->kind = RT_TPL_BOOL;
    if (gguf_str_eq(name, "none") || gguf_str_eq(name, "None")) node->kind = RT_TPL_NONE;
    rt_template_next_token(p);
    return node;
}

static rt_tpl_node *parse_list(rt_template_parser *p) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_LIST, p->tok.off), **tail = &node->args;
    rt_template_next_token(p);
    while (!p->code && !rt_template_is_op(p, "]")) {
        rt_template_append(&tail, rt_template_parse_expression(p));
        if (!rt_template_is_op(p, "]")) rt_template_expect_op(p, ",");
    }
    rt_template_expect_op(p, "]");
    return node;
}

static rt_tpl_node *parse_dict(rt_template_parser *p) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_DICT, p->tok.off), **tail = &node->args;
    rt_template_next_token(p);
    while (!p->code && !rt_template_is_op(p, "}")) {
        rt_tpl_node *pair = rt_template_node(p, RT_TPL_PAIR, p->tok.off);
        pair->a = rt_template_parse_expression(p);
        rt_template_expect_op(p, ":");
        pair->b = rt_template_parse_expression(p);
        rt_template_append(&tail, pair);
        if (!rt_template_is_op(p, "}")) rt_template_expect_op(p, ",");
    }
    rt_template_expect_op(p, "}");
    return node;
}

static rt_tpl_node *parse_parentheses(rt_template_parser *p) {
    size_t off = p->tok.off;
    rt_template_next_token(p);
    rt_tpl_node *node = rt_template_is_op(p, ")") ? rt_template_node(p, RT_TPL_TUPLE, off)
                                                  : rt_template_parse_tuple(p, true, NULL);
    rt_template_expect_op(p, ")");
    return node;
}

static rt_tpl_node *parse_primary(rt_template_parser *p) {
    switch (p->tok.kind) {
    case RT_TEMPLATE_TOK_NAME:
        return parse_name(p);
    case RT_TEMPLATE_TOK_STRING:
        return parse_string(p);
    case RT_TEMPLATE_TOK_INT:
    case RT_TEMPLATE_TOK_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (rt_template_is_op(p, "(")) return parse_parentheses(p);
    if (rt_template_is_op(p, "[")) return parse_list(p);
    if (rt_template_is_op(p, "{")) return parse_dict(p);
    fail_expected(p, "an expression");
    return rt_template_node(p, RT_TPL_NONE, p->tok.off);
}

/* ---- what follows an operand ------------------------------------------------------------- */

static rt_tpl_node *parse_argument(rt_template_parser *p, bool *keyword) {
    size_t off = p->tok.off;
    rt_tpl_node *node = NULL;
    int stars = rt_template_skip_op(p, "**") ? 2 : rt_template_skip_op(p, "*") ? 1 : 0;
    if (stars) {
        node = rt_template_node(p, RT_TPL_SPREAD, off);
        node->integer = stars;
        node->a = rt_template_parse_expression(p);
        *keyword = *keyword || stars == 2;
        return node;
    }
    rt_tpl_node *value = rt_template_parse_expression(p);
    if (value->kind == RT_TPL_NAME && rt_template_skip_op(p, "=")) {
        node = rt_template_node(p, RT_TPL_KEYWORD, off);
        node->text = value->text;
        node->a = rt_template_parse_expression(p);
        *keyword = true;
        return node;
    }
    if (*keyword) rt_template_fail(p, GGUF_E_FORMAT, off, "a plain argument behind a named one");
    return value;
}

rt_tpl_node *rt_template_parse_call_args(rt_template_parser *p) {
    rt_tpl_node *first = NULL, **tail = &first;
    bool keyword = false;
    while (!p->code && !rt_template_is_op(p, ")")) {
        rt_template_append(&tail, parse_argument(p, &keyword));
        if (!rt_template_is_op(p, ")")) rt_template_expect_op(p, ",");
    }
    rt_template_expect_op(p, ")");
    return first;
}

static rt_tpl_node *parse_slice(rt_template_parser *p, rt_tpl_node *start, size_t off) {
    rt_tpl_node *slice = rt_template_node(p, RT_TPL_SLICE, off);
    slice->a = start;
    rt_template_expect_op(p, ":");
    if (!rt_template_is_op(p, ":") && !rt_template_is_op(p, "]"))
        slice->b = rt_template_parse_expression(p);
    if (rt_template_skip_op(p, ":") && !rt_template_is_op(p, "]"))
        slice->c = rt_template_parse_expression(p);
    return slice;
}

static rt_tpl_node *parse_index(rt_template_parser *p, rt_tpl_node *inner) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_INDEX, p->tok.off);
    rt_template_next_token(p);
    size_t off = p->tok.off;
    node->a = inner;
    rt_tpl_node *start = rt_template_is_op(p, ":") ? NULL : rt_template_parse_tuple(p, true, NULL);
    node->b = rt_template_is_op(p, ":") ? parse_slice(p, start, off) : start;
    rt_template_expect_op(p, "]");
    return node;
}

static rt_tpl_node *parse_attribute(rt_template_parser *p, rt_tpl_node *inner) {
    rt_template_next_token(p);
    rt_tpl_node *node = rt_template_node(p, RT_TPL_ATTRIBUTE, p->tok.off);
    node->a = inner;
    if (!p->code && p->tok.kind == RT_TEMPLATE_TOK_INT) {
        node->kind = RT_TPL_INDEX;
        node->b = parse_number(p);
        return node;
    }
    node->text = rt_template_expect_name(p, "a name");
    return node;
}

static rt_tpl_node *parse_call(rt_template_parser *p, rt_tpl_node *inner) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_CALL, p->tok.off);
    rt_template_next_token(p);
    node->a = inner;
    node->args = rt_template_parse_call_args(p);
    return node;
}

static rt_tpl_node *parse_postfix(rt_template_parser *p, rt_tpl_node *node) {
    for (; !p->code; rt_template_link(p)) {
        if (rt_template_is_op(p, "."))
            node = parse_attribute(p, node);
        else if (rt_template_is_op(p, "["))
            node = parse_index(p, node);
        else if (rt_template_is_op(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* A name, with dots. */
static gguf_str dotted_name(rt_template_parser *p, const char *what) {
    gguf_str name = rt_template_expect_name(p, what);
    while (rt_template_skip_op(p, ".")) {
        gguf_str last = rt_template_expect_name(p, what);
        if (last.len) name.len = (size_t)(last.ptr + last.len - name.ptr);
    }
    return name;
}

rt_tpl_node *rt_template_parse_filters(rt_template_parser *p, rt_tpl_node *inner,
                                       bool inline_first) {
    while (!p->code && (inline_first || rt_template_is_op(p, "|"))) {
        rt_template_link(p);
        if (!inline_first) rt_template_next_token(p);
        inline_first = false;
        rt_tpl_node *node = rt_template_node(p, RT_TPL_FILTER, p->tok.off);
        node->a = inner;
        node->text = dotted_name(p, "a filter");
        if (rt_template_skip_op(p, "(")) node->args = rt_template_parse_call_args(p);
        inner = node;
    }
    return inner;
}

/* Whether a test without parentheses takes what follows as its argument. */
static bool starts_test_argument(const rt_template_parser *p) {
    if (p->tok.kind == RT_TEMPLATE_TOK_OP)
        return rt_template_is_op(p, "[") || rt_template_is_op(p, "{");
    if (p->tok.kind == RT_TEMPLATE_TOK_BLOCK_END || p->tok.kind == RT_TEMPLATE_TOK_VAR_END)
        return false;
    return !rt_template_is_name(p, "else") && !rt_template_is_name(p, "or") &&
           !rt_template_is_name(p, "and");
}

static rt_tpl_node *parse_test(rt_template_parser *p, rt_tpl_node *inner) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_TEST, p->tok.off);
    rt_template_next_token(p);
    node->a = inner;
    node->integer = rt_template_skip_name(p, "not");
    node->text = dotted_name(p, "a test");
    if (rt_template_skip_op(p, "(")) {
        node->args = rt_template_parse_call_args(p);
    } else if (!p->code && starts_test_argument(p)) {
        if (rt_template_is_name(p, "is"))
            rt_template_fail(p, GGUF_E_FORMAT, p->tok.off, "a test cannot follow a test");
        node->args = parse_postfix(p, parse_primary(p));
    }
    return node;
}

static rt_tpl_node *parse_filters_and_tests(rt_template_parser *p, rt_tpl_node *node) {
    for (; !p->code; rt_template_link(p)) {
        if (rt_template_is_op(p, "|"))
            node = rt_template_parse_filters(p, node, false);
        else if (rt_template_is_name(p, "is"))
            node = parse_test(p, node);
        else if (rt_template_is_op(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* ---- operators --------------------------------------------------------------------------- */

static rt_tpl_node *parse_unary(rt_template_parser *p, bool with_filters) {
    rt_tpl_node *node;
    if (!rt_template_enter(p, p->tok.off)) return rt_template_node(p, RT_TPL_NONE, 0);
    if (rt_template_is_op(p, "-") || rt_template_is_op(p, "+")) {
        node = rt_template_node(p, RT_TPL_UNARY, p->tok.off);
        node->op = rt_template_is_op(p, "-") ? RT_TPL_OP_SUB : RT_TPL_OP_ADD;
        rt_template_next_token(p);
        node->a = parse_unary(p, false);
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (with_filters) node = parse_filters_and_tests(p, node);
    rt_template_leave(p);
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

static rt_tpl_op find_operator(const rt_template_parser *p, const operator_row *rows) {
    for (; rows->text; rows++)
        if (rt_template_is_op(p, rows->text)) return rows->op;
    return RT_TPL_OP_NONE;
}

static rt_tpl_node *parse_level(rt_template_parser *p, size_t level) {
    if (level == N_LEVELS) return parse_unary(p, true);
    rt_tpl_node *left = parse_level(p, level + 1);
    for (rt_tpl_op op; (op = find_operator(p, levels[level]));) {
        rt_tpl_node *node = rt_template_node(p, RT_TPL_BINARY, p->tok.off);
        rt_template_link(p);
        rt_template_next_token(p);
        node->op = op;
        node->a = left;
        node->b = parse_level(p, level + 1);
        left = node;
    }
    return left;
}

/* The comparison at the position, stepped over. */
static rt_tpl_op take_comparison(rt_template_parser *p) {
    rt_tpl_op op = find_operator(p, level_compare);
    if (op) {
        rt_template_next_token(p);
        return op;
    }
    if (rt_template_skip_name(p, "in")) return RT_TPL_OP_IN;
    if (!rt_template_is_name(p, "not")) return RT_TPL_OP_NONE;
    rt_template_next_token(p);
    if (rt_template_skip_name(p, "in")) return RT_TPL_OP_NOT_IN;
    fail_expected(p, "'in'");
    return RT_TPL_OP_NONE;
}

static rt_tpl_node *parse_compare(rt_template_parser *p) {
    size_t off = p->tok.off;
    rt_tpl_node *first = parse_level(p, 0), *node = NULL, **tail = NULL;
    for (;;) {
        size_t op_off = p->tok.off;
        rt_tpl_op op = take_comparison(p);
        if (!op || p->code) break;
        if (!node) {
            node = rt_template_node(p, RT_TPL_COMPARE, off);
            node->a = first;
            tail = &node->args;
        }
        rt_tpl_node *operand = rt_template_node(p, RT_TPL_OPERAND, op_off);
        operand->op = op;
        operand->a = parse_level(p, 0);
        rt_template_append(&tail, operand);
    }
    return node ? node : first;
}

static rt_tpl_node *parse_not(rt_template_parser *p) {
    if (!rt_template_is_name(p, "not")) return parse_compare(p);
    rt_tpl_node *node = rt_template_node(p, RT_TPL_UNARY, p->tok.off);
    node->op = RT_TPL_OP_NOT;
    if (!rt_template_enter(p, p->tok.off)) return node;
    rt_template_next_token(p);
    node->a = parse_not(p);
    rt_template_leave(p);
    return node;
}

static rt_tpl_node *parse_logical(rt_template_parser *p, const char *name, rt_tpl_op op,
                                  rt_tpl_node *(*operand)(rt_template_parser *p)) {
    rt_tpl_node *left = operand(p);
    while (rt_template_is_name(p, name)) {
        rt_tpl_node *node = rt_template_node(p, RT_TPL_BINARY, p->tok.off);
        rt_template_link(p);
        rt_template_next_token(p);
        node->op = op;
        node->a = left;
        node->b = operand(p);
        left = node;
    }
    return left;
}

static rt_tpl_node *parse_and(rt_template_parser *p) {
    return parse_logical(p, "and", RT_TPL_OP_AND, parse_not);
}

static rt_tpl_node *parse_or(rt_template_parser *p) {
    return parse_logical(p, "or", RT_TPL_OP_OR, parse_and);
}

rt_tpl_node *rt_template_parse_expression(rt_template_parser *p) {
    if (!rt_template_enter(p, p->tok.off)) return rt_template_node(p, RT_TPL_NONE, 0);
    rt_tpl_node *node = parse_or(p);
    while (rt_template_is_name(p, "if")) {
        rt_tpl_node *choice = rt_template_node(p, RT_TPL_CHOICE, p->tok.off);
        rt_template_link(p);
        rt_template_next_token(p);
        choice->b = node;
        choice->a = parse_or(p);
        if (rt_template_skip_name(p, "else")) choice->c = rt_template_parse_expression(p);
        node = choice;
    }
    rt_template_leave(p);
    return node;
}

/* ---- tuples, targets, parameters --------------------------------------------------------- */

static bool ends_tuple(const rt_template_parser *p, const char *stop) {
    if (p->code || p->tok.kind == RT_TEMPLATE_TOK_BLOCK_END ||
        p->tok.kind == RT_TEMPLATE_TOK_VAR_END)
        return true;
    return rt_template_is_op(p, ")") || rt_template_is_op(p, "]") ||
           (stop && rt_template_is_name(p, stop));
}

rt_tpl_node *rt_template_parse_tuple(rt_template_parser *p, bool with_choice, const char *stop) {
    size_t off = p->tok.off;
    rt_tpl_node *first = with_choice ? rt_template_parse_expression(p) : parse_or(p);
    if (!rt_template_is_op(p, ",")) return first;
    rt_tpl_node *tuple = rt_template_node(p, RT_TPL_TUPLE, off), **tail = &tuple->args;
    rt_template_append(&tail, first);
    while (rt_template_skip_op(p, ",") && !ends_tuple(p, stop))
        rt_template_append(&tail, with_choice ? rt_template_parse_expression(p) : parse_or(p));
    return tuple;
}

static rt_tpl_node *parse_target_name(rt_template_parser *p) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_NAME, p->tok.off);
    node->text = rt_template_expect_name(p, "a variable");
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (gguf_str_eq(node->text, reserved[i]))
            rt_template_fail(p, GGUF_E_FORMAT, node->off, "'%s' cannot be set", reserved[i]);
    return node;
}

static rt_tpl_node *parse_target_item(rt_template_parser *p) {
    if (!rt_template_is_op(p, "(")) return parse_target_name(p);
    if (!rt_template_enter(p, p->tok.off)) return rt_template_node(p, RT_TPL_NONE, 0);
    rt_template_next_token(p);
    rt_tpl_node *node = rt_template_parse_target(p, false);
    rt_template_expect_op(p, ")");
    rt_template_leave(p);
    return node;
}

rt_tpl_node *rt_template_parse_target(rt_template_parser *p, bool with_attribute) {
    size_t off = p->tok.off;
    rt_tpl_node *first = parse_target_item(p);
    if (with_attribute && rt_template_is_op(p, ".")) return parse_attribute(p, first);
    if (!rt_template_is_op(p, ",")) return first;
    rt_tpl_node *tuple = rt_template_node(p, RT_TPL_TUPLE, off), **tail = &tuple->args;
    rt_template_append(&tail, first);
    while (rt_template_skip_op(p, ",") && !ends_tuple(p, NULL))
        rt_template_append(&tail, parse_target_item(p));
    return tuple;
}

rt_tpl_node *rt_template_parse_params(rt_template_parser *p) {
    rt_tpl_node *first = NULL, **tail = &first;
    bool has_default = false;
    while (!p->code && !rt_template_is_op(p, ")")) {
        rt_tpl_node *param = rt_template_node(p, RT_TPL_PARAM, p->tok.off);
        param->text = parse_target_name(p)->text;
        if (rt_template_skip_op(p, "="))
            param->a = rt_template_parse_expression(p);
        else if (has_default)
            rt_template_fail(p, GGUF_E_FORMAT, param->off,
                             "a parameter without default behind one with");
        has_default = param->a != NULL;
        rt_template_append(&tail, param);
        if (!rt_template_is_op(p, ")")) rt_template_expect_op(p, ",");
    }
    rt_template_expect_op(p, ")");
    return first;
}
