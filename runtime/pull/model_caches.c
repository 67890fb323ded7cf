/* Looking for files in the store and in the caches of other programs. */
#include "libgguf/ends.h"
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "runtime/pull/hubs.h"
#include "runtime/pull/model_store.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SMALL_BYTES (16u << 20)

static const char *set_env(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* The folder in which Hugging Face's programs keep token and models. */
static bool hf_home(char out[RT_PATH_ROOM]) {
    const char *own = set_env("HF_HOME"), *cache = set_env("XDG_CACHE_HOME"),
               *home = set_env("HOME");
    if (own) return !rt_path(out, NULL, "%s", own);
    if (cache) return !rt_path(out, NULL, "%s/huggingface", cache);
    return home && !rt_path(out, NULL, "%s/.cache/huggingface", home);
}

static bool hf_cache(char out[RT_PATH_ROOM]) {
    char home[RT_PATH_ROOM];
    const char *own = set_env("HF_HUB_CACHE");
    if (!own) own = set_env("HUGGINGFACE_HUB_CACHE");
    if (own) return !rt_path(out, NULL, "%s", own);
    return hf_home(home) && !rt_path(out, NULL, "%s/hub", home);
}

/* $OLLAMA_MODELS, a user's, or a service's. */
static bool ollama_cache(char out[RT_PATH_ROOM]) {
    const char *own = set_env("OLLAMA_MODELS"), *home = set_env("HOME");
    if (own) return !rt_path(out, NULL, "%s", own);
    if (home && !rt_path(out, NULL, "%s/.ollama/models", home) && access(out, R_OK) == 0)
        return true;
    return !rt_path(out, NULL, "/usr/share/ollama/.ollama/models") && access(out, R_OK) == 0;
}

bool rt_blobs_are_foreign(const rt_store *store) {
    char ollama[RT_PATH_ROOM], blobs[RT_PATH_ROOM];
    if (!ollama_cache(ollama) || rt_path(blobs, NULL, "%s/blobs", store->root)) return false;
    char *ours = realpath(blobs, NULL);
    char *theirs = rt_path(blobs, NULL, "%s/blobs", ollama) ? NULL : realpath(blobs, NULL);
    bool same = ours && theirs && strcmp(ours, theirs) == 0;
    free(ours);
    free(theirs);
    return same;
}

char *rt_hf_token(void) {
    char home[RT_PATH_ROOM], path[RT_PATH_ROOM], *text;
    const char *own = set_env("HF_TOKEN"), *file = set_env("HF_TOKEN_PATH");
    size_t n;
    if (own) return strdup(own);
    if (!file && (!hf_home(home) || rt_path(path, NULL, "%s/token", home))) return NULL;
    if (gguf_read_file(file ? file : path, 4096, &text, &n, NULL)) return NULL;
    text[strcspn(text, " \r\n")] = '\0';
    if (*text) return text;
    free(text);
    return NULL;
}

/* ---- single files -----------------------------------------------------------------------------
 */

static bool is_there(const char *path, uint64_t n_bytes) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0 &&
           (n_bytes == RT_NO_SIZE || (uint64_t)st.st_size == n_bytes);
}

static gguf_code place(rt_hub_file *f, const char *path, bool foreign, gguf_error *err) {
    if (!is_there(path, f->n_bytes)) return GGUF_OK;
    f->at = strdup(path);
    f->foreign = foreign;
    return f->at ? GGUF_OK : gguf_fail_memory(err);
}

gguf_code rt_store_locate(const rt_store *store, const rt_name *name, rt_listing *files,
                          gguf_error *err) {
    char hf[RT_PATH_ROOM], ollama[RT_PATH_ROOM], path[RT_PATH_ROOM];
    bool has_hf = hf_cache(hf) && name->kind == RT_NAME_HF, has_ollama = ollama_cache(ollama);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < files->n && !code; i++) {
        rt_hub_file *f = &files->files[i];
        if (f->at) continue;
        bool hash = f->sha256[0] != '\0';
        if (hash && !rt_path(path, NULL, "%s/blobs/sha256-%s", store->root, f->sha256))
            code = place(f, path, false, err);
        if (!f->at && !code && hash && has_hf &&
            !rt_path(path, NULL, "%s/models--%s--%s/blobs/%s", hf, name->space, name->model,
                     f->sha256))
            code = place(f, path, true, err);
        if (!f->at && !code && !hash && has_hf &&
            !rt_path(path, NULL, "%s/models--%s--%s/snapshots/%s/%s", hf, name->space, name->model,
                     files->revision, f->path))
            code = place(f, path, true, err);
        if (!f->at && !code && hash && has_ollama &&
            !rt_path(path, NULL, "%s/blobs/sha256-%s", ollama, f->sha256))
            code = place(f, path, true, err);
    }
    return code;
}

