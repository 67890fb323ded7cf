/* Embedding models: modules.json of sentence-transformers lists a pooling and its folder. */
#include "libgguf/map.h"
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DENSE_BYTES = 1 << 28 };

/* As in GGUF; pooling_mode_* flags of older files, pooling_mode of newer ones. */
static const struct {
    const char *flag, *mode;
    uint32_t type;
} kinds[] = {{"pooling_mode_mean_tokens", "mean", 1},
             {"pooling_mode_cls_token", "cls", 2},
             {"pooling_mode_lasttoken", "lasttoken", 3}};

static gguf_code load(const rt_import *import, const char *folder, const char *name, json_t **out,
                      gguf_error *err) {
    char *path = NULL;
    gguf_code code = GGUF_OK;
    *out = NULL;
    if (asprintf(&path, "%s/%s%s%s", import->folder, folder, *folder ? "/" : "", name) < 0)
        return gguf_fail_memory(err);
    if (access(path, F_OK) == 0) code = gguf_json_load(path, GGUF_JSON_WIDE_INTS, out, err);
    free(path);
    return code;
}

static bool ends(const char *text, const char *end) {
    size_t n = text ? strlen(text) : 0, m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The folder of the pooling module; NULL if there is none. */
static const char *pooling_folder(const json_t *modules) {
    size_t i;
    json_t *module;
    json_array_foreach(modules, i, module) {
        const char *type = json_string_value(json_object_get(module, "type"));
        const char *path = json_string_value(json_object_get(module, "path"));
        bool inside = path && *path && !strchr(path, '/') && strcmp(path, "..") != 0;
        if (inside && ends(type, "Pooling")) return path;
    }
    return NULL;
}

/* ---- dense layers behind the pooling ----------------------------------------------------------
 */

static bool has_tensor(const rt_import *import, const char *name) {
    const rt_arch_tensor *t = rt_arch_first_tensor(import->arch);
    for (; t; t = rt_arch_next_tensor(t))
        if (strcmp(t->entry.name, name) == 0) return true;
    return false;
}

static gguf_code fail_dense(const rt_import *import, const char *folder, const char *what,
                            gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->folder, GGUF_NO_OFFSET,
                     "the dense layer in '%s' %s", folder, what);
}

/* A product and nothing else. */
static gguf_code check_dense(const rt_import *import, const char *folder, gguf_error *err) {
    json_t *config = NULL;
    gguf_code code = load(import, folder, "config.json", &config, err);
    const char *act = json_string_value(json_object_get(config, "activation_function"));
    if (!code && (json_is_true(json_object_get(config, "bias")) || !ends(act, "Identity")))
        code = fail_dense(import, folder, "has a bias or an activation", err);
    json_decref(config);
    return code;
}

/* The weights [n_out][n_in] as f32, in memory. */
static gguf_code add_dense(rt_import *import, const gguf_checkpoint *ckpt, const char *folder,
                           const char *name, gguf_error *err) {
    char key[200];
    const gguf_checkpoint_tensor *src = gguf_checkpoint_find(ckpt, "linear.weight");
    if (!src || src->n_dims != 2 || src->dtype->gguf_type < 0 ||
        !quant_can_decode((uint32_t)src->dtype->gguf_type) || src->n_bytes > MAX_DENSE_BYTES)
        return fail_dense(import, folder, "has no matrix 'linear.weight' of numbers", err);
    size_t n_rows = src->dims[0], n_cols = src->dims[1];
    quant_plan_tensor t = {.out = {.name = gguf_str_of(name), .n_dims = 2},
                           .source_type = GGUF_TYPE_F32,
                           .n_rows = n_rows,
                           .n_cols = n_cols};
    for (size_t i = 0; i < GGUF_MAX_DIMS; i++)
        t.out.dims[i] = i == 0 ? n_cols : i == 1 ? n_rows : 1;
    float *values = quant_plan_alloc(&import->plan, n_rows * n_cols * sizeof *values + 1);
    void *raw = malloc(src->n_bytes + 1);
    gguf_code code = values && raw ? GGUF_OK : gguf_fail_memory(err);
    if (!code)
        code = gguf_read_at(gguf_checkpoint_file_fd(ckpt, src->file),
                            gguf_checkpoint_file_path(ckpt, src->file), raw, src->n_bytes, src->off,
                            err);
    if (!code)
        code = quant_decode((uint32_t)src->dtype->gguf_type, raw, n_rows, n_cols, values, err);
    free(raw);
    if (code) return code;
    t.source = (quant_source){.memory = values, .n_bytes = n_rows * n_cols * sizeof *values};
    snprintf(key, sizeof key, "%s.%.7s_feat_in", import->architecture, name);
    gguf_meta_set_u32(import->plan.meta, key, (uint32_t)n_cols);
    snprintf(key, sizeof key, "%s.%.7s_feat_out", import->architecture, name);
    gguf_meta_set_u32(import->plan.meta, key, (uint32_t)n_rows);
    return rt_import_add(import, &t, GGUF_TYPE_F32, err);
}

