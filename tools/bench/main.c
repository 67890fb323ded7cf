/* gguf-bench: how fast a model runs, what memory it takes, how good it is. */
#include "libgguf/near.h"
#include "tools/bench/bench.h"
#include "tools/bench/run_serve.h"
#include "tools/common/model_locate.h"
#include "tools/common/precision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPT_KV_TYPE = TOOL_LONG_ONLY,
    OPT_PRECISION,
    OPT_NO_REPACK,
    OPT_PAIRS,
    OPT_MIN_TG,
    OPT_MIN_PP,
    OPT_MAX_RSS,
    OPT_PLOT,
    OPT_REPORT,
    OPT_FAIL,
    OPT_SIGNIFICANCE,
    OPT_BASE,
    OPT_SAVE_BASE,
    OPT_CHOICES,
    OPT_CTX,
    OPT_CHUNKS,
    OPT_LORA,
    OPT_DEVICE,
    OPT_NGL,
    OPT_MAX_VRAM,
    OPT_MAX_KLD,
    OPT_MAX_PPL,
    OPT_MIN_TOP1,
    OPT_AGAINST,
    OPT_ENGINE
};

static const tool_option options[] = {
    {'p', "n-prompt", "N,N", "prompt lengths to measure; 0 = none (512)"},
    {'n', "n-gen", "N,N", "numbers of generated tokens; 0 = none (128)"},
    {OPT_PAIRS, "pg", "P,N", "a prompt and what follows it together; may be repeated"},
    {'d', "n-depth", "N,N", "tokens in the context before (0)"},
    {'r', "repetitions", "N", "repetitions of each, after one that warms up (5)"},
    {'t', "threads", "N,N", "threads; each number is measured (the usable physical cores)"},
    {'b', "batch", "N,N", "tokens computed at once; each number is measured (512)"},
    {OPT_KV_TYPE, "kv-type", "TYPE,...", "f32, f16, q8_0 or q4_0; each is measured (f16)"},
    {OPT_PRECISION, "precision", "FORM", PRECISION_HELP},
    {OPT_NO_REPACK, "no-repack", NULL, NO_REPACK_HELP},
    {OPT_LORA, "lora", "F[:SCALE]", LORA_HELP},
    {OPT_DEVICE, "device", "NAME|none", DEVICE_HELP},
    {OPT_NGL, "ngl", "N|all|auto", NGL_HELP},
    {'o', "output", "FORMAT", "table, md, json, jsonl or csv (table)"},
    {OPT_PLOT, "plot", "F.svg", "draw the speeds, as SVG or PNG"},
    {OPT_REPORT, "report", "F.html", "write a page with machine, table and pictures"},
    {OPT_MIN_TG, "min-tg", "X", "exit 1 if a generation reaches fewer tokens per second"},
    {OPT_MIN_PP, "min-pp", "X", "exit 1 if a prompt reaches fewer tokens per second"},
    {OPT_MAX_RSS, "max-rss", "SIZE", "exit 1 if more memory is resident"},
    {OPT_MAX_VRAM, "max-vram", "SIZE", "exit 1 if more memory of the device is allocated"},
    {OPT_FAIL, "fail-on-regression", NULL, "exit 1 if B is significantly slower"},
    {OPT_SIGNIFICANCE, "significance", "P", "how unlikely chance must be (0.05)"},
    {'f', "file", "TEXT[.gz]", "the text to score; @default is the program's own"},
    {OPT_BASE, "base", "REF", "a model, or a saved base, to compare with"},
    {OPT_SAVE_BASE, "save-base", "F", "save the model's predictions as a small base"},
    {OPT_ENGINE, "engine", NULL,
     "measure too what 8-bit activations, the default of other commands, add"},
    {OPT_CHOICES, "choices", "F.jsonl", "multiple-choice questions to answer"},
    {OPT_CTX, "ctx", "N", "tokens of a chunk (512)"},
    {OPT_CHUNKS, "chunks", "N", "use at most N chunks"},
    {OPT_MAX_PPL, "max-ppl", "X", "exit 1 if the perplexity is larger"},
    {OPT_MAX_KLD, "max-kld", "X", "exit 1 if the mean divergence from the base is larger"},
    {OPT_MIN_TOP1, "min-top1", "X",
     "exit 1 if the base's likeliest token is it here less often; 0 to 1"},
    {OPT_AGAINST, "against", "F.json",
     "exit 1 if a figure is worse than in this record of --json, by more than two of its "
     "standard errors"},
    TOOL_MODEL_SPELLINGS,
    DEVICE_SPELLINGS(OPT_DEVICE, OPT_NGL),
    TOOL_CONTEXT_SPELLINGS(OPT_CTX, OPT_KV_TYPE),
    {OPT_PAIRS, "-pg", "P,N", NULL},
    {'b', "batch-size", "N", NULL},
    {0},
};

