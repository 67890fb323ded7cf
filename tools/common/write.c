/* Setting types, then executing or printing a plan. */
#include "tools/common/write.h"
#include "quant/quant.h"
#include "tools/common/provenance.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

write_opts write_opts_defaults(void) {
    return (write_opts){.max_memory_bytes = quant_execute_defaults().max_memory_bytes};
}

void write_opts_clear(write_opts *o) {
    free(o->tensor_types);
    o->tensor_types = NULL;
}

gguf_code write_opts_add_tensor_type(write_opts *o, const char *text, gguf_error *err) {
    char **grown = realloc(o->tensor_types, (o->n_tensor_types + 1) * sizeof *grown);
    if (!grown) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    o->tensor_types = grown;
    o->tensor_types[o->n_tensor_types++] = (char *)(uintptr_t)text;
    return GGUF_OK;
}

void write_result_clear(write_result *result) {
    for (size_t i = 0; i < result->n_warnings; i++) free(result->warnings[i]);
    free(result->warnings);
    free(result->loss);
    *result = (write_result){0};
}

void write_result_warn(write_result *result, tool *t, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    char **grown =
        n < 0 ? NULL : realloc(result->warnings, (result->n_warnings + 1) * sizeof *grown);
    if (!grown) return;
    result->warnings = grown;
    result->warnings[result->n_warnings++] = text;
    tool_warn(t, "%s", text);
}

json_t *write_result_warnings(const write_result *result) {
    json_t *list = json_array();
    for (size_t i = 0; i < result->n_warnings; i++)
        json_array_append_new(list,
                              tool_json_bytes(result->warnings[i], strlen(result->warnings[i])));
    return list;
}

/* ---- types ------------------------------------------------------------------------------- */

static gguf_code parse_type(const char *name, uint32_t *type, gguf_error *err) {
    const gguf_type_layout *layout = gguf_type_layout_named(name);
    if (!layout || !quant_can_encode(layout->type))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "'%s' is no tensor type that can be written", name);
    *type = layout->type;
    return GGUF_OK;
}

static gguf_code open_recipe(const write_opts *o, quant_recipe **recipe, gguf_error *err) {
    uint32_t type = 0;
    if (o->recipe_file) return quant_recipe_load(o->recipe_file, recipe, err);
    if (!o->pure) return quant_recipe_named(o->type, recipe, err);
    gguf_code code = parse_type(o->type, &type, err);
    return code ? code : quant_recipe_pure(type, recipe, err);
}

static gguf_code add_override(quant_recipe *recipe, const char *regex, const char *type_name,
                              gguf_error *err) {
    uint32_t type = 0;
    gguf_code code = parse_type(type_name, &type, err);
    return code ? code : quant_recipe_override(recipe, regex, type, err);
}

static gguf_code add_tensor_type(quant_recipe *recipe, const char *text, gguf_error *err) {
    const char *equals = strrchr(text, '=');
    char regex[512];
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof regex)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--tensor-type takes REGEX=TYPE, not '%s'", text);
    snprintf(regex, sizeof regex, "%.*s", (int)(equals - text), text);
    return add_override(recipe, regex, equals + 1, err);
}

static gguf_code add_overrides(quant_recipe *recipe, const write_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < o->n_tensor_types && !code; i++)
        code = add_tensor_type(recipe, o->tensor_types[i], err);
    if (!code && o->output_type)
        code = add_override(recipe, "^output\\.weight$", o->output_type, err);
    if (!code && o->embedding_type)
        code = add_override(recipe, "^token_embd\\.weight$", o->embedding_type, err);
    return code;
}

static gguf_code apply_recipe(tool *t, quant_plan *plan, const write_opts *o, write_result *result,
                              gguf_error *err) {
    quant_recipe *recipe;
    size_t n_fallbacks = 0;
    gguf_code code = open_recipe(o, &recipe, err);
    if (code) return code;
    code = add_overrides(recipe, o, err);
    if (!code) code = quant_recipe_apply(recipe, plan, o->imatrix_file != NULL, &n_fallbacks, err);
    if (!code && n_fallbacks)
        write_result_warn(
            result, t,
            "%zu tensors got another type, because blocks of the recipe's type do not "
            "divide their rows",
            n_fallbacks);
    if (!code && quant_recipe_file_type(recipe) >= 0)
        gguf_meta_set_u32(plan->meta, "general.file_type",
                          (uint32_t)quant_recipe_file_type(recipe));
    snprintf(result->type_name, sizeof result->type_name, "%s", quant_recipe_name(recipe));
    quant_recipe_free(recipe);
    return code;
}

