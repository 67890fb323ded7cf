/* gguf-run: chat, complete a text, show token ids, write logits, embed and rank texts. */
#include "libgguf/outfile.h"
#include "tools/common/model_locate.h"
#include "tools/common/model_open.h"
#include "tools/common/output_files.h"
#include "tools/common/precision.h"
#include "tools/run/run.h"

#include <stdio.h>
#include <string.h>

enum {
    OPT_CHAT = TOOL_LONG_ONLY,
    OPT_SYSTEM,
    OPT_SYSTEM_FILE,
    OPT_CTX,
    OPT_SHIFT,
    OPT_KV_TYPE,
    OPT_STOP,
    OPT_SHOW_SPECIAL,
    OPT_JSON_SCHEMA,
    OPT_GRAMMAR,
    OPT_TOOLS,
    OPT_PROMPT_CACHE,
    OPT_PROMPT_CACHE_RO,
    OPT_NO_HISTORY,
    OPT_TOKENIZE,
    OPT_NO_SPECIAL,
    OPT_NO_PARSE_SPECIAL,
    OPT_TOKENS,
    OPT_DECODER_TOKENS,
    OPT_LOGITS,
    OPT_LORA,
    OPT_EMBED,
    OPT_POOLING,
    OPT_RANK,
    OPT_EXACT,
    OPT_PRECISION,
    OPT_NO_REPACK,
    OPT_RENDER,
    OPT_TEMPLATE,
    OPT_TEMPLATE_VARS,
    OPT_DEVICE,
    OPT_NGL,
    OPT_LOOKUP,
    OPT_DRAFT,
    OPT_DRAFT_MAX,
    OPT_SETTING /* and behind it: taken by settings_set under their names */
};

