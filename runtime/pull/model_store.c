/* The store's folders, manifests and links. */
#include "runtime/pull/model_store.h"

#include "libgguf/hash.h"
#include "libgguf/json.h"
#include "libgguf/outfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- places -----------------------------------------------------------------------------------
 */

gguf_code rt_path(char out[RT_PATH_ROOM], gguf_error *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, RT_PATH_ROOM, format, args);
    va_end(args);
    if (n >= 0 && n < RT_PATH_ROOM) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, out, GGUF_NO_OFFSET, "the path is too long");
}

gguf_code rt_store_open(rt_store *store, gguf_error *err) {
    const char *own = getenv("GGUFKIT_MODELS"), *data = getenv("XDG_DATA_HOME"),
               *home = getenv("HOME");
    store->lock = -1;
    if (own && *own) return rt_path(store->root, err, "%s", own);
    if (data && *data) return rt_path(store->root, err, "%s/ggufkit/models", data);
    if (home && *home) return rt_path(store->root, err, "%s/.local/share/ggufkit/models", home);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "no place for models: GGUFKIT_MODELS, XDG_DATA_HOME and HOME are not set");
}

gguf_code rt_make_folders(const char *path, gguf_error *err) {
    char folder[RT_PATH_ROOM];
    gguf_code code = rt_path(folder, err, "%s", path);
    for (char *at = folder + 1; !code && (at = strchr(at, '/')); at++) {
        *at = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            code = gguf_fail(err, GGUF_E_IO, folder, GGUF_NO_OFFSET, "cannot create it: %s",
                             strerror(errno));
        *at = '/';
    }
    return code;
}

gguf_code rt_store_lock(rt_store *store, bool alone, gguf_error *err) {
    char path[RT_PATH_ROOM];
    gguf_code code = rt_path(path, err, "%s/lock", store->root);
    if (!code) code = rt_make_folders(path, err);
    if (code) return code;
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    /* What a store holds that cannot be written can be used all the same. */
    if (store->lock < 0 && !alone && (errno == EROFS || errno == EACCES))
        store->lock = open(path, O_RDONLY | O_CLOEXEC);
    if (store->lock >= 0 && flock(store->lock, alone ? LOCK_EX | LOCK_NB : LOCK_SH) == 0)
        return GGUF_OK;
    bool busy = store->lock >= 0 && errno == EWOULDBLOCK;
    code = gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "%s",
                     busy ? "another gguf-pull is at work in this store" : strerror(errno));
    rt_store_unlock(store);
    return code;
}

void rt_store_unlock(rt_store *store) {
    if (store->lock >= 0) close(store->lock);
    store->lock = -1;
}

/* A byte of the lock's file stands for each model. */
static struct flock byte_of(const rt_name *name, short type) {
    char text[RT_NAME_ROOM];
    rt_name_text(name, text, sizeof text);
    uint64_t hash = gguf_xxh3(text, strlen(text), 0);
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)(hash >> 2), .l_len = 1};
}

gguf_code rt_store_hold(const rt_store *store, const rt_name *name, const atomic_bool *cancel,
                        gguf_error *err) {
    const struct timespec step = {.tv_nsec = 50000000};
    struct flock lock = byte_of(name, F_WRLCK);
    while (fcntl(store->lock, F_OFD_SETLK, &lock) != 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return gguf_fail(err, GGUF_E_IO, store->root, GGUF_NO_OFFSET, "cannot lock it: %s",
                             strerror(errno));
        if (cancel && atomic_load(cancel))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        nanosleep(&step, NULL);
    }
    return GGUF_OK;
}

void rt_store_release(const rt_store *store, const rt_name *name) {
    struct flock lock = byte_of(name, F_UNLCK);
    fcntl(store->lock, F_OFD_SETLK, &lock);
}