/* The type that holds most numbers names a file whose types were kept. */
static void describe_kept_types(quant_plan *plan, write_result *result) {
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
    snprintf(result->type_name, sizeof result->type_name, "%s", gguf_type_name(kinds[best].type));
}

/* ---- importance -------------------------------------------------------------------------- */

static gguf_code check_coverage(tool *t, const write_opts *o, const quant_coverage *coverage,
                                write_result *result, gguf_error *err) {
    if (coverage->n_missing == 0) return GGUF_OK;
    if (o->require_imatrix)
        return gguf_fail(
            err, GGUF_E_CHECK, o->imatrix_file, GGUF_NO_OFFSET,
            "%zu quantised tensors have no entry in the importance matrix, the first is "
            "'%s'",
            coverage->n_missing, coverage->first_missing);
    write_result_warn(result, t,
                      "%zu of %zu quantised tensors have no entry in the importance matrix (first: "
                      "'%s'); all their columns count the same",
                      coverage->n_missing, coverage->n_missing + coverage->n_covered,
                      coverage->first_missing);
    return GGUF_OK;
}

static gguf_code add_importance(tool *t, quant_plan *plan, const write_opts *o,
                                write_result *result, gguf_error *err) {
    quant_imatrix *im;
    quant_coverage coverage;
    gguf_code code = quant_imatrix_load(o->imatrix_file, &im, err);
    if (code) return code;
    code = quant_plan_set_importance(plan, im, o->imatrix_file, &coverage, err);
    quant_imatrix_free(im);
    return code ? code : check_coverage(t, o, &coverage, result, err);
}

gguf_code write_prepare(tool *t, rt_import *import, const write_opts *o, write_result *result,
                        gguf_error *err) {
    quant_plan *plan = rt_import_plan(import);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < rt_import_n_warnings(import); i++)
        write_result_warn(result, t, "%s", rt_import_warning(import, i));
    if (o->require_imatrix && !o->imatrix_file)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--require-imatrix needs --imatrix");
    if (o->type || o->recipe_file)
        code = apply_recipe(t, plan, o, result, err);
    else
        describe_kept_types(plan, result);
    if (!code) gguf_meta_set_u32(plan->meta, "general.quantization_version", 2);
    if (!code && o->imatrix_file) code = add_importance(t, plan, o, result, err);
    if (!code && (o->type || o->recipe_file))
        code = provenance_set(plan->meta, result->type_name, o->imatrix_file, err);
    return code ? code : quant_plan_finish(plan, err);
}

/* ---- running ----------------------------------------------------------------------------- */

static void print_plan(const tool *t, const quant_plan *plan, const write_opts *o) {
    char size[32], memory[32];
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = o->max_memory_bytes;
    unsigned n_threads = t->n_threads ? t->n_threads : gguf_usable_cores();
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *p = &plan->tensors[i];
        char shape[96] = "";
        for (uint32_t d = 0, len = 0; d < p->out.n_dims; d++)
            len += (uint32_t)snprintf(shape + len, sizeof shape - len, "%s%" PRIu64, d ? " x " : "",
                                      p->out.dims[d]);
        printf("%-40s %-24s %5s -> %-7s %s\n", p->out.name.ptr, shape,
               gguf_type_name(p->source_type), gguf_type_name(p->out.type),
               tool_size_text(p->out.n_bytes, size, sizeof size));
    }
    printf("%zu tensors, %s (%.2f bits per weight), %s of buffers with %u threads\n",
           plan->n_tensors, tool_size_text(quant_plan_file_bytes(plan), size, sizeof size),
           quant_plan_bpw(plan),
           tool_size_text(quant_execute_memory(plan, &opts, n_threads), memory, sizeof memory),
           n_threads);
}

static gguf_code execute(tool *t, rt_import *import, const char *path, const write_opts *o,
                         write_result *result, gguf_error *err) {
    const quant_plan *plan = rt_import_plan(import);
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = o->max_memory_bytes;
    opts.replace = t->force;
    opts.cancel = &tool_cancelled;
    opts.progress = tool_progress;
    opts.progress_ctx = t;
    opts.loss = result->loss;
    gguf_pool *pool;
    gguf_code code = gguf_pool_new(t->n_threads, &pool, err);
    if (code) return code;
    code = quant_execute(plan, path, pool, &opts, err);
    gguf_pool_free(pool);
    return code;
}

gguf_code write_run(tool *t, rt_import *import, const char *path, const write_opts *o,
                    write_result *result, gguf_error *err) {
    if (!o->dry_run) return execute(t, import, path, o, result, err);
    if (!t->json) print_plan(t, rt_import_plan(import), o);
    return GGUF_OK;
}
