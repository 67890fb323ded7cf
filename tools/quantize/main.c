/* gguf-quantize: a GGUF file in, another one with other tensor types out. */
#include "quant/recipe.h"
#include "tools/common/calibration_report.h"
#include "tools/common/keyvalue.h"
#include "tools/quantize/quantize_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    OPT_TENSOR_TYPE = TOOL_LONG_ONLY,
    OPT_OUTPUT_TYPE,
    OPT_EMBEDDING_TYPE,
    OPT_PURE,
    OPT_ALLOW_REQUANTIZE,
    OPT_REQUIRE_IMATRIX,
    OPT_KEEP_SPLIT,
    OPT_MANIFEST,
    OPT_TARGET_SIZE,
    OPT_TARGET_BPW,
    OPT_CALIBRATE,
    OPT_METHOD,
    OPT_SAMPLES,
    OPT_DAMP,
    OPT_LEAVE_OUTPUT,
    OPT_INCLUDE,
    OPT_EXCLUDE,
    OPT_OVERRIDE,
    OPT_REPORT,
    OPT_TEXT,
    OPT_CHUNKS
};

static const tool_option options[] = {
    {OPT_TENSOR_TYPE, "tensor-type", "REGEX=TYPE",
     "type of the tensors whose name holds the regular expression; repeatable"},
    {OPT_OUTPUT_TYPE, "output-tensor-type", "TYPE", "type of output.weight"},
    {OPT_LEAVE_OUTPUT, "leave-output-tensor", NULL, "output.weight keeps the type that it has"},
    {OPT_EMBEDDING_TYPE, "token-embedding-type", "TYPE", "type of token_embd.weight"},
    {OPT_PURE, "pure", NULL, "TYPE for every tensor that is quantised"},
    {OPT_ALLOW_REQUANTIZE, "allow-requantize", NULL, "accept input that is already quantised"},
    {OPT_REQUIRE_IMATRIX, "require-imatrix", NULL, "exit 1 if a quantised tensor has no entry"},
    {OPT_INCLUDE, "include-weights", "TEXT",
     "of --imatrix, only entries with this in their names; repeatable"},
    {OPT_EXCLUDE, "exclude-weights", "TEXT", "of --imatrix, all other entries; repeatable"},
    {OPT_TARGET_SIZE, "target-size", "SIZE",
     "choose types so that OUT has at most this size and the least expected damage"},
    {OPT_TARGET_BPW, "target-bpw", "BITS", "the same for bits per weight"},
    {OPT_CALIBRATE, "calibrate", "TEXT[.gz]",
     "run IN over this text (@default is the program's own) and let weights make up for each "
     "other's rounding"},
    {OPT_METHOD, "method", "METHOD", "with --calibrate: compensate (default) or round"},
    {OPT_SAMPLES, "samples", "N", "with --calibrate: tokens of the text to use (16384)"},
    {OPT_DAMP, "damp", "X",
     "with --calibrate: what is added to the Hessian, as a share of its mean diagonal (0.05)"},
    WRITE_OPTIONS,
    {OPT_KEEP_SPLIT, "keep-split", NULL, "as many files as IN has, each with the same tensors"},
    {OPT_OVERRIDE, "override", "KEY=TYPE:VALUE", "set a key of the output (repeatable)"},
    {OPT_MANIFEST, "manifest", "FILE", "write the XXH3 of every tensor, source and output"},
    {OPT_REPORT, "report", "F.html",
     "write IN as each TYPE in turn, measure how far it is from IN, keep only the page"},
    {OPT_TEXT, "text", "TEXT[.gz]", "with --report: what is scored"},
    {OPT_CHUNKS, "chunks", "N", "with --report: of 512 tokens, at most (all)"},
    {OPT_OVERRIDE, "override-kv", "KEY=TYPE:VALUE", NULL},
    {0},
};

static const tool_group groups[] = {
    {"tensor-type", "Types"},     {"calibrate", "Calibration"},  {"imatrix", "Importance, recipes"},
    {"split-max-size", "Output"}, {"report", "Comparing types"}, {0}};

typedef struct quantize_opts {
    write_opts write;
    quantize_report report;
    const char **overrides; /* [n_overrides] KEY=TYPE:VALUE */
    size_t n_overrides;
} quantize_opts;

