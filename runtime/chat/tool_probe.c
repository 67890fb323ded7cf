/* Which style a template's calls are of, and messages for templates that know none. */
#include "runtime/chat/chat_prompt.h"
#include "runtime/chat/tool_style.h"

#include "libgguf/json.h"

#include <stdlib.h>
#include <string.h>

/* ---- probing ----------------------------------------------------------------------------- */

static const char probe_name[] = "probe_tool",
                  probe_arguments[] = "{\"probe_key\": \"probe_value\"}";

static json_t *probe_tools(void) {
    return json_loads("[{\"type\": \"function\", \"function\": {\"name\": \"probe_tool\", "
                      "\"description\": \"probe\", \"parameters\": {\"type\": \"object\", "
                      "\"properties\": {\"probe_key\": {\"type\": \"string\", \"description\": "
                      "\"probe\"}}, \"required\": [\"probe_key\"]}}}]",
                      0, NULL);
}

/* A question, and with a call also what the assistant made of it; then its result. */
static json_t *probe_messages(bool has_call, bool arguments_text, bool has_content) {
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "probe question");
    if (!has_call) return messages;
    json_t *arguments =
        arguments_text ? json_string(probe_arguments) : json_loads(probe_arguments, 0, NULL);
    json_t *call = json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", "probe1234", "type", "function",
                             "function", "name", probe_name, "arguments", arguments);
    json_t *message = json_pack("{s:s, s:s?, s:[o]}", "role", "assistant", "content",
                                has_content ? "" : NULL, "tool_calls", call);
    json_array_append_new(messages, message);
    json_array_append_new(messages,
                          json_pack("{s:s, s:s, s:s, s:s}", "role", "tool", "tool_call_id",
                                    "probe1234", "name", probe_name, "content", "probe result"));
    return messages;
}

/* NULL: the template fails, or memory does. */
static char *render(const rt_template *tpl, const json_t *variables, json_t *messages,
                    json_t *tools) {
    char *text = NULL;
    size_t len;
    json_t *all = variables ? json_copy((json_t *)variables) : json_object();
    json_object_set_new(all, "messages", messages);
    if (tools) json_object_set(all, "tools", tools);
    if (rt_chat_render(tpl, all, &text, &len, NULL)) text = NULL;
    json_decref(all);
    return text;
}

/* Whether one of the calls that are read has the probe's name and arguments. */
typedef struct found {
    gguf_dynbuf arguments;
    bool is_named, good;
} found;

static void take_event(void *ctx, const rt_call_event *e) {
    found *f = ctx;
    if (e->kind == RT_CALL_BEGIN) {
        f->arguments.len = 0;
        f->is_named = gguf_str_eq(e->name, probe_name);
    } else if (e->kind == RT_CALL_ARGUMENTS) {
        gguf_dynbuf_put(&f->arguments, e->text.ptr, e->text.len);
    } else if (e->kind == RT_CALL_END && f->is_named) {
        json_t *got = json_loadb((const char *)f->arguments.data, f->arguments.len, 0, NULL);
        json_t *wanted = json_loads(probe_arguments, 0, NULL);
        f->good |= got && json_equal(got, wanted);
        json_decref(got);
        json_decref(wanted);
    }
}

/* Calls may begin anywhere: what stands before the assistant's part depends on the template. */
static bool reads_back(const rt_tool_style *style, const json_t *tools, const char *text) {
    found f = {0};
    gguf_dynbuf_init(&f.arguments, SIZE_MAX / 4);
    const char *at = text;
    while (at && *at && !f.good) {
        rt_call_parser p;
        rt_call_parser_init(&p, style, tools, false, take_event, &f);
        rt_call_parser_put(&p, gguf_str_of(at));
        rt_call_parser_end(&p);
        f.good &= p.n_broken == 0;
        rt_call_parser_clear(&p);
        /* A call that must begin the answer begins at one of the brackets, or with its name. */
        at = !style->start                  ? NULL
             : tool_begins_with_name(style) ? strstr(at + 1, probe_name)
                                            : strchr(at + 1, '{');
    }
    gguf_dynbuf_clear(&f.arguments);
    return f.good;
}

/* Where two texts part, but not within a tag: both may go on with the same characters. */
static const char *where_they_part(const char *text, const char *other) {
    size_t n = 0;
    while (text[n] && text[n] == other[n]) n++;
    while (n && !strchr("\n>]", text[n - 1])) n--;
    return text + n;
}

static const rt_tool_style *find_style(const rt_tool_styles *styles, const json_t *tools,
                                       const char *text) {
    for (size_t i = 0; i < rt_tool_styles_n(styles); i++) {
        const rt_tool_style *style = rt_tool_styles_at(styles, i);
        if (reads_back(style, tools, text)) return style;
    }
    return NULL;
}

gguf_code rt_tool_probe(const rt_tool_styles *styles, const rt_template *tpl,
                        const json_t *variables, rt_tool_use *out, gguf_error *err) {
    json_t *tools = probe_tools();
    if (!tools) return gguf_fail_memory(err);
    char *bare = render(tpl, variables, probe_messages(false, false, false), tools);
    char *without = render(tpl, variables, probe_messages(false, false, false), NULL);
    bool knows = bare && without && strcmp(bare, without) != 0 && strstr(bare, probe_name);
    *out = (rt_tool_use){.generic = true};
    for (int form = 0; form < 4 && !out->style; form++) {
        bool as_text = form & 1;
        char *text = render(tpl, variables, probe_messages(true, as_text, form < 2), tools);
        const char *part = text && bare ? where_they_part(text, bare) : NULL;
        if (part) out->shows_calls |= strstr(part, probe_name) != NULL;
        if (part && knows) out->style = find_style(styles, tools, part);
        if (out->style) {
            out->generic = false;
            out->arguments_text = as_text;
        }
        free(text);
    }
    if (!out->style) out->style = rt_tool_styles_find(styles, "generic");
    free(bare);
    free(without);
    json_decref(tools);
    return out->style ? GGUF_OK : gguf_fail_memory(err);
}

