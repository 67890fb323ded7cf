/* Applying recipes to a plan, and telling which of their rules had no effect. */
#include "quant/quant.h"
#include "quant/recipe_internal.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static bool has_role(const recipe_rule *r, const quant_tags *tags) {
    if (r->output && !tags->is_output) return false;
    if (r->n_roles == 0) return true;
    for (size_t i = 0; i < r->n_roles; i++)
        if (fnmatch(r->roles[i], tags->role, 0) == 0) return true;
    return false;
}

/* Number of tensors before `end` that the rule's roles match. */
static size_t count_role(const recipe_rule *r, const quant_plan *plan, size_t end) {
    size_t n = 0;
    for (size_t i = 0; i < end; i++)
        n += !plan->tensors[i].tags.keep && has_role(r, &plan->tensors[i].tags);
    return n;
}

/* llama.cpp's `use_more_bits`: the outer eighths of the layers and every third between. */
static bool in_more(size_t i, size_t n) {
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static bool in_place(const recipe_rule *r, const quant_plan *plan, size_t index) {
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
    case WHERE_MIDDLE:
        return i >= n / 8 && i < 7 * n / 8;
    case WHERE_ALL:
        break;
    }
    return true;
}

static bool rule_applies(const recipe_rule *r, const quant_plan *plan, size_t index,
                         bool has_imatrix) {
    const quant_model_tags *model = &plan->model;
    if (r->n_layers && r->n_layers != model->n_layers) return false;
    if (r->n_experts && r->n_experts != model->n_experts) return false;
    if (r->min_experts && model->n_experts < r->min_experts) return false;
    if (r->min_gqa && model->gqa < r->min_gqa) return false;
    if (r->imatrix >= 0 && r->imatrix != has_imatrix) return false;
    const quant_plan_tensor *t = &plan->tensors[index];
    if (r->name && fnmatch(r->name, t->out.name.ptr, 0) != 0) return false;
    if (r->first_layer >= 0 && (t->tags.layer < r->first_layer || t->tags.layer > r->last_layer))
        return false;
    return has_role(r, &t->tags) && in_place(r, plan, index);
}

/* The first override that the name holds, or NULL; counts what all of them match. */
static gguf_code find_override(quant_recipe *recipe, const quant_plan_tensor *t,
                               recipe_override **found, gguf_error *err) {
    *found = NULL;
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        recipe_override *o = &recipe->overrides[i];
        bool holds;
        gguf_code code =
            gguf_pattern_find(o->pattern, t->out.name.ptr, t->out.name.len, &holds, err);
        if (code) return code;
        o->n_matched += holds;
        o->n_kept += holds && t->tags.keep;
        if (holds && !t->tags.keep && !*found) *found = o;
    }
    if (*found) (*found)->n_taken++;
    return GGUF_OK;
}

/* The first rule that applies, or NULL; for a recipe of the user all that apply are counted. */
static recipe_rule *find_rule(quant_recipe *recipe, const quant_plan *plan, size_t index,
                              bool has_imatrix) {
    recipe_rule *found = NULL;
    for (size_t i = 0; i < recipe->n_rules && (!found || recipe->from_user); i++) {
        recipe_rule *r = &recipe->rules[i];
        if (!rule_applies(r, plan, index, has_imatrix)) continue;
        r->n_matched++;
        if (!found) found = r;
    }
    if (found) found->n_taken++;
    return found;
}

static gguf_code choose_type(quant_recipe *recipe, quant_plan *plan, size_t index, bool has_imatrix,
                             uint32_t *type, gguf_error *err) {
    quant_plan_tensor *t = &plan->tensors[index];
    recipe_override *forced;
    gguf_code code = find_override(recipe, t, &forced, err);
    if (code || t->tags.keep) return code;
    const recipe_rule *r = find_rule(recipe, plan, index, has_imatrix);
    t->tags.pinned = forced != NULL;
    *type = forced ? forced->type : r ? r->type : recipe->default_type;
    return GGUF_OK;
}

