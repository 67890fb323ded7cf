/* gguf-convert: a Hugging Face model in, a GGUF file out. */
#include "libgguf/checked.h"
#include "libgguf/ends.h"
#include "libgguf/map.h"
#include "runtime/model/arch.h"
#include "tools/common/keyvalue.h"
#include "tools/common/write_model.h"
#include "tools/convert/check_tokenizer.h"
#include "tools/convert/metadata.h"
#include "tools/convert/to_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    OPT_OUTTYPE = TOOL_LONG_ONLY,
    OPT_VOCAB_ONLY,
    OPT_ARCH_FILE,
    OPT_LIST_ARCHS,
    OPT_CHECK_TOKENIZER,
    OPT_METADATA,
    OPT_OVERRIDE,
    OPT_BASE
};

static const tool_option options[] = {
    {'o', "output", "OUT", "the file to write; of a GGUF file, the folder"},
    {OPT_OUTTYPE, "outtype", "TYPE",
     "auto (the source's precision), f32, f16, bf16, q8_0, Q4_K_M, ..."},
    {OPT_VOCAB_ONLY, "vocab-only", NULL, "metadata and tokenizer, no tensors"},
    {OPT_BASE, "base", "FOLDER", "the model that a LoRA adapter belongs to"},
    {OPT_METADATA, "metadata", "F.yaml", "name, license, tags, ... and further keys"},
    {OPT_OVERRIDE, "override", "KEY=TYPE:VALUE", "set a key (repeatable)"},
    WRITE_OPTIONS,
    {OPT_ARCH_FILE, "arch-file", "F.yaml", "an architecture description of your own"},
    {OPT_LIST_ARCHS, "list-archs", NULL, "list the supported architectures"},
    {OPT_CHECK_TOKENIZER, "check-tokenizer", "F.json",
     "compare token ids with a list of {text, ids}"},
    {OPT_OVERRIDE, "override-kv", "KEY=TYPE:VALUE", NULL},
    {0},
};

static const tool_group groups[] = {{"output", "What is written"},
                                    {"metadata", "Metadata"},
                                    {"imatrix", "Quantising"},
                                    {"split-max-size", "Files and memory"},
                                    {"arch-file", "Architectures, tokenizers"},
                                    {0}};

typedef struct convert_opts {
    write_opts write;
    rt_import_opts import;
    const char *output, *check_file, *metadata_file;
    const char **overrides; /* [n_overrides] */
    size_t n_overrides;
    bool list_archs;
} convert_opts;

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    convert_opts *o = ctx;
    switch (id) {
    case 'o':
        o->output = arg;
        break;
    case OPT_OUTTYPE:
        o->write.type = strcasecmp(arg, "auto") == 0 ? NULL : arg;
        break;
    case OPT_VOCAB_ONLY:
        o->import.vocab_only = true;
        break;
    case OPT_ARCH_FILE:
        o->import.arch_file = arg;
        break;
    case OPT_LIST_ARCHS:
        o->list_archs = true;
        break;
    case OPT_CHECK_TOKENIZER:
        o->check_file = arg;
        break;
    case OPT_METADATA:
        o->metadata_file = arg;
        break;
    case OPT_OVERRIDE:
        return tool_add_value(&o->overrides, &o->n_overrides, arg, err);
    case OPT_BASE:
        o->import.base = arg;
        break;
    default:
        return write_opts_set(&o->write, id, arg, err);
    }
    return GGUF_OK;
}

/* ---- list-archs -------------------------------------------------------------------------- */

static void list_arch(void *ctx, const char *hf_class, const char *gguf_name) {
    json_t *list = ctx;
    if (list)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "class", hf_class, "architecture", gguf_name));
    else
        printf("%-32s %s\n", hf_class, gguf_name);
}

static gguf_code list_archs(const tool *t, gguf_error *err) {
    json_t *list = t->json ? json_array() : NULL;
    gguf_code code = rt_arch_list(list_arch, list, err);
    if (list && !code)
        tool_print_json(json_pack("{s:o}", "architectures", list));
    else
        json_decref(list);
    return code;
}

