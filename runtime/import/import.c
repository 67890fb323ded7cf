/* Opening a model for import. */
#include "libgguf/ends.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"
#include "libgguf/warnings.h"
#include "runtime/import/import_internal.h"
#include "runtime/tokenizer/tokenizer.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void rt_import_add_warning(rt_import *import, const char *format, ...) {
    va_list args;
    va_start(args, format);
    gguf_warnings_add(&import->warnings, &import->n_warnings, format, args);
    va_end(args);
}

void rt_import_add_warning_once(rt_import *import, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) return;
    for (size_t i = 0; i < import->n_warnings; i++)
        if (strcmp(import->warnings[i], text) == 0) {
            free(text);
            return;
        }
    gguf_warnings_take(&import->warnings, &import->n_warnings, text);
}

/* The folder that holds config and tokenizer: the path itself or, for a file, where it lies. */
static gguf_code set_folder(rt_import *import, const char *path, bool is_folder, gguf_error *err) {
    bool is_config = !is_folder && gguf_text_ends(path, ".json");
    if (is_folder) {
        import->folder = strdup(path);
    } else {
        char *copy = strdup(path);
        import->folder = copy ? strdup(dirname(copy)) : NULL;
        free(copy);
    }
    if (!import->folder || asprintf(&import->config_path, "%s%s", is_config ? path : import->folder,
                                    is_config ? "" : "/config.json") < 0)
        return gguf_fail_memory(err);
    return GGUF_OK;
}

static json_t *json_of(const rt_scalar *value) {
    if (value->kind == RT_SCALAR_FLAG) return json_boolean(value->flag);
    return value->kind == RT_SCALAR_NUMBER ? json_real(value->number) : json_string(value->text);
}

/* What config.json leaves out means what the class takes for granted. */
static gguf_code set_class_defaults(rt_import *import, const char *hf_class, const char *model_type,
                                    gguf_error *err) {
    static const rt_arch_class none = {.model_type = ""};
    const rt_arch_class *c = rt_arch_class_of(import->arch, hf_class, model_type);
    if (!c) c = &none;
    if (hf_class && model_type && strcmp(c->model_type, model_type) != 0)
        rt_import_add_warning(
            import,
            "config.json: 'architectures' names %s, which counts; 'model_type' is "
            "%s, not %s",
            hf_class, model_type, c->model_type);
    import->inner_name = c->config;
    import->inner_config = c->config ? json_object_get(import->config, c->config) : NULL;
    import->class_defaults = json_object();
    for (size_t i = 0; i < c->defaults.n; i++)
        if (json_object_set_new(import->class_defaults, c->defaults.list[i].name,
                                json_of(&c->defaults.list[i])) != 0)
            return gguf_fail_memory(err);
    return import->class_defaults ? GGUF_OK : gguf_fail_memory(err);
}

static gguf_code load_config(rt_import *import, gguf_error *err) {
    const gguf_memory_file *f =
        gguf_memory_file_named(import->memory, import->n_memory, "config.json");
    if (f)
        return gguf_json_parse(f->bytes, f->n_bytes, GGUF_JSON_WIDE_INTS, f->name, 0,
                               &import->config, err);
    if (!import->folder || access(import->config_path, F_OK) != 0)
        return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                         "no config.json here");
    return gguf_json_load(import->config_path, GGUF_JSON_WIDE_INTS, &import->config, err);
}

static const char *hf_class_of(const rt_import *import) {
    const json_t *classes = json_object_get(import->config, "architectures");
    return json_string_value(json_array_get(classes, 0));
}

/* Some classes are another architecture where the config has certain fields. */
static gguf_code open_variant(rt_import *import, const char *hf_class, const char *model_type,
                              gguf_error *err) {
    const rt_arch_class *c = rt_arch_class_of(import->arch, hf_class, model_type);
    import->inner_config = c && c->config ? json_object_get(import->config, c->config) : NULL;
    for (size_t i = 0; c && i < c->variants.n; i++) {
        const rt_scalar *variant = &c->variants.list[i];
        rt_arch *arch;
        if (!rt_config_get(import, variant->text)) continue;
        gguf_code code = rt_arch_open(gguf_str_of(variant->name), NULL, &arch, err);
        if (code) return code;
        rt_arch_close(import->arch);
        import->arch = arch;
        break;
    }
    return GGUF_OK;
}

