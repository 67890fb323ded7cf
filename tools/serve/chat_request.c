/* Messages, template, tokens. */
#include "tools/serve/chat_request.h"

#include "libgguf/hash.h"
#include "libgguf/json.h"
#include "runtime/chat/chat_prompt.h"
#include "runtime/chat/conversation.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void chat_request_clear(chat_request *c) {
    json_decref(c->messages);
    json_decref(c->variables);
    json_decref(c->tools);
    rt_ids_clear(&c->ids);
    *c = (chat_request){0};
}

/* ---- contents ---------------------------------------------------------------------------- */

static bool add_part(gguf_dynbuf *out, const json_t *part, const char *param, api_error *error) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");
    bool is_text = type && (strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0 ||
                            strcmp(type, "output_text") == 0);
    if (type && strcmp(type, "refusal") == 0) {
        text = json_object_get(part, "refusal");
        is_text = true;
    }
    if (!type) return api_fail(error, param, NULL, "'%s': a part must have a type", param);
    if (!is_text)
        return api_fail(error, param, "unsupported_content",
                        "'%s': the model reads texts, not '%.60s'", param, type);
    if (!json_is_string(text))
        return api_fail(error, param, NULL, "'%s': a part has no text", param);
    gguf_dynbuf_put(out, json_string_value(text), json_string_length(text));
    return true;
}

json_t *chat_read_content(const json_t *content, const char *param, api_error *error) {
    size_t i;
    const json_t *part;
    if (json_is_string(content)) return json_incref((json_t *)content);
    if (!json_is_array(content)) {
        api_fail(error, param, NULL, "'%s' must be a text or a list of parts", param);
        return NULL;
    }
    gguf_dynbuf text;
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    bool good = true;
    json_array_foreach(content, i, part) good = good && add_part(&text, part, param, error);
    json_t *joined =
        good ? gguf_json_bytes(text.len ? (const char *)text.data : "", text.len) : NULL;
    gguf_dynbuf_clear(&text);
    return joined;
}

/* ---- ids of calls ------------------------------------------------------------------------ */

/* Some templates want 9 letters and digits, and others take anything: every other id becomes such.
 */
#define ID_LENGTH 9

static json_t *short_id(const char *id) {
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = strlen(id), n_fit = 0;
    char out[ID_LENGTH + 1] = {0};
    while (n_fit < n && isalnum((unsigned char)id[n_fit])) n_fit++;
    if (n == ID_LENGTH && n_fit == n) return json_string(id);
    uint64_t hash = gguf_xxh3(id, n, 0);
    for (size_t i = 0; i < ID_LENGTH; i++, hash /= 62) out[i] = letters[hash % 62];
    return json_string(out);
}

/* ---- messages ---------------------------------------------------------------------------- */

/* Where a message stands in the request. */
typedef struct place {
    const char *list;
    size_t index;
    api_error *error;
} place;

static bool fail_at(const place *at, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail_at(const place *at, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return api_fail(at->error, at->list, NULL, "%s[%zu]%s", at->list, at->index, text);
}

static bool read_call(const json_t *call, const place *at, json_t *out) {
    const json_t *function = json_object_get(call, "function");
    const char *name = json_string_value(json_object_get(function, "name"));
    const json_t *arguments = json_object_get(function, "arguments"),
                 *id = json_object_get(call, "id");
    json_t *parsed = NULL;
    if (!name) return fail_at(at, ": a tool call has no function.name");
    if (id && !json_is_null(id) && !json_is_string(id))
        return fail_at(at, ": the id of the tool call '%.60s' must be a text", name);
    if (json_is_string(arguments) && json_string_length(arguments))
        parsed = json_loads(json_string_value(arguments), JSON_DECODE_ANY, NULL);
    else if (!arguments || json_is_null(arguments) || json_is_string(arguments))
        parsed = json_object();
    else if (json_is_object(arguments))
        parsed = json_incref((json_t *)arguments);
    if (!parsed) return fail_at(at, ": the arguments of the tool call '%.60s' are no JSON", name);
    json_t *copy = json_pack("{s:s, s:{s:s, s:o}}", "type", "function", "function", "name", name,
                             "arguments", parsed);
    if (json_is_string(id)) json_object_set_new(copy, "id", short_id(json_string_value(id)));
    json_array_append_new(out, copy);
    return true;
}

static bool read_calls(const json_t *calls, const place *at, json_t *message) {
    size_t j;
    const json_t *call;
    if (!calls || json_is_null(calls)) return true;
    if (!json_is_array(calls)) return fail_at(at, ".tool_calls must be a list");
    if (json_array_size(calls) == 0) return true;
    json_t *list = json_array();
    json_object_set_new(message, "tool_calls", list);
    json_array_foreach(calls, j, call) if (!read_call(call, at, list)) return false;
    return true;
}

static bool is_role(const char *role) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    for (size_t i = 0; role && i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(role, roles[i]) == 0) return true;
    return false;
}

