/* POST /api/chat, /api/generate and /api/embed: Ollama's interface. */
#include "tools/serve/chat_request.h"
#include "tools/serve/dialects.h"
#include "tools/serve/prompts.h"
#include "tools/serve/structured.h"
#include "tools/serve/tool_request.h"
#include "tools/serve/vectors.h"

#include "libgguf/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* g->state */
enum { SHAPE_CHAT, SHAPE_GENERATE };

/* ---- shapes ------------------------------------------------------------------------------ */

static json_t *head(const server *s) {
    char when[48];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return json_pack(
        "{s:s, s:s}", "model", s->name, "created_at",
        server_time_text(now.tv_sec, now.tv_nsec ? now.tv_nsec : 1, when, sizeof when));
}

static json_int_t ns(double seconds) {
    return (json_int_t)(seconds * 1e9);
}

static void set_text(const generation *g, json_t *line, const char *name, json_t *value) {
    json_t *into = line;
    if (g->state == SHAPE_CHAT) {
        into = json_object_get(line, "message");
        if (!into) {
            into = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
            json_object_set_new(line, "message", into);
        }
        if (strcmp(name, "response") == 0) name = "content";
    } else if (!json_object_get(line, "response")) {
        json_object_set_new(line, "response", json_string(""));
    }
    json_object_set_new(into, name, value);
}

static void set_logprobs(json_t *line, answer *a) {
    if (a->logprobs) json_object_set_new(line, "logprobs", a->logprobs);
    a->logprobs = NULL;
}

static void set_done(const generation *g, json_t *line) {
    const answer *a = &g->answers[0];
    bool stopped = a->finish == RT_SERVE_END || a->finish == RT_SERVE_STOP;
    json_t *counts =
        json_pack("{s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "done", 1, "done_reason",
                  stopped ? "stop" : "length", "total_duration", ns(tool_now_s() - g->created_s),
                  "load_duration", ns(g->queue_s), "prompt_eval_count", (json_int_t)g->n_prompt,
                  "prompt_eval_duration", ns(g->prompt_s), "eval_count", (json_int_t)a->n_generated,
                  "eval_duration", ns(g->answer_s));
    json_object_update(line, counts);
    json_decref(counts);
    if (g->n_left_out)
        json_object_set_new(line, "truncated_messages", json_integer((json_int_t)g->n_left_out));
    if (!g->want_ids) return;
    json_t *ids = json_array();
    for (size_t i = 0; i < a->ids.n; i++) json_array_append_new(ids, json_integer(a->ids.data[i]));
    json_object_set_new(line, "context", ids);
}

/* ---- streams ----------------------------------------------------------------------------- */

static void begin(generation *g) {
    (void)g;
}

static void part(generation *g, answer *a, gguf_str text, bool thought) {
    json_t *line = head(g->s);
    set_text(g, line, thought ? "thinking" : "response", json_stringn(text.ptr, text.len));
    json_object_set_new(line, "done", json_false());
    set_logprobs(line, a);
    exchange_line(g->x, line);
}

static json_t *call_of(const json_t *own) {
    const json_t *arguments = json_object_get(own, "arguments");
    json_t *input =
        json_loadb(json_string_value(arguments), json_string_length(arguments), 0, NULL);
    return json_pack("{s:{s:O, s:o}}", "function", "name", json_object_get(own, "name"),
                     "arguments", input ? input : json_object());
}

static void call(generation *g, answer *a, const rt_call_event *e) {
    (void)e;
    json_t *line = head(g->s);
    set_text(g, line, "response", json_string(""));
    set_text(g, line, "tool_calls", json_pack("[o]", call_of(answer_call(a))));
    json_object_set_new(line, "done", json_false());
    set_logprobs(line, a);
    exchange_line(g->x, line);
}

static void finish(generation *g, answer *a) {
    (void)g, (void)a;
}

static void end(generation *g) {
    json_t *line = head(g->s);
    set_text(g, line, "response", json_string(""));
    set_logprobs(line, &g->answers[0]);
    set_done(g, line);
    exchange_line(g->x, line);
}

static void fail(generation *g, const api_error *error) {
    exchange_line(g->x, api_error_json(error, DIALECT_OLLAMA, g->x->request_id));
}

