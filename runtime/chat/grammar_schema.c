/* JSON Schema: what is enforced is compiled, everything else is refused by name. Values have at
 * most one space behind a colon or a comma, since free white space lets small models run on. */
#include "runtime/chat/grammar_schema.h"
#include "runtime/chat/grammar_build.h"

#include "libgguf/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ------------------------------------------------------------------------------ */

rt_expr rt_schema_fail(schema_compiler *c, gguf_code code, const char *format, ...) {
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!c->b.code)
        c->b.code =
            gguf_fail(c->b.err, code, NULL, GGUF_NO_OFFSET, "the schema, %s: %s", c->path, text);
    return 0;
}

/* Errors of expressions within a schema say where that is. */
static rt_expr with_path(schema_compiler *c, rt_expr expr) {
    gguf_error *err = c->b.err;
    if (!c->b.code || !err || strncmp(err->message, "the schema", 10) == 0) return expr;
    char text[400];
    snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, err->message);
    snprintf(err->message, sizeof err->message, "the schema, %s: %.200s", c->path, text);
    return 0;
}

size_t rt_schema_enter(schema_compiler *c, const char *name) {
    size_t n = strlen(c->path);
    snprintf(c->path + n, sizeof c->path - n, ".%s", name);
    return n;
}

void rt_schema_leave(schema_compiler *c, size_t n) {
    c->path[n] = '\0';
}

/* ---- shared parts ------------------------------------------------------------------------ */

static rt_expr seq_of(rt_grammar_builder *b, const rt_expr *parts, size_t n) {
    rt_expr seq = rt_expr_seq(b);
    for (size_t i = 0; i < n; i++) rt_expr_add(b, seq, parts[i]);
    return seq;
}
#define SEQ(b, ...)                           \
    seq_of(b, (const rt_expr[]){__VA_ARGS__}, \
           sizeof((const rt_expr[]){__VA_ARGS__}) / sizeof(rt_expr))

static rt_expr text_of(schema_compiler *c, const char *text) {
    return rt_expr_text(&c->b, text, strlen(text));
}

static rt_expr optional(schema_compiler *c, rt_expr part) {
    return rt_expr_repeat(&c->b, part, 0, 1);
}

static rt_expr any_number_of(schema_compiler *c, rt_expr part) {
    return rt_expr_repeat(&c->b, part, 0, RT_GRAMMAR_UNLIMITED);
}

/* A comma or a colon. */
static rt_expr mark(schema_compiler *c, const char *text) {
    return SEQ(&c->b, text_of(c, text), optional(c, text_of(c, " ")));
}

static rt_expr regex(schema_compiler *c, const char *pattern, bool json) {
    return rt_regex_expr(&c->b, pattern, strlen(pattern), json, true);
}

static uint32_t rule_of(schema_compiler *c, rt_expr body) {
    uint32_t rule = rt_rule_new(&c->b, NULL, 0);
    rt_rule_define(&c->b, rule, body);
    return rule;
}

/* A character of a string, escaped or not. Halves of surrogate pairs come in pairs only. */
static rt_expr any_char(schema_compiler *c) {
    return regex(c,
                 "[^\\x00-\\x1f\"\\\\]|\\\\([\"\\\\/bfnrt]|u([0-9a-cA-CefEF][0-9a-fA-F]{3}|"
                 "[dD][0-7][0-9a-fA-F]{2}|[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F]"
                 "[0-9a-fA-F]{2}))",
                 false);
}

