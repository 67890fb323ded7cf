/* From a name to a file. */
#include "runtime/pull/pull.h"

#include "libgguf/ends.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"
#include "quant/recipe.h"
#include "runtime/pull/blob_fetch.h"
#include "runtime/pull/hubs.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Below it nobody has to be told what a download means. */
#define LARGE_BYTES      (UINT64_C(1) << 30)
#define MAX_AT_ONCE      16
#define MAX_CONFIG_BYTES (16u << 20)

rt_pull_opts rt_pull_defaults(void) {
    return (rt_pull_opts){.http = {.stall_s = 30, .n_tries = 6, .wait_s = 0.5},
                          .n_at_once = 4,
                          .memory_bytes = UINT64_MAX};
}

void rt_pulled_clear(rt_pulled *p) {
    rt_stored_clear(&p->stored);
}

typedef struct job {
    const rt_store *store;
    const rt_pull_opts *opts;
    rt_name name;
    rt_listing listing; /* all that the hub has */
    rt_pulled *out;
    const char *type; /* to convert to; NULL = it is a GGUF file */
    char type_room[72];
} job;

static void say(const job *j, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void say(const job *j, bool warning, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (j->opts->note) j->opts->note(j->opts->ctx, warning, text);
}

static char *size_text(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t i = 0;
    for (; value >= 1024 && i + 1 < sizeof units / sizeof units[0]; i++) value /= 1024;
    snprintf(out, 32, i ? "%.1f %s" : "%.0f %s", value, units[i]);
    return out;
}

/* ---- what to take -----------------------------------------------------------------------------
 */

/* Names of the variants that fit, or of those that do not, commas between. */
static void list_types(const rt_listing *l, const rt_variants *v, bool fits, char *out,
                       size_t room) {
    size_t at = 0, n = 0;
    *out = '\0';
    for (size_t i = 0; i < v->n && at + 100 < room; i++) {
        char size[32];
        const char *name = v->list[i].type[0] ? v->list[i].type : l->files[v->list[i].first].path;
        if (v->list[i].fits != fits) continue;
        if (n++ == 12) {
            snprintf(out + at, room - at, ", ...");
            break;
        }
        at += (size_t)snprintf(out + at, room - at, "%s%.40s (%s)", at ? ", " : "", name,
                               size_text(v->list[i].n_bytes, size));
    }
}

/* What fits this machine, where there was a choice or the download is large. */
static void tell_choice(const job *j, const rt_variants *v) {
    char fit[700], not_fit[700], size[32];
    const rt_variant *taken = &v->list[v->chosen];
    bool large = taken->n_bytes != RT_NO_SIZE && taken->n_bytes >= LARGE_BYTES;
    bool chosen_here = !*j->name.choice && v->n > 1;
    if (!taken->fits)
        say(j, true, "%s needs about %s of memory, more than the %s that is available here",
            j->listing.files[taken->first].path, size_text(rt_memory_needed(taken->n_bytes), fit),
            size_text(j->opts->memory_bytes, size));
    if (!large && !chosen_here) return;
    list_types(&j->listing, v, true, fit, sizeof fit);
    list_types(&j->listing, v, false, not_fit, sizeof not_fit);
    if (*fit) say(j, false, "fits this machine's memory: %s", fit);
    if (*not_fit) say(j, false, "does not fit: %s", not_fit);
    if (chosen_here)
        say(j, false, "taking %s (:TYPE behind the name takes another)",
            taken->type[0] ? taken->type : j->listing.files[taken->first].path);
}

static gguf_code take_variant(job *j, const rt_variants *v, gguf_error *err) {
    const rt_variant *taken = &v->list[v->chosen];
    rt_stored *s = &j->out->stored;
    tell_choice(j, v);
    gguf_code code = rt_variant_files(&j->listing, taken, &s->files, err);
    if (code) return code;
    snprintf(s->type, sizeof s->type, "%s", taken->type);
    snprintf(s->main, sizeof s->main, "%s", s->files.files[0].path);
    if (j->name.kind != RT_NAME_HF) return GGUF_OK;
    /* The store's name says what was taken; several of one type are told apart by their files. */
    const char *path = j->listing.files[taken->first].path;
    size_t n_same = 0;
    for (size_t i = 0; i < v->n; i++) n_same += strcasecmp(v->list[i].type, taken->type) == 0;
    snprintf(s->name.choice, sizeof s->name.choice, "%s",
             taken->type[0] && n_same == 1 ? taken->type : path);
    char text[RT_NAME_ROOM];
    rt_name again;
    rt_name_text(&s->name, text, sizeof text);
    if (rt_name_parse(text, &again, NULL) == GGUF_OK && again.kind == RT_NAME_HF &&
        strcmp(again.choice, s->name.choice) == 0)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "no name in the store can stand for the file '%.200s'", path);
}

