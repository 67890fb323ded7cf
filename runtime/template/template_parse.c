/* Statements, and the parser's start and end. */
#include "runtime/template/template_internal.h"

#include <stdlib.h>
#include <string.h>

static rt_tpl_node *parse_body(rt_template_parser *p, const char *opener, size_t opened,
                               const char *const *ends);

static void end_block(rt_template_parser *p) {
    if (!p->code && p->tok.kind != RT_TEMPLATE_TOK_BLOCK_END)
        rt_template_fail(p, GGUF_E_FORMAT, p->tok.off, "expected '%%}' before '%.*s'",
                         (int)(p->tok.text.len < 40 ? p->tok.text.len : 40), p->tok.text.ptr);
}

/* A body up to its one end, which is stepped over. */
static rt_tpl_node *parse_whole_body(rt_template_parser *p, const char *opener, size_t opened,
                                     const char *end) {
    const char *ends[] = {end, NULL};
    end_block(p);
    rt_tpl_node *body = parse_body(p, opener, opened, ends);
    rt_template_next_token(p);
    end_block(p);
    return body;
}

/* ---- statements -------------------------------------------------------------------------- */

static rt_tpl_node *parse_for(rt_template_parser *p, size_t off) {
    static const char *const ends[] = {"endfor", "else", NULL};
    rt_tpl_node *node = rt_template_node(p, RT_TPL_FOR, off);
    node->a = rt_template_parse_target(p, false);
    if (!rt_template_skip_name(p, "in"))
        rt_template_fail(p, GGUF_E_FORMAT, p->tok.off, "expected 'in' in a 'for'");
    node->b = rt_template_parse_tuple(p, false, "recursive");
    if (rt_template_skip_name(p, "if")) node->c = rt_template_parse_expression(p);
    node->integer = rt_template_skip_name(p, "recursive");
    end_block(p);
    p->loops++;
    node->body = parse_body(p, "for", off, ends);
    p->loops--;
    bool has_else = rt_template_is_name(p, "else");
    rt_template_next_token(p);
    end_block(p);
    if (has_else) node->orelse = parse_whole_body(p, "for", off, "endfor");
    return node;
}

/* The branches from one condition on; those behind it are nested in its orelse. */
static rt_tpl_node *parse_if(rt_template_parser *p, size_t off) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    rt_tpl_node *node = rt_template_node(p, RT_TPL_IF, off);
    if (!rt_template_enter(p, off)) return node;
    node->a = rt_template_parse_tuple(p, false, NULL);
    end_block(p);
    node->body = parse_body(p, "if", off, ends);
    size_t at = p->tok.off;
    bool has_elif = rt_template_skip_name(p, "elif");
    if (has_elif) node->orelse = parse_if(p, at);
    if (!has_elif) {
        bool has_else = rt_template_is_name(p, "else");
        rt_template_next_token(p);
        end_block(p);
        if (has_else) node->orelse = parse_whole_body(p, "if", off, "endif");
    }
    rt_template_leave(p);
    return node;
}

static rt_tpl_node *parse_set(rt_template_parser *p, size_t off) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_SET, off);
    node->a = rt_template_parse_target(p, true);
    if (rt_template_skip_op(p, "=")) {
        node->b = rt_template_parse_tuple(p, true, NULL);
        end_block(p);
        return node;
    }
    node->c = rt_template_parse_filters(p, NULL, false);
    node->body = parse_whole_body(p, "set", off, "endset");
    return node;
}

static rt_tpl_node *parse_macro(rt_template_parser *p, size_t off) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_MACRO, off);
    unsigned loops = p->loops;
    node->text = rt_template_expect_name(p, "a macro's name");
    rt_template_expect_op(p, "(");
    node->args = rt_template_parse_params(p);
    p->loops = 0;
    node->body = parse_whole_body(p, "macro", off, "endmacro");
    p->loops = loops;
    return node;
}