static const tool_option options[] = {
    {'p', "prompt", "TEXT", "the text to complete, to answer or to tokenize; - reads stdin"},
    {'f', "file", "FILE", "read it from a file (plain or .gz)"},
    {OPT_CHAT, "chat", NULL, "the text is a message: answer it with the chat template"},
    {OPT_SYSTEM, "system", "TEXT", "system message of the chat"},
    {OPT_SYSTEM_FILE, "system-file", "FILE", "read it from a file"},
    {OPT_TEMPLATE, "template", "F.jinja", "chat template in place of the model's"},
    {OPT_TEMPLATE_VARS, "template-vars", "JSON", "variables of the chat template, as an object"},
    {'n', "n-predict", "N", "tokens to generate (128; in a chat until the model ends)"},
    {OPT_STOP, "stop", "TEXT", "end the answer before this text; may be repeated"},
    {OPT_CTX, "ctx", "N", "context in tokens (what text and answer need; chat: up to 8192)"},
    {OPT_SHIFT, "shift", NULL, "a full context goes on without its oldest tokens"},
    {OPT_KV_TYPE, "kv-type", "TYPE", "f32, f16, q8_0 or q4_0 (f16; f32 with --exact)"},
    {OPT_SETTING, "temp", "X", "temperature; 0 takes the most likely token (0.8)"},
    {OPT_SETTING + 1, "top-k", "N", "choose among the N most likely tokens; 0 = all (40)"},
    {OPT_SETTING + 2, "top-p", "X", "choose among the tokens that reach this probability (0.95)"},
    {OPT_SETTING + 3, "min-p", "X",
     "leave out tokens below this share of the most likely one (0.05)"},
    {OPT_SETTING + 4, "repeat-penalty", "X",
     "make tokens that occurred recently less likely (1 = off)"},
    {OPT_SETTING + 5, "repeat-last-n", "N", "how many of the last tokens count as recent (64)"},
    {OPT_SETTING + 6, "seed", "N", "seed of the random choice, or random (0)"},
    {OPT_JSON_SCHEMA, "json-schema", "F.json", "answers are JSON that this schema accepts"},
    {OPT_GRAMMAR, "grammar", "F.gbnf", "answers belong to this grammar"},
    {OPT_TOOLS, "tools", "F.json", "tools that the model may call in a chat, as a list"},
    {OPT_SHOW_SPECIAL, "show-special", NULL, "show special tokens of the answer"},
    {OPT_PROMPT_CACHE, "prompt-cache", "FILE",
     "go on from what it holds of the text; keep it there"},
    {OPT_PROMPT_CACHE_RO, "prompt-cache-ro", NULL, "do not write that file"},
    {OPT_NO_HISTORY, "no-history", NULL, "do not keep the lines typed in the chat"},
    {OPT_TOKENIZE, "tokenize", NULL, "print the token ids of the text"},
    {OPT_NO_SPECIAL, "no-special", NULL, "without the tokens that the tokenizer adds itself"},
    {OPT_NO_PARSE_SPECIAL, "no-parse-special", NULL, "special tokens in the text are plain text"},
    {OPT_TOKENS, "tokens", "ID,ID,...", "run the model on these tokens"},
    {OPT_DECODER_TOKENS, "decoder-tokens", "ID,ID,...",
     "with an encoder: run the decoder on these after --tokens were read"},
    {OPT_LOGITS, "logits", "F.safetensors",
     "write their logits, or an embedding model's hidden states"},
    {OPT_EMBED, "embed", NULL, "print the vector of a text, or of each line of a file"},
    {OPT_POOLING, "pooling", "HOW", "of --embed: mean, cls (the first token) or last"},
    {'o', "output", "F.safetensors", "write the vectors of --embed there"},
    {OPT_RANK, "rank", "QUERY", "print the lines of a file in the order in which they answer it"},
    {OPT_RENDER, "render", "F.json", "print the prompt that the chat template makes of it"},
    {OPT_LORA, "lora", "F[:SCALE]", LORA_HELP},
    {OPT_PRECISION, "precision", "FORM", PRECISION_HELP},
    {OPT_NO_REPACK, "no-repack", NULL, NO_REPACK_HELP},
    {OPT_DEVICE, "device", "NAME|none", DEVICE_HELP},
    {OPT_NGL, "ngl", "N|all|auto", NGL_HELP},
    {OPT_LOOKUP, "lookup", "WHEN", LOOKUP_HELP},
    {OPT_DRAFT, "draft", "MODEL", DRAFT_HELP},
    {OPT_DRAFT_MAX, "draft-max", "N", DRAFT_MAX_HELP},
    {OPT_EXACT, "exact", NULL,
     "--precision f32, and a KV cache of f32 unless --kv-type says otherwise"},
    TOOL_MODEL_SPELLINGS,
    DEVICE_SPELLINGS(OPT_DEVICE, OPT_NGL),
    DRAFT_SPELLINGS(OPT_DRAFT, OPT_DRAFT_MAX),
    TOOL_CONTEXT_SPELLINGS(OPT_CTX, OPT_KV_TYPE),
    {OPT_SYSTEM, "-sys", "TEXT", NULL},
    {OPT_SYSTEM, "system-prompt", "TEXT", NULL},
    {OPT_TEMPLATE, "chat-template-file", "F", NULL},
    {'n', "predict", "N", NULL},
    {OPT_SETTING, "temperature", "X", NULL},
    {OPT_SETTING + 6, "-s", "N", NULL},
    {OPT_SYSTEM_FILE, "-sysf", "F", NULL},
    {OPT_SYSTEM_FILE, "system-prompt-file", "F", NULL},
    {OPT_TEMPLATE_VARS, "chat-template-kwargs", "JSON", NULL},
    {OPT_STOP, "-r", "TEXT", NULL},
    {OPT_STOP, "reverse-prompt", "TEXT", NULL},
    {OPT_SHIFT, "context-shift", NULL, NULL},
    {OPT_SHOW_SPECIAL, "-sp", NULL, NULL},
    {OPT_SHOW_SPECIAL, "special", NULL, NULL},
    {OPT_JSON_SCHEMA, "-jf", "F", NULL},
    {OPT_JSON_SCHEMA, "json-schema-file", "F", NULL},
    {OPT_GRAMMAR, "grammar-file", "F", NULL},
    {0},
};

static const tool_group groups[] = {{"prompt", "The text, or a chat"},
                                    {"n-predict", "Length and context"},
                                    {"temp", "Sampling"},
                                    {"json-schema", "What answers may be"},
                                    {"prompt-cache", "What is kept"},
                                    {"tokenize", "In place of an answer"},
                                    {"lora", "How it is computed"},
                                    {0}};

