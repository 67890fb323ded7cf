/* Statements, and the parser's start and end. */
#include "runtime/template/template_internal.h"

#include <stdlib.h>
#include <string.h>

static rt_tpl_node *parse_body(tpl_parser *p, const char *opener, size_t opened,
                               const char *const *ends);

static void end_block(tpl_parser *p) {
    if (!p->code && p->tok.kind != TPL_TOK_BLOCK_END)
        tpl_fail(p, GGUF_E_FORMAT, p->tok.off, "expected '%%}' before '%.*s'",
                 (int)(p->tok.text.len < 40 ? p->tok.text.len : 40), p->tok.text.ptr);
}

/* A body up to its one end, which is stepped over. */
static rt_tpl_node *parse_whole_body(tpl_parser *p, const char *opener, size_t opened,
                                     const char *end) {
    const char *ends[] = {end, NULL};
    end_block(p);
    rt_tpl_node *body = parse_body(p, opener, opened, ends);
    tpl_next_token(p);
    end_block(p);
    return body;
}

/* ---- statements -------------------------------------------------------------------------- */

static rt_tpl_node *parse_for(tpl_parser *p, size_t off) {
    static const char *const ends[] = {"endfor", "else", NULL};
    rt_tpl_node *node = tpl_node(p, RT_TPL_FOR, off);
    node->a = tpl_parse_target(p, false);
    if (!tpl_skip_name(p, "in")) tpl_fail(p, GGUF_E_FORMAT, p->tok.off, "expected 'in' in a 'for'");
    node->b = tpl_parse_tuple(p, false, "recursive");
    if (tpl_skip_name(p, "if")) node->c = tpl_parse_expression(p);
    node->integer = tpl_skip_name(p, "recursive");
    end_block(p);
    p->loops++;
    node->body = parse_body(p, "for", off, ends);
    p->loops--;
    bool has_else = tpl_is_name(p, "else");
    tpl_next_token(p);
    end_block(p);
    if (has_else) node->orelse = parse_whole_body(p, "for", off, "endfor");
    return node;
}

/* The branches from one condition on; those behind it are nested in its orelse. */
static rt_tpl_node *parse_if(tpl_parser *p, size_t off) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    rt_tpl_node *node = tpl_node(p, RT_TPL_IF, off);
    if (!tpl_enter(p, off)) return node;
    node->a = tpl_parse_tuple(p, false, NULL);
    end_block(p);
    node->body = parse_body(p, "if", off, ends);
    size_t at = p->tok.off;
    bool has_elif = tpl_skip_name(p, "elif");
    if (has_elif) node->orelse = parse_if(p, at);
    if (!has_elif) {
        bool has_else = tpl_is_name(p, "else");
        tpl_next_token(p);
        end_block(p);
        if (has_else) node->orelse = parse_whole_body(p, "if", off, "endif");
    }
    tpl_leave(p);
    return node;
}

static rt_tpl_node *parse_set(tpl_parser *p, size_t off) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_SET, off);
    node->a = tpl_parse_target(p, true);
    if (tpl_skip_op(p, "=")) {
        node->b = tpl_parse_tuple(p, true, NULL);
        end_block(p);
        return node;
    }
    node->c = tpl_parse_filters(p, NULL, false);
    node->body = parse_whole_body(p, "set", off, "endset");
    return node;
}

static rt_tpl_node *parse_macro(tpl_parser *p, size_t off) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_MACRO, off);
    unsigned loops = p->loops;
    node->text = tpl_expect_name(p, "a macro's name");
    tpl_expect_op(p, "(");
    node->args = tpl_parse_params(p);
    p->loops = 0;
    node->body = parse_whole_body(p, "macro", off, "endmacro");
    p->loops = loops;
    return node;
}

static rt_tpl_node *parse_call_block(tpl_parser *p, size_t off) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_CALL_BLOCK, off);
    if (tpl_skip_op(p, "(")) node->args = tpl_parse_params(p);
    size_t at = p->tok.off;
    node->a = tpl_parse_expression(p);
    if (!p->code && node->a->kind != RT_TPL_CALL)
        tpl_fail(p, GGUF_E_FORMAT, at, "'call' needs a call");
    node->body = parse_whole_body(p, "call", off, "endcall");
    return node;
}

static rt_tpl_node *parse_filter_block(tpl_parser *p, size_t off) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_FILTER_BLOCK, off);
    node->a = tpl_parse_filters(p, NULL, true);
    node->body = parse_whole_body(p, "filter", off, "endfilter");
    return node;
}

