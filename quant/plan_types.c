/* Types by recipe, overrides and target; importance. */
#include "quant/plan_types.h"
#include "libgguf/near.h"
#include "quant/imatrix.h"
#include "quant/quant.h"
#include "quant/recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_ROOM 64

static void warn(const quant_warnings *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void warn(const quant_warnings *w, const char *format, ...) {
    char *text;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) return;
    w->warn(w->ctx, text);
    free(text);
}

/* ---- types ------------------------------------------------------------------------------- */

static gguf_code fail_type(const char *option, const char *name, gguf_error *err) {
    gguf_near near = {.wanted = name};
    char hint[160];
    enum { BEYOND_TYPES = 64 };
    for (uint32_t t = 0; t < BEYOND_TYPES; t++)
        if (quant_can_encode(t)) gguf_near_add(&near, gguf_type_name(t));
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "%s: '%s' is not a tensor type that can be written%s", option, name,
                     gguf_near_hint(&near, hint, sizeof hint));
}

static gguf_code open_recipe(const quant_type_opts *o, quant_recipe **recipe, gguf_error *err) {
    uint32_t type = GGUF_TYPE_Q4_K;
    if (o->starts) return quant_recipe_pure(type, recipe, err); /* types to start with */
    if (o->recipe_file) return quant_recipe_load(o->recipe_file, recipe, err);
    return o->pure ? quant_recipe_pure_named(o->type, recipe, err)
                   : quant_recipe_named(o->type, recipe, err);
}

static gguf_code add_override(quant_recipe *recipe, const char *option, const char *regex,
                              const char *type_name, gguf_error *err) {
    const gguf_type_layout *layout = gguf_type_layout_named(type_name);
    if (!layout || !quant_can_encode(layout->type)) return fail_type(option, type_name, err);
    return quant_recipe_override(recipe, option, regex, layout->type, err);
}

static gguf_code add_tensor_type(quant_recipe *recipe, const char *text, gguf_error *err) {
    const char *equals = strrchr(text, '=');
    char regex[512];
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof regex)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--tensor-type takes REGEX=TYPE, not '%s'", text);
    snprintf(regex, sizeof regex, "%.*s", (int)(equals - text), text);
    return add_override(recipe, "--tensor-type", regex, equals + 1, err);
}

/* With a tied embedding there is no output.weight. */
static gguf_code find_output(const quant_plan *plan, const char *option,
                             const quant_plan_tensor **out, gguf_error *err) {
    *out = NULL;
    for (size_t i = 0; i < plan->n_tensors && !*out; i++)
        if (gguf_str_eq(plan->tensors[i].out.name, "output.weight")) *out = &plan->tensors[i];
    if (*out) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "%s: the model has no output.weight; its embedding stands in for it "
                     "(--token-embedding-type)",
                     option);
}

static gguf_code add_output(quant_recipe *recipe, const quant_plan *plan, const quant_type_opts *o,
                            gguf_error *err) {
    const char *option = o->keep_output ? "--leave-output-tensor" : "--output-tensor-type";
    const quant_plan_tensor *output;
    if (!o->keep_output && !o->output_type) return GGUF_OK;
    gguf_code code = find_output(plan, option, &output, err);
    if (code) return code;
    const char *type = o->keep_output ? gguf_type_name(output->source_type) : o->output_type;
    return add_override(recipe, option, "^output\\.weight$", type, err);
}

static gguf_code add_overrides(quant_recipe *recipe, const quant_plan *plan,
                               const quant_type_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < o->n_tensor_types && !code; i++)
        code = add_tensor_type(recipe, o->tensor_types[i], err);
    if (!code) code = add_output(recipe, plan, o, err);
    if (!code && o->embedding_type)
        code = add_override(recipe, "--token-embedding-type", "^token_embd\\.weight$",
                            o->embedding_type, err);
    return code;
}

/* Rules of the user's recipe that decide for no tensor. */
static void warn_of_idle_rules(const quant_recipe *recipe, const quant_type_opts *o,
                               const quant_warnings *w) {
    quant_idle_rule rule;
    for (size_t at = 0; quant_recipe_next_idle(recipe, &at, &rule);)
        warn(w,
             "%s: line %zu: the rule {%s} %s; optional: true keeps it without this "
             "warning",
             o->recipe_file, rule.line, rule.text,
             rule.n_matched ? "has no effect: earlier rules take all that it matches"
                            : "matches no tensor");
}

