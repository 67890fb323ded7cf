/* Reading recipes. */
#include "quant/recipe_internal.h"

#include "libgguf/embed.h"
#include "libgguf/near.h"
#include "quant/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern const gguf_embedded quant_builtin_recipes[];

static gguf_code read_type(const gguf_yaml_doc *doc, const gguf_yaml *node, const char *field,
                           uint32_t *type, gguf_error *err) {
    const char *name = gguf_yaml_text(node, field, "");
    const gguf_type_layout *layout = gguf_type_layout_named(name);
    if (!layout || !quant_can_encode(layout->type))
        return gguf_yaml_fail(doc, node, err, "%s is '%s', not a type that can be written", field,
                              name);
    *type = layout->type;
    return GGUF_OK;
}

static gguf_code read_count(const gguf_yaml_doc *doc, const gguf_yaml *node, const char *field,
                            uint32_t *count, gguf_error *err) {
    const gguf_yaml *value = gguf_yaml_get(node, field);
    int64_t n = 0;
    if (value && (!gguf_yaml_i64(value, &n) || n < 1 || n > 1000000))
        return gguf_yaml_fail(doc, value, err, "%s must be a number from 1", field);
    *count = (uint32_t)n;
    return GGUF_OK;
}

static gguf_code read_roles(const gguf_yaml_doc *doc, const gguf_yaml *node, recipe_rule *r,
                            gguf_error *err) {
    const gguf_yaml *roles = gguf_yaml_get(node, "role");
    if (!roles) return GGUF_OK;
    if (roles->kind == GGUF_YAML_SCALAR) {
        r->roles[r->n_roles++] = roles->text;
        return GGUF_OK;
    }
    if (roles->kind == GGUF_YAML_MAP || roles->n_children > RECIPE_MAX_ROLES)
        return gguf_yaml_fail(doc, roles, err, "role must be a name or a list of up to %d",
                              RECIPE_MAX_ROLES);
    for (const gguf_yaml *role = roles->first; role; role = role->next) {
        if (role->kind != GGUF_YAML_SCALAR)
            return gguf_yaml_fail(doc, role, err, "a role must be a name");
        r->roles[r->n_roles++] = role->text;
    }
    return GGUF_OK;
}

static gguf_code read_where(const gguf_yaml_doc *doc, const gguf_yaml *node, recipe_rule *r,
                            gguf_error *err) {
    const char *text = gguf_yaml_text(node, "where", "");
    int end = 0;
    if (!*text) return GGUF_OK;
    if (strcmp(text, "more") == 0) {
        r->where = WHERE_MORE;
    } else if (strcmp(text, "middle") == 0) {
        r->where = WHERE_MIDDLE;
    } else if (sscanf(text, "first 1/%u%n", &r->where_n, &end) == 1 && !text[end] && r->where_n) {
        r->where = WHERE_FIRST_SHARE;
    } else if (sscanf(text, "first %u%n", &r->where_n, &end) == 1 && !text[end]) {
        r->where = WHERE_FIRST;
    } else {
        return gguf_yaml_fail(
            doc, node, err, "where is '%s', not 'more', 'middle', 'first N' or 'first 1/N'", text);
    }
    return GGUF_OK;
}

/* "5", "0-3" or "20-" (up to the last). */
static gguf_code read_layers(const gguf_yaml_doc *doc, const gguf_yaml *node, recipe_rule *r,
                             gguf_error *err) {
    const char *text = gguf_yaml_text(node, "layers", NULL);
    unsigned first = 0, last = 0;
    int end = 0;
    if (!text) return GGUF_OK;
    if (sscanf(text, "%u-%u%n", &first, &last, &end) == 2 && !text[end]) {
        r->last_layer = last;
    } else if (sscanf(text, "%u-%n", &first, &end) == 1 && end && !text[end]) {
        r->last_layer = INT32_MAX;
    } else if (sscanf(text, "%u%n", &first, &end) == 1 && !text[end]) {
        r->last_layer = first;
    } else {
        return gguf_yaml_fail(doc, gguf_yaml_get(node, "layers"), err,
                              "layers is '%s', not 'N', 'A-B' or 'A-'", text);
    }
    r->first_layer = first;
    return GGUF_OK;
}