/* One folder's name for a choice and a revision, which have slashes. */
static void tag_of(const rt_name *name, char *out, size_t room) {
    if (name->kind == RT_NAME_URL) {
        uint64_t hash = gguf_xxh3(name->url, strlen(name->url), 0);
        snprintf(out, room, "%016llx", (unsigned long long)hash);
        return;
    }
    snprintf(out, room, "%s%s%s", *name->choice ? name->choice : "-", *name->rev ? "@" : "",
             name->rev);
    for (char *at = out; (at = strchr(at, '/')); at++) *at = '~';
}

gguf_code rt_store_folder(const rt_store *store, const char *kind, const rt_name *name,
                          char out[RT_PATH_ROOM], gguf_error *err) {
    char tag[400];
    tag_of(name, tag, sizeof tag);
    return rt_path(out, err, "%s/%s/%s/%s/%s/%s", store->root, kind, name->host, name->space,
                   name->model, tag);
}

static gguf_code manifest_path(const rt_store *store, const rt_name *name, char out[RT_PATH_ROOM],
                               gguf_error *err) {
    char folder[RT_PATH_ROOM];
    gguf_code code = rt_store_folder(store, "manifests", name, folder, err);
    return code ? code : rt_path(out, err, "%s.json", folder);
}

static gguf_code link_path(const rt_store *store, const rt_name *name, const char *file,
                           char out[RT_PATH_ROOM], gguf_error *err) {
    char folder[RT_PATH_ROOM];
    gguf_code code = rt_store_folder(store, "links", name, folder, err);
    return code ? code : rt_path(out, err, "%s/%s", folder, file);
}

gguf_code rt_store_main(const rt_store *store, const rt_stored *stored, char out[RT_PATH_ROOM],
                        gguf_error *err) {
    return link_path(store, &stored->name, stored->main, out, err);
}

/* ---- manifests --------------------------------------------------------------------------------
 */

void rt_stored_clear(rt_stored *stored) {
    rt_listing_clear(&stored->files);
    *stored = (rt_stored){0};
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static gguf_code read_manifest(const json_t *root, rt_stored *out, gguf_error *err) {
    const json_t *file;
    size_t i;
    gguf_code code = GGUF_OK;
    snprintf(out->revision, sizeof out->revision, "%s", text_of(root, "revision"));
    snprintf(out->type, sizeof out->type, "%s", text_of(root, "type"));
    snprintf(out->main, sizeof out->main, "%s", text_of(root, "main"));
    out->converted = json_is_true(json_object_get(root, "converted"));
    json_array_foreach(json_object_get(root, "files"), i, file) {
        uint64_t n_bytes = RT_NO_SIZE;
        const char *sha256 = text_of(file, "sha256"), *at = text_of(file, "at");
        gguf_json_u64(json_object_get(file, "size_bytes"), &n_bytes);
        if (!code && (*sha256 == '\0' || rt_is_sha256(sha256)))
            code = rt_listing_add(&out->files, text_of(file, "path"), NULL, sha256, n_bytes,
                                  *at ? at : NULL, err);
        if (!code && *at && out->files.n) out->files.files[out->files.n - 1].foreign = true;
    }
    bool whole = out->main[0] && strchr(out->main, '/') == NULL && out->files.n > 0;
    if (!code && !whole)
        code = gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "the manifest is broken");
    return code;
}

static bool is_complete(const rt_store *store, const rt_stored *stored) {
    for (size_t i = 0; i < stored->files.n; i++) {
        const rt_hub_file *f = &stored->files.files[i];
        char path[RT_PATH_ROOM];
        struct stat st;
        if (link_path(store, &stored->name, f->path, path, NULL) || stat(path, &st) != 0 ||
            (uint64_t)st.st_size != f->n_bytes)
            return false;
    }
    return true;
}

