/* Which files of a folder hold the weights: what an index says, and what is there. */
#include "libgguf/checkpoint_internal.h"
#include "libgguf/ends.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SHARDS 10000

/* What a folder's weights are called, in order of preference. */
static const struct {
    const char *index, *whole;
} weight_files[] = {{"model.safetensors.index.json", "model.safetensors"},
                    {"pytorch_model.bin.index.json", "pytorch_model.bin"}};
#define N_WEIGHT_FILES (sizeof weight_files / sizeof weight_files[0])

/* Names of files in order, each once; the strings belong to another. */
typedef struct name_list {
    const char **names;
    size_t n;
} name_list;

static bool is_there(const gguf_checkpoint *ckpt, const char *folder, const char *name) {
    char path[PATH_MAX]; /* a longer one is no file; nothing is allocated that could fail */
    if (!folder) return gguf_memory_file_named(ckpt->memory, ckpt->n_memory, name) != NULL;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool lists(const name_list *list, const char *name) {
    return bsearch(&name, list->names, list->n, sizeof *list->names, compare_names) != NULL;
}

/* ---- the files of an index --------------------------------------------------------------- */

static gguf_code check_shard_name(const json_t *value, const char *index_path, gguf_error *err) {
    const char *name = json_string_value(value);
    if (*name && strlen(name) == json_string_length(value) && !strchr(name, '/') &&
        strcmp(name, "..") != 0 && strcmp(name, ".") != 0)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_FORMAT, index_path, GGUF_NO_OFFSET,
                     "weight_map names '%s', which is not a file beside it", name);
}

static void sort_names(name_list *list) {
    size_t n = 0;
    qsort(list->names, list->n, sizeof *list->names, compare_names);
    for (size_t i = 0; i < list->n; i++)
        if (n == 0 || strcmp(list->names[i], list->names[n - 1]) != 0)
            list->names[n++] = list->names[i];
    list->n = n;
}

static gguf_code read_names(const char *index_path, json_t *map, name_list *out, gguf_error *err) {
    const char *tensor;
    json_t *value;
    gguf_code code = GGUF_OK;
    out->names = calloc(json_object_size(map), sizeof *out->names);
    if (!out->names) return gguf_fail_memory_of(err, index_path);
    json_object_foreach(map, tensor, value) {
        if (!json_is_string(value))
            code = gguf_fail(err, GGUF_E_FORMAT, index_path, GGUF_NO_OFFSET,
                             "weight_map's entry '%s' is not a string", tensor);
        else
            code = check_shard_name(value, index_path, err);
        if (code) return code;
        out->names[out->n++] = json_string_value(value);
    }
    sort_names(out);
    if (out->n <= MAX_SHARDS) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, index_path, GGUF_NO_OFFSET, "more than %d shards",
                     MAX_SHARDS);
}

static gguf_code load_index(const gguf_checkpoint *ckpt, const char *index_path, json_t **root,
                            gguf_error *err) {
    const gguf_memory_file *f = gguf_memory_file_named(ckpt->memory, ckpt->n_memory, index_path);
    if (!f) return gguf_json_load(index_path, GGUF_JSON_WIDE_INTS, root, err);
    return gguf_json_parse(f->bytes, f->n_bytes, GGUF_JSON_WIDE_INTS, index_path, 0, root, err);
}

/* ---- files without an index -------------------------------------------------------------- */

static int is_weight_file(const struct dirent *entry) {
    const char *name = entry->d_name;
    if (strncmp(name, "pytorch_model-", 14) == 0 && gguf_text_ends(name, ".bin")) return 1;
    return gguf_text_ends(name, ".safetensors") && strcmp(name, ".safetensors") != 0 &&
           strncmp(name, "adapter_", 8) != 0;
}

/* The number of shards of a set that begins with this name, 00001-of-N; 0 if it is no such name. */
static unsigned shards_of(const char *name) {
    unsigned total = 0;
    int end = 0;
    const char *mark = strstr(name, "-00001-of-");
    if (!mark || sscanf(mark, "-00001-of-%5u%n", &total, &end) != 1) return 0;
    return end == 15 && total && mark[end] == '.' ? total : 0;
}

