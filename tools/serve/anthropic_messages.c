/* POST /v1/messages and /v1/messages/count_tokens: Anthropic's interface. */
#include "tools/serve/chat_request.h"
#include "tools/serve/dialects.h"
#include "tools/serve/structured.h"
#include "tools/serve/tool_request.h"

#include "libgguf/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages into the form of chats ----------------------------------------------------- */

static void append(gguf_dynbuf *out, const char *between, const char *text) {
    if (out->len) gguf_dynbuf_put_text(out, between);
    gguf_dynbuf_put_text(out, text);
}

static json_t *taken(gguf_dynbuf *text) {
    json_t *json = gguf_json_bytes(text->len ? (const char *)text->data : "", text->len);
    gguf_dynbuf_clear(text);
    return json;
}

/* One message of the other interface, while its blocks are read. */
typedef struct reading {
    json_t *out; /* messages */
    gguf_dynbuf text, thought;
    json_t *calls;
    size_t index; /* of the message, for errors */
    api_error *error;
} reading;

static bool fail_block(reading *r, const char *code, const char *what) {
    return api_fail(r->error, "messages", code, "messages[%zu]: %s", r->index, what);
}

static bool read_result(reading *r, const json_t *block) {
    json_t *content = json_object_get(block, "content"),
           *fault = json_object_get(block, "is_error");
    const char *id = json_string_value(json_object_get(block, "tool_use_id"));
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].content", r->index);
    if (!id) return fail_block(r, NULL, "a tool_result has no tool_use_id");
    if (fault && !json_is_null(fault) && !json_is_boolean(fault))
        return fail_block(r, NULL, "is_error must be true or false");
    json_t *text = content && !json_is_null(content) ? chat_read_content(content, param, r->error)
                                                     : json_string("");
    if (!text) return false;
    json_array_append_new(
        r->out, json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "content", text));
    return true;
}

static bool read_use(reading *r, const json_t *block) {
    const char *id = json_string_value(json_object_get(block, "id"));
    const char *name = json_string_value(json_object_get(block, "name"));
    json_t *input = json_object_get(block, "input");
    if (!id || !name) return fail_block(r, NULL, "a tool_use needs id and name");
    if (input && !json_is_object(input))
        return fail_block(r, NULL, "the input of a tool_use must be an object");
    json_t *arguments = input ? json_incref(input) : json_object();
    json_array_append_new(r->calls,
                          json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function",
                                    "function", "name", name, "arguments", arguments));
    return true;
}

static bool read_block(reading *r, const json_t *block) {
    const char *type = json_string_value(json_object_get(block, "type"));
    if (!type) return fail_block(r, NULL, "a block of the content must be an object with a type");
    if (strcmp(type, "text") == 0) {
        const char *text = json_string_value(json_object_get(block, "text"));
        if (!text) return fail_block(r, NULL, "a block has no text");
        append(&r->text, "", text);
    } else if (strcmp(type, "thinking") == 0) {
        const char *text = json_string_value(json_object_get(block, "thinking"));
        if (!text) return fail_block(r, NULL, "a block has no thinking");
        append(&r->thought, "\n", text);
    } else if (strcmp(type, "tool_result") == 0) {
        return read_result(r, block);
    } else if (strcmp(type, "tool_use") == 0) {
        return read_use(r, block);
    } else if (strcmp(type, "redacted_thinking") != 0) {
        return fail_block(r, "unsupported_content", "the model reads texts only");
    }
    return true;
}

/* Two messages of the same role in turn are one. */
static bool join_last(json_t *list, const char *role, const gguf_dynbuf *text) {
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *before = json_string_value(json_object_get(last, "role"));
    const char *content = json_string_value(json_object_get(last, "content"));
    if (!before || !content || strcmp(before, role) != 0 || json_object_get(last, "tool_calls"))
        return false;
    gguf_dynbuf both;
    gguf_dynbuf_init(&both, SIZE_MAX / 4);
    gguf_dynbuf_put_text(&both, content);
    gguf_dynbuf_put_text(&both, "\n");
    gguf_dynbuf_put(&both, text->data, text->len);
    json_object_set_new(last, "content", taken(&both));
    return true;
}