/* The best type whose size, estimated from weights of 16 bits, fits. */
static const char *type_that_fits(const job *j, uint64_t weights_bytes) {
    static const struct {
        const char *name;
        double bits;
    } types[] = {{"Q8_0", 8.5}, {"Q6_K", 6.6}, {"Q5_K_M", 5.7}, {"Q4_K_M", 4.9}};
    size_t n = sizeof types / sizeof types[0];
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = (uint64_t)((double)weights_bytes * types[i].bits / 16);
        if (rt_memory_needed(bytes) <= j->opts->memory_bytes) return types[i].name;
    }
    return types[n - 1].name;
}

/* Before anything is fetched. */
static bool can_convert_to(const char *type) {
    quant_recipe *recipe = NULL;
    gguf_error err = {0};
    bool known =
        strcasecmp(type, "auto") == 0 || quant_recipe_named(type, &recipe, &err) == GGUF_OK;
    quant_recipe_free(recipe);
    return known;
}

static gguf_code take_sources(job *j, gguf_error *err) {
    rt_stored *s = &j->out->stored;
    uint64_t weights_bytes;
    char size[32];
    gguf_code code = rt_listing_sources(&j->listing, &s->files, &weights_bytes, err);
    if (code) return code;
    if (!weights_bytes)
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET,
                         "there is neither a GGUF file nor a model in safetensors");
    if (gguf_text_ends(j->name.choice, ".gguf"))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "there is no file '%s': the weights are in safetensors", j->name.choice);
    if (*j->name.choice && j->opts->mode == RT_PULL_HEADERS)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the weights are in safetensors: leave out ':%s', or give it as --type",
                         j->name.choice);
    if (*j->name.choice && !can_convert_to(j->name.choice))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "there is no recipe or type '%s' to convert the safetensors to",
                         j->name.choice);
    snprintf(j->type_room, sizeof j->type_room, "%.71s",
             *j->name.choice ? j->name.choice : type_that_fits(j, weights_bytes));
    j->type = j->type_room;
    snprintf(s->type, sizeof s->type, "%s", j->type);
    snprintf(s->name.choice, sizeof s->name.choice, "%s", j->type);
    snprintf(s->main, sizeof s->main, "%.180s-%s.gguf", j->name.model, j->type);
    s->converted = true;
    if (j->opts->mode != RT_PULL_HEADERS)
        say(j, false, "there is no GGUF file: %s of weights are fetched and converted to %s%s",
            size_text(weights_bytes, size), j->type,
            *j->name.choice ? "" : " (:TYPE behind the name takes another)");
    return GGUF_OK;
}

static gguf_code choose(job *j, gguf_error *err) {
    rt_variants v;
    const char *choice = j->name.kind == RT_NAME_HF ? j->name.choice : "";
    gguf_code code = rt_variants_choose(&j->listing, choice, j->opts->memory_bytes, &v, err);
    if (code) return code;
    j->out->stored.name = j->name;
    snprintf(j->out->stored.revision, sizeof j->out->stored.revision, "%s", j->listing.revision);
    code = v.n ? take_variant(j, &v, err) : take_sources(j, err);
    free(v.list);
    return code;
}

/* ---- fetching ---------------------------------------------------------------------------------
 */

typedef struct crew {
    const job *j;
    rt_listing *files;
    const char *if_none_match;
    atomic_size_t next;
    atomic_ullong done;
    atomic_uint n_left; /* threads at work */
    atomic_bool failed;
    bool unchanged;
    char etag[264];
    pthread_mutex_t lock; /* of the first error, unchanged and etag */
    gguf_error err;
} crew;