static gguf_code add_stop(run_opts *o, const char *text, gguf_error *err) {
    if (*text == '\0')
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "--stop takes a text, not ''");
    /* One place is left for the stop text of a chat without template. */
    if (o->n_stops == RUN_MAX_STOPS - 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "--stop can be given %d times",
                         RUN_MAX_STOPS - 1);
    o->stops[o->n_stops++] = text;
    return GGUF_OK;
}

static gguf_code set_setting(run_opts *o, int id, const char *arg, gguf_error *err) {
    char label[32];
    if (id == 'n') return settings_set(&o->settings, "n", "-n", arg, NULL, err);
    for (const tool_option *option = options; option->name; option++) {
        if (option->id != id) continue;
        snprintf(label, sizeof label, "--%s", option->name);
        return settings_set(&o->settings, option->name, label, arg, NULL, err);
    }
    return GGUF_OK;
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    run_opts *o = ctx;
    const struct {
        int id;
        bool *flag;
        const char **text;
    } plain[] = {
        {'p', NULL, &o->prompt},
        {'f', NULL, &o->file},
        {OPT_CHAT, &o->chat, NULL},
        {OPT_SYSTEM, NULL, &o->system},
        {OPT_SYSTEM_FILE, NULL, &o->system_file},
        {OPT_TEMPLATE, NULL, &o->template_file},
        {OPT_TEMPLATE_VARS, NULL, &o->template_vars},
        {OPT_JSON_SCHEMA, NULL, &o->json_schema},
        {OPT_GRAMMAR, NULL, &o->grammar_file},
        {OPT_TOOLS, NULL, &o->tools_file},
        {OPT_SHIFT, &o->shift, NULL},
        {OPT_SHOW_SPECIAL, &o->show_special, NULL},
        {OPT_PROMPT_CACHE, NULL, &o->prompt_cache},
        {OPT_PROMPT_CACHE_RO, &o->prompt_cache_ro, NULL},
        {OPT_NO_HISTORY, &o->no_history, NULL},
        {OPT_TOKENIZE, &o->tokenize, NULL},
        {OPT_NO_SPECIAL, &o->no_special, NULL},
        {OPT_NO_PARSE_SPECIAL, &o->no_parse_special, NULL},
        {OPT_TOKENS, NULL, &o->tokens},
        {OPT_DECODER_TOKENS, NULL, &o->decoder_tokens},
        {OPT_LOGITS, NULL, &o->logits},
        {OPT_EMBED, &o->embed, NULL},
        {OPT_RANK, NULL, &o->rank},
        {'o', NULL, &o->output},
        {OPT_RENDER, NULL, &o->render},
        {OPT_EXACT, &o->exact, NULL},
        {OPT_NO_REPACK, &o->no_repack, NULL},
        {OPT_DEVICE, NULL, &o->device.name},
        {OPT_NGL, NULL, &o->device.layers},
        {OPT_DRAFT, NULL, &o->draft.model},
    };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (plain[i].id != id) continue;
        if (plain[i].flag) *plain[i].flag = true;
        if (plain[i].text) *plain[i].text = arg;
        return GGUF_OK;
    }
    if (id == OPT_CTX) return tool_parse_u32("--ctx", arg, 1, 1u << 30, &o->n_ctx, err);
    if (id == OPT_KV_TYPE) return tool_parse_kv_type(arg, &o->kv_type, err);
    if (id == OPT_PRECISION) return precision_parse(arg, &o->precision, err);
    if (id == OPT_POOLING) return model_parse_pooling(arg, &o->pooling, err);
    if (id == OPT_STOP) return add_stop(o, arg, err);
    if (id == OPT_LOOKUP) return draft_opts_lookup(&o->draft, arg, err);
    if (id == OPT_DRAFT_MAX) return draft_opts_most(&o->draft, arg, err);
    if (id == OPT_LORA) return model_loras_add(&o->loras, arg, err);
    return set_setting(o, id, arg, err);
}

/* A chat, that is: messages come from standard input. */
static bool is_chat(const run_opts *o) {
    return !o->prompt && !o->file && !o->tokens && !o->render && !o->tokenize && !o->embed &&
           !o->rank;
}

#define SESSION  " ctx kv-type precision exact lora"
#define PLACE    " device ngl"
#define SAMPLING " temp top-k top-p min-p repeat-penalty repeat-last-n seed"
#define DRAFTS   " lookup draft draft-max"
#define ANSWER \
    " n-predict stop shift json-schema grammar show-special no-repack" SESSION SAMPLING PLACE DRAFTS
