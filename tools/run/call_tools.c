/* Reading tools, and calls in answers. */
#include "tools/run/call_tools.h"

#include "libgguf/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gguf_code read_tools(const char *file, json_t **out, gguf_error *err) {
    json_t *root = NULL;
    gguf_code code = gguf_json_load(file, GGUF_JSON_EXACT_INTS, &root, err);
    if (code) return code;
    json_t *list = json_is_object(root) ? json_object_get(root, "tools") : root;
    *out = json_incref(list);
    json_decref(root);
    code = rt_tools_check(*out, err);
    if (!code && json_array_size(*out) == 0)
        code = gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "there are no tools in it");
    return code;
}

static void warn_left_out(tool *t, const json_t *left_out) {
    const json_t *path;
    size_t i;
    json_array_foreach(left_out, i, path)
        tool_warn(t, "%s is not enforced", json_string_value(path));
}

gguf_code call_tools_open(call_tools *c, tool *t, const run_opts *o, rt_conversation *talk,
                          gguf_error *err) {
    gguf_code code = rt_tool_styles_new(&c->styles, err);
    if (code) return code;
    if (talk->tpl) c->markers = rt_tool_styles_reasoning(c->styles, rt_template_source(talk->tpl));
    if (!o->tools_file) return GGUF_OK;
    gguf_dynbuf_init(&c->text, SIZE_MAX / 4);
    gguf_dynbuf_init(&c->arguments, SIZE_MAX / 4);
    code = read_tools(o->tools_file, &c->tools, err);
    json_t *left_out = json_array();
    rt_tool_demand demand = {.tools = c->tools};
    if (!code) code = rt_tool_probe(c->styles, talk->tpl, talk->variables, &c->use, err);
    if (!code) code = rt_grammar_tools(c->use.style, &demand, left_out, &c->grammar, err);
    if (code && !err->file[0]) snprintf(err->file, sizeof err->file, "%s", o->tools_file);
    if (!code) {
        warn_left_out(t, left_out);
        if (t->verbose) tool_note(t, "calls of tools: %s", rt_tool_style_name(c->use.style));
        talk->use = &c->use;
        talk->tools = c->tools;
    }
    json_decref(left_out);
    return code;
}

void call_tools_clear(call_tools *c) {
    rt_call_parser_clear(&c->parser);
    gguf_dynbuf_clear(&c->text);
    gguf_dynbuf_clear(&c->arguments);
    json_decref(c->calls);
    json_decref(c->tools);
    rt_grammar_unref(c->grammar);
    rt_tool_styles_free(c->styles);
    *c = (call_tools){0};
}

void call_tools_apply(const call_tools *c, rt_answer_opts *opts) {
    opts->markers = c->markers;
    if (!c->tools) return;
    opts->call_channel = rt_tool_style_is_channel(c->use.style);
    if (!opts->call_channel) opts->marks = rt_tool_style_marks(c->use.style);
    opts->grammar = c->grammar;
}

/* ---- answers ----------------------------------------------------------------------------- */

static void print_call(call_tools *c, const char *name) {
    bool in_line = c->text.len && c->text.data[c->text.len - 1] != '\n';
    if (in_line || json_array_size(c->calls) > 1)
        run_print_part(gguf_str_of("\n"), false, &c->reasoning);
    run_print_part(gguf_str_of("call "), false, &c->reasoning);
    run_print_part(gguf_str_of(name), false, &c->reasoning);
    run_print_part(gguf_str_of(" "), false, &c->reasoning);
    run_print_part((gguf_str){(const char *)c->arguments.data, c->arguments.len}, false,
                   &c->reasoning);
}

static void end_call(call_tools *c) {
    json_t *last = json_array_get(c->calls, json_array_size(c->calls) - 1);
    json_t *function = json_object_get(last, "function");
    json_object_set_new(function, "arguments",
                        json_loadb((const char *)c->arguments.data, c->arguments.len, 0, NULL));
    if (c->prints) print_call(c, json_string_value(json_object_get(function, "name")));
}

static void on_event(void *ctx, const rt_call_event *e) {
    call_tools *c = ctx;
    char id[16];
    switch (e->kind) {
    case RT_CALL_TEXT:
        gguf_dynbuf_put(&c->text, e->text.ptr, e->text.len);
        if (c->prints) run_print_part(e->text, false, &c->reasoning);
        break;
    case RT_CALL_BEGIN:
        if (!c->calls) c->calls = json_array();
        /* Some templates want ids of nine letters and digits. */
        snprintf(id, sizeof id, "call%05u", c->n_calls++ % 100000);
        json_array_append_new(c->calls,
                              json_pack("{s:s, s:s, s:{s:s%}}", "id", id, "type", "function",
                                        "function", "name", e->name.ptr, e->name.len));
        c->arguments.len = 0;
        break;
    case RT_CALL_ARGUMENTS:
        gguf_dynbuf_put(&c->arguments, e->text.ptr, e->text.len);
        break;
    default:
        end_call(c);
        break;
    }
}

void call_tools_begin(call_tools *c, const rt_tokenizer *tok, const rt_ids *prompt, bool prints) {
    rt_call_parser_clear(&c->parser);
    json_decref(c->calls);
    c->calls = NULL;
    c->text.len = 0;
    c->reasoning = false;
    c->prints = prints;
    rt_call_parser_init(&c->parser, c->use.style, c->tools, false, on_event, c);
    rt_call_parser_put(&c->parser, rt_tool_style_begun(c->use.style, tok, prompt->data, prompt->n));
}

void call_tools_put(call_tools *c, gguf_str text) {
    rt_call_parser_put(&c->parser, text);
}

void call_tools_end(call_tools *c) {
    rt_call_parser_end(&c->parser);
}
