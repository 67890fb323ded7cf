/* gguf-serve: a model behind the interfaces that applications know. */
#include "tools/common/model_locate.h"
#include "tools/common/precision.h"
#include "tools/common/settings.h"
#include "tools/serve/http.h"
#include "tools/serve/http_checks.h"
#include "tools/serve/metrics.h"
#include "tools/serve/server_open.h"
#include "tools/serve/tls.h"
#include "tools/serve/watcher.h"
#include "tools/serve/web_page.h"
#include "tools/serve/workers.h"

#include "libgguf/map.h"

#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define N_WORKERS 2

enum {
    OPT_HOST = TOOL_LONG_ONLY,
    OPT_PORT,
    OPT_ALIAS,
    OPT_ANY_MODEL,
    OPT_CTX,
    OPT_KV_MEMORY,
    OPT_KV_TOKENS,
    OPT_KV_TYPE,
    OPT_DEVICE,
    OPT_NGL,
    OPT_LORA,
    OPT_EMBED,
    OPT_POOLING,
    OPT_LOOKUP,
    OPT_DRAFT,
    OPT_DRAFT_MAX,
    OPT_PARALLEL,
    OPT_QUEUE,
    OPT_STEP_MS,
    OPT_PRECISION,
    OPT_NO_REPACK,
    OPT_TEMPLATE,
    OPT_TEMPLATE_VARS,
    OPT_MAX_TOKENS,
    OPT_API_KEY,
    OPT_API_KEY_FILE,
    OPT_NO_API_KEY,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_CORS_ORIGIN,
    OPT_ALLOWED_HOST,
    OPT_MAX_BODY,
    OPT_NO_METRICS,
    OPT_NO_SLOTS,
    OPT_NO_PROPS,
    OPT_NO_UI,
    OPT_REASONING_FORMAT,
    OPT_THINK,
    OPT_DRAIN,
    OPT_LOG,
    OPT_LOG_TEXT,
    OPT_SETTING /* and those that follow: taken by settings_set under their names */
};

