/* Messages as JSON, rendered anew for every answer. */
#include "runtime/chat/conversation.h"

#include "libgguf/json.h"
#include "runtime/chat/chat_prompt.h"

#include <string.h>

const char rt_conversation_plain_template[] =
    "{% for m in messages %}{% if m.role == 'user' %}User: {% elif m.role == 'assistant' %}"
    "Assistant: {% endif %}{{ m.content }}\n{% endfor %}Assistant:";

gguf_code rt_conversation_open(rt_conversation *c, rt_template *tpl, json_t *variables,
                               const rt_tokenizer *tok, gguf_error *err) {
    *c = (rt_conversation){.messages = json_array(), .tpl = tpl, .tok = tok, .plain = !tpl};
    c->variables = variables ? variables : json_object();
    rt_chat_add_tokens(c->variables, tok);
    json_object_set_new(c->variables, "add_generation_prompt", json_true());
    return tpl ? GGUF_OK
               : rt_template_parse(gguf_str_of(rt_conversation_plain_template), &c->tpl, err);
}

void rt_conversation_close(rt_conversation *c) {
    json_decref(c->messages);
    json_decref(c->variables);
    rt_template_free(c->tpl);
}

/* ---- messages ---------------------------------------------------------------------------- */

static json_t *message_of(const char *role, const char *text, size_t n) {
    return json_pack("{s:s, s:o}", "role", role, "content", gguf_json_bytes(text, n));
}

static const char *role_of(const rt_conversation *c, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
    return role ? role : "";
}

void rt_conversation_add(rt_conversation *c, const char *role, const char *text, size_t n) {
    json_array_append_new(c->messages, message_of(role, text, n));
}

void rt_conversation_add_reasoning(rt_conversation *c, const char *text, size_t n) {
    json_t *message = json_array_get(c->messages, rt_conversation_n(c) - 1);
    json_object_set_new(message, "thinking", gguf_json_bytes(text, n));
}

void rt_conversation_add_calls(rt_conversation *c, json_t *calls) {
    json_object_set_new(json_array_get(c->messages, rt_conversation_n(c) - 1), "tool_calls", calls);
}

void rt_conversation_set_call(rt_conversation *c, const json_t *call) {
    json_t *message = json_array_get(c->messages, rt_conversation_n(c) - 1),
           *name = json_object_get(json_object_get(call, "function"), "name"),
           *id = json_object_get(call, "id");
    if (name) json_object_set(message, "name", name);
    if (id) json_object_set(message, "tool_call_id", id);
}

size_t rt_conversation_n(const rt_conversation *c) {
    return json_array_size(c->messages);
}

bool rt_conversation_last_is(const rt_conversation *c, const char *role) {
    size_t n = rt_conversation_n(c);
    return n > 0 && strcmp(role_of(c, n - 1), role) == 0;
}

void rt_conversation_drop_last(rt_conversation *c) {
    if (rt_conversation_n(c)) json_array_remove(c->messages, rt_conversation_n(c) - 1);
}

bool rt_conversation_undo(rt_conversation *c) {
    size_t n_before = rt_conversation_n(c);
    while (rt_conversation_n(c) && !rt_conversation_last_is(c, "user") &&
           !rt_conversation_last_is(c, "system"))
        rt_conversation_drop_last(c);
    if (rt_conversation_last_is(c, "user")) rt_conversation_drop_last(c);
    if (rt_conversation_n(c) == n_before) return false;
    c->n_left_out = 0;
    return true;
}

static bool has_system(const rt_conversation *c) {
    return strcmp(role_of(c, 0), "system") == 0;
}

const char *rt_conversation_system(const rt_conversation *c) {
    if (!has_system(c)) return NULL;
    return json_string_value(json_object_get(json_array_get(c->messages, 0), "content"));
}

void rt_conversation_set_system(rt_conversation *c, const char *text) {
    if (has_system(c)) json_array_remove(c->messages, 0);
    if (text) json_array_insert_new(c->messages, 0, message_of("system", text, strlen(text)));
}

void rt_conversation_clear(rt_conversation *c) {
    while (rt_conversation_n(c) > has_system(c)) rt_conversation_drop_last(c);
    c->n_left_out = 0;
}

bool rt_conversation_leave_out(rt_conversation *c) {
    size_t first = has_system(c), next = first + c->n_left_out + 1;
    while (next < rt_conversation_n(c) && strcmp(role_of(c, next), "user") != 0) next++;
    if (next >= rt_conversation_n(c)) return false;
    c->n_left_out = next - first;
    return true;
}

static gguf_code check_messages(const json_t *messages, const char *file, gguf_error *err) {
    size_t i;
    json_t *message;
    if (!json_is_array(messages))
        return gguf_fail(err, GGUF_E_FORMAT, file, GGUF_NO_OFFSET,
                         "expected {\"messages\": [...]}");
    json_array_foreach(messages, i, message) {
        if (json_is_string(json_object_get(message, "role")) &&
            json_is_string(json_object_get(message, "content")))
            continue;
        return gguf_fail(err, GGUF_E_FORMAT, file, GGUF_NO_OFFSET,
                         "message %zu: expected \"role\" and \"content\" with texts", i);
    }
    return GGUF_OK;
}

gguf_code rt_conversation_set_messages(rt_conversation *c, json_t *messages, const char *file,
                                       gguf_error *err) {
    gguf_code code = check_messages(messages, file, err);
    if (code) return code;
    json_incref(messages);
    json_decref(c->messages);
    c->messages = messages;
    c->n_left_out = 0;
    return GGUF_OK;
}

/* ---- tokens ------------------------------------------------------------------------------ */

static json_t *seen_messages(const rt_conversation *c) {
    json_t *seen = json_array();
    size_t first = has_system(c);
    for (size_t i = 0; i < rt_conversation_n(c); i++)
        if (i < first || i >= first + c->n_left_out)
            json_array_append(seen, json_array_get(c->messages, i));
    return seen;
}

gguf_code rt_conversation_ids(const rt_conversation *c, rt_ids *out, gguf_error *err) {
    json_t *seen = seen_messages(c);
    if (c->tools) {
        json_object_set_new(c->variables, "messages", rt_tool_messages(c->use, seen, c->tools));
        if (!c->use->generic) json_object_set(c->variables, "tools", (json_t *)c->tools);
        json_decref(seen);
    } else {
        json_object_set_new(c->variables, "messages", seen);
    }
    return rt_chat_ids(c->tpl, c->variables, c->tok, out, err);
}

gguf_code rt_conversation_fit(rt_conversation *c, uint32_t n_ctx, rt_ids *out, gguf_error *err) {
    gguf_code code;
    do {
        out->n = 0;
        code = rt_conversation_ids(c, out, err);
    } while (!code && out->n > n_ctx / 4 * 3 && rt_conversation_leave_out(c));
    return code;
}
