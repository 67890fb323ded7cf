/* POST /v1/responses, without anything being kept. */
#include "tools/serve/chat_request.h"
#include "tools/serve/dialects.h"
#include "tools/serve/structured.h"
#include "tools/serve/tool_request.h"

#include "libgguf/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- input ------------------------------------------------------------------------------- */

static bool is_answer(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && strcmp(role, "assistant") == 0;
}

/* The last message is an item of the answer before it: a call, or the text behind a thought. */
static void join_item(json_t *out) {
    size_t n = json_array_size(out);
    json_t *before = n > 1 ? json_array_get(out, n - 2) : NULL, *last = json_array_get(out, n - 1);
    json_t *calls = json_object_get(before, "tool_calls"),
           *own = json_object_get(last, "tool_calls");
    bool said = calls || json_string_length(json_object_get(before, "content"));
    if (!is_answer(before) || !is_answer(last) || (said && !own)) return;
    if (!said) json_object_set(before, "content", json_object_get(last, "content"));
    if (calls)
        json_array_extend(calls, own);
    else if (own)
        json_object_set(before, "tool_calls", own);
    json_array_remove(out, n - 1);
}

/* What the model thought goes to the template, which knows whether it is still of use. */
static bool read_thought(const json_t *item, size_t i, json_t *out, api_error *error) {
    const json_t *content = json_object_get(item, "content"), *part;
    gguf_dynbuf text;
    size_t j;
    bool good = !content || json_is_null(content) || json_is_array(content);
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    json_array_foreach(content, j, part) {
        const char *own = json_string_value(json_object_get(part, "text"));
        if (own)
            gguf_dynbuf_put_text(&text, own);
        else
            good = false;
    }
    if (text.len && good)
        json_array_append_new(out, json_pack("{s:s, s:s, s:o}", "role", "assistant", "content", "",
                                             "reasoning_content",
                                             gguf_json_bytes((const char *)text.data, text.len)));
    gguf_dynbuf_clear(&text);
    return good || api_fail(error, "input", NULL,
                            "input[%zu].content must be a list of parts with text", i);
}

static bool read_call(const json_t *item, size_t i, json_t *out, api_error *error) {
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *id = json_string_value(json_object_get(item, "call_id"));
    const char *arguments = json_string_value(json_object_get(item, "arguments"));
    if (!name || !id || !arguments)
        return api_fail(error, "input", NULL,
                        "input[%zu]: a function_call needs call_id, name and arguments", i);
    json_t *message = json_pack("{s:s, s:n, s:[{s:s, s:s, s:{s:s, s:s}}]}", "role", "assistant",
                                "content", "tool_calls", "id", id, "type", "function", "function",
                                "name", name, "arguments", arguments);
    bool good = chat_read_message(message, "input", i, out, error);
    json_decref(message);
    if (good) join_item(out);
    return good;
}

static bool read_output(const json_t *item, size_t i, json_t *out, api_error *error) {
    const char *id = json_string_value(json_object_get(item, "call_id"));
    char param[48];
    snprintf(param, sizeof param, "input[%zu].output", i);
    json_t *content = chat_read_content(json_object_get(item, "output"), param, error);
    if (!content) return false;
    if (!id) {
        json_decref(content);
        return api_fail(error, "input", NULL, "input[%zu]: a function_call_output needs call_id",
                        i);
    }
    json_t *message =
        json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "content", content);
    bool good = chat_read_message(message, "input", i, out, error);
    json_decref(message);
    return good;
}

static bool read_item(const json_t *item, size_t i, json_t *out, api_error *error) {
    const json_t *kind = json_object_get(item, "type");
    const char *type = json_string_value(kind);
    if (kind && !json_is_null(kind) && !type)
        return api_fail(error, "input", NULL, "input[%zu].type must be a text", i);
    if (!type || strcmp(type, "message") == 0) {
        bool good = chat_read_message(item, "input", i, out, error);
        if (good) join_item(out);
        return good;
    }
    if (strcmp(type, "function_call") == 0) return read_call(item, i, out, error);
    if (strcmp(type, "function_call_output") == 0) return read_output(item, i, out, error);
    if (strcmp(type, "reasoning") == 0) return read_thought(item, i, out, error);
    return api_fail(error, "input", "unsupported_content", "input[%zu]: '%.60s' is not supported",
                    i, type);
}

