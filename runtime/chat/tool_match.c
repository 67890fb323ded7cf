/* Reading one call by the pattern of its style. What is read goes from left to right only, so that
 * more text adds to what was read of less. */
#include "runtime/chat/tool_style.h"

#include <ctype.h>
#include <string.h>

/* ---- tools ------------------------------------------------------------------------------- */

const json_t *tool_find(const json_t *tools, const char *name, size_t n) {
    const json_t *tool;
    size_t i;
    json_array_foreach(tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const json_t *own = json_object_get(function, "name");
        if (json_string_length(own) == n && n && memcmp(json_string_value(own), name, n) == 0)
            return function;
    }
    return NULL;
}

static gguf_code fail_tool(gguf_error *err, size_t i, const char *what) {
    return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "tools[%zu]%s", i, what);
}

static bool in_name(char ch) {
    return isalnum((unsigned char)ch) || ch == '_' || ch == '-' || ch == '.';
}

static bool is_name(const char *name) {
    size_t n = 0;
    while (name && in_name(name[n])) n++;
    return n > 0 && n <= 64 && !name[n];
}

bool tool_begins_name(const json_t *tools, const char *text, size_t n) {
    const json_t *tool;
    size_t i;
    json_array_foreach(tools, i, tool) {
        const json_t *own = json_object_get(json_object_get(tool, "function"), "name");
        size_t len = json_string_length(own), same = len < n ? len : n;
        if (len && memcmp(json_string_value(own), text, same) == 0 &&
            (n <= len || !in_name(text[len])))
            return true;
    }
    return false;
}

gguf_code rt_tools_check(const json_t *tools, gguf_error *err) {
    const json_t *own;
    size_t i;
    if (!json_is_array(tools))
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "tools must be a list");
    json_array_foreach(tools, i, own) {
        const char *type = json_string_value(json_object_get(own, "type"));
        const json_t *function = json_object_get(own, "function"),
                     *name = json_object_get(function, "name"),
                     *schema = json_object_get(function, "parameters"),
                     *strict = json_object_get(function, "strict"),
                     *description = json_object_get(function, "description");
        if (!type || strcmp(type, "function") != 0)
            return fail_tool(err, i, ": the type must be function");
        if (!json_is_object(function)) return fail_tool(err, i, " has no function");
        if (!is_name(json_string_value(name)))
            return fail_tool(err, i, ": a name has 1 to 64 letters, digits, '_', '.' and '-'");
        if (tool_find(tools, json_string_value(name), json_string_length(name)) != function)
            return fail_tool(err, i, ": there is another tool of this name");
        if (schema && !json_is_null(schema) && !json_is_object(schema))
            return fail_tool(err, i, ": the parameters must be a JSON schema");
        if (strict && !json_is_null(strict) && !json_is_boolean(strict))
            return fail_tool(err, i, ": 'strict' must be true or false");
        if (description && !json_is_null(description) && !json_is_string(description))
            return fail_tool(err, i, ": the description must be a text");
    }
    return GGUF_OK;
}

static bool is_type(const json_t *schema, const char *name) {
    const char *type = json_string_value(json_object_get(schema, "type"));
    return type && strcmp(type, name) == 0;
}

bool tool_is_text(const json_t *schema) {
    const json_t *values = json_object_get(schema, "enum"), *value;
    size_t i;
    if (is_type(schema, "string")) return !json_is_true(json_object_get(schema, "nullable"));
    if (json_object_get(schema, "type") || !json_array_size(values))
        return json_is_string(json_object_get(schema, "const"));
    json_array_foreach(values, i, value) if (!json_is_string(value)) return false;
    return true;
}

void tool_call_init(tool_call *call) {
    *call = (tool_call){0};
    gguf_dynbuf_init(&call->name, SIZE_MAX / 4);
    gguf_dynbuf_init(&call->id, SIZE_MAX / 4);
    gguf_dynbuf_init(&call->arguments, SIZE_MAX / 4);
}