static gguf_code check_fields(const gguf_yaml_doc *doc, const gguf_yaml *node,
                              const char *const *known, gguf_error *err) {
    if (node->kind != GGUF_YAML_MAP) return gguf_yaml_fail(doc, node, err, "a map is expected");
    for (const gguf_yaml *field = node->first; field; field = field->next) {
        gguf_near near = {.wanted = field->key};
        char hint[160];
        size_t i = 0;
        while (known[i] && strcmp(known[i], field->key) != 0) gguf_near_add(&near, known[i++]);
        if (!known[i])
            return gguf_yaml_fail(doc, field, err, "'%s' is not a known field%s", field->key,
                                  gguf_near_hint(&near, hint, sizeof hint));
    }
    return GGUF_OK;
}

static gguf_code read_flag(const gguf_yaml_doc *doc, const gguf_yaml *node, const char *field,
                           bool *flag, gguf_error *err) {
    const gguf_yaml *value = gguf_yaml_get(node, field);
    if (!value || gguf_yaml_bool(value, flag)) return GGUF_OK;
    return gguf_yaml_fail(doc, value, err, "%s must be true or false", field);
}

/* `by` tells how `where` counts. */
static gguf_code read_by(const gguf_yaml_doc *doc, const gguf_yaml *node, recipe_rule *r,
                         gguf_error *err) {
    const gguf_yaml *by = gguf_yaml_get(node, "by");
    if (!by) return GGUF_OK;
    r->by_layer = strcmp(by->text, "layer") == 0;
    if (!r->by_layer) return gguf_yaml_fail(doc, by, err, "by is '%s', not 'layer'", by->text);
    if (r->where != WHERE_ALL) return GGUF_OK;
    return gguf_yaml_fail(doc, by, err, "'by' needs 'where'");
}

static gguf_code read_rule(const gguf_yaml_doc *doc, const gguf_yaml *node, recipe_rule *r,
                           gguf_error *err) {
    static const char *const fields[] = {
        "name",      "role",        "layers",  "output",  "where",    "by",   "n_layers",
        "n_experts", "min_experts", "min_gqa", "imatrix", "optional", "type", NULL};
    bool imatrix = false;
    *r = (recipe_rule){.imatrix = -1, .first_layer = -1, .node = node};
    r->name = gguf_yaml_text(node, "name", NULL);
    gguf_code code = check_fields(doc, node, fields, err);
    if (!code) code = read_type(doc, node, "type", &r->type, err);
    if (!code) code = read_roles(doc, node, r, err);
    if (!code) code = read_layers(doc, node, r, err);
    if (!code) code = read_where(doc, node, r, err);
    if (!code) code = read_count(doc, node, "n_layers", &r->n_layers, err);
    if (!code) code = read_count(doc, node, "n_experts", &r->n_experts, err);
    if (!code) code = read_count(doc, node, "min_experts", &r->min_experts, err);
    if (!code) code = read_count(doc, node, "min_gqa", &r->min_gqa, err);
    if (!code) code = read_by(doc, node, r, err);
    if (!code) code = read_flag(doc, node, "output", &r->output, err);
    if (!code) code = read_flag(doc, node, "imatrix", &imatrix, err);
    if (!code) code = read_flag(doc, node, "optional", &r->optional, err);
    if (gguf_yaml_get(node, "imatrix")) r->imatrix = imatrix;
    return code;
}

