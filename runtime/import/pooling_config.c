/* Embedding models: modules.json of sentence-transformers lists a pooling and its folder. */
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The folder of the pooling module; NULL if there is none. */
static const char *pooling_folder(const json_t *modules) {
    size_t i;
    json_t *module;
    json_array_foreach(modules, i, module) {
        const char *type = json_string_value(json_object_get(module, "type"));
        const char *path = json_string_value(json_object_get(module, "path"));
        size_t n = type ? strlen(type) : 0;
        bool inside = path && *path && !strchr(path, '/') && strcmp(path, "..") != 0;
        if (inside && n >= 7 && strcmp(type + n - 7, "Pooling") == 0) return path;
    }
    return NULL;
}

/* What follows the pooling and is not converted: nothing but a scaling to length 1 goes without
 * saying. */
static void warn_of_modules(rt_import *import, const json_t *modules) {
    size_t i;
    json_t *module;
    json_array_foreach(modules, i, module) {
        const char *type = json_string_value(json_object_get(module, "type"));
        const char *path = json_string_value(json_object_get(module, "path"));
        size_t n = type ? strlen(type) : 0;
        if (n >= 5 && strcmp(type + n - 5, "Dense") == 0)
            rt_import_add_warning(
                import,
                "modules.json: the dense layer in '%s' is left out: embeddings are "
                "those in front of it",
                path ? path : "");
    }
}

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
        warn_of_modules(import, modules);
    }
    json_decref(config);
    json_decref(modules);
    return code;
}