void tool_call_clear(tool_call *call) {
    gguf_dynbuf_clear(&call->name);
    gguf_dynbuf_clear(&call->id);
    gguf_dynbuf_clear(&call->arguments);
}

/* ---- slots ------------------------------------------------------------------------------- */

typedef struct reading {
    const rt_tool_style *style;
    const json_t *tools;
    tool_cursor *c;
    tool_call *call;
    const json_t *function; /* the tool */
    const json_t *schema;   /* of the object or list whose parameters are read */
    bool in_list;
    unsigned depth; /* values around it */
} reading;

/* Values within values. */
#define MAX_NESTED 32

static tool_fit set_name(reading *r, const char *name, size_t n) {
    r->function = tool_find(r->tools, name, n);
    if (!r->function) return TOOL_NO;
    r->schema = json_object_get(r->function, "parameters");
    r->call->name.len = 0;
    gguf_dynbuf_put(&r->call->name, name, n);
    r->call->is_named = true;
    return TOOL_YES;
}

static tool_fit fit_name(reading *r) {
    tool_cursor *c = r->c;
    size_t from = c->at;
    while (c->at < c->n && in_name(c->text[c->at])) c->at++;
    if (c->at == c->n) return TOOL_MORE;
    /* A dot may belong to what follows: f.call */
    for (size_t end = c->at; end > from; end--) {
        if (end < c->at && c->text[end] != '.') continue;
        if (set_name(r, c->text + from, end - from) != TOOL_YES) continue;
        c->at = end;
        return TOOL_YES;
    }
    return TOOL_NO;
}

static tool_fit fit_id(reading *r) {
    tool_cursor *c = r->c;
    size_t from = c->at;
    while (c->at < c->n && (in_name(c->text[c->at]) || c->text[c->at] == ':')) c->at++;
    if (c->at == c->n) return TOOL_MORE;
    r->call->id.len = 0;
    gguf_dynbuf_put(&r->call->id, c->text + from, c->at - from);
    return TOOL_YES;
}

/* Up to a text: *n bytes, or without it as many as cannot belong to it. */
static tool_fit fit_until(const tool_cursor *c, gguf_str end, size_t *n) {
    const char *from = c->text + c->at, *found = memmem(from, c->n - c->at, end.ptr, end.len);
    size_t left = c->n - c->at, part = end.len - 1 < left ? end.len - 1 : left;
    *n = found ? (size_t)(found - from) : left;
    if (found) return TOOL_YES;
    while (part && memcmp(from + left - part, end.ptr, part) != 0) part--;
    *n -= part;
    return TOOL_MORE;
}

/* The text behind a slot up to its first white space: what ends the slot. */
static gguf_str end_of(const tool_pattern *p, size_t i) {
    gguf_str text = p->pieces[i + 1].text;
    size_t n = 0;
    while (n < text.len && text.ptr[n] != ' ' && text.ptr[n] != '\n') n++;
    return (gguf_str){text.ptr, n ? n : text.len};
}

static tool_fit fit_arguments(reading *r) {
    tool_cursor *c = r->c;
    tool_skip_space(c);
    if (c->at == c->n) return TOOL_MORE;
    size_t from = c->at;
    if (c->text[from] != '{') return TOOL_NO;
    tool_fit fit = tool_fit_json(c);
    if (fit != TOOL_NO)
        gguf_dynbuf_put(&r->call->arguments, c->text + from,
                        (fit == TOOL_YES ? c->at : c->n) - from);
    return fit;
}

/* Arguments that were written as a text with JSON in it. */
static bool take_inner(reading *r, const char *text, size_t n) {
    json_t *value = json_loadb(text, n, JSON_DECODE_ANY, NULL);
    const char *inner = json_string_value(value);
    if (inner) gguf_dynbuf_put(&r->call->arguments, inner, json_string_length(value));
    json_decref(value);
    return inner != NULL;
}

static bool is_key(const char *text, size_t n, const char *key) {
    return key && n == strlen(key) + 2 && memcmp(text + 1, key, n - 2) == 0;
}

