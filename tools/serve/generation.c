/* From the engine's events to a dialect. Events come in the engine's thread. */
#include "tools/serve/generation.h"

#include "libgguf/json.h"
#include "tools/serve/workers.h"

#include <stdlib.h>
#include <string.h>

/* ---- making ------------------------------------------------------------------------------ */

generation *generation_new(exchange *x, const dialect_format *format, const params *p,
                           const char *id_prefix) {
    generation *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    *g = (generation){.x = x, .s = x->s, .format = format, .params = *p, .created = time(NULL)};
    json_incref(g->params.tools);
    g->created_s = tool_now_s();
    gguf_dynbuf_init(&g->text, SIZE_MAX / 4);
    server_random_id(id_prefix, 24, g->id, sizeof g->id);
    exchange_ref(x);
    return g;
}

void generation_free(generation *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_answers; i++) {
        gguf_dynbuf_clear(&g->answers[i].text);
        gguf_dynbuf_clear(&g->answers[i].thought);
        gguf_dynbuf_clear(&g->answers[i].tokens);
        rt_ids_clear(&g->answers[i].ids);
        json_decref(g->answers[i].logprobs);
        rt_call_parser_clear(&g->answers[i].parser);
        gguf_dynbuf_clear(&g->answers[i].arguments);
        json_decref(g->answers[i].calls);
    }
    for (size_t i = 0; g->stops && g->stops[i]; i++) free(g->stops[i]);
    free(g->stops);
    free(g->answers);
    json_decref(g->params.tools);
    gguf_dynbuf_clear(&g->text);
    json_decref(g->echo);
    json_decref(g->entries);
    exchange_unref(g->x);
    free(g);
}

size_t generation_n_generated(const generation *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_answers; i++) n += g->answers[i].n_generated;
    return n;
}

size_t generation_n_reasoning(const generation *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_answers; i++) n += g->answers[i].n_reasoning;
    return n;
}

/* ---- log-probabilities ------------------------------------------------------------------- */

json_t *generation_token_text(const server *s, int32_t id) {
    gguf_str text = rt_token_text(s->tok, id);
    if (text.len == 0) text = rt_token_piece(s->tok, id);
    return gguf_json_bytes(text.ptr, text.len);
}

static json_t *token_entry(const server *s, int32_t id, float logprob) {
    gguf_str text = rt_token_text(s->tok, id);
    json_t *bytes = json_array();
    for (size_t i = 0; i < text.len; i++)
        json_array_append_new(bytes, json_integer((unsigned char)text.ptr[i]));
    /* JSON has no infinity. */
    double value = logprob < -9999.0f ? -9999.0 : (double)logprob;
    return json_pack("{s:o, s:o, s:f, s:i}", "token", generation_token_text(s, id), "bytes", bytes,
                     "logprob", value, "id", (int)id);
}

json_t *generation_logprob(const server *s, const rt_serve_token *token) {
    json_t *entry = token_entry(s, token->id, token->logprob), *top = json_array();
    for (size_t i = 0; i < token->n_top; i++)
        json_array_append_new(top, token_entry(s, token->top[i].id, token->top[i].logprob));
    json_object_set_new(entry, "top_logprobs", top);
    return entry;
}

static void add_entry(const generation *g, answer *a, const rt_serve_token *token) {
    if (!a->logprobs) a->logprobs = json_array();
    json_array_append_new(a->logprobs, generation_logprob(g->s, token));
}

/* Entries of a stream are made at once, the others by a worker in the end. */
static void take_tokens(generation *g, answer *a, const rt_serve_event *e) {
    if (!g->params.logprobs || g->n_logprobs > MAX_LOGPROBS) return;
    for (size_t i = 0; i < e->n_tokens; i++) {
        if (g->params.stream) {
            add_entry(g, a, &e->tokens[i]);
        } else {
            gguf_dynbuf_put(&a->tokens, &e->tokens[i], sizeof e->tokens[i]);
            g->n_logprobs += 1 + e->tokens[i].n_top;
        }
    }
    if (g->n_logprobs > MAX_LOGPROBS) exchange_gone(g->x); /* cancelled */
}

static void make_entries(generation *g) {
    for (size_t i = 0; i < g->n_answers; i++) {
        const gguf_dynbuf *tokens = &g->answers[i].tokens;
        for (size_t at = 0; at < tokens->len; at += sizeof(rt_serve_token))
            add_entry(g, &g->answers[i], (const rt_serve_token *)(const void *)(tokens->data + at));
    }
}

/* ---- calls ------------------------------------------------------------------------------- */

json_t *answer_call(const answer *a) {
    return json_array_get(a->calls, json_array_size(a->calls) - 1);
}