static gguf_code read_doc(quant_recipe *recipe, gguf_error *err) {
    static const char *const fields[] = {"name",  "file_type", "default", "pure", "demands_imatrix",
                                         "rules", NULL};
    const gguf_yaml *root = gguf_yaml_root(recipe->doc);
    gguf_code code = check_fields(recipe->doc, root, fields, err);
    if (!code) code = read_type(recipe->doc, root, "default", &recipe->default_type, err);
    recipe->pure_type = recipe->default_type;
    if (!code)
        code = read_flag(recipe->doc, root, "demands_imatrix", &recipe->demands_imatrix, err);
    if (!code && gguf_yaml_get(root, "pure"))
        code = read_type(recipe->doc, root, "pure", &recipe->pure_type, err);
    if (code) return code;
    snprintf(recipe->name, sizeof recipe->name, "%s", gguf_yaml_text(root, "name", "custom"));
    int64_t file_type = -1;
    const gguf_yaml *file_type_node = gguf_yaml_get(root, "file_type");
    if (file_type_node && (!gguf_yaml_i64(file_type_node, &file_type) || file_type < 0))
        return gguf_yaml_fail(recipe->doc, file_type_node, err,
                              "file_type must be a number from 0");
    recipe->file_type = (int32_t)file_type;
    const gguf_yaml *rules = gguf_yaml_get(root, "rules");
    if (rules && rules->kind != GGUF_YAML_LIST)
        return gguf_yaml_fail(recipe->doc, rules, err, "rules must be a list");
    recipe->rules = calloc(rules ? rules->n_children + 1 : 1, sizeof *recipe->rules);
    if (!recipe->rules) return gguf_fail_memory(err);
    for (const gguf_yaml *node = rules ? rules->first : NULL; node && !code; node = node->next)
        code = read_rule(recipe->doc, node, &recipe->rules[recipe->n_rules++], err);
    return code;
}

static gguf_code new_recipe(gguf_yaml_doc *doc, quant_recipe **out, gguf_error *err) {
    *out = NULL;
    quant_recipe *recipe = calloc(1, sizeof *recipe);
    if (!recipe) {
        gguf_yaml_free(doc);
        return gguf_fail_memory(err);
    }
    recipe->doc = doc;
    gguf_code code = doc ? read_doc(recipe, err) : GGUF_OK;
    if (code)
        quant_recipe_free(recipe);
    else
        *out = recipe;
    return code;
}

/* The recipe that a name of llama-quantize stands for. */
static const char *full_name(const char *name) {
    static const char *const short_names[][2] = {
        {"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    const char *by_number = NULL;
    for (size_t i = 0; i < sizeof short_names / sizeof short_names[0]; i++)
        if (strcasecmp(name, short_names[i][0]) == 0) return short_names[i][1];
    if (*name >= '0' && *name <= '9' && !*end) by_number = quant_recipe_of_file_type(number);
    return by_number ? by_number : name;
}

static gguf_code fail_name(const char *name, gguf_error *err) {
    gguf_near near = {.wanted = name};
    char hint[160];
    for (const gguf_embedded *entry = quant_builtin_recipes; entry->name; entry++)
        gguf_near_add(&near, entry->name);
    gguf_near_hint(&near, hint, sizeof hint);
    const gguf_type_layout *layout = gguf_type_layout_named(name);
    if (!layout)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "there is no recipe or type '%s'%s", name, hint);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     quant_can_encode(layout->type) ? "%s is the type of a tensor, not a recipe%s"
                                                    : "%s can be read but not written%s",
                     layout->name, hint);
}

gguf_code quant_recipe_named(const char *name, quant_recipe **out, gguf_error *err) {
    const char *full = full_name(name);
    *out = NULL;
    for (const gguf_embedded *entry = quant_builtin_recipes; entry->name; entry++) {
        if (strcasecmp(entry->name, full) != 0) continue;
        char file[128];
        snprintf(file, sizeof file, "configs/quant/%s.yaml", entry->name);
        return quant_recipe_parse(entry->text, entry->n_bytes, file, out, err);
    }
    return fail_name(name, err);
}

