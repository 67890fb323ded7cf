/* GBNF, regular expressions and JSON schemas: the first byte says which; what follows the mark
 * FF FE FF FE is a text that the grammar is tried on. */
#include "runtime/chat/grammar.h"
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

static gguf_code compile(uint8_t kind, const char *text, size_t n, rt_grammar **out,
                         gguf_error *err) {
    *out = NULL;
    if (kind == 'g') return rt_grammar_gbnf(text, n, out, err);
    if (kind == 'r') return rt_grammar_regex(text, n, out, err);
    json_t *schema = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!schema) return GGUF_OK;
    gguf_code code = rt_grammar_schema(schema, out, err);
    json_decref(schema);
    return code;
}

/* A text that may end is not at a dead end, and none goes on behind its end. */
static void try_text(rt_grammar *g, const char *text, size_t n) {
    rt_matcher m;
    rt_matcher_init(&m, g);
    for (size_t i = 0; i < n && rt_matcher_take(&m, text + i, 1); i++) {
        bool must = rt_matcher_must_end(&m);
        fuzz_check(!must || rt_matcher_may_end(&m));
        fuzz_check(!must || i + 1 == n || !rt_matcher_take(&m, text + i + 1, 1));
        if (must) break;
    }
    rt_matcher_clear(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *parts[2];
    size_t sizes[2];
    gguf_error err = {0};
    rt_grammar *g;
    size_t n = fuzz_split(data, size, parts, sizes, 2);
    if (sizes[0] == 0) return 0;
    gguf_code code = compile(parts[0][0], (const char *)parts[0] + 1, sizes[0] - 1, &g, &err);
    fuzz_check_error(code, &err);
    fuzz_check(!code || !g);
    if (!g) return 0;
    fuzz_check(rt_grammar_n_states(g) > 0);
    if (n == 2) try_text(g, (const char *)parts[1], sizes[1]);
    rt_grammar_unref(g);
    return 0;
}