/* Names for the body alone; the values do not see them. */
static rt_tpl_node *parse_with(tpl_parser *p, size_t off) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_WITH, off), **tail = &node->args;
    while (!p->code && p->tok.kind != TPL_TOK_BLOCK_END) {
        if (node->args) tpl_expect_op(p, ",");
        rt_tpl_node *pair = tpl_node(p, RT_TPL_PAIR, p->tok.off);
        pair->a = tpl_parse_target(p, false);
        tpl_expect_op(p, "=");
        pair->b = tpl_parse_expression(p);
        tpl_append(&tail, pair);
    }
    node->body = parse_whole_body(p, "with", off, "endwith");
    return node;
}

static rt_tpl_node *parse_generation(tpl_parser *p, size_t off) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_GENERATION, off);
    node->body = parse_whole_body(p, "generation", off, "endgeneration");
    return node;
}

static rt_tpl_node *parse_jump(tpl_parser *p, rt_tpl_kind kind, size_t off) {
    if (!p->loops) tpl_fail(p, GGUF_E_FORMAT, off, "a jump outside of a loop");
    end_block(p);
    return tpl_node(p, kind, off);
}

static rt_tpl_node *parse_break(tpl_parser *p, size_t off) {
    return parse_jump(p, RT_TPL_BREAK, off);
}

static rt_tpl_node *parse_continue(tpl_parser *p, size_t off) {
    return parse_jump(p, RT_TPL_CONTINUE, off);
}

static const struct {
    const char *name;
    rt_tpl_node *(*parse)(tpl_parser *p, size_t off);
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

static rt_tpl_node *parse_statement(tpl_parser *p) {
    tpl_token tok = p->tok;
    gguf_str name = tpl_expect_name(p, "a statement");
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (gguf_str_eq(name, statements[i].name)) return statements[i].parse(p, tok.off);
    int n = (int)(name.len < 40 ? name.len : 40);
    if (reads_files(name))
        tpl_fail(p, GGUF_E_FORMAT, tok.off, "'%.*s' reaches for other templates", n, name.ptr);
    else
        tpl_fail(p, GGUF_E_FORMAT, tok.off, "the statement '%.*s' is not known here", n, name.ptr);
    return tpl_node(p, RT_TPL_TEXT, tok.off);
}

static rt_tpl_node *parse_output(tpl_parser *p) {
    rt_tpl_node *node = tpl_node(p, RT_TPL_OUTPUT, p->tok.off);
    node->a = tpl_parse_tuple(p, true, NULL);
    if (!p->code && p->tok.kind != TPL_TOK_VAR_END)
        tpl_fail(p, GGUF_E_FORMAT, p->tok.off, "expected '}}' before '%.*s'",
                 (int)(p->tok.text.len < 40 ? p->tok.text.len : 40), p->tok.text.ptr);
    return node;
}

/* ---- bodies ------------------------------------------------------------------------------ */

static bool is_end(const tpl_parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (tpl_is_name(p, *ends)) return true;
    return false;
}

/* Statements up to one of `ends`, which becomes the current token, or without ends up to the end
 * of the source. */
static rt_tpl_node *parse_statements(tpl_parser *p, const char *opener, size_t opened,
                                     const char *const *ends) {
    rt_tpl_node *first = NULL, **tail = &first;
    while (!p->code) {
        gguf_str text;
        size_t off;
        bool at_end = p->pos >= p->len;
        tpl_tag tag = tpl_next_text(p, &off, &text);
        if (text.len > 0 && !p->code) {
            rt_tpl_node *node = tpl_node(p, RT_TPL_TEXT, off);
            node->text = text;
            tpl_append(&tail, node);
        }
        if (tag == TPL_TAG_NONE && at_end) {
            if (ends)
                tpl_fail(p, GGUF_E_FORMAT, opened, "'%s' is not closed by 'end%s'", opener, opener);
            break;
        }
        if (tag == TPL_TAG_VAR) tpl_append(&tail, parse_output(p));
        if (tag == TPL_TAG_BLOCK && is_end(p, ends)) break;
        if (tag == TPL_TAG_BLOCK) tpl_append(&tail, parse_statement(p));
    }
    return first;
}

static rt_tpl_node *parse_body(tpl_parser *p, const char *opener, size_t opened,
                               const char *const *ends) {
    rt_tpl_node *first = NULL;
    if (tpl_enter(p, opened)) first = parse_statements(p, opener, opened, ends);
    tpl_leave(p);
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
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    }
    tpl_parser p = {.tpl = tpl, .src = tpl->source, .len = tpl->len, .err = err};
    tpl->root = parse_body(&p, "", 0, NULL);
    if (p.code)
        rt_template_free(tpl);
    else
        *out = tpl;
    return p.code;
}

void rt_template_free(rt_template *tpl) {
    if (!tpl) return;
    for (tpl_chunk *chunk = tpl->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(tpl->source);
    free(tpl);
}

const rt_tpl_node *rt_template_root(const rt_template *tpl) {
    return tpl->root;
}
