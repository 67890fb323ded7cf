/* gguf-inspect: look inside a GGUF file. */
#include "libgguf/gguf.h"
#include "tools/common/tool.h"
#include "tools/inspect/inspect.h"

#include <stdio.h>
#include <string.h>

enum { OPT_MAX_ARRAY = TOOL_LONG_ONLY };

static const tool_option options[] = {
    {OPT_MAX_ARRAY, "max-array", "N", "elements of an array to show (16)"},
    {0},
};

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    inspect_opts *o = ctx;
    if (id == OPT_MAX_ARRAY)
        return tool_parse_u32("--max-array", arg, 0, UINT32_MAX, &o->max_array, err);
    return GGUF_OK;
}

typedef void (*print_fn)(const gguf_file *file, const inspect_opts *o);

static const struct {
    const char *verb;
    print_fn print;
} verbs[] = {{"summary", inspect_summary}, {"meta", inspect_meta}, {"tensors", inspect_tensors}};

static gguf_code run(tool *t, const inspect_opts *o, gguf_error *err) {
    const char *verb = t->n_args == 2 ? t->args[0] : "summary";
    print_fn print = NULL;
    if (t->n_args != 1 && t->n_args != 2)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected [VERB] FILE (see --help)");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].verb, verb) == 0) print = verbs[i].print;
    if (!print)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "unknown verb '%s' (see --help)",
                         verb);
    gguf_file *file;
    gguf_code code = gguf_file_open(t->args[t->n_args - 1], GGUF_OPEN_ANY_TYPE, &file, err);
    if (code) return code;
    if (t->json)
        tool_print_json(inspect_json(file, o));
    else
        print(file, o);
    gguf_file_close(file);
    return GGUF_OK;
}

int main(int argc, char **argv) {
    inspect_opts o = {.max_array = 16};
    const tool_spec spec = {.name = "gguf-inspect",
                            .usage = "FILE [options]\nmeta FILE\ntensors FILE",
                            .summary =
                                "Show what a GGUF file holds: a summary, all metadata, or all "
                                "tensors; everything with --json.",
                            .options = options,
                            .set = set_option,
                            .ctx = &o};
    tool t;
    int status;
    gguf_error err = {0};
    if (!tool_start(&t, &spec, argc, argv, &status)) return status;
    gguf_code code = run(&t, &o, &err);
    return tool_end(&t, code, &err);
}
