/* YAML: the tree, and the tree as a recipe and as an architecture description. */
#include "tests/fuzz/fuzz.h"

#include "libgguf/yaml.h"
#include "quant/recipe.h"
#include "runtime/model/arch.h"

static void walk(const gguf_yaml *node, unsigned depth) {
    int64_t i;
    double f;
    bool b;
    size_t n = 0;
    fuzz_check(depth <= 64);
    fuzz_read(node->text, strlen(node->text));
    if (gguf_yaml_i64(node, &i)) fuzz_read(&i, 1);
    if (gguf_yaml_f64(node, &f)) fuzz_read(&f, 1);
    if (gguf_yaml_bool(node, &b)) fuzz_read(&b, 1);
    for (const gguf_yaml *child = node->first; child; child = child->next, n++) {
        if (node->kind == GGUF_YAML_MAP && n < 64)
            fuzz_check(gguf_yaml_get(node, child->key) == child);
        walk(child, depth + 1);
    }
    fuzz_check(n == node->n_children);
}

/* Two layers with one expert matrix, one norm and an output. */
static void make_plan(quant_plan *plan, gguf_error *err) {
    static const struct {
        const char *name, *role;
        int32_t layer;
        bool keep, is_output;
        uint64_t n_cols;
    } tensors[] = {{"blk.0.attn_v.weight", "attn_v", 0, false, false, 256},
                   {"blk.0.ffn_down.weight", "ffn_down", 0, false, false, 96},
                   {"blk.1.attn_v.weight", "attn_v", 1, false, false, 256},
                   {"blk.1.ffn_down_exps.weight", "ffn_down_exps", 1, false, false, 33},
                   {"output_norm.weight", "output_norm", -1, true, false, 256},
                   {"output.weight", "output", -1, false, true, 256}};
    quant_plan_init(plan, err);
    plan->model = (quant_model_tags){2, 4, 4};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        quant_plan_tensor t = {.out = {.name = gguf_str_of(tensors[i].name),
                                       .n_dims = 2,
                                       .dims = {tensors[i].n_cols, 2, 1, 1}},
                               .tags = {.role = tensors[i].role,
                                        .layer = tensors[i].layer,
                                        .keep = tensors[i].keep,
                                        .is_output = tensors[i].is_output}};
        quant_plan_add(plan, &t, err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    gguf_error err = {0}, recipe_err = {0}, arch_err = {0};
    gguf_yaml_doc *doc;
    gguf_code code = gguf_yaml_parse(text, size, "input", &doc, &err);
    fuzz_check_error(code, &err);
    if (code) return 0;
    walk(gguf_yaml_root(doc), 0);
    gguf_yaml_free(doc);

    quant_recipe *recipe;
    code = quant_recipe_parse(text, size, "input", &recipe, &recipe_err);
    fuzz_check_error(code, &recipe_err);
    if (!code) {
        quant_plan plan;
        make_plan(&plan, &err);
        quant_recipe_apply(recipe, &plan, false, NULL, &err);
        quant_recipe_apply(recipe, &plan, true, NULL, &err);
        quant_plan_clear(&plan);
        quant_recipe_free(recipe);
    }
    rt_arch *arch;
    code = rt_arch_parse(text, size, "input", &arch, &arch_err);
    fuzz_check_error(code, &arch_err);
    if (!code) fuzz_read(rt_arch_name(arch), strlen(rt_arch_name(arch)));
    if (!code) rt_arch_close(arch);
    return 0;
}