static gguf_code set_list(const char *name, const char *arg, uint32_t **list, size_t *n,
                          gguf_error *err) {
    free(*list);
    return tool_parse_u32_list(name, arg, 1u << 30, list, n, err);
}

/* The same where 0 is none. */
static gguf_code set_sweep(const char *name, const char *arg, uint32_t most, uint32_t **list,
                           size_t *n, gguf_error *err) {
    free(*list);
    gguf_code code = tool_parse_u32_list(name, arg, most, list, n, err);
    for (size_t i = 0; !code && i < *n; i++)
        if ((*list)[i] == 0)
            code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "%s takes numbers from 1 to %u, not '%s'", name, most, arg);
    return code;
}

/* "f16,q8_0" */
static gguf_code set_kv_types(bench_opts *o, const char *arg, gguf_error *err) {
    gguf_code code = GGUF_OK;
    o->n_kv_types = 0;
    for (const char *at = arg; !code; at++) {
        char name[16];
        size_t n = strcspn(at, ",");
        void *grown = realloc(o->kv_types, (o->n_kv_types + 1) * sizeof *o->kv_types);
        if (!grown) return gguf_fail_memory(err);
        o->kv_types = grown;
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        code = tool_parse_kv_type(n < sizeof name ? name : arg, &o->kv_types[o->n_kv_types++], err);
        at += n;
        if (!*at) break;
    }
    if (!code) o->kv_type = o->kv_types[0];
    return code;
}

