/* Listing, showing and removing models. */
#include "tools/pull/store_lists.h"

#include "libgguf/ends.h"

#include <stdio.h>
#include <string.h>

json_t *store_file_json(const rt_hub_file *f) {
    return json_pack("{s:o, s:o, s:o, s:s}", "path", tool_json_bytes(f->path, strlen(f->path)),
                     "size_bytes",
                     f->n_bytes == RT_NO_SIZE ? json_null() : json_integer((json_int_t)f->n_bytes),
                     "sha256", f->sha256[0] ? json_string(f->sha256) : json_null(), "from",
                     f->foreign                         ? "cache"
                     : f->fetched || (f->url && !f->at) ? "hub"
                                                        : "store");
}

static uint64_t size_of(const rt_listing *files, bool gguf_only) {
    uint64_t n = 0;
    for (size_t i = 0; i < files->n; i++) {
        const rt_hub_file *f = &files->files[i];
        if (f->n_bytes != RT_NO_SIZE && (!gguf_only || gguf_text_ends(f->path, ".gguf")))
            n += f->n_bytes;
    }
    return n;
}

/* ---- list -------------------------------------------------------------------------------------
 */

typedef struct list {
    const rt_store *store;
    json_t *rows; /* NULL: printed */
    size_t n;
} list;

static void add_row(list *l, const char *name, const char *where, uint64_t n_bytes,
                    const char *path, bool complete) {
    char size[32], safe[600];
    l->n++;
    if (l->rows)
        json_array_append_new(l->rows,
                              json_pack("{s:s, s:s, s:I, s:o, s:b}", "name", name, "where", where,
                                        "size_bytes", (json_int_t)n_bytes, "path",
                                        path ? tool_json_bytes(path, strlen(path)) : json_null(),
                                        "complete", complete));
    else
        printf("%-52s %10s  %s%s\n", tool_escape(name, strlen(name), safe, sizeof safe),
               tool_size_text(n_bytes, size, sizeof size), where, complete ? "" : ", incomplete");
}

static gguf_code list_stored(void *ctx, const rt_stored *stored, gguf_error *err) {
    list *l = ctx;
    char name[RT_NAME_ROOM], path[RT_PATH_ROOM];
    gguf_code code = rt_store_main(l->store, stored, path, err);
    if (!code)
        add_row(l, rt_name_text(&stored->name, name, sizeof name), "store",
                size_of(&stored->files, false), path, stored->complete);
    return code;
}

static gguf_code list_cached(void *ctx, const rt_name *name, const rt_listing *files,
                             gguf_error *err) {
    list *l = ctx;
    char text[RT_NAME_ROOM];
    (void)err;
    const char *path = NULL;
    for (size_t i = 0; i < files->n && !path; i++)
        if (gguf_text_ends(files->files[i].path, ".gguf")) path = files->files[i].at;
    add_row(l, rt_name_text(name, text, sizeof text),
            name->kind == RT_NAME_OLLAMA ? "ollama's store" : "huggingface's cache",
            size_of(files, true), path, true);
    return GGUF_OK;
}

static void add_short(void *ctx, const char *name, const char *model) {
    json_t *rows = ctx;
    if (rows)
        json_array_append_new(rows, json_pack("{s:s, s:s}", "name", name, "model", model));
    else
        printf("%-24s %s\n", name, model);
}

gguf_code store_list(tool *t, const rt_store *store, gguf_error *err) {
    list l = {.store = store, .rows = t->json ? json_array() : NULL};
    json_t *shorts = t->json ? json_array() : NULL;
    size_t n_broken = 0;
    gguf_code code = rt_store_each(store, list_stored, &l, &n_broken, err);
    if (!code) code = rt_cache_each(list_cached, &l, err);
    if (!code && !t->json && l.n == 0) printf("no models in %s\n", store->root);
    if (!code && !t->json) printf("\nshort names:\n");
    if (!code) code = rt_names_builtin(add_short, shorts, err);
    if (n_broken)
        tool_warn(t, "%zu manifest%s in %s cannot be read", n_broken, tool_s(n_broken),
                  store->root);
    if (t->json && !code)
        tool_print_json(json_pack("{s:o, s:o, s:o}", "store",
                                  tool_json_bytes(store->root, strlen(store->root)), "models",
                                  l.rows, "short_names", shorts));
    return code;
}