#define CACHE    " prompt-cache prompt-cache-ro"
#define TEMPLATE " template template-vars"

/* What the command can do; each takes the options that it has a use for. */
static gguf_code check_options(const tool *t, const run_opts *o, gguf_error *err) {
    static const char chat[] = "chat system system-file tools no-history" TEMPLATE ANSWER;
    static const char reply[] = "prompt file chat system system-file tools" CACHE TEMPLATE ANSWER;
    static const char text[] = "prompt file no-special no-parse-special" CACHE ANSWER;
    if (o->render) return tool_takes_only(t, "--render", "render" TEMPLATE, err);
    if (o->tokenize)
        return tool_takes_only(t, "--tokenize", "tokenize prompt file no-special no-parse-special",
                               err);
    if (o->tokens || o->logits)
        return tool_takes_only(t, "--tokens", "tokens decoder-tokens logits" SESSION PLACE, err);
    if (o->embed)
        return tool_takes_only(t, "--embed", "embed pooling prompt file output" SESSION, err);
    if (o->rank) return tool_takes_only(t, "--rank", "rank prompt file" SESSION, err);
    bool talks = is_chat(o) || o->chat;
    gguf_code code =
        talks ? tool_refuse(t, "no-special no-parse-special",
                            "is not for chats: a chat template is made of special "
                            "tokens",
                            err)
              : tool_refuse(t, "system system-file tools template template-vars",
                            "is for chats: without --chat, -p and -f complete a text", err);
    if (code) return code;
    if (talks)
        return tool_takes_only(t, o->chat ? "--chat" : "a chat", is_chat(o) ? chat : reply, err);
    return tool_takes_only(t, "completing a text", text, err);
}

static gguf_code check_precision(const tool *t, const run_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (o->exact) code = tool_refuse(t, "precision", "and --exact exclude each other", err);
    if (!code && (o->exact || o->precision == RT_PRECISION_F32))
        code = tool_refuse(t, "no-repack", "has no effect on products in f32", err);
    return code;
}

static gguf_code check_usage(const tool *t, const run_opts *o, gguf_error *err) {
    const char *what = NULL;
    bool without_model = o->render && o->template_file && t->n_args == 0;
    if (t->n_args != 1 && !without_model)
        return tool_fail_usage(t, "one MODEL", err);
    else if (o->tokens && !o->logits)
        what = "--tokens needs --logits F.safetensors";
    else if (o->logits && !o->tokens)
        what = "--logits needs --tokens";
    else if (o->prompt && o->file)
        what = "expected one of -p TEXT and -f FILE (see --help)";
    else if (o->tokenize && !o->prompt && !o->file)
        what = "--tokenize needs -p TEXT or -f FILE";
    else if ((o->embed || o->rank) && !o->prompt && !o->file)
        what = o->embed ? "--embed needs -p TEXT or -f FILE" : "--rank needs -f FILE or -p TEXT";
    else if (is_chat(o) && t->json)
        what = "--json needs -p TEXT or -f FILE: a chat has no single result";
    else if (o->json_schema && o->grammar_file)
        what = "expected one of --json-schema and --grammar";
    else if (o->tools_file && (o->json_schema || o->grammar_file || o->show_special))
        what = "--tools says what answers are: not with --json-schema, --grammar, --show-special";
    else if (o->prompt_cache_ro && !o->prompt_cache)
        what = "--prompt-cache-ro needs --prompt-cache FILE";
    else if (o->system && o->system_file)
        what = "expected one of --system and --system-file";
    if (what) return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s", what);
    gguf_code code = check_options(t, o, err);
    if (!code) code = device_opts_check(t, &o->device, err);
    return code ? code : check_precision(t, o, err);
}

/* Standard input goes to one of several ranks. */
static gguf_code check_shared(const tool *t, const run_opts *o, gguf_error *err) {
    const char *text = o->file ? o->file : o->prompt;
    if (!t->ranks || (!is_chat(o) && (!text || strcmp(text, "-") != 0))) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "several ranks do not share standard input: give a text with -p or -f");
}

