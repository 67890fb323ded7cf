/* gguf-bench serve: a server under load. */
#include "tools/bench/run_serve.h"
#include "tools/bench/load.h"
#include "tools/bench/server_child.h"
#include "tools/bench/statistics.h"
#include "tools/common/model_locate.h"

#include <curl/curl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_USERS = TOOL_LONG_ONLY,
    OPT_PROMPT_TOKENS,
    OPT_TOKENS,
    OPT_REQUESTS,
    OPT_RATE,
    OPT_TTFT,
    OPT_ITL,
    OPT_MODEL,
    OPT_KEY
};

static const tool_option options[] = {
    {OPT_USERS, "users", "N,N", "requests in flight at once; each number is measured (1,4,16)"},
    {OPT_PROMPT_TOKENS, "prompt-tokens", "P", "tokens of a prompt, another one each time (128)"},
    {OPT_TOKENS, "tokens", "T", "tokens of an answer (128)"},
    {OPT_REQUESTS, "requests", "R", "requests for each number of users (4 times that, at least 8)"},
    {OPT_RATE, "rate", "X", "requests that arrive in a second, by chance; default: as one ends"},
    {OPT_TTFT, "ttft", "S", "seconds to the first token of a request that counts as good"},
    {OPT_ITL, "itl", "S", "seconds between its tokens, on average"},
    {OPT_MODEL, "model", "NAME", "of a server that has several (the first)"},
    {OPT_KEY, "api-key", "KEY", "that the server asks for"},
    {0},
};

typedef struct serve_opts {
    uint32_t *users;
    size_t n_users;
    uint32_t n_requests; /* 0: by the number of users */
    load_opts load;
} serve_opts;

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    serve_opts *o = ctx;
    switch (id) {
    case OPT_USERS:
        free(o->users);
        return tool_parse_u32_list("--users", arg, 4096, &o->users, &o->n_users, err);
    case OPT_PROMPT_TOKENS:
        return tool_parse_u32("--prompt-tokens", arg, 1, 1u << 24, &o->load.n_prompt, err);
    case OPT_TOKENS:
        return tool_parse_u32("--tokens", arg, 1, 1u << 24, &o->load.n_tokens, err);
    case OPT_REQUESTS:
        return tool_parse_u32("--requests", arg, 1, 1u << 24, &o->n_requests, err);
    case OPT_RATE:
        return tool_parse_real("--rate", arg, 1e-6, 1e6, &o->load.rate, err);
    case OPT_TTFT:
        return tool_parse_real("--ttft", arg, 1e-6, 1e6, &o->load.ttft_limit_s, err);
    case OPT_ITL:
        return tool_parse_real("--itl", arg, 1e-6, 1e6, &o->load.itl_limit_s, err);
    case OPT_MODEL:
        o->load.model = arg;
        break;
    case OPT_KEY:
        o->load.api_key = arg;
        break;
    default:
        break;
    }
    return GGUF_OK;
}

/* ---- what came of it ------------------------------------------------------------------------ */

/* Seconds; NaN where nothing was measured. */
typedef struct times {
    double mean, p50, p90, p99, max;
} times;

static times times_of(double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return (times){.mean = n ? sum / (double)n : (double)NAN,
                   .p50 = bench_percentile(values, n, 0.5),
                   .p90 = bench_percentile(values, n, 0.9),
                   .p99 = bench_percentile(values, n, 0.99),
                   .max = bench_percentile(values, n, 1)};
}

typedef struct level {
    uint32_t n_users;
    size_t n_requests, n_failed;
    uint64_t n_generated;
    double wall_s, tokens_per_s, prompt_per_s, requests_per_s, good_per_s;
    times ttft, itl;
} level;

