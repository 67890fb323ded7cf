/* gguf-bench: how fast a model runs, what memory it takes, how good it is. */
#include "tools/bench/bench.h"

#include "libgguf/pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_KV_TYPE = TOOL_LONG_ONLY, OPT_BASE, OPT_CTX, OPT_CHUNKS };

static const tool_option options[] = {
    {'p', "n-prompt", "N,N", "prompt lengths to measure; 0 = none (512)"},
    {'n', "n-gen", "N,N", "numbers of generated tokens; 0 = none (128)"},
    {'d', "n-depth", "N,N", "tokens in the context before (0)"},
    {'r', "repetitions", "N", "repetitions of each (5)"},
    {'b', "batch", "N", "tokens computed at once (512)"},
    {OPT_KV_TYPE, "kv-type", "TYPE", "f32, f16, q8_0 or q4_0 (f16)"},
    {'o', "output", "FORMAT", "table, md, json, jsonl, csv or sql (table)"},
    {'f', "file", "TEXT[.gz]", "quality: the text to score"},
    {OPT_BASE, "base", "MODEL", "quality: the model to compare with"},
    {OPT_CTX, "ctx", "N", "quality: tokens of a chunk (512)"},
    {OPT_CHUNKS, "chunks", "N", "quality: use at most N chunks"},
    {0},
};

static gguf_code set_list(const char *name, const char *arg, uint32_t **list, size_t *n,
                          gguf_error *err) {
    free(*list);
    return tool_parse_u32_list(name, arg, 1u << 30, list, n, err);
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    bench_opts *o = ctx;
    switch (id) {
    case 'p':
        return set_list("-p", arg, &o->prompts, &o->n_prompts, err);
    case 'n':
        return set_list("-n", arg, &o->gens, &o->n_gens, err);
    case 'd':
        return set_list("-d", arg, &o->depths, &o->n_depths, err);
    case 'r':
        return tool_parse_u32("-r", arg, 1, 1000, &o->repetitions, err);
    case 'b':
        return tool_parse_u32("-b", arg, 1, 1u << 16, &o->n_batch, err);
    case OPT_KV_TYPE:
        return tool_parse_kv_type(arg, &o->kv_type, err);
    case 'o':
        o->format = arg;
        break;
    case 'f':
        o->text = arg;
        break;
    case OPT_BASE:
        o->base = arg;
        break;
    case OPT_CTX:
        return tool_parse_u32("--ctx", arg, 3, 1u << 20, &o->n_ctx, err);
    case OPT_CHUNKS:
        return tool_parse_u32("--chunks", arg, 1, UINT32_MAX, &o->n_chunks, err);
    default:
        break;
    }
    return GGUF_OK;
}

/* Give the lists that were not set their usual values. */
static gguf_code set_defaults(bench_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (!o->prompts) code = set_list("-p", "512", &o->prompts, &o->n_prompts, err);
    if (!code && !o->gens) code = set_list("-n", "128", &o->gens, &o->n_gens, err);
    if (!code && !o->depths) code = set_list("-d", "0", &o->depths, &o->n_depths, err);
    return code;
}

typedef struct record_list {
    bench_record *records;
    size_t n;
} record_list;

static gguf_code add_record(tool *t, const bench_opts *o, const char *path, uint32_t n_prompt,
                            uint32_t n_gen, uint32_t depth, double bandwidth, record_list *list,
                            gguf_error *err) {
    if (n_prompt + n_gen == 0) return GGUF_OK;
    void *grown = realloc(list->records, (list->n + 1) * sizeof *list->records);
    if (!grown) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    list->records = grown;
    gguf_code code =
        bench_measure(t, o, path, n_prompt, n_gen, depth, bandwidth, &list->records[list->n], err);
    if (!code) list->n++;
    return code;
}

static gguf_code measure_model(tool *t, const bench_opts *o, const char *path, double bandwidth,
                               record_list *list, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t d = 0; d < o->n_depths && !code; d++) {
        for (size_t i = 0; i < o->n_prompts && !code; i++)
            code = add_record(t, o, path, o->prompts[i], 0, o->depths[d], bandwidth, list, err);
        for (size_t i = 0; i < o->n_gens && !code; i++)
            code = add_record(t, o, path, 0, o->gens[i], o->depths[d], bandwidth, list, err);
    }
    return code;
}

static gguf_code bench_speed(tool *t, bench_opts *o, gguf_error *err) {
    record_list list = {0};
    double bandwidth = 0;
    if (t->n_args == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected MODEL (see --help)");
    if (!t->n_threads) t->n_threads = gguf_usable_cores();
    gguf_code code = set_defaults(o, err);
    if (!code) code = bench_print(NULL, 0, o->format, err); /* refuses an unknown format early */
    if (!code) code = bench_bandwidth(t->n_threads, &bandwidth, err);
    for (int i = 0; i < t->n_args && !code; i++)
        code = measure_model(t, o, t->args[i], bandwidth, &list, err);
    if (!code) code = bench_print(list.records, list.n, t->json ? "json" : o->format, err);
    free(list.records);
    return code;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    bench_opts *o = ctx;
    if (t->n_args > 0 && strcmp(t->args[0], "fit") == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "fit comes first: gguf-bench fit MODEL [options]");
    if (t->n_args > 0 && strcmp(t->args[0], "quality") == 0) {
        if (t->n_args != 2 || !o->text)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "expected quality MODEL -f TEXT (see --help)");
        return bench_quality(t, o, t->args[1], err);
    }
    return bench_speed(t, o, err);
}

static const char *const verb_names[] = {"fit", "quality", NULL};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "fit") == 0) return bench_fit_main(argc - 1, argv + 1);
    bench_opts o = {.repetitions = 5,
                    .n_batch = 512,
                    .kv_type = GGUF_TYPE_F16,
                    .format = "table",
                    .n_ctx = 512};
    const tool_spec spec = {
        .name = "gguf-bench",
        .usage =
            "MODEL... [options]\nfit MODEL [options] (see fit --help)\nquality MODEL -f TEXT [--base MODEL] [options]",
        .summary = "Measure speed and memory of models, or how well one predicts a text.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .verbs = verb_names};
    int status = tool_main(&spec, argc, argv);
    free(o.prompts);
    free(o.gens);
    free(o.depths);
    return status;
}
