/* The general.* keys that describe a model to people. */
#include "runtime/import/card.h"
#include "runtime/import/import_internal.h"
#include "runtime/import/model_id.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILE ((size_t)16 << 20)

/* 192,896 -> "193K", 1,100,000,000 -> "1.1B": at least two digits. */
static void size_label(double n_params, char *out, size_t room) {
    static const struct {
        double unit;
        char letter;
    } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    size_t i = 0;
    while (i < 3 && n_params <= units[i].unit) i++;
    double scaled = n_params / units[i].unit;
    snprintf(out, room, "%.*f%c", scaled < 9.5 ? 1 : 0, scaled, units[i].letter);
}

/* Parameters outside experts plus those of one expert; *n_experts on average, 0 = dense. */
static double count_params(const quant_plan *plan, uint64_t *n_experts) {
    double shared = 0, expert = 0;
    uint64_t n_stacks = 0, n_sum = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const gguf_tensor *t = &plan->tensors[i].out;
        uint64_t n = t->dims[2];
        if (!strstr(t->name.ptr, "_exps.") || t->n_dims != 3 || n == 0) {
            shared += (double)gguf_tensor_n_elems(t);
            continue;
        }
        expert += (double)(gguf_tensor_n_elems(t) / n);
        n_sum += n;
        n_stacks++;
    }
    *n_experts = n_stacks ? n_sum / n_stacks : 0;
    return shared + expert;
}

static const char *last_part(char *path, size_t *n) {
    const char *slash = strrchr(path, '/');
    *n = slash ? (size_t)(slash - path) : 0;
    return slash ? slash + 1 : path;
}

/* ".../models--Org--Name/snapshots/HASH", where a hub's cache keeps a repository: "Org/Name". */
static bool repository_name(char *path, char *out, size_t room) {
    static const char mark[] = "models--";
    size_t n;
    last_part(path, &n);
    path[n] = '\0';
    if (strcmp(last_part(path, &n), "snapshots") != 0) return false;
    path[n] = '\0';
    const char *name = last_part(path, &n);
    if (strncmp(name, mark, sizeof mark - 1) != 0) return false;
    name += sizeof mark - 1;
    const char *rest = strstr(name, "--");
    if (rest)
        snprintf(out, room, "%.*s/%s", (int)(rest - name), name, rest + 2);
    else
        snprintf(out, room, "%s", name);
    return true;
}

/* The last part of the folder's real name, or the repository's in a hub's cache. */
static gguf_code folder_name(const char *folder, char *out, size_t room) {
    size_t n;
    char *real = realpath(folder, NULL);
    if (!real) return errno == ENOMEM ? GGUF_E_NOMEM : GGUF_E_IO;
    snprintf(out, room, "%s", last_part(real, &n));
    repository_name(real, out, room);
    free(real);
    return GGUF_OK;
}

gguf_code rt_import_general(rt_import *import, gguf_error *err) {
    gguf_meta *meta = import->plan.meta;
    char name[RT_MODEL_ID_MAX] = "", title[RT_MODEL_ID_MAX];
    gguf_code code = import->folder ? folder_name(import->folder, name, sizeof name) : GGUF_OK;
    if (code)
        return gguf_fail(err, code, import->folder, GGUF_NO_OFFSET, "cannot resolve the path");
    gguf_meta_set_str(meta, "general.architecture", gguf_str_of(import->architecture));
    gguf_meta_set_str(meta, "general.type", gguf_str_of("model"));
    const char *slash = strchr(name, '/');
    rt_model_title(slash ? slash + 1 : name, title, sizeof title);
    if (*title) gguf_meta_set_str(meta, "general.name", gguf_str_of(title));
    return GGUF_OK;
}

/* ---- what names and files say about the model -------------------------------------------- */

static void set_absent(gguf_meta *meta, const char *key, const char *text) {
    if (*text && !gguf_meta_find(meta, key)) gguf_meta_set_str(meta, key, gguf_str_of(text));
}