static void put_text(generation *g, answer *a, gguf_str text) {
    if (g->params.stream)
        g->format->part(g, a, text, false);
    else
        gguf_dynbuf_put(&a->text, text.ptr, text.len);
}

static void on_call(void *ctx, const rt_call_event *e) {
    answer *a = ctx;
    generation *g = a->owner;
    char id[48];
    if (e->kind == RT_CALL_TEXT) {
        put_text(g, a, e->text);
        return;
    }
    if (e->kind == RT_CALL_BEGIN) {
        const char *prefix = g->format->call_prefix;
        server_random_id(prefix ? prefix : "call_", 24, id, sizeof id);
        if (!a->calls) a->calls = json_array();
        json_array_append_new(a->calls, json_pack("{s:s, s:s%, s:s}", "id", id, "name", e->name.ptr,
                                                  e->name.len, "arguments", ""));
        a->arguments.len = 0;
    }
    gguf_dynbuf_put(&a->arguments, e->text.ptr, e->text.len);
    if (e->kind == RT_CALL_END)
        json_object_set_new(answer_call(a), "arguments",
                            gguf_json_bytes(a->arguments.len ? (const char *)a->arguments.data : "",
                                            a->arguments.len));
    if (g->params.stream && (!g->format->whole_calls || e->kind == RT_CALL_END))
        g->format->call(g, a, e);
}

static void put_said(generation *g, answer *a, gguf_str text) {
    if (g->params.tools)
        rt_call_parser_put(&a->parser, text);
    else
        put_text(g, a, text);
}

/* ---- events ------------------------------------------------------------------------------ */

static void on_started(generation *g, const rt_serve_event *e) {
    if (e->index % g->params.n_choices == 0) g->n_cached += e->n_cached;
    if (g->begun) return;
    g->begun = true;
    if (g->params.stream) g->format->begin(g);
}

static void on_part(generation *g, const rt_serve_event *e) {
    answer *a = &g->answers[e->index];
    take_tokens(g, a, e);
    a->n_generated = e->n_generated;
    a->n_reasoning = e->n_reasoning;
    if (e->index == 0) {
        g->prompt_s = e->prompt_s;
        g->answer_s = e->answer_s;
    }
    if (!g->params.stream) {
        gguf_dynbuf_put(&a->thought, e->thought.ptr, e->thought.len);
        if (e->text.len) put_said(g, a, e->text);
        return;
    }
    if (e->thought.len) g->format->part(g, a, e->thought, true);
    if (e->text.len) put_said(g, a, e->text);
}

static void on_finished(generation *g, const rt_serve_event *e) {
    answer *a = &g->answers[e->index];
    a->finished = true;
    if (g->params.tools) rt_call_parser_end(&a->parser);
    a->finish = e->finish;
    a->stop = e->stop >= 0 ? g->stops[e->stop] : NULL;
    a->n_generated = e->n_generated;
    a->n_reasoning = e->n_reasoning;
    g->n_foreseen += e->n_foreseen;
    g->n_unforeseen += e->n_unforeseen;
    if (g->want_ids) {
        a->ids.data = malloc(e->n_ids * sizeof *a->ids.data);
        if (a->ids.data) memcpy(a->ids.data, e->ids, e->n_ids * sizeof *e->ids);
        a->ids.n = a->ids.room = a->ids.data ? e->n_ids : 0;
    }
    if (e->index == 0) {
        g->queue_s = e->queue_s;
        g->prompt_s = e->prompt_s;
        g->answer_s = e->answer_s;
    }
    if (g->params.stream) g->format->finish(g, a);
}

/* A whole answer may be long: a worker writes it, not the engine's thread. */
static void reply_whole(void *ctx) {
    generation *g = ctx;
    make_entries(g);
    exchange_reply(g->x, 200, g->format->whole(g));
    generation_free(g);
}

static void on_ended(generation *g, const rt_serve_event *e) {
    api_error error = {0};
    if (g->n_logprobs > MAX_LOGPROBS)
        api_fail(&error, "logprobs", NULL,
                 "the answer has more than %u probabilities: ask for a stream", MAX_LOGPROBS);
    if (e->code) api_fail_engine(&error, e->code, e->message);
    if (!g->params.stream && !error.status) {
        workers_run(g->s->workers, reply_whole, g);
        return;
    }
    if (!g->params.stream) {
        exchange_fail(g->x, &error);
    } else {
        if (error.status)
            g->format->fail(g, &error);
        else
            g->format->end(g);
        exchange_end(g->x);
    }
    generation_free(g);
}

static void on_event(void *ctx, const rt_serve_event *e) {
    generation *g = ctx;
    switch (e->kind) {
    case RT_SERVE_STARTED:
        on_started(g, e);
        break;
    case RT_SERVE_READING:
        g->prompt_s = e->prompt_s;
        if (g->params.stream && g->format->progress) g->format->progress(g, e->n_read);
        break;
    case RT_SERVE_PART:
        on_part(g, e);
        break;
    case RT_SERVE_FINISHED:
        on_finished(g, e);
        break;
    case RT_SERVE_ENDED:
        on_ended(g, e);
        break;
    default:
        break;
    }
}

