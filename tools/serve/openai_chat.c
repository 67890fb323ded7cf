/* POST /v1/chat/completions */
#include "tools/serve/chat_request.h"
#include "tools/serve/dialects.h"
#include "tools/serve/structured.h"
#include "tools/serve/tool_request.h"

#include "libgguf/json.h"

#include <string.h>

/* ---- shapes ------------------------------------------------------------------------------ */

const char *openai_finish(const answer *a) {
    if (a->finish != RT_SERVE_END && a->finish != RT_SERVE_STOP) return "length";
    return a->calls ? "tool_calls" : "stop";
}

json_t *openai_usage(const generation *g) {
    json_int_t n_prompt = (json_int_t)g->n_prompt, n = (json_int_t)generation_n_generated(g);
    json_t *details = json_pack("{s:I}", "reasoning_tokens", (json_int_t)generation_n_reasoning(g));
    if (g->params.prediction) {
        json_object_set_new(details, "accepted_prediction_tokens",
                            json_integer((json_int_t)g->n_foreseen));
        json_object_set_new(details, "rejected_prediction_tokens",
                            json_integer((json_int_t)g->n_unforeseen));
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:o}", "prompt_tokens", n_prompt,
                     "completion_tokens", n, "total_tokens", n_prompt + n, "prompt_tokens_details",
                     "cached_tokens", (json_int_t)g->n_cached, "completion_tokens_details",
                     details);
}

static double per(double a, double b) {
    return b > 0 ? a / b : 0;
}

json_t *openai_timings(const generation *g) {
    double n_prompt = (double)(g->n_prompt - g->n_cached), n = (double)generation_n_generated(g);
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f}", "cache_n",
                     (json_int_t)g->n_cached, "prompt_n", (json_int_t)n_prompt, "prompt_ms",
                     g->prompt_s * 1e3, "prompt_per_token_ms", per(g->prompt_s * 1e3, n_prompt),
                     "prompt_per_second", per(n_prompt, g->prompt_s), "predicted_n", (json_int_t)n,
                     "predicted_ms", g->answer_s * 1e3, "predicted_per_token_ms",
                     per(g->answer_s * 1e3, n), "predicted_per_second", per(n, g->answer_s));
}

json_t *openai_head(const generation *g, const char *object) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", g->id, "object", object, "created",
                     (json_int_t)g->created, "model", g->s->name, "system_fingerprint",
                     g->s->fingerprint);
}

/* ---- streams ----------------------------------------------------------------------------- */

/* delta is taken, and logprobs, which may be NULL. */
static void send_delta(generation *g, const answer *a, json_t *delta, json_t *logprobs,
                       const char *finish) {
    json_t *choice =
        json_pack("{s:i, s:o, s:o, s:s?}", "index", (int)a->index, "delta", delta, "logprobs",
                  logprobs ? logprobs : json_null(), "finish_reason", finish);
    json_t *chunk = openai_head(g, "chat.completion.chunk");
    json_object_set_new(chunk, "choices", json_pack("[o]", choice));
    if (g->params.timings && a->n_generated)
        json_object_set_new(chunk, "timings", openai_timings(g));
    exchange_event(g->x, NULL, chunk);
}

static void begin(generation *g) {
    for (size_t i = 0; i < g->n_answers; i++)
        send_delta(g, &g->answers[i], json_pack("{s:s, s:n}", "role", "assistant", "content"), NULL,
                   NULL);
}

static void progress(generation *g, size_t n_read) {
    json_t *chunk = openai_head(g, "chat.completion.chunk");
    json_object_set_new(chunk, "choices", json_array());
    json_object_set_new(chunk, "prompt_progress",
                        json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t)g->n_prompt, "cache",
                                  (json_int_t)g->n_cached, "processed", (json_int_t)n_read,
                                  "time_ms", (json_int_t)(g->prompt_s * 1e3)));
    exchange_event(g->x, NULL, chunk);
}

static json_t *take_logprobs(answer *a) {
    if (!a->logprobs) return NULL;
    json_t *taken = json_pack("{s:o, s:n}", "content", a->logprobs, "refusal");
    a->logprobs = NULL;
    return taken;
}

static void part(generation *g, answer *a, gguf_str text, bool thought) {
    json_t *delta =
        json_pack("{s:s%}", thought ? "reasoning_content" : "content", text.ptr, text.len);
    send_delta(g, a, delta, take_logprobs(a), NULL);
}