static gguf_code run_file(tool *t, const run_opts *o, gguf_error *err) {
    gguf_file *file;
    gguf_code code = gguf_file_open(t->args[0], GGUF_OPEN_ANY_TYPE, &file, err);
    if (code) return code;
    code = run_tokenize(t, o, gguf_file_meta(file), err);
    gguf_file_close(file);
    return code;
}

/* For vectors of a model with an encoder and a decoder the encoder alone. */
static gguf_code open_file(tool *t, const run_opts *o, rt_model **model, gguf_error *err) {
    gguf_code code = model_open(t, t->args[0], NULL, model, err);
    if (!code && o->embed && rt_model_hparams(*model)->n_encoder_layer) {
        rt_model_close(*model);
        code = rt_model_open_encoder(t->args[0], model, err);
    }
    if (!code && o->pooling) rt_model_set_pooling(*model, o->pooling);
    if (!code) code = rt_model_share(*model, t->ranks, err);
    if (!code) code = model_add_loras(*model, &o->loras, err);
    if (code) rt_model_close(*model);
    return code;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    run_opts *o = ctx;
    gguf_code code = check_usage(t, o, err);
    if (!code) code = check_shared(t, o, err);
    /* All choose alike. */
    uint64_t *seed = &o->settings.sampler.seed;
    if (!code) code = gguf_ranks_spread(t->ranks, code, 0, seed, sizeof *seed, err);
    if (!code && t->n_args) code = model_locate(t, &t->args[0], false, err);
    if (code) return code;
    if (o->kv_type == UINT32_MAX) o->kv_type = o->exact ? GGUF_TYPE_F32 : GGUF_TYPE_F16;
    if (o->exact) o->precision = RT_PRECISION_F32;
    if (o->render) return run_render(t, o, err);
    if (o->tokenize) return run_file(t, o, err);
    code = run_open_grammar(o, err);
    if (code) return code;
    rt_model *model;
    rt_spread_memory(t->n_threads);
    const char *output = o->logits ? o->logits : o->output;
    if (o->prompt_cache && !o->prompt_cache_ro)
        code = gguf_outfile_check(o->prompt_cache, GGUF_OUT_REPLACE, err);
    if (!code && output) code = tool_check_output(t, output, TOOL_OUTPUT_STREAM, err);
    if (!code) code = open_file(t, o, &model, err);
    if (code) return code;
    if (atomic_load(&tool_cancelled))
        code = gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    else
        code = kv_type_check(t, rt_model_hparams(model), err);
    if (!code && o->tokens)
        code = run_logits(t, o, model, err);
    else if (!code && o->embed)
        code = run_embed(t, o, model, err);
    else if (!code && o->rank)
        code = run_rank(t, o, model, err);
    else if (!code)
        code = is_chat(o) ? run_chat(t, o, model, err) : run_complete(t, o, model, err);
    rt_model_close(model);
    return code;
}

int main(int argc, char **argv) {
    run_opts o = {.kv_type = UINT32_MAX, .settings = settings_defaults()};
    const tool_spec spec = {
        .name = "gguf-run",
        .usage = "MODEL [--system TEXT] [options]\nMODEL -p TEXT [-n N] [--chat] [options]\n"
                 "MODEL --tokenize -f FILE [--json]\n"
                 "MODEL --tokens ID,ID,... --logits F.safetensors\n"
                 "MODEL --embed -f TEXTS [-o F.safetensors] [--json]\n"
                 "MODEL --rank QUERY -f TEXTS [--json]\n"
                 "MODEL --render F.json\n--template F.jinja --render F.json",
        .summary =
            "Run a GGUF model on the processor: chat, complete a text, show token ids, write logits, make vectors of texts, rank them.",
        .options = options,
        .groups = groups,
        .examples = "gemma3-1b                                    # fetch one, and chat\n"
                    "model.gguf                                   # chat\n"
                    "model.gguf -p \"Once upon a time\" -n 100      # go on with a text\n"
                    "model.gguf --chat -p \"Why is the sky blue?\"  # answer one message\n"
                    "e.gguf --embed -f texts.txt --json           # vectors of lines",
        .set = set_option,
        .run = run,
        .shares = true,
        .ctx = &o,
        .reads = "file system-file template render lora json-schema grammar draft tools"};
    int status = tool_main(&spec, argc, argv);
    model_loras_clear(&o.loras);
    rt_grammar_unref(o.grammar);
    return status;
}
