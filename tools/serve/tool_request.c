/* Tools of requests: names, choices, and the grammar of their calls. */
#include "tools/serve/tool_request.h"

#include "tools/serve/structured.h"

#include <ctype.h>
#include <string.h>

#define MAX_TOOLS 512

/* ---- tools ------------------------------------------------------------------------------- */

static bool is_name(const char *name) {
    size_t n = 0;
    for (; name[n]; n++)
        if (!isalnum((unsigned char)name[n]) && !strchr("_.-", name[n])) return false;
    return n > 0 && n <= 64;
}

static bool has_tool(const json_t *tools, const char *name) {
    const json_t *item;
    size_t i;
    json_array_foreach(tools, i, item) {
        const char *own =
            json_string_value(json_object_get(json_object_get(item, "function"), "name"));
        if (own && strcmp(own, name) == 0) return true;
    }
    return false;
}

void tools_add(chat_request *c, json_t *name, json_t *description, json_t *schema, json_t *strict) {
    json_t *function = json_object();
    if (!c->tools) c->tools = json_array();
    if (name) json_object_set(function, "name", name);
    if (description) json_object_set(function, "description", description);
    if (schema) json_object_set(function, "parameters", schema);
    if (strict && !json_is_false(strict)) json_object_set(function, "strict", strict);
    json_array_append_new(c->tools,
                          json_pack("{s:s, s:o}", "type", "function", "function", function));
}

void tools_ignore(exchange *x, const char *type) {
    size_t len = strlen(x->ignored);
    if (is_name(type) && len + 80 < sizeof x->ignored)
        snprintf(x->ignored + len, sizeof x->ignored - len, "%stools.%s", len ? ", " : "", type);
}

/* ---- the choice -------------------------------------------------------------------------- */

void tools_choose(fields *f, chat_request *c, tool_choice choice, const char *named) {
    if (choice == TOOL_CHOICE_REQUIRED && json_array_size(c->tools) == 0)
        api_fail(f->error, "tool_choice", NULL, "'tool_choice' asks for a tool, but there is none");
    c->choice_none = choice == TOOL_CHOICE_NONE;
    c->demand.required = choice == TOOL_CHOICE_REQUIRED;
    c->demand.named = named;
}

void tools_read_choice(fields *f, chat_request *c) {
    json_t *choice = NULL;
    fields_any(f, "tool_choice", &choice);
    if (!choice || f->error->status) return;
    const char *word = json_string_value(choice),
               *type = json_string_value(json_object_get(choice, "type"));
    json_t *function = json_object_get(choice, "function");
    /* The responses' form has the name beside the type. */
    const char *named = json_string_value(json_object_get(function ? function : choice, "name"));
    if (word && strcmp(word, "auto") == 0)
        tools_choose(f, c, TOOL_CHOICE_AUTO, NULL);
    else if (word && strcmp(word, "none") == 0)
        tools_choose(f, c, TOOL_CHOICE_NONE, NULL);
    else if (word && strcmp(word, "required") == 0)
        tools_choose(f, c, TOOL_CHOICE_REQUIRED, NULL);
    else if (type && strcmp(type, "function") == 0 && named)
        tools_choose(f, c, TOOL_CHOICE_REQUIRED, named);
    else
        api_fail(f->error, "tool_choice", NULL,
                 "'tool_choice' must be auto, none, required, or a function with its name");
}

/* ---- the whole --------------------------------------------------------------------------- */

void tools_finish(fields *f, exchange *x, params *p, chat_request *c) {
    size_t n = json_array_size(c->tools);
    if (n > MAX_TOOLS)
        api_fail(f->error, "tools", NULL, "'tools' can have %d entries, not %zu", MAX_TOOLS, n);
    gguf_error err = {0};
    if (c->tools && rt_tools_check(c->tools, &err))
        api_fail(f->error, "tools", NULL, "%s", err.message);
    if (f->error->status) return;
    if (c->demand.named && !has_tool(c->tools, c->demand.named))
        api_fail(f->error, "tool_choice", NULL, "'tool_choice': there is no tool '%.64s'",
                 c->demand.named);
    if (n == 0 || c->choice_none) {
        json_decref(c->tools);
        c->tools = NULL;
    }
    if (!c->tools || f->error->status) return;
    const rt_tool_style *style = x->s->tools.style;
    if (p) {
        c->demand.tools = c->tools;
        structured_hold_calls(f, x, p, style, &c->demand);
    }
    if (p) p->tools = c->tools;
}

void tools_read(fields *f, exchange *x, params *p, chat_request *c) {
    json_t *tools = NULL;
    bool parallel = true;
    fields_array(f, "tools", &tools);
    fields_bool(f, "parallel_tool_calls", &parallel);
    c->demand.single = !parallel;
    if (tools && !f->error->status) c->tools = json_incref(tools);
    tools_read_choice(f, c);
    tools_finish(f, x, p, c);
}