static void call(generation *g, answer *a, const rt_call_event *e) {
    const json_t *own = answer_call(a);
    json_t *delta = NULL;
    if (e->kind == RT_CALL_BEGIN)
        delta = json_pack("{s:i, s:O, s:s, s:{s:O, s:s}}", "index", (int)e->index, "id",
                          json_object_get(own, "id"), "type", "function", "function", "name",
                          json_object_get(own, "name"), "arguments", "");
    else if (e->kind == RT_CALL_ARGUMENTS)
        delta = json_pack("{s:i, s:{s:s%}}", "index", (int)e->index, "function", "arguments",
                          e->text.ptr, e->text.len);
    if (delta) send_delta(g, a, json_pack("{s:[o]}", "tool_calls", delta), take_logprobs(a), NULL);
}

static void finish(generation *g, answer *a) {
    send_delta(g, a, json_object(), take_logprobs(a), openai_finish(a));
}

void openai_done(generation *g) {
    static const char done[] = "data: [DONE]\n\n";
    exchange_write(g->x, done, sizeof done - 1);
}

static void end(generation *g) {
    if (g->include_usage) {
        json_t *chunk = openai_head(g, "chat.completion.chunk");
        json_object_set_new(chunk, "choices", json_array());
        json_object_set_new(chunk, "usage", openai_usage(g));
        json_object_set_new(chunk, "timings", openai_timings(g));
        exchange_event(g->x, NULL, chunk);
    }
    openai_done(g);
}

void openai_stream_fail(generation *g, const api_error *error) {
    exchange_event(g->x, NULL, api_error_json(error, DIALECT_OPENAI, g->x->request_id));
}

/* ---- at once ----------------------------------------------------------------------------- */

json_t *answer_text(const gguf_dynbuf *text) {
    return json_stringn(text->len ? (const char *)text->data : "", text->len);
}

static json_t *calls_of(const answer *a) {
    json_t *list = json_array(), *own;
    size_t i;
    json_array_foreach(a->calls, i, own) {
        json_array_append_new(list, json_pack("{s:O, s:s, s:{s:O, s:O}}", "id",
                                              json_object_get(own, "id"), "type", "function",
                                              "function", "name", json_object_get(own, "name"),
                                              "arguments", json_object_get(own, "arguments")));
    }
    return list;
}

static json_t *choice_of(answer *a) {
    json_t *message = json_pack("{s:s, s:n}", "role", "assistant", "refusal");
    bool cut_in_thought = a->text.len == 0 && a->thought.len && a->finish != RT_SERVE_END;
    bool is_null = cut_in_thought || (a->calls && a->text.len == 0);
    json_object_set_new(message, "content", is_null ? json_null() : answer_text(&a->text));
    if (a->calls) json_object_set_new(message, "tool_calls", calls_of(a));
    if (a->thought.len) json_object_set_new(message, "reasoning_content", answer_text(&a->thought));
    json_t *logprobs = take_logprobs(a);
    return json_pack("{s:i, s:o, s:o, s:s}", "index", (int)a->index, "message", message, "logprobs",
                     logprobs ? logprobs : json_null(), "finish_reason", openai_finish(a));
}

static json_t *whole(generation *g) {
    json_t *choices = json_array(), *root = openai_head(g, "chat.completion");
    for (size_t i = 0; i < g->n_answers; i++)
        json_array_append_new(choices, choice_of(&g->answers[i]));
    json_object_set_new(root, "choices", choices);
    json_object_set_new(root, "usage", openai_usage(g));
    json_object_set_new(root, "timings", openai_timings(g));
    return root;
}

static const dialect_format chat_format = {.stream_type = "text/event-stream",
                                           .begin = begin,
                                           .part = part,
                                           .progress = progress,
                                           .call = call,
                                           .finish = finish,
                                           .end = end,
                                           .fail = openai_stream_fail,
                                           .whole = whole};

/* ---- the request ------------------------------------------------------------------------- */

void openai_read_stream(fields *f, params *p, bool *include_usage) {
    json_t *options;
    fields_bool(f, "stream", &p->stream);
    if (!fields_object(f, "stream_options", &options)) return;
    const json_t *usage = json_object_get(options, "include_usage");
    if (usage && !json_is_boolean(usage) && !json_is_null(usage))
        api_fail(f->error, "stream_options", NULL,
                 "'stream_options.include_usage' must be true or false");
    *include_usage = json_is_true(usage);
}

void openai_read_common(fields *f, exchange *x, params *p) {
    params_read_sampling(f, p);
    params_read_bias(f, x->s, p);
    params_read_stops(f, "stop", p);
    params_read_stop_ids(f, x->s, p);
    fields_u32(f, "n", 1, MAX_CHOICES, &p->n_choices);
    fields_bool(f, "ignore_eos", &p->ignore_end);
    fields_u32(f, "min_tokens", 0, UINT32_MAX, &p->min_tokens);
    bool cache = true;
    if (fields_bool(f, "cache_prompt", &cache)) p->no_cache = !cache;
    structured_read(f, x, p);
    params_refuse(f);
}