/* The value of a member; its key stands in quotes. */
static tool_fit fit_member(reading *r, const char *key, size_t n_key) {
    tool_cursor *c = r->c;
    tool_skip_space(c);
    if (c->at == c->n) return TOOL_MORE;
    size_t from = c->at;
    bool quoted = c->text[from] == '"';
    if (is_key(key, n_key, r->style->arguments_key) && !quoted) {
        /* The tool must be known before its arguments are told. */
        tool_fit fit = fit_arguments(r);
        if (fit == TOOL_MORE && !r->call->is_named) r->call->arguments.len = 0;
        return fit;
    }
    tool_fit fit = tool_fit_json(c);
    if (fit != TOOL_YES) return fit;
    if (is_key(key, n_key, r->style->arguments_key))
        return take_inner(r, c->text + from, c->at - from) ? TOOL_YES : TOOL_NO;
    if (is_key(key, n_key, r->style->name_key))
        return quoted ? set_name(r, c->text + from + 1, c->at - from - 2) : TOOL_NO;
    if (is_key(key, n_key, r->style->id_key) && quoted) {
        r->call->id.len = 0;
        gguf_dynbuf_put(&r->call->id, c->text + from + 1, c->at - from - 2);
    }
    return TOOL_YES;
}

static tool_fit fit_object(reading *r) {
    tool_cursor *c = r->c;
    tool_fit fit = tool_fit_text(c, gguf_str_of("{"));
    for (bool more = true; more && fit == TOOL_YES;) {
        tool_skip_space(c);
        if (c->at == c->n) return TOOL_MORE;
        size_t key = c->at;
        if (c->text[key] != '"') return TOOL_NO;
        fit = tool_fit_json(c);
        size_t n_key = c->at - key;
        if (fit == TOOL_YES) fit = tool_fit_text(c, gguf_str_of(":"));
        if (fit == TOOL_YES) fit = fit_member(r, c->text + key, n_key);
        if (fit != TOOL_YES) return fit;
        tool_skip_space(c);
        if (c->at == c->n) return TOOL_MORE;
        more = c->text[c->at] == ',';
        fit = more || c->text[c->at] == '}' ? TOOL_YES : TOOL_NO;
        c->at++;
    }
    if (fit == TOOL_YES && !r->call->is_named) return TOOL_NO;
    if (fit == TOOL_YES && r->call->arguments.len == 0)
        gguf_dynbuf_put_text(&r->call->arguments, "{}");
    return fit;
}

/* ---- arguments one by one ---------------------------------------------------------------- */

static void put_key(reading *r, const char *key, size_t n) {
    gguf_dynbuf *out = &r->call->arguments;
    bool first = out->len && (out->data[out->len - 1] == '{' || out->data[out->len - 1] == '[');
    if (!first) gguf_dynbuf_put_text(out, ", ");
    if (r->in_list) return;
    gguf_dynbuf_put_text(out, "\"");
    tool_put_escaped(out, key, n);
    gguf_dynbuf_put_text(out, "\": ");
}

static const json_t *schema_of(const reading *r, const char *key, size_t n) {
    if (r->in_list) return json_object_get(r->schema, "items");
    return json_object_getn(json_object_get(r->schema, "properties"), key, n);
}

/* Whether a value that was written as JSON is meant as such. */
static bool admits(const json_t *schema, const json_t *value) {
    const json_t *types = json_object_get(schema, "type"), *type;
    static const char *const names[] = {"object", "array",   "string",  "integer",
                                        "number", "boolean", "boolean", "null"};
    const char *own = names[json_typeof(value)];
    size_t i;
    if (json_is_string(value)) return false;
    if (!types) return true;
    if (json_is_string(types))
        return strcmp(json_string_value(types), own) == 0 ||
               (json_is_number(value) && is_type(schema, "number")) ||
               (json_is_real(value) && is_type(schema, "integer")) ||
               (json_is_null(value) && json_is_true(json_object_get(schema, "nullable")));
    json_array_foreach(types, i, type) {
        const char *name = json_string_value(type);
        if (name && (strcmp(name, own) == 0 || (json_is_number(value) && !strcmp(name, "number"))))
            return true;
    }
    return false;
}

