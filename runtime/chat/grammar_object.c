/* JSON schemas of objects. The properties come in the order of the schema; behind each one stands
 * what may follow it as a rule, so that any number of optional properties takes a few states each.
 */
#include "runtime/chat/grammar_schema.h"
#include "runtime/chat/token_table.h"

#include <stdlib.h>
#include <string.h>

typedef struct names {
    const char **items;
    size_t n;
} names;

static rt_expr text_of(schema_compiler *c, const char *text) {
    return rt_expr_text(&c->b, text, strlen(text));
}

static rt_expr mark(schema_compiler *c, const char *text) {
    rt_expr seq = rt_expr_seq(&c->b);
    rt_expr_add(&c->b, seq, text_of(c, text));
    rt_expr_add(&c->b, seq, rt_expr_repeat(&c->b, text_of(c, " "), 0, 1));
    return seq;
}

static rt_expr pair(schema_compiler *c, rt_expr a, rt_expr b) {
    rt_expr seq = rt_expr_seq(&c->b);
    rt_expr_add(&c->b, seq, a);
    rt_expr_add(&c->b, seq, b);
    return seq;
}

/* ---- keys that are not declared ---------------------------------------------------------- */

static bool is_plain(const char *text) {
    for (; *text; text++)
        if (!rt_byte_is_plain((uint8_t)*text)) return false;
    return true;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A part of the sorted names that begin alike, and the rule for the rest of a key that does. */
typedef struct branch {
    size_t first, end, depth;
    uint32_t rule;
} branch;

/* The rest of a key behind what the branch has in common. Appends the branches within. */
static rt_expr other_rest(schema_compiler *c, const names *all, branch at, uint32_t anything,
                          branch *todo, size_t *n_todo) {
    rt_grammar_builder *b = &c->b;
    rt_expr any = rt_expr_alt(b);
    rt_char_range others[128];
    size_t n_others = 0, i = at.first;
    if (i < at.end && !all->items[i][at.depth])
        i++; /* this is a name, it may not end here */
    else
        rt_expr_add(b, any, text_of(c, "\""));
    for (uint32_t ch = 0x20; ch < 0x7F; ch++) {
        size_t first = i;
        if (!rt_byte_is_plain((uint8_t)ch)) continue;
        while (i < at.end && (uint8_t)all->items[i][at.depth] == ch) i++;
        if (i == first) {
            others[n_others++] = (rt_char_range){ch, ch};
            continue;
        }
        uint32_t rule = rt_rule_new(b, NULL, 0);
        todo[(*n_todo)++] = (branch){first, i, at.depth + 1, rule};
        rt_expr_add(b, any,
                    pair(c, rt_expr_class(b, &(rt_char_range){ch, ch}, 1), rt_expr_rule(b, rule)));
    }
    if (n_others)
        rt_expr_add(b, any, pair(c, rt_expr_class(b, others, n_others), rt_expr_rule(b, anything)));
    return any;
}

/* A key that none of the names is. It is written in plain ASCII characters, so that no name comes
 * in another spelling. */
static rt_expr other_key(schema_compiler *c, const names *declared) {
    static const rt_char_range plain[] = {{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x7E}};
    rt_grammar_builder *b = &c->b;
    size_t n_chars = 1, n_todo = 0;
    names all = {.items = malloc((declared->n + 1) * sizeof *all.items)};
    for (size_t i = 0; all.items && i < declared->n; i++)
        if (is_plain(declared->items[i])) {
            all.items[all.n++] = declared->items[i];
            n_chars += strlen(declared->items[i]) + 1;
        }
    branch *todo = malloc(n_chars * sizeof *todo);
    rt_expr key = 0;
    if (all.n == 0) {
        key = rt_expr_rule(b, c->a_string);
    } else if (all.items && todo) {
        qsort(all.items, all.n, sizeof *all.items, by_text);
        uint32_t anything = rt_rule_new(b, NULL, 0);
        rt_rule_define(b, anything,
                       pair(c,
                            rt_expr_repeat(b, rt_expr_class(b, plain, 3), 0, RT_GRAMMAR_UNLIMITED),
                            text_of(c, "\"")));
        todo[n_todo++] = (branch){0, all.n, 0, rt_rule_new(b, NULL, 0)};
        key = pair(c, text_of(c, "\""), rt_expr_rule(b, todo[0].rule));
        while (n_todo && !b->code) {
            branch at = todo[--n_todo];
            rt_rule_define(b, at.rule, other_rest(c, &all, at, anything, todo, &n_todo));
        }
    } else {
        rt_schema_fail(c, GGUF_E_NOMEM, "out of memory");
    }
    free(all.items);
    free(todo);
    return key;
}

/* ---- properties -------------------------------------------------------------------------- */

/* Behind the properties: further ones, and the end. */
static void end_of(schema_compiler *c, const json_t *more, const names *declared, rt_expr *first,
                   rt_expr *rest) {
    rt_grammar_builder *b = &c->b;
    *first = *rest = text_of(c, "}");
    if (!more) return;
    size_t n = rt_schema_enter(c, "additionalProperties");
    rt_expr member = pair(c, other_key(c, declared), mark(c, ":"));
    member = rt_expr_as_rule(&c->b, pair(c, member, rt_schema_compile(c, more)));
    rt_schema_leave(c, n);
    rt_expr others = rt_expr_repeat(b, pair(c, mark(c, ","), member), 0, RT_GRAMMAR_UNLIMITED);
    rt_expr end = text_of(c, "}");
    *rest = rt_expr_as_rule(&c->b, pair(c, others, end));
    *first = rt_expr_as_rule(&c->b, pair(c, rt_expr_repeat(b, pair(c, member, others), 0, 1), end));
}

/* "name": value */
static rt_expr member_of(schema_compiler *c, const char *name, const json_t *schema) {
    json_t *key = json_string(name);
    char *text = json_dumps(key, JSON_ENCODE_ANY);
    rt_expr member = 0;
    size_t n = rt_schema_enter(c, name);
    if (text)
        member = rt_expr_as_rule(
            &c->b, pair(c, pair(c, text_of(c, text), mark(c, ":")), rt_schema_compile(c, schema)));
    else
        rt_schema_fail(c, GGUF_E_NOMEM, "out of memory");
    rt_schema_leave(c, n);
    free(text);
    json_decref(key);
    return member;
}

/* `first` is what may stand behind the opening bracket, `rest` what may follow a property. */
static void put_before(schema_compiler *c, rt_expr member, bool required, rt_expr *first,
                       rt_expr *rest) {
    rt_grammar_builder *b = &c->b;
    rt_expr follow = pair(c, member, *rest), with_comma = pair(c, mark(c, ","), follow);
    if (required) {
        *first = rt_expr_as_rule(&c->b, follow);
        *rest = rt_expr_as_rule(&c->b, with_comma);
        return;
    }
    rt_expr either = rt_expr_alt(b), any = rt_expr_alt(b);
    rt_expr_add(b, either, follow);
    rt_expr_add(b, either, *first);
    rt_expr_add(b, any, with_comma);
    rt_expr_add(b, any, *rest);
    *first = rt_expr_as_rule(&c->b, either);
    *rest = rt_expr_as_rule(&c->b, any);
}

/* The declared properties, and those that are only required; *needed has the latter as keys. */
static json_t *all_properties(schema_compiler *c, const json_t *schema, const json_t *more,
                              json_t **needed) {
    const json_t *required = json_object_get(schema, "required"), *entry,
                 *properties = json_object_get(schema, "properties");
    size_t i;
    if ((properties && !json_is_object(properties)) || (required && !json_is_array(required))) {
        rt_schema_fail(c, GGUF_E_FORMAT, "'properties' is an object, 'required' a list of names");
        return NULL;
    }
    json_t *all = properties ? json_copy((json_t *)properties) : json_object();
    *needed = json_object();
    json_array_append_new(c->owned, all);
    json_array_append_new(c->owned, *needed);
    json_array_foreach(required, i, entry) {
        const char *name = json_string_value(entry);
        if (!name) {
            rt_schema_fail(c, GGUF_E_FORMAT, "'required' is a list of names");
            return NULL;
        }
        json_object_set_new(*needed, name, json_true());
        if (json_object_get(all, name)) continue;
        json_object_set_new(all, name, more ? json_incref((json_t *)more) : json_false());
    }
    return all;
}

rt_expr rt_schema_object(schema_compiler *c, const json_t *schema) {
    const json_t *more = json_object_get(schema, "additionalProperties");
    json_t *required = NULL;
    bool declares = json_object_get(schema, "properties") != NULL;
    json_t *anything = json_true();
    if (!more && !declares) more = anything;
    if (json_is_false(more)) more = NULL;
    json_t *all = all_properties(c, schema, more, &required);
    names declared = {0};
    rt_expr first, rest, object = 0;
    if (all) declared.items = malloc((json_object_size(all) + 1) * sizeof *declared.items);
    if (declared.items) {
        const char *name;
        json_t *value;
        json_object_foreach(all, name, value) declared.items[declared.n++] = name;
        end_of(c, more, &declared, &first, &rest);
        for (size_t i = declared.n; i-- > 0 && !c->b.code;) {
            size_t n = rt_schema_enter(c, "properties");
            name = declared.items[i];
            rt_expr member = member_of(c, name, json_object_get(all, name));
            put_before(c, member, json_object_get(required, name) != NULL, &first, &rest);
            rt_schema_leave(c, n);
        }
        object = pair(c, text_of(c, "{"), first);
    } else if (all) {
        rt_schema_fail(c, GGUF_E_NOMEM, "out of memory");
    }
    free(declared.items);
    return object;
}
