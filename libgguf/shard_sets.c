/* Sets of shards with another number of files under the same prefix. */
#include "libgguf/inputs.h"
#include "libgguf/split.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is done with each file of such a set. */
typedef gguf_code (*stale_fn)(const char *path, bool replace, gguf_error *err);

static gguf_code check_stale(const char *path, bool replace, gguf_error *err) {
    struct stat st;
    if (lstat(path, &st) != 0) return GGUF_OK;
    if (!S_ISREG(st.st_mode))
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET,
                         "is named like a shard of another set, but is not a regular file");
    if (gguf_inputs_have(&st))
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "this command reads that shard, and it would stay beside the new set; the "
                         "output needs another name");
    if (replace) return GGUF_OK;
    return gguf_fail(err, GGUF_E_EXISTS, path, GGUF_NO_OFFSET,
                     "a set of another number of shards exists; --force replaces it");
}

static gguf_code remove_stale(const char *path, bool replace, gguf_error *err) {
    gguf_code code = check_stale(path, replace, err);
    if (code || unlink(path) == 0 || errno == ENOENT) return code;
    return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET,
                     "cannot remove the shard of the older set: %s", strerror(errno));
}

/* STEM-NNNNN-of-MMMMM.gguf, MMMMM being another number than `count`. */
static bool is_stale(const char *name, const char *stem, uint32_t count) {
    uint32_t no = 0, of = 0;
    char wanted[512];
    size_t n = strlen(stem);
    if (strncmp(name, stem, n) != 0 ||
        sscanf(name + n, "-%5" SCNu32 "-of-%5" SCNu32 ".gguf", &no, &of) != 2 || no < 1 || no > of)
        return false;
    return of != count && gguf_shard_name(stem, of, no - 1, wanted, sizeof wanted) &&
           strcmp(name, wanted) == 0;
}

static gguf_code join(const char *folder, const char *name, char **path, gguf_error *err) {
    bool here = strcmp(folder, ".") == 0;
    if (asprintf(path, "%s%s%s", here ? "" : folder, here ? "" : "/", name) >= 0) return GGUF_OK;
    *path = NULL;
    return gguf_fail_memory_of(err, name);
}

static gguf_code each_stale(const char *prefix, uint32_t count, bool replace, stale_fn fn,
                            gguf_error *err) {
    char *copy = strdup(prefix), *path = NULL;
    const char *slash = strrchr(prefix, '/'), *stem = slash ? slash + 1 : prefix;
    if (!copy) return gguf_fail_memory_of(err, prefix);
    const char *folder = dirname(copy);
    struct dirent **entries = NULL;
    /* without a folder there is no set, and outputs say why */
    int n = scandir(folder, &entries, NULL, alphasort);
    gguf_code code = GGUF_OK;
    for (int i = 0; i < n; i++) {
        if (!code && is_stale(entries[i]->d_name, stem, count)) {
            code = join(folder, entries[i]->d_name, &path, err);
            if (!code) code = fn(path, replace, err);
            free(path);
        }
        free(entries[i]);
    }
    free(entries);
    free(copy);
    return code;
}

gguf_code gguf_shard_sets_check(const char *prefix, uint32_t count, bool replace, gguf_error *err) {
    return each_stale(prefix, count, replace, check_stale, err);
}

gguf_code gguf_shard_sets_clean(const char *prefix, uint32_t count, gguf_error *err) {
    return each_stale(prefix, count, true, remove_stale, err);
}