/* A raw value that is complete: JSON where the schema asks for that, otherwise a text. */
static void put_value(reading *r, const char *text, size_t n, const json_t *schema) {
    gguf_dynbuf *out = &r->call->arguments;
    size_t from = 0, end = n;
    while (from < end && isspace((unsigned char)text[from])) from++;
    while (end > from && isspace((unsigned char)text[end - 1])) end--;
    gguf_str word = {text + from, end - from};
    const char *python = gguf_str_eq(word, "True")    ? "true"
                         : gguf_str_eq(word, "False") ? "false"
                         : gguf_str_eq(word, "None")  ? "null"
                                                      : NULL;
    json_t *value = python ? json_loads(python, JSON_DECODE_ANY, NULL)
                           : json_loadb(word.ptr, word.len, JSON_DECODE_ANY, NULL);
    if (value && admits(schema, value)) {
        if (python)
            gguf_dynbuf_put_text(out, python);
        else
            gguf_dynbuf_put(out, word.ptr, word.len);
    } else {
        gguf_dynbuf_put(out, "\"", 1);
        tool_put_escaped(out, text, n);
        gguf_dynbuf_put(out, "\"", 1);
    }
    json_decref(value);
}

/* Of a text that goes on: what is certain of it. A newline before its end is not part of it. */
static void put_part(reading *r, const char *text, size_t n, bool newline_behind) {
    if (newline_behind && n && text[n - 1] == '\n') n--;
    gguf_dynbuf_put(&r->call->arguments, "\"", 1);
    tool_put_escaped(&r->call->arguments, text, n);
}

/* A parameter: what its pattern finds. */
typedef struct parameter {
    const char *key, *type, *value;
    size_t n_key, n_type;
} parameter;

/* JSON whose strings may have in them what ends a value; n is what stands before that. */
static tool_fit fit_inner_json(const tool_cursor *c, gguf_str end, size_t *n) {
    tool_cursor inner = *c;
    tool_skip_space(&inner);
    if (inner.at == inner.n) return TOOL_MORE;
    if (!strchr("[{\"", inner.text[inner.at])) return TOOL_NO;
    tool_fit fit = tool_fit_json(&inner);
    *n = inner.at - c->at;
    return fit == TOOL_YES ? tool_fit_text(&inner, end) : fit;
}

static tool_fit fit_members(reading *r);

/* A value that is parameters again: a list or an object. NO: it is another value. */
static tool_fit fit_nested(reading *r, const json_t *schema) {
    tool_cursor *c = r->c, key = *c;
    const reading around = *r;
    const tool_piece *pieces = r->style->parameter.pieces;
    tool_fit fit = tool_fit_text(&key, pieces[0].text);
    size_t left = key.n - key.at, n_item = strlen(r->style->item);
    if (fit != TOOL_YES) return fit;
    if (left && key.text[key.at] == '/') return TOOL_NO;
    bool begins = memcmp(key.text + key.at, r->style->item, left < n_item ? left : n_item) == 0;
    if (begins && left <= n_item) return TOOL_MORE;
    bool is_item = begins && key.text[key.at + n_item] == *pieces[2].text.ptr;
    if (++r->depth > MAX_NESTED) return TOOL_NO;
    r->in_list = is_type(schema, "array") || (is_item && !is_type(schema, "object"));
    r->schema = schema;
    gguf_dynbuf_put_text(&r->call->arguments, r->in_list ? "[" : "{");
    fit = fit_members(r);
    if (fit == TOOL_YES) gguf_dynbuf_put_text(&r->call->arguments, r->in_list ? "]" : "}");
    *r = around;
    return fit;
}

/* A value that is not a text: as parameters, as JSON, or raw. */
static tool_fit fit_other_value(reading *r, const json_t *schema, gguf_str mark, size_t *n,
                                bool *nested) {
    size_t len = r->call->arguments.len;
    tool_fit fit = r->style->item ? fit_nested(r, schema) : TOOL_NO;
    *nested = r->call->arguments.len > len;
    tool_cursor behind = *r->c;
    if (*nested) return fit == TOOL_YES ? tool_fit_text(&behind, mark) : fit;
    return fit == TOOL_NO ? fit_inner_json(r->c, mark, n) : fit;
}

