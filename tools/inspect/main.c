/* gguf-inspect: look inside a GGUF file. */
#include "tools/common/pager.h"
#include "tools/inspect/inspect.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    OPT_MAX_ARRAY = TOOL_LONG_ONLY,
    OPT_FILTER,
    OPT_TENSOR,
    OPT_ALGO,
    OPT_CHECK,
    OPT_MANIFEST,
    OPT_VALUES,
    OPT_PLOT
};

static const tool_option options[] = {
    {OPT_MAX_ARRAY, "max-array", "N", "elements of an array to show (16)"},
    {OPT_FILTER, "filter", "GLOB", "only keys, tensors or tokens whose name fits"},
    {OPT_TENSOR, "tensor", "REGEX", "only tensors whose name fits"},
    {OPT_ALGO, "algo", "NAME", "hash: xxh3, xxh64 or sha256 (xxh3)"},
    {OPT_CHECK, "check", "FILE", "hash: compare with the hashes in FILE; exit 1 if any differs"},
    {OPT_MANIFEST, "manifest", "FILE", "verify: check the hashes in FILE too"},
    {OPT_VALUES, "values", NULL, "diff: compare the values of tensors that are not equal"},
    {'o', "output", "FILE", "report: the page to write"},
    {OPT_PLOT, "plot", "FILE", "stats: write the histograms as SVG or PNG"},
    {0},
};

static gguf_code set_regex(inspect_opts *o, const char *text, gguf_error *err) {
    gguf_pattern_free(o->pattern);
    o->tensor = text;
    return gguf_pattern_new("--tensor", text, false, &o->pattern, err);
}

static gguf_code set_algo(inspect_opts *o, const char *name, gguf_error *err) {
    if (gguf_hash_algo_named(name, &o->algo)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--algo takes xxh3, xxh64 or sha256, not '%s'", name);
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    inspect_opts *o = ctx;
    switch (id) {
    case OPT_MAX_ARRAY:
        return tool_parse_u32("--max-array", arg, 0, UINT32_MAX, &o->max_array, err);
    case OPT_TENSOR:
        return set_regex(o, arg, err);
    case OPT_ALGO:
        return set_algo(o, arg, err);
    case OPT_FILTER:
        o->filter = arg;
        break;
    case OPT_CHECK:
    case OPT_MANIFEST:
        o->check = arg;
        break;
    case OPT_VALUES:
        o->values = true;
        break;
    case OPT_PLOT:
        o->plot = arg;
        break;
    default:
        o->output = arg;
    }
    return GGUF_OK;
}

static const struct {
    const char *name;
    int n_files;
    bool paged;
    gguf_code (*run)(const inspect_call *c);
    const char *takes; /* options */
} verbs[] = {
    {"summary", 1, false, inspect_summary, ""},
    {"meta", 1, true, inspect_meta, "max-array filter"},
    {"get", 2, false, inspect_get, ""},
    {"tensors", 1, true, inspect_tensors, "filter tensor"},
    {"tokens", 1, true, inspect_tokens, "filter"},
    {"stats", 1, true, inspect_stats, "filter tensor plot"},
    {"verify", 1, true, inspect_verify, "manifest"},
    {"hash", 1, true, inspect_hash, "filter tensor algo check"},
    {"diff", 2, true, inspect_diff, "max-array filter tensor values"},
    {"report", 1, false, inspect_report, "filter tensor output"},
};

#define N_VERBS (sizeof verbs / sizeof verbs[0])

static const char *const verb_names[N_VERBS + 1] = {"summary", "meta",   "get",    "tensors",
                                                    "tokens",  "stats",  "verify", "hash",
                                                    "diff",    "report", NULL};

/* Hashes are compared with all of a manifest. */
static gguf_code refuse_others(const inspect_call *c, const char *verb, const char *takes) {
    gguf_code code = tool_takes_only(c->t, verb, takes, c->err);
    if (!code && c->o->check && strcmp(verb, "hash") == 0)
        code = tool_takes_only(c->t, "hash --check", "check", c->err);
    return code;
}

/* Without a verb: filters are for what --json shows. */
static gguf_code run_plain(const inspect_call *c) {
    const char *takes = c->t->json ? "max-array filter tensor" : "";
    gguf_code code = tool_takes_only(c->t, "FILE alone", takes, c->err);
    return code ? code : inspect_all(c);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    inspect_call c = {t, ctx, t->args, err};
    if (t->n_args == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected [VERB] FILE, or diff A B (see --help)");
    for (size_t i = 0; i < N_VERBS; i++) {
        if (strcmp(verbs[i].name, t->args[0]) != 0) continue;
        if (t->n_args == 1 && access(t->args[0], F_OK) == 0) break; /* a file of that name */
        if (t->n_args != verbs[i].n_files + 1)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected %s %s (see --help)",
                             verbs[i].name,
                             verbs[i].n_files == 1               ? "FILE"
                             : strcmp(verbs[i].name, "get") == 0 ? "FILE KEY"
                                                                 : "A B");
        gguf_code code = refuse_others(&c, verbs[i].name, verbs[i].takes);
        if (code) return code;
        c.files++;
        if (verbs[i].paged) tool_page();
        return verbs[i].run(&c);
    }
    if (t->n_args == 1) return run_plain(&c);
    return tool_fail_word("verb", t->args[0], verb_names, err);
}

int main(int argc, char **argv) {
    inspect_opts o = {.max_array = 16, .algo = GGUF_HASH_XXH3};
    const tool_spec spec = {
        .name = "gguf-inspect",
        .usage = "FILE [options]\nsummary|meta|tensors|tokens FILE\nget FILE KEY\n"
                 "stats FILE [--tensor REGEX] [--plot F.svg]\nverify FILE [--manifest F]\n"
                 "hash FILE [--algo NAME] [--check MANIFEST]\ndiff A B [--values]\n"
                 "report FILE -o F.html",
        .summary = "Look inside a GGUF file: what it is, what it holds, whether it is sound, and "
                   "how it differs from another.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .reads = "manifest check",
        .verbs = verb_names};
    int status = tool_main(&spec, argc, argv);
    gguf_pattern_free(o.pattern);
    return status;
}