/* "512,128", appended to the pairs so far. */
static gguf_code add_pair(bench_opts *o, const char *arg, gguf_error *err) {
    uint32_t *pair = NULL;
    size_t n = 0;
    gguf_code code = tool_parse_u32_list("--pg", arg, 1u << 30, &pair, &n, err);
    if (!code && n != 2)
        code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--pg takes two numbers, as 512,128, not '%s'", arg);
    void *grown = code ? NULL : realloc(o->pairs, (o->n_pairs + 2) * sizeof *o->pairs);
    if (!code && !grown) code = gguf_fail_memory(err);
    if (!code) {
        o->pairs = grown;
        memcpy(o->pairs + o->n_pairs, pair, 2 * sizeof *pair);
        o->n_pairs += 2;
    }
    free(pair);
    return code;
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
        return tool_parse_u32("-r", arg, 1, BENCH_MAX_REPETITIONS, &o->repetitions, err);
    case 'b':
        return set_sweep("-b", arg, 1u << 16, &o->batches, &o->n_batches, err);
    case 't':
        return set_sweep("--threads", arg, 1024, &o->threads, &o->n_threads, err);
    case OPT_KV_TYPE:
        return set_kv_types(o, arg, err);
    case OPT_PRECISION:
        o->has_precision = true;
        return precision_parse(arg, &o->precision, err);
    case OPT_NO_REPACK:
        o->no_repack = true;
        break;
    case 'o':
        o->format = arg;
        break;
    case OPT_PAIRS:
        return add_pair(o, arg, err);
    case OPT_MIN_TG:
        return tool_parse_real("--min-tg", arg, 0, 1e9, &o->min_tg, err);
    case OPT_MIN_PP:
        return tool_parse_real("--min-pp", arg, 0, 1e9, &o->min_pp, err);
    case OPT_MAX_RSS:
        return tool_parse_size("--max-rss", arg, &o->max_rss_bytes, err);
    case OPT_MAX_VRAM:
        return tool_parse_size("--max-vram", arg, &o->max_vram_bytes, err);
    case OPT_DEVICE:
        o->device.name = arg;
        break;
    case OPT_NGL:
        o->device.layers = arg;
        break;
    case OPT_PLOT:
        o->plot = arg;
        break;
    case OPT_REPORT:
        o->report = arg;
        break;
    case OPT_FAIL:
        o->fail_on_regression = true;
        break;
    case OPT_SIGNIFICANCE:
        return tool_parse_real("--significance", arg, 0, 1, &o->significance, err);
    case 'f':
        o->text = arg;
        break;
    case OPT_BASE:
        o->base = arg;
        break;
    case OPT_SAVE_BASE:
        o->save_base = arg;
        break;
    case OPT_ENGINE:
        o->engine = true;
        break;
    case OPT_CHOICES:
        o->choices = arg;
        break;
    case OPT_CTX:
        return tool_parse_u32("--ctx", arg, 3, 1u << 20, &o->n_ctx, err);
    case OPT_LORA:
        return model_loras_add(&o->loras, arg, err);
    case OPT_MAX_PPL:
        return tool_parse_real("--max-ppl", arg, 1, 1e300, &o->gates.max_ppl, err);
    case OPT_MAX_KLD:
        return tool_parse_real("--max-kld", arg, 0, 1e300, &o->gates.max_kld, err);
    case OPT_MIN_TOP1:
        return tool_parse_real("--min-top1", arg, 0, 1, &o->gates.min_top1, err);
    case OPT_AGAINST:
        o->gates.against = arg;
        break;
    case OPT_CHUNKS:
        return tool_parse_u32("--chunks", arg, 1, UINT32_MAX, &o->n_chunks, err);
    default:
        break;
    }
    return GGUF_OK;
}

static gguf_code run_quality(tool *t, bench_opts *o, gguf_error *err) {
    gguf_code code = o->text ? GGUF_OK
                             : tool_refuse(t, "chunks max-ppl max-kld min-top1 against engine",
                                           "needs -f TEXT", err);
    if (!code && !o->base) code = tool_refuse(t, "max-kld min-top1", "needs --base REF", err);
    if (code) return code;
    if (t->n_args != 2 || (!o->text && (!o->choices || o->base || o->save_base)))
        return gguf_fail(
            err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
            "expected quality MODEL -f TEXT, or --choices F.jsonl (see gguf-bench quality --help)");
    if (o->n_threads > 1 || o->n_kv_types > 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "quality takes one %s",
                         o->n_threads > 1 ? "number of threads" : "type of the cache");
    if (o->n_threads) t->n_threads = o->threads[0];
    bool on_device = device_opts_given(&o->device);
    if (on_device) code = tool_refuse(t, "engine", "has no effect with a device", err);
    if (code) return code;
    if (!o->has_precision && !on_device) o->precision = RT_PRECISION_A16;
    code = model_locate(t, &t->args[1], false, err);
    return code ? code : bench_quality(t, o, t->args[1], err);
}

static gguf_code run_compare(tool *t, bench_opts *o, gguf_error *err) {
    if (t->n_args != 3)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected compare A.json B.json (see gguf-bench compare --help)");
    return bench_compare(t, o, t->args[1], t->args[2], err);
}

static gguf_code run_devices(tool *t, gguf_error *err) {
    if (t->n_args != 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "devices takes no arguments");
    return bench_devices(t, err);
}

/* The options of a MODEL without a verb. */
#define SPEED_OPTIONS                                                                        \
    "threads "                                                                               \
    "n-prompt n-gen pg n-depth repetitions batch kv-type precision no-repack output min-tg " \
    "min-pp max-rss max-vram plot report lora device ngl"

