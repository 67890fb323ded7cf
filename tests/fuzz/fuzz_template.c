/* Chat templates: parse, walk the tree, look for what is dangerous in it. */
#include "runtime/template/template_ast.h"
#include "tests/fuzz/fuzz.h"

static size_t length;

static void walk(const rt_tpl_node *node) {
    for (; node; node = node->next) {
        fuzz_check(node->kind <= RT_TPL_CONTINUE && node->off <= length);
        fuzz_read(node->text.ptr, node->text.len);
        const rt_tpl_node *const inner[] = {node->a,    node->b,    node->c,
                                            node->args, node->body, node->orelse};
        for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) walk(inner[i]);
    }
}

static void note(void *ctx, size_t off, const char *what, gguf_str name) {
    (void)ctx;
    fuzz_check(off <= length && *what);
    fuzz_read(name.ptr, name.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    rt_template *tpl;
    gguf_str source = {(const char *)data, size};
    unsigned line, column;
    length = size;
    gguf_code code = rt_template_parse(source, &tpl, &err);
    fuzz_check_error(code, &err);
    if (code) {
        fuzz_check(err.offset <= (int64_t)size);
        if (err.offset >= 0) rt_template_position(source, (size_t)err.offset, &line, &column);
        return 0;
    }
    walk(rt_template_root(tpl));
    rt_template_lint(tpl, note, NULL);
    rt_template_free(tpl);
    return 0;
}