static gguf_code summarise(const load_opts *o, load_result *r, level *out, gguf_error *err) {
    double *first = malloc((r->n + 1) * sizeof *first);
    if (!first) return gguf_fail_memory(err);
    size_t n = 0;
    *out = (level){.n_users = o->n_users,
                   .n_requests = r->n,
                   .n_failed = r->n_failed,
                   .wall_s = r->wall_s,
                   .good_per_s = (double)r->n_good / r->wall_s};
    for (size_t i = 0; i < r->n; i++) {
        if (r->requests[i].failed) continue;
        first[n++] = r->requests[i].first_s;
        out->n_generated += r->requests[i].n_generated;
    }
    out->tokens_per_s = (double)out->n_generated / r->wall_s;
    out->requests_per_s = (double)n / r->wall_s;
    out->prompt_per_s = out->requests_per_s * o->n_prompt;
    out->ttft = times_of(first, n);
    out->itl = times_of(r->gaps, r->n_gaps);
    free(first);
    return GGUF_OK;
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_head(const load_opts *o) {
    printf("%s, %u tokens in, %u out", o->url, (unsigned)o->n_prompt, (unsigned)o->n_tokens);
    if (o->rate > 0) printf(", %g requests arrive in a second", o->rate);
    printf("\n%26s|%-26s|%-26s\n", "", " first token, ms", " between tokens, ms");
    printf("%5s %7s %6s %5s|%6s %6s %6s %5s|%6s %6s %6s %5s\n", "users", "tok/s", "req/s", "fail",
           "mean", "p50", "p90", "p99", "mean", "p50", "p90", "p99");
}

static void print_ms(const times *t) {
    const double ms[] = {t->mean * 1e3, t->p50 * 1e3, t->p90 * 1e3, t->p99 * 1e3};
    for (int i = 0; i < 4; i++)
        printf("%*.*f%s", i < 3 ? 6 : 5, ms[i] < 99.95 ? 1 : 0, ms[i], i < 3 ? " " : "");
}

static void print_level(const load_opts *o, const level *l) {
    printf("%5u %7.1f %6.2f %5zu|", (unsigned)l->n_users, l->tokens_per_s, l->requests_per_s,
           l->n_failed);
    print_ms(&l->ttft);
    printf("|");
    print_ms(&l->itl);
    printf("\n");
    if (o->ttft_limit_s > 0 || o->itl_limit_s > 0)
        printf("      good: %.2f requests/s\n", l->good_per_s);
    fflush(stdout);
}

static json_t *json_of_times(const times *t) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "mean_s", tool_json_real(t->mean), "p50_s",
                     tool_json_real(t->p50), "p90_s", tool_json_real(t->p90), "p99_s",
                     tool_json_real(t->p99), "max_s", tool_json_real(t->max));
}

static json_t *json_of_level(const level *l) {
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "users", (json_int_t)l->n_users,
        "requests", (json_int_t)l->n_requests, "failed", (json_int_t)l->n_failed,
        "generated_tokens", (json_int_t)l->n_generated, "wall_s", tool_json_real(l->wall_s),
        "tokens_per_s", tool_json_real(l->tokens_per_s), "prompt_tokens_per_s",
        tool_json_real(l->prompt_per_s), "requests_per_s", tool_json_real(l->requests_per_s),
        "good_requests_per_s", tool_json_real(l->good_per_s), "ttft", json_of_times(&l->ttft),
        "itl", json_of_times(&l->itl));
}

static json_t *json_of_limit(double limit) {
    return limit > 0 ? json_real(limit) : json_null();
}

static json_t *json_of_run(const load_opts *o) {
    return json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:[]}", "url", o->url, "model", o->model,
                     "prompt_tokens", (json_int_t)o->n_prompt, "tokens", (json_int_t)o->n_tokens,
                     "rate", json_of_limit(o->rate), "ttft_limit_s", json_of_limit(o->ttft_limit_s),
                     "itl_limit_s", json_of_limit(o->itl_limit_s), "levels");
}

/* ---- the run -------------------------------------------------------------------------------- */