static const tool_option options[] = {
    {OPT_HOST, "host", "ADDRESS", "where to listen; unix:/PATH; may be repeated (127.0.0.1)"},
    {OPT_PORT, "port", "N", "0 takes any (8080)"},
    {OPT_ALIAS, "alias", "NAME", "the model's name in requests; may be repeated (the file's name)"},
    {OPT_ANY_MODEL, "any-model", NULL, "a request may name any model: this one answers"},
    {OPT_CTX, "ctx", "N",
     "tokens of a request and its answer (what the model was trained with, at "
     "most 8192)"},
    {OPT_KV_MEMORY, "kv-memory", "SIZE", "memory of the cache (half of what is free)"},
    {OPT_KV_TOKENS, "kv-tokens", "N", "tokens that the cache holds, in place of --kv-memory"},
    {OPT_KV_TYPE, "kv-type", "TYPE", "f32, f16, q8_0 or q4_0 (f16)"},
    {OPT_PARALLEL, "parallel", "N", "answers that are computed at once (64)"},
    {OPT_QUEUE, "queue", "N", "requests that wait (512)"},
    {OPT_STEP_MS, "step-ms", "N", "how long prompts may hold up the answers of others (100)"},
    {OPT_PRECISION, "precision", "FORM", PRECISION_HELP},
    {OPT_NO_REPACK, "no-repack", NULL, NO_REPACK_HELP},
    {OPT_DEVICE, "device", "NAME|none", DEVICE_HELP},
    {OPT_NGL, "ngl", "N|all|auto", NGL_HELP},
    {OPT_LORA, "lora", "F[:SCALE]", LORA_HELP},
    {OPT_EMBED, "embed", NULL, "vectors of the encoder of a model with an encoder and a decoder"},
    {OPT_POOLING, "pooling", "HOW", "of vectors: mean, cls (the first token) or last"},
    {OPT_LOOKUP, "lookup", "WHEN", LOOKUP_HELP},
    {OPT_DRAFT, "draft", "MODEL", DRAFT_HELP},
    {OPT_DRAFT_MAX, "draft-max", "N", DRAFT_MAX_HELP},
    {OPT_TEMPLATE, "template", "F.jinja", "chat template in place of the model's"},
    {OPT_TEMPLATE_VARS, "template-vars", "JSON", "variables of the chat template, as an object"},
    {OPT_MAX_TOKENS, "max-tokens", "N", "of an answer whose request names no number (the context)"},
    {OPT_SETTING, "temp", "X",
     "temperature of requests that name none; 0 = the most likely token "
     "(0.8)"},
    {OPT_SETTING + 1, "top-k", "N", "choose among the N most likely tokens; 0 = all (40)"},
    {OPT_SETTING + 2, "top-p", "X", "choose among the tokens that reach this probability (0.95)"},
    {OPT_SETTING + 3, "min-p", "X",
     "leave out tokens below this share of the most likely one (0.05)"},
    {OPT_SETTING + 4, "repeat-penalty", "X",
     "make tokens that occurred recently less likely (1 = off)"},
    {OPT_SETTING + 5, "repeat-last-n", "N", "how many of the last tokens count as recent (64)"},
    {OPT_REASONING_FORMAT, "reasoning-format", "WHERE",
     "auto: what the model thinks is kept apart; none: it stays in the text (auto)"},
    {OPT_THINK, "think", "WHEN",
     "auto, on or off: whether the template lets the model think (auto)"},
    {OPT_API_KEY, "api-key", "KEY", "requests must bring this key; may be repeated"},
    {OPT_API_KEY_FILE, "api-key-file", "FILE", "keys, one a line"},
    {OPT_NO_API_KEY, "no-api-key", NULL, "serve other machines without a key"},
    {OPT_TLS_CERT, "tls-cert", "FILE",
     "serve https with this certificate (PEM, its chain behind it)"},
    {OPT_TLS_KEY, "tls-key", "FILE", "the private key of --tls-cert (PEM)"},
    {OPT_CORS_ORIGIN, "cors-origin", "ORIGIN",
     "pages from there may use the server; * = all; may be repeated (this machine's)"},
    {OPT_ALLOWED_HOST, "allowed-host", "NAME",
     "the server may be asked for by this name; * = any; may be repeated (this machine's)"},
    {OPT_MAX_BODY, "max-body", "SIZE", "of a request (64M)"},
    {OPT_NO_METRICS, "no-metrics", NULL, "nothing at /metrics"},
    {OPT_NO_SLOTS, "no-slots", NULL, "nothing at /slots"},
    {OPT_NO_PROPS, "no-props", NULL, "nothing at /props"},
    {OPT_NO_UI, "no-ui", NULL, "no page at /"},
    {OPT_DRAIN, "drain", "SECONDS", "after SIGTERM, running requests have so long to end (30)"},
    {OPT_LOG, "log", "FORM", "text or json lines on stderr (text)"},
    {OPT_LOG_TEXT, "log-text", NULL, "log what requests and answers say, too: prompts are private"},
    TOOL_MODEL_SPELLINGS,
    DEVICE_SPELLINGS(OPT_DEVICE, OPT_NGL),
    DRAFT_SPELLINGS(OPT_DRAFT, OPT_DRAFT_MAX),
    TOOL_CONTEXT_SPELLINGS(OPT_CTX, OPT_KV_TYPE),
    {OPT_PARALLEL, "-np", "N", NULL},
    {OPT_ALIAS, "-a", "NAME", NULL},
    {OPT_TEMPLATE, "chat-template-file", "F", NULL},
    {OPT_MAX_TOKENS, "-n", "N", NULL},
    {OPT_MAX_TOKENS, "n-predict", "N", NULL},
    {OPT_SETTING, "temperature", "X", NULL},
    {OPT_TEMPLATE_VARS, "chat-template-kwargs", "JSON", NULL},
    {0},
};