static void put_empty(reading *r, const json_t *schema) {
    gguf_dynbuf_put_text(&r->call->arguments, is_type(schema, "array") ? "[]" : "{}");
}

static bool may_be_empty(const reading *r, const json_t *schema) {
    return r->style->item && (is_type(schema, "array") || is_type(schema, "object"));
}

static bool is_blank(const char *text, size_t n) {
    while (n && isspace((unsigned char)text[n - 1])) n--;
    return n == 0;
}

static tool_fit fit_value(reading *r, const tool_pattern *p, size_t i, const parameter *a) {
    tool_cursor *c = r->c;
    const tool_piece *piece = &p->pieces[i];
    if (piece->newline_before && c->at == c->n) return TOOL_MORE;
    if (piece->newline_before && c->text[c->at] == '\n') c->at++;
    size_t n = 0;
    const json_t *schema = schema_of(r, a->key, a->n_key);
    gguf_str type = {a->type, a->n_type};
    bool is_text =
        a->type ? gguf_str_eq(type, "true") || gguf_str_eq(type, "string") : tool_is_text(schema);
    /* Where the key comes again behind the value, it belongs to what ends it. */
    gguf_dynbuf end;
    gguf_dynbuf_init(&end, SIZE_MAX / 4);
    gguf_str text = end_of(p, i);
    gguf_dynbuf_put(&end, text.ptr, text.len);
    if (i + 2 < p->n && p->pieces[i + 2].slot == TOOL_KEY) gguf_dynbuf_put(&end, a->key, a->n_key);
    gguf_str mark = {(const char *)end.data, end.len};
    bool nested = false;
    tool_fit fit = is_text ? TOOL_NO : fit_other_value(r, schema, mark, &n, &nested);
    if (fit == TOOL_NO && !nested) fit = fit_until(c, mark, &n);
    gguf_dynbuf_clear(&end);
    if (nested) return fit;
    const char *from = c->text + c->at;
    if (fit == TOOL_MORE) {
        if (is_text) put_part(r, from, n, piece->newline_behind);
        return fit;
    }
    c->at += n;
    if (n && piece->newline_behind && from[n - 1] == '\n') n--;
    if (is_text) {
        put_part(r, from, n, false);
        gguf_dynbuf_put(&r->call->arguments, "\"", 1);
    } else if (is_blank(from, n) && may_be_empty(r, schema)) {
        put_empty(r, schema);
    } else {
        put_value(r, from, n, a->type ? NULL : schema);
    }
    return TOOL_YES;
}

/* *begun: there is one, right or wrong. */
static tool_fit fit_parameter(reading *r, bool *begun) {
    const tool_pattern *p = &r->style->parameter;
    tool_cursor *c = r->c;
    parameter a = {0};
    *begun = false;
    for (size_t i = 0; i < p->n; i++) {
        const tool_piece *piece = &p->pieces[i];
        tool_fit fit = TOOL_YES;
        size_t n = 0;
        if (piece->slot == TOOL_TEXT) {
            fit = tool_fit_text(c, piece->text);
        } else if (piece->slot == TOOL_VALUE) {
            fit = fit_value(r, p, i, &a);
        } else if (piece->slot == TOOL_KEY && a.key) {
            c->at += a.n_key;
        } else {
            fit = fit_until(c, end_of(p, i), &n);
            if (fit == TOOL_YES && piece->slot == TOOL_KEY) {
                if (c->text[c->at] == '/') return TOOL_NO;
                *begun = true;
                a.key = c->text + c->at;
                a.n_key = n;
                put_key(r, a.key, n);
            } else if (fit == TOOL_YES) {
                a.type = c->text + c->at;
                a.n_type = n;
            }
            if (fit == TOOL_YES) c->at += n;
        }
        if (fit != TOOL_YES) return fit;
    }
    return TOOL_YES;
}