/* ---- Hugging Face's cache ---------------------------------------------------------------------
 */

/* A file of a snapshot is a link to a blob named by its hash. */
static gguf_code add_snapshot_file(rt_listing *out, const char *path, const char *name,
                                   gguf_error *err) {
    struct stat st;
    char *real = realpath(path, NULL);
    const char *base = real ? strrchr(real, '/') : NULL;
    gguf_code code = GGUF_OK;
    size_t n = out->n;
    if (base && stat(path, &st) == 0 && S_ISREG(st.st_mode))
        code = rt_listing_add(out, name, NULL, rt_is_sha256(base + 1) ? base + 1 : NULL,
                              (uint64_t)st.st_size, path, err);
    if (out->n > n) out->files[n].foreign = true;
    free(real);
    return code;
}

static int not_hidden(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static gguf_code list_snapshot(rt_listing *out, const char *folder, const char *prefix, int depth,
                               gguf_error *err) {
    struct dirent **entries;
    int n = scandir(folder, &entries, not_hidden, alphasort);
    gguf_code code = GGUF_OK;
    for (int i = 0; i < n; i++) {
        char path[RT_PATH_ROOM], name[RT_PATH_ROOM];
        struct stat st;
        bool fits = !rt_path(path, NULL, "%s/%s", folder, entries[i]->d_name) &&
                    !rt_path(name, NULL, "%s%s", prefix, entries[i]->d_name);
        free(entries[i]);
        if (!fits || code || stat(path, &st) != 0) continue;
        if (!S_ISDIR(st.st_mode))
            code = add_snapshot_file(out, path, name, err);
        else if (depth < 3 && !rt_path(name, NULL, "%s%s/", prefix, strrchr(path, '/') + 1))
            code = list_snapshot(out, path, name, depth + 1, err);
    }
    if (n >= 0) free(entries);
    return code;
}

static gguf_code fail_missing(gguf_error *err) {
    return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET, "it is in no cache");
}

/* refs/REV holds the commit, unless REV is one. */
static gguf_code list_hf(const rt_name *name, rt_listing *out, gguf_error *err) {
    char cache[RT_PATH_ROOM], path[RT_PATH_ROOM], *text = NULL;
    const char *rev = name->rev[0] ? name->rev : "main";
    size_t n;
    if (!hf_cache(cache) ||
        rt_path(path, NULL, "%s/models--%s--%s/refs/%s", cache, name->space, name->model, rev))
        return fail_missing(err);
    if (gguf_read_file(path, 4096, &text, &n, NULL) == GGUF_OK) text[strcspn(text, " \r\n")] = '\0';
    snprintf(out->revision, sizeof out->revision, "%.200s", text ? text : rev);
    free(text);
    if (!*out->revision || strchr(out->revision, '/') || *out->revision == '.' ||
        rt_path(path, NULL, "%s/models--%s--%s/snapshots/%s", cache, name->space, name->model,
                out->revision))
        return fail_missing(err);
    gguf_code code = list_snapshot(out, path, "", 0, err);
    return code || out->n ? code : fail_missing(err);
}

/* ---- Ollama's ---------------------------------------------------------------------------------
 */