static json_t *whole(generation *g) {
    answer *a = &g->answers[0];
    json_t *line = head(g->s);
    set_text(g, line, "response", answer_text(&a->text));
    if (a->thought.len) set_text(g, line, "thinking", answer_text(&a->thought));
    if (a->calls) {
        json_t *list = json_array(), *own;
        size_t i;
        json_array_foreach(a->calls, i, own) json_array_append_new(list, call_of(own));
        set_text(g, line, "tool_calls", list);
    }
    set_logprobs(line, a);
    set_done(g, line);
    return line;
}

static const dialect_format ollama_format = {.stream_type = "application/x-ndjson",
                                             .begin = begin,
                                             .part = part,
                                             .call = call,
                                             .whole_calls = true,
                                             .finish = finish,
                                             .end = end,
                                             .fail = fail,
                                             .whole = whole};

/* ---- the request ------------------------------------------------------------------------- */

/* Numbers that mean nothing here, but whose type is checked. */
static void read_ineffective(fields *f) {
    static const char *const wholes[] = {"num_keep", "num_batch", "num_gpu", "main_gpu",
                                         "num_thread"};
    static const char *const numbers[] = {"tfs_z", "mirostat_tau", "mirostat_eta"};
    static const char *const flags[] = {"numa",     "use_mmap",   "use_mlock",
                                        "low_vram", "vocab_only", "penalize_newline",
                                        "f16_kv",   "logits_all"};
    bool flag;
    double number;
    int64_t whole;
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++)
        fields_int(f, wholes[i], INT32_MIN, INT32_MAX, &whole);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        fields_real(f, numbers[i], -1e9, 1e9, &number);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) fields_bool(f, flags[i], &flag);
}

static void read_options(fields *request, const server *s, params *p) {
    json_t *object;
    fields f;
    int64_t n;
    if (!fields_object(request, "options", &object)) return;
    fields_open(&f, object, request->error);
    f.options = true;
    params_read_sampling(&f, p);
    params_read_stops(&f, "stop", p);
    if (fields_int(&f, "num_predict", -2, UINT32_MAX, &n))
        p->max_tokens = n < 0 ? UINT32_MAX : n == 0 ? 1 : (uint32_t)n;
    if (fields_int(&f, "num_ctx", 1, INT32_MAX, &n)) {
        if (n > s->n_ctx)
            api_fail(f.error, "num_ctx", NULL,
                     "option \"num_ctx\" asks for %" PRId64 " tokens, the server has %" PRIu32
                     " (--ctx)",
                     n, s->n_ctx);
        p->n_ctx = (uint32_t)n;
    }
    read_ineffective(&f);
    params_refuse(&f);
    /* The stop texts are still needed; the request's fields keep the object. */
    fields_close(&f);
}

static void read_format(fields *f, exchange *x, params *p) {
    json_t *format;
    if (fields_any(f, "format", &format)) structured_read_ollama(f, x, format, p);
}

/* A number of seconds or a text such as "5m"; the model stays anyway. */
static void read_keep_alive(fields *f) {
    json_t *value;
    if (fields_any(f, "keep_alive", &value) && !json_is_number(value) && !json_is_string(value))
        api_fail(f->error, "keep_alive", NULL, "'keep_alive' must be a number or a text");
}

static void refuse(fields *f) {
    json_t *value;
    const char *text;
    if (fields_array(f, "images", &value) && json_array_size(value))
        api_fail(f->error, "images", "unsupported_content", "the model reads texts, not images");
    if (fields_text(f, "suffix", &text) && *text)
        api_fail(f->error, "suffix", NULL, "'suffix' is not supported");
    if (fields_text(f, "template", &text) && *text)
        api_fail(f->error, "template", NULL, "'template': the model's own is used (--template)");
    read_keep_alive(f);
}

static void read_think(fields *f, chat_request *c) {
    json_t *think;
    if (!fields_any(f, "think", &think)) return;
    if (json_is_boolean(think))
        c->think = json_is_true(think);
    else if (json_is_string(think))
        chat_set_effort(c, think, "think", f->error);
    else
        api_fail(f->error, "think", NULL, "'think' must be true, false or a level");
}

static void read_common(exchange *x, fields *f, params *p, chat_request *c) {
    p->stream = true;
    params_read_model(f, x);
    fields_bool(f, "stream", &p->stream);
    fields_bool(f, "logprobs", &p->logprobs);
    fields_u32(f, "top_logprobs", 0, RT_SERVE_MAX_TOP, &p->n_top);
    read_options(f, x->s, p);
    read_think(f, c);
    read_format(f, x, p);
    refuse(f);
}