static bool finish_message(reading *r, const char *role) {
    bool assistant = strcmp(role, "assistant") == 0, used = json_array_size(r->calls) > 0;
    bool results_only = !assistant && r->text.len == 0 && json_array_size(r->out) &&
                        strcmp(json_string_value(json_object_get(
                                   json_array_get(r->out, json_array_size(r->out) - 1), "role")),
                               "tool") == 0;
    if (results_only) return true;
    if (!used && r->thought.len == 0 && join_last(r->out, role, &r->text)) return true;
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", taken(&r->text));
    if (r->thought.len) json_object_set_new(message, "reasoning_content", taken(&r->thought));
    if (used) json_object_set(message, "tool_calls", r->calls);
    json_array_append_new(r->out, message);
    return true;
}

static bool read_message(const json_t *from, size_t index, json_t *out, api_error *error) {
    const char *role = json_string_value(json_object_get(from, "role"));
    const json_t *content = json_object_get(from, "content"), *block;
    reading r = {.out = out, .calls = json_array(), .index = index, .error = error};
    size_t i;
    gguf_dynbuf_init(&r.text, SIZE_MAX / 4);
    gguf_dynbuf_init(&r.thought, SIZE_MAX / 4);
    bool good = true;
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 &&
                  strcmp(role, "system") != 0))
        good = fail_block(&r, NULL, "the role must be user or assistant");
    else if (json_is_string(content))
        gguf_dynbuf_put(&r.text, json_string_value(content), json_string_length(content));
    else if (!json_is_array(content))
        good = fail_block(&r, NULL, "the content must be a text or a list of blocks");
    json_array_foreach(content, i, block) good = good && read_block(&r, block);
    good = good && finish_message(&r, role);
    gguf_dynbuf_clear(&r.text);
    gguf_dynbuf_clear(&r.thought);
    json_decref(r.calls);
    return good;
}

/* A header that some clients put into the system text changes with every request, and with it
 * everything that follows in the cache: what is behind "cch=" is left out. */
static json_t *without_billing(const char *text) {
    static const char header[] = "x-anthropic-billing-header:";
    const char *at = strncmp(text, header, sizeof header - 1) == 0 ? strstr(text, "cch=") : NULL;
    if (!at) return json_string(text);
    const char *end = at + 4 + strcspn(at + 4, "; \n");
    return json_pack("s%+", text, (size_t)(at + 4 - text), end);
}

static bool read_system(const json_t *system, json_t *out, api_error *error) {
    const json_t *block;
    size_t i;
    gguf_dynbuf text;
    if (!system || json_is_null(system)) return true;
    if (!json_is_string(system) && !json_is_array(system))
        return api_fail(error, "system", NULL, "'system' must be a text or a list of text blocks");
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    if (json_is_string(system))
        gguf_dynbuf_put(&text, json_string_value(system), json_string_length(system));
    json_array_foreach(system, i, block) {
        const char *part = json_string_value(json_object_get(block, "text"));
        json_t *own = part ? without_billing(part) : NULL;
        if (!own)
            api_fail(error, "system", NULL, "'system' must be a text or a list of text blocks");
        if (own) append(&text, "\n", json_string_value(own));
        json_decref(own);
    }
    json_t *message = json_pack("{s:s, s:o}", "role", "system", "content", taken(&text));
    if (json_string_length(json_object_get(message, "content")) && !error->status)
        json_array_append(out, message);
    json_decref(message);
    return !error->status;
}

static bool read_messages(fields *f, json_t *out) {
    json_t *list = NULL, *system = NULL, *message;
    size_t i;
    fields_any(f, "system", &system);
    fields_any(f, "messages", &list);
    if (f->error->status || !read_system(system, out, f->error)) return false;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return api_fail(f->error, "messages", NULL,
                        "'messages' must be a list with at least one message");
    json_array_foreach(list, i, message) if (!read_message(message, i, out, f->error)) return false;
    return true;
}