/* All files of the set that begins with `first`. */
static gguf_code open_set(gguf_checkpoint *ckpt, const char *folder, const char *first,
                          unsigned total, gguf_error *err) {
    const char *mark = strstr(first, "-00001-of-");
    gguf_code code = GGUF_OK;
    for (unsigned i = 1; i <= total && !code; i++) {
        char *name = NULL;
        if (asprintf(&name, "%.*s-%05u%s", (int)(mark - first), first, i, mark + 6) < 0)
            return gguf_fail_memory_of(err, folder);
        code = gguf_checkpoint_add_file(ckpt, folder, name, err);
        free(name);
    }
    return code;
}

static gguf_code open_found(gguf_checkpoint *ckpt, const char *folder, struct dirent **list, int n,
                            gguf_error *err) {
    const char *first = NULL;
    unsigned n_sets = 0;
    for (int i = 0; i < n; i++)
        if (shards_of(list[i]->d_name)) {
            first = list[i]->d_name;
            n_sets++;
        }
    if (n_sets == 1) return open_set(ckpt, folder, first, shards_of(first), err);
    return gguf_fail(err, GGUF_E_MISSING, folder, GGUF_NO_OFFSET,
                     "no %s and no %s here; a file of another name ('%s') has to be given itself",
                     weight_files[0].whole, weight_files[0].index, list[0]->d_name);
}

/* *found: whether there are any, or it could not be found out. */
static gguf_code open_unlisted(gguf_checkpoint *ckpt, const char *folder, bool *found,
                               gguf_error *err) {
    struct dirent **list = NULL;
    int n = folder ? scandir(folder, &list, is_weight_file, alphasort) : 0;
    gguf_code code = GGUF_OK;
    *found = n > 0;
    if (n < 0 && errno == ENOMEM) {
        *found = true;
        return gguf_fail_memory_of(err, folder);
    }
    if (n > 0) code = open_found(ckpt, folder, list, n, err);
    for (int i = 0; i < n; i++) free(list[i]);
    free(list);
    return code;
}

/* ---- an index ---------------------------------------------------------------------------- */

