/* Messages as JSON, rendered anew for every answer. */
#include "tools/run/conversation.h"

#include "libgguf/inputs.h"
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For models without a template. */
static const char plain_template[] =
    "{% for m in messages %}{% if m.role == 'user' %}User: {% elif m.role == 'assistant' %}"
    "Assistant: {% endif %}{{ m.content }}\n{% endfor %}Assistant:";

void conversation_note_plain(tool *t) {
    tool_note(t, "the model has no chat template: it gets a plain transcript of User and Assistant "
                 "(--template F.jinja gives one)");
}

/* ---- messages ---------------------------------------------------------------------------- */

static json_t *message_of(const char *role, const char *text, size_t n) {
    return json_pack("{s:s, s:o}", "role", role, "content", tool_json_bytes(text, n));
}

static const char *role_of(const conversation *c, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
    return role ? role : "";
}

void conversation_add(conversation *c, const char *role, const char *text, size_t n) {
    json_array_append_new(c->messages, message_of(role, text, n));
}

void conversation_add_reasoning(conversation *c, const char *text, size_t n) {
    json_t *message = json_array_get(c->messages, conversation_n(c) - 1);
    json_object_set_new(message, "thinking", tool_json_bytes(text, n));
}

size_t conversation_n(const conversation *c) {
    return json_array_size(c->messages);
}

bool conversation_last_is(const conversation *c, const char *role) {
    size_t n = conversation_n(c);
    return n > 0 && strcmp(role_of(c, n - 1), role) == 0;
}

void conversation_drop_last(conversation *c) {
    if (conversation_n(c)) json_array_remove(c->messages, conversation_n(c) - 1);
}

static bool has_system(const conversation *c) {
    return strcmp(role_of(c, 0), "system") == 0;
}

const char *conversation_system(const conversation *c) {
    if (!has_system(c)) return NULL;
    return json_string_value(json_object_get(json_array_get(c->messages, 0), "content"));
}

void conversation_set_system(conversation *c, const char *text) {
    if (has_system(c)) json_array_remove(c->messages, 0);
    if (text) json_array_insert_new(c->messages, 0, message_of("system", text, strlen(text)));
}

void conversation_clear(conversation *c) {
    while (conversation_n(c) > has_system(c)) conversation_drop_last(c);
    c->n_left_out = 0;
}

bool conversation_leave_out(conversation *c) {
    size_t first = has_system(c), next = first + c->n_left_out + 1;
    while (next < conversation_n(c) && strcmp(role_of(c, next), "user") != 0) next++;
    if (next >= conversation_n(c)) return false;
    c->n_left_out = next - first;
    return true;
}

/* ---- tokens ------------------------------------------------------------------------------ */

static json_t *seen_messages(const conversation *c) {
    json_t *seen = json_array();
    size_t first = has_system(c);
    for (size_t i = 0; i < conversation_n(c); i++)
        if (i < first || i >= first + c->n_left_out)
            json_array_append(seen, json_array_get(c->messages, i));
    return seen;
}

/* Most templates write the begin token themselves. */
static gguf_code add_begin(const rt_tokenizer *tok, rt_ids *ids, gguf_error *err) {
    int32_t begin = rt_tokenizer_special(tok, RT_SPECIAL_BOS);
    if (!rt_tokenizer_adds_bos(tok) || (ids->n && ids->data[0] == begin)) return GGUF_OK;
    void *grown = realloc(ids->data, (ids->n + 1) * sizeof *ids->data);
    if (!grown) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    ids->data = grown;
    ids->room = ids->n + 1;
    memmove(ids->data + 1, ids->data, ids->n++ * sizeof *ids->data);
    ids->data[0] = begin;
    return GGUF_OK;
}

gguf_code conversation_ids(const conversation *c, rt_ids *out, gguf_error *err) {
    char *text = NULL;
    size_t len = 0;
    json_object_set_new(c->variables, "messages", seen_messages(c));
    gguf_code code = prompt_render(c->tpl, c->variables, &text, &len, err);
    if (code && err && !err->file[0]) snprintf(err->file, sizeof err->file, "chat template");
    if (!code) code = rt_tokenize(c->tok, text, len, RT_TOKENIZE_PARSE_SPECIAL, out, err);
    if (!code) code = add_begin(c->tok, out, err);
    free(text);
    return code;
}

/* ---- files ------------------------------------------------------------------------------- */

gguf_code conversation_save(const conversation *c, const char *file, bool replace,
                            gguf_error *err) {
    json_t *root = json_pack("{s:O}", "messages", c->messages);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(root);
    if (!text) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the NUL */
    gguf_code code = gguf_outfile_save(file, text, n + 1,
                                       GGUF_OUT_STREAM | (replace ? GGUF_OUT_REPLACE : 0), err);
    free(text);
    return code;
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

gguf_code conversation_load(conversation *c, const char *file, gguf_error *err) {
    json_t *root = NULL;
    gguf_code code = gguf_json_load(file, GGUF_JSON_EXACT_INTS, &root, err);
    json_t *messages = json_object_get(root, "messages");
    if (!code) code = check_messages(messages, file, err);
    if (!code) {
        json_decref(c->messages);
        c->messages = json_incref(messages);
        c->n_left_out = 0;
        gguf_inputs_forget(file); /* nothing reads it again, and it may be saved to */
    }
    json_decref(root);
    return code;
}

/* ---- opening ----------------------------------------------------------------------------- */

static gguf_code open_template(conversation *c, const run_opts *o, const gguf_meta *meta,
                               gguf_error *err) {
    gguf_str own;
    c->plain =
        !o->template_file && !gguf_kv_str(gguf_meta_find(meta, "tokenizer.chat_template"), &own);
    if (c->plain) return rt_template_parse(gguf_str_of(plain_template), &c->tpl, err);
    return prompt_template(o->template_file, meta, NULL, &c->tpl, err);
}

static gguf_code open_variables(conversation *c, const run_opts *o, gguf_error *err) {
    if (o->template_vars) {
        gguf_code code =
            gguf_json_parse(o->template_vars, strlen(o->template_vars), GGUF_JSON_EXACT_INTS,
                            "--template-vars", GGUF_NO_OFFSET, &c->variables, err);
        if (code) return code;
        if (!json_is_object(c->variables))
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "--template-vars takes a JSON object");
    } else {
        c->variables = json_object();
    }
    prompt_add_tokens(c->variables, c->tok);
    json_object_set_new(c->variables, "add_generation_prompt", json_true());
    return GGUF_OK;
}

static gguf_code open_system(conversation *c, const run_opts *o, gguf_error *err) {
    char *text;
    size_t n;
    if (o->system) conversation_add(c, "system", o->system, strlen(o->system));
    if (!o->system_file) return GGUF_OK;
    gguf_code code = gguf_read_text(o->system_file, &text, &n, err);
    if (code) return code;
    conversation_add(c, "system", text, n && text[n - 1] == '\n' ? n - 1 : n);
    free(text);
    return GGUF_OK;
}

gguf_code conversation_open(conversation *c, const run_opts *o, const gguf_meta *meta,
                            const rt_tokenizer *tok, gguf_error *err) {
    *c = (conversation){.messages = json_array(), .tok = tok};
    gguf_code code = open_template(c, o, meta, err);
    if (!code) code = open_variables(c, o, err);
    return code ? code : open_system(c, o, err);
}

void conversation_close(conversation *c) {
    json_decref(c->messages);
    json_decref(c->variables);
    rt_template_free(c->tpl);
}