static const tool_group groups[] = {{"host", "Address and names"},
                                    {"ctx", "Context and load"},
                                    {"precision", "How it is computed"},
                                    {"template", "Answers"},
                                    {"api-key", "Who may ask"},
                                    {"no-metrics", "What is there"},
                                    {"drain", "Running"},
                                    {0}};

/* ---- options ----------------------------------------------------------------------------- */

static gguf_code add(const char **list, size_t *n, const char *option, const char *value,
                     gguf_error *err) {
    if (!*value)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s takes a text, not ''",
                         option);
    if (*n == SERVER_MAX_NAMES)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s can be given %d times",
                         option, SERVER_MAX_NAMES);
    list[(*n)++] = value;
    return GGUF_OK;
}

static gguf_code set_word(const char *option, const char *value, const char *const words[3],
                          int *out, gguf_error *err) {
    for (int i = 0; i < 3 && words[i]; i++) {
        if (strcmp(words[i], value) != 0) continue;
        *out = i;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s takes %s%s%s or %s, not '%s'",
                     option, words[2] ? words[2] : "", words[2] ? ", " : "", words[0], words[1],
                     value);
}

static gguf_code set_sampling(serve_settings *o, int id, const char *arg, gguf_error *err) {
    char label[32];
    settings s = {.sampler = o->sampler, .given = o->sampler_given};
    for (const tool_option *option = options; option->name; option++) {
        if (option->id != id) continue;
        snprintf(label, sizeof label, "--%s", option->name);
        gguf_code code = settings_set(&s, option->name, label, arg, NULL, err);
        o->sampler = s.sampler;
        o->sampler_given = s.given;
        return code;
    }
    return GGUF_OK;
}

static gguf_code set_number(serve_settings *o, int id, const char *arg, bool *known,
                            gguf_error *err) {
    const struct {
        int id;
        const char *option;
        uint32_t min, max, *out;
    } numbers[] = {
        {OPT_PORT, "--port", 0, 65535, &o->port},
        {OPT_CTX, "--ctx", 1, 1u << 28, &o->n_ctx},
        {OPT_KV_TOKENS, "--kv-tokens", 1, 1u << 30, &o->n_kv_tokens},
        {OPT_PARALLEL, "--parallel", 1, 1024, &o->n_parallel},
        {OPT_QUEUE, "--queue", 0, 1u << 20, &o->n_queue},
        {OPT_STEP_MS, "--step-ms", 1, 60000, &o->step_ms},
        {OPT_MAX_TOKENS, "--max-tokens", 1, UINT32_MAX, &o->max_tokens},
        {OPT_DRAIN, "--drain", 0, 86400, &o->drain_s},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].id != id) continue;
        *known = true;
        return tool_parse_u32(numbers[i].option, arg, numbers[i].min, numbers[i].max,
                              numbers[i].out, err);
    }
    return GGUF_OK;
}