/* Any number of parameters; the text behind them ends them. */
static tool_fit fit_members(reading *r) {
    for (;;) {
        size_t at = r->c->at;
        bool begun;
        tool_fit fit = fit_parameter(r, &begun);
        if (fit == TOOL_MORE || (fit == TOOL_NO && begun)) return fit;
        if (fit == TOOL_NO) {
            r->c->at = at;
            return TOOL_YES;
        }
    }
}

static tool_fit fit_parameters(reading *r) {
    gguf_dynbuf_put_text(&r->call->arguments, "{");
    tool_fit fit = fit_members(r);
    if (fit == TOOL_YES) gguf_dynbuf_put_text(&r->call->arguments, "}");
    return fit;
}

/* key=value, ... up to a bracket. */
static tool_fit fit_keywords(reading *r) {
    tool_cursor *c = r->c;
    gguf_dynbuf *out = &r->call->arguments;
    gguf_dynbuf_put(out, "{", 1);
    for (;;) {
        tool_skip_space(c);
        if (c->at == c->n) return TOOL_MORE;
        if (c->text[c->at] == ')') break;
        if (out->len > 1) {
            if (c->text[c->at] != ',') return TOOL_NO;
            c->at++;
            tool_skip_space(c);
        }
        size_t key = c->at;
        while (c->at < c->n && (in_name(c->text[c->at]))) c->at++;
        if (c->at == c->n) return TOOL_MORE;
        if (c->at == key) return TOOL_NO;
        size_t n = c->at - key;
        tool_fit fit = tool_fit_text(c, gguf_str_of("="));
        if (fit != TOOL_YES) return fit;
        put_key(r, c->text + key, n);
        fit = tool_fit_literal(c, (gguf_str){0}, out);
        if (fit != TOOL_YES) return fit;
    }
    gguf_dynbuf_put(out, "}", 1);
    return TOOL_YES;
}

static tool_fit fit_bare(reading *r) {
    tool_skip_space(r->c);
    if (r->c->at == r->c->n) return TOOL_MORE;
    if (r->c->text[r->c->at] != '{') return TOOL_NO;
    return tool_fit_literal(r->c, r->style->quote, &r->call->arguments);
}

/* ---- the call ---------------------------------------------------------------------------- */

static tool_fit fit_piece(reading *r, const tool_pattern *p, size_t i) {
    size_t n;
    tool_fit fit;
    switch (p->pieces[i].slot) {
    case TOOL_TEXT:
        return tool_fit_text(r->c, p->pieces[i].text);
    case TOOL_NAME:
        return fit_name(r);
    case TOOL_ID:
        return fit_id(r);
    case TOOL_ARGUMENTS:
        return fit_arguments(r);
    case TOOL_OBJECT:
        return fit_object(r);
    case TOOL_PARAMETERS:
        return fit_parameters(r);
    case TOOL_KEYWORDS:
        return fit_keywords(r);
    case TOOL_BARE:
        return fit_bare(r);
    default:
        fit = fit_until(r->c, end_of(p, i), &n);
        r->c->at += fit == TOOL_YES ? n : 0;
        return fit;
    }
}

static bool is_object(const gguf_dynbuf *text) {
    json_t *json = json_loadb((const char *)text->data, text->len, 0, NULL);
    bool is = json_is_object(json);
    json_decref(json);
    return is;
}

tool_fit tool_fit_call(const rt_tool_style *style, const tool_pattern *pattern, const json_t *tools,
                       tool_cursor *c, tool_call *call) {
    reading r = {.style = style, .tools = tools, .c = c, .call = call};
    call->name.len = call->id.len = call->arguments.len = 0;
    call->is_named = false;
    for (size_t i = 0; i < pattern->n; i++) {
        tool_fit fit = fit_piece(&r, pattern, i);
        if (fit != TOOL_YES) return fit;
    }
    return is_object(&call->arguments) ? TOOL_YES : TOOL_NO;
}