/* ---- the request ------------------------------------------------------------------------- */

static void read_thinking(fields *f, chat_request *c) {
    static const char *const types[] = {"disabled", "enabled", "adaptive", "between_tools"};
    json_t *thinking;
    size_t i = 0;
    if (!fields_object(f, "thinking", &thinking)) return;
    const char *type = json_string_value(json_object_get(thinking, "type"));
    while (i < 4 && !(type && strcmp(type, types[i]) == 0)) i++;
    if (i == 4)
        api_fail(f->error, "thinking", NULL,
                 "'thinking.type' must be enabled, disabled, adaptive or between_tools");
    c->think = i < 2 ? (int)i : -1;
    json_t *budget = json_object_get(thinking, "budget_tokens");
    if (!budget || json_is_null(budget)) return;
    if (!json_is_integer(budget) || json_integer_value(budget) < 0)
        api_fail(f->error, "thinking", NULL, "'thinking.budget_tokens' must be a whole number");
    json_object_set(c->variables, "thinking_budget", budget);
}

static void read_output(fields *f, exchange *x, params *p, chat_request *c) {
    json_t *config;
    if (!fields_object(f, "output_config", &config)) return;
    chat_set_effort(c, json_object_get(config, "effort"), "output_config.effort", f->error);
    const json_t *format = json_object_get(config, "format");
    if (format && !json_is_null(format))
        structured_read_format(f, x, format, "output_config.format", p);
}

/* Tools that run elsewhere have a type of their own: they are left out. */
static void read_tool(exchange *x, fields *f, chat_request *c, size_t i, const json_t *item) {
    const char *type = json_string_value(json_object_get(item, "type"));
    if (!json_is_object(item)) {
        api_fail(f->error, "tools", NULL, "tools[%zu] must be an object", i);
    } else if (type && strcmp(type, "custom") != 0) {
        tools_ignore(x, type);
    } else {
        json_t *strict = json_object_get(item, "strict");
        if (!json_object_get(item, "input_schema"))
            api_fail(f->error, "tools", NULL, "tools[%zu] has no input_schema", i);
        tools_add(c, json_object_get(item, "name"), json_object_get(item, "description"),
                  json_object_get(item, "input_schema"), strict);
    }
}

static void read_choice(fields *f, chat_request *c) {
    json_t *choice = NULL;
    if (!fields_object(f, "tool_choice", &choice)) return;
    const char *type = json_string_value(json_object_get(choice, "type"));
    const char *named = json_string_value(json_object_get(choice, "name"));
    const json_t *single = json_object_get(choice, "disable_parallel_tool_use");
    if (single && !json_is_null(single) && !json_is_boolean(single))
        api_fail(f->error, "tool_choice", NULL,
                 "'tool_choice.disable_parallel_tool_use' must be true or false");
    c->demand.single = json_is_true(single);
    if (type && strcmp(type, "auto") == 0)
        tools_choose(f, c, TOOL_CHOICE_AUTO, NULL);
    else if (type && strcmp(type, "any") == 0)
        tools_choose(f, c, TOOL_CHOICE_REQUIRED, NULL);
    else if (type && strcmp(type, "none") == 0)
        tools_choose(f, c, TOOL_CHOICE_NONE, NULL);
    else if (type && strcmp(type, "tool") == 0 && named)
        tools_choose(f, c, TOOL_CHOICE_REQUIRED, named);
    else
        api_fail(f->error, "tool_choice", NULL,
                 "'tool_choice.type' must be auto, any, none, or tool with a name");
}

static void read_tools(exchange *x, fields *f, params *p, chat_request *c) {
    json_t *tools = NULL, *item;
    size_t i;
    fields_array(f, "tools", &tools);
    json_array_foreach(tools, i, item) if (!f->error->status) read_tool(x, f, c, i, item);
    read_choice(f, c);
    tools_finish(f, x, p, c);
}