static gguf_code load_file(const rt_store *store, const char *path, rt_stored *out,
                           gguf_error *err) {
    json_t *root = NULL;
    gguf_code code = gguf_json_load(path, GGUF_JSON_EXACT_INTS, &root, err);
    if (!code) code = read_manifest(root, out, err);
    if (!code && out->name.kind == RT_NAME_PATH) { /* found by its file */
        code = rt_name_parse(text_of(root, "name"), &out->name, err);
    }
    json_decref(root);
    if (!code) out->complete = is_complete(store, out);
    if (code) rt_stored_clear(out);
    return code;
}

gguf_code rt_store_load(const rt_store *store, const rt_name *name, rt_stored *out,
                        gguf_error *err) {
    char path[RT_PATH_ROOM];
    gguf_code code = manifest_path(store, name, path, err);
    if (code) return code;
    if (access(path, F_OK) != 0)
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET, "it is not in the store");
    *out = (rt_stored){.name = *name};
    return load_file(store, path, out, err);
}

/* ---- links ------------------------------------------------------------------------------------
 */

static gguf_code make_link(const char *target, const char *path, gguf_error *err) {
    char temporary[RT_PATH_ROOM];
    gguf_code code = rt_make_folders(path, err);
    if (!code) code = rt_path(temporary, err, "%s.%ld", path, (long)getpid());
    if (code) return code;
    unlink(temporary);
    if (symlink(target, temporary) == 0 && rename(temporary, path) == 0) return GGUF_OK;
    code = gguf_fail(err, errno == ENOSPC ? GGUF_E_NOSPACE : GGUF_E_IO, path, GGUF_NO_OFFSET,
                     "cannot link it: %s", strerror(errno));
    unlink(temporary);
    return code;
}

/* From links/HOST/SPACE/MODEL/TAG/FILE up to the store, so that it can be moved. */
static gguf_code link_file(const rt_store *store, const rt_stored *stored, const rt_hub_file *f,
                           gguf_error *err) {
    char path[RT_PATH_ROOM], target[RT_PATH_ROOM];
    const char *ups = "../../../../../";
    gguf_code code = link_path(store, &stored->name, f->path, path, err);
    if (code) return code;
    if (f->foreign || !f->sha256[0]) return make_link(f->at, path, err);
    code = rt_path(target, err, "%sblobs/sha256-%s", ups, f->sha256);
    return code ? code : make_link(target, path, err);
}

static json_t *manifest_json(const rt_stored *stored) {
    char name[RT_NAME_ROOM];
    json_t *files = json_array();
    for (size_t i = 0; i < stored->files.n; i++) {
        const rt_hub_file *f = &stored->files.files[i];
        json_t *row = json_pack("{s:s, s:s, s:I}", "path", f->path, "sha256", f->sha256,
                                "size_bytes", (json_int_t)f->n_bytes);
        if (f->foreign) json_object_set_new(row, "at", json_string(f->at));
        json_array_append_new(files, row);
    }
    return json_pack("{s:i, s:s, s:s, s:s, s:b, s:s, s:o}", "version", 1, "name",
                     rt_name_text(&stored->name, name, sizeof name), "revision", stored->revision,
                     "type", stored->type, "converted", stored->converted, "main", stored->main,
                     "files", files);
}

gguf_code rt_store_save(const rt_store *store, const rt_stored *stored, gguf_error *err) {
    char path[RT_PATH_ROOM];
    gguf_code code = manifest_path(store, &stored->name, path, err);
    for (size_t i = 0; i < stored->files.n && !code && !stored->converted; i++)
        code = link_file(store, stored, &stored->files.files[i], err);
    if (!code) code = rt_make_folders(path, err);
    if (code) return code;
    json_t *root = manifest_json(stored);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text) return gguf_fail_memory(err);
    code = gguf_outfile_save(path, text, strlen(text), GGUF_OUT_REPLACE | GGUF_OUT_OVER_INPUT, err);
    free(text);
    return code;
}

/* ---- all of them ------------------------------------------------------------------------------
 */

typedef struct walk {
    const rt_store *store;
    rt_stored_fn each;
    void *ctx;
    size_t n_broken;
} walk;