static void refuse_images(const json_t *messages, api_error *error) {
    const json_t *message;
    size_t i;
    json_array_foreach(messages, i, message) {
        const json_t *images = json_object_get(message, "images");
        if (images && !json_is_null(images) && !json_is_array(images))
            api_fail(error, "images", NULL, "messages[%zu].images must be a list", i);
        if (json_array_size(images))
            api_fail(error, "images", "unsupported_content",
                     "messages[%zu]: the model reads texts, not images", i);
    }
}

static bool asks_for(const json_t *root, const char *name) {
    return json_is_true(json_object_get(root, name));
}

/* An empty request loads the model, which is there, or unloads it, which it is not. */
static void reply_load(exchange *x, int shape) {
    const json_t *alive = json_object_get(x->json, "keep_alive");
    bool unload = json_is_integer(alive) && json_integer_value(alive) == 0;
    json_t *line = head(x->s);
    if (shape == SHAPE_CHAT)
        json_object_set_new(line, "message",
                            json_pack("{s:s, s:s}", "role", "assistant", "content", ""));
    else
        json_object_set_new(line, "response", json_string(""));
    json_object_set_new(line, "done", json_true());
    json_object_set_new(line, "done_reason", json_string(unload ? "unload" : "load"));
    exchange_reply(x, 200, line);
}

static bool has_role(const json_t *messages, size_t i, const char *wanted) {
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
    return role && strcmp(role, wanted) == 0;
}

/* A question, and what follows it up to the next one; returns how many messages these were. */
static size_t remove_turn(json_t *messages, size_t first) {
    size_t n = 0;
    do {
        json_array_remove(messages, first);
        n++;
    } while (json_array_size(messages) > first + 1 && !has_role(messages, first, "user"));
    return n;
}

/* Leave out the oldest turns until the prompt fits. */
static size_t shorten(const server *s, chat_request *c, params *p, api_error *error) {
    size_t n_left_out = 0, n_ctx = p->n_ctx ? p->n_ctx : s->n_ctx;
    size_t n_stops = p->n_stops;
    while (c->ids.n >= n_ctx && json_array_size(c->messages) > 1) {
        size_t first = has_role(c->messages, 0, "system");
        if (json_array_size(c->messages) < first + 2) break;
        n_left_out += remove_turn(c->messages, first);
        c->ids.n = 0;
        p->n_stops = n_stops - s->plain;
        if (!chat_prompt(s, c, p, error)) break;
    }
    return n_left_out;
}

/* Takes what was read. */
static void start(exchange *x, const params *p, int shape, chat_request *c, fields *f,
                  size_t n_left_out, bool want_ids) {
    generation *g = f->error->status ? NULL : generation_new(x, &ollama_format, p, "");
    if (g) {
        g->state = shape;
        g->want_ids = want_ids;
        g->n_left_out = n_left_out;
    }
    chat_answer(x, g, c, f);
}

void handle_ollama_chat(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    json_t *messages = NULL;
    bool ignored = false;
    size_t n_left_out = 0;
    fields_open(&f, x->json, &error);
    read_common(x, &f, &p, &c);
    fields_array(&f, "messages", &messages);
    fields_bool(&f, "truncate", &ignored);
    fields_bool(&f, "shift", &ignored);
    tools_read(&f, x, &p, &c);
    if (!error.status && json_array_size(messages) == 0) {
        reply_load(x, SHAPE_CHAT);
    } else {
        if (chat_read_messages(messages, &c.messages, &error)) {
            refuse_images(messages, &error);
            if (!error.status) chat_prompt(x->s, &c, &p, &error);
        }
        if (!error.status && asks_for(x->json, "truncate"))
            n_left_out = shorten(x->s, &c, &p, &error);
        fields_ignored(&f, x->ignored, sizeof x->ignored);
        start(x, &p, SHAPE_CHAT, &c, &f, n_left_out, false);
    }
    chat_request_clear(&c);
    fields_close(&f);
}

/* A text goes through the template as one message, raw as it is. */
static void read_prompt(exchange *x, fields *f, params *p, chat_request *c, bool raw) {
    const char *prompt = "", *system = NULL;
    json_t *context = NULL;
    rt_ids before = {0};
    fields_text(f, "prompt", &prompt);
    fields_text(f, "system", &system);
    if (fields_array(f, "context", &context))
        prompts_read_ids(x->s, context, "context", &before, f->error);
    if (f->error->status) {
        rt_ids_clear(&before);
        return;
    }
    c->messages = json_array();
    if (system && *system)
        json_array_append_new(c->messages,
                              json_pack("{s:s, s:s}", "role", "system", "content", system));
    json_array_append_new(c->messages, json_pack("{s:s, s:s}", "role", "user", "content", prompt));
    c->ids = before;
    if (raw)
        prompts_tokenize(x->s, prompt, strlen(prompt),
                         RT_TOKENIZE_PARSE_SPECIAL | (before.n ? 0 : RT_TOKENIZE_ADD_SPECIAL),
                         &c->ids, f->error);
    else
        chat_prompt(x->s, c, p, f->error);
}

