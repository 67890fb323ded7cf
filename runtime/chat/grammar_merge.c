/* References within a schema, and schemas that hold together. */
#include "runtime/chat/grammar_schema.h"

#include <stdlib.h>
#include <string.h>

/* ---- references -------------------------------------------------------------------------- */

/* One part of a JSON pointer in a URI, to its end; false: it is none. */
static bool read_part(const char **at, char *out, size_t room) {
    size_t n = 0;
    for (; **at && **at != '/'; ++*at) {
        char c = **at;
        if (c == '%') {
            char hex[3] = {(*at)[1], (*at)[1] ? (*at)[2] : '\0', '\0'}, *end;
            c = (char)strtol(hex, &end, 16);
            if (end != hex + 2 || !c) return false;
            *at += 2;
        } else if (c == '~') {
            c = (*at)[1] == '0' ? '~' : '/';
            if ((*at)[1] != '0' && (*at)[1] != '1') return false;
            ++*at;
        }
        if (n + 1 >= room) return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

const json_t *rt_schema_resolve(schema_compiler *c, const json_t *ref) {
    const char *text = json_string_value(ref), *at = text;
    const json_t *target = c->root;
    char part[256];
    if (!text || text[0] != '#' || (text[1] && text[1] != '/')) {
        rt_schema_fail(c, GGUF_E_UNSUPPORTED,
                       "'$ref': only references within the schema (#/...) are supported, not "
                       "'%.60s'",
                       text ? text : "");
        return NULL;
    }
    at++;
    while (target && *at == '/') {
        at++;
        if (!read_part(&at, part, sizeof part))
            target = NULL;
        else if (json_is_array(target))
            target = json_array_get(target, (size_t)strtoul(part, NULL, 10));
        else
            target = json_object_get(target, part);
    }
    if (!target) rt_schema_fail(c, GGUF_E_FORMAT, "'$ref': there is no '%.100s'", text);
    return target;
}

/* ---- merging ----------------------------------------------------------------------------- */

#define MAX_CHAIN  32
#define MAX_MERGED 10000

static bool clash(schema_compiler *c, const char *name) {
    rt_schema_fail(c, GGUF_E_UNSUPPORTED,
                   "'%.60s' stands in several schemas that hold together, which is not supported",
                   name);
    return false;
}

static json_t *as_list(const json_t *value) {
    return json_is_array(value) ? json_incref((json_t *)value) : json_pack("[O]", (json_t *)value);
}

static bool list_has(const json_t *list, const json_t *value) {
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry) if (json_equal(entry, value)) return true;
    return false;
}

static json_t *merge_types(const json_t *a, const json_t *b) {
    json_t *x = as_list(a), *y = as_list(b), *out = json_array(), *entry;
    json_t *number = json_string("number"), *integer = json_string("integer");
    size_t i;
    json_array_foreach(x, i, entry) if (list_has(y, entry)) json_array_append(out, entry);
    bool narrowed = (list_has(x, number) && list_has(y, integer)) ||
                    (list_has(y, number) && list_has(x, integer));
    if (narrowed && !list_has(out, integer) && !list_has(out, number))
        json_array_append(out, integer);
    json_decref(number);
    json_decref(integer);
    json_decref(x);
    json_decref(y);
    return out;
}

static json_t *merge_required(const json_t *a, const json_t *b) {
    json_t *out = json_copy((json_t *)a), *entry;
    size_t i;
    json_array_foreach((json_t *)b, i, entry) if (!list_has(out, entry))
        json_array_append(out, entry);
    return out;
}

static json_t *merge_properties(const json_t *a, const json_t *b) {
    json_t *out = json_copy((json_t *)a), *value;
    const char *name;
    json_object_foreach((json_t *)b, name, value) {
        json_t *known = json_object_get(out, name);
        if (known && !json_equal(known, value))
            json_object_set_new(out, name, json_pack("{s:[O, O]}", "allOf", known, value));
        else
            json_object_set(out, name, value);
    }
    return out;
}

/* The tighter of two bounds. */
static json_t *merge_bounds(const char *name, const json_t *a, const json_t *b) {
    bool is_min = strncmp(name, "min", 3) == 0 || strcmp(name, "exclusiveMinimum") == 0;
    bool a_first = json_number_value(a) > json_number_value(b);
    return json_incref((json_t *)(is_min == a_first ? a : b));
}

static bool is_bound(const char *name) {
    static const char *const bounds[] = {"minimum",          "maximum",   "exclusiveMinimum",
                                         "exclusiveMaximum", "minLength", "maxLength",
                                         "minItems",         "maxItems"};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (strcmp(name, bounds[i]) == 0) return true;
    return false;
}

static bool merge_keyword(schema_compiler *c, json_t *into, const char *name, json_t *value) {
    json_t *known = json_object_get(into, name), *both = NULL;
    if (rt_schema_says_nothing(name) || (known && json_equal(known, value))) return true;
    if (!known)
        both = json_incref(value);
    else if (strcmp(name, "type") == 0)
        both = merge_types(known, value);
    else if (strcmp(name, "required") == 0 && json_is_array(known) && json_is_array(value))
        both = merge_required(known, value);
    else if (strcmp(name, "properties") == 0 && json_is_object(known) && json_is_object(value))
        both = merge_properties(known, value);
    else if (is_bound(name) && json_is_number(known) && json_is_number(value))
        both = merge_bounds(name, known, value);
    else
        return clash(c, name);
    json_object_set_new(into, name, both);
    return true;
}

/* Whether a schema closes its objects against properties that only the other one declares. */
static bool closes(const json_t *a, const json_t *b) {
    const json_t *more = json_object_get(a, "additionalProperties"),
                 *own = json_object_get(a, "properties");
    const char *name;
    json_t *value;
    if (!more || json_is_true(more)) return false;
    json_object_foreach(json_object_get(b, "properties"), name, value) {
        if (!json_object_get(own, name)) return true;
    }
    return false;
}

/* Whether the items of one are those behind the other's prefix only if they stand together. */
static bool moves_items(const json_t *a, const json_t *b) {
    return json_object_get(a, "prefixItems") &&
           (json_object_get(b, "items") || json_object_get(b, "prefixItems"));
}

/* The schema that a chain of mere references ends at, with nothing beside them. */
static const json_t *follow(schema_compiler *c, const json_t *schema) {
    for (unsigned i = 0; i < MAX_CHAIN && !c->b.code; i++) {
        const json_t *ref = json_object_get(schema, "$ref");
        const char *name;
        json_t *value;
        if (!ref) return schema;
        json_object_foreach((json_t *)schema, name, value) {
            if (strcmp(name, "$ref") == 0 || rt_schema_says_nothing(name)) continue;
            clash(c, "$ref");
            return NULL;
        }
        schema = rt_schema_resolve(c, ref);
    }
    if (!c->b.code) rt_schema_fail(c, GGUF_E_FORMAT, "'$ref': the references go in a circle");
    return NULL;
}

const json_t *rt_schema_merge(schema_compiler *c, const json_t *a, const json_t *b) {
    const char *name;
    json_t *value;
    if (++c->n_merged > MAX_MERGED)
        rt_schema_fail(c, GGUF_E_LIMIT, "more than %d schemas hold together with others",
                       MAX_MERGED);
    b = follow(c, b);
    if (!b) return NULL;
    if (json_is_true(b)) return a;
    if (json_is_false(b)) return b;
    if (!json_is_object(b)) {
        rt_schema_fail(c, GGUF_E_FORMAT, "a schema is an object, true or false");
        return NULL;
    }
    if (closes(a, b) || closes(b, a)) {
        clash(c, "additionalProperties");
        return NULL;
    }
    if (moves_items(a, b) || moves_items(b, a)) {
        clash(c, "prefixItems");
        return NULL;
    }
    json_t *both = json_copy((json_t *)a);
    json_array_append_new(c->owned, both);
    json_object_foreach((json_t *)b, name, value) {
        if (!merge_keyword(c, both, name, value)) return NULL;
    }
    return both;
}