static int not_hidden(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static gguf_code walk_file(walk *w, const char *path, gguf_error *err) {
    rt_stored stored = {0};
    size_t n = strlen(path);
    if (n < 5 || strcmp(path + n - 5, ".json") != 0) return GGUF_OK;
    if (load_file(w->store, path, &stored, NULL)) {
        w->n_broken++;
        return GGUF_OK;
    }
    gguf_code code = w->each ? w->each(w->ctx, &stored, err) : GGUF_OK;
    rt_stored_clear(&stored);
    return code;
}

/* HOST, SPACE, MODEL, TAG.json */
static gguf_code walk_folder(walk *w, const char *folder, int depth, gguf_error *err) {
    struct dirent **entries;
    int n = scandir(folder, &entries, not_hidden, alphasort);
    gguf_code code = GGUF_OK;
    for (int i = 0; i < n; i++) {
        char path[RT_PATH_ROOM];
        if (!code) code = rt_path(path, err, "%s/%s", folder, entries[i]->d_name);
        if (!code)
            code = depth < 3 ? walk_folder(w, path, depth + 1, err) : walk_file(w, path, err);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return code;
}

gguf_code rt_store_each(const rt_store *store, rt_stored_fn each, void *ctx, size_t *n_broken,
                        gguf_error *err) {
    walk w = {.store = store, .each = each, .ctx = ctx};
    char folder[RT_PATH_ROOM];
    gguf_code code = rt_path(folder, err, "%s/manifests", store->root);
    if (!code) code = walk_folder(&w, folder, 0, err);
    if (n_broken) *n_broken = w.n_broken;
    return code;
}

typedef struct find {
    const rt_store *store;
    const rt_name *wanted;
    rt_name best;
    struct timespec when;
    char others[300]; /* the models of a bare name */
    size_t n_models;  /* different ones */
    bool parts;       /* those too of which something is gone */
} find;

static bool is_later(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static bool matches(const rt_name *wanted, const rt_name *name) {
    if (strcasecmp(wanted->model, name->model) != 0) return false;
    if (wanted->kind == RT_NAME_BARE)
        return !*wanted->choice || strcasecmp(wanted->choice, name->choice) == 0;
    if (wanted->kind != name->kind || strcasecmp(wanted->space, name->space) != 0 ||
        strcmp(wanted->host, name->host) != 0 || strcmp(wanted->rev, name->rev) != 0)
        return false;
    if (wanted->kind == RT_NAME_URL) return strcmp(wanted->url, name->url) == 0;
    return !*wanted->choice || strcasecmp(wanted->choice, name->choice) == 0;
}

static gguf_code find_in(void *ctx, const rt_stored *stored, gguf_error *err) {
    find *f = ctx;
    char path[RT_PATH_ROOM];
    struct stat st;
    const rt_name *name = &stored->name;
    gguf_code code = manifest_path(f->store, name, path, err);
    if (code || (!stored->complete && !f->parts) || !matches(f->wanted, name) ||
        stat(path, &st) != 0)
        return code;
    bool same = f->n_models && f->best.kind == name->kind &&
                strcmp(f->best.host, name->host) == 0 &&
                strcasecmp(f->best.space, name->space) == 0 && f->best.kind != RT_NAME_URL;
    if (!same) {
        char text[RT_NAME_ROOM];
        size_t at = strlen(f->others);
        snprintf(f->others + at, sizeof f->others - at, "%s%s", at ? ", " : "",
                 rt_name_text(name, text, sizeof text));
        f->n_models++;
    }
    if (f->n_models && f->best.model[0] && !is_later(&st.st_mtim, &f->when)) return GGUF_OK;
    f->best = *name;
    f->when = st.st_mtim;
    return GGUF_OK;
}

gguf_code rt_store_find(const rt_store *store, const rt_name *name, rt_stored *out,
                        gguf_error *err) {
    find f = {.store = store, .wanted = name};
    gguf_code code = rt_store_each(store, find_in, &f, NULL, err);
    f.parts = !f.n_models;
    if (!code && f.parts) code = rt_store_each(store, find_in, &f, NULL, err);
    if (code) return code;
    if (!f.n_models)
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET, "it is not in the store");
    if (f.n_models > 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "several models have this name: %s", f.others);
    return rt_store_load(store, &f.best, out, err);
}

/* ---- removing ---------------------------------------------------------------------------------
 */

typedef struct use {
    const rt_listing *files;
    bool *used; /* [files->n] */
} use;

static gguf_code note_use(void *ctx, const rt_stored *stored, gguf_error *err) {
    use *u = ctx;
    (void)err;
    for (size_t i = 0; i < u->files->n; i++)
        for (size_t k = 0; k < stored->files.n; k++)
            u->used[i] |= strcmp(u->files->files[i].sha256, stored->files.files[k].sha256) == 0;
    return GGUF_OK;
}

gguf_code rt_store_drop_blobs(const rt_store *store, const rt_listing *files, uint64_t *freed,
                              gguf_error *err) {
    use u = {.files = files, .used = calloc(files->n + 1, sizeof *u.used)};
    if (!u.used) return gguf_fail_memory(err);
    size_t n_broken = 0;
    gguf_code code = rt_store_each(store, note_use, &u, &n_broken, err);
    /* A manifest that cannot be read may use any of them. */
    for (size_t i = 0; i < files->n && !code && !n_broken && !rt_blobs_are_foreign(store); i++) {
        char path[RT_PATH_ROOM];
        struct stat st;
        const rt_hub_file *f = &files->files[i];
        if (u.used[i] || f->foreign || !rt_is_sha256(f->sha256)) continue;
        code = rt_path(path, err, "%s/blobs/sha256-%s", store->root, f->sha256);
        if (code || lstat(path, &st) != 0) continue;
        if (unlink(path) != 0)
            code = gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot remove it: %s",
                             strerror(errno));
        else if (freed)
            *freed += (uint64_t)st.st_size;
    }
    free(u.used);
    return code;
}

/* Links and converted files; folders that are empty then go too, up to links/. */
static void remove_links(const rt_store *store, const rt_stored *stored, uint64_t *freed) {
    char folder[RT_PATH_ROOM], path[RT_PATH_ROOM];
    if (rt_store_folder(store, "links", &stored->name, folder, NULL)) return;
    for (size_t i = 0; i <= stored->files.n; i++) {
        struct stat st;
        const char *file = i < stored->files.n ? stored->files.files[i].path : stored->main;
        if (rt_path(path, NULL, "%s/%s", folder, file) || lstat(path, &st) != 0) continue;
        if (unlink(path) == 0 && S_ISREG(st.st_mode)) *freed += (uint64_t)st.st_size;
    }
    for (int i = 0; i < 4 && rmdir(folder) == 0; i++) *strrchr(folder, '/') = '\0';
}

gguf_code rt_store_remove(const rt_store *store, const rt_stored *stored, uint64_t *freed,
                          gguf_error *err) {
    char path[RT_PATH_ROOM];
    size_t n_broken = 0;
    *freed = 0;
    gguf_code code = rt_store_each(store, NULL, NULL, &n_broken, err);
    if (!code && n_broken)
        code = gguf_fail(err, GGUF_E_FORMAT, store->root, GGUF_NO_OFFSET,
                         "%zu manifests cannot be read, so which files are in use is not known: "
                         "nothing is removed",
                         n_broken);
    if (!code) code = manifest_path(store, &stored->name, path, err);
    if (code) return code;
    if (unlink(path) != 0)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot remove it: %s",
                         strerror(errno));
    for (int i = 0; i < 4; i++) {
        *strrchr(path, '/') = '\0';
        if (rmdir(path) != 0) break;
    }
    remove_links(store, stored, freed);
    return rt_store_drop_blobs(store, &stored->files, freed, err);
}