/* One of two words; *second says which. */
static gguf_code set_choice(const char *option, const char *arg, const char *first,
                            const char *other, bool *second, gguf_error *err) {
    *second = strcmp(arg, other) == 0;
    if (*second || strcmp(arg, first) == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s takes %s or %s, not '%s'", option,
                     first, other, arg);
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    quantize_opts *o = ctx;
    switch (id) {
    case OPT_TENSOR_TYPE:
        return tool_add_value(&o->write.tensor_types, &o->write.n_tensor_types, arg, err);
    case OPT_OUTPUT_TYPE:
        o->write.output_type = arg;
        break;
    case OPT_EMBEDDING_TYPE:
        o->write.embedding_type = arg;
        break;
    case OPT_PURE:
        o->write.pure = true;
        break;
    case OPT_ALLOW_REQUANTIZE:
        o->report.allow_requantize = true;
        break;
    case OPT_REQUIRE_IMATRIX:
        o->write.require_imatrix = true;
        break;
    case OPT_KEEP_SPLIT:
        o->write.split.as_source = true;
        break;
    case OPT_CALIBRATE:
        o->write.calibration.text = arg;
        break;
    case OPT_METHOD:
        return set_choice("--method", arg, "compensate", "round", &o->write.calibration.round, err);
    case OPT_SAMPLES:
        return tool_parse_u32("--samples", arg, 1, UINT32_MAX, &o->write.calibration.n_samples,
                              err);
    case OPT_DAMP:
        return tool_parse_real("--damp", arg, 0, 10, &o->write.calibration.damp, err);
    case OPT_LEAVE_OUTPUT:
        o->write.keep_output = true;
        break;
    case OPT_INCLUDE:
    case OPT_EXCLUDE:
        return write_opts_add_weights(&o->write, arg, id == OPT_EXCLUDE, err);
    case OPT_OVERRIDE:
        return tool_add_value(&o->overrides, &o->n_overrides, arg, err);
    case OPT_TARGET_SIZE:
        return tool_parse_size("--target-size", arg, &o->write.target_bytes, err);
    case OPT_TARGET_BPW:
        return tool_parse_real("--target-bpw", arg, 0.1, 32, &o->write.target_bpw, err);
    case OPT_REPORT:
        o->report.page = arg;
        break;
    case OPT_TEXT:
        o->report.text = arg;
        break;
    case OPT_CHUNKS:
        return tool_parse_u32("--chunks", arg, 1, UINT32_MAX, &o->report.n_chunks, err);
    case OPT_MANIFEST:
        o->write.manifest_file = arg;
        break;
    default:
        return write_opts_set(&o->write, id, arg, err);
    }
    return GGUF_OK;
}

gguf_code quantize_check_source(const quant_plan *plan, const char *path, gguf_error *err) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        const gguf_type_layout *layout = gguf_type_layout_of(t->source_type);
        if (layout->block_elems > 1 && t->out.type != t->source_type)
            return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                             "tensor '%s' is already %s; --allow-requantize accepts it",
                             t->out.name.ptr, layout->name);
    }
    return GGUF_OK;
}

static json_t *tensor_json(const quant_plan_tensor *t, const quant_loss *loss,
                           const quant_output_error *error) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < t->out.n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->out.dims[d]));
    json_t *row =
        json_pack("{s:o, s:s, s:s, s:o}", "name", tool_json_bytes(t->out.name.ptr, t->out.name.len),
                  "type_in", gguf_type_name(t->source_type), "type_out",
                  gguf_type_name(t->out.type), "shape", shape);
    json_object_set_new(row, "rmse", loss ? tool_json_real(loss->rmse) : json_null());
    json_object_set_new(row, "weighted_rmse",
                        loss ? tool_json_real(loss->weighted_rmse) : json_null());
    if (error && t->calibrated) calibration_report_json(row, error);
    return row;
}