static gguf_code open_config(rt_import *import, const char *arch_file, gguf_error *err) {
    gguf_code code = load_config(import, err);
    if (code) return code;
    const char *hf_class = hf_class_of(import);
    const char *model_type = json_string_value(json_object_get(import->config, "model_type"));
    if (!hf_class && !model_type)
        return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET,
                         "neither 'architectures' nor 'model_type' says what model this is");
    gguf_error why = {0};
    code = rt_arch_open_hf(hf_class, model_type, arch_file, &import->arch, &why);
    if (code) {
        const char *file = why.file[0] ? why.file : import->config_path;
        return gguf_fail(err, code, file, why.offset, "%s", why.message);
    }
    code = open_variant(import, hf_class, model_type, err);
    if (code) return code;
    import->architecture = strdup(rt_arch_name(import->arch));
    return import->architecture ? set_class_defaults(import, hf_class, model_type, err)
                                : gguf_fail_memory(err);
}

static gguf_code import_vocab(rt_import *import, gguf_error *err) {
    uint64_t n_vocab = 0;
    rt_vocab_report report = {0};
    /* Embeddings often have more rows than the tokenizer has tokens, also where no key says so. */
    if (!rt_import_key_u64(import, "vocab_size", &n_vocab))
        gguf_json_u64(rt_config_get(import, "vocab_size"), &n_vocab);
    gguf_code code =
        import->folder
            ? rt_vocab_import(import->folder, (uint32_t)n_vocab, import->plan.meta, &report, err)
            : rt_vocab_import_memory(import->memory, import->n_memory, (uint32_t)n_vocab,
                                     import->plan.meta, &report, err);
    for (size_t i = 0; i < report.n_warnings; i++)
        rt_import_add_warning(import, "%s", report.warnings[i]);
    rt_vocab_report_clear(&report);
    return code;
}

/* A folder with tokenizer files only gives a vocabulary without an architecture's keys. */
static gguf_code import_bare_vocab(rt_import *import, gguf_error *err) {
    import->architecture = strdup("none");
    if (!import->architecture) return gguf_fail_memory(err);
    gguf_code code = rt_import_general(import, err);
    return code ? code : import_vocab(import, err);
}

/* ---- adapters ----------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The folder of the base model: what the user says, or what the adapter says if that is here. */
static gguf_code find_base(const rt_import *import, const char *base, char **out, gguf_error *err) {
    const char *name =
        json_string_value(json_object_get(import->adapter, "base_model_name_or_path"));
    *out = NULL;
    if (base || (name && is_folder(name))) {
        *out = strdup(base ? base : name);
        return *out ? GGUF_OK : gguf_fail_memory(err);
    }
    if (name && asprintf(out, "%s/%s", import->folder, name) < 0) return gguf_fail_memory(err);
    if (name && is_folder(*out)) return GGUF_OK;
    free(*out);
    *out = NULL;
    return gguf_fail(
        err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
        "an adapter needs its model's config.json; '%s' is not here, use --base FOLDER",
        name ? name : "");
}

static gguf_code open_adapter_weights(rt_import *import, gguf_error *err) {
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin"};
    for (size_t i = 0; i < 2; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", import->folder, names[i]) < 0) return gguf_fail_memory(err);
        bool found = access(path, F_OK) == 0;
        gguf_code code = found ? gguf_checkpoint_open(path, &import->ckpt, err) : GGUF_OK;
        free(path);
        if (found) return code;
    }
    return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET, "no %s and no %s here",
                     names[0], names[1]);
}

static gguf_code import_adapter(rt_import *import, const rt_import_opts *opts, gguf_error *err) {
    char *base = NULL;
    gguf_code code = find_base(import, opts->base, &base, err);
    if (code) return code;
    free(import->config_path);
    import->config_path = NULL;
    if (asprintf(&import->config_path, "%s/config.json", base) < 0) code = gguf_fail_memory(err);
    free(base);
    if (!code) code = open_config(import, opts->arch_file, err);
    if (!code) code = rt_import_general(import, err);
    if (!code) code = rt_import_keys(import, err);
    if (!code) code = open_adapter_weights(import, err);
    if (!code) code = rt_import_adapter(import, err);
    if (!code) rt_import_describe(import);
    gguf_meta_set_u32(import->plan.meta, "general.quantization_version", 2);
    return code ? code : gguf_meta_status(import->plan.meta, err);
}