/* ---- start ------------------------------------------------------------------------------- */

static bool keep_stops(generation *g) {
    g->stops = calloc(g->params.n_stops + 1, sizeof *g->stops);
    for (size_t i = 0; g->stops && i < g->params.n_stops; i++) {
        g->stops[i] = strdup(g->params.stops[i]);
        if (!g->stops[i]) return false;
    }
    return g->stops != NULL;
}

static bool make_answers(generation *g, const rt_ids *prompts, size_t n_prompts) {
    g->n_prompts = n_prompts;
    g->n_answers = n_prompts * g->params.n_choices;
    g->answers = calloc(g->n_answers ? g->n_answers : 1, sizeof *g->answers);
    if (!g->answers) g->n_answers = 0;
    for (size_t i = 0; i < g->n_answers; i++) {
        g->answers[i].index = (uint32_t)i;
        g->answers[i].owner = g;
        gguf_dynbuf_init(&g->answers[i].arguments, SIZE_MAX / 4);
        if (g->params.tools)
            rt_call_parser_init(&g->answers[i].parser, g->s->tools.style, g->params.tools,
                                g->params.stream && !g->format->whole_calls, on_call,
                                &g->answers[i]);
        if (g->params.tools) {
            const rt_ids *prompt = &prompts[i / g->params.n_choices];
            rt_call_parser_put(
                &g->answers[i].parser,
                rt_tool_style_begun(g->s->tools.style, g->s->tok, prompt->data, prompt->n));
        }
        gguf_dynbuf_init(&g->answers[i].text, SIZE_MAX / 4);
        gguf_dynbuf_init(&g->answers[i].thought, SIZE_MAX / 4);
        gguf_dynbuf_init(&g->answers[i].tokens, SIZE_MAX / 4);
    }
    for (size_t i = 0; i < n_prompts; i++) g->n_prompt += prompts[i].n;
    return g->answers != NULL;
}

static void fail(generation *g, const api_error *error) {
    exchange_fail(g->x, error);
    generation_free(g);
}

/* The longest prompt, for the message of one that is too long. */
static void add_sizes(const generation *g, const rt_ids *prompts, size_t n, api_error *error) {
    for (size_t i = 0; i < n; i++)
        if (prompts[i].n > error->n_prompt) error->n_prompt = prompts[i].n;
    error->n_ctx = g->params.n_ctx ? g->params.n_ctx : g->s->n_ctx;
    error->code = "context_length_exceeded";
}

void generation_start(generation *g, const rt_ids *prompts, size_t n_prompts,
                      const rt_answer_text_opts *text) {
    const params *p = &g->params;
    api_error error = {0};
    gguf_error err = {0};
    rt_request *request;
    rt_request_opts opts = {.prompts = prompts,
                            .n_prompts = n_prompts,
                            .n_choices = p->n_choices,
                            .sampler = p->sampler,
                            .bias = p->bias,
                            .n_bias = p->n_bias,
                            .stop_ids = p->stop_ids,
                            .n_stop_ids = p->n_stop_ids,
                            .grammar = p->grammar,
                            .max_tokens = p->max_tokens,
                            .min_tokens = p->min_tokens,
                            .ignore_end = p->ignore_end,
                            .n_ctx = p->n_ctx,
                            .progress = p->progress,
                            .logprobs = p->logprobs,
                            .n_top = p->n_top,
                            .text = *text,
                            .no_cache = p->no_cache,
                            .prediction = p->prediction,
                            .key = g->x->key,
                            .event = on_event,
                            .ctx = g};
    if (!keep_stops(g) || !make_answers(g, prompts, n_prompts)) {
        api_fail_status(&error, 500, NULL, "out of memory");
        fail(g, &error);
        return;
    }
    opts.text.stops = p->stops;
    opts.text.n_stops = p->n_stops;
    if (!p->seed_given) opts.sampler.seed = server_random();
    /* The engine may end the generation before this returns. */
    exchange *x = g->x;
    bool stream = p->stream;
    const char *type = g->format->stream_type;
    exchange_ref(x);
    gguf_code code = rt_serve_submit(x->s->engine, &opts, &request, &err);
    if (code) {
        api_fail_engine(&error, code, err.message);
        if (code == GGUF_E_LIMIT) add_sizes(g, prompts, n_prompts, &error);
        fail(g, &error);
    } else {
        exchange_set_request(x, request);
        if (stream) exchange_stream(x, type);
    }
    exchange_unref(x);
}