static void make_shared(schema_compiler *c) {
    rt_grammar_builder *b = &c->b;
    c->a_char = rule_of(c, any_char(c));
    c->a_string = rule_of(c, SEQ(b, text_of(c, "\""), any_number_of(c, rt_expr_rule(b, c->a_char)),
                                 text_of(c, "\"")));
    c->an_integer = rule_of(c, regex(c, "-?(0|[1-9][0-9]{0,17})", false));
    c->a_number = rule_of(
        c, regex(c, "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?", false));
    c->a_bool = rule_of(c, regex(c, "true|false", false));
    c->a_value = rt_rule_new(b, NULL, 0);
    rt_expr value = rt_expr_rule(b, c->a_value), comma = mark(c, ",");
    rt_expr member = SEQ(b, rt_expr_rule(b, c->a_string), mark(c, ":"), value);
    c->an_object =
        rule_of(c, SEQ(b, text_of(c, "{"),
                       optional(c, SEQ(b, member, any_number_of(c, SEQ(b, comma, member)))),
                       text_of(c, "}")));
    c->an_array = rule_of(c, SEQ(b, text_of(c, "["),
                                 optional(c, SEQ(b, value, any_number_of(c, SEQ(b, comma, value)))),
                                 text_of(c, "]")));
    rt_expr any = rt_expr_alt(b);
    const uint32_t kinds[] = {c->an_object, c->an_array, c->a_string, c->a_number, c->a_bool};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        rt_expr_add(b, any, rt_expr_rule(b, kinds[i]));
    rt_expr_add(b, any, text_of(c, "null"));
    rt_rule_define(b, c->a_value, any);
}

/* ---- keywords ---------------------------------------------------------------------------- */

enum {
    NULL_ = 1,
    BOOL = 2,
    OBJECT = 4,
    ARRAY = 8,
    NUMBER = 16,
    INTEGER = 32,
    STRING = 64,
    ANY = NULL_ | BOOL | OBJECT | ARRAY | NUMBER | STRING,
    GENERAL = 128 /* of no type */
};

static const struct {
    const char *name;
    int types; /* 0: says nothing about values */
} keywords[] = {{"title", 0},
                {"description", 0},
                {"default", 0},
                {"examples", 0},
                {"$schema", 0},
                {"$id", 0},
                {"$comment", 0},
                {"$defs", 0},
                {"definitions", 0},
                {"deprecated", 0},
                {"readOnly", 0},
                {"writeOnly", 0},
                {"type", GENERAL},
                {"enum", GENERAL},
                {"const", GENERAL},
                {"anyOf", GENERAL},
                {"oneOf", GENERAL},
                {"allOf", GENERAL},
                {"$ref", GENERAL},
                {"nullable", GENERAL},
                {"properties", OBJECT},
                {"required", OBJECT},
                {"additionalProperties", OBJECT},
                {"items", ARRAY},
                {"prefixItems", ARRAY},
                {"minItems", ARRAY},
                {"maxItems", ARRAY},
                {"minLength", STRING},
                {"maxLength", STRING},
                {"pattern", STRING},
                {"format", STRING},
                {"minimum", NUMBER},
                {"maximum", NUMBER},
                {"exclusiveMinimum", NUMBER},
                {"exclusiveMaximum", NUMBER}};

/* -1: not known. */
static int types_of_keyword(const char *name) {
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strcmp(keywords[i].name, name) == 0) return keywords[i].types;
    return -1;
}

bool rt_schema_says_nothing(const char *keyword) {
    return types_of_keyword(keyword) == 0;
}

static bool check_keywords(schema_compiler *c, const json_t *schema) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)schema, name, value) {
        if (types_of_keyword(name) >= 0) continue;
        rt_schema_fail(c, GGUF_E_UNSUPPORTED, "the keyword '%.60s' is not supported", name);
        return false;
    }
    return true;
}

/* Keywords other than `but` (up to two) that say something about values. */
static const char *find_other(const json_t *schema, const char *but, const char *but2) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)schema, name, value) if (types_of_keyword(name) != 0 &&
                                                           strcmp(name, but) != 0 &&
                                                           strcmp(name, but2) != 0) return name;
    return NULL;
}