/* adapter_config.json tells an adapter's folder; *found says whether it is there. */
static gguf_code load_adapter_config(rt_import *import, bool *found, gguf_error *err) {
    char *path = NULL;
    if (asprintf(&path, "%s/adapter_config.json", import->folder) < 0) return gguf_fail_memory(err);
    *found = access(path, F_OK) == 0;
    gguf_code code =
        *found ? gguf_json_load(path, GGUF_JSON_WIDE_INTS, &import->adapter, err) : GGUF_OK;
    free(path);
    return code;
}

/* path: NULL if the folder is in memory */
static gguf_code open_weights(rt_import *import, const char *path, const rt_import_opts *opts,
                              gguf_error *err) {
    gguf_error why = {0};
    if (path && opts->shapes_suffice && gguf_text_ends(path, ".json")) return GGUF_OK;
    gguf_code code =
        path ? gguf_checkpoint_open(path, &import->ckpt, &why)
             : gguf_checkpoint_from_memory(import->memory, import->n_memory, &import->ckpt, &why);
    if (code == GGUF_E_MISSING && opts->shapes_suffice) return GGUF_OK;
    if (code && err && !err->code) *err = why;
    for (size_t i = 0; !code && i < gguf_checkpoint_n_warnings(import->ckpt); i++)
        rt_import_add_warning(import, "%s", gguf_checkpoint_warning(import->ckpt, i));
    return code;
}

/* Sizes can do without a tokenizer. */
static gguf_code import_vocab_if_any(rt_import *import, gguf_error *err) {
    gguf_error why = {0};
    gguf_code code = import_vocab(import, &why);
    if (code == GGUF_E_MISSING) return GGUF_OK;
    if (code && err && !err->code) *err = why;
    return code;
}

/* path: NULL if the folder is in memory */
static gguf_code import_checkpoint(rt_import *import, const char *path, const rt_import_opts *opts,
                                   gguf_error *err) {
    if (opts->vocab_only && path && access(import->config_path, F_OK) != 0)
        return import_bare_vocab(import, err);
    gguf_error why = {0};
    gguf_code code = open_config(import, opts->arch_file, &why);
    if (code == GGUF_E_UNSUPPORTED && opts->vocab_only) {
        rt_import_add_warning(import, "%s; only the tokenizer is read", why.message);
        return import_bare_vocab(import, err);
    }
    if (code && err && !err->code) *err = why;
    if (!code) code = rt_import_general(import, err);
    if (!code) code = rt_import_keys(import, err);
    if (!code) code = rt_import_pooling(import, hf_class_of(import), err);
    if (!code && !opts->vocab_only) {
        code = open_weights(import, path, opts, err);
        if (!code) code = rt_import_rope(import, err);
        if (!code) code = rt_import_dense(import, err);
        if (!code) code = rt_import_tensors(import, err);
        if (!code) code = rt_import_check_unread(import, err);
    }
    if (!code) rt_import_describe(import);
    gguf_meta_set_u32(import->plan.meta, "general.quantization_version", 2);
    if (!code)
        code = opts->shapes_suffice ? import_vocab_if_any(import, err) : import_vocab(import, err);
    return code ? code : gguf_meta_status(import->plan.meta, err);
}

static bool is_gguf_file(const char *path) {
    const char *dot = strrchr(path, '.');
    return gguf_file_has_magic(path) || (dot && strcmp(dot, ".gguf") == 0);
}

/* Before a config is looked for beside it. */
static gguf_code check_placeholder(const char *path, gguf_error *err) {
    char start[1024];
    int fd;
    uint64_t n_bytes;
    gguf_code code = gguf_open_regular(path, &fd, &n_bytes, err);
    if (code) return code;
    size_t n = n_bytes < sizeof start ? n_bytes : sizeof start;
    code = gguf_read_at(fd, path, start, n, 0, err);
    close(fd);
    return code ? code : gguf_placeholder_check(start, n, GGUF_EXPECTED_BINARY, path, err);
}