/* A field that is a text; *out is NULL where it is absent. */
static bool read_text(const json_t *from, const char *name, const place *at, json_t **out) {
    *out = json_object_get(from, name);
    if (json_is_null(*out)) *out = NULL;
    return !*out || json_is_string(*out) || fail_at(at, ".%s must be a text", name);
}

static bool read_reasoning(const json_t *from, const place *at, json_t *to) {
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
    json_t *text;
    for (size_t i = 0; i < 3; i++) {
        if (!read_text(from, names[i], at, &text)) return false;
        if (!text || json_string_length(text) == 0) continue;
        json_object_set(to, "reasoning_content", text);
        json_object_set(to, "thinking", text);
        return true;
    }
    return true;
}

/* What is passed on as it is. */
static bool read_names(const json_t *from, const place *at, json_t *to) {
    static const char *const names[] = {"name", "tool_name"};
    json_t *text;
    if (!read_text(from, "tool_call_id", at, &text)) return false;
    if (text) json_object_set_new(to, "tool_call_id", short_id(json_string_value(text)));
    for (size_t i = 0; i < 2; i++) {
        if (!read_text(from, names[i], at, &text)) return false;
        if (text) json_object_set(to, names[i], text);
    }
    return true;
}

bool chat_read_message(const json_t *from, const char *list, size_t index, json_t *out,
                       api_error *error) {
    const place at = {list, index, error};
    const char *role = json_string_value(json_object_get(from, "role"));
    char param[64];
    snprintf(param, sizeof param, "%s[%zu].content", list, index);
    if (!json_is_object(from)) return fail_at(&at, " must be an object");
    if (!is_role(role))
        return fail_at(&at, ".role must be system, developer, user, assistant or tool");
    json_t *message = json_pack("{s:s}", "role", role);
    json_array_append_new(out, message);
    bool answers = strcmp(role, "assistant") == 0;
    if (answers && (!read_calls(json_object_get(from, "tool_calls"), &at, message) ||
                    !read_reasoning(from, &at, message)))
        return false;
    json_t *content = json_object_get(from, "content");
    /* An answer that was cut while the model thought comes back without a content, too. */
    bool may_lack = json_object_get(message, "tool_calls") || json_object_get(from, "refusal") ||
                    json_object_get(message, "thinking");
    if (may_lack && (!content || json_is_null(content)))
        json_object_set_new(message, "content", json_string(""));
    else
        json_object_set_new(message, "content", chat_read_content(content, param, error));
    return !error->status && read_names(from, &at, message);
}

bool chat_read_messages(const json_t *list, json_t **out, api_error *error) {
    size_t i;
    const json_t *message;
    if (error->status) return false;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return api_fail(error, "messages", NULL,
                        "'messages' must be a list with at least one message");
    *out = json_array();
    json_array_foreach(list, i, message) {
        if (!chat_read_message(message, "messages", i, *out, error)) return false;
    }
    return true;
}

/* ---- variables --------------------------------------------------------------------------- */

void chat_set_effort(chat_request *c, const json_t *effort, const char *param, api_error *error) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium",
                                          "high", "xhigh",   "max"};
    const char *word = json_string_value(effort);
    size_t i = 0;
    if (!effort || json_is_null(effort)) return;
    while (i < 7 && !(word && strcmp(word, efforts[i]) == 0)) i++;
    if (i == 7)
        api_fail(error, param, NULL, "'%s' must be none, minimal, low, medium, high, xhigh or max",
                 param);
    json_object_set(c->variables, "reasoning_effort", (json_t *)effort);
    if (i == 0) c->think = 0;
}

