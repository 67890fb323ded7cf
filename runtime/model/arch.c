/* Reading architecture descriptions. */
#include "runtime/model/arch.h"
#include "libgguf/embed.h"
#include "runtime/model/arch_fields.h"

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
                                        {"relu_squared", RT_ACT_RELU_SQUARED},
                                        {"swiglu_clamped", RT_ACT_SWIGLU_CLAMPED},
                                        {NULL, 0}};
static const flag_name recurrents[] = {
    {"none", RT_MIXER_NONE}, {"mamba2", RT_MIXER_MAMBA2}, {NULL, 0}};
static const flag_name mixers[] = {{"with_ffn", false}, {"single", true}, {NULL, 0}};
static const flag_name residuals[] = {{"sequential", false}, {"parallel", true}, {NULL, 0}};
static const flag_name outputs[] = {{"logits", false}, {"hidden", true}, {NULL, 0}};
static const flag_name embedding_scales[] = {{"none", false}, {"sqrt_width", true}, {NULL, 0}};
static const flag_name logit_scales[] = {{"divide", false}, {"multiply", true}, {NULL, 0}};
static const flag_name window_ropes[] = {{"same", false}, {"plain", true}, {NULL, 0}};
static const flag_name rope_layers[] = {{"all", false}, {"windowed", true}, {NULL, 0}};
static const flag_name gatings[] = {{"softmax", RT_GATING_SOFTMAX},
                                    {"sigmoid", RT_GATING_SIGMOID},
                                    {"softmax_selected", RT_GATING_SOFTMAX_SELECTED},
                                    {NULL, 0}};
static const flag_name switches[] = {{"false", false}, {"true", true}, {NULL, 0}};

typedef struct flag_reader {
    const rt_arch *arch;
    const gguf_yaml *compute;
    gguf_code code;
    gguf_error *err;
} flag_reader;

/* absent NULL: the flag is needed. */
static int read_flag(flag_reader *r, const char *field, const flag_name *names,
                     const char *absent) {
    const char *text = gguf_yaml_text(r->compute, field, absent ? absent : "");
    for (; names->name; names++)
        if (strcmp(names->name, text) == 0) return names->value;
    if (!r->code)
        r->code = gguf_yaml_fail(r->arch->doc, r->compute, r->err,
                                 "compute.%s is '%s', which is not known", field, text);
    return 0;
}

static uint32_t read_number(flag_reader *r, const char *field) {
    const gguf_yaml *node = gguf_yaml_get(r->compute, field);
    int64_t value = 0;
    if (node && (!gguf_yaml_i64(node, &value) || value < 0 || value > UINT32_MAX) && !r->code)
        r->code = gguf_yaml_fail(r->arch->doc, node, r->err, "compute.%s is not a count", field);
    return (uint32_t)value;
}

static gguf_code read_compute(rt_arch *arch, gguf_error *err) {
    const gguf_yaml *compute = gguf_yaml_get(gguf_yaml_root(arch->doc), "compute");
    const gguf_yaml *needs = gguf_yaml_get(compute, "needs");
    flag_reader r = {.arch = arch, .compute = compute, .err = err};
    arch->compute = (rt_arch_compute){
        .norm = (rt_norm)read_flag(&r, "norm", norms, NULL),
        .rope = (rt_rope)read_flag(&r, "rope", ropes, NULL),
        .activation = (rt_activation)read_flag(&r, "activation", activations, NULL),
        .recurrent = (rt_mixer)read_flag(&r, "recurrent", recurrents, "none"),
        .single_mixer = read_flag(&r, "layers", mixers, "with_ffn"),
        .parallel = read_flag(&r, "residual", residuals, "sequential"),
        .hidden_output = read_flag(&r, "output", outputs, "logits"),
        .embeddings_by_width = read_flag(&r, "embedding_scale", embedding_scales, "none"),
        .multiply_logits = read_flag(&r, "logit_scale", logit_scales, "divide"),
        .plain_window_rope = read_flag(&r, "window_rope", window_ropes, "same"),
        .rope_windowed = read_flag(&r, "rope_layers", rope_layers, "all"),
        .norm_experts = read_flag(&r, "expert_weights_norm", switches, "false"),
        .gating = (rt_gating)read_flag(&r, "expert_gating", gatings, "softmax"),
        .window_period = read_number(&r, "window_period"),
        .rope_period = read_number(&r, "rope_period"),
        .window_rope_base = read_number(&r, "window_rope_base"),
        .scores_by_width_layers = read_number(&r, "scores_by_width_layers"),
        .ffn_norm = gguf_yaml_text(compute, "ffn_norm", "ffn_norm"),
        .needs = needs ? needs->first : NULL,
    };
    return r.code;
}

static gguf_code open_doc(gguf_yaml_doc *doc, rt_arch **out, gguf_error *err) {
    rt_arch *arch = calloc(1, sizeof *arch);
    if (!arch) {
        gguf_yaml_free(doc);
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    }
    arch->doc = doc;
    arch->name = gguf_yaml_text(gguf_yaml_root(doc), "architecture", "");
    gguf_code code =
        gguf_yaml_check(doc, gguf_yaml_root(doc), rt_arch_fields, "the description", err);
    if (!code) code = read_compute(arch, err);
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

static bool has_name(const gguf_yaml_doc *doc, gguf_str name) {
    return gguf_str_eq(name, gguf_yaml_text(gguf_yaml_root(doc), "architecture", ""));
}

/* A built-in file has the name of its architecture. *doc may be NULL. */
static gguf_code find_named(gguf_str name, gguf_yaml_doc **doc, gguf_error *err) {
    const gguf_embedded *entry = rt_builtin_archs;
    while (entry->name && !gguf_str_eq(name, entry->name)) entry++;
    return entry->name ? parse_builtin(entry, doc, err) : GGUF_OK;
}

const gguf_yaml *rt_arch_class(const gguf_yaml_doc *doc, const char *hf_class,
                               const char *model_type) {
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(doc), "huggingface");
    const char *field = hf_class ? "class" : "model_type", *text = hf_class ? hf_class : model_type;
    for (const gguf_yaml *hf = list ? list->first : NULL; hf; hf = hf->next)
        if (strcmp(gguf_yaml_text(hf, field, ""), text) == 0) return hf;
    return NULL;
}

/* The first built-in description that answers; *doc may be NULL. */
static gguf_code find_hf(const char *hf_class, const char *model_type, gguf_yaml_doc **doc,
                         gguf_error *err) {
    for (const gguf_embedded *entry = rt_builtin_archs; entry->name; entry++) {
        gguf_code code = parse_builtin(entry, doc, err);
        if (code || rt_arch_class(*doc, hf_class, model_type)) return code;
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
    return open_doc(doc, out, err);
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