gguf_code quant_recipe_parse(const char *text, size_t len, const char *file, quant_recipe **out,
                             gguf_error *err) {
    gguf_yaml_doc *doc;
    *out = NULL;
    gguf_code code = gguf_yaml_parse(text, len, file, &doc, err);
    return code ? code : new_recipe(doc, out, err);
}

gguf_code quant_recipe_load(const char *path, quant_recipe **out, gguf_error *err) {
    gguf_yaml_doc *doc;
    *out = NULL;
    gguf_code code = gguf_yaml_load(path, &doc, err);
    if (!code) code = new_recipe(doc, out, err);
    if (!code) (*out)->from_user = true;
    return code;
}

gguf_code quant_recipe_pure(uint32_t type, quant_recipe **out, gguf_error *err) {
    gguf_code code = new_recipe(NULL, out, err);
    if (code) return code;
    snprintf((*out)->name, sizeof(*out)->name, "%s", gguf_type_name(type));
    (*out)->default_type = type;
    (*out)->file_type = quant_type_file_type(type);
    return GGUF_OK;
}

gguf_code quant_recipe_pure_named(const char *name, quant_recipe **out, gguf_error *err) {
    quant_recipe *mix;
    const gguf_type_layout *layout = gguf_type_layout_named(name);
    gguf_error why = {0};
    gguf_code code = quant_recipe_named(name, &mix, &why);
    if (code && layout && quant_can_encode(layout->type))
        return quant_recipe_pure(layout->type, out, err);
    if (code) return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "%s", why.message);
    code = quant_recipe_pure(mix->pure_type, out, err);
    if (!code) (*out)->file_type = mix->file_type;
    quant_recipe_free(mix);
    return code;
}

void quant_recipe_free(quant_recipe *recipe) {
    if (!recipe) return;
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        gguf_pattern_free(recipe->overrides[i].pattern);
        free(recipe->overrides[i].text);
    }
    free(recipe->overrides);
    free(recipe->rules);
    gguf_yaml_free(recipe->doc);
    free(recipe);
}

const char *quant_recipe_name(const quant_recipe *recipe) {
    return recipe->name;
}

int32_t quant_recipe_file_type(const quant_recipe *recipe) {
    return recipe->file_type;
}

const char *quant_recipe_builtin(size_t i) {
    size_t n = 0;
    while (quant_builtin_recipes[n].name) n++;
    return i < n ? quant_builtin_recipes[i].name : NULL;
}

const char *quant_recipe_of_file_type(uint64_t file_type) {
    const char *found = NULL;
    for (const gguf_embedded *entry = quant_builtin_recipes; entry->name && !found; entry++) {
        gguf_yaml_doc *doc;
        int64_t number;
        if (gguf_yaml_parse(entry->text, entry->n_bytes, entry->name, &doc, NULL)) continue;
        if (gguf_yaml_i64(gguf_yaml_get(gguf_yaml_root(doc), "file_type"), &number) &&
            number == (int64_t)file_type)
            found = entry->name;
        gguf_yaml_free(doc);
    }
    return found;
}

gguf_code quant_recipe_override(quant_recipe *recipe, const char *label, const char *regex,
                                uint32_t type, gguf_error *err) {
    void *grown = realloc(recipe->overrides, (recipe->n_overrides + 1) * sizeof *recipe->overrides);
    if (!grown) return gguf_fail_memory(err);
    recipe->overrides = grown;
    recipe_override *o = &recipe->overrides[recipe->n_overrides];
    *o = (recipe_override){.type = type, .text = strdup(regex)};
    snprintf(o->label, sizeof o->label, "%s", label);
    gguf_code code =
        o->text ? gguf_pattern_new(label, regex, true, &o->pattern, err) : gguf_fail_memory(err);
    if (code)
        free(o->text);
    else
        recipe->n_overrides++;
    return code;
}