static void *fetch_files(void *ctx) {
    crew *c = ctx;
    for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < c->files->n;) {
        gguf_error err = {0};
        rt_hub_file *file = &c->files->files[i];
        if (file->at || atomic_load(&c->failed)) continue;
        rt_fetch f = {.store = c->j->store,
                      .http = &c->j->opts->http,
                      .bearer = c->j->listing.bearer,
                      .if_none_match = c->if_none_match,
                      .file = file,
                      .done = &c->done};
        gguf_code code = rt_fetch_blob(&f, &err);
        pthread_mutex_lock(&c->lock);
        if (code && !c->err.code) c->err = err;
        c->unchanged |= f.unchanged;
        if (f.etag[0]) snprintf(c->etag, sizeof c->etag, "%s", f.etag);
        pthread_mutex_unlock(&c->lock);
        if (code) atomic_store(&c->failed, true);
    }
    atomic_fetch_sub(&c->n_left, 1);
    return NULL;
}

/* What is left to fetch; 0 also where sizes are not known. */
static uint64_t bytes_needed(const rt_store *store, const rt_listing *l) {
    uint64_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const rt_hub_file *f = &l->files[i];
        uint64_t begun = f->at || f->n_bytes == RT_NO_SIZE ? 0 : rt_fetch_begun(store, f);
        if (!f->at && f->n_bytes != RT_NO_SIZE && f->n_bytes > begun) n += f->n_bytes - begun;
    }
    return n;
}

/* Files, and beside them what a conversion writes, at most as large as its source. */
static gguf_code check_space(const job *j, uint64_t needed, gguf_error *err) {
    char path[RT_PATH_ROOM];
    gguf_error why = {0};
    uint64_t weights = 0;
    gguf_code code = rt_path(path, err, "%s/blobs/x", j->store->root);
    if (!code) code = rt_make_folders(path, err);
    for (size_t i = 0; i < j->out->stored.files.n && j->type; i++)
        if (j->out->stored.files.files[i].n_bytes != RT_NO_SIZE)
            weights += j->out->stored.files.files[i].n_bytes;
    if (code || gguf_outfile_check_space(path, needed + weights / 2, &why) == GGUF_OK) return code;
    return gguf_fail(err, why.code, j->store->root, GGUF_NO_OFFSET, "%s", why.message);
}

static void watch(const crew *c, uint64_t total) {
    const struct timespec step = {.tv_nsec = 20000000};
    const rt_pull_opts *o = c->j->opts;
    while (atomic_load(&c->n_left)) {
        uint64_t done = atomic_load(&c->done);
        if (o->progress && total) o->progress(o->ctx, done < total ? done : total - 1, total);
        nanosleep(&step, NULL);
    }
    if (o->progress && total) o->progress(o->ctx, total, total);
}

static gguf_code fetch_all(const job *j, rt_listing *files, const char *if_none_match,
                           bool *unchanged, gguf_error *err) {
    crew c = {
        .j = j, .files = files, .if_none_match = if_none_match, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[MAX_AT_ONCE];
    uint64_t total = bytes_needed(j->store, files);
    size_t n_missing = 0, n = 0;
    for (size_t i = 0; i < files->n; i++) n_missing += files->files[i].at == NULL;
    size_t wanted = j->opts->n_at_once < n_missing ? j->opts->n_at_once : n_missing;
    for (; n < wanted && n < MAX_AT_ONCE; n++) {
        atomic_fetch_add(&c.n_left, 1);
        if (pthread_create(&threads[n], NULL, fetch_files, &c) == 0) continue;
        atomic_fetch_sub(&c.n_left, 1);
        break;
    }
    if (n_missing && n == 0) return gguf_fail_memory(err);
    watch(&c, total);
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&c.lock);
    j->out->fetched_bytes += atomic_load(&c.done);
    if (unchanged) *unchanged = c.unchanged;
    if (j->name.kind == RT_NAME_URL)
        snprintf(j->out->stored.revision, sizeof j->out->stored.revision, "%s", c.etag);
    if (c.err.code)
        return gguf_fail(err, c.err.code, c.err.file[0] ? c.err.file : NULL, c.err.offset, "%s",
                         c.err.message);
    return GGUF_OK;
}