static void read_input(fields *f, chat_request *c) {
    json_t *input = NULL, *item;
    const char *instructions = NULL;
    size_t i;
    fields_any(f, "input", &input);
    fields_text(f, "instructions", &instructions);
    c->messages = json_array();
    if (instructions && *instructions)
        json_array_append_new(c->messages,
                              json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    if (json_is_string(input))
        json_array_append_new(c->messages,
                              json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (!json_is_array(input) || json_array_size(input) == 0)
        api_fail(f->error, "input", NULL, "'input' must be a text or a list of items");
    json_array_foreach(input, i, item) {
        if (!f->error->status) read_item(item, i, c->messages, f->error);
    }
    if (json_array_size(c->messages) == 0)
        api_fail(f->error, "input", NULL, "'input' has no message");
}

/* ---- the request ------------------------------------------------------------------------- */

static void refuse_kept(fields *f) {
    static const char *const kept[] = {"previous_response_id", "conversation"};
    json_t *value;
    bool background = false;
    for (size_t i = 0; i < 2; i++)
        if (fields_any(f, kept[i], &value))
            api_fail(f->error, kept[i], NULL, "'%s': this server keeps no responses", kept[i]);
    if (fields_bool(f, "background", &background) && background)
        api_fail(f->error, "background", NULL, "'background': this server keeps no responses");
}

/* Without `strict` a tool is strict here. */
static void add_tool(chat_request *c, const json_t *item) {
    json_t *strict = json_object_get(item, "strict");
    tools_add(c, json_object_get(item, "name"), json_object_get(item, "description"),
              json_object_get(item, "parameters"),
              strict && !json_is_null(strict) ? strict : json_true());
}

/* Hosted tools are left out. */
static void read_tools(exchange *x, fields *f, params *p, chat_request *c) {
    json_t *tools = NULL, *item;
    bool parallel = true;
    size_t i;
    fields_array(f, "tools", &tools);
    fields_bool(f, "parallel_tool_calls", &parallel);
    c->demand.single = !parallel;
    json_array_foreach(tools, i, item) {
        const char *type = json_string_value(json_object_get(item, "type"));
        if (!type)
            api_fail(f->error, "tools", NULL, "tools[%zu] has no type", i);
        else if (strcmp(type, "function") == 0)
            add_tool(c, item);
        else
            tools_ignore(x, type);
    }
    tools_read_choice(f, c);
    tools_finish(f, x, p, c);
}

static void read_text(fields *f, exchange *x, params *p) {
    json_t *text;
    if (!fields_object(f, "text", &text)) return;
    const json_t *format = json_object_get(text, "format");
    if (format && !json_is_null(format)) structured_read_format(f, x, format, "text.format", p);
}

static void read_reasoning(fields *f, chat_request *c) {
    json_t *reasoning;
    if (!fields_object(f, "reasoning", &reasoning)) return;
    chat_set_effort(c, json_object_get(reasoning, "effort"), "reasoning.effort", f->error);
}

/* Probabilities come where they are asked for by either field. */
static void read_logprobs(fields *f, params *p) {
    json_t *include, *item;
    size_t i;
    fields_u32(f, "top_logprobs", 0, RT_SERVE_MAX_TOP, &p->n_top);
    p->logprobs = p->n_top > 0;
    if (!fields_array(f, "include", &include)) return;
    json_array_foreach(include, i, item) {
        const char *name = json_string_value(item);
        if (!name)
            api_fail(f->error, "include", NULL, "'include' must be a list of texts");
        else if (strcmp(name, "message.output_text.logprobs") == 0)
            p->logprobs = true;
    }
}

/* Nothing is cut, whichever it is. */
static void read_truncation(fields *f) {
    const char *how;
    if (fields_text(f, "truncation", &how) && strcmp(how, "auto") != 0 &&
        strcmp(how, "disabled") != 0)
        api_fail(f->error, "truncation", NULL, "'truncation' must be auto or disabled");
}

static void read_request(exchange *x, fields *f, params *p, chat_request *c) {
    params_read_model(f, x);
    read_input(f, c);
    fields_u32(f, "max_output_tokens", 1, UINT32_MAX, &p->max_tokens);
    read_logprobs(f, p);
    read_truncation(f);
    params_read_sampling(f, p);
    fields_bool(f, "stream", &p->stream);
    params_refuse(f);
    refuse_kept(f);
    read_text(f, x, p);
    read_tools(x, f, p, c);
    read_reasoning(f, c);
}

/* ---- shapes ------------------------------------------------------------------------------ */

enum { ITEM_NONE, ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL };

static json_t *usage_of(const generation *g) {
    json_int_t n_prompt = (json_int_t)g->n_prompt, n = (json_int_t)generation_n_generated(g);
    return json_pack("{s:I, s:{s:I}, s:I, s:{s:I}, s:I}", "input_tokens", n_prompt,
                     "input_tokens_details", "cached_tokens", (json_int_t)g->n_cached,
                     "output_tokens", n, "output_tokens_details", "reasoning_tokens",
                     (json_int_t)generation_n_reasoning(g), "total_tokens", n_prompt + n);
}

/* As it was asked for. */
static json_t *format_of(const generation *g) {
    json_t *format = json_object_get(json_object_get(g->x->json, "text"), "format");
    return json_is_object(format) ? json_incref(format) : json_pack("{s:s}", "type", "text");
}

static json_t *asked_for(const generation *g, const char *name, json_t *otherwise) {
    json_t *value = json_object_get(g->x->json, name);
    if (!value || json_is_null(value)) return otherwise;
    json_decref(otherwise);
    return json_incref(value);
}

/* The output so far is g->echo. */
static json_t *response_of(const generation *g, const char *status, bool done) {
    const answer *a = done ? &g->answers[0] : NULL;
    bool cut = a && (a->finish == RT_SERVE_LENGTH || a->finish == RT_SERVE_FULL);
    json_t *details = cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null();
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:n, s:o, s:o, s:o, s:o, s:n, s:s, s:O, s:b, s:o, s:o, s:o, s:{s:o}, "
        "s:f, s:f, s:s, s:o, s:o}",
        "id", g->id, "object", "response", "created_at", (json_int_t)g->created, "status", status,
        "error", "incomplete_details", details, "instructions",
        asked_for(g, "instructions", json_null()), "max_output_tokens",
        asked_for(g, "max_output_tokens", json_null()), "reasoning",
        asked_for(g, "reasoning", json_object()), "previous_response_id", "model", g->s->name,
        "output", g->echo, "store", 0, "parallel_tool_calls",
        asked_for(g, "parallel_tool_calls", json_true()), "tool_choice",
        asked_for(g, "tool_choice", json_string("auto")), "tools",
        asked_for(g, "tools", json_array()), "text", "format", format_of(g), "temperature",
        (double)g->params.sampler.temp, "top_p", (double)g->params.sampler.top_p, "truncation",
        "disabled", "metadata", asked_for(g, "metadata", json_object()), "usage",
        done ? usage_of(g) : json_null());
}

/* A list of log-probabilities, which may be NULL. */
static json_t *list_of(json_t *entries) {
    return entries ? json_incref(entries) : json_array();
}

static json_t *text_part(const char *bytes, size_t n, json_t *entries) {
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text",
                     gguf_json_bytes(bytes, n), "annotations", "logprobs", list_of(entries));
}

