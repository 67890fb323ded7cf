/* From what somebody asks for to the types and the importance of a plan's tensors. */
#ifndef QUANT_PLAN_TYPES_H
#define QUANT_PLAN_TYPES_H

#include "quant/plan.h"

/* What is asked for; strings belong to the caller, any may be NULL. Errors name what is wrong by
 * the commands' options. */
typedef struct quant_type_opts {
    const char *type;                         /* a recipe's or type's name */
    const char *recipe_file;                  /* in place of it */
    bool pure;                                /* the type for every tensor that it fits */
    bool starts;                              /* types to start with: a target chooses them later */
    const char *output_type, *embedding_type; /* of output.weight and token_embd.weight */
    bool keep_output;                         /* output.weight keeps the type that it has */
    const char *const *tensor_types;          /* [n_tensor_types] REGEX=TYPE */
    size_t n_tensor_types;
    const char *imatrix_file;   /* importance of columns */
    const char *const *weights; /* [n_weights] parts of names: entries to use, or not to use */
    size_t n_weights;
    bool excluded;
    bool require_imatrix; /* a quantised tensor without an entry is an error */
} quant_type_opts;

/* Where warnings go: whole sentences without an end. */
typedef struct quant_warnings {
    void (*warn)(void *ctx, const char *text);
    void *ctx;
} quant_warnings;

/* Set the types of a plan's tensors, and general.file_type.
 *   name  [64], what the choice is called: a recipe's or type's name
 * Errors: GGUF_E_USAGE no such type or recipe, a regular expression that matches nothing; those of
 * recipes. */
gguf_code quant_plan_choose_types(quant_plan *plan, const quant_type_opts *opts,
                                  const quant_warnings *warnings, char *name, gguf_error *err);

/* Types stay: the one that holds most numbers gives the name, and general.file_type where there is
 * none. */
void quant_plan_name_types(quant_plan *plan, char *name);

/* Read opts->imatrix_file and give the plan's tensors its importance.
 * Errors: those of the file; GGUF_E_CHECK with require_imatrix. */
gguf_code quant_plan_add_importance(quant_plan *plan, const quant_type_opts *opts,
                                    const quant_warnings *warnings, gguf_error *err);

/* Whether every tensor that cannot do without importance has it.
 * Errors: GGUF_E_USAGE names the first that has not. */
gguf_code quant_plan_check_importance(const quant_plan *plan, gguf_error *err);

/* Some tensor is rounded to blocks: importance and effort mean something. */
bool quant_plan_rounds(const quant_plan *plan);

/* How far the search for scales goes, for every tensor; recorded as ggufkit.effort.
 * Errors: GGUF_E_NOMEM. */
gguf_code quant_plan_set_effort(quant_plan *plan, quant_effort effort, gguf_error *err);

#endif