/* ---- converting -------------------------------------------------------------------------- */

static json_t *tokenizer_json(const gguf_meta *meta) {
    gguf_str text;
    json_t *tokenizer = json_object();
    if (gguf_kv_str(gguf_meta_find(meta, "tokenizer.ggml.model"), &text))
        json_object_set_new(tokenizer, "model", tool_json_bytes(text.ptr, text.len));
    if (gguf_kv_str(gguf_meta_find(meta, "tokenizer.ggml.pre"), &text))
        json_object_set_new(tokenizer, "pre", tool_json_bytes(text.ptr, text.len));
    const gguf_kv *tokens = gguf_meta_find(meta, "tokenizer.ggml.tokens");
    json_object_set_new(tokenizer, "n_tokens",
                        json_integer(tokens ? (json_int_t)tokens->count : 0));
    return tokenizer;
}

static void print_result(tool *t, rt_import *import, const convert_opts *o,
                         const write_result *result) {
    const quant_plan *plan = rt_import_plan(import);
    char size[32];
    double n_params = 0;
    for (size_t i = 0; i < plan->n_tensors; i++)
        n_params += (double)gguf_tensor_n_elems(&plan->tensors[i].out);
    if (!t->json) {
        if (!o->write.dry_run)
            tool_note(t, "%s: %s, %zu tensor%s, %.4g million parameters, %s, %s, %.1f s", o->output,
                      rt_import_architecture(import), plan->n_tensors, tool_s(plan->n_tensors),
                      n_params / 1e6, result->type_name,
                      tool_size_text(quant_plan_file_bytes(plan), size, sizeof size),
                      tool_elapsed_s(t));
        return;
    }
    json_t *root = json_object();
    json_object_set_new(root, "output",
                        o->output ? tool_json_bytes(o->output, strlen(o->output)) : json_null());
    json_object_set_new(root, "outputs",
                        o->output ? write_result_outputs(plan, o->output) : json_array());
    json_object_set_new(root, "architecture", json_string(rt_import_architecture(import)));
    json_object_set_new(root, "n_tensors", json_integer((json_int_t)plan->n_tensors));
    json_object_set_new(root, "n_params", json_integer((json_int_t)n_params));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)quant_plan_file_bytes(plan)));
    json_object_set_new(root, "seconds", tool_json_real(tool_elapsed_s(t)));
    json_object_set_new(root, "tokenizer", tokenizer_json(plan->meta));
    write_result_resumed(result, &o->write, root);
    json_object_set_new(root, "warnings", write_result_warnings(result));
    tool_print_json(root);
}

/* An alignment that the user asks for holds for the tensors too. */
static gguf_code set_alignment(quant_plan *plan, gguf_error *err) {
    const gguf_kv *kv = gguf_meta_find(plan->meta, "general.alignment");
    uint64_t value = 0;
    if (!kv) return GGUF_OK;
    if (kv->type != GGUF_VALUE_U32 || !gguf_kv_u64(kv, &value) || !gguf_is_power_of_two(value) ||
        value > GGUF_MAX_ALIGNMENT)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "general.alignment must be a u32, a power of two up to %u",
                         GGUF_MAX_ALIGNMENT);
    plan->alignment = (uint32_t)value;
    return GGUF_OK;
}

/* Only an adapter has a base. */
static gguf_code check_base(const tool *t, rt_import *import, gguf_error *err) {
    gguf_str type;
    const gguf_kv *kv = gguf_meta_find(rt_import_plan(import)->meta, "general.type");
    if (gguf_kv_str(kv, &type) && gguf_str_eq(type, "adapter")) return GGUF_OK;
    return tool_refuse(t, "base", "has no effect: INPUT is not a LoRA adapter", err);
}

