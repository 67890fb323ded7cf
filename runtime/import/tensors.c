/* Tensors of a checkpoint, as the description names, checks and transforms them. */
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME   512
#define MAX_LAYERS 1024

/* `pattern` with {layer} replaced. */
static void expand(const char *pattern, uint64_t layer, char *out, size_t n) {
    const char *mark = strstr(pattern, "{layer}");
    if (mark)
        snprintf(out, n, "%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, layer,
                 mark + strlen("{layer}"));
    else
        snprintf(out, n, "%s", pattern);
}

static gguf_code add_tensor(rt_import *import, quant_plan_tensor *t, gguf_error *err) {
    gguf_code code = rt_tag_tensor(&import->plan, &t->out, &t->tags, err);
    if (code) return code;
    t->out.type = t->tags.keep ? GGUF_TYPE_F32 : t->source_type;
    return quant_plan_add(&import->plan, t, err);
}

gguf_code rt_import_add_vector(rt_import *import, const char *name, const float *values, size_t n,
                               gguf_error *err) {
    float *copy = quant_plan_alloc(&import->plan, n * sizeof *copy);
    if (!copy) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    memcpy(copy, values, n * sizeof *copy);
    quant_plan_tensor t = {.out = {.name = gguf_str_of(name), .n_dims = 1, .dims = {n, 1, 1, 1}},
                           .source = {.memory = copy, .n_bytes = n * sizeof *copy},
                           .source_type = GGUF_TYPE_F32,
                           .n_rows = 1,
                           .n_cols = n};
    return add_tensor(import, &t, err);
}

static gguf_code check_shape(const rt_import *import, const gguf_yaml *node,
                             const gguf_checkpoint_tensor *t, gguf_error *err) {
    const gguf_yaml *shape = gguf_yaml_get(node, "shape");
    const char *path = gguf_checkpoint_file_path(import->ckpt, t->file);
    if (!shape) return GGUF_OK;
    if (shape->n_children != t->n_dims)
        return gguf_fail(err, GGUF_E_SHAPE, path, (int64_t)t->off,
                         "tensor '%s' has %" PRIu32 " dimensions, the config asks for %zu",
                         t->name.ptr, t->n_dims, shape->n_children);
    uint32_t i = 0;
    for (const gguf_yaml *dim = shape->first; dim; dim = dim->next, i++) {
        uint64_t expected = 0;
        gguf_code code = rt_import_eval(import, dim, &expected, err);
        if (code) return code;
        if (t->dims[i] != expected)
            return gguf_fail(err, GGUF_E_SHAPE, path, (int64_t)t->off,
                             "tensor '%s' has %" PRIu64 " in dimension %" PRIu32
                             ", the config asks for %" PRIu64 " (%s)",
                             t->name.ptr, t->dims[i], i, expected, dim->text);
    }
    return GGUF_OK;
}

static gguf_code plan_steps(const rt_import *import, const gguf_yaml *node, quant_plan_tensor *t,
                            gguf_error *err) {
    const gguf_yaml *heads = gguf_yaml_get(node, "permute_heads");
    if (!heads) return GGUF_OK;
    uint64_t n_heads = 0;
    gguf_code code = rt_import_eval(import, heads, &n_heads, err);
    if (code) return code;
    if (t->out.n_dims == 1) {
        t->n_rows = t->n_cols;
        t->n_cols = 1;
    }
    if (n_heads == 0 || n_heads > t->n_rows || t->n_rows % (2 * n_heads))
        return gguf_fail(err, GGUF_E_SHAPE, t->source.path, (int64_t)t->source.off,
                         "%" PRIu64 " rows of '%.*s' are not %" PRIu64 " heads of even size",
                         t->n_rows, (int)t->out.name.len, t->out.name.ptr, n_heads);
    t->steps[t->n_steps++] = (quant_step){QUANT_STEP_PERMUTE_HEADS, n_heads};
    return GGUF_OK;
}

static quant_source source_of(const rt_import *import, const gguf_checkpoint_tensor *src) {
    const gguf_memory_file *memory = gguf_checkpoint_file_memory(import->ckpt, src->file);
    return (quant_source){.path = gguf_checkpoint_file_path(import->ckpt, src->file),
                          .fd = gguf_checkpoint_file_fd(import->ckpt, src->file),
                          .off = src->off,
                          .memory = memory ? (const char *)memory->bytes + src->off : NULL,
                          .n_bytes = src->n_bytes};
}