static rt_tpl_node *parse_call_block(rt_template_parser *p, size_t off) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_CALL_BLOCK, off);
    if (rt_template_skip_op(p, "(")) node->args = rt_template_parse_params(p);
    size_t at = p->tok.off;
    node->a = rt_template_parse_expression(p);
    if (!p->code && node->a->kind != RT_TPL_CALL)
        rt_template_fail(p, GGUF_E_FORMAT, at, "'call' needs a call");
    node->body = parse_whole_body(p, "call", off, "endcall");
    return node;
}

static rt_tpl_node *parse_filter_block(rt_template_parser *p, size_t off) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_FILTER_BLOCK, off);
    node->a = rt_template_parse_filters(p, NULL, true);
    node->body = parse_whole_body(p, "filter", off, "endfilter");
    return node;
}

/* Names for the body alone; the values do not see them. */
static rt_tpl_node *parse_with(rt_template_parser *p, size_t off) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_WITH, off), **tail = &node->args;
    while (!p->code && p->tok.kind != RT_TEMPLATE_TOK_BLOCK_END) {
        if (node->args) rt_template_expect_op(p, ",");
        rt_tpl_node *pair = rt_template_node(p, RT_TPL_PAIR, p->tok.off);
        pair->a = rt_template_parse_target(p, false);
        rt_template_expect_op(p, "=");
        pair->b = rt_template_parse_expression(p);
        rt_template_append(&tail, pair);
    }
    node->body = parse_whole_body(p, "with", off, "endwith");
    return node;
}

static rt_tpl_node *parse_generation(rt_template_parser *p, size_t off) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_GENERATION, off);
    node->body = parse_whole_body(p, "generation", off, "endgeneration");
    return node;
}

static rt_tpl_node *parse_jump(rt_template_parser *p, rt_tpl_kind kind, size_t off) {
    if (!p->loops) rt_template_fail(p, GGUF_E_FORMAT, off, "a jump outside of a loop");
    end_block(p);
    return rt_template_node(p, kind, off);
}

static rt_tpl_node *parse_break(rt_template_parser *p, size_t off) {
    return parse_jump(p, RT_TPL_BREAK, off);
}

static rt_tpl_node *parse_continue(rt_template_parser *p, size_t off) {
    return parse_jump(p, RT_TPL_CONTINUE, off);
}

static const struct {
    const char *name;
    rt_tpl_node *(*parse)(rt_template_parser *p, size_t off);
} statements[] = {{"for", parse_for},         {"if", parse_if},
                  {"set", parse_set},         {"macro", parse_macro},
                  {"call", parse_call_block}, {"filter", parse_filter_block},
                  {"with", parse_with},       {"generation", parse_generation},
                  {"break", parse_break},     {"continue", parse_continue}};