void handle_ollama_generate(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    bool raw = false, ignored = false;
    const char *prompt = json_string_value(json_object_get(x->json, "prompt"));
    fields_open(&f, x->json, &error);
    read_common(x, &f, &p, &c);
    fields_bool(&f, "raw", &raw);
    if (json_array_size(json_object_get(x->json, "tools")))
        api_fail(&error, "tools", NULL, "'tools': only /api/chat calls tools");
    fields_bool(&f, "truncate", &ignored);
    fields_bool(&f, "shift", &ignored);
    read_prompt(x, &f, &p, &c, raw);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    if (!error.status && (!prompt || !*prompt))
        reply_load(x, SHAPE_GENERATE);
    else
        start(x, &p, SHAPE_GENERATE, &c, &f, 0, !raw);
    chat_request_clear(&c);
    fields_close(&f);
}

/* ---- embed ------------------------------------------------------------------------------- */

/* All of them, or in the old form the only one. */
static void reply_embed(vectors *v) {
    json_t *list = json_array();
    float *vector = malloc(v->n_vector * sizeof *vector);
    for (size_t i = 0; vector && i < v->n; i++) {
        json_t *own = json_array();
        vectors_normalised(v, i, vector);
        for (size_t j = 0; j < v->n_dimensions; j++)
            json_array_append_new(own, json_real((double)vector[j]));
        json_array_append_new(list, own);
    }
    free(vector);
    json_t *root =
        v->short_form ? json_pack("{s:O}", "embedding", json_array_get(list, 0))
                      : json_pack("{s:s, s:O, s:I, s:i, s:I}", "model", v->x->s->name, "embeddings",
                                  list, "total_duration", ns(tool_now_s() - v->started_s),
                                  "load_duration", 0, "prompt_eval_count", (json_int_t)v->n_tokens);
    json_decref(list);
    if (json_array_size(v->truncated)) json_object_set(root, "truncated", v->truncated);
    exchange_reply(v->x, 200, root);
}

/* Ollama's clients expect long texts to be cut here; the answer says which were. The token that
 * ends a text stays at its end. */
static void cut(const server *s, prompts *texts, json_t *truncated) {
    for (size_t i = 0; i < texts->n; i++) {
        rt_ids *ids = &texts->ids[i];
        if (ids->n <= s->n_ctx) continue;
        ids->data[s->n_ctx - 1] = ids->data[ids->n - 1];
        ids->n = s->n_ctx;
        json_array_append_new(truncated, json_integer((json_int_t)i));
    }
}

static void answer_embed(exchange *x, bool short_form) {
    const char *name = short_form ? "prompt" : "input";
    api_error error = {0};
    fields f;
    prompts texts = {0};
    json_t *input = NULL;
    bool truncate = true;
    vectors *v = vectors_new(x, reply_embed);
    if (!v) api_fail_status(&error, 500, NULL, "out of memory");
    fields_open(&f, x->json, &error);
    params_read_model(&f, x);
    if (!error.status) embeddings_check(x->s, &error);
    fields_any(&f, name, &input);
    read_keep_alive(&f);
    if (!short_form) fields_bool(&f, "truncate", &truncate);
    if (v && !short_form) vectors_read_dimensions(&f, v);
    if (!error.status && !(short_form ? json_is_string(input) : input != NULL))
        api_fail(&error, name, NULL, "'%s' %s", name, input ? "must be a text" : "is missing");
    prompts_read(&texts, x->s, input, name, 2048, &error);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    fields_close(&f);
    if (error.status) {
        exchange_fail(x, &error);
        vectors_free(v);
    } else {
        v->truncated = json_array();
        v->short_form = short_form;
        if (truncate) cut(x->s, &texts, v->truncated);
        vectors_start(v, &texts);
    }
    prompts_clear(&texts);
}

void handle_ollama_embed(exchange *x) {
    answer_embed(x, false);
}

void handle_ollama_embeddings(exchange *x) {
    answer_embed(x, true);
}