static gguf_code list_ollama(const rt_name *name, rt_listing *out, gguf_error *err) {
    char cache[RT_PATH_ROOM], path[RT_PATH_ROOM], *text;
    size_t n;
    if (!ollama_cache(cache) || rt_path(path, NULL, "%s/manifests/%s/%s/%s/%s", cache, name->host,
                                        name->space, name->model, name->choice))
        return fail_missing(err);
    if (gguf_read_file(path, MAX_SMALL_BYTES, &text, &n, NULL)) return fail_missing(err);
    gguf_code code = rt_ollama_manifest(name, text, n, path, out, err);
    free(text);
    for (size_t i = 0; i < out->n && !code; i++) {
        rt_hub_file *f = &out->files[i];
        if (!rt_path(path, NULL, "%s/blobs/sha256-%s", cache, f->sha256))
            code = place(f, path, true, err);
        if (!code && !f->at) return fail_missing(err);
    }
    return code;
}

gguf_code rt_cache_list(const rt_name *name, rt_listing *out, gguf_error *err) {
    gguf_code code = fail_missing(NULL);
    if (name->kind == RT_NAME_HF) code = list_hf(name, out, err);
    if (name->kind == RT_NAME_OLLAMA) code = list_ollama(name, out, err);
    if (code) rt_listing_clear(out);
    if (code == GGUF_E_MISSING) fail_missing(err);
    return code;
}

/* ---- all of them ------------------------------------------------------------------------------
 */

typedef gguf_code (*cached_fn)(void *ctx, const rt_name *name, const rt_listing *files,
                               gguf_error *err);

static gguf_code call_each(cached_fn each, void *ctx, const rt_name *name, gguf_error *err) {
    rt_listing files = {0};
    gguf_code code = GGUF_OK;
    bool has_model = false;
    if (rt_cache_list(name, &files, NULL) == GGUF_OK) {
        for (size_t i = 0; i < files.n; i++)
            has_model |= gguf_text_ends(files.files[i].path, ".gguf");
        if (has_model) code = each(ctx, name, &files, err);
    }
    rt_listing_clear(&files);
    return code;
}

/* models--ORG--REPO */
static gguf_code each_hf(cached_fn each, void *ctx, gguf_error *err) {
    char cache[RT_PATH_ROOM], text[RT_NAME_ROOM];
    struct dirent **entries;
    gguf_code code = GGUF_OK;
    int n = hf_cache(cache) ? scandir(cache, &entries, not_hidden, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        const char *rest =
            strncmp(entries[i]->d_name, "models--", 8) == 0 ? entries[i]->d_name + 8 : NULL;
        const char *mid = rest ? strstr(rest, "--") : NULL;
        rt_name name;
        if (mid) snprintf(text, sizeof text, "hf://%.*s/%s", (int)(mid - rest), rest, mid + 2);
        if (!code && mid && rt_name_parse(text, &name, NULL) == GGUF_OK)
            code = call_each(each, ctx, &name, err);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return code;
}

/* manifests/HOST/SPACE/MODEL/TAG */
static gguf_code each_ollama(cached_fn each, void *ctx, const char *folder, const char *sofar,
                             int depth, gguf_error *err) {
    struct dirent **entries;
    gguf_code code = GGUF_OK;
    int n = scandir(folder, &entries, not_hidden, alphasort);
    for (int i = 0; i < n; i++) {
        char path[RT_PATH_ROOM], text[RT_PATH_ROOM];
        rt_name name;
        bool fits = !rt_path(path, NULL, "%s/%s", folder, entries[i]->d_name) &&
                    !rt_path(text, NULL, "%s%s%s", sofar,
                             depth == 3 ? ":"
                             : depth    ? "/"
                                        : "",
                             entries[i]->d_name);
        free(entries[i]);
        if (!fits || code) continue;
        if (depth < 3)
            code = each_ollama(each, ctx, path, text, depth + 1, err);
        else if (!rt_path(path, NULL, "ollama://%s", text) &&
                 rt_name_parse(path, &name, NULL) == GGUF_OK)
            code = call_each(each, ctx, &name, err);
    }
    if (n >= 0) free(entries);
    return code;
}

gguf_code rt_cache_each(cached_fn each, void *ctx, gguf_error *err) {
    char cache[RT_PATH_ROOM], folder[RT_PATH_ROOM];
    gguf_code code = each_hf(each, ctx, err);
    if (code || !ollama_cache(cache) || rt_path(folder, NULL, "%s/manifests", cache)) return code;
    return each_ollama(each, ctx, folder, "", 0, err);
}
