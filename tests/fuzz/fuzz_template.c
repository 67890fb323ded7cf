/* Chat templates: parse, walk the tree, look for what is dangerous in it, render a conversation. */
#include "runtime/template/template.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

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

static void render(const rt_template *tpl) {
    static json_t *variables;
    gguf_error err = {0};
    char *out;
    size_t len;
    if (!variables)
        variables =
            json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \"h\\u00e9 llo\"},"
                       "{\"role\": \"assistant\", \"content\": null, \"x\": [1, 2.5, true]}],"
                       "\"tools\": [{\"a\": {\"b\": \"c\"}}], \"add_generation_prompt\": true}",
                       0, NULL);
    fuzz_check(variables != NULL);
    const struct tm now = {.tm_year = 100, .tm_mday = 1};
    const rt_template_opts opts = {.now = &now, .max_steps = 20000, .max_memory = 4 << 20};
    gguf_code code = rt_template_render(tpl, variables, &opts, &out, &len, &err);
    fuzz_check_error(code, &err);
    if (!code) fuzz_read(out, len);
    free(out);
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
    render(tpl);
    rt_template_free(tpl);
    return 0;
}