static int type_named(schema_compiler *c, const json_t *name) {
    static const struct {
        const char *name;
        int type;
    } types[] = {{"null", NULL_},    {"boolean", BOOL},    {"object", OBJECT}, {"array", ARRAY},
                 {"number", NUMBER}, {"integer", INTEGER}, {"string", STRING}};
    const char *text = json_string_value(name);
    for (size_t i = 0; text && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, text) == 0) return types[i].type;
    rt_schema_fail(c, GGUF_E_FORMAT, "'type' must be the name of a type, or a list of such");
    return 0;
}

static int types_of(schema_compiler *c, const json_t *schema) {
    const json_t *type = json_object_get(schema, "type"), *entry;
    int types = 0;
    size_t i;
    const char *name;
    json_t *value;
    if (json_is_array(type)) {
        json_array_foreach(type, i, entry) types |= type_named(c, entry);
    } else if (type) {
        types = type_named(c, type);
    } else { /* the types that its keywords are about */
        json_object_foreach((json_t *)schema, name, value) types |= types_of_keyword(name);
        types &= ANY;
        if (!types) types = ANY;
    }
    if (json_is_true(json_object_get(schema, "nullable"))) types |= NULL_;
    return types;
}

static uint32_t count_of(schema_compiler *c, const json_t *schema, const char *name,
                         uint32_t otherwise) {
    const json_t *value = json_object_get(schema, name);
    uint64_t n = 0;
    if (!value) return otherwise;
    if (!gguf_json_u64(value, &n)) {
        rt_schema_fail(c, GGUF_E_FORMAT, "'%s' must be a whole number from 0 on", name);
        return 0;
    }
    return n < RT_GRAMMAR_UNLIMITED ? (uint32_t)n : RT_GRAMMAR_UNLIMITED - 1;
}

/* ---- values ------------------------------------------------------------------------------ */

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", "[12]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-"
             "(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"},
    {"time", "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"},
    {"date-time",
     "[12]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|"
     "02-(0[1-9]|1\\d|2[0-8]))T([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?"
     "(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"email", "[A-Za-z0-9_+-]+(\\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
              "(\\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+"},
    {"ipv4", "((25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"}};

static bool is_format(const char *name) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(formats[i].name, name) == 0) return true;
    return false;
}

static rt_expr compile_string(schema_compiler *c, const json_t *schema) {
    rt_grammar_builder *b = &c->b;
    const json_t *pattern = json_object_get(schema, "pattern"),
                 *format = json_object_get(schema, "format");
    uint32_t min = count_of(c, schema, "minLength", 0),
             max = count_of(c, schema, "maxLength", RT_GRAMMAR_UNLIMITED);
    bool has_length = min || max != RT_GRAMMAR_UNLIMITED;
    rt_expr inner = 0;
    if ((pattern && format) || ((pattern || format) && has_length))
        return rt_schema_fail(c, GGUF_E_UNSUPPORTED, "'%s' together with '%s' is not supported",
                              pattern ? "pattern" : "format",
                              pattern && format                      ? "format"
                              : json_object_get(schema, "minLength") ? "minLength"
                                                                     : "maxLength");
    if (pattern && !json_is_string(pattern))
        return rt_schema_fail(c, GGUF_E_FORMAT, "'pattern' must be a text");
    if (pattern) {
        inner =
            rt_regex_expr(b, json_string_value(pattern), json_string_length(pattern), true, false);
        with_path(c, 0);
    } else if (format) {
        const char *name = json_string_value(format);
        size_t i = 0, n = sizeof formats / sizeof formats[0];
        while (i < n && !(name && strcmp(formats[i].name, name) == 0)) i++;
        if (i == n)
            return rt_schema_fail(c, GGUF_E_UNSUPPORTED, "the format '%.60s' is not supported",
                                  name ? name : "");
        inner = regex(c, formats[i].pattern, true);
    } else {
        if (!has_length) return rt_expr_rule(b, c->a_string);
        if (max < min) return rt_expr_never(b);
        inner = rt_expr_repeat(b, rt_expr_rule(b, c->a_char), min, max);
    }
    return SEQ(b, text_of(c, "\""), inner, text_of(c, "\""));
}

