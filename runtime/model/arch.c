/* Finding architecture descriptions. */
#include "runtime/model/arch.h"
#include "runtime/model/arch_read.h"

#include <string.h>

extern const gguf_embedded rt_builtin_archs[];

static bool has_name(const gguf_yaml_doc *doc, gguf_str name) {
    return gguf_str_eq(name, gguf_yaml_text(gguf_yaml_root(doc), "architecture", ""));
}

/* A built-in file has the name of its architecture. *doc may be NULL. */
static gguf_code find_named(gguf_str name, gguf_yaml_doc **doc, gguf_error *err) {
    const gguf_embedded *entry = rt_builtin_archs;
    while (entry->name && !gguf_str_eq(name, entry->name)) entry++;
    return entry->name ? rt_arch_parse_embedded(entry, doc, err) : GGUF_OK;
}

static bool answers(const gguf_yaml_doc *doc, const char *hf_class, const char *model_type) {
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(doc), "huggingface");
    const char *field = hf_class ? "class" : "model_type", *text = hf_class ? hf_class : model_type;
    for (const gguf_yaml *hf = list ? list->first : NULL; hf; hf = hf->next)
        if (strcmp(gguf_yaml_text(hf, field, ""), text) == 0) return true;
    return false;
}

const rt_arch_class *rt_arch_class_of(const rt_arch *arch, const char *hf_class,
                                      const char *model_type) {
    for (size_t i = 0; i < arch->n_classes; i++) {
        const rt_arch_class *c = &arch->classes[i];
        if (strcmp(hf_class ? c->name : c->model_type, hf_class ? hf_class : model_type) == 0)
            return c;
    }
    return NULL;
}

/* Why a class that is known by name only is not computed yet. */
static const char *reason_of(const gguf_yaml_doc *doc, const char *hf_class,
                             const char *model_type) {
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(doc), "huggingface");
    const char *field = hf_class ? "class" : "model_type", *text = hf_class ? hf_class : model_type;
    for (const gguf_yaml *hf = list ? list->first : NULL; hf; hf = hf->next)
        if (strcmp(gguf_yaml_text(hf, field, ""), text) == 0)
            return gguf_yaml_text(hf, "reason", "nobody has described it");
    return "";
}

/* The first built-in description that answers; *doc may be NULL. */
static gguf_code find_hf(const char *hf_class, const char *model_type, gguf_yaml_doc **doc,
                         gguf_error *err) {
    for (const gguf_embedded *entry = rt_builtin_archs; entry->name; entry++) {
        gguf_code code = rt_arch_parse_embedded(entry, doc, err);
        if (code || answers(*doc, hf_class, model_type)) return code;
        gguf_yaml_free(*doc);
        *doc = NULL;
    }
    return GGUF_OK;
}

static bool is_planned(const gguf_yaml_doc *doc) {
    bool planned = false;
    gguf_yaml_bool(gguf_yaml_get(gguf_yaml_root(doc), "planned"), &planned);
    return planned;
}

gguf_code rt_arch_open(gguf_str name, const char *arch_file, rt_arch **out, gguf_error *err) {
    gguf_yaml_doc *doc = NULL;
    *out = NULL;
    gguf_code code = arch_file ? gguf_yaml_load(arch_file, &doc, err) : find_named(name, &doc, err);
    if (code) return code;
    if (!doc || !has_name(doc, name)) {
        gguf_yaml_free(doc);
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the architecture '%.*s' is not supported", (int)name.len, name.ptr);
    }
    return rt_arch_read(doc, rt_builtin_archs, out, err);
}

gguf_code rt_arch_open_hf(const char *hf_class, const char *model_type, const char *arch_file,
                          rt_arch **out, gguf_error *err) {
    gguf_yaml_doc *doc = NULL;
    gguf_code code = GGUF_OK;
    *out = NULL;
    if (hf_class || model_type)
        code = arch_file ? gguf_yaml_load(arch_file, &doc, err)
                         : find_hf(hf_class, model_type, &doc, err);
    if (code) return code;
    if (!doc)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the architecture '%s' is not supported (gguf-convert --list-archs lists "
                         "those that are)",
                         hf_class     ? hf_class
                         : model_type ? model_type
                                      : "");
    if (is_planned(doc)) {
        code = gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the architecture '%s' is not supported yet: %s",
                         hf_class ? hf_class : model_type, reason_of(doc, hf_class, model_type));
        gguf_yaml_free(doc);
        return code;
    }
    return rt_arch_read(doc, rt_builtin_archs, out, err);
}

gguf_code rt_arch_parse(const char *text, size_t len, const char *file, rt_arch **out,
                        gguf_error *err) {
    gguf_yaml_doc *doc;
    *out = NULL;
    gguf_code code = gguf_yaml_parse(text, len, file, &doc, err);
    return code ? code : rt_arch_read(doc, rt_builtin_archs, out, err);
}

const char *rt_arch_name(const rt_arch *arch) {
    return arch->name;
}

const rt_arch_compute *rt_arch_compute_of(const rt_arch *arch) {
    return &arch->compute;
}

/* A class may stand in several entries, for files that differ. */
static bool stands_before(const gguf_yaml *list, const gguf_yaml *hf) {
    const char *name = gguf_yaml_text(hf, "class", "");
    const gguf_yaml *at = list->first;
    while (at != hf && strcmp(gguf_yaml_text(at, "class", ""), name) != 0) at = at->next;
    return at != hf;
}

gguf_code rt_arch_list(void (*fn)(void *ctx, const char *hf_class, const char *gguf_name),
                       void *ctx, gguf_error *err) {
    for (const gguf_embedded *entry = rt_builtin_archs; entry->name; entry++) {
        gguf_yaml_doc *doc;
        gguf_code code = rt_arch_parse_embedded(entry, &doc, err);
        if (code) return code;
        const gguf_yaml *root = gguf_yaml_root(doc), *list = gguf_yaml_get(root, "huggingface");
        for (const gguf_yaml *hf = list ? list->first : NULL; hf && !is_planned(doc); hf = hf->next)
            if (!stands_before(list, hf))
                fn(ctx, gguf_yaml_text(hf, "class", ""), gguf_yaml_text(root, "architecture", ""));
        gguf_yaml_free(doc);
    }
    return GGUF_OK;
}
