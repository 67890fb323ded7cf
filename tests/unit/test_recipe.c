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

/* Recipe files of the user tell which rules decide for nothing; built-in ones are for many models.
 */
START_TEST(idle_rules_are_told) {
    static const char text[] = "default: Q4_K\nrules:\n  - {role: attn_v, type: Q8_0}\n"
                               "  - {role: [attn_vv, x], type: Q6_K}\n"
                               "  - {layers: 0, role: attn_v, type: Q5_K}\n"
                               "  - {role: y, type: Q6_K, optional: true}\n";
    const char *path = unit_temp("recipe.yaml");
    quant_plan plan;
    quant_recipe *recipe;
    quant_idle_rule rule;
    gguf_error err = {0};
    size_t at = 0;
    start_plan(&plan);
    unit_write(path, text, strlen(text));
    unit_ok(quant_recipe_load(path, &recipe, &err), err);
    unit_ok(quant_recipe_apply(recipe, &plan, false, NULL, &err), err);
    ck_assert(quant_recipe_next_idle(recipe, &at, &rule));
    ck_assert_str_eq(rule.text, "role: [attn_vv, x], type: Q6_K");
    ck_assert_uint_eq(rule.line, 4);
    ck_assert_uint_eq(rule.n_matched, 0);
    ck_assert(quant_recipe_next_idle(recipe, &at, &rule));
    ck_assert_uint_eq(rule.line, 5);
    ck_assert_uint_eq(rule.n_matched, 1);
    ck_assert(!quant_recipe_next_idle(recipe, &at, &rule));
    quant_recipe_free(recipe);
    at = 0;
    unit_ok(quant_recipe_named("MXFP4_MOE", &recipe, &err), err);
    ck_assert(!quant_recipe_next_idle(recipe, &at, &rule));
    quant_recipe_free(recipe);
    quant_plan_clear(&plan);
    unlink(path);
}
END_TEST

static void override_fails(const char *first, const char *second, const char *why) {
    quant_plan plan;
    quant_recipe *recipe;
    gguf_error err = {0};
    start_plan(&plan);
    plan.tensors[1].tags.keep = true;
    unit_ok(quant_recipe_named("Q4_0", &recipe, &err), err);
    unit_ok(quant_recipe_override(recipe, "--tensor-type", first, GGUF_TYPE_Q8_0, &err), err);
    unit_ok(quant_recipe_override(recipe, "--tensor-type", second, GGUF_TYPE_Q5_0, &err), err);
    unit_fails(quant_recipe_apply(recipe, &plan, false, NULL, &err), GGUF_E_USAGE, why, err);
    quant_recipe_free(recipe);
    quant_plan_clear(&plan);
}

START_TEST(overrides_have_an_effect) {
    override_fails("attn_v", "attn_w", "--tensor-type: 'attn_w' matches no tensor");
    override_fails("attn_v", "blk.0.ffn", "'blk.0.ffn' matches only tensors that are never quant");
    override_fails("ATTN", "0.attn_v", "'0.attn_v' has no effect: earlier options take");
    override_fails("attn_v", "^(.+)+(.+)+[^\\w.]$", "steps");
}
END_TEST

static void named(bool pure, const char *name, const char *expected, int32_t file_type) {
    quant_recipe *recipe;
    gguf_error err = {0};
    unit_ok(pure ? quant_recipe_pure_named(name, &recipe, &err)
                 : quant_recipe_named(name, &recipe, &err),
            err);
    ck_assert_str_eq(quant_recipe_name(recipe), expected);
    ck_assert_int_eq(quant_recipe_file_type(recipe), file_type);
    quant_recipe_free(recipe);
}

START_TEST(names_mean_what_llama_quantize_means) {
    named(false, "q4_k", "Q4_K_M", 15);
    named(false, "Q3_K", "Q3_K_M", 12);
    named(false, "Q5_K", "Q5_K_M", 17);
    named(false, "Q2_K", "Q2_K", 10);
    named(false, "14", "Q4_K_S", 14);
    named(false, "0", "F32", 0);
    named(true, "Q4_K_S", "Q4_K", 14);
    named(true, "Q4_K", "Q4_K", 15);
    named(true, "Q3_K_L", "Q3_K", 13);
    named(true, "mxfp4_moe", "MXFP4", 38);
    named(true, "MXFP4", "MXFP4", 38);
    quant_recipe *recipe;
    gguf_error err = {0};
    unit_fails(quant_recipe_named("Q4_KM", &recipe, &err), GGUF_E_USAGE, "did you mean 'Q4_K_M'?",
               err);
    gguf_error other = {0};
    unit_fails(quant_recipe_pure_named("33", &recipe, &other), GGUF_E_USAGE, "'33'", other);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("recipe");
    TCase *tests = tcase_create("recipe");
    tcase_add_test(tests, names_and_layers_match);
    tcase_add_test(tests, the_first_rule_decides);
    tcase_add_test(tests, mistakes_are_refused);
    tcase_add_test(tests, idle_rules_are_told);
    tcase_add_test(tests, overrides_have_an_effect);
    tcase_add_test(tests, names_mean_what_llama_quantize_means);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