static bool read_number(schema_compiler *c, const json_t *schema, const char *name, double *out) {
    const json_t *value = json_object_get(schema, name);
    if (!value) return false;
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    rt_schema_fail(c, GGUF_E_UNSUPPORTED, "'%s' must be a number", name);
    return false;
}

static rt_expr compile_number(schema_compiler *c, const json_t *schema, bool integer) {
    rt_number_bounds n = {.integer = integer};
    double value;
    n.has_min = read_number(c, schema, "minimum", &n.min);
    if (read_number(c, schema, "exclusiveMinimum", &value) && (!n.has_min || value >= n.min)) {
        n.has_min = n.min_exclusive = true;
        n.min = value;
    }
    n.has_max = read_number(c, schema, "maximum", &n.max);
    if (read_number(c, schema, "exclusiveMaximum", &value) && (!n.has_max || value <= n.max)) {
        n.has_max = n.max_exclusive = true;
        n.max = value;
    }
    if (!n.has_min && !n.has_max) return rt_expr_rule(&c->b, integer ? c->an_integer : c->a_number);
    rt_expr expr = rt_number_expr(&c->b, &n);
    with_path(c, 0);
    return expr;
}

/* ---- arrays ------------------------------------------------------------------------------ */

static rt_expr compile_array(schema_compiler *c, const json_t *schema) {
    rt_grammar_builder *b = &c->b;
    const json_t *prefix = json_object_get(schema, "prefixItems"),
                 *items = json_object_get(schema, "items");
    uint32_t min = count_of(c, schema, "minItems", 0),
             max = count_of(c, schema, "maxItems", RT_GRAMMAR_UNLIMITED);
    size_t n_prefix = json_array_size(prefix);
    if (prefix && !json_is_array(prefix))
        return rt_schema_fail(c, GGUF_E_FORMAT, "'prefixItems' must be a list");
    if (json_is_array(items))
        return rt_schema_fail(c, GGUF_E_UNSUPPORTED,
                              "'items' as a list is not supported: that is 'prefixItems' now");
    if (!prefix && !items && min == 0 && max == RT_GRAMMAR_UNLIMITED)
        return rt_expr_rule(b, c->an_array);
    if (max < min) return rt_expr_never(b);
    if (json_is_false(items) && max > n_prefix) max = (uint32_t)n_prefix;
    if (max < min) return rt_expr_never(b);
    rt_expr item = rt_expr_rule(b, c->a_value), comma = mark(c, ",");
    if (items && !json_is_false(items)) {
        size_t n = rt_schema_enter(c, "items");
        item = rt_expr_rule(b, rule_of(c, rt_schema_compile(c, items)));
        rt_schema_leave(c, n);
    }
    /* What follows the prefix, each item behind a comma. */
    uint32_t more_min = min > n_prefix ? min - (uint32_t)n_prefix : 0;
    uint32_t more_max = max == RT_GRAMMAR_UNLIMITED ? max
                        : max > n_prefix            ? max - (uint32_t)n_prefix
                                                    : 0;
    rt_expr rest;
    if (n_prefix == 0) {
        if (max == 0) return text_of(c, "[]");
        uint32_t left = more_max == RT_GRAMMAR_UNLIMITED ? more_max : more_max - 1;
        rest =
            SEQ(b, item, rt_expr_repeat(b, SEQ(b, comma, item), more_min ? more_min - 1 : 0, left));
        if (min == 0) rest = optional(c, rest);
        return SEQ(b, text_of(c, "["), rest, text_of(c, "]"));
    }
    rest = more_max ? rt_expr_repeat(b, SEQ(b, comma, item), more_min, more_max) : 0;
    for (size_t i = n_prefix; i-- > 0 && !b->code;) {
        if (i >= max) continue;
        char name[40];
        snprintf(name, sizeof name, "prefixItems[%zu]", i);
        size_t n = rt_schema_enter(c, name);
        rt_expr own = rt_schema_compile(c, json_array_get(prefix, i));
        rt_schema_leave(c, n);
        rest = i ? SEQ(b, comma, own, rest) : SEQ(b, own, rest);
        if (i >= min) rest = optional(c, rest);
        rest = rt_expr_rule(b, rule_of(c, rest));
    }
    return SEQ(b, text_of(c, "["), rest, text_of(c, "]"));
}

