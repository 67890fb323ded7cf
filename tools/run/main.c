/* gguf-run: complete a text, show token ids, write logits. */
#include "tools/run/run.h"

#include <stdio.h>
#include <string.h>

enum {
    OPT_CTX = TOOL_LONG_ONLY,
    OPT_KV_TYPE,
    OPT_TEMP,
    OPT_TOP_K,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_SEED,
    OPT_TOKENIZE,
    OPT_NO_SPECIAL,
    OPT_NO_PARSE_SPECIAL,
    OPT_TOKENS,
    OPT_LOGITS,
    OPT_EXACT,
    OPT_RENDER,
    OPT_TEMPLATE
};

static const tool_option options[] = {
    {'p', "prompt", "TEXT", "the text to complete or to tokenize"},
    {'f', "file", "FILE", "read it from a file (plain or .gz)"},
    {'n', "n-predict", "N", "tokens to generate (128)"},
    {OPT_CTX, "ctx", "N", "context in tokens (default: what prompt and answer need)"},
    {OPT_KV_TYPE, "kv-type", "TYPE", "f32, f16, q8_0 or q4_0 (f16; f32 with --exact)"},
    {OPT_TEMP, "temp", "X", "temperature; 0 takes the most likely token (0.8)"},
    {OPT_TOP_K, "top-k", "N", "choose among the N most likely tokens; 0 = all (40)"},
    {OPT_TOP_P, "top-p", "X", "choose among the tokens that reach this probability (0.95)"},
    {OPT_MIN_P, "min-p", "X", "leave out tokens below this share of the most likely one (0.05)"},
    {OPT_SEED, "seed", "N", "seed of the random choice (0)"},
    {OPT_TOKENIZE, "tokenize", NULL, "print the token ids of the text"},
    {OPT_NO_SPECIAL, "no-special", NULL, "without the tokens that the tokenizer adds itself"},
    {OPT_NO_PARSE_SPECIAL, "no-parse-special", NULL, "special tokens in the text are plain text"},
    {OPT_TOKENS, "tokens", "ID,ID,...", "run the model on these tokens"},
    {OPT_LOGITS, "logits", "F.safetensors",
     "write their logits, or an embedding model's hidden states"},
    {OPT_TEMPLATE, "template", "F.jinja", "chat template in place of the model's"},
    {OPT_RENDER, "render", "F.json", "print the prompt that the chat template makes of it"},
    {OPT_EXACT, "exact", NULL, "multiply in f32 throughout, whatever the weights' types"},
    {0},
};

static gguf_code set_real(const char *name, const char *arg, double max, float *out,
                          gguf_error *err) {
    double value = 0;
    gguf_code code = tool_parse_real(name, arg, 0, max, &value, err);
    *out = (float)value;
    return code;
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    run_opts *o = ctx;
    uint32_t seed = 0;
    gguf_code code = GGUF_OK;
    switch (id) {
    case 'p':
        o->prompt = arg;
        break;
    case 'f':
        o->file = arg;
        break;
    case 'n':
        return tool_parse_u32("-n", arg, 0, 1u << 30, &o->n_predict, err);
    case OPT_CTX:
        return tool_parse_u32("--ctx", arg, 1, 1u << 30, &o->n_ctx, err);
    case OPT_KV_TYPE:
        return tool_parse_kv_type(arg, &o->kv_type, err);
    case OPT_TEMP:
        return set_real("--temp", arg, 100, &o->sampler.temp, err);
    case OPT_TOP_K:
        return tool_parse_u32("--top-k", arg, 0, UINT32_MAX, &o->sampler.top_k, err);
    case OPT_TOP_P:
        return set_real("--top-p", arg, 1, &o->sampler.top_p, err);
    case OPT_MIN_P:
        return set_real("--min-p", arg, 1, &o->sampler.min_p, err);
    case OPT_SEED:
        code = tool_parse_u32("--seed", arg, 0, UINT32_MAX, &seed, err);
        o->sampler.seed = seed;
        return code;
    case OPT_TOKENIZE:
        o->tokenize = true;
        break;
    case OPT_NO_SPECIAL:
        o->no_special = true;
        break;
    case OPT_NO_PARSE_SPECIAL:
        o->no_parse_special = true;
        break;
    case OPT_TOKENS:
        o->tokens = arg;
        break;
    case OPT_LOGITS:
        o->logits = arg;
        break;
    case OPT_RENDER:
        o->render = arg;
        break;
    case OPT_TEMPLATE:
        o->template_file = arg;
        break;
    case OPT_EXACT:
        o->exact = true;
        break;
    default:
        break;
    }
    return GGUF_OK;
}

static gguf_code check_usage(const tool *t, const run_opts *o, gguf_error *err) {
    const char *what = NULL;
    bool without_model = o->render && o->template_file && t->n_args == 0;
    if (t->n_args != 1 && !without_model)
        what = "expected one MODEL (see --help)";
    else if (o->tokens && !o->logits)
        what = "--tokens needs --logits F.safetensors";
    else if (o->logits && !o->tokens)
        what = "--logits needs --tokens";
    else if (!o->tokens && !o->render && !o->prompt == !o->file)
        what = "expected one of -p TEXT and -f FILE (see --help)";
    return what ? gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s", what) : GGUF_OK;
}

static gguf_code run_file(tool *t, const run_opts *o, gguf_error *err) {
    gguf_file *file;
    gguf_code code = gguf_file_open(t->args[0], GGUF_OPEN_ANY_TYPE, &file, err);
    if (code) return code;
    code = run_tokenize(t, o, gguf_file_meta(file), err);
    gguf_file_close(file);
    return code;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    run_opts *o = ctx;
    if (o->kv_type == UINT32_MAX) o->kv_type = o->exact ? GGUF_TYPE_F32 : GGUF_TYPE_F16;
    gguf_code code = check_usage(t, o, err);
    if (code) return code;
    if (o->render) return run_render(t, o, err);
    if (o->tokenize) return run_file(t, o, err);
    rt_model *model;
    code = rt_model_open(t->args[0], &model, err);
    if (code) return code;
    code = o->tokens ? run_logits(t, o, model, err) : run_complete(t, o, model, err);
    rt_model_close(model);
    return code;
}

int main(int argc, char **argv) {
    run_opts o = {.n_predict = 128, .kv_type = UINT32_MAX, .sampler = rt_sampler_defaults()};
    const tool_spec spec = {
        .name = "gguf-run",
        .usage = "MODEL -p TEXT [-n N] [options]\nMODEL --tokenize -f FILE [--json]\n"
                 "MODEL --tokens ID,ID,... --logits F.safetensors\n"
                 "MODEL --render F.json\n--template F.jinja --render F.json",
        .summary =
            "Run a GGUF model on the processor: complete a text, show token ids, write logits.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o};
    return tool_main(&spec, argc, argv);
}