/* entries may be NULL, and text, which then comes later. */
static json_t *item_of(const char *id, int kind, const char *status, const gguf_dynbuf *text,
                       json_t *entries) {
    const char *bytes = text && text->len ? (const char *)text->data : "";
    size_t n = text ? text->len : 0;
    if (kind == ITEM_MESSAGE)
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "status", status,
                         "role", "assistant", "content",
                         text ? json_pack("[o]", text_part(bytes, n, entries)) : json_array());
    json_t *content = text ? json_pack("[{s:s, s:o}]", "type", "reasoning_text", "text",
                                       gguf_json_bytes(bytes, n))
                           : json_array();
    return json_pack("{s:s, s:s, s:s, s:[], s:o}", "id", id, "type", "reasoning", "status", status,
                     "summary", "content", content);
}

static const char *item_status(const answer *a) {
    return a->finish == RT_SERVE_LENGTH || a->finish == RT_SERVE_FULL ? "incomplete" : "completed";
}

static json_t *call_item(const char *id, const char *status, const json_t *own,
                         const char *arguments) {
    return json_pack(
        "{s:s, s:s, s:s, s:O, s:O, s:o}", "id", id, "type", "function_call", "status", status,
        "call_id", json_object_get(own, "id"), "name", json_object_get(own, "name"), "arguments",
        arguments ? json_string(arguments) : json_incref(json_object_get(own, "arguments")));
}

