/* Names of a checkpoint's tensors: what the description calls them, which are left out. */
#include "libgguf/ends.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME  RT_IMPORT_MAX_NAME
#define MAX_PARTS 32

static bool starts_with(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* ---- one name per tensor ------------------------------------------------------------------ */

void rt_import_rename(const rt_arch_rule *rule, char name[RT_IMPORT_MAX_NAME]) {
    const char *prefix = rule->prefix, *suffix = rule->suffix, *becomes = rule->becomes;
    char old[MAX_NAME];
    snprintf(old, sizeof old, "%s", name);
    if (prefix && starts_with(old, prefix))
        snprintf(name, MAX_NAME, "%s%s", becomes, old + strlen(prefix));
    else if (suffix && gguf_text_ends(old, suffix))
        snprintf(name, MAX_NAME, "%.*s%s", (int)(strlen(old) - strlen(suffix)), old, becomes);
}

static const char adapter_prefix[] = "base_model.model.";

/* The description's own name of a tensor outside of layers, such as the head. */
static bool is_described(const rt_import *import, const char *name) {
    for (const rt_arch_tensor *entry = rt_arch_first_tensor(import->arch); entry;
         entry = rt_arch_next_tensor(entry))
        if (strcmp(entry->hf, name) == 0) return true;
    return false;
}

/* The name with another outer name, after the rules of `names`; of its own memory unless it is the
 * one that the checkpoint says. NULL when out of memory. */
static const char *canonical(const rt_import *import, const rt_outer_name *outer,
                             const char *name) {
    char text[MAX_NAME];
    const rt_arch_rules *rules = &import->arch->names;
    bool changes = strncmp(name, outer->strip, outer->n_strip) == 0 &&
                   (outer->n_strip || !is_described(import, name));
    const char *put = changes ? outer->put : "", *rest = name + (changes ? outer->n_strip : 0);
    if (strlen(put) + strlen(rest) >= MAX_NAME) return name;
    size_t n_put = strlen(put);
    memcpy(text, put, n_put);
    snprintf(text + n_put, sizeof text - n_put, "%s", rest);
    for (size_t i = 0; i < rules->n; i++) rt_import_rename(&rules->list[i], text);
    return strcmp(text, name) == 0 ? name : strdup(text);
}

void rt_import_clear_names(rt_import *import) {
    size_t n = import->names ? gguf_checkpoint_n_tensors(import->ckpt) : 0;
    for (size_t i = 0; i < n; i++) {
        if (import->names[i] != gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr)
            free((char *)(uintptr_t)import->names[i]);
        import->names[i] = NULL;
    }
    gguf_index_clear(&import->by_name);
}

gguf_code rt_import_index_with(rt_import *import, const rt_outer_name *outer, gguf_error *err) {
    size_t n = gguf_checkpoint_n_tensors(import->ckpt);
    rt_import_clear_names(import);
    memset(import->used, 0, n * sizeof *import->used);
    for (size_t i = 0; i < n; i++) {
        const char *name = gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr;
        uint32_t old;
        import->names[i] = canonical(import, outer, name);
        if (!import->names[i] || gguf_index_put(&import->by_name, gguf_str_of(import->names[i]),
                                                (uint32_t)i, &old) == GGUF_INDEX_NOMEM)
            return gguf_fail_memory(err);
    }
    return GGUF_OK;
}

gguf_code rt_import_index_names(rt_import *import, gguf_error *err) {
    size_t n = gguf_checkpoint_n_tensors(import->ckpt);
    const rt_outer_name adapter = {adapter_prefix, sizeof adapter_prefix - 1, ""};
    import->used = calloc(n + 1, sizeof *import->used);
    import->names = calloc(n + 1, sizeof *import->names);
    if (!import->used || !import->names) return gguf_fail_memory(err);
    return import->adapter ? rt_import_index_with(import, &adapter, err)
                           : rt_import_index_outer(import, err);
}

const gguf_checkpoint_tensor *rt_import_find(rt_import *import, const char *name) {
    uint32_t i;
    if (!gguf_index_get(&import->by_name, gguf_str_of(name), &i)) return NULL;
    import->used[i] = true;
    return gguf_checkpoint_tensor_at(import->ckpt, i);
}

const gguf_checkpoint_tensor *rt_import_look_up(const rt_import *import, const char *name) {
    uint32_t i;
    if (!gguf_index_get(&import->by_name, gguf_str_of(name), &i)) return NULL;
    return gguf_checkpoint_tensor_at(import->ckpt, i);
}

bool rt_import_is_used(const rt_import *import, const gguf_checkpoint_tensor *tensor) {
    return import->used[tensor - gguf_checkpoint_tensor_at(import->ckpt, 0)];
}

/* ---- what is left out --------------------------------------------------------------------- */

static bool is_ignored(const rt_import *import, const char *name, uint64_t n_layers) {
    if (rt_quantised_ignores(name)) return true;
    for (rt_texts ignored = import->arch->ignore; ignored && *ignored; ignored++)
        for (uint64_t layer = 0; layer < n_layers; layer++) {
            char pattern[MAX_NAME];
            rt_expand_name(*ignored, layer, 0, pattern, sizeof pattern);
            size_t n = strlen(pattern);
            if (n && pattern[n - 1] == '*' ? strncmp(pattern, name, n - 1) == 0
                                           : strcmp(pattern, name) == 0)
                return true;
            if (!strstr(*ignored, "{layer}")) break;
        }
    return false;
}

/* What a tensor that stands behind the last layer belongs to, or NULL. */
static const char *further_layer(const rt_import *import, const char *name, uint64_t n_layers) {
    uint64_t layer, n_draft = 0;
    if (starts_with(name, "mtp.") || starts_with(name, "model.mtp_"))
        return "multi-token prediction";
    if (sscanf(name, "model.layers.%" SCNu64 ".", &layer) != 1 || layer < n_layers) return NULL;
    bool draft = gguf_json_u64(rt_config_get(import, "num_nextn_predict_layers"), &n_draft);
    return draft && n_draft ? "multi-token prediction" : "layers beyond those of the config";
}

/* The part of the model that is left out as a whole, or NULL. */
static const char *part_of(const rt_import *import, const char *name, uint64_t n_layers) {
    const rt_arch_rules *parts = &import->arch->leave_out;
    for (size_t i = 0; i < parts->n; i++)
        if (starts_with(name, parts->list[i].prefix)) return parts->list[i].becomes;
    return further_layer(import, name, n_layers);
}

typedef struct part_count {
    const char *part;
    size_t n;
} part_count;

static bool count_part(part_count *parts, const char *part) {
    for (size_t i = 0; i < MAX_PARTS; i++) {
        if (parts[i].part && strcmp(parts[i].part, part) != 0) continue;
        parts[i].part = part;
        parts[i].n++;
        return true;
    }
    return false;
}

void rt_import_report_unused(rt_import *import, uint64_t n_layers) {
    part_count parts[MAX_PARTS] = {{0}};
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++) {
        const char *name = import->names[i];
        if (import->used[i] || is_ignored(import, name, n_layers)) continue;
        const char *part = part_of(import, name, n_layers);
        if (!part || !count_part(parts, part))
            rt_import_add_warning(import, "tensor '%s' is not used by this architecture",
                                  gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr);
    }
    for (size_t i = 0; i < MAX_PARTS && parts[i].part; i++)
        rt_import_add_warning(import, "%zu tensor%s left out: %s", parts[i].n,
                              parts[i].n == 1 ? " is" : "s are", parts[i].part);
}