/* What the caller asks for must have an effect. */
static gguf_code check_overrides(const quant_recipe *recipe, gguf_error *err) {
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        const recipe_override *o = &recipe->overrides[i];
        if (o->n_taken) continue;
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s: '%s' %s", o->label, o->text,
                         !o->n_matched ? "matches no tensor"
                         : o->n_kept == o->n_matched
                             ? "matches only tensors that are never quantised"
                             : "has no effect: earlier options take every tensor that it matches");
    }
    return GGUF_OK;
}

static void forget_counts(quant_recipe *recipe) {
    for (size_t i = 0; i < recipe->n_rules; i++)
        recipe->rules[i].n_matched = recipe->rules[i].n_taken = 0;
    for (size_t i = 0; i < recipe->n_overrides; i++) {
        recipe_override *o = &recipe->overrides[i];
        o->n_matched = o->n_taken = o->n_kept = 0;
    }
}

/* The type that is wanted, or the first fallback whose blocks divide the row. */
static gguf_code set_type(quant_plan_tensor *t, uint32_t wanted, size_t *n_fallen,
                          gguf_error *err) {
    uint32_t type = wanted;
    while (quant_row_bytes(type, t->out.dims[0]) == 0 && type != GGUF_TYPE_F16)
        type = quant_type_fallback(type);
    if (!quant_can_encode(type))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "tensor '%s': %s cannot be written", t->out.name.ptr,
                         gguf_type_name(type));
    *n_fallen += type != wanted;
    t->out.type = type;
    return GGUF_OK;
}

/* Nobody collects importance for embeddings and heads, so they do without. */
static bool demands_importance(const quant_recipe *recipe, const quant_plan_tensor *t) {
    if (t->tags.is_output || strcmp(t->tags.role, "token_embd") == 0) return false;
    return quant_type_demands_importance(t->out.type) ||
           (recipe->demands_imatrix && t->out.type == recipe->default_type);
}

gguf_code quant_recipe_apply(quant_recipe *recipe, quant_plan *plan, bool has_imatrix,
                             size_t *n_fallbacks, gguf_error *err) {
    size_t n_fallen = 0;
    gguf_code code = GGUF_OK;
    forget_counts(recipe);
    for (size_t i = 0; i < plan->n_tensors && !code; i++) {
        uint32_t wanted = 0;
        code = choose_type(recipe, plan, i, has_imatrix, &wanted, err);
        if (code || plan->tensors[i].tags.keep) continue;
        code = set_type(&plan->tensors[i], wanted, &n_fallen, err);
        plan->tensors[i].demands_imp = demands_importance(recipe, &plan->tensors[i]);
    }
    if (n_fallbacks) *n_fallbacks = n_fallen;
    return code ? code : check_overrides(recipe, err);
}

/* ---- rules without effect ---------------------------------------------------------------- */

/* "role: attn_v, where: more, type: Q6_K" */
static void describe_rule(const gguf_yaml *node, char *out, size_t room) {
    size_t len = 0;
    out[0] = '\0';
    for (const gguf_yaml *field = node->first; field && len < room; field = field->next) {
        len += (size_t)snprintf(out + len, room - len, "%s%s: %s", len ? ", " : "", field->key,
                                field->kind == GGUF_YAML_LIST ? "[" : field->text);
        for (const gguf_yaml *item = field->first; item && len < room; item = item->next)
            len += (size_t)snprintf(out + len, room - len, "%s%s", item->text,
                                    item->next ? ", " : "]");
    }
}

bool quant_recipe_next_idle(const quant_recipe *recipe, size_t *at, quant_idle_rule *out) {
    for (; recipe->from_user && *at < recipe->n_rules; ++*at) {
        const recipe_rule *r = &recipe->rules[*at];
        if (r->n_taken || r->optional) continue;
        *out = (quant_idle_rule){.line = r->node->line, .n_matched = r->n_matched};
        describe_rule(r->node, out->text, sizeof out->text);
        ++*at;
        return true;
    }
    return false;
}