/* What both paths read; false after a mistake. */
static bool read_prompt(exchange *x, fields *f, params *p, chat_request *c) {
    params_read_model(f, x);
    json_t *list = json_array();
    if (read_messages(f, list)) chat_read_messages(list, &c->messages, f->error);
    json_decref(list);
    read_thinking(f, c);
    read_output(f, x, p, c);
    read_tools(x, f, p, c);
    return !f->error->status && chat_prompt(x->s, c, p, f->error);
}

/* ---- answers ----------------------------------------------------------------------------- */

static const char *stop_reason(const answer *a) {
    bool ended = a->finish == RT_SERVE_END || (a->finish == RT_SERVE_STOP && !a->stop);
    if (a->calls && ended) return "tool_use";
    switch (a->finish) {
    case RT_SERVE_STOP:
        return a->stop && strcmp(a->stop, "\nUser:") == 0 ? "end_turn" : "stop_sequence";
    case RT_SERVE_LENGTH:
        return "max_tokens";
    case RT_SERVE_FULL:
        return "model_context_window_exceeded";
    default:
        return "end_turn";
    }
}

static const char *stop_sequence(const answer *a) {
    return strcmp(stop_reason(a), "stop_sequence") == 0 ? a->stop : NULL;
}

static json_t *usage_of(const generation *g) {
    return json_pack("{s:I, s:I, s:i, s:I}", "input_tokens",
                     (json_int_t)(g->n_prompt - g->n_cached), "cache_read_input_tokens",
                     (json_int_t)g->n_cached, "cache_creation_input_tokens", 0, "output_tokens",
                     (json_int_t)generation_n_generated(g));
}

static json_t *message_of(const generation *g, json_t *content, const answer *a) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s?, s:s?, s:o}", "id", g->id, "type", "message",
                     "role", "assistant", "model", g->s->name, "content", content, "stop_reason",
                     a ? stop_reason(a) : NULL, "stop_sequence", a ? stop_sequence(a) : NULL,
                     "usage", usage_of(g));
}

static json_t *use_of(const json_t *own) {
    const json_t *arguments = json_object_get(own, "arguments");
    json_t *input =
        json_loadb(json_string_value(arguments), json_string_length(arguments), 0, NULL);
    return json_pack("{s:s, s:O, s:O, s:o}", "type", "tool_use", "id", json_object_get(own, "id"),
                     "name", json_object_get(own, "name"), "input", input ? input : json_object());
}

static json_t *whole(generation *g) {
    const answer *a = &g->answers[0];
    json_t *content = json_array(), *own;
    size_t i;
    if (a->thought.len)
        json_array_append_new(content, json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking",
                                                 answer_text(&a->thought), "signature", ""));
    if (a->text.len || (!a->thought.len && !a->calls))
        json_array_append_new(
            content, json_pack("{s:s, s:o}", "type", "text", "text", answer_text(&a->text)));
    json_array_foreach(a->calls, i, own) json_array_append_new(content, use_of(own));
    return message_of(g, content, a);
}

/* ---- streams ----------------------------------------------------------------------------- */

enum { BLOCK_NONE, BLOCK_THINKING, BLOCK_TEXT, BLOCK_USE };

static void begin(generation *g) {
    exchange_event(g->x, "message_start",
                   json_pack("{s:s, s:o}", "type", "message_start", "message",
                             message_of(g, json_array(), NULL)));
}

static void send_delta(generation *g, json_t *delta) {
    exchange_event(g->x, "content_block_delta",
                   json_pack("{s:s, s:i, s:o}", "type", "content_block_delta", "index", g->block,
                             "delta", delta));
}

static void close_block(generation *g) {
    if (g->state == BLOCK_NONE) return;
    if (g->state == BLOCK_THINKING)
        send_delta(g, json_pack("{s:s, s:s}", "type", "signature_delta", "signature", ""));
    exchange_event(g->x, "content_block_stop",
                   json_pack("{s:s, s:i}", "type", "content_block_stop", "index", g->block));
    g->block++;
    g->state = BLOCK_NONE;
}

