/* What reading and applying a recipe share. */
#ifndef QUANT_RECIPE_INTERNAL_H
#define QUANT_RECIPE_INTERNAL_H

#include "libgguf/pattern.h"
#include "libgguf/yaml.h"
#include "quant/recipe.h"

#define RECIPE_MAX_ROLES 8

typedef enum recipe_where {
    WHERE_ALL,
    WHERE_FIRST,
    WHERE_FIRST_SHARE,
    WHERE_MORE,
    WHERE_MIDDLE
} recipe_where;

/* A rule applies to a tensor when every condition that it states holds. */
typedef struct recipe_rule {
    const char *roles[RECIPE_MAX_ROLES]; /* glob patterns */
    size_t n_roles;
    const char *name;                /* glob pattern of the tensor's name, or NULL */
    int64_t first_layer, last_layer; /* -1 = any */
    bool output;                     /* only the output projection or its stand-in */
    recipe_where where;
    uint32_t where_n; /* first N, or first n/N */
    bool by_layer; /* position = layer of n_layers; else running number among the roles' tensors */
    uint32_t n_layers, n_experts, min_experts, min_gqa; /* 0 = any */
    int8_t imatrix;                                     /* -1 any, 0 without, 1 with */
    uint32_t type;
    bool optional;
    const gguf_yaml *node;
    size_t n_matched, n_taken; /* tensors, when the recipe was applied last */
} recipe_rule;

typedef struct recipe_override {
    char label[32];
    char *text;
    gguf_pattern *pattern;
    uint32_t type;
    size_t n_matched, n_taken; /* tensors; n_matched: also those that are never quantised */
    size_t n_kept;
} recipe_override;

struct quant_recipe {
    gguf_yaml_doc *doc; /* NULL for a pure recipe */
    char name[64];
    int32_t file_type;
    uint32_t default_type, pure_type;
    bool demands_imatrix; /* for tensors of the default type */
    bool from_user;       /* rules without effect are worth a warning */
    recipe_rule *rules;
    size_t n_rules;
    recipe_override *overrides;
    size_t n_overrides;
};

#endif