static bool set_plain(serve_settings *o, int id, const char *arg) {
    const struct {
        int id;
        bool *flag;
        const char **text;
    } plain[] = {
        {OPT_ANY_MODEL, &o->any_model, NULL},
        {OPT_NO_REPACK, &o->no_repack, NULL},
        {OPT_TEMPLATE, NULL, &o->template_file},
        {OPT_TEMPLATE_VARS, NULL, &o->template_vars},
        {OPT_API_KEY_FILE, NULL, &o->key_file},
        {OPT_NO_API_KEY, &o->no_key, NULL},
        {OPT_NO_METRICS, &o->no_metrics, NULL},
        {OPT_NO_SLOTS, &o->no_slots, NULL},
        {OPT_NO_PROPS, &o->no_props, NULL},
        {OPT_NO_UI, &o->no_ui, NULL},
        {OPT_LOG_TEXT, &o->log_text, NULL},
        {OPT_DEVICE, NULL, &o->device.name},
        {OPT_NGL, NULL, &o->device.layers},
        {OPT_DRAFT, NULL, &o->draft.model},
        {OPT_EMBED, &o->embed, NULL},
        {OPT_TLS_CERT, NULL, &o->tls_cert},
        {OPT_TLS_KEY, NULL, &o->tls_key},
    };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (plain[i].id != id) continue;
        if (plain[i].flag) *plain[i].flag = true;
        if (plain[i].text) *plain[i].text = arg;
        return true;
    }
    return false;
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    static const char *const formats[3] = {"auto", "none"}, *const logs[] = {"text", "json", NULL};
    static const char *const thinks[3] = {"on", "off", "auto"};
    serve_settings *o = ctx;
    int word = 0;
    bool known = set_plain(o, id, arg);
    gguf_code code = known ? GGUF_OK : set_number(o, id, arg, &known, err);
    if (known) return code;
    switch (id) {
    case OPT_HOST:
        return add(o->hosts, &o->n_hosts, "--host", arg, err);
    case OPT_ALIAS:
        return add(o->aliases, &o->n_aliases, "--alias", arg, err);
    case OPT_API_KEY:
        return add(o->keys, &o->n_keys, "--api-key", arg, err);
    case OPT_CORS_ORIGIN:
        return add(o->origins, &o->n_origins, "--cors-origin", arg, err);
    case OPT_ALLOWED_HOST:
        return add(o->allowed_hosts, &o->n_allowed_hosts, "--allowed-host", arg, err);
    case OPT_LORA:
        return model_loras_add(&o->loras, arg, err);
    case OPT_POOLING:
        return model_parse_pooling(arg, &o->pooling, err);
    case OPT_LOOKUP:
        return draft_opts_lookup(&o->draft, arg, err);
    case OPT_DRAFT_MAX:
        return draft_opts_most(&o->draft, arg, err);
    case OPT_KV_MEMORY:
        return tool_parse_size("--kv-memory", arg, &o->kv_memory, err);
    case OPT_MAX_BODY:
        return tool_parse_size("--max-body", arg, &o->max_body, err);
    case OPT_KV_TYPE:
        return tool_parse_kv_type(arg, &o->kv_type, err);
    case OPT_PRECISION:
        return precision_parse(arg, &o->precision, err);
    case OPT_REASONING_FORMAT:
        code = set_word("--reasoning-format", arg, formats, &word, err);
        o->keep_reasoning = word == 1;
        return code;
    case OPT_LOG:
        code = set_word("--log", arg, logs, &word, err);
        o->log_json = word == 1;
        return code;
    case OPT_THINK:
        code = set_word("--think", arg, thinks, &word, err);
        o->think = word == 2 ? -1 : word == 0;
        return code;
    default:
        return set_sampling(o, id, arg, err);
    }
}

