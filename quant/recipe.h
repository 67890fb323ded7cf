/* Recipes: which tensor gets which type. Read from configs/quant or from a file of the user's; they
 * match the tags that a planner supplies. docs/recipes.md describes the fields. */
#ifndef QUANT_RECIPE_H
#define QUANT_RECIPE_H

#include "quant/plan.h"

typedef struct quant_recipe quant_recipe;

/* A built-in recipe by its name in any case ("Q4_K_M"), by one of the short names that
 * llama-quantize has for it ("Q4_K"), or by its general.file_type ("15").
 * Errors: GGUF_E_USAGE if there is none; the message has the near ones. */
gguf_code quant_recipe_named(const char *name, quant_recipe **out, gguf_error *err);
/* A recipe file. Errors: of reading YAML; GGUF_E_FORMAT with the byte of a bad rule. */
gguf_code quant_recipe_load(const char *path, quant_recipe **out, gguf_error *err);
/* The same from a text; `file` names it in errors. */
gguf_code quant_recipe_parse(const char *text, size_t len, const char *file, quant_recipe **out,
                             gguf_error *err);
/* One type for every tensor that may be quantised. */
gguf_code quant_recipe_pure(uint32_t type, quant_recipe **out, gguf_error *err);
/* The same by name (--pure): a built-in recipe gives the type of most of its tensors and its
 * general.file_type ("Q4_K_S": Q4_K); any other type is named itself. Errors: GGUF_E_USAGE. */
gguf_code quant_recipe_pure_named(const char *name, quant_recipe **out, gguf_error *err);
void quant_recipe_free(quant_recipe *recipe); /* accepts NULL */

const char *quant_recipe_name(const quant_recipe *recipe);
/* general.file_type of the output, or -1. */
int32_t quant_recipe_file_type(const quant_recipe *recipe);
/* The built-in recipe that a general.file_type stands for, or NULL. */
const char *quant_recipe_of_file_type(uint64_t file_type);
/* The i-th built-in recipe's name, or NULL behind the last. */
const char *quant_recipe_builtin(size_t i);

/* A rule of the command line: tensors whose name holds the regular expression, in any case, get the
 * type. Earlier overrides win; all win over the recipe.
 *   label  what errors call it, e.g. "--tensor-type"; copied
 * Errors: GGUF_E_USAGE for a bad expression. */
gguf_code quant_recipe_override(quant_recipe *recipe, const char *label, const char *regex,
                                uint32_t type, gguf_error *err);

/* Set out.type of every tensor of a sorted plan. Tensors tagged `keep` keep the type they have.
 * Types whose blocks do not divide a row fall back to the next that do, at last F16.
 *   has_imatrix  some rules depend on it
 *   n_fallbacks  number of tensors that fell back; may be NULL
 * Errors: GGUF_E_USAGE an override decides for no tensor; GGUF_E_UNSUPPORTED. */
gguf_code quant_recipe_apply(quant_recipe *recipe, quant_plan *plan, bool has_imatrix,
                             size_t *n_fallbacks, gguf_error *err);

/* A rule of a recipe file that had no effect on the plan that the recipe was applied to last. */
typedef struct quant_idle_rule {
    size_t line;      /* in the file, from 1 */
    char text[120];   /* its conditions and its type */
    size_t n_matched; /* tensors that it matches, and earlier rules take */
} quant_idle_rule;

/* The first such rule from rule *at on, which moves behind it; false if there is none. Rules that
 * say `optional: true` are left out; built-in recipes, which serve many models, have none. */
bool quant_recipe_next_idle(const quant_recipe *recipe, size_t *at, quant_idle_rule *out);

#endif