gguf_code quant_plan_choose_types(quant_plan *plan, const quant_type_opts *o,
                                  const quant_warnings *w, char *name, gguf_error *err) {
    quant_recipe *recipe;
    size_t n_fallbacks = 0;
    gguf_code code = open_recipe(o, &recipe, err);
    if (code) return code;
    code = add_overrides(recipe, plan, o, err);
    if (!code) code = quant_recipe_apply(recipe, plan, o->imatrix_file != NULL, &n_fallbacks, err);
    if (!code) warn_of_idle_rules(recipe, o, w);
    if (!code && n_fallbacks && !o->starts)
        warn(w,
             "%zu tensor%s got another type, because blocks of the recipe's type do "
             "not divide the rows",
             n_fallbacks, n_fallbacks == 1 ? "" : "s");
    if (!code && quant_recipe_file_type(recipe) >= 0)
        gguf_meta_set_u32(plan->meta, "general.file_type",
                          (uint32_t)quant_recipe_file_type(recipe));
    snprintf(name, NAME_ROOM, "%s", o->starts ? "mixed" : quant_recipe_name(recipe));
    quant_recipe_free(recipe);
    return code;
}

/* The type that holds most numbers names a file whose types were kept. */
void quant_plan_name_types(quant_plan *plan, char *name) {
    static const struct {
        uint32_t type, file_type;
    } kinds[] = {
        {GGUF_TYPE_F32, 0}, {GGUF_TYPE_F16, 1}, {GGUF_TYPE_BF16, 32}, {GGUF_TYPE_MXFP4, 38}};
    uint64_t n_elems[sizeof kinds / sizeof kinds[0]] = {0};
    size_t best = 0, n_kinds = sizeof kinds / sizeof kinds[0];
    for (size_t i = 0; i < plan->n_tensors; i++)
        for (size_t k = 0; k < n_kinds; k++)
            if (plan->tensors[i].out.type == kinds[k].type)
                n_elems[k] += gguf_tensor_n_elems(&plan->tensors[i].out);
    for (size_t k = 1; k < n_kinds; k++)
        if (n_elems[k] > n_elems[best]) best = k;
    if (!gguf_meta_find(plan->meta, "general.file_type"))
        gguf_meta_set_u32(plan->meta, "general.file_type", kinds[best].file_type);
    snprintf(name, NAME_ROOM, "%s", gguf_type_name(kinds[best].type));
}

/* ---- importance -------------------------------------------------------------------------- */

static gguf_code check_coverage(const quant_type_opts *o, const quant_coverage *coverage,
                                const quant_warnings *w, gguf_error *err) {
    if (coverage->n_missing == 0) return GGUF_OK;
    if (o->require_imatrix)
        return gguf_fail(
            err, GGUF_E_CHECK, o->imatrix_file, GGUF_NO_OFFSET,
            "quantised tensors without an entry in the importance matrix: %zu, the first is "
            "'%s'",
            coverage->n_missing, coverage->first_missing);
    warn(w,
         "%zu of %zu quantised tensors have no entry in the importance matrix (first: "
         "'%s'); all their columns count the same",
         coverage->n_missing, coverage->n_missing + coverage->n_covered, coverage->first_missing);
    return GGUF_OK;
}

gguf_code quant_plan_add_importance(quant_plan *plan, const quant_type_opts *o,
                                    const quant_warnings *w, gguf_error *err) {
    quant_imatrix *im;
    quant_coverage coverage;
    gguf_code code = quant_imatrix_load(o->imatrix_file, &im, err);
    if (code) return code;
    if (o->n_weights) code = quant_imatrix_select(im, o->weights, o->n_weights, o->excluded, err);
    if (!code) code = quant_plan_set_importance(plan, im, o->imatrix_file, &coverage, err);
    quant_imatrix_free(im);
    return code ? code : check_coverage(o, &coverage, w, err);
}

gguf_code quant_plan_check_importance(const quant_plan *plan, gguf_error *err) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        if (!t->demands_imp || t->imp || t->out.type == t->source_type) continue;
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "'%s' as %s is of no use without importance: give --imatrix FILE or "
                         "--calibrate TEXT that reaches it",
                         t->out.name.ptr, gguf_type_name(t->out.type));
    }
    return GGUF_OK;
}

bool quant_plan_rounds(const quant_plan *plan) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        bool same = t->out.type == t->source_type;
        if (gguf_type_layout_of(t->out.type)->block_elems > 1 && !same) return true;
    }
    return false;
}

gguf_code quant_plan_set_effort(quant_plan *plan, quant_effort effort, gguf_error *err) {
    for (size_t i = 0; i < plan->n_tensors; i++) plan->tensors[i].effort = effort;
    gguf_meta_set_str(plan->meta, "ggufkit.effort",
                      gguf_str_of(effort == QUANT_EFFORT_BEST ? "best" : "fast"));
    return gguf_meta_status(plan->meta, err);
}
