/* LoRA adapters in PEFT's layout: for a weight X two tensors, X.lora_A [rank][n_in] and X.lora_B
 * [n_out][rank]. B's rows move as those of the weight do. */
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 512

typedef const gguf_checkpoint_tensor tensor;

/* "model.layers.0.q_proj.weight" -> "model.layers.0.q_proj.lora_A.weight" */
static tensor *find_half(rt_import *import, const char *weight, char half) {
    char name[MAX_NAME + 16];
    size_t n = strlen(weight), suffix = strlen(".weight");
    if (n < suffix || strcmp(weight + n - suffix, ".weight") != 0) return NULL;
    snprintf(name, sizeof name, "%.*s.lora_%c.weight", (int)(n - suffix), weight, half);
    return rt_import_find(import, name);
}

static gguf_code fail(const rt_import *import, tensor *t, gguf_code code, const char *what,
                      gguf_error *err) {
    return gguf_fail(err, code, gguf_checkpoint_file_path(import->ckpt, t->file), (int64_t)t->off,
                     "tensor '%s' %s", t->name.ptr, what);
}

/* The rows of B move as those of the weight do. */
static gguf_code move_rows(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                           tensor *src, quant_plan_tensor *t, gguf_error *err) {
    rt_tensor_layout l = rt_tensor_layout_of(src->dims, src->n_dims);
    l.name = src->name.ptr;
    l.file = t->source.path;
    l.off = (int64_t)src->off;
    gguf_code code = rt_import_transform(import, entry, layer, &l, err);
    memcpy(t->steps, l.steps, sizeof t->steps);
    t->n_steps = l.n_steps;
    return code;
}

static gguf_code plan_half(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                           const char *gguf_name, tensor *src, char half, gguf_error *err) {
    char name[MAX_NAME + 16];
    if (src->n_dims != 2 || src->dtype->gguf_type < 0 ||
        !quant_can_decode((uint32_t)src->dtype->gguf_type))
        return fail(import, src, GGUF_E_UNSUPPORTED, "is not a matrix of numbers", err);
    snprintf(name, sizeof name, "%s.lora_%c", gguf_name, half);
    quant_plan_tensor t = {
        .out = {.name = gguf_str_of(name), .n_dims = 2, .dims = {src->dims[1], src->dims[0], 1, 1}},
        .source = rt_import_source(import, src),
        .source_type = (uint32_t)src->dtype->gguf_type,
        .n_rows = src->dims[0],
        .n_cols = src->dims[1]};
    gguf_code code = half == 'b' ? move_rows(import, entry, layer, src, &t, err) : GGUF_OK;
    return code ? code : rt_import_add(import, &t, GGUF_TYPE_F32, err);
}

/* A part of the weight, a stack or a changed one has no such pair of factors. */
static bool is_plain(const rt_arch_tensor *entry) {
    for (size_t i = 0; i < entry->n_transforms; i++)
        if (entry->transforms[i].kind != RT_TRANSFORM_permute_heads) return false;
    return !strstr(entry->hf, "{expert}");
}

static gguf_code check_shape(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                             tensor *a, tensor *b, gguf_error *err) {
    const rt_scalars *shape = &entry->shape;
    uint64_t n_out = 0, n_in = 0;
    if (shape->n != 2) return GGUF_OK;
    gguf_code code = rt_import_eval(import, &shape->list[0], layer, &n_out, err);
    if (!code) code = rt_import_eval(import, &shape->list[1], layer, &n_in, err);
    if (code || (a->n_dims == 2 && b->n_dims == 2 && a->dims[1] == n_in && b->dims[0] == n_out &&
                 a->dims[0] == b->dims[1]))
        return code;
    return fail(import, a, GGUF_E_SHAPE, "and its partner do not fit the base model's weight", err);
}

static bool plans(rt_import *base, const char *gguf_name) {
    const quant_plan *plan = rt_import_plan(base);
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (strcmp(plan->tensors[i].out.name.ptr, gguf_name) == 0) return true;
    return false;
}

/* The file of a base model that ties its head has no tensor that readers could add to; with the
 * embedding's they would change that as well. */
static gguf_code check_head(const rt_import *import, const char *gguf_name, tensor *a,
                            gguf_error *err) {
    const rt_import_opts opts = {.arch_file = import->arch_file, .shapes_suffice = true};
    rt_import *base = NULL;
    char *folder = strdup(import->config_path);
    if (!folder) return gguf_fail_memory(err);
    gguf_code code = rt_import_open(dirname(folder), &opts, &base, err);
    bool found = !code && plans(base, gguf_name);
    rt_import_close(base);
    free(folder);
    if (code || found) return code;
    return fail(import, a, GGUF_E_UNSUPPORTED,
                "adapts the head, but the base model ties it to the embedding and has no tensor of "
                "its own for it in GGUF",
                err);
}