static void begin_block(generation *g, int state, json_t *block) {
    close_block(g);
    g->state = state;
    exchange_event(g->x, "content_block_start",
                   json_pack("{s:s, s:i, s:o}", "type", "content_block_start", "index", g->block,
                             "content_block", block));
}

static void open_block(generation *g, int state) {
    if (g->state == state) return;
    json_t *block = state == BLOCK_THINKING ? json_pack("{s:s, s:s, s:s}", "type", "thinking",
                                                        "thinking", "", "signature", "")
                                            : json_pack("{s:s, s:s}", "type", "text", "text", "");
    begin_block(g, state, block);
}

static void part(generation *g, answer *a, gguf_str text, bool thought) {
    (void)a;
    open_block(g, thought ? BLOCK_THINKING : BLOCK_TEXT);
    send_delta(g, json_pack("{s:s, s:s%}", "type", thought ? "thinking_delta" : "text_delta",
                            thought ? "thinking" : "text", text.ptr, text.len));
}

static void call(generation *g, answer *a, const rt_call_event *e) {
    const json_t *own = answer_call(a);
    if (e->kind == RT_CALL_BEGIN)
        begin_block(g, BLOCK_USE,
                    json_pack("{s:s, s:O, s:O, s:{}}", "type", "tool_use", "id",
                              json_object_get(own, "id"), "name", json_object_get(own, "name"),
                              "input"));
    else if (e->kind == RT_CALL_ARGUMENTS)
        send_delta(g, json_pack("{s:s, s:s%}", "type", "input_json_delta", "partial_json",
                                e->text.ptr, e->text.len));
    else
        close_block(g);
}

static void finish(generation *g, answer *a) {
    (void)a;
    if (g->block == 0 && g->state == BLOCK_NONE) open_block(g, BLOCK_TEXT);
    close_block(g);
}

static void end(generation *g) {
    const answer *a = &g->answers[0];
    exchange_event(g->x, "message_delta",
                   json_pack("{s:s, s:{s:s, s:s?}, s:o}", "type", "message_delta", "delta",
                             "stop_reason", stop_reason(a), "stop_sequence", stop_sequence(a),
                             "usage", usage_of(g)));
    exchange_event(g->x, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void fail(generation *g, const api_error *error) {
    exchange_event(g->x, "error", api_error_json(error, DIALECT_ANTHROPIC, g->x->request_id));
}

static const dialect_format messages_format = {.stream_type = "text/event-stream",
                                               .begin = begin,
                                               .part = part,
                                               .call = call,
                                               .call_prefix = "toolu_",
                                               .finish = finish,
                                               .end = end,
                                               .fail = fail,
                                               .whole = whole};

/* ---- paths ------------------------------------------------------------------------------- */

void handle_messages(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    fields_open(&f, x->json, &error);
    if (!fields_u32(&f, "max_tokens", 1, UINT32_MAX, &p.max_tokens))
        api_fail(&error, "max_tokens", NULL, "'max_tokens' is missing");
    params_read_sampling(&f, &p);
    json_t *stops = json_object_get(x->json, "stop_sequences");
    if (json_is_string(stops))
        api_fail(&error, "stop_sequences", NULL, "'stop_sequences' must be a list of texts");
    params_read_stops(&f, "stop_sequences", &p);
    fields_bool(&f, "stream", &p.stream);
    bool good = read_prompt(x, &f, &p, &c);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    generation *g = good ? generation_new(x, &messages_format, &p, "msg_") : NULL;
    chat_answer(x, g, &c, &f);
}

void handle_count_tokens(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    chat_request c = {.variables = json_object(), .think = -1};
    fields_open(&f, x->json, &error);
    read_prompt(x, &f, &p, &c);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    chat_answer_count(x, NULL, &c, &f);
}