static void read_logprobs(fields *f, params *p) {
    fields_bool(f, "logprobs", &p->logprobs);
    if (fields_u32(f, "top_logprobs", 0, RT_SERVE_MAX_TOP, &p->n_top) && p->n_top && !p->logprobs)
        api_fail(f->error, "top_logprobs", NULL, "'top_logprobs' needs 'logprobs': true");
}

static void read_begin(fields *f, chat_request *c) {
    bool goes_on = false;
    c->begins_given = fields_bool(f, "add_generation_prompt", &c->begins);
    fields_bool(f, "continue_final_message", &goes_on);
    if (!goes_on) return;
    if (c->begins_given && c->begins)
        api_fail(f->error, "continue_final_message", NULL,
                 "'add_generation_prompt' and 'continue_final_message' exclude each other");
    c->begins_given = true;
    c->begins = false;
    const json_t *last = json_array_get(c->messages, json_array_size(c->messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "assistant") != 0)
        api_fail(f->error, "continue_final_message", NULL,
                 "'continue_final_message': the last message is not the assistant's");
}

/* "none": what the model thinks stays in the text. */
static void read_format(fields *f, chat_request *c) {
    const char *how;
    if (!fields_text(f, "reasoning_format", &how)) return;
    c->reasoning = strcmp(how, "none") == 0 ? REASONING_IN_TEXT : REASONING_APART;
    if (c->reasoning == REASONING_APART && strcmp(how, "auto") != 0 && strcmp(how, "deepseek") != 0)
        api_fail(f->error, "reasoning_format", NULL, "'reasoning_format' must be auto or none");
}

static void read_modalities(fields *f) {
    json_t *list, *item;
    size_t i;
    if (!fields_array(f, "modalities", &list)) return;
    json_array_foreach(list, i, item) {
        const char *word = json_string_value(item);
        if (!word || strcmp(word, "text") != 0)
            api_fail(f->error, "modalities", "unsupported_content", "'modalities': only text");
    }
}

static void read_request(exchange *x, fields *f, params *p, chat_request *c, bool *include_usage) {
    json_t *messages = NULL, *format;
    params_read_model(f, x);
    fields_any(f, "messages", &messages);
    chat_read_messages(messages, &c->messages, f->error);
    if (!fields_u32(f, "max_completion_tokens", 1, UINT32_MAX, &p->max_tokens))
        fields_u32(f, "max_tokens", 1, UINT32_MAX, &p->max_tokens);
    openai_read_common(f, x, p);
    openai_read_stream(f, p, include_usage);
    read_logprobs(f, p);
    params_read_prediction(f, x, p);
    fields_bool(f, "timings_per_token", &p->timings);
    fields_bool(f, "return_progress", &p->progress);
    if (fields_any(f, "response_format", &format)) {
        structured_read_format(f, x, format, "response_format", p);
        json_object_set(c->variables, "response_format", format); /* some templates tell it */
    }
    tools_read(f, x, p, c);
    chat_read_variables(f, c);
    read_format(f, c);
    read_begin(f, c);
    read_modalities(f);
}

/* The whole body. True: there is a prompt. */
static bool read_prompt(exchange *x, fields *f, params *p, chat_request *c, bool *include_usage,
                        api_error *error) {
    fields_open(f, x->json, error);
    read_request(x, f, p, c, include_usage);
    bool good = chat_prompt(x->s, c, p, error);
    fields_ignored(f, x->ignored, sizeof x->ignored);
    return good;
}

void handle_chat_completions(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    bool include_usage = false, good = read_prompt(x, &f, &p, &c, &include_usage, &error);
    generation *g = good ? generation_new(x, &chat_format, &p, "chatcmpl-") : NULL;
    if (g) g->include_usage = include_usage;
    chat_answer(x, g, &c, &f);
}

/* POST /v1/chat/completions/input_tokens */
void handle_chat_input_tokens(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    bool include_usage = false;
    read_prompt(x, &f, &p, &c, &include_usage, &error);
    chat_answer_count(x, "response.input_tokens", &c, &f);
}

/* POST /apply-template */
void handle_apply_template(exchange *x) {
    api_error error = {0};
    fields f;
    chat_request c = {.variables = json_object(), .think = -1};
    json_t *messages = NULL;
    char *text = NULL;
    size_t len = 0;
    fields_open(&f, x->json, &error);
    params_read_model(&f, x);
    fields_any(&f, "messages", &messages);
    chat_read_messages(messages, &c.messages, &error);
    tools_read(&f, x, NULL, &c);
    chat_read_variables(&f, &c);
    read_begin(&f, &c);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    if (!error.status && chat_render(x->s, &c, &text, &len, &error))
        exchange_reply(x, 200, json_pack("{s:o}", "prompt", gguf_json_bytes(text, len)));
    else
        exchange_fail(x, &error);
    free(text);
    chat_request_clear(&c);
    fields_close(&f);
}