static gguf_code visit(rt_import *import, void *ctx, const rt_arch_tensor *entry, uint64_t layer,
                       gguf_error *err) {
    (void)ctx;
    char hf[MAX_NAME], gguf[MAX_NAME];
    rt_expand_name(entry->hf, layer, 0, hf, sizeof hf);
    rt_expand_name(entry->entry.name, layer, 0, gguf, sizeof gguf);
    tensor *a = find_half(import, hf, 'A'), *b = find_half(import, hf, 'B');
    if (!a && !b) return GGUF_OK;
    if (!a || !b) return fail(import, a ? a : b, GGUF_E_MISSING, "has no partner", err);
    if (!is_plain(entry))
        return fail(import, a, GGUF_E_UNSUPPORTED,
                    "adapts a weight that is cut or stacked in GGUF, which is not supported", err);
    gguf_code code = check_shape(import, entry, layer, a, b, err);
    if (!code && entry->tied_to) code = check_head(import, gguf, a, err);
    if (!code) code = plan_half(import, entry, layer, gguf, a, 'a', err);
    return code ? code : plan_half(import, entry, layer, gguf, b, 'b', err);
}

/* What would be lost would change what the adapter does. */
static gguf_code check_complete(const rt_import *import, gguf_error *err) {
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++)
        if (!import->used[i])
            return fail(import, gguf_checkpoint_tensor_at(import->ckpt, i), GGUF_E_UNSUPPORTED,
                        "is not a factor of a weight of the base model", err);
    return GGUF_OK;
}

static gguf_code refuse(const rt_import *import, const char *what, const char *value,
                        gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->folder, GGUF_NO_OFFSET,
                     "adapter_config.json: %s%s%s is not supported", what, *value ? " " : "",
                     value);
}

static gguf_code set_alpha(rt_import *import, gguf_error *err) {
    const json_t *config = import->adapter, *alpha = json_object_get(config, "lora_alpha");
    const json_t *rank = json_object_get(config, "r");
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    const char *bias = json_string_value(json_object_get(config, "bias"));
    if (type && strcmp(type, "LORA") != 0) return refuse(import, "peft_type", type, err);
    if (json_is_true(json_object_get(config, "use_dora"))) return refuse(import, "DoRA", "", err);
    if (bias && strcmp(bias, "none") != 0) return refuse(import, "bias", bias, err);
    if (json_object_size(json_object_get(config, "alpha_pattern")))
        return refuse(import, "an alpha of its own for single weights", "", err);
    double value = json_number_value(alpha);
    if (!json_is_number(alpha))
        return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                         "adapter_config.json has no number lora_alpha");
    /* Readers divide by the rank, rank-stabilised adapters by its root. */
    if (json_is_true(json_object_get(config, "use_rslora")) && json_number_value(rank) > 0) {
        if (json_object_size(json_object_get(config, "rank_pattern")))
            return refuse(import, "rslora with several ranks", "", err);
        value *= sqrt(json_number_value(rank));
    }
    gguf_meta_set_str(import->plan.meta, "adapter.type", gguf_str_of("lora"));
    gguf_meta_set_f32(import->plan.meta, "adapter.lora.alpha", (float)value);
    return GGUF_OK;
}

/* The keys of the base model served for the shapes only. */
static void drop_base_keys(rt_import *import) {
    char prefix[MAX_NAME], key[MAX_NAME];
    int n = snprintf(prefix, sizeof prefix, "%s.", import->architecture);
    for (size_t i = gguf_meta_count(import->plan.meta); i > 0; i--) {
        gguf_str name = gguf_meta_at(import->plan.meta, i - 1)->key;
        if (name.len <= (size_t)n || memcmp(name.ptr, prefix, (size_t)n) != 0) continue;
        snprintf(key, sizeof key, "%.*s", (int)name.len, name.ptr);
        gguf_meta_unset(import->plan.meta, key);
    }
}

gguf_code rt_import_adapter(rt_import *import, gguf_error *err) {
    gguf_code code = set_alpha(import, err);
    if (!code) code = rt_import_index_names(import, err);
    if (!code) code = rt_import_each(import, visit, NULL, err);
    if (!code) code = check_complete(import, err);
    gguf_meta_set_str(import->plan.meta, "general.type", gguf_str_of("adapter"));
    drop_base_keys(import);
    return code;
}
