/* Bodies of requests to gguf-serve: the first byte says which path, the rest is the body. A tiny
 * model answers; whatever comes, there is one whole answer, and no fault of the server's. */
#include "quant/plan.h"
#include "runtime/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tools/serve/http.h"
#include "tools/serve/server_open.h"
#include "tools/serve/workers.h"

#include <stdio.h>
#include <unistd.h>

static server s;
static serve_settings settings;
static const tool_spec spec = {.name = "fuzz_request"};
static tool t = {.spec = &spec, .quiet = true, .n_threads = 1};
static const route *posts[64];
static size_t n_posts;

/* The fixture as a GGUF file that has no name any more once it is open. */
static void convert(const char *path) {
    gguf_error err = {0};
    rt_import *import;
    gguf_pool *pool;
    const rt_import_opts opts = {0};
    fuzz_check(!rt_import_open(TEST_DATA "/models/llama", &opts, &import, &err));
    fuzz_check(!gguf_pool_new(1, &pool, &err));
    quant_execute_opts execute = quant_execute_defaults();
    execute.replace = true;
    fuzz_check(!quant_plan_finish(rt_import_plan(import), &err));
    fuzz_check(!quant_execute(rt_import_plan(import), path, pool, &execute, &err));
    gguf_pool_free(pool);
    rt_import_close(import);
}

static void start(void) {
    static char path[64];
    static char *args[] = {path};
    gguf_error err = {0};
    snprintf(path, sizeof path, "/tmp/ggufkit-fuzz-request-%d.gguf", (int)getpid());
    convert(path);
    settings = (serve_settings){.n_ctx = 64,
                                .n_parallel = 4,
                                .n_queue = 16,
                                .kv_type = GGUF_TYPE_F16,
                                .max_body = 1u << 20,
                                .step_ms = 100,
                                .think = -1,
                                .no_repack = true,
                                .sampler = rt_sampler_defaults(),
                                .max_tokens = 4};
    t.args = args;
    t.n_args = 1;
    s = (server){.t = &t, .settings = &settings};
    fuzz_check(!server_open(&s, &err) && !server_load(&s, &err));
    unlink(path);
    for (const route *r = serve_routes; r->path; r++)
        if (!r->at_once && n_posts < 64) posts[n_posts++] = r;
}

static void check_whole(const exchange *x) {
    char *text = malloc(x->out.len + 1);
    fuzz_check(text != NULL);
    memcpy(text, x->out.data, x->out.len);
    text[x->out.len] = '\0';
    json_t *json = json_loads(text, JSON_ALLOW_NUL, NULL);
    fuzz_check(json_is_object(json));
    const json_t *error = json_object_get(json, "error");
    fuzz_check(x->status == 200 || (error && !json_is_null(error)));
    json_decref(json);
    free(text);
}

/* Steps that an answer may take: then its client goes away. */
#define MAX_STEPS 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    api_error error = {0};
    if (!n_posts) start();
    if (size == 0) return 0;
    exchange *x = exchange_new(&s, "POST", "/");
    fuzz_check(x != NULL);
    x->route = posts[data[0] % n_posts];
    x->closed = true; /* nobody is connected */
    if (workers_parse(data + 1, size - 1, &x->json, &error))
        x->route->handle(x);
    else
        exchange_fail(x, &error);
    for (int i = 0; i < MAX_STEPS && !x->ended; i++) rt_serve_step(s.engine);
    if (!x->ended) exchange_gone(x);
    for (int i = 0; i < 2 && !x->ended; i++) rt_serve_step(s.engine);
    fuzz_check(x->ready && x->ended && x->out.len > 0 && x->status != 500);
    if (!x->stream) check_whole(x);
    exchange_unref(x);
    return 0;
}
