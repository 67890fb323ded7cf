/* Reading architecture descriptions. */
#include "runtime/arch.h"
#include "libgguf/embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const gguf_embedded rt_builtin_archs[];

struct rt_arch {
    gguf_yaml_doc *doc;
    const char *name;
    rt_arch_compute compute;
};

typedef struct flag_name {
    const char *name;
    int value;
} flag_name;

static const flag_name norms[] = {{"rms", RT_NORM_RMS}, {"layer", RT_NORM_LAYER}, {NULL, 0}};
static const flag_name ropes[] = {
    {"none", RT_ROPE_NONE}, {"adjacent", RT_ROPE_ADJACENT}, {"halves", RT_ROPE_HALVES}, {NULL, 0}};
static const flag_name activations[] = {{"silu", RT_ACT_SILU},
                                        {"gelu_tanh", RT_ACT_GELU_TANH},
                                        {"gelu_erf", RT_ACT_GELU_ERF},
                                        {NULL, 0}};

static gguf_code read_flag(const rt_arch *arch, const char *field, const flag_name *names,
                           int *value, gguf_error *err) {
    const gguf_yaml *compute = gguf_yaml_get(gguf_yaml_root(arch->doc), "compute");
    const char *text = gguf_yaml_text(compute, field, "");
    for (; names->name; names++) {
        if (strcmp(names->name, text) != 0) continue;
        *value = names->value;
        return GGUF_OK;
    }
    return gguf_yaml_fail(arch->doc, compute, err, "compute.%s is '%s', which is not known", field,
                          text);
}

static gguf_code read_compute(rt_arch *arch, gguf_error *err) {
    int norm = 0, rope = 0, activation = 0;
    gguf_code code = read_flag(arch, "norm", norms, &norm, err);
    if (!code) code = read_flag(arch, "rope", ropes, &rope, err);
    if (!code) code = read_flag(arch, "activation", activations, &activation, err);
    const gguf_yaml *needs =
        gguf_yaml_get(gguf_yaml_get(gguf_yaml_root(arch->doc), "compute"), "needs");
    arch->compute = (rt_arch_compute){(rt_norm)norm, (rt_rope)rope, (rt_activation)activation,
                                      needs ? needs->first : NULL};
    return code;
}

static gguf_code open_doc(gguf_yaml_doc *doc, rt_arch **out, gguf_error *err) {
    rt_arch *arch = calloc(1, sizeof *arch);
    if (!arch) {
        gguf_yaml_free(doc);
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    }
    arch->doc = doc;
    arch->name = gguf_yaml_text(gguf_yaml_root(doc), "architecture", "");
    gguf_code code = *arch->name ? read_compute(arch, err)
                                 : gguf_yaml_fail(doc, NULL, err, "no architecture is named");
    if (code)
        rt_arch_close(arch);
    else
        *out = arch;
    return code;
}

static gguf_code parse_builtin(const gguf_embedded *entry, gguf_yaml_doc **doc, gguf_error *err) {
    char file[128];
    snprintf(file, sizeof file, "configs/arch/%s.yaml", entry->name);
    return gguf_yaml_parse(entry->text, entry->n_bytes, file, doc, err);
}

typedef bool (*doc_matches)(const gguf_yaml_doc *doc, const void *wanted);

/* The first built-in description that matches, or the one in arch_file if it does; *doc may be
 * NULL. */
static gguf_code find_doc(const char *arch_file, doc_matches matches, const void *wanted,
                          gguf_yaml_doc **doc, gguf_error *err) {
    *doc = NULL;
    if (arch_file) return gguf_yaml_load(arch_file, doc, err);
    for (const gguf_embedded *entry = rt_builtin_archs; entry->name; entry++) {
        gguf_code code = parse_builtin(entry, doc, err);
        if (code || matches(*doc, wanted)) return code;
        gguf_yaml_free(*doc);
        *doc = NULL;
    }
    return GGUF_OK;
}