/* ---- converting -------------------------------------------------------------------------------
 */

/* The sources under their names, in a folder that is named as the repository. */
static gguf_code link_sources(const job *j, const char *folder, gguf_error *err) {
    const rt_listing *l = &j->out->stored.files;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < l->n && !code; i++) {
        char path[RT_PATH_ROOM];
        code = rt_path(path, err, "%s/%s", folder, l->files[i].path);
        if (!code) code = rt_make_folders(path, err);
        if (code) break;
        unlink(path);
        char *real = realpath(l->files[i].at, NULL);
        if (!real || symlink(real, path) != 0)
            code = gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot link it: %s",
                             strerror(errno));
        free(real);
    }
    return code;
}

/* The links, and the folders that they were in. */
static void remove_sources(const job *j, const char *folder) {
    const rt_listing *l = &j->out->stored.files;
    char path[RT_PATH_ROOM];
    for (size_t i = 0; i < l->n; i++) {
        if (rt_path(path, NULL, "%s/%s", folder, l->files[i].path)) continue;
        unlink(path);
        for (char *slash; (slash = strrchr(path, '/')) && slash - path >= (long)strlen(folder);) {
            *slash = '\0';
            if (rmdir(path) != 0) break;
        }
    }
    if (!rt_path(path, NULL, "%s", folder)) {
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
}

static gguf_code convert(job *j, gguf_error *err) {
    rt_stored *s = &j->out->stored;
    char links[RT_PATH_ROOM], folder[RT_PATH_ROOM], out[RT_PATH_ROOM];
    struct stat st;
    gguf_code code = rt_store_folder(j->store, "links", &s->name, links, err);
    if (!code) code = rt_path(folder, err, "%s.source/%s", links, s->name.model);
    if (!code) code = rt_store_main(j->store, s, out, err);
    if (!code) code = rt_make_folders(out, err);
    if (!code) code = link_sources(j, folder, err);
    if (!code) code = j->opts->convert(j->opts->ctx, folder, out, j->type, err);
    remove_sources(j, folder);
    if (code) return code;
    rt_listing sources = s->files;
    s->files = (rt_listing){0};
    if (stat(out, &st) != 0)
        code = gguf_fail(err, GGUF_E_IO, out, GGUF_NO_OFFSET, "%s", strerror(errno));
    if (!code)
        code = rt_listing_add(&s->files, s->main, NULL, NULL, (uint64_t)st.st_size, NULL, err);
    if (!code) code = rt_store_save(j->store, s, err);
    if (!code) code = rt_store_drop_blobs(j->store, &sources, NULL, err);
    rt_listing_clear(&sources);
    return code;
}

/* ---- one name ---------------------------------------------------------------------------------
 */

static gguf_code list_hub(job *j, gguf_error *err) {
    if (j->name.kind == RT_NAME_HF) return rt_hf_list(&j->opts->http, &j->name, &j->listing, err);
    if (j->name.kind == RT_NAME_OLLAMA)
        return rt_ollama_list(&j->opts->http, &j->name, &j->listing, err);
    return rt_url_list(&j->name, &j->listing, err);
}

/* It is in the store, whole. */
static gguf_code take_stored(job *j, rt_stored *stored, gguf_error *err) {
    rt_stored_clear(&j->out->stored);
    j->out->stored = *stored;
    *stored = (rt_stored){0};
    return rt_store_main(j->store, &j->out->stored, j->out->path, err);
}

/* What the hub has is what the store has: of an address the server has to be asked. */
static bool is_current(const job *j, const rt_stored *have) {
    if (!have->complete) return false;
    if (j->name.kind == RT_NAME_URL)
        return !j->opts->again && (!have->revision[0] || have->files.n > 1);
    return strcmp(have->revision, j->listing.revision) == 0;
}

/* Whether a manifest says what this run would write. */
static bool is_same(const job *j, const rt_stored *have) {
    const rt_stored *s = &j->out->stored;
    if (!have->complete || strcmp(have->revision, s->revision) != 0) return false;
    if (j->type) return true; /* the sources of the same revision */
    if (have->files.n != s->files.n) return false;
    for (size_t i = 0; i < s->files.n; i++)
        if (strcmp(have->files.files[i].sha256, s->files.files[i].sha256) != 0) return false;
    return true;
}

/* Link or convert what is there now; another process may have done it meanwhile. */
static gguf_code keep(job *j, gguf_error *err) {
    rt_stored have = {0};
    const rt_name name = j->out->stored.name;
    gguf_code code = rt_store_hold(j->store, &name, j->opts->http.cancel, err);
    if (code) return code;
    if (rt_store_load(j->store, &name, &have, NULL) == GGUF_OK && is_same(j, &have)) {
        if (j->type) code = rt_store_drop_blobs(j->store, &j->out->stored.files, NULL, err);
        if (!code) code = take_stored(j, &have, err);
    } else {
        code = j->type ? convert(j, err) : rt_store_save(j->store, &j->out->stored, err);
        if (!code) code = rt_store_main(j->store, &j->out->stored, j->out->path, err);
    }
    rt_store_release(j->store, &name);
    rt_stored_clear(&have);
    return code;
}

static gguf_code fetch_and_save(job *j, const rt_stored *have, bool *unchanged, gguf_error *err) {
    rt_stored *s = &j->out->stored;
    bool by_etag = j->name.kind == RT_NAME_URL && have->complete && !j->opts->again &&
                   s->files.n == 1 && have->revision[0];
    gguf_code code = rt_store_locate(j->store, &j->name, &s->files, err);
    if (code) return code;
    j->out->needed_bytes = bytes_needed(j->store, &s->files);
    if (j->opts->dry_run) return GGUF_OK;
    code = check_space(j, j->out->needed_bytes, err);
    if (!code) code = fetch_all(j, &s->files, by_etag ? have->revision : NULL, unchanged, err);
    if (code || *unchanged) return code;
    if (!j->type && !gguf_file_has_magic(s->files.files[0].at))
        return gguf_fail(err, GGUF_E_FORMAT, s->files.files[0].at, GGUF_NO_OFFSET,
                         "what came is no GGUF file");
    return keep(j, err);
}

static gguf_code fetch_model(job *j, gguf_error *err) {
    rt_stored have = {0};
    bool unchanged = false;
    gguf_code code = choose(j, err);
    for (size_t i = 0; i < j->listing.n_notes && !code; i++)
        say(j, false, "%s", j->listing.notes[i]);
    if (code) return code;
    if (rt_store_load(j->store, &j->out->stored.name, &have, NULL) == GGUF_OK &&
        is_current(j, &have))
        return take_stored(j, &have, err);
    code = fetch_and_save(j, &have, &unchanged, err);
    if (!code && unchanged) code = take_stored(j, &have, err);
    rt_stored_clear(&have);
    return code;
}

/* What sizes are made of, of a model that is not converted yet. */
static gguf_code fetch_config(job *j, const char *folder, gguf_error *err) {
    const rt_listing *l = &j->out->stored.files;
    const rt_hub_file *config = NULL;
    rt_http_head head;
    char *text;
    size_t n;
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->files[i].path, "config.json") == 0) config = &l->files[i];
    if (!config)
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET, "there is no config.json");
    const rt_http_request request = {.url = config->url, .bearer = j->listing.bearer};
    gguf_code code = rt_path(j->out->path, err, "%s/config.json", folder);
    if (!code) code = rt_make_folders(j->out->path, err);
    if (!code)
        code = rt_http_get(&j->opts->http, &request, MAX_CONFIG_BYTES, &text, &n, &head, err);
    if (code) return code;
    code = head.status == 200 ? gguf_outfile_save(j->out->path, text, n, GGUF_OUT_REPLACE, err)
                              : rt_http_fail_status(&head, config->url, err);
    free(text);
    return code;
}