/* ---- one schema -------------------------------------------------------------------------- */

static rt_expr literal(schema_compiler *c, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) return rt_schema_fail(c, GGUF_E_NOMEM, "out of memory");
    rt_expr expr = rt_expr_text(&c->b, text, strlen(text));
    free(text);
    return expr;
}

static bool has_type(const json_t *value, int types) {
    double number = json_number_value(value);
    bool whole =
        json_is_integer(value) || (json_is_real(value) && number == (double)(long long)number);
    return (json_is_null(value) && types & NULL_) || (json_is_boolean(value) && types & BOOL) ||
           (json_is_object(value) && types & OBJECT) || (json_is_array(value) && types & ARRAY) ||
           (json_is_string(value) && types & STRING) || (json_is_number(value) && types & NUMBER) ||
           (whole && types & INTEGER);
}

static rt_expr compile_values(schema_compiler *c, const json_t *schema) {
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const"),
                 *value;
    size_t i;
    rt_expr any = rt_expr_alt(&c->b);
    json_t *rest = json_copy((json_t *)schema);
    json_object_del(rest, "enum");
    json_object_del(rest, "const");
    const char *other = find_other(rest, "type", "nullable");
    if (other)
        rt_schema_fail(c, GGUF_E_UNSUPPORTED, "'%.60s' together with '%s' is not supported", other,
                       list ? "enum" : "const");
    int types = json_object_get(rest, "type") ? types_of(c, rest) : ANY;
    json_decref(rest);
    if (list && !json_is_array(list))
        return rt_schema_fail(c, GGUF_E_FORMAT, "'enum' must be a list");
    if (!list) return has_type(one, types) ? literal(c, one) : rt_expr_never(&c->b);
    json_array_foreach(list, i, value) {
        if (has_type(value, types) && (!one || json_equal(one, value)))
            rt_expr_add(&c->b, any, literal(c, value));
    }
    return any;
}

static rt_expr compile_types(schema_compiler *c, const json_t *schema) {
    rt_grammar_builder *b = &c->b;
    int types = types_of(c, schema);
    rt_expr any = rt_expr_alt(b);
    if (types & OBJECT) rt_expr_add(b, any, rt_schema_object(c, schema));
    if (types & ARRAY) rt_expr_add(b, any, compile_array(c, schema));
    if (types & STRING) rt_expr_add(b, any, compile_string(c, schema));
    if (types & (NUMBER | INTEGER))
        rt_expr_add(b, any, compile_number(c, schema, !(types & NUMBER)));
    if (types & BOOL) rt_expr_add(b, any, rt_expr_rule(b, c->a_bool));
    if (types & NULL_) rt_expr_add(b, any, text_of(c, "null"));
    return any;
}

/* Alternatives, each together with what stands beside them. */
static rt_expr compile_branches(schema_compiler *c, const json_t *schema, const char *name) {
    const json_t *list = json_object_get(schema, name), *branch;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return rt_schema_fail(c, GGUF_E_FORMAT, "'%s' must be a list of schemas", name);
    json_t *rest = json_copy((json_t *)schema);
    json_array_append_new(c->owned, rest);
    json_object_del(rest, name);
    bool alone = !find_other(rest, "", "");
    rt_expr any = rt_expr_alt(&c->b);
    json_array_foreach(list, i, branch) {
        char label[40];
        snprintf(label, sizeof label, "%s[%zu]", name, i);
        size_t n = rt_schema_enter(c, label);
        const json_t *both = alone ? branch : rt_schema_merge(c, rest, branch);
        if (!c->b.code) rt_expr_add(&c->b, any, rt_schema_compile(c, both));
        rt_schema_leave(c, n);
    }
    return any;
}