/* What the user says comes last. */
static gguf_code set_metadata(rt_import *import, const convert_opts *o, gguf_error *err) {
    gguf_meta *meta = rt_import_plan(import)->meta;
    gguf_code code = GGUF_OK;
    gguf_meta_set_str(meta, "ggufkit.tool", gguf_str_of("gguf-convert " GGUFKIT_VERSION));
    if (o->metadata_file) code = metadata_load(o->metadata_file, meta, err);
    for (size_t i = 0; i < o->n_overrides && !code; i++)
        code = keyvalue_set(meta, o->overrides[i], err);
    return code ? code : set_alignment(rt_import_plan(import), err);
}

/* A folder from a GGUF file; to another GGUF file is gguf-quantize's work. */
static gguf_code convert_back(tool *t, const convert_opts *o, gguf_error *err) {
    gguf_code code =
        tool_takes_only(t, "a GGUF file as INPUT",
                        "output outtype arch-file split-max-size resume dry-run max-memory", err);
    return code ? code : to_folder(t, t->args[0], o->output, o->import.arch_file, &o->write, err);
}

static gguf_code convert(tool *t, const convert_opts *o, gguf_error *err) {
    rt_import *import = NULL;
    write_result result = {0};
    if (!o->output && !o->write.dry_run)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "-o OUT is missing");
    bool to_gguf = o->output && gguf_text_ends(o->output, ".gguf");
    if (!to_gguf && gguf_file_has_magic(t->args[0])) return convert_back(t, o, err);
    gguf_code code = rt_import_open(t->args[0], &o->import, &import, err);
    if (!code && rt_import_is_gguf(import))
        code = gguf_fail(err, GGUF_E_USAGE, t->args[0], GGUF_NO_OFFSET,
                         "this is a GGUF file already; gguf-quantize changes its types, and -o "
                         "FOLDER makes a Hugging Face folder of it");
    if (!code) code = check_base(t, import, err);
    if (!code) code = set_metadata(import, o, err);
    if (!code) code = write_prepare(t, import, t->args[0], o->output, &o->write, &result, err);
    if (!code) code = write_run(t, import, o->output, &o->write, &result, err);
    if (!code) print_result(t, import, o, &result);
    write_result_clear(&result);
    rt_import_close(import);
    return code;
}

/* Options that what is asked for has no use for. */
static gguf_code check_options(const tool *t, const convert_opts *o, gguf_error *err) {
    if (o->list_archs) return tool_takes_only(t, "--list-archs", "list-archs", err);
    if (o->check_file) return tool_takes_only(t, "--check-tokenizer", "check-tokenizer", err);
    if (!o->import.vocab_only) return GGUF_OK;
    return tool_takes_only(t, "--vocab-only",
                           "vocab-only output metadata override arch-file dry-run", err);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const convert_opts *o = ctx;
    gguf_code code = check_options(t, o, err);
    if (code) return code;
    if (o->list_archs && t->n_args)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--list-archs takes no INPUT (see --help)");
    if (!o->list_archs && t->n_args != 1) return tool_fail_usage(t, "one INPUT", err);
    if (o->list_archs) return list_archs(t, err);
    if (o->check_file) return check_tokenizer(t, t->args[0], o->check_file, err);
    return convert(t, o, err);
}

int main(int argc, char **argv) {
    convert_opts o = {.write = write_opts_defaults()};
    const tool_spec spec = {
        .name = "gguf-convert",
        .usage = "INPUT -o OUT.gguf [options]\nF.gguf -o FOLDER [options]\n"
                 "INPUT --check-tokenizer F.json\n--list-archs",
        .summary =
            "Convert a Hugging Face model folder, or one .safetensors file with its config beside "
            "it, to GGUF; or a GGUF file to such a folder.",
        .options = options,
        .groups = groups,
        .examples = "Llama-3.2-1B -o model.gguf             # as precise as it is\n"
                    "Llama-3.2-1B -o out.gguf --outtype Q8_0\n"
                    "Llama-3.2-1B -o model.gguf --dry-run   # what would be written",
        .set = set_option,
        .run = run,
        .shares = true,
        .ctx = &o,
        .reads = "imatrix recipe check-tokenizer metadata arch-file"};
    int status = tool_main(&spec, argc, argv);
    free(o.overrides);
    return status;
}