/* Headers of all shards, or the configuration. */
static gguf_code fetch_headers(job *j, gguf_error *err) {
    rt_stored *s = &j->out->stored;
    char folder[RT_PATH_ROOM], path[RT_PATH_ROOM];
    gguf_code code = choose(j, err);
    if (!code) code = rt_store_folder(j->store, "headers", &s->name, folder, err);
    if (code || j->type) return code ? code : fetch_config(j, folder, err);
    for (size_t i = 0; i < s->files.n && !code; i++) {
        rt_fetch f = {.store = j->store,
                      .http = &j->opts->http,
                      .bearer = j->listing.bearer,
                      .file = &s->files.files[i]};
        code = rt_path(path, err, "%s/%s", folder, f.file->path);
        if (!code) code = rt_fetch_header(&f, path, err);
        if (!code && i == 0) code = rt_path(j->out->path, err, "%s", path);
    }
    return code;
}

/* The folder of a model in safetensors that another program has. */
static gguf_code take_folder(job *j, gguf_error *err) {
    const rt_listing *l = &j->out->stored.files;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->files[i].path, "config.json") != 0) continue;
        size_t n = strlen(l->files[i].at) - strlen("/config.json");
        return rt_path(j->out->path, err, "%.*s", (int)n, l->files[i].at);
    }
    return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET, "there is no config.json");
}