static rt_expr compile_all(schema_compiler *c, const json_t *schema) {
    const json_t *list = json_object_get(schema, "allOf"), *part;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return rt_schema_fail(c, GGUF_E_FORMAT, "'allOf' must be a list of schemas");
    json_t *rest = json_copy((json_t *)schema);
    json_array_append_new(c->owned, rest);
    json_object_del(rest, "allOf");
    const json_t *all = rest;
    if (json_array_size(list) == 1 && !find_other(rest, "", ""))
        return rt_schema_compile(c, json_array_get(list, 0));
    json_array_foreach(list, i, part) if (!c->b.code) all = rt_schema_merge(c, all, part);
    return c->b.code ? 0 : rt_schema_compile(c, all);
}

/* A schema that is referred to becomes a rule, once. */
static rt_expr compile_ref(schema_compiler *c, const json_t *schema) {
    const json_t *target = rt_schema_resolve(c, json_object_get(schema, "$ref"));
    if (!target) return 0;
    if (find_other(schema, "$ref", "")) {
        json_t *rest = json_copy((json_t *)schema);
        json_array_append_new(c->owned, rest);
        json_object_del(rest, "$ref");
        const json_t *both = rt_schema_merge(c, rest, target);
        return c->b.code ? 0 : rt_schema_compile(c, both);
    }
    for (size_t i = 0; i < c->n_refs; i++)
        if (c->refs[i].target == target) return rt_expr_rule(&c->b, c->refs[i].rule);
    schema_ref *grown = realloc(c->refs, (c->n_refs + 1) * sizeof *grown);
    if (!grown) return rt_schema_fail(c, GGUF_E_NOMEM, "out of memory");
    c->refs = grown;
    uint32_t rule = rt_rule_new(&c->b, json_string_value(json_object_get(schema, "$ref")), 100);
    c->refs[c->n_refs++] = (schema_ref){target, rule};
    unsigned depth = c->depth;
    rt_rule_define(&c->b, rule, rt_schema_compile(c, target));
    c->depth = depth;
    return rt_expr_rule(&c->b, rule);
}

static rt_expr compile_object(schema_compiler *c, const json_t *schema) {
    if (!check_keywords(c, schema)) return 0;
    if (json_object_get(schema, "allOf")) return compile_all(c, schema);
    if (json_object_get(schema, "anyOf")) return compile_branches(c, schema, "anyOf");
    if (json_object_get(schema, "oneOf")) return compile_branches(c, schema, "oneOf");
    if (json_object_get(schema, "$ref")) return compile_ref(c, schema);
    if (json_object_get(schema, "enum") || json_object_get(schema, "const"))
        return compile_values(c, schema);
    if (!find_other(schema, "", "")) return rt_expr_rule(&c->b, c->a_value);
    return compile_types(c, schema);
}

rt_expr rt_schema_compile(schema_compiler *c, const json_t *schema) {
    if (c->b.code) return 0;
    if (json_is_true(schema)) return rt_expr_rule(&c->b, c->a_value);
    if (json_is_false(schema)) return rt_expr_never(&c->b);
    if (!json_is_object(schema))
        return rt_schema_fail(c, GGUF_E_FORMAT, "a schema is an object, true or false");
    if (c->depth >= RT_GRAMMAR_MAX_DEPTH)
        return rt_schema_fail(c, GGUF_E_LIMIT, "schemas are nested more than %d deep",
                              RT_GRAMMAR_MAX_DEPTH);
    c->depth++;
    rt_expr expr = compile_object(c, schema);
    c->depth--;
    return c->b.code ? 0 : expr;
}

/* ---- what is not enforced ---------------------------------------------------------------- */

static void prune(json_t *schema, const char *path, json_t *left_out, unsigned depth);