static gguf_code plan_tensor(rt_import *import, const gguf_yaml *node, const char *gguf_name,
                             const gguf_checkpoint_tensor *src, gguf_error *err) {
    const char *path = gguf_checkpoint_file_path(import->ckpt, src->file);
    gguf_code code = check_shape(import, node, src, err);
    if (code) return code;
    if (src->dtype->gguf_type < 0 || !quant_can_decode((uint32_t)src->dtype->gguf_type))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, (int64_t)src->off,
                         "tensor '%s' has the dtype %s, which is not supported", src->name.ptr,
                         src->dtype->name);
    if (src->n_dims > GGUF_MAX_DIMS)
        return gguf_fail(err, GGUF_E_LIMIT, path, (int64_t)src->off,
                         "tensor '%s' has more than %d dimensions", src->name.ptr, GGUF_MAX_DIMS);
    quant_plan_tensor t = {
        .out = {.name = gguf_str_of(gguf_name), .n_dims = src->n_dims, .dims = {1, 1, 1, 1}},
        .source = source_of(import, src),
        .source_type = (uint32_t)src->dtype->gguf_type};
    for (uint32_t i = 0; i < src->n_dims; i++) t.out.dims[i] = src->dims[src->n_dims - 1 - i];
    t.n_cols = t.out.dims[0];
    t.n_rows = gguf_tensor_n_rows(&t.out);
    code = plan_steps(import, node, &t, err);
    return code ? code : add_tensor(import, &t, err);
}

/* A head that shares the embedding is stored once. True: leave it out. */
static bool is_tied(rt_import *import, const gguf_yaml *node, const gguf_checkpoint_tensor *src) {
    const char *tied_to = gguf_yaml_text(node, "tied_to", NULL);
    const json_t *flag = rt_config_get(import, "tie_word_embeddings");
    if (!tied_to) return false;
    if (json_is_true(flag)) {
        if (src)
            rt_import_add_warning(import, "'%s' is left out: the config ties it to %s",
                                  src->name.ptr, tied_to);
        return true;
    }
    if (src || json_is_false(flag)) return false;
    rt_import_add_warning(import, "there is no '%s': it is taken as tied to %s",
                          gguf_yaml_text(node, "hf", ""), tied_to);
    return true;
}

static gguf_code import_tensor(rt_import *import, const gguf_yaml *node, uint64_t layer,
                               gguf_error *err) {
    char hf[MAX_NAME], gguf[MAX_NAME];
    bool optional = false;
    expand(gguf_yaml_text(node, "hf", ""), layer, hf, sizeof hf);
    expand(gguf_yaml_text(node, "gguf", ""), layer, gguf, sizeof gguf);
    const gguf_checkpoint_tensor *src = gguf_checkpoint_find(import->ckpt, hf);
    if (src) import->used[src - gguf_checkpoint_tensor_at(import->ckpt, 0)] = true;
    if (is_tied(import, node, src)) return GGUF_OK;
    if (src) return plan_tensor(import, node, gguf, src, err);
    gguf_yaml_bool(gguf_yaml_get(node, "optional"), &optional);
    if (optional) return GGUF_OK;
    return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                     "tensor '%s' is missing from the checkpoint", hf);
}

static bool is_ignored(const rt_import *import, const char *name, uint64_t n_layers) {
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(rt_arch_doc(import->arch)), "ignore");
    for (const gguf_yaml *node = list ? list->first : NULL; node; node = node->next)
        for (uint64_t layer = 0; layer < n_layers; layer++) {
            char pattern[MAX_NAME];
            expand(node->text, layer, pattern, sizeof pattern);
            if (strcmp(pattern, name) == 0) return true;
        }
    return false;
}

static void report_unused(rt_import *import, uint64_t n_layers) {
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++) {
        const char *name = gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr;
        if (!import->used[i] && !is_ignored(import, name, n_layers))
            rt_import_add_warning(import, "tensor '%s' is not used by this architecture", name);
    }
}

gguf_code rt_import_tensors(rt_import *import, gguf_error *err) {
    uint64_t n_layers = 0;
    if (!rt_import_key_u64(import, "block_count", &n_layers) || n_layers > MAX_LAYERS)
        return gguf_fail(err, GGUF_E_LIMIT, import->config_path, GGUF_NO_OFFSET,
                         "the number of layers is missing or over %d", MAX_LAYERS);
    import->used = calloc(gguf_checkpoint_n_tensors(import->ckpt) + 1, sizeof *import->used);
    if (!import->used) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(rt_arch_doc(import->arch)), "tensors");
    gguf_code code = GGUF_OK;
    for (const gguf_yaml *node = list ? list->first : NULL; node && !code; node = node->next) {
        uint64_t n = strstr(gguf_yaml_text(node, "hf", ""), "{layer}") ? n_layers : 1;
        for (uint64_t layer = 0; layer < n && !code; layer++)
            code = import_tensor(import, node, layer, err);
    }
    if (!code) report_unused(import, n_layers);
    return code;
}