static const tool_verb verbs[] = {
    {"compare", "A.json B.json [options]", "significance fail-on-regression",
     "Compare two records of -o json: which differences are more than chance; exit 1 if asked to."},
    {"devices", "[--json]", "", "List the devices that models can be computed on."},
    {"fit", "[MODEL] [options]", NULL, NULL},
    {"quality", "MODEL -f TEXT [--base REF] [--choices F.jsonl] [options]",
     "threads file base save-base engine choices ctx chunks kv-type precision lora device ngl max-ppl max-kld "
     "min-top1 against",
     "Measure how well a model predicts a text, and with --base how far it is from the original."},
    {"serve", "URL|MODEL [options]", NULL, NULL},
    {0},
};

static const tool_group groups[] = {{"n-prompt", "What is measured"},
                                    {"threads", "How it is computed"},
                                    {"output", "Results"},
                                    {"min-tg", "Gates"},
                                    {"fail-on-regression", "compare"},
                                    {"file", "quality"},
                                    {0}};

static gguf_code run_verb(tool *t, bench_opts *o, const tool_verb *verb, gguf_error *err) {
    if (!verb->takes)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%s comes first: gguf-bench %s MODEL [options]", verb->name, verb->name);
    bool quality = strcmp(verb->name, "quality") == 0, compare = strcmp(verb->name, "compare") == 0;
    gguf_code code = GGUF_OK;
    if (t->ranks && !quality)
        code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s is the work of one process",
                         verb->name);
    if (!code) code = tool_takes_only(t, verb->name, verb->takes, err);
    if (!code) code = device_opts_check(t, &o->device, err);
    if (code) return code;
    return quality   ? run_quality(t, o, err)
           : compare ? run_compare(t, o, err)
                     : run_devices(t, err);
}

/* A first word that is neither a file nor a verb, but nearly one. */
static gguf_code check_word(const tool *t, gguf_error *err) {
    gguf_near near = {.wanted = t->args[0]};
    for (const tool_verb *v = verbs; v->name; v++) gguf_near_add(&near, v->name);
    if (!*t->args[0] || !near.n || access(t->args[0], F_OK) == 0) return GGUF_OK;
    return tool_fail_verb(t, "verb or file", err);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    bench_opts *o = ctx;
    if (t->n_args == 0) return tool_fail_usage(t, "MODEL", err);
    const tool_verb *verb = &verbs[tool_find_verb(verbs, t->args[0])];
    if (verb->name) return run_verb(t, o, verb, err);
    gguf_code code = check_word(t, err);
    if (!code) code = tool_takes_only(t, "MODEL alone", SPEED_OPTIONS, err);
    if (!code) code = device_opts_check(t, &o->device, err);
    return code ? code : bench_speed(t, o, err);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "fit") == 0) return bench_fit_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "serve") == 0) return bench_serve_main(argc - 1, argv + 1);
    const tool_spec *const subs[] = {bench_fit_spec(), bench_serve_spec(), NULL};
    bench_opts o = {.repetitions = 5,
                    .n_batch = 512,
                    .kv_type = GGUF_TYPE_F16,
                    .format = "table",
                    .significance = 0.05,
                    .gates = {.max_ppl = INFINITY, .max_kld = INFINITY, .min_top1 = -1},
                    .n_ctx = 512};
    const tool_spec spec = {
        .name = "gguf-bench",
        .usage = "MODEL... [options]",
        .summary =
            "Measure speed and memory of models, how well one predicts a text, or a server under load.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .reads = "file base choices lora against",
        .verbs = verbs,
        .groups = groups,
        .examples = "model-q4.gguf                         # speed and memory\n"
                    "fit model.gguf --vram 8G              # what fits, how fast\n"
                    "quality model-q4.gguf -f test.txt --base model.gguf\n"
                    "model-q4.gguf -o json >speed.json     # a record, for compare\n"
                    "compare before.json after.json\n"
                    "serve model-q4.gguf                   # a server under load",
        .subs = subs,
        .shares = true};
    int status = tool_main(&spec, argc, argv);
    free(o.prompts);
    free(o.gens);
    free(o.depths);
    free(o.pairs);
    free(o.threads);
    free(o.batches);
    free(o.kv_types);
    model_loras_clear(&o.loras);
    return status;
}
