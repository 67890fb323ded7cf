/* Reading recipes and applying them to a plan. */
#include "quant/recipe.h"
#include "libgguf/embed.h"
#include "libgguf/yaml.h"
#include "quant/quant.h"

#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern const gguf_embedded quant_builtin_recipes[];

#define MAX_ROLES 8

typedef enum where_kind { WHERE_ALL, WHERE_FIRST, WHERE_FIRST_SHARE, WHERE_MORE } where_kind;

/* A rule applies to a tensor when every condition that it states holds. */
typedef struct rule {
    const char *roles[MAX_ROLES]; /* glob patterns */
    size_t n_roles;
    const char *name;                /* glob pattern of the tensor's name, or NULL */
    int64_t first_layer, last_layer; /* -1 = any */
    bool output;                     /* only the output projection or its stand-in */
    where_kind where;
    uint32_t where_n; /* first N, or first n/N */
    bool by_layer; /* position = layer of n_layers; else running number among the roles' tensors */
    uint32_t n_layers, n_experts, min_gqa; /* 0 = any */
    int8_t imatrix;                        /* -1 any, 0 without, 1 with */
    uint32_t type;
} rule;

typedef struct override {
    regex_t regex;
    uint32_t type;
} override;

struct quant_recipe {
    gguf_yaml_doc *doc; /* NULL for a pure recipe */
    char name[64];
    int32_t file_type;
    uint32_t default_type;
    rule *rules;
    size_t n_rules;
    override *overrides;
    size_t n_overrides;
};

/* ---- reading ----------------------------------------------------------------------------- */

static gguf_code no_memory(gguf_error *err) {
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
}