/* ---- one model --------------------------------------------------------------------------------
 */

/* A short name stands for its model. */
static gguf_code find(const rt_store *store, const rt_name *name, rt_stored *out, gguf_error *err) {
    gguf_error why = {0};
    rt_name entry;
    gguf_code code = rt_store_find(store, name, out, &why);
    if (code == GGUF_E_MISSING && name->kind == RT_NAME_BARE && rt_name_builtin(name, &entry))
        code = rt_store_find(store, &entry, out, &why);
    if (!code) return code;
    return gguf_fail(err, code == GGUF_E_MISSING ? GGUF_E_IO : code, NULL, GGUF_NO_OFFSET,
                     "%s (%s)", why.message, store->root);
}

static gguf_code is_cached(const rt_name *name) {
    rt_listing files = {0};
    gguf_code code = rt_cache_list(name, &files, NULL);
    rt_listing_clear(&files);
    return code;
}

gguf_code store_show(tool *t, const rt_store *store, const rt_name *name, gguf_error *err) {
    rt_stored s = {0};
    char text[RT_NAME_ROOM], path[RT_PATH_ROOM] = "", size[32];
    gguf_code code = find(store, name, &s, err);
    if (!code) code = rt_store_main(store, &s, path, err);
    if (!code && t->json) {
        json_t *files = json_array();
        for (size_t i = 0; i < s.files.n; i++)
            json_array_append_new(files, store_file_json(&s.files.files[i]));
        tool_print_json(json_pack(
            "{s:s, s:o, s:s, s:s, s:b, s:b, s:o}", "name", rt_name_text(&s.name, text, sizeof text),
            "path", tool_json_bytes(path, strlen(path)), "type", s.type, "revision", s.revision,
            "converted", s.converted, "complete", s.complete, "files", files));
    } else if (!code) {
        printf("name      %s\npath      %s\ntype      %s%s\nrevision  %s\n",
               rt_name_text(&s.name, text, sizeof text), path, *s.type ? s.type : "-",
               s.converted ? " (converted here)" : "", *s.revision ? s.revision : "-");
        for (size_t i = 0; i < s.files.n; i++) {
            const rt_hub_file *f = &s.files.files[i];
            printf("file      %s, %s%s%s\n", f->path, tool_size_text(f->n_bytes, size, sizeof size),
                   f->foreign ? ", in " : "", f->foreign ? f->at : "");
        }
        if (!s.complete) printf("incomplete: gguf-pull %s fetches what is missing\n", text);
    }
    rt_stored_clear(&s);
    return code;
}

gguf_code store_rm(tool *t, rt_store *store, const rt_name *name, gguf_error *err) {
    rt_stored s = {0};
    uint64_t freed = 0;
    char text[RT_NAME_ROOM], size[32];
    gguf_code code = find(store, name, &s, NULL);
    if (code && is_cached(name) == GGUF_OK)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "it is in the cache of another program, which is left alone");
    if (code) return find(store, name, &s, err);
    code = rt_store_lock(store, true, err);
    if (!code) code = rt_store_remove(store, &s, &freed, err);
    rt_store_unlock(store);
    rt_name_text(&s.name, text, sizeof text);
    if (!code && t->json)
        tool_print_json(json_pack("{s:s, s:I}", "removed", text, "freed_bytes", (json_int_t)freed));
    else if (!code)
        tool_note(t, "%s is removed, %s are free again", text,
                  tool_size_text(freed, size, sizeof size));
    rt_stored_clear(&s);
    return code;
}