static gguf_code open_path(rt_import *import, const char *path, const rt_import_opts *opts,
                           gguf_error *err) {
    struct stat st;
    if (stat(path, &st) != 0)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open: %s", strerror(errno));
    gguf_code code = quant_plan_init(&import->plan, err);
    if (!code) code = set_folder(import, path, S_ISDIR(st.st_mode), err);
    if (code) return code;
    if (!S_ISDIR(st.st_mode) && is_gguf_file(path)) {
        code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &import->gguf, err);
        if (!code) code = rt_import_gguf(import, err);
        return code;
    }
    bool adapter = false;
    if (!S_ISDIR(st.st_mode)) code = check_placeholder(path, err);
    if (S_ISDIR(st.st_mode)) code = load_adapter_config(import, &adapter, err);
    if (code) return code;
    return adapter ? import_adapter(import, opts, err) : import_checkpoint(import, path, opts, err);
}

static gguf_code open_memory(rt_import *import, const rt_import_opts *opts, gguf_error *err) {
    gguf_code code = quant_plan_init(&import->plan, err);
    if (!code && !(import->config_path = strdup("config.json"))) code = gguf_fail_memory(err);
    return code ? code : import_checkpoint(import, NULL, opts, err);
}

/* path: NULL if the files are in memory */
static gguf_code open_import(const char *path, const gguf_memory_file *files, size_t n_files,
                             const rt_import_opts *opts, rt_import **out, gguf_error *err) {
    static const rt_import_opts defaults = {0};
    *out = NULL;
    rt_import *import = calloc(1, sizeof *import);
    if (!import) return gguf_fail_memory(err);
    import->memory = files;
    import->n_memory = n_files;
    if (!opts) opts = &defaults;
    import->arch_file = opts->arch_file;
    gguf_code code = path ? open_path(import, path, opts, err) : open_memory(import, opts, err);
    if (code) {
        rt_import_close(import);
        return code;
    }
    rt_tag_model(&import->plan, import->architecture);
    quant_plan_sort(&import->plan);
    *out = import;
    return GGUF_OK;
}

gguf_code rt_import_open(const char *path, const rt_import_opts *opts, rt_import **out,
                         gguf_error *err) {
    return open_import(path, NULL, 0, opts, out, err);
}

gguf_code rt_import_from_memory(const gguf_memory_file *files, size_t n_files,
                                const rt_import_opts *opts, rt_import **out, gguf_error *err) {
    return open_import(NULL, files, n_files, opts, out, err);
}

void rt_import_close(rt_import *import) {
    if (!import) return;
    quant_plan_clear(&import->plan);
    json_decref(import->config);
    json_decref(import->class_defaults);
    json_decref(import->quantisation);
    json_decref(import->adapter);
    rt_arch_close(import->arch);
    rt_import_clear_names(import);
    gguf_checkpoint_close(import->ckpt);
    gguf_file_close(import->gguf);
    for (size_t i = 0; i < import->n_warnings; i++) free(import->warnings[i]);
    free(import->warnings);
    free(import->names);
    free(import->used);
    free(import->architecture);
    free(import->layer_kinds);
    free(import->config_path);
    free(import->folder);
    free(import);
}

quant_plan *rt_import_plan(rt_import *import) {
    return &import->plan;
}

const char *rt_import_architecture(const rt_import *import) {
    return import->architecture;
}

bool rt_import_is_shapes(const rt_import *import) {
    return !import->gguf && !import->ckpt;
}

bool rt_import_is_gguf(const rt_import *import) {
    return import->gguf != NULL;
}

size_t rt_import_n_warnings(const rt_import *import) {
    return import->n_warnings;
}

const char *rt_import_warning(const rt_import *import, size_t i) {
    return import->warnings[i];
}

size_t rt_import_n_files(const rt_import *import) {
    return import->ckpt && !import->memory ? gguf_checkpoint_n_files(import->ckpt) : 0;
}

const char *rt_import_file(const rt_import *import, size_t i) {
    return gguf_checkpoint_file_path(import->ckpt, i);
}