static gguf_code import_dense(rt_import *import, const char *folder, const char *name,
                              gguf_error *err) {
    char *path = NULL;
    gguf_checkpoint *ckpt = NULL;
    gguf_code code = check_dense(import, folder, err);
    if (code) return code;
    if (asprintf(&path, "%s/%s", import->folder, folder) < 0) return gguf_fail_memory(err);
    code = gguf_checkpoint_open(path, &ckpt, err);
    if (!code) code = add_dense(import, ckpt, folder, name, err);
    gguf_checkpoint_close(ckpt);
    free(path);
    return code;
}

/* What follows the pooling: nothing but a scaling to length 1 goes without saying. Dense layers are
 * taken, in order, where the family has a place for them. */
static gguf_code import_modules(rt_import *import, const json_t *modules, gguf_error *err) {
    static const char *const names[] = {"dense_2.weight", "dense_3.weight"};
    size_t i, n_dense = 0;
    json_t *module;
    gguf_code code = GGUF_OK;
    json_array_foreach(modules, i, module) {
        const char *path = json_string_value(json_object_get(module, "path"));
        bool inside = path && *path && !strchr(path, '/') && strcmp(path, "..") != 0;
        if (code || !ends(json_string_value(json_object_get(module, "type")), "Dense")) continue;
        if (inside && n_dense < 2 && import->ckpt && has_tensor(import, names[n_dense]))
            code = import_dense(import, path, names[n_dense++], err);
        else
            rt_import_add_warning(import,
                                  "modules.json: the dense layer in '%s' is left out: embeddings "
                                  "are those in front of it",
                                  path ? path : "");
    }
    return code;
}

/* ---- the pooling -------------------------------------------------------------------------------
 */

static gguf_code set_type(rt_import *import, const json_t *config, gguf_error *err) {
    const char *mode = json_string_value(json_object_get(config, "pooling_mode"));
    char key[160];
    snprintf(key, sizeof key, "%s.pooling_type", import->architecture);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!json_is_true(json_object_get(config, kinds[i].flag)) &&
            !(mode && strcmp(mode, kinds[i].mode) == 0))
            continue;
        gguf_meta_set_u32(import->plan.meta, key, kinds[i].type);
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->folder, GGUF_NO_OFFSET,
                     "the pooling of this embedding model is neither mean, cls nor last token");
}

gguf_code rt_import_pooling(rt_import *import, const char *hf_class, gguf_error *err) {
    json_t *modules = NULL, *config = NULL;
    import->is_embedding = hf_class && !strstr(hf_class, "For");
    if (!import->folder) return GGUF_OK;
    gguf_code code = load(import, "", "modules.json", &modules, err);
    const char *folder = pooling_folder(modules);
    if (!code && folder) code = load(import, folder, "config.json", &config, err);
    if (!code && config) {
        import->is_embedding = true;
        code = set_type(import, config, err);
    }
    json_decref(config);
    json_decref(modules);
    return code;
}

gguf_code rt_import_dense(rt_import *import, gguf_error *err) {
    json_t *modules = NULL;
    if (!import->folder || !import->is_embedding) return GGUF_OK;
    gguf_code code = load(import, "", "modules.json", &modules, err);
    if (!code && pooling_folder(modules)) code = import_modules(import, modules, err);
    json_decref(modules);
    return code;
}
