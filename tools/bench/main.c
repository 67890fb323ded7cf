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
    OPT_AGAINST
};

static const tool_option options[] = {
    {'p', "n-prompt", "N,N", "prompt lengths to measure; 0 = none (512)"},
    {'n', "n-gen", "N,N", "numbers of generated tokens; 0 = none (128)"},
    {OPT_PAIRS, "pg", "P,N", "a prompt and what follows it together; may be repeated"},
    {'d', "n-depth", "N,N", "tokens in the context before (0)"},
    {'r', "repetitions", "N", "repetitions of each, after one that warms up (5)"},
    {'b', "batch", "N", "tokens computed at once (512)"},
    {OPT_KV_TYPE, "kv-type", "TYPE", "f32, f16, q8_0 or q4_0 (f16)"},
    {OPT_PRECISION, "precision", "FORM", PRECISION_HELP},
    {OPT_NO_REPACK, "no-repack", NULL, NO_REPACK_HELP},
    {OPT_LORA, "lora", "F[:SCALE]", LORA_HELP},
    {OPT_DEVICE, "device", "NAME|none", DEVICE_HELP},
    {OPT_NGL, "ngl", "N|all|auto", NGL_HELP},
    {'o', "output", "FORMAT", "table, md, json, jsonl or csv (table)"},
    {OPT_MIN_TG, "min-tg", "X", "exit 1 if a generation reaches fewer tokens per second"},
    {OPT_MIN_PP, "min-pp", "X", "exit 1 if a prompt reaches fewer tokens per second"},
    {OPT_MAX_RSS, "max-rss", "SIZE", "exit 1 if more memory is resident"},
    {OPT_MAX_VRAM, "max-vram", "SIZE", "exit 1 if more memory of the device is allocated"},
    {OPT_PLOT, "plot", "F.svg", "draw the speeds, as SVG or PNG"},
    {OPT_REPORT, "report", "F.html", "write a page with machine, table and pictures"},
    {OPT_FAIL, "fail-on-regression", NULL, "compare: exit 1 if B is significantly slower"},
    {OPT_SIGNIFICANCE, "significance", "P", "compare: how unlikely chance must be (0.05)"},
    {'f', "file", "TEXT[.gz]", "quality: the text to score; @default is the program's own"},
    {OPT_BASE, "base", "REF", "quality: a model, or a saved base, to compare with"},
    {OPT_SAVE_BASE, "save-base", "F", "quality: save the model's predictions as a small base"},
    {OPT_CHOICES, "choices", "F.jsonl", "quality: multiple-choice questions to answer"},
    {OPT_CTX, "ctx", "N", "quality: tokens of a chunk (512)"},
    {OPT_CHUNKS, "chunks", "N", "quality: use at most N chunks"},
    {OPT_MAX_PPL, "max-ppl", "X", "quality: exit 1 if the perplexity is larger"},
    {OPT_MAX_KLD, "max-kld", "X", "quality: exit 1 if the mean divergence from the base is larger"},
    {OPT_MIN_TOP1, "min-top1", "X",
     "quality: exit 1 if the base's likeliest token is it here less often; 0 to 1"},
    {OPT_AGAINST, "against", "F.json",
     "quality: exit 1 if a figure is worse than in this record of --json, by more than two of its "
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
        return tool_parse_u32("-b", arg, 1, 1u << 16, &o->n_batch, err);
    case OPT_KV_TYPE:
        return tool_parse_kv_type(arg, &o->kv_type, err);
    case OPT_PRECISION:
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
    gguf_code code =
        o->text ? GGUF_OK
                : tool_refuse(t, "chunks max-ppl max-kld min-top1 against", "needs -f TEXT", err);
    if (!code && !o->base) code = tool_refuse(t, "max-kld min-top1", "needs --base REF", err);
    if (code) return code;
    if (t->n_args != 2 || (!o->text && (!o->choices || o->base || o->save_base)))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected quality MODEL -f TEXT, or --choices F.jsonl (see --help)");
    code = model_locate(t, &t->args[1], false, err);
    return code ? code : bench_quality(t, o, t->args[1], err);
}

static gguf_code run_compare(tool *t, bench_opts *o, gguf_error *err) {
    if (t->n_args != 3)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected compare A.json B.json (see --help)");
    return bench_compare(t, o, t->args[1], t->args[2], err);
}

static gguf_code run_devices(tool *t, bench_opts *o, gguf_error *err) {
    (void)o;
    if (t->n_args != 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "devices takes no arguments");
    return bench_devices(t, err);
}

static const struct {
    const char *name;
    gguf_code (*run)(tool *t, bench_opts *o, gguf_error *err);
    const char *takes; /* options */
} verbs[] = {
    {"compare", run_compare, "significance fail-on-regression"},
    {"devices", run_devices, ""},
    {"quality", run_quality,
     "file base save-base choices ctx chunks kv-type precision lora "
     "device ngl max-ppl max-kld min-top1 against"},
    {"MODEL alone", bench_speed,
     "n-prompt n-gen pg n-depth repetitions batch kv-type precision no-repack output min-tg min-pp "
     "max-rss max-vram plot report lora device ngl"},
};

static const char *const verb_names[] = {"compare", "devices", "fit", "quality", "serve", NULL};

/* A first word that is neither a file nor a verb, but nearly one. */
static gguf_code check_word(const char *word, gguf_error *err) {
    gguf_near near = {.wanted = word};
    for (size_t i = 0; verb_names[i]; i++) gguf_near_add(&near, verb_names[i]);
    if (!*word || !near.n || access(word, F_OK) == 0) return GGUF_OK;
    return tool_fail_word("verb or file", word, verb_names, err);
}

/* The last of the table is what no verb means. */
static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const char *word = t->n_args > 0 ? t->args[0] : "";
    size_t i = 0, last = sizeof verbs / sizeof verbs[0] - 1;
    if (strcmp(word, "fit") == 0 || strcmp(word, "serve") == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%s comes first: gguf-bench %s MODEL [options]", word, word);
    while (i < last && strcmp(word, verbs[i].name) != 0) i++;
    gguf_code code = i == last ? check_word(word, err) : GGUF_OK;
    if (!code && t->ranks && verbs[i].run != run_quality && i != last)
        code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s is the work of one process",
                         word);
    if (!code) code = tool_takes_only(t, verbs[i].name, verbs[i].takes, err);
    if (!code) code = device_opts_check(t, &((const bench_opts *)ctx)->device, err);
    return code ? code : verbs[i].run(t, ctx, err);
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
        .usage =
            "MODEL... [options]\ncompare A.json B.json [options]\ndevices [--json]\nfit MODEL [options] (see fit --help)\nquality MODEL -f TEXT [--base REF] [--choices F.jsonl] [options]\nserve URL|MODEL [options] (see serve --help)",
        .summary =
            "Measure speed and memory of models, how well one predicts a text, or a server under load.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .reads = "file base choices lora against",
        .verbs = verb_names,
        .subs = subs,
        .shares = true};
    int status = tool_main(&spec, argc, argv);
    free(o.prompts);
    free(o.gens);
    free(o.depths);
    free(o.pairs);
    model_loras_clear(&o.loras);
    return status;
}