static gguf_code measure(tool *t, serve_opts *o, uint32_t n_users, json_t *levels, size_t *n_failed,
                         gguf_error *err) {
    load_opts load = o->load;
    load_result result;
    level l = {0};
    load.n_users = n_users;
    load.n_requests = o->n_requests ? o->n_requests : n_users < 2 ? 8 : 4 * n_users;
    load.seed = n_users; /* a prompt that a level had before would be in the cache */
    gguf_code code = load_run(t, &load, &result, err);
    if (!code) code = summarise(&load, &result, &l, err);
    if (!code) {
        *n_failed += result.n_failed;
        if (result.n_failed)
            tool_warn(t, "%zu of %zu requests failed; the first: %s", result.n_failed, result.n,
                      result.fault);
        if (levels)
            json_array_append_new(levels, json_of_level(&l));
        else
            print_level(&load, &l);
    }
    load_clear(&result);
    return code;
}

static gguf_code measure_all(tool *t, serve_opts *o, gguf_error *err) {
    static const uint32_t usual[] = {1, 4, 16};
    const uint32_t *users = o->n_users ? o->users : usual;
    size_t n = o->n_users ? o->n_users : sizeof usual / sizeof usual[0], n_failed = 0;
    json_t *run = t->json ? json_of_run(&o->load) : NULL;
    if (!t->json) print_head(&o->load);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < n && !code; i++)
        code = measure(t, o, users[i], json_object_get(run, "levels"), &n_failed, err);
    if (!code && run)
        tool_print_json(run);
    else
        json_decref(run);
    return code ? code : n_failed ? GGUF_E_CHECK : GGUF_OK;
}

static gguf_code run_at(tool *t, serve_opts *o, gguf_error *err) {
    char *model = NULL;
    uint32_t n_vocab = 1024; /* every vocabulary has these */
    gguf_code code = load_ask_model(&o->load, &model, &n_vocab, err);
    if (!o->load.model) o->load.model = model;
    o->load.n_vocab = n_vocab;
    if (!code) code = measure_all(t, o, err);
    free(model);
    return code;
}

static bool is_url(const char *text) {
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

static gguf_code run_with_server(tool *t, serve_opts *o, const char *model, gguf_error *err) {
    server_child server = {0};
    uint32_t most = 64;
    gguf_code code = tool_refuse(t, "model api-key", "is for a server that runs already", err);
    for (size_t i = 0; i < o->n_users; i++) most = o->users[i] > most ? o->users[i] : most;
    if (!code) code = server_child_start(&server, t, model, most, err);
    o->load.url = server.url;
    if (!code) code = run_at(t, o, err);
    server_child_stop(&server);
    return code;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    serve_opts *o = ctx;
    if (t->n_args != 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected serve URL or serve MODEL (see gguf-bench serve --help)");
    for (size_t i = 0; i < o->n_users; i++)
        if (o->users[i] == 0)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "--users takes numbers from 1 on");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    gguf_code code;
    if (is_url(t->args[0])) {
        size_t n = strlen(t->args[0]);
        while (n > 0 && t->args[0][n - 1] == '/') t->args[0][--n] = 0;
        if (n > 3 && strcmp(t->args[0] + n - 3, "/v1") == 0) t->args[0][n - 3] = 0;
        o->load.url = t->args[0];
        code = t->n_threads ? gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                                        "--threads has no effect on a server that runs already")
                            : run_at(t, o, err);
    } else {
        code = model_locate(t, &t->args[0], false, err);
        if (!code) code = run_with_server(t, o, t->args[0], err);
    }
    curl_global_cleanup();
    return code;
}

const tool_spec *bench_serve_spec(void) {
    static const tool_spec spec = {
        .name = "gguf-bench",
        .verb = "serve",
        .usage = "serve URL|MODEL [--users N,N] [options]",
        .summary = "Measure a server under load: time to the first token, between tokens, and "
                   "tokens per second. For a MODEL, gguf-serve is started; a URL is any server "
                   "that has /v1/completions.",
        .options = options,
        .examples = "serve model-q4.gguf\nserve http://127.0.0.1:8080 --users 1,8",
        .set = set_option,
        .run = run};
    return &spec;
}

int bench_serve_main(int argc, char **argv) {
    serve_opts o = {.load = {.n_prompt = 128, .n_tokens = 128}};
    tool_spec spec = *bench_serve_spec();
    spec.ctx = &o;
    int status = tool_main(&spec, argc, argv);
    free(o.users);
    return status;
}