/* What every tensor would lose at every type that it could have got. */
static json_t *allocation_json(const quant_plan *plan, const quant_allocation *a) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_tensor_candidates *c = &a->tensors[i];
        json_t *errors = json_object();
        if (!c->n) {
            json_decref(errors);
            continue;
        }
        for (size_t k = 0; k < c->n; k++)
            json_object_set_new(errors, gguf_type_name(c->list[k].type),
                                tool_json_real(c->list[k].error));
        const gguf_str *name = &plan->tensors[i].out.name;
        json_array_append_new(tensors,
                              json_pack("{s:o, s:s, s:o, s:o}", "name",
                                        tool_json_bytes(name->ptr, name->len), "type",
                                        gguf_type_name(c->list[c->chosen].type), "sensitivity",
                                        tool_json_real(c->sensitivity), "errors", errors));
    }
    return json_pack("{s:o, s:o, s:o}", "expected_kld", tool_json_real(a->result.damage),
                     "expected_kld_bound", tool_json_real(a->result.bound), "tensors", tensors);
}

static void print_result(tool *t, const quant_plan *plan, const char *const *args,
                         const write_opts *o, const write_result *result) {
    char size[32];
    uint64_t n_bytes = quant_plan_file_bytes(plan);
    if (!t->json) {
        if (!o->dry_run)
            tool_note(t, "%s: %s, %s, %.2f bits per weight, %.1f s", args[1], result->type_name,
                      tool_size_text(n_bytes, size, sizeof size), quant_plan_bpw(plan),
                      tool_elapsed_s(t));
        return;
    }
    json_t *tensors = json_array();
    const quant_output_error *errors =
        result->calibration && !o->dry_run
            ? rt_calibration_errors(calibration_work(result->calibration))
            : NULL;
    for (size_t i = 0; i < plan->n_tensors; i++)
        json_array_append_new(tensors,
                              tensor_json(&plan->tensors[i], o->dry_run ? NULL : &result->loss[i],
                                          errors ? &errors[i] : NULL));
    json_t *root = json_object();
    json_object_set_new(root, "input", tool_json_bytes(args[0], strlen(args[0])));
    json_object_set_new(root, "output", tool_json_bytes(args[1], strlen(args[1])));
    json_object_set_new(root, "outputs", write_result_outputs(plan, args[1]));
    json_object_set_new(root, "type", json_string(result->type_name));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)n_bytes));
    json_object_set_new(root, "bpw", tool_json_real(quant_plan_bpw(plan)));
    json_object_set_new(root, "seconds", tool_json_real(tool_elapsed_s(t)));
    json_object_set_new(root, "tensors", tensors);
    if (result->allocation.tensors)
        json_object_set_new(root, "allocation", allocation_json(plan, &result->allocation));
    write_result_resumed(result, o, root);
    json_object_set_new(root, "warnings", write_result_warnings(result));
    tool_print_json(root);
}

static gguf_code quantize(tool *t, quantize_opts *o, gguf_error *err) {
    rt_import *import = NULL;
    write_result result = {0};
    const char *type = t->n_args > 2 ? t->args[2] : NULL;
    o->write.type = type && strcasecmp(type, "COPY") == 0 ? NULL : type;
    if (type && o->write.type && (o->write.target_bytes || o->write.target_bpw > 0) &&
        strcasecmp(type, "AUTO") != 0)
        write_result_warn(&result, t, "the target chooses the types; %s is not used", type);
    gguf_code code = rt_import_open(t->args[0], NULL, &import, err);
    for (size_t i = 0; i < o->n_overrides && !code; i++)
        code = keyvalue_set(rt_import_plan(import)->meta, o->overrides[i], err);
    if (!code) code = write_prepare(t, import, t->args[0], t->args[1], &o->write, &result, err);
    if (!code && !o->report.allow_requantize)
        code = quantize_check_source(rt_import_plan(import), t->args[0], err);
    if (!code && t->json && !o->write.dry_run) {
        result.loss = calloc(rt_import_plan(import)->n_tensors + 1, sizeof *result.loss);
        if (!result.loss) code = gguf_fail_memory(err);
    }
    if (!code) code = write_run(t, import, t->args[1], &o->write, &result, err);
    if (!code)
        print_result(t, rt_import_plan(import), (const char *const *)t->args, &o->write, &result);
    write_result_clear(&result);
    rt_import_close(import);
    return code;
}

/* Without its ending, and the type that it says it has. */
static size_t stem_of(const char *path) {
    static const char *const ends[] = {".gguf", "-bf16", "-f16", "-f32"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t len = strlen(ends[i]);
        if (n > len && strncasecmp(path + n - len, ends[i], len) == 0) n -= len;
    }
    return n;
}