/* GGUFKIT_SERVE_PORT and so on: what the command line may then say otherwise. */
static gguf_code read_environment(serve_settings *o, gguf_error *err) {
    for (const tool_option *option = options; option->name && option->help; option++) {
        char name[64] = "GGUFKIT_SERVE_";
        size_t len = strlen(name);
        for (const char *c = option->name; *c && len + 1 < sizeof name; c++)
            name[len++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        const char *value = getenv(name);
        if (!value || !*value || (!option->arg && strcmp(value, "0") == 0)) continue;
        gguf_code code = set_option(o, option->id, value, err);
        if (code) return code;
    }
    return GGUF_OK;
}

/* ---- keys -------------------------------------------------------------------------------- */

static gguf_code add_key(server *s, const char *key, size_t n, const char *file, gguf_error *err) {
    if (n == 0 || n >= sizeof s->keys[0])
        return gguf_fail(err, GGUF_E_USAGE, file, GGUF_NO_OFFSET,
                         "an API key has 1 to %zu characters", sizeof s->keys[0] - 1);
    if (s->n_keys == SERVER_MAX_NAMES)
        return gguf_fail(err, GGUF_E_USAGE, file, GGUF_NO_OFFSET, "at most %d API keys",
                         SERVER_MAX_NAMES);
    memcpy(s->keys[s->n_keys++], key, n);
    return GGUF_OK;
}

static gguf_code read_key_file(server *s, const char *file, gguf_error *err) {
    char *text;
    size_t n;
    gguf_code code = gguf_read_text(file, &text, &n, &tool_cancelled, err);
    if (code) return code;
    for (char *line = text, *end; *line && !code; line = *end ? end + 1 : end) {
        end = line + strcspn(line, "\n");
        size_t len = (size_t)(end - line);
        while (len && isspace((unsigned char)line[len - 1])) len--;
        if (len) code = add_key(s, line, len, file, err);
    }
    free(text);
    return code;
}

static gguf_code read_keys(server *s, gguf_error *err) {
    const serve_settings *o = s->settings;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < o->n_keys && !code; i++)
        code = add_key(s, o->keys[i], strlen(o->keys[i]), NULL, err);
    if (!code && o->key_file) code = read_key_file(s, o->key_file, err);
    if (code) return code;
    for (size_t i = 0; i < o->n_hosts && s->n_keys == 0 && !o->no_key; i++)
        if (strncmp(o->hosts[i], "unix:", 5) != 0 && !http_is_loopback(o->hosts[i]))
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "--host %s lets other machines in: --api-key KEY, or --no-api-key for "
                             "everybody",
                             o->hosts[i]);
    return GGUF_OK;
}

/* ---- running ----------------------------------------------------------------------------- */

static void wait_ms(long ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Requests that run have some seconds to end. */
static void drain(server *s) {
    double until = tool_now_s() + s->settings->drain_s;
    atomic_store(&s->draining, true);
    http_quiesce(s->http);
    while (tool_now_s() < until && server_is_busy(s)) wait_ms(20);
}

static gguf_code start(server *s, gguf_error *err) {
    gguf_code code = web_page_open(err);
    if (!code) code = metrics_new(s, &s->metrics, err);
    if (!code) code = watcher_new(&s->watcher, err);
    if (!code) code = workers_new(N_WORKERS, &s->workers, err);
    if (!code) code = http_start(s, err);
    for (size_t i = 0; !code && http_address(s->http, i); i++)
        tool_note(s->t, "loading: %s answers with its state", http_address(s->http, i));
    return code;
}

/* What takes time, beside the HTTP server. */
typedef struct loader {
    server *s;
    atomic_bool done;
    gguf_code code;
    gguf_error *err;
} loader;

static void *load(void *ctx) {
    loader *l = ctx;
    l->code = server_load(l->s, l->err);
    if (!l->code) l->code = rt_serve_start(l->s->engine, l->err);
    atomic_store(&l->done, true);
    return NULL;
}

/* What loads cannot be interrupted, and owns nothing outside of this process. */
static _Noreturn void leave(server *s) {
    http_quiesce(s->http);
    _exit(0);
}

static gguf_code wait_loaded(server *s, gguf_error *err) {
    loader l = {.s = s, .err = err};
    rt_serve_stats stats = {0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, load, &l))
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "cannot start a thread");
    while (!atomic_load(&l.done) && !atomic_load(&tool_cancelled)) wait_ms(5);
    if (atomic_load(&tool_cancelled)) {
        pthread_detach(thread);
        leave(s);
    }
    pthread_join(thread, NULL);
    if (l.code) return l.code;
    atomic_store(&s->stage, SERVER_PREPARING);
    while (!stats.ready && !atomic_load(&tool_cancelled)) {
        wait_ms(5);
        rt_serve_stats_get(s->engine, &stats);
    }
    if (!stats.ready) leave(s);
    atomic_store(&s->stage, SERVER_READY);
    return GGUF_OK;
}

