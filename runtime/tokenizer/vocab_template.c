/* Importing chat templates. A chat_template.jinja beside the tokenizer comes before
 * chat_template.json, and that before the entry of tokenizer_config.json. */
#include "runtime/tokenizer/json_spec.h"
#include "runtime/tokenizer/vocab_internal.h"

#include "libgguf/map.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEMPLATES      64
#define MAX_TEMPLATE_BYTES (16u << 20)

typedef struct templates {
    char *names[MAX_TEMPLATES];
    gguf_str texts[MAX_TEMPLATES];
    size_t n;
    gguf_str main;                  /* ptr NULL: none */
    char *owned[MAX_TEMPLATES + 2]; /* texts of files */
    size_t n_owned;
    json_t *json;
} templates;

static gguf_code too_large(rt_vocab *im) {
    return rt_vocab_fail(im, GGUF_E_LIMIT, "a chat template of more than %u bytes",
                         MAX_TEMPLATE_BYTES);
}

static gguf_code add_named(rt_vocab *im, templates *t, const char *name, size_t name_len,
                           gguf_str text) {
    if (text.len > MAX_TEMPLATE_BYTES) return too_large(im);
    if (name_len == 7 && memcmp(name, "default", 7) == 0) {
        if (!t->main.ptr) t->main = text;
        return GGUF_OK;
    }
    for (size_t i = 0; i < t->n; i++)
        if (strlen(t->names[i]) == name_len && memcmp(t->names[i], name, name_len) == 0)
            return GGUF_OK;
    if (t->n == MAX_TEMPLATES || name_len > 200)
        return rt_vocab_fail(im, GGUF_E_LIMIT,
                             "more than %d chat templates, or a name that is too long",
                             MAX_TEMPLATES);
    t->names[t->n] = strndup(name, name_len);
    if (!t->names[t->n]) return rt_vocab_no_memory(im);
    t->texts[t->n++] = text;
    return GGUF_OK;
}

/* A text, or a list of {"name", "template"}. */
static gguf_code add_value(rt_vocab *im, templates *t, const json_t *value) {
    size_t i;
    json_t *item;
    gguf_code code = GGUF_OK;
    if (json_is_string(value) && json_string_length(value) > MAX_TEMPLATE_BYTES)
        return too_large(im);
    if (json_is_string(value) && !t->main.ptr) t->main = rt_json_str(value);
    json_array_foreach(value, i, item) {
        const json_t *text = json_object_get(item, "template");
        const char *name = rt_spec_text(item, "name", NULL);
        if (!name || !json_is_string(text))
            return rt_vocab_fail(im, GGUF_E_FORMAT,
                                 "chat template %zu without 'name' or 'template'", i);
        if ((code = add_named(im, t, name, strlen(name), rt_json_str(text)))) return code;
    }
    return code;
}

static gguf_code read_text(rt_vocab *im, templates *t, gguf_str *out) {
    char *text;
    size_t len;
    gguf_code code = rt_vocab_load_text(im, MAX_TEMPLATE_BYTES, &text, &len);
    if (code) return code;
    t->owned[t->n_owned++] = text;
    *out = (gguf_str){text, len};
    return GGUF_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the .jinja files of a folder, sorted, without their ending; at most MAX_TEMPLATES. */
static size_t list_jinja(const char *folder, char **names) {
    DIR *dir = opendir(folder);
    size_t n = 0;
    for (struct dirent *entry; dir && n < MAX_TEMPLATES && (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (len <= 6 || len > 200 || strcmp(entry->d_name + len - 6, ".jinja") != 0) continue;
        names[n] = strndup(entry->d_name, len - 6);
        if (names[n]) n++;
    }
    if (dir) closedir(dir);
    qsort(names, n, sizeof *names, compare_names);
    return n;
}

static gguf_code add_folder(rt_vocab *im, templates *t) {
    char *names[MAX_TEMPLATES], relative[300];
    gguf_code code = GGUF_OK;
    if (!im->folder) return GGUF_OK;
    rt_vocab_path(im, "additional_chat_templates");
    size_t n = list_jinja(im->path, names);
    for (size_t i = 0; i < n; i++) {
        gguf_str text;
        snprintf(relative, sizeof relative, "additional_chat_templates/%s.jinja", names[i]);
        if (!code) code = rt_vocab_path(im, relative);
        if (!code) code = read_text(im, t, &text);
        if (!code) code = add_named(im, t, names[i], strlen(names[i]), text);
        free(names[i]);
    }
    return code;
}

static gguf_code collect(rt_vocab *im, templates *t) {
    gguf_code code = GGUF_OK;
    if (rt_vocab_exists(im, "chat_template.jinja")) code = read_text(im, t, &t->main);
    if (!code) code = add_folder(im, t);
    if (!code && rt_vocab_exists(im, "chat_template.json")) {
        code = rt_vocab_load_json(im, &t->json);
        if (!code) code = add_value(im, t, json_object_get(t->json, "chat_template"));
    }
    rt_vocab_path(im, "tokenizer_config.json");
    if (!code)
        code =
            add_value(im, t, json_object_get(im->files[RT_FILE_TOKENIZER_CONFIG], "chat_template"));
    return code;
}

static void write_templates(rt_vocab *im, const templates *t) {
    gguf_str names[MAX_TEMPLATES];
    char key[256];
    for (size_t i = 0; i < t->n; i++) {
        snprintf(key, sizeof key, "tokenizer.chat_template.%s", t->names[i]);
        gguf_meta_set_str(im->meta, key, t->texts[i]);
        names[i] = gguf_str_of(t->names[i]);
    }
    if (t->n) gguf_meta_set_str_array(im->meta, "tokenizer.chat_templates", t->n, names);
    if (t->main.ptr) gguf_meta_set_str(im->meta, "tokenizer.chat_template", t->main);
}

gguf_code rt_vocab_read_templates(rt_vocab *im) {
    templates t = {0};
    gguf_code code = collect(im, &t);
    if (!code) write_templates(im, &t);
    for (size_t i = 0; i < t.n; i++) free(t.names[i]);
    for (size_t i = 0; i < t.n_owned; i++) free(t.owned[i]);
    json_decref(t.json);
    return code;
}