static bool reads_files(gguf_str name) {
    static const char *const names[] = {"import", "include", "extends", "from", "block"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (gguf_str_eq(name, names[i])) return true;
    return false;
}

static rt_tpl_node *parse_statement(rt_template_parser *p) {
    rt_template_token tok = p->tok;
    gguf_str name = rt_template_expect_name(p, "a statement");
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (gguf_str_eq(name, statements[i].name)) return statements[i].parse(p, tok.off);
    int n = (int)(name.len < 40 ? name.len : 40);
    if (reads_files(name))
        rt_template_fail(p, GGUF_E_FORMAT, tok.off, "'%.*s' reaches for other templates", n,
                         name.ptr);
    else
        rt_template_fail(p, GGUF_E_FORMAT, tok.off, "the statement '%.*s' is not known here", n,
                         name.ptr);
    return rt_template_node(p, RT_TPL_TEXT, tok.off);
}

static rt_tpl_node *parse_output(rt_template_parser *p) {
    rt_tpl_node *node = rt_template_node(p, RT_TPL_OUTPUT, p->tok.off);
    node->a = rt_template_parse_tuple(p, true, NULL);
    if (!p->code && p->tok.kind != RT_TEMPLATE_TOK_VAR_END)
        rt_template_fail(p, GGUF_E_FORMAT, p->tok.off, "expected '}}' before '%.*s'",
                         (int)(p->tok.text.len < 40 ? p->tok.text.len : 40), p->tok.text.ptr);
    return node;
}

/* ---- bodies ------------------------------------------------------------------------------ */

static bool is_end(const rt_template_parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (rt_template_is_name(p, *ends)) return true;
    return false;
}

/* Statements up to one of `ends`, which becomes the current token, or without ends up to the end
 * of the source. */
static rt_tpl_node *parse_statements(rt_template_parser *p, const char *opener, size_t opened,
                                     const char *const *ends) {
    rt_tpl_node *first = NULL, **tail = &first;
    while (!p->code) {
        gguf_str text;
        size_t off;
        bool at_end = p->pos >= p->len;
        rt_template_tag tag = rt_template_next_text(p, &off, &text);
        if (text.len > 0 && !p->code) {
            rt_tpl_node *node = rt_template_node(p, RT_TPL_TEXT, off);
            node->text = text;
            rt_template_append(&tail, node);
        }
        if (tag == RT_TEMPLATE_TAG_NONE && at_end) {
            if (ends)
                rt_template_fail(p, GGUF_E_FORMAT, opened, "'%s' is not closed by 'end%s'", opener,
                                 opener);
            break;
        }
        if (tag == RT_TEMPLATE_TAG_VAR) rt_template_append(&tail, parse_output(p));
        if (tag == RT_TEMPLATE_TAG_BLOCK && is_end(p, ends)) break;
        if (tag == RT_TEMPLATE_TAG_BLOCK) rt_template_append(&tail, parse_statement(p));
    }
    return first;
}

static rt_tpl_node *parse_body(rt_template_parser *p, const char *opener, size_t opened,
                               const char *const *ends) {
    rt_tpl_node *first = NULL;
    if (rt_template_enter(p, opened)) first = parse_statements(p, opener, opened, ends);
    rt_template_leave(p);
    return first;
}

/* ---- the whole --------------------------------------------------------------------------- */

/* A copy with every line end as one newline, and without one at the end. */
static bool copy_source(rt_template *tpl, gguf_str source) {
    tpl->source = malloc(source.len + 1);
    if (!tpl->source) return false;
    for (size_t i = 0; i < source.len; i++) {
        bool pair = source.ptr[i] == '\r' && i + 1 < source.len && source.ptr[i + 1] == '\n';
        if (!pair) tpl->source[tpl->len++] = (char)(source.ptr[i] == '\r' ? '\n' : source.ptr[i]);
    }
    if (tpl->len && tpl->source[tpl->len - 1] == '\n') tpl->len--;
    tpl->source[tpl->len] = '\0';
    return true;
}

gguf_code rt_template_parse(gguf_str source, rt_template **out, gguf_error *err) {
    *out = NULL;
    if (source.len > RT_TPL_MAX_BYTES)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "a template of %zu bytes is over the limit of %zu", source.len,
                         RT_TPL_MAX_BYTES);
    rt_template *tpl = calloc(1, sizeof *tpl);
    if (!tpl || !copy_source(tpl, source)) {
        rt_template_free(tpl);
        return gguf_fail_memory(err);
    }
    rt_template_parser p = {.tpl = tpl, .src = tpl->source, .len = tpl->len, .err = err};
    tpl->root = parse_body(&p, "", 0, NULL);
    if (p.code)
        rt_template_free(tpl);
    else
        *out = tpl;
    return p.code;
}

void rt_template_free(rt_template *tpl) {
    if (!tpl) return;
    for (rt_template_chunk *chunk = tpl->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(tpl->source);
    free(tpl);
}

const rt_tpl_node *rt_template_root(const rt_template *tpl) {
    return tpl->root;
}

gguf_str rt_template_source(const rt_template *tpl) {
    return (gguf_str){tpl->source, tpl->len};
}