void chat_read_variables(fields *f, chat_request *c) {
    json_t *kwargs, *effort;
    if (fields_object(f, "chat_template_kwargs", &kwargs)) {
        json_t *thinking = json_object_get(kwargs, "enable_thinking");
        json_object_update(c->variables, kwargs);
        if (json_is_boolean(thinking)) c->think = json_is_true(thinking);
    }
    if (fields_any(f, "reasoning_effort", &effort))
        chat_set_effort(c, effort, "reasoning_effort", f->error);
}

/* ---- the template ------------------------------------------------------------------------ */

static const json_t *last_message(const chat_request *c) {
    return json_array_get(c->messages, json_array_size(c->messages) - 1);
}

static bool goes_on(const chat_request *c) {
    const char *role = json_string_value(json_object_get(last_message(c), "role"));
    return role && strcmp(role, "assistant") == 0 &&
           !json_object_get(last_message(c), "tool_calls");
}

/* Kimi K3 has another name for the effort, and fewer of them. */
static void add_thinking_effort(json_t *variables) {
    const char *effort = json_string_value(json_object_get(variables, "reasoning_effort"));
    if (!effort || strcmp(effort, "none") == 0 || json_object_get(variables, "thinking_effort"))
        return;
    if (strcmp(effort, "minimal") == 0) effort = "low";
    if (strcmp(effort, "xhigh") == 0) effort = "max";
    json_object_set_new(variables, "thinking_effort", json_string(effort));
}

static json_t *variables_of(const server *s, const chat_request *c, bool begins) {
    json_t *v = json_object();
    bool knows_developer = memmem(s->template_source.ptr, s->template_source.len, "developer", 9);
    int think = c->think >= 0 ? c->think : s->settings->think;
    size_t i;
    json_t *message;
    json_object_update(v, s->template_vars);
    json_object_update(v, c->variables);
    rt_chat_add_tokens(v, s->tok);
    add_thinking_effort(v);
    json_array_foreach(c->messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        if (!knows_developer && strcmp(role, "developer") == 0)
            json_object_set_new(message, "role", json_string("system"));
    }
    json_object_set_new(v, "messages", rt_tool_messages(&s->tools, c->messages, c->tools));
    if (c->tools && !s->tools.generic) json_object_set(v, "tools", c->tools);
    json_object_set_new(v, "add_generation_prompt", json_boolean(begins));
    if (c->demand.required) json_object_set_new(v, "tool_choice", json_string("required"));
    if (think >= 0) {
        json_object_set_new(v, "enable_thinking", json_boolean(think));
        json_object_set_new(v, "thinking", json_boolean(think));
    }
    return v;
}

static bool fail_render(api_error *error, gguf_code code, const gguf_error *err) {
    if (code == GGUF_E_NOMEM) return api_fail_status(error, 500, NULL, "out of memory");
    return api_fail(error, "messages", "template_error", "the chat template: %s", err->message);
}

/* Whether what stands before a thought opens the reasoning. */
static bool opens_thought(const server *s, gguf_str before) {
    static const char channel[] = "<|channel|>analysis<|message|>";
    size_t n = sizeof channel - 1;
    return rt_reasoning_is_open(&s->markers, before) ||
           (before.len >= n && memcmp(before.ptr + before.len - n, channel, n) == 0);
}

/* The prompt of an answer that goes on ends where its text ends. False: the template left it out.
 *   thought  the text is what was thought */
static bool cut_behind(const server *s, char *text, size_t *len, const json_t *part, bool thought) {
    const char *bytes = json_string_value(part);
    size_t n = json_string_length(part);
    while (n && isspace((unsigned char)bytes[n - 1])) n--; /* templates strip */
    while (n && isspace((unsigned char)*bytes)) bytes++, n--;
    for (size_t at = n && n <= *len ? *len - n + 1 : 0; at-- > 0;) {
        if (memcmp(text + at, bytes, n) != 0) continue;
        if (thought && !opens_thought(s, (gguf_str){text, at})) continue;
        text[ *len = at + n] = '\0';
        return true;
    }
    return false;
}