static void new_item_id(generation *g, int kind) {
    server_random_id(kind == ITEM_MESSAGE ? "msg_"
                     : kind == ITEM_CALL  ? "fc_"
                                          : "rs_",
                     24, g->item_id, sizeof g->item_id);
}

static json_t *whole(generation *g) {
    answer *a = &g->answers[0];
    json_t *own;
    size_t n;
    const struct {
        int kind;
        const gguf_dynbuf *text;
    } items[] = {{ITEM_REASONING, &a->thought}, {ITEM_MESSAGE, &a->text}};
    g->echo = json_array();
    for (size_t i = 0; i < 2; i++) {
        if (items[i].text->len == 0 && (i == 0 || a->thought.len || a->calls)) continue;
        new_item_id(g, items[i].kind);
        json_array_append_new(g->echo, item_of(g->item_id, items[i].kind, item_status(a),
                                               items[i].text, a->logprobs));
    }
    json_array_foreach(a->calls, n, own) {
        new_item_id(g, ITEM_CALL);
        json_array_append_new(g->echo, call_item(g->item_id, "completed", own, NULL));
    }
    return response_of(g, item_status(a), true);
}

/* ---- streams ----------------------------------------------------------------------------- */

static void send_event(generation *g, const char *type, json_t *event) {
    json_object_set_new(event, "type", json_string(type));
    json_object_set_new(event, "sequence_number", json_integer((json_int_t)g->sequence++));
    exchange_event(g->x, type, event);
}

/* {"item_id", "output_index", "content_index"} */
static json_t *place_of(const generation *g) {
    return json_pack("{s:s, s:i, s:i}", "item_id", g->item_id, "output_index", g->item,
                     "content_index", 0);
}

static void begin(generation *g) {
    g->echo = json_array();
    send_event(g, "response.created",
               json_pack("{s:o}", "response", response_of(g, "in_progress", false)));
    send_event(g, "response.in_progress",
               json_pack("{s:o}", "response", response_of(g, "in_progress", false)));
}

/* The probabilities of the tokens since the last piece. */
static json_t *take_entries(generation *g) {
    answer *a = &g->answers[0];
    json_t *taken = a->logprobs ? a->logprobs : json_array();
    a->logprobs = NULL;
    if (!g->entries) g->entries = json_array();
    json_array_extend(g->entries, taken);
    return taken;
}

static void close_message(generation *g) {
    const char *bytes = g->text.len ? (const char *)g->text.data : "";
    json_decref(take_entries(g));
    json_t *event = place_of(g);
    json_object_set_new(event, "text", gguf_json_bytes(bytes, g->text.len));
    json_object_set_new(event, "logprobs", list_of(g->entries));
    send_event(g, "response.output_text.done", event);
    event = place_of(g);
    json_object_set_new(event, "part", text_part(bytes, g->text.len, g->entries));
    send_event(g, "response.content_part.done", event);
}

static void close_reasoning(generation *g) {
    json_t *event = place_of(g);
    json_object_set_new(event, "text", gguf_json_bytes((const char *)g->text.data, g->text.len));
    send_event(g, "response.reasoning_text.done", event);
}

static void close_item(generation *g, const char *status) {
    if (g->state == ITEM_NONE) return;
    if (g->state == ITEM_MESSAGE)
        close_message(g);
    else
        close_reasoning(g);
    json_t *item = item_of(g->item_id, g->state, status, &g->text, g->entries);
    json_array_append(g->echo, item);
    send_event(g, "response.output_item.done",
               json_pack("{s:i, s:o}", "output_index", g->item, "item", item));
    json_decref(g->entries);
    g->entries = NULL;
    g->text.len = 0;
    g->item++;
    g->state = ITEM_NONE;
}

static void open_item(generation *g, int kind) {
    if (g->state == kind) return;
    close_item(g, "completed");
    g->state = kind;
    new_item_id(g, kind);
    send_event(g, "response.output_item.added",
               json_pack("{s:i, s:o}", "output_index", g->item, "item",
                         item_of(g->item_id, kind, "in_progress", NULL, NULL)));
    if (kind != ITEM_MESSAGE) return;
    json_t *event = place_of(g);
    json_object_set_new(event, "part", text_part("", 0, NULL));
    send_event(g, "response.content_part.added", event);
}

