/* Constructs that have no place in a chat template: the ways out of a template's sandbox. */
#include "runtime/template/template_internal.h"

#include <string.h>

static bool is_dunder(gguf_str s) {
    return s.len > 4 && memcmp(s.ptr, "__", 2) == 0 && memcmp(s.ptr + s.len - 2, "__", 2) == 0;
}

static bool is_escape(gguf_str s) {
    static const char *const names[] = {"mro",      "func_globals", "func_code", "f_globals",
                                        "f_back",   "gi_frame",     "gi_code",   "cr_frame",
                                        "ag_frame", "tb_frame",     "im_func",   "im_self"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (gguf_str_eq(s, names[i])) return true;
    return false;
}

static const char *danger(const rt_tpl_node *node) {
    switch (node->kind) {
    case RT_TPL_ATTRIBUTE:
        return is_dunder(node->text) || is_escape(node->text) ? "attribute" : NULL;
    case RT_TPL_STRING:
        return is_dunder(node->text) ? "string" : NULL;
    case RT_TPL_NAME:
        return is_dunder(node->text) ? "name" : NULL;
    case RT_TPL_FILTER:
        return gguf_str_eq(node->text, "attr") ? "filter" : NULL;
    default:
        return NULL;
    }
}

/* As deep as the parser allowed, times the operators in a row: those lean left, so `a` is followed
 * in the loop. */
static void lint_list(const rt_tpl_node *node, rt_template_lint_fn fn, void *ctx) {
    for (; node; node = node->next) {
        for (const rt_tpl_node *at = node; at; at = at->a) {
            const char *what = danger(at);
            if (what) fn(ctx, at->off, what, at->text);
            lint_list(at->b, fn, ctx);
            lint_list(at->c, fn, ctx);
            lint_list(at->args, fn, ctx);
            lint_list(at->body, fn, ctx);
            lint_list(at->orelse, fn, ctx);
        }
    }
}

void rt_template_lint(const rt_template *tpl, rt_template_lint_fn fn, void *ctx) {
    lint_list(tpl->root, fn, ctx);
}