static void prune_all(json_t *all, const char *path, const char *name, json_t *left_out,
                      unsigned depth) {
    json_t *schema;
    const char *key;
    char inner[256];
    size_t i;
    json_object_foreach(all, key, schema) {
        snprintf(inner, sizeof inner, "%s.%s.%s", path, name, key);
        prune(schema, inner, left_out, depth);
    }
    json_array_foreach(all, i, schema) {
        snprintf(inner, sizeof inner, "%s.%s[%zu]", path, name, i);
        prune(schema, inner, left_out, depth);
    }
}

static void prune(json_t *schema, const char *path, json_t *left_out, unsigned depth) {
    static const char *const lists[] = {"properties", "$defs", "definitions", "prefixItems",
                                        "anyOf",      "oneOf", "allOf"};
    static const char *const single[] = {"items", "additionalProperties"};
    const char *name;
    json_t *value;
    void *next;
    char inner[256];
    if (!json_is_object(schema) || depth > RT_GRAMMAR_MAX_DEPTH) return;
    json_object_foreach_safe(schema, next, name, value) {
        const char *format = strcmp(name, "format") == 0 ? json_string_value(value) : NULL;
        if (types_of_keyword(name) >= 0 && !(format && !is_format(format))) continue;
        snprintf(inner, sizeof inner, "%s.%s", path, name);
        json_array_append_new(left_out, json_string(inner));
        json_object_del(schema, name);
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        prune_all(json_object_get(schema, lists[i]), path, lists[i], left_out, depth + 1);
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        snprintf(inner, sizeof inner, "%s.%s", path, single[i]);
        prune(json_object_get(schema, single[i]), inner, left_out, depth + 1);
    }
}

void rt_schema_prune(json_t *schema, const char *path, json_t *left_out) {
    prune(schema, path, left_out, 0);
}

/* ---- the whole --------------------------------------------------------------------------- */

/* The rules that an earlier schema of the grammar made, or new ones. */
static void share(schema_compiler *c) {
    uint32_t *const own[] = {&c->a_char, &c->a_string, &c->an_integer, &c->a_number,
                             &c->a_bool, &c->a_value,  &c->an_object,  &c->an_array};
    bool known = c->b.has_json_rules;
    if (!known) make_shared(c);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (known)
            *own[i] = c->b.json_rules[i];
        else
            c->b.json_rules[i] = *own[i];
    }
    c->b.has_json_rules = true;
}

rt_expr rt_schema_expr(rt_grammar_builder *b, const json_t *schema, const json_t *root) {
    schema_compiler c = {.b = *b, .root = root, .path = "$", .owned = json_array()};
    size_t n_bytes = json_dumpb(schema, NULL, 0, JSON_ENCODE_ANY | JSON_COMPACT);
    rt_expr expr = 0;
    if (n_bytes > RT_SCHEMA_MAX_BYTES)
        rt_schema_fail(&c, GGUF_E_LIMIT, "it has %zu bytes, %u are allowed", n_bytes,
                       RT_SCHEMA_MAX_BYTES);
    share(&c);
    expr = rt_schema_compile(&c, schema);
    json_decref(c.owned);
    free(c.refs);
    *b = c.b;
    return expr;
}

gguf_code rt_grammar_schema(const json_t *schema, rt_grammar **out, gguf_error *err) {
    rt_grammar_builder b;
    *out = NULL;
    rt_builder_init(&b, err);
    uint32_t root = rt_rule_new(&b, NULL, 0);
    rt_rule_define(&b, root, rt_schema_expr(&b, schema, schema));
    gguf_code code = rt_grammar_finish(&b, root, out);
    rt_builder_clear(&b);
    return code;
}

gguf_code rt_grammar_json_object(rt_grammar **out, gguf_error *err) {
    json_t *schema = json_pack("{s:s}", "type", "object");
    gguf_code code = rt_grammar_schema(schema, out, err);
    json_decref(schema);
    return code;
}
