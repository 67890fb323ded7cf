/* Recipes: which rule decides, and which files are refused. */
#include "quant/recipe.h"
#include "tests/unit/unit.h"

static void add(quant_plan *plan, const char *name, const char *role, int32_t layer) {
    gguf_error err = {0};
    quant_plan_tensor t = {.out = {.name = gguf_str_of(name),
                                   .type = GGUF_TYPE_F16,
                                   .n_dims = 2,
                                   .dims = {256, 4, 1, 1}},
                           .tags = {.role = role, .layer = layer},
                           .source_type = GGUF_TYPE_F16,
                           .n_rows = 4,
                           .n_cols = 256};
    unit_ok(quant_plan_add(plan, &t, &err), err);
}

static void start_plan(quant_plan *plan) {
    gguf_error err = {0};
    unit_ok(quant_plan_init(plan, &err), err);
    plan->model.n_layers = 4;
    for (int32_t layer = 0; layer < 4; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.attn_v.weight", layer);
        add(plan, name, "attn_v", layer);
        snprintf(name, sizeof name, "blk.%d.ffn_down_exps.weight", layer);
        add(plan, name, "ffn_down_exps", layer);
    }
}

/* The types in order, e.g. "Q4_K Q6_K". */
static const char *apply(const char *text) {
    static char types[256];
    quant_plan plan;
    quant_recipe *recipe;
    gguf_error err = {0};
    start_plan(&plan);
    unit_ok(quant_recipe_parse(text, strlen(text), "test.yaml", &recipe, &err), err);
    unit_ok(quant_recipe_apply(recipe, &plan, false, NULL, &err), err);
    types[0] = '\0';
    for (size_t i = 0; i < plan.n_tensors; i++)
        snprintf(types + strlen(types), sizeof types - strlen(types), "%s%s", i ? " " : "",
                 gguf_type_name(plan.tensors[i].out.type));
    quant_recipe_free(recipe);
    quant_plan_clear(&plan);
    return types;
}

START_TEST(names_and_layers_match) {
    ck_assert_str_eq(apply("default: Q4_K\nrules:\n  - {layers: 1, type: Q8_0}\n"),
                     "Q4_K Q4_K Q8_0 Q8_0 Q4_K Q4_K Q4_K Q4_K");
    ck_assert_str_eq(apply("default: Q4_K\nrules:\n  - {layers: 1-2, role: attn_v, type: Q8_0}\n"),
                     "Q4_K Q4_K Q8_0 Q4_K Q8_0 Q4_K Q4_K Q4_K");
    ck_assert_str_eq(apply("default: Q4_K\nrules:\n  - {layers: 3-, type: Q8_0}\n"),
                     "Q4_K Q4_K Q4_K Q4_K Q4_K Q4_K Q8_0 Q8_0");
    ck_assert_str_eq(
        apply("default: Q4_K\nrules:\n  - {name: 'blk.[02].*_exps.weight', type: Q8_0}\n"),
        "Q4_K Q8_0 Q4_K Q4_K Q4_K Q8_0 Q4_K Q4_K");
}
END_TEST

START_TEST(the_first_rule_decides) {
    ck_assert_str_eq(
        apply("default: Q4_K\nrules:\n  - {role: 'attn_*', where: first 1, type: Q6_K}\n"
              "  - {role: attn_v, type: Q5_K}\n"),
        "Q6_K Q4_K Q5_K Q4_K Q5_K Q4_K Q5_K Q4_K");
}
END_TEST

static void refused(const char *text, const char *why) {
    quant_recipe *recipe;
    gguf_error err = {0};
    unit_fails(quant_recipe_parse(text, strlen(text), "test.yaml", &recipe, &err), GGUF_E_FORMAT,
               why, err);
    ck_assert_ptr_null(recipe);
}

START_TEST(mistakes_are_refused) {
    refused("default: Q4_K\nrules:\n  - {layers: x, type: Q8_0}\n", "layers is 'x'");
    refused("default: Q4_K\nrules:\n  - {layers: 1-2-3, type: Q8_0}\n", "layers is '1-2-3'");
    refused("default: Q4_K\nrules:\n  - {layer: 1, type: Q8_0}\n", "'layer' is not a known field");
    refused("default: Q9_Z\n", "Q9_Z");
    refused("default: Q4_K\nrules: 7\n", "must be a list");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("recipe");
    TCase *tests = tcase_create("recipe");
    tcase_add_test(tests, names_and_layers_match);
    tcase_add_test(tests, the_first_rule_decides);
    tcase_add_test(tests, mistakes_are_refused);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