static bool has_name(const gguf_yaml_doc *doc, const void *wanted) {
    const gguf_str *name = wanted;
    return gguf_str_eq(*name, gguf_yaml_text(gguf_yaml_root(doc), "architecture", ""));
}

typedef struct hf_wanted {
    const char *hf_class, *model_type;
} hf_wanted;

const gguf_yaml *rt_arch_class(const gguf_yaml_doc *doc, const char *hf_class,
                               const char *model_type) {
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(doc), "huggingface");
    const char *field = hf_class ? "class" : "model_type", *text = hf_class ? hf_class : model_type;
    for (const gguf_yaml *hf = list ? list->first : NULL; hf; hf = hf->next)
        if (strcmp(gguf_yaml_text(hf, field, ""), text) == 0) return hf;
    return NULL;
}

static bool answers_to(const gguf_yaml_doc *doc, const void *wanted) {
    const hf_wanted *w = wanted;
    return rt_arch_class(doc, w->hf_class, w->model_type) != NULL;
}

static bool is_planned(const gguf_yaml_doc *doc) {
    bool planned = false;
    gguf_yaml_bool(gguf_yaml_get(gguf_yaml_root(doc), "planned"), &planned);
    return planned;
}

gguf_code rt_arch_open(gguf_str name, const char *arch_file, rt_arch **out, gguf_error *err) {
    gguf_yaml_doc *doc;
    *out = NULL;
    gguf_code code = find_doc(arch_file, has_name, &name, &doc, err);
    if (code) return code;
    if (!doc || !has_name(doc, &name)) {
        gguf_yaml_free(doc);
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the architecture '%.*s' is not supported", (int)name.len, name.ptr);
    }
    return open_doc(doc, out, err);
}

gguf_code rt_arch_open_hf(const char *hf_class, const char *model_type, const char *arch_file,
                          rt_arch **out, gguf_error *err) {
    gguf_yaml_doc *doc = NULL;
    hf_wanted wanted = {hf_class, model_type};
    *out = NULL;
    gguf_code code =
        hf_class || model_type ? find_doc(arch_file, answers_to, &wanted, &doc, err) : GGUF_OK;
    if (code) return code;
    if (!doc)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the architecture '%s' is not supported (gguf-convert --list-archs lists "
                         "those that are)",
                         hf_class     ? hf_class
                         : model_type ? model_type
                                      : "");
    if (is_planned(doc)) {
        gguf_yaml_free(doc);
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the architecture '%s' is not supported yet",
                         hf_class ? hf_class : model_type);
    }
    return open_doc(doc, out, err);
}

gguf_code rt_arch_parse(const char *text, size_t len, const char *file, rt_arch **out,
                        gguf_error *err) {
    gguf_yaml_doc *doc;
    *out = NULL;
    gguf_code code = gguf_yaml_parse(text, len, file, &doc, err);
    return code ? code : open_doc(doc, out, err);
}

void rt_arch_close(rt_arch *arch) {
    if (!arch) return;
    gguf_yaml_free(arch->doc);
    free(arch);
}

const char *rt_arch_name(const rt_arch *arch) {
    return arch->name;
}

const rt_arch_compute *rt_arch_compute_of(const rt_arch *arch) {
    return &arch->compute;
}

const gguf_yaml_doc *rt_arch_doc(const rt_arch *arch) {
    return arch->doc;
}

gguf_code rt_arch_list(void (*fn)(void *ctx, const char *hf_class, const char *gguf_name),
                       void *ctx, gguf_error *err) {
    for (const gguf_embedded *entry = rt_builtin_archs; entry->name; entry++) {
        gguf_yaml_doc *doc;
        gguf_code code = parse_builtin(entry, &doc, err);
        if (code) return code;
        const gguf_yaml *root = gguf_yaml_root(doc), *list = gguf_yaml_get(root, "huggingface");
        for (const gguf_yaml *hf = list ? list->first : NULL; hf && !is_planned(doc); hf = hf->next)
            fn(ctx, gguf_yaml_text(hf, "class", ""), gguf_yaml_text(root, "architecture", ""));
        gguf_yaml_free(doc);
    }
    return GGUF_OK;
}
