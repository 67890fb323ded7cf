/* Checking a YAML tree against a table of the fields that it may have. */
#include "libgguf/near.h"
#include "libgguf/yaml.h"

#include <stdio.h>
#include <string.h>

typedef struct checker {
    const gguf_yaml_doc *doc;
    gguf_error *err;
} checker;

/* ---- names ------------------------------------------------------------------------------- */

static gguf_code fail_unknown(const checker *k, const gguf_yaml *node,
                              const gguf_yaml_field *fields, const char *what) {
    char names[300] = "", hint[160];
    size_t n = 0;
    gguf_near near = {.wanted = node->key};
    for (const gguf_yaml_field *f = fields; f->name; f++) gguf_near_add(&near, f->name);
    if (near.n)
        return gguf_yaml_fail(k->doc, node, k->err, "line %u, column %u: %s has no field '%s'%s",
                              node->line, node->column, what, node->key,
                              gguf_near_hint(&near, hint, sizeof hint));
    for (const gguf_yaml_field *f = fields; f->name && n < sizeof names; f++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", f->name);
    return gguf_yaml_fail(k->doc, node, k->err,
                          "line %u, column %u: %s has no field '%s' (there are %s)", node->line,
                          node->column, what, node->key, names);
}

/* ---- values ------------------------------------------------------------------------------ */

static bool is_flag(const gguf_yaml *node) {
    bool flag;
    return gguf_yaml_bool(node, &flag);
}

static bool is_number(const gguf_yaml *node) {
    double number;
    return gguf_yaml_f64(node, &number);
}

static bool is_count(const gguf_yaml *node) {
    int64_t number;
    return gguf_yaml_i64(node, &number) && number >= 0;
}

/* A scalar that is one of the words, if there is a list of them. */
static bool is_text(const gguf_yaml *node, const gguf_yaml_field *field) {
    if (node->kind != GGUF_YAML_SCALAR) return false;
    const char *const *word = field->words;
    while (word && *word && strcmp(*word, node->text) != 0) word++;
    return !word || *word;
}

static bool are_texts(const gguf_yaml *node, const gguf_yaml_field *field) {
    bool good = node->kind == GGUF_YAML_LIST && node->n_children >= field->least &&
                (!field->most || node->n_children <= field->most);
    for (const gguf_yaml *child = node->first; child && good; child = child->next)
        good = is_text(child, field);
    return good;
}

static bool are_values(const gguf_yaml *node) {
    bool good = node->kind == GGUF_YAML_MAP;
    for (const gguf_yaml *child = node->first; child && good; child = child->next)
        good = child->kind == GGUF_YAML_SCALAR;
    return good;
}

static bool fits(const gguf_yaml *node, const gguf_yaml_field *field) {
    switch (field->form) {
    case GGUF_YAML_TEXT:
        return is_text(node, field);
    case GGUF_YAML_FLAG:
        return is_flag(node);
    case GGUF_YAML_NUMBER:
        return is_number(node);
    case GGUF_YAML_COUNT:
        return is_count(node);
    case GGUF_YAML_TEXTS:
        return are_texts(node, field);
    case GGUF_YAML_ANY_TEXTS:
        return is_text(node, field) || are_texts(node, field);
    case GGUF_YAML_VALUES:
        return are_values(node);
    case GGUF_YAML_RECORD:
        return node->kind == GGUF_YAML_MAP;
    default:
        return node->kind == GGUF_YAML_LIST;
    }
}

/* What a value should have been, e.g. "one of u32, f32" or "a list of 2 values". */
static void form_text(const gguf_yaml_field *field, char *out, size_t room) {
    static const char *const names[] = {"one value",
                                        "true or false",
                                        "a number",
                                        "a whole number from 0 on",
                                        "a list of values",
                                        "a value or a list of values",
                                        "a map of names and values",
                                        "a map",
                                        "a list of maps"};
    bool is_list = field->form == GGUF_YAML_TEXTS;
    const char *form = names[field->form];
    if (field->words) form = is_list ? "a list of" : "one of";
    size_t n = (size_t)snprintf(out, room, "%s", form);
    for (const char *const *word = field->words; word && *word && n < room; word++)
        n += (size_t)snprintf(out + n, room - n, "%s %s", word == field->words ? "" : ",", *word);
    if (field->most && n < room)
        snprintf(out + n, room - n, field->least == field->most ? ", %u in all" : ", %u to %u",
                 field->least, field->most);
}

static gguf_code fail_form(const checker *k, const gguf_yaml *node, const gguf_yaml_field *field) {
    char form[200];
    form_text(field, form, sizeof form);
    return gguf_yaml_fail(k->doc, node, k->err, "line %u, column %u: '%s' must be %s", node->line,
                          node->column, field->name, form);
}

/* ---- maps -------------------------------------------------------------------------------- */

static gguf_code check_map(const checker *k, const gguf_yaml *map, const gguf_yaml_field *fields,
                           const char *what);

static gguf_code check_field(const checker *k, const gguf_yaml *node,
                             const gguf_yaml_field *field) {
    gguf_code code = GGUF_OK;
    if (!fits(node, field)) return fail_form(k, node, field);
    if (field->form == GGUF_YAML_RECORD) return check_map(k, node, field->fields, field->what);
    if (field->form != GGUF_YAML_RECORDS) return GGUF_OK;
    for (const gguf_yaml *child = node->first; child && !code; child = child->next)
        code = check_map(k, child, field->fields, field->what);
    return code;
}

static gguf_code check_needed(const checker *k, const gguf_yaml *map, const gguf_yaml_field *fields,
                              const char *what) {
    for (const gguf_yaml_field *f = fields; f->name; f++)
        if (f->needed && !gguf_yaml_get(map, f->name))
            return gguf_yaml_fail(k->doc, map, k->err, "line %u, column %u: %s has no '%s'",
                                  map->line, map->column, what, f->name);
    return GGUF_OK;
}

static gguf_code check_map(const checker *k, const gguf_yaml *map, const gguf_yaml_field *fields,
                           const char *what) {
    if (map->kind != GGUF_YAML_MAP)
        return gguf_yaml_fail(k->doc, map, k->err,
                              "line %u, column %u: %s must be a map of fields and values",
                              map->line, map->column, what);
    gguf_code code = GGUF_OK;
    for (const gguf_yaml *node = map->first; node && !code; node = node->next) {
        const gguf_yaml_field *field = fields;
        while (field->name && strcmp(field->name, node->key) != 0) field++;
        code = field->name ? check_field(k, node, field) : fail_unknown(k, node, fields, what);
    }
    return code ? code : check_needed(k, map, fields, what);
}

gguf_code gguf_yaml_check(const gguf_yaml_doc *doc, const gguf_yaml *map,
                          const gguf_yaml_field *fields, const char *what, gguf_error *err) {
    const checker k = {doc, err};
    return check_map(&k, map, fields, what);
}