static void part(generation *g, answer *a, gguf_str text, bool thought) {
    (void)a;
    open_item(g, thought ? ITEM_REASONING : ITEM_MESSAGE);
    gguf_dynbuf_put(&g->text, text.ptr, text.len);
    json_t *event = place_of(g);
    json_object_set_new(event, "delta", json_stringn(text.ptr, text.len));
    if (!thought) json_object_set_new(event, "logprobs", take_entries(g));
    send_event(g, thought ? "response.reasoning_text.delta" : "response.output_text.delta", event);
}

static json_t *call_event(const generation *g, const char *name, json_t *value) {
    return json_pack("{s:s, s:i, s:o}", "item_id", g->item_id, "output_index", g->item, name,
                     value);
}

static void end_call(generation *g, answer *a) {
    json_t *own = answer_call(a), *item = call_item(g->item_id, "completed", own, NULL);
    json_t *event = call_event(g, "arguments", json_incref(json_object_get(own, "arguments")));
    json_object_set(event, "name", json_object_get(own, "name"));
    send_event(g, "response.function_call_arguments.done", event);
    json_array_append(g->echo, item);
    send_event(g, "response.output_item.done",
               json_pack("{s:i, s:o}", "output_index", g->item, "item", item));
    g->item++;
}

static void call(generation *g, answer *a, const rt_call_event *e) {
    if (e->kind == RT_CALL_BEGIN) {
        close_item(g, "completed");
        new_item_id(g, ITEM_CALL);
        send_event(g, "response.output_item.added",
                   json_pack("{s:i, s:o}", "output_index", g->item, "item",
                             call_item(g->item_id, "in_progress", answer_call(a), "")));
    } else if (e->kind == RT_CALL_ARGUMENTS) {
        send_event(g, "response.function_call_arguments.delta",
                   call_event(g, "delta", json_stringn(e->text.ptr, e->text.len)));
    } else {
        end_call(g, a);
    }
}

static void finish(generation *g, answer *a) {
    if (g->item == 0 && g->state == ITEM_NONE) open_item(g, ITEM_MESSAGE);
    close_item(g, item_status(a));
}

static void end(generation *g) {
    const char *status = item_status(&g->answers[0]);
    char type[32];
    snprintf(type, sizeof type, "response.%s", status);
    send_event(g, type, json_pack("{s:o}", "response", response_of(g, status, true)));
}

static void fail(generation *g, const api_error *error) {
    if (!g->echo) g->echo = json_array();
    json_t *response = response_of(g, "failed", false);
    json_object_set_new(response, "error",
                        json_pack("{s:s, s:s}", "code", error->code ? error->code : error->type,
                                  "message", error->message));
    send_event(g, "response.failed", json_pack("{s:o}", "response", response));
}

static const dialect_format responses_format = {.stream_type = "text/event-stream",
                                                .begin = begin,
                                                .part = part,
                                                .call = call,
                                                .finish = finish,
                                                .end = end,
                                                .fail = fail,
                                                .whole = whole};

/* ---- paths ------------------------------------------------------------------------------- */

/* The whole body. True: there is a prompt. */
static bool read_prompt(exchange *x, fields *f, params *p, chat_request *c, api_error *error) {
    fields_open(f, x->json, error);
    read_request(x, f, p, c);
    bool good = chat_prompt(x->s, c, p, error);
    fields_ignored(f, x->ignored, sizeof x->ignored);
    return good;
}

void handle_responses(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    bool good = read_prompt(x, &f, &p, &c, &error);
    generation *g = good ? generation_new(x, &responses_format, &p, "resp_") : NULL;
    chat_answer(x, g, &c, &f);
}

/* POST /v1/responses/input_tokens */
void handle_responses_input_tokens(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    read_prompt(x, &f, &p, &c, &error);
    chat_answer_count(x, "response.input_tokens", &c, &f);
}

void handle_no_responses(exchange *x) {
    api_error error = {0};
    api_fail_status(&error, 404, NULL, "this server keeps no responses: there is nothing at %.150s",
                    x->path);
    exchange_fail(x, &error);
}
