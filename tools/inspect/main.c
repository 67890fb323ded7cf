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

static const tool_verb verbs[] = {
    {"summary", "FILE", "",
     "What a model (or a checkpoint) is, in a few lines: what FILE alone shows."},
    {"meta", "FILE", "max-array filter", "List the keys of the metadata and their values."},
    {"get", "FILE KEY", "", "Print one value as it is, such as a whole chat template."},
    {"tensors", "FILE", "filter tensor", "List the tensors: shape, type, size, where they lie."},
    {"tokens", "FILE", "filter", "List the tokens of the vocabulary."},
    {"stats", "FILE [--tensor REGEX] [--plot F.svg]", "filter tensor plot",
     "Statistics of the weights: range, mean, zeros, a histogram, use of quantisation steps."},
    {"verify", "FILE [--manifest F]", "manifest",
     "Check that a file is whole and sound, and print every finding; exit 1 if there is one."},
    {"hash", "FILE [--algo NAME] [--check MANIFEST]", "filter tensor algo check",
     "Hash the metadata and every tensor, or compare with hashes that were printed before."},
    {"diff", "A B [--values]", "max-array filter tensor values",
     "Compare two files: keys, tensors, with --values how far the weights differ; exit 1 if they "
     "differ."},
    {"report", "FILE -o F.html", "filter tensor output",
     "Write one page, without scripts from elsewhere, with all that the file holds."},
    {0},
};

#define N_VERBS (sizeof verbs / sizeof verbs[0] - 1)

/* What verbs do, in the same order. */
static const struct {
    gguf_code (*run)(const inspect_call *c);
    int n_args;
    bool paged;
} actions[] = {{inspect_summary, 1, false}, {inspect_meta, 1, true},   {inspect_get, 2, false},
               {inspect_tensors, 1, true},  {inspect_tokens, 1, true}, {inspect_stats, 1, true},
               {inspect_verify, 1, true},   {inspect_hash, 1, true},   {inspect_diff, 2, true},
               {inspect_report, 1, false}};
_Static_assert(sizeof actions / sizeof actions[0] == N_VERBS, "a row for every verb");

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
    if (!code && inspect_is_checkpoint(c->files[0])) return inspect_checkpoint(c, NULL);
    return code ? code : inspect_all(c);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    inspect_call c = {t, ctx, t->args, err};
    if (t->n_args == 0) return tool_fail_usage(t, "[VERB] FILE, or diff A B", err);
    size_t i = tool_find_verb(verbs, t->args[0]);
    if (i < N_VERBS && t->n_args == 1 && access(t->args[0], F_OK) == 0)
        i = N_VERBS; /* a file of that name */
    if (i == N_VERBS) return t->n_args == 1 ? run_plain(&c) : tool_fail_verb(t, "verb", err);
    if (t->n_args != actions[i].n_args + 1) return tool_fail_verb_args(t, &verbs[i], err);
    gguf_code code = refuse_others(&c, verbs[i].name, verbs[i].takes);
    if (code) return code;
    c.files++;
    if (actions[i].paged) tool_page();
    for (int k = 0; k < actions[i].n_args; k++)
        if (actions[i].run != inspect_get && inspect_is_checkpoint(c.files[k]))
            return inspect_checkpoint(&c, verbs[i].name);
    return actions[i].run(&c);
}

int main(int argc, char **argv) {
    inspect_opts o = {.max_array = 16, .algo = GGUF_HASH_XXH3};
    const tool_spec spec = {
        .name = "gguf-inspect",
        .usage = "FILE [options]",
        .summary = "Look inside a GGUF file: what it is, what it holds, whether it is sound, and "
                   "how it differs from another.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .reads = "manifest check",
        .verbs = verbs,
        .examples = "model.gguf                         # what it is, in a few lines\n"
                    "get model.gguf tokenizer.chat_template\n"
                    "verify model.gguf                  # is it whole and sound?\n"
                    "diff A.gguf B.gguf --values\n"
                    "report model.gguf -o model.html    # all of it, as a page"};
    int status = tool_main(&spec, argc, argv);
    gguf_pattern_free(o.pattern);
    return status;
}