static bool render(const server *s, chat_request *c, bool begins, char **text, size_t *len,
                   api_error *error) {
    gguf_error err = {0};
    json_t *variables = variables_of(s, c, begins);
    gguf_code code = rt_chat_render(s->tpl, variables, text, len, &err);
    json_decref(variables);
    return code ? fail_render(error, code, &err) : true;
}

/* A new answer, or where the request says so the end of the last one. */
static bool render_new(const server *s, chat_request *c, char **text, size_t *len,
                       api_error *error) {
    return render(s, c, !c->begins_given || c->begins, text, len, error);
}

static bool ends_in_space(const json_t *text) {
    size_t n = json_string_length(text);
    return n && isspace((unsigned char)json_string_value(text)[n - 1]);
}

/* The last message goes on: with its text, or where it has none with what was thought, if the
 * template shows it. */
static bool render_on(const server *s, chat_request *c, char **text, size_t *len,
                      api_error *error) {
    const json_t *content = json_object_get(last_message(c), "content"),
                 *thought = json_object_get(last_message(c), "thinking");
    bool thinks = json_string_length(content) == 0;
    const json_t *part = thinks ? thought : content;
    if (part && !render(s, c, false, text, len, error)) return false;
    if (part && cut_behind(s, *text, len, part, thinks)) {
        c->goes_on = !ends_in_space(part);
        c->thinks_on = thinks;
        return true;
    }
    if (!thinks)
        return api_fail(error, "messages", "template_error",
                        "the chat template leaves no trace of the last message, which cannot be "
                        "continued");
    free(*text);
    *text = NULL;
    json_array_remove(c->messages, json_array_size(c->messages) - 1); /* nothing to go on from */
    return render_new(s, c, text, len, error);
}

bool chat_render(const server *s, chat_request *c, char **text, size_t *len, api_error *error) {
    bool on = goes_on(c) && !(c->begins_given && c->begins);
    *text = NULL;
    if (on ? render_on(s, c, text, len, error) : render_new(s, c, text, len, error)) return true;
    free(*text);
    *text = NULL;
    return false;
}

bool chat_prompt(const server *s, chat_request *c, params *p, api_error *error) {
    char *text;
    size_t len;
    gguf_error err = {0};
    bool apart = c->reasoning == REASONING_APART ||
                 (c->reasoning == REASONING_AS_SERVER && !s->settings->keep_reasoning);
    if (error->status || !chat_render(s, c, &text, &len, error)) return false;
    c->text = (rt_answer_text_opts){
        .markers = s->markers,
        .split = apart,
        .inside = c->thinks_on || rt_reasoning_is_open(&s->markers, (gguf_str){text, len}),
        .trim = true,
        .goes_on = c->goes_on};
    if (c->tools) {
        c->text.call_channel = rt_tool_style_is_channel(s->tools.style);
        if (!c->text.call_channel) c->text.marks = rt_tool_style_marks(s->tools.style);
    }
    gguf_code code = rt_chat_text_ids(s->tok, text, len, &c->ids, &err);
    free(text);
    if (code == GGUF_E_NOMEM) return api_fail_status(error, 500, NULL, "out of memory");
    if (!code) rt_answer_text_follow(&c->text, s->tok, c->ids.data, c->ids.n);
    if (code) return api_fail(error, "messages", NULL, "%s", err.message);
    if (s->plain && p) p->stops[p->n_stops++] = RT_CONVERSATION_PLAIN_STOP;
    return true;
}

void chat_answer(exchange *x, generation *g, chat_request *c, fields *f) {
    rt_ids ids = c->ids;
    const rt_answer_text_opts text = c->text;
    api_error *error = f->error;
    /* From the start on, values of the body belong to the engine's thread. */
    c->ids = (rt_ids){0};
    chat_request_clear(c);
    fields_close(f);
    if (g) {
        generation_start(g, &ids, 1, &text);
    } else {
        api_fail_status(error, 500, NULL, "out of memory");
        exchange_fail(x, error);
    }
    rt_ids_clear(&ids);
}

void chat_answer_count(exchange *x, const char *object, chat_request *c, fields *f) {
    if (f->error->status)
        exchange_fail(x, f->error);
    else
        exchange_reply(
            x, 200,
            json_pack("{s:s*, s:I}", "object", object, "input_tokens", (json_int_t)c->ids.n));
    chat_request_clear(c);
    fields_close(f);
}