static void apply_id(gguf_meta *meta, const char *id, double n_params) {
    rt_model_id parts;
    char title[RT_MODEL_ID_MAX];
    rt_model_id_parse(id, n_params, &parts);
    rt_model_title(parts.name, title, sizeof title);
    set_absent(meta, "general.name", title);
    rt_model_title(parts.organization, title, sizeof title);
    set_absent(meta, "general.organization", title);
    set_absent(meta, "general.basename", parts.basename);
    set_absent(meta, "general.finetune", parts.finetune);
    set_absent(meta, "general.version", parts.version);
    set_absent(meta, "general.size_label", parts.size_label);
}

/* The text of a small file of the folder, malloc'ed; NULL if it is not there or not readable. */
static char *file_text(const rt_import *import, const char *name, size_t *n_bytes) {
    const gguf_memory_file *f = gguf_memory_file_named(import->memory, import->n_memory, name);
    char *path = NULL, *text = NULL;
    if (f && (text = malloc(f->n_bytes + 1))) {
        if (f->n_bytes) memcpy(text, f->bytes, f->n_bytes);
        text[ *n_bytes = f->n_bytes] = '\0';
    }
    if (f || !import->folder || asprintf(&path, "%s/%s", import->folder, name) < 0) return text;
    if (access(path, F_OK) == 0 && gguf_read_file(path, MAX_FILE, &text, n_bytes, NULL))
        text = NULL;
    free(path);
    return text;
}

/* Many cards indent with tabs, which YAML forbids. */
static void apply_readme(rt_import *import, double n_params) {
    size_t n_bytes = 0, n = 0;
    const char *start;
    gguf_yaml_doc *doc = NULL;
    gguf_error err = {0};
    char *text = file_text(import, "README.md", &n_bytes);
    if (text && rt_card_front_matter(text, n_bytes, &start, &n)) {
        for (size_t i = 0; i < n; i++)
            if (start[i] == '\t') text[start - text + (ptrdiff_t)i] = ' ';
        if (gguf_yaml_parse(start, n, "README.md", &doc, &err))
            rt_import_add_warning(import, "the head of README.md is not read: %s", err.message);
        else
            rt_card_apply(gguf_yaml_root(doc), RT_CARD_README, n_params, import->plan.meta, NULL,
                          NULL);
    }
    gguf_yaml_free(doc);
    free(text);
}

static void apply_generation_config(rt_import *import) {
    size_t n_bytes = 0;
    json_t *config = NULL;
    char *text = file_text(import, "generation_config.json", &n_bytes);
    if (text &&
        !gguf_json_parse(text, n_bytes, GGUF_JSON_WIDE_INTS, NULL, GGUF_NO_OFFSET, &config, NULL))
        rt_card_sampling(config, import->plan.meta);
    json_decref(config);
    free(text);
}

void rt_import_describe(rt_import *import) {
    gguf_meta *meta = import->plan.meta;
    char name[RT_MODEL_ID_MAX], label[32], full[64];
    uint64_t n_experts;
    double n_params = 0;
    for (size_t i = 0; i < import->plan.n_tensors; i++)
        n_params += (double)gguf_tensor_n_elems(&import->plan.tensors[i].out);
    gguf_meta_unset(meta, "general.name"); /* the folder's comes last */
    apply_generation_config(import);
    apply_readme(import, n_params);
    const char *id =
        import->adapter ? NULL : json_string_value(rt_config_get(import, "_name_or_path"));
    const char *slash = id ? strchr(id, '/') : NULL;
    if (id && !(slash && strchr(slash + 1, '/'))) apply_id(meta, id, n_params);
    if (import->folder && folder_name(import->folder, name, sizeof name) == GGUF_OK)
        apply_id(meta, name, n_params);
    size_label(count_params(&import->plan, &n_experts), label, sizeof label);
    snprintf(full, sizeof full, "%" PRIu64 "x%s", n_experts, label);
    if (n_params > 0 && !import->adapter)
        set_absent(meta, "general.size_label", n_experts ? full : label);
}