/* ---- templates that know no tools -------------------------------------------------------- */

static const char instructions[] =
    "You can call tools. To call one or several of them, answer with nothing but JSON of this "
    "form:\n{\"tool_calls\": [{\"name\": \"NAME\", \"arguments\": {...}}]}\nOtherwise answer in "
    "plain text. The tools, with JSON schemas of their arguments:\n";

static void put_json(gguf_dynbuf *out, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    if (text) gguf_dynbuf_put_text(out, text);
    free(text);
}

static json_t *text_message(const char *role, const gguf_dynbuf *text) {
    return json_pack("{s:s, s:o}", "role", role, "content",
                     gguf_json_bytes(text->len ? (const char *)text->data : "", text->len));
}

static json_t *system_message(const json_t *first, const json_t *tools) {
    gguf_dynbuf text;
    size_t i;
    const json_t *tool;
    const char *own = json_string_value(json_object_get(first, "content"));
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    if (own && *own) {
        gguf_dynbuf_put_text(&text, own);
        gguf_dynbuf_put_text(&text, "\n\n");
    }
    gguf_dynbuf_put_text(&text, instructions);
    json_array_foreach(tools, i, tool) {
        put_json(&text, json_object_get(tool, "function"));
        gguf_dynbuf_put_text(&text, "\n");
    }
    json_t *message = text_message("system", &text);
    gguf_dynbuf_clear(&text);
    return message;
}

/* Calls as the model writes them in this style. */
static json_t *calls_message(const json_t *message) {
    gguf_dynbuf text;
    const json_t *call;
    size_t i;
    const char *content = json_string_value(json_object_get(message, "content"));
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    if (content && *content) {
        gguf_dynbuf_put_text(&text, content);
        gguf_dynbuf_put_text(&text, "\n");
    }
    gguf_dynbuf_put_text(&text, "{\"tool_calls\": [");
    json_array_foreach(json_object_get(message, "tool_calls"), i, call) {
        const json_t *function = json_object_get(call, "function");
        gguf_dynbuf_put_text(&text, i ? ", {\"name\": " : "{\"name\": ");
        put_json(&text, json_object_get(function, "name"));
        gguf_dynbuf_put_text(&text, ", \"arguments\": ");
        put_json(&text, json_object_get(function, "arguments"));
        gguf_dynbuf_put_text(&text, "}");
    }
    gguf_dynbuf_put_text(&text, "]}");
    json_t *out = text_message("assistant", &text);
    gguf_dynbuf_clear(&text);
    return out;
}

/* Results in turn are one message of the user. */
static void add_result(json_t *list, const json_t *message) {
    static const char head[] = "Result of the tool:\n";
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    const char *before = json_string_value(json_object_get(last, "content"));
    const char *content = json_string_value(json_object_get(message, "content"));
    gguf_dynbuf text;
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    bool joins =
        role && before && strcmp(role, "user") == 0 && strncmp(before, head, sizeof head - 1) == 0;
    if (joins) {
        gguf_dynbuf_put_text(&text, before);
        gguf_dynbuf_put_text(&text, "\n");
        json_array_remove(list, json_array_size(list) - 1);
    }
    gguf_dynbuf_put_text(&text, head);
    gguf_dynbuf_put_text(&text, content ? content : "");
    json_array_append_new(list, text_message("user", &text));
    gguf_dynbuf_clear(&text);
}

static json_t *generic_messages(const rt_tool_use *use, const json_t *messages,
                                const json_t *tools) {
    json_t *list = json_array(), *message;
    size_t i;
    const json_t *first = json_array_get(messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    bool has_system = role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
    if (!list) return NULL;
    if (json_array_size(tools))
        json_array_append_new(list, system_message(has_system ? first : NULL, tools));
    json_array_foreach(messages, i, message) {
        role = json_string_value(json_object_get(message, "role"));
        if (i == 0 && has_system && json_array_size(tools)) continue;
        if (!use->shows_calls && json_object_get(message, "tool_calls"))
            json_array_append_new(list, calls_message(message));
        else if (!use->shows_calls && role && strcmp(role, "tool") == 0)
            add_result(list, message);
        else
            json_array_append(list, message);
    }
    return list;
}

/* The arguments of calls as texts. */
static json_t *with_texts(const json_t *messages) {
    json_t *copy = json_deep_copy(messages), *message, *call;
    size_t i, j;
    json_array_foreach(copy, i, message) {
        json_array_foreach(json_object_get(message, "tool_calls"), j, call) {
            json_t *function = json_object_get(call, "function");
            char *text = json_dumps(json_object_get(function, "arguments"), JSON_ENCODE_ANY);
            if (text) json_object_set_new(function, "arguments", json_string(text));
            free(text);
        }
    }
    return copy;
}

json_t *rt_tool_messages(const rt_tool_use *use, const json_t *messages, const json_t *tools) {
    if (use->generic) return generic_messages(use, messages, tools);
    return use->arguments_text ? with_texts(messages) : json_incref((json_t *)messages);
}