/* IN TYPE: the output lies beside IN, called by the type. */
static gguf_code name_output(tool *t, char *out, size_t room, gguf_error *err) {
    static char *args[4];
    int n = snprintf(out, room, "%.*s-%s.gguf", (int)stem_of(t->args[0]), t->args[0], t->args[1]);
    if (n < 0 || (size_t)n >= room)
        return gguf_fail(err, GGUF_E_USAGE, t->args[0], GGUF_NO_OFFSET, "the name is too long");
    args[0] = t->args[0];
    args[1] = out;
    args[2] = t->args[1];
    t->args = args;
    t->n_args = 3;
    return GGUF_OK;
}

static bool is_type_name(const char *arg) {
    quant_recipe *recipe = NULL;
    bool known = strcasecmp(arg, "COPY") == 0 || gguf_type_layout_named(arg) ||
                 !quant_recipe_named(arg, &recipe, NULL);
    quant_recipe_free(recipe);
    return known;
}

/* IN TYPE [TYPE...] --report F.html */
static gguf_code report(tool *t, const quantize_opts *o, gguf_error *err) {
    gguf_code code = tool_refuse(t,
                                 "target-size target-bpw recipe manifest dry-run resume keep-split "
                                 "split-max-size split-max-tensors override override-kv",
                                 "has no effect with --report", err);
    if (code) return code;
    if (!o->report.text)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--report needs --text, a text to compare on");
    if (t->n_args < 2) return tool_fail_usage(t, "IN TYPE [TYPE...] with --report", err);
    return quantize_report_write(t, t->args[0], t->args + 1, t->n_args - 1, &o->write, &o->report,
                                 err);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    quantize_opts *o = ctx;
    char output[4096];
    if (o->report.page) return report(t, o, err);
    gguf_code bad = tool_refuse(t, "text chunks", "needs --report", err);
    if (bad) return bad;
    bool types_follow = o->write.recipe_file || o->write.target_bytes || o->write.target_bpw > 0;
    if (t->n_args == 2 && !types_follow && is_type_name(t->args[1])) {
        gguf_code code = name_output(t, output, sizeof output, err);
        return code ? code : quantize(t, o, err);
    }
    if (t->n_args == 3 || (t->n_args == 2 && types_follow)) return quantize(t, o, err);
    return tool_fail_usage(
        t, t->n_args == 4 ? "IN OUT TYPE; -t N sets the threads" : "IN OUT TYPE, or IN TYPE", err);
}

/* The summary with every recipe's name. */
static void describe(char *out, size_t room) {
    size_t len = (size_t)snprintf(out, room, "Quantise a model. TYPE:");
    for (size_t i = 0; quant_recipe_builtin(i) && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, " %s", quant_recipe_builtin(i));
    if (len < room)
        snprintf(out + len, room - len,
                 ", COPY, the number that general.file_type has for it, or with --pure any tensor "
                 "type.");
}

int main(int argc, char **argv) {
    quantize_opts o = {.write = write_opts_defaults()};
    char summary[600];
    describe(summary, sizeof summary);
    const tool_spec spec = {
        .name = "gguf-quantize",
        .usage = "IN.gguf [OUT.gguf] TYPE [options]\nIN.gguf OUT.gguf --recipe FILE [options]\n"
                 "IN.gguf OUT.gguf --target-size SIZE [options]\n"
                 "IN.gguf TYPE... --report F.html --text TEXT [options]",
        .summary = summary,
        .options = options,
        .groups = groups,
        .examples = "model.gguf model-q4.gguf Q4_K_M\n"
                    "model.gguf model-q4.gguf Q4_K_M --imatrix imatrix.gguf\n"
                    "model.gguf model-q4.gguf Q4_K_M --calibrate calibration.txt\n"
                    "model.gguf out.gguf --target-size 4G\n"
                    "model.gguf Q3_K_M 4.25bpw --report page.html --text test.txt",
        .set = set_option,
        .run = run,
        .shares = true,
        .ctx = &o,
        .reads = "imatrix recipe calibrate text",
        .output_arg = 2};
    int status = tool_main(&spec, argc, argv);
    write_opts_clear(&o.write);
    free(o.overrides);
    return status;
}
