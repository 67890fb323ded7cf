/* What all parts of gguf-serve share: the model, the engine, the settings. */
#ifndef TOOLS_SERVE_SERVER_H
#define TOOLS_SERVE_SERVER_H

#include "runtime/chat/tools.h"
#include "runtime/serve/serve.h"
#include "runtime/template/template.h"
#include "tools/common/device_opts.h"
#include "tools/common/draft_opts.h"
#include "tools/common/model_open.h"
#include "tools/common/tool.h"

#include <time.h>

#define SERVER_MAX_NAMES 64

typedef struct serve_settings {
    const char *hosts[SERVER_MAX_NAMES];
    size_t n_hosts;
    uint32_t port;
    const char *aliases[SERVER_MAX_NAMES];
    size_t n_aliases;
    bool any_model;
    uint32_t n_ctx, n_kv_tokens, n_parallel, n_queue;
    uint64_t kv_memory;
    uint32_t kv_type;
    rt_precision precision;
    device_opts device;
    model_loras loras;
    draft_opts draft;
    bool embed;         /* the encoder of a model that has a decoder too makes vectors */
    rt_pooling pooling; /* RT_POOLING_NONE: the model's own */
    bool no_repack;
    const char *template_file, *template_vars;
    const char *keys[SERVER_MAX_NAMES];
    size_t n_keys;
    const char *key_file;
    bool no_key;
    const char *tls_cert, *tls_key; /* files; both or neither */
    const char *origins[SERVER_MAX_NAMES];
    size_t n_origins;
    const char *allowed_hosts[SERVER_MAX_NAMES];
    size_t n_allowed_hosts;
    uint64_t max_body;
    bool no_metrics, no_slots, no_props, no_ui;
    uint32_t step_ms, drain_s;
    bool keep_reasoning;     /* --reasoning-format none: it stays in the text */
    int think;               /* --think: -1 auto, 0 off, 1 on */
    bool log_json, log_text; /* log_text: bodies and answers, too */
    rt_sampler_opts sampler;
    unsigned sampler_given; /* a bit for each of --temp ... that was given */
    uint32_t max_tokens;
} serve_settings;

struct x509_st;
/* Texts in PEM form, and the certificate that they begin with; NULL without TLS. */
typedef struct tls_pair {
    char *cert, *key;
    size_t n_key; /* bytes */
    struct x509_st *certificate;
} tls_pair;

typedef struct workers workers;
typedef struct watcher watcher;
typedef struct http http;
typedef struct metrics metrics;
typedef struct grammar_cache grammar_cache;

/* Until the last stage the HTTP server says no more than how far it is. */
typedef enum server_stage {
    SERVER_LOADING,   /* template and engine */
    SERVER_PREPARING, /* the weights are laid for this processor */
    SERVER_READY
} server_stage;

typedef struct server {
    tool *t;
    const serve_settings *settings;
    rt_model *model;
    const gguf_meta *meta;
    const rt_hparams *hp;
    rt_tokenizer *tok;
    rt_template *tpl;
    gguf_str template_source;
    bool plain;            /* no template of the model's: a transcript */
    json_t *template_vars; /* of --template-vars */
    rt_reasoning_markers markers;
    rt_tool_styles *tool_styles;
    rt_tool_use tools; /* how the model writes calls */
    rt_serve *engine;
    rt_serve_opts opts; /* of the engine */
    draft_source drafts;
    rt_sampler_opts sampler; /* for requests that name none */
    uint32_t n_ctx, n_parallel;
    const char *name; /* the model's, as answers give it */
    char stem[256], digest[65], fingerprint[96];
    uint64_t file_bytes;
    time_t modified, started;
    uint64_t n_params, kv_bytes;
    uint64_t device_room; /* for the cache, where layers lie on a device */
    char keys[SERVER_MAX_NAMES][256];
    size_t n_keys;
    tls_pair tls;
    atomic_uint n_of_key[SERVER_MAX_NAMES]; /* requests of each that are worked on */
    workers *workers;
    watcher *watcher;
    http *http;
    metrics *metrics;
    grammar_cache *grammars;
    _Atomic(server_stage) stage;
    atomic_bool draining;
    atomic_size_t n_open; /* exchanges that are not completed */
} server;

/* Whether a request's model is the one there is: absent, a name of it, with :latest or without. */
bool server_has_model(const server *s, const char *name);
/* The share of the model that is loaded; 1 when the server is ready. Threads: any. */
double server_loaded(const server *s);
/* Requests are being answered. */
bool server_is_busy(const server *s);
/* The name of its type: "Q4_1". */
const char *server_quantisation(const server *s);
/* "135M" */
char *server_size_name(const server *s, char *out, size_t room);
/* Seconds since the epoch as RFC 3339. */
char *server_time_text(time_t when, long ns, char *out, size_t room);
/* A random identifier: prefix and n letters and digits. */
void server_random_id(const char *prefix, size_t n, char *out, size_t room);
uint64_t server_random(void);

#endif