/* Everything that an exchange may wait for ends before HTTP does; what it was told goes out. */
static void stop(server *s) {
    workers_end(s->workers);
    rt_serve_end(s->engine);
    for (int i = 0; i < 50 && server_is_busy(s); i++) wait_ms(10);
    http_stop(s->http);
    workers_free(s->workers);
    watcher_free(s->watcher);
    metrics_free(s->metrics);
    web_page_close();
}

/* What somebody at a terminal does next. */
static void print_hint(const server *s) {
    if (!s->t->on_terminal) return;
    if (s->settings->no_ui)
        tool_note(s->t, "programs use it with /v1 behind; Ctrl-C ends it");
    else
        tool_note(s->t, "a browser shows a page to chat there; programs use it with /v1 behind; "
                        "Ctrl-C ends it");
}

static gguf_code serve(server *s, gguf_error *err) {
    gguf_code code = read_keys(s, err);
    if (!code) code = tls_read(s, err);
    if (!code) code = server_open(s, err);
    if (!code) code = start(s, err);
    if (!code) code = wait_loaded(s, err);
    if (!code) {
        for (size_t i = 0; http_address(s->http, i); i++)
            printf("listening on %s\n", http_address(s->http, i));
        fflush(stdout);
        print_hint(s);
        while (!atomic_load(&tool_cancelled)) wait_ms(100);
        drain(s);
    }
    stop(s);
    tls_clear(s);
    server_close(s);
    return code;
}

static gguf_code check_usage(const tool *t, const serve_settings *o, gguf_error *err) {
    const char *what = NULL;
    if (t->n_args == 0) return tool_fail_usage(t, "a MODEL", err);
    if (t->n_args > 1)
        what = "one server serves one MODEL";
    else if (t->json)
        what = "--json has no effect here: --log json writes the log so";
    else if (t->force)
        what = "--force has no effect here";
    else if (t->quiet && o->log_text)
        what = "--log-text has no effect with --quiet";
    return what ? gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s", what) : GGUF_OK;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    serve_settings *o = ctx;
    static server s;
    gguf_code code = check_usage(t, o, err);
    if (!code) code = device_opts_check(t, &o->device, err);
    if (!code) code = model_locate(t, &t->args[0], false, err);
    if (code) return code;
    if (o->n_hosts == 0) o->hosts[o->n_hosts++] = "127.0.0.1";
    signal(SIGPIPE, SIG_IGN);
    s = (server){.t = t, .settings = o};
    return serve(&s, err);
}

int main(int argc, char **argv) {
    static serve_settings o;
    o = (serve_settings){.port = 8080,
                         .n_parallel = 64,
                         .n_queue = 512,
                         .kv_type = GGUF_TYPE_F16,
                         .max_body = 64u << 20,
                         .step_ms = 100,
                         .drain_s = 30,
                         .think = -1,
                         .sampler = rt_sampler_defaults(),
                         .max_tokens = UINT32_MAX};
    const tool_spec spec = {
        .name = "gguf-serve",
        .usage = "MODEL [options]",
        .summary =
            "Serve a GGUF model over HTTP: the interfaces of OpenAI, Anthropic and Ollama, and a "
            "page to chat at /. An option can also be given in the environment: --port as "
            "GGUFKIT_SERVE_PORT.",
        .options = options,
        .groups = groups,
        .examples = "gemma3-1b                      # fetch a model, and serve it\n"
                    "model-q4.gguf                  # then open http://127.0.0.1:8080\n"
                    "model-q4.gguf --host 0.0.0.0 --api-key secret",
        .set = set_option,
        .run = run,
        .ctx = &o,
        .reads = "template api-key-file tls-cert tls-key draft"};
    gguf_error err = {0};
    gguf_code code = read_environment(&o, &err);
    if (code) {
        fprintf(stderr, "gguf-serve: environment: %s\n", err.message);
        return gguf_code_exit_status(code);
    }
    int status = tool_main(&spec, argc, argv);
    model_loras_clear(&o.loras);
    return status;
}