/* What is there, without asking anybody. */
static gguf_code find_local(job *j, gguf_error *err) {
    rt_stored have = {0};
    gguf_error why = {0};
    gguf_code code = rt_store_find(j->store, &j->name, &have, &why);
    if (code == GGUF_OK && have.complete) return take_stored(j, &have, err);
    rt_stored_clear(&have);
    if (code && code != GGUF_E_MISSING)
        return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "%s", why.message);
    code = rt_cache_list(&j->name, &j->listing, err);
    if (!code) code = choose(j, err);
    if (code || j->opts->dry_run) return code;
    if (j->type && j->opts->mode == RT_PULL_HEADERS) return take_folder(j, err);
    return keep(j, err);
}

static void forget(job *j) {
    rt_listing_clear(&j->listing);
    rt_stored_clear(&j->out->stored);
    j->type = NULL;
    j->out->path[0] = '\0';
}

/* A bare name: the store's, or the short list's. */
static gguf_code resolve_bare(job *j, gguf_error *err) {
    rt_stored have = {0};
    gguf_error why = {0};
    char hint[200];
    rt_name entry;
    gguf_code code = rt_store_find(j->store, &j->name, &have, &why);
    if (code == GGUF_OK) {
        j->name = have.name;
        rt_stored_clear(&have);
        return GGUF_OK;
    }
    if (code != GGUF_E_MISSING)
        return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "%s", why.message);
    if (rt_name_builtin(&j->name, &entry)) {
        j->name = entry;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                     "no such file, no model of this name in %s, and none in the list of short "
                     "names%s",
                     j->store->root, rt_name_hint(j->name.model, hint, sizeof hint));
}

static gguf_code pull_locked(job *j, gguf_error *err) {
    const rt_pull_opts *opts = j->opts;
    char text[RT_NAME_ROOM];
    if (opts->mode != RT_PULL_LATEST || opts->offline) {
        gguf_error why = {0};
        gguf_code code = find_local(j, &why);
        if (code == GGUF_E_MISSING && opts->offline)
            return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                             "%s is neither in %s nor in another program's cache, and "
                             "HF_HUB_OFFLINE forbids to ask for it",
                             rt_name_text(&j->name, text, sizeof text), j->store->root);
        if (code != GGUF_E_MISSING)
            return code ? gguf_fail(err, code, why.file[0] ? why.file : NULL, why.offset, "%s",
                                    why.message)
                        : GGUF_OK;
        forget(j);
    }
    gguf_code code = list_hub(j, err);
    if (code) return code;
    return opts->mode == RT_PULL_HEADERS ? fetch_headers(j, err) : fetch_model(j, err);
}

gguf_code rt_pull(rt_store *store, const rt_name *name, const rt_pull_opts *opts, rt_pulled *out,
                  gguf_error *err) {
    job j = {.store = store, .opts = opts, .name = *name, .out = out};
    *out = (rt_pulled){0};
    gguf_code code = name->kind == RT_NAME_BARE ? resolve_bare(&j, err) : GGUF_OK;
    if (!code) code = rt_store_lock(store, false, err);
    if (!code) code = pull_locked(&j, err);
    rt_store_unlock(store);
    rt_listing_clear(&j.listing);
    return code;
}