static gguf_code read_type(const gguf_yaml_doc *doc, const gguf_yaml *node, const char *field,
                           uint32_t *type, gguf_error *err) {
    const char *name = gguf_yaml_text(node, field, "");
    const gguf_type_layout *layout = gguf_type_layout_named(name);
    if (!layout || !quant_can_encode(layout->type))
        return gguf_yaml_fail(doc, node, err, "%s '%s' is no type that can be written", field,
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

static gguf_code read_roles(const gguf_yaml_doc *doc, const gguf_yaml *node, rule *r,
                            gguf_error *err) {
    const gguf_yaml *roles = gguf_yaml_get(node, "role");
    if (!roles) return GGUF_OK;
    if (roles->kind == GGUF_YAML_SCALAR) {
        r->roles[r->n_roles++] = roles->text;
        return GGUF_OK;
    }
    if (roles->kind == GGUF_YAML_MAP || roles->n_children > MAX_ROLES)
        return gguf_yaml_fail(doc, roles, err, "role must be a name or a list of up to %d",
                              MAX_ROLES);
    for (const gguf_yaml *role = roles->first; role; role = role->next)
        r->roles[r->n_roles++] = role->text;
    return GGUF_OK;
}

static gguf_code read_where(const gguf_yaml_doc *doc, const gguf_yaml *node, rule *r,
                            gguf_error *err) {
    const char *text = gguf_yaml_text(node, "where", "");
    int end = 0;
    if (!*text) return GGUF_OK;
    if (strcmp(text, "more") == 0) {
        r->where = WHERE_MORE;
    } else if (sscanf(text, "first 1/%u%n", &r->where_n, &end) == 1 && !text[end] && r->where_n) {
        r->where = WHERE_FIRST_SHARE;
    } else if (sscanf(text, "first %u%n", &r->where_n, &end) == 1 && !text[end]) {
        r->where = WHERE_FIRST;
    } else {
        return gguf_yaml_fail(doc, node, err, "where is '%s', not 'more', 'first N' or 'first 1/N'",
                              text);
    }
    return GGUF_OK;
}

/* "5", "0-3" or "20-" (up to the last). */
static gguf_code read_layers(const gguf_yaml_doc *doc, const gguf_yaml *node, rule *r,
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
        size_t i = 0;
        while (known[i] && strcmp(known[i], field->key) != 0) i++;
        if (!known[i])
            return gguf_yaml_fail(doc, field, err, "'%s' is not a known field", field->key);
    }
    return GGUF_OK;
}

static gguf_code read_rule(const gguf_yaml_doc *doc, const gguf_yaml *node, rule *r,
                           gguf_error *err) {
    static const char *const fields[] = {"name",    "role",    "layers",   "output",
                                         "where",   "by",      "n_layers", "n_experts",
                                         "min_gqa", "imatrix", "type",     NULL};
    bool imatrix = false;
    *r = (rule){.imatrix = -1, .first_layer = -1, .name = gguf_yaml_text(node, "name", NULL)};
    gguf_code code = check_fields(doc, node, fields, err);
    if (!code) code = read_type(doc, node, "type", &r->type, err);
    if (!code) code = read_roles(doc, node, r, err);
    if (!code) code = read_layers(doc, node, r, err);
    if (!code) code = read_where(doc, node, r, err);
    if (!code) code = read_count(doc, node, "n_layers", &r->n_layers, err);
    if (!code) code = read_count(doc, node, "n_experts", &r->n_experts, err);
    if (!code) code = read_count(doc, node, "min_gqa", &r->min_gqa, err);
    if (code) return code;
    r->by_layer = strcmp(gguf_yaml_text(node, "by", ""), "layer") == 0;
    gguf_yaml_bool(gguf_yaml_get(node, "output"), &r->output);
    if (gguf_yaml_bool(gguf_yaml_get(node, "imatrix"), &imatrix)) r->imatrix = imatrix;
    return GGUF_OK;
}

static gguf_code read_doc(quant_recipe *recipe, gguf_error *err) {
    static const char *const fields[] = {"name", "file_type", "default", "rules", NULL};
    const gguf_yaml *root = gguf_yaml_root(recipe->doc);
    gguf_code code = check_fields(recipe->doc, root, fields, err);
    if (!code) code = read_type(recipe->doc, root, "default", &recipe->default_type, err);
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
    if (!recipe->rules) return no_memory(err);
    for (const gguf_yaml *node = rules ? rules->first : NULL; node && !code; node = node->next)
        code = read_rule(recipe->doc, node, &recipe->rules[recipe->n_rules++], err);
    return code;
}

static gguf_code new_recipe(gguf_yaml_doc *doc, quant_recipe **out, gguf_error *err) {
    *out = NULL;
    quant_recipe *recipe = calloc(1, sizeof *recipe);
    if (!recipe) {
        gguf_yaml_free(doc);
        return no_memory(err);
    }
    recipe->doc = doc;
    gguf_code code = doc ? read_doc(recipe, err) : GGUF_OK;
    if (code)
        quant_recipe_free(recipe);
    else
        *out = recipe;
    return code;
}

gguf_code quant_recipe_named(const char *name, quant_recipe **out, gguf_error *err) {
    *out = NULL;
    for (const gguf_embedded *entry = quant_builtin_recipes; entry->name; entry++) {
        if (strcasecmp(entry->name, name) != 0) continue;
        char file[128];
        snprintf(file, sizeof file, "configs/quant/%s.yaml", entry->name);
        return quant_recipe_parse(entry->text, entry->n_bytes, file, out, err);
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "there is no recipe '%s'", name);
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
    return code ? code : new_recipe(doc, out, err);
}

/* general.file_type of files whose matrices all have one type; -1 if there is no number for it. */
static int32_t pure_file_type(uint32_t type) {
    static const int8_t numbers[] = {
        [GGUF_TYPE_F32] = 0 + 1,     [GGUF_TYPE_F16] = 1 + 1,     [GGUF_TYPE_Q4_0] = 2 + 1,
        [GGUF_TYPE_Q4_1] = 3 + 1,    [GGUF_TYPE_Q8_0] = 7 + 1,    [GGUF_TYPE_Q5_0] = 8 + 1,
        [GGUF_TYPE_Q5_1] = 9 + 1,    [GGUF_TYPE_Q2_K] = 10 + 1,   [GGUF_TYPE_Q3_K] = 11 + 1,
        [GGUF_TYPE_Q4_K] = 14 + 1,   [GGUF_TYPE_Q5_K] = 16 + 1,   [GGUF_TYPE_Q6_K] = 18 + 1,
        [GGUF_TYPE_IQ4_NL] = 25 + 1, [GGUF_TYPE_IQ4_XS] = 30 + 1, [GGUF_TYPE_BF16] = 32 + 1,
        [GGUF_TYPE_MXFP4] = 38 + 1};
    return type < sizeof numbers ? numbers[type] - 1 : -1;
}

gguf_code quant_recipe_pure(uint32_t type, quant_recipe **out, gguf_error *err) {
    gguf_code code = new_recipe(NULL, out, err);
    if (code) return code;
    snprintf((*out)->name, sizeof(*out)->name, "%s", gguf_type_name(type));
    (*out)->default_type = type;
    (*out)->file_type = pure_file_type(type);
    return GGUF_OK;
}

void quant_recipe_free(quant_recipe *recipe) {
    if (!recipe) return;
    for (size_t i = 0; i < recipe->n_overrides; i++) regfree(&recipe->overrides[i].regex);
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

gguf_code quant_recipe_override(quant_recipe *recipe, const char *regex, uint32_t type,
                                gguf_error *err) {
    void *grown = realloc(recipe->overrides, (recipe->n_overrides + 1) * sizeof *recipe->overrides);
    if (!grown) return no_memory(err);
    recipe->overrides = grown;
    override *o = &recipe->overrides[recipe->n_overrides];
    int failed = regcomp(&o->regex, regex, REG_EXTENDED | REG_NOSUB);
    if (failed) {
        char why[128];
        regerror(failed, &o->regex, why, sizeof why);
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "'%s' is no regular expression: %s", regex, why);
    }
    o->type = type;
    recipe->n_overrides++;
    return GGUF_OK;
}

/* ---- applying ---------------------------------------------------------------------------- */

static bool has_role(const rule *r, const quant_tags *tags) {
    if (r->output && !tags->is_output) return false;
    if (r->n_roles == 0) return true;
    for (size_t i = 0; i < r->n_roles; i++)
        if (fnmatch(r->roles[i], tags->role, 0) == 0) return true;
    return false;
}

/* Number of tensors before `end` that the rule's roles match. */
static size_t count_role(const rule *r, const quant_plan *plan, size_t end) {
    size_t n = 0;
    for (size_t i = 0; i < end; i++)
        n += !plan->tensors[i].tags.keep && has_role(r, &plan->tensors[i].tags);
    return n;
}

/* llama.cpp's `use_more_bits`: the outer eighths of the layers and every third between. */
static bool in_more(size_t i, size_t n) {
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static bool in_place(const rule *r, const quant_plan *plan, size_t index) {
    if (r->where == WHERE_ALL) return true;
    const quant_tags *tags = &plan->tensors[index].tags;
    if (r->by_layer && tags->layer < 0) return false;
    size_t i = r->by_layer ? (size_t)tags->layer : count_role(r, plan, index);
    size_t n = r->by_layer ? plan->model.n_layers : count_role(r, plan, plan->n_tensors);
    switch (r->where) {
    case WHERE_FIRST:
        return i < r->where_n;
    case WHERE_FIRST_SHARE:
        return i < n / r->where_n;
    case WHERE_MORE:
        return in_more(i, n);
    case WHERE_ALL:
        break;
    }
    return true;
}

static bool rule_applies(const rule *r, const quant_plan *plan, size_t index, bool has_imatrix) {
    const quant_model_tags *model = &plan->model;
    if (r->n_layers && r->n_layers != model->n_layers) return false;
    if (r->n_experts && r->n_experts != model->n_experts) return false;
    if (r->min_gqa && model->gqa < r->min_gqa) return false;
    if (r->imatrix >= 0 && r->imatrix != has_imatrix) return false;
    const quant_plan_tensor *t = &plan->tensors[index];
    if (r->name && fnmatch(r->name, t->out.name.ptr, 0) != 0) return false;
    if (r->first_layer >= 0 && (t->tags.layer < r->first_layer || t->tags.layer > r->last_layer))
        return false;
    return has_role(r, &t->tags) && in_place(r, plan, index);
}

static const override *override_of(const quant_recipe *recipe, const char *name) {
    for (size_t i = 0; i < recipe->n_overrides; i++)
        if (regexec(&recipe->overrides[i].regex, name, 0, NULL, 0) == 0)
            return &recipe->overrides[i];
    return NULL;
}

static uint32_t choose_type(const quant_recipe *recipe, quant_plan *plan, size_t index,
                            bool has_imatrix) {
    quant_plan_tensor *t = &plan->tensors[index];
    const override *forced = override_of(recipe, t->out.name.ptr);
    t->tags.pinned = forced != NULL;
    if (forced) return forced->type;
    for (size_t i = 0; i < recipe->n_rules; i++)
        if (rule_applies(&recipe->rules[i], plan, index, has_imatrix)) return recipe->rules[i].type;
    return recipe->default_type;
}

/* What to use instead of a type whose blocks do not divide the row. */
static uint32_t fallback_of(uint32_t type) {
    switch (type) {
    case GGUF_TYPE_Q2_K:
    case GGUF_TYPE_Q3_K:
    case GGUF_TYPE_TQ1_0:
    case GGUF_TYPE_TQ2_0:
        return GGUF_TYPE_Q4_0;
    case GGUF_TYPE_Q4_K:
        return GGUF_TYPE_Q5_0;
    case GGUF_TYPE_Q5_K:
        return GGUF_TYPE_Q5_1;
    case GGUF_TYPE_Q6_K:
        return GGUF_TYPE_Q8_0;
    case GGUF_TYPE_IQ4_XS:
        return GGUF_TYPE_IQ4_NL;
    default:
        return GGUF_TYPE_F16;
    }
}

gguf_code quant_recipe_apply(const quant_recipe *recipe, quant_plan *plan, bool has_imatrix,
                             size_t *n_fallbacks, gguf_error *err) {
    size_t n_fallen = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        if (t->tags.keep) continue;
        uint32_t wanted = choose_type(recipe, plan, i, has_imatrix), type = wanted;
        while (quant_row_bytes(type, t->out.dims[0]) == 0 && type != GGUF_TYPE_F16)
            type = fallback_of(type);
        if (!quant_can_encode(type))
            return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                             "tensor '%s': %s cannot be written", t->out.name.ptr,
                             gguf_type_name(type));
        n_fallen += type != wanted;
        t->out.type = type;
    }
    if (n_fallbacks) *n_fallbacks = n_fallen;
    return GGUF_OK;
}