static const char *name_of(const gguf_checkpoint *ckpt, uint32_t file) {
    const char *path = ckpt->files[file].path, *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static const char *plural(size_t n) {
    return n == 1 ? "" : "s";
}

typedef struct differences {
    size_t n;
    const char *first;
} differences;

static void note(differences *d, const char *name) {
    if (d->n++ == 0) d->first = name;
}

/* The map and the shards should say the same of every tensor. */
static void compare_map(gguf_checkpoint *ckpt, const name_list *files, json_t *map) {
    differences absent = {0}, elsewhere = {0}, unlisted = {0};
    const char *name;
    json_t *value;
    size_t len;
    json_object_keylen_foreach(map, name, len, value) {
        uint32_t i;
        if (gguf_index_get(&ckpt->index, (gguf_str){name, len}, &i)) {
            if (strcmp(name_of(ckpt, ckpt->tensors[i].file), json_string_value(value)) != 0)
                note(&elsewhere, name);
        } else if (lists(files, json_string_value(value))) {
            note(&absent, name);
        }
    }
    for (size_t i = 0; i < ckpt->n_tensors; i++)
        if (!json_object_getn(map, ckpt->tensors[i].name.ptr, ckpt->tensors[i].name.len))
            note(&unlisted, ckpt->tensors[i].name.ptr);
    if (absent.n)
        gguf_checkpoint_warn(ckpt,
                             "the index lists %zu tensor%s that no file has, the first is '%s'",
                             absent.n, plural(absent.n), absent.first);
    if (elsewhere.n)
        gguf_checkpoint_warn(
            ckpt,
            "the index puts %zu tensor%s into another file than the one that has it, the first is '%s'",
            elsewhere.n, plural(elsewhere.n), elsewhere.first);
    if (unlisted.n)
        gguf_checkpoint_warn(ckpt, "the index does not list %zu tensor%s, the first is '%s'",
                             unlisted.n, plural(unlisted.n), unlisted.first);
}

/* Take those out of the list that are not there. */
static size_t drop_absent(gguf_checkpoint *ckpt, const char *folder, name_list *files) {
    size_t n = 0, n_listed = files->n;
    for (size_t i = 0; i < n_listed; i++)
        if (is_there(ckpt, folder, files->names[i])) files->names[n++] = files->names[i];
    files->n = n;
    return n_listed - n;
}

/* None of the files is there: others that are count. */
static gguf_code replace_files(gguf_checkpoint *ckpt, const char *folder, const char *index_name,
                               const char *first, gguf_error *err) {
    bool found;
    gguf_error why = {0};
    gguf_code code = open_unlisted(ckpt, folder, &found, &why);
    if (!found || code == GGUF_E_MISSING)
        return gguf_fail(err, GGUF_E_MISSING, folder, GGUF_NO_OFFSET,
                         "%s names files of which none is here, e.g. '%s'", index_name, first);
    if (code && err && !err->code) *err = why;
    if (code) return code;
    gguf_checkpoint_warn(ckpt, "%s names files of which none is here, e.g. '%s'; '%s' is read",
                         index_name, first, name_of(ckpt, 0));
    return GGUF_OK;
}

typedef struct weight_index {
    const char *name, *path; /* of the index */
    const char *whole;       /* the file that holds all where there is no index */
} weight_index;

static gguf_code open_files(gguf_checkpoint *ckpt, const char *folder, const weight_index *index,
                            name_list *files, json_t *map, gguf_error *err) {
    const char *first = files->names[0];
    bool whole = is_there(ckpt, folder, index->whole) && !lists(files, index->whole);
    size_t n_absent = drop_absent(ckpt, folder, files);
    if (n_absent && whole) {
        gguf_checkpoint_warn(ckpt, "%s names %zu absent file%s; '%s' is read", index->name,
                             n_absent, plural(n_absent), index->whole);
        return gguf_checkpoint_add_file(ckpt, folder, index->whole, err);
    }
    if (files->n == 0) return replace_files(ckpt, folder, index->name, first, err);
    if (whole)
        gguf_checkpoint_warn(ckpt, "'%s' is not read: %s names other files", index->whole,
                             index->name);
    if (n_absent)
        gguf_checkpoint_warn(ckpt, "%s names %zu absent file%s", index->name, n_absent,
                             plural(n_absent));
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < files->n && !code; i++)
        code = gguf_checkpoint_add_file(ckpt, folder, files->names[i], err);
    if (!code) compare_map(ckpt, files, map);
    return code;
}

static gguf_code open_index(gguf_checkpoint *ckpt, const char *folder, const weight_index *index,
                            gguf_error *err) {
    name_list files = {0};
    gguf_code code = load_index(ckpt, index->path, &ckpt->index_file, err);
    if (code) return code;
    json_t *map = json_object_get(ckpt->index_file, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        return gguf_fail(err, GGUF_E_FORMAT, index->path, 0, "no weight_map");
    code = read_names(index->path, map, &files, err);
    if (!code) code = open_files(ckpt, folder, index, &files, map, err);
    free(files.names);
    return code;
}

/* ---- a folder ---------------------------------------------------------------------------- */

static gguf_code open_listed(gguf_checkpoint *ckpt, const char *folder, size_t kind,
                             gguf_error *err) {
    char *path = NULL;
    weight_index index = {.name = weight_files[kind].index, .whole = weight_files[kind].whole};
    if (asprintf(&path, "%s%s%s", folder ? folder : "", folder ? "/" : "", index.name) < 0)
        return gguf_fail_memory_of(err, folder);
    index.path = path;
    gguf_code code = open_index(ckpt, folder, &index, err);
    free(path);
    return code;
}

gguf_code gguf_checkpoint_open_folder(gguf_checkpoint *ckpt, const char *folder, gguf_error *err) {
    bool found;
    for (size_t i = 0; i < N_WEIGHT_FILES; i++) {
        if (is_there(ckpt, folder, weight_files[i].index)) return open_listed(ckpt, folder, i, err);
        if (is_there(ckpt, folder, weight_files[i].whole))
            return gguf_checkpoint_add_file(ckpt, folder, weight_files[i].whole, err);
    }
    gguf_code code = open_unlisted(ckpt, folder, &found, err);
    if (found) return code;
    return gguf_fail(err, GGUF_E_MISSING, folder, GGUF_NO_OFFSET,
                     "no %s and no %s here, nor pytorch_model.bin", weight_files[0].whole,
                     weight_files[0].index);
}
