/* Checkpoints: opening the files of a folder and looking tensors up. */
#include "libgguf/checkpoint_internal.h"
#include "libgguf/index.h"
#include "libgguf/inputs.h"
#include "libgguf/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SHARDS 10000

typedef struct ckpt_file {
    char *path;
    int fd;
    const gguf_memory_file *memory;
} ckpt_file;

struct gguf_checkpoint {
    const gguf_memory_file *memory; /* the folder, if it is not on disk */
    size_t n_memory;
    ckpt_file *files;
    size_t n_files;
    gguf_checkpoint_tensor *tensors;
    size_t n_tensors, room;
    gguf_index index;
};

static const gguf_dtype dtypes[] = {
    {"F32", 32, GGUF_TYPE_F32},
    {"F16", 16, GGUF_TYPE_F16},
    {"BF16", 16, GGUF_TYPE_BF16},
    {"F64", 64, GGUF_TYPE_F64},
    {"I64", 64, GGUF_TYPE_I64},
    {"I32", 32, GGUF_TYPE_I32},
    {"I16", 16, GGUF_TYPE_I16},
    {"I8", 8, GGUF_TYPE_I8},
    {"U64", 64, -1},
    {"U32", 32, -1},
    {"U16", 16, -1},
    {"U8", 8, -1},
    {"BOOL", 8, -1},
    {"F8_E4M3", 8, -1},
    {"F8_E5M2", 8, -1},
    {"F8_E8M0", 8, -1},
    {"F8_E4M3FNUZ", 8, -1},
    {"F8_E5M2FNUZ", 8, -1},
    {"C64", 64, -1},
    {"F4", 4, -1},
    {"F6_E2M3", 6, -1},
    {"F6_E3M2", 6, -1},
};

const gguf_dtype *gguf_dtype_named(const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0) return &dtypes[i];
    return NULL;
}

static gguf_code no_memory(gguf_error *err, const char *path) {
    return gguf_fail(err, GGUF_E_NOMEM, path, GGUF_NO_OFFSET, "out of memory");
}

gguf_code gguf_checkpoint_add(gguf_checkpoint *ckpt, const gguf_checkpoint_tensor *tensor,
                              gguf_error *err) {
    const char *path = ckpt->files[tensor->file].path;
    if (ckpt->n_tensors == ckpt->room) {
        size_t room = ckpt->room ? ckpt->room * 2 : 256;
        void *grown = realloc(ckpt->tensors, room * sizeof *ckpt->tensors);
        if (!grown) return no_memory(err, path);
        ckpt->tensors = grown;
        ckpt->room = room;
    }
    char *name = malloc(tensor->name.len + 1);
    if (!name) return no_memory(err, path);
    memcpy(name, tensor->name.ptr, tensor->name.len);
    name[tensor->name.len] = '\0';
    gguf_str copy = {name, tensor->name.len};
    gguf_index_put_result put = gguf_index_put(&ckpt->index, copy, (uint32_t)ckpt->n_tensors, NULL);
    if (put != GGUF_INDEX_ADDED) {
        free(name);
        if (put == GGUF_INDEX_NOMEM) return no_memory(err, path);
        return gguf_fail(err, GGUF_E_DUPLICATE, path, GGUF_NO_OFFSET, "tensor '%.*s' occurs twice",
                         (int)tensor->name.len, tensor->name.ptr);
    }
    gguf_checkpoint_tensor *slot = &ckpt->tensors[ckpt->n_tensors++];
    *slot = *tensor;
    slot->name = copy;
    return GGUF_OK;
}

/* A ZIP archive holds a PyTorch checkpoint; the header length of safetensors cannot begin so. */
static bool is_archive(const ckpt_file *f) {
    char magic[4] = {0};
    if (f->memory && f->memory->n_bytes >= sizeof magic)
        memcpy(magic, f->memory->bytes, sizeof magic);
    else if (!f->memory && pread(f->fd, magic, sizeof magic, 0) != sizeof magic)
        return false;
    return memcmp(magic, "PK\3\4", sizeof magic) == 0;
}

/* folder: NULL if `name` is the whole path, or the name of a file in memory */
static gguf_code add_file(gguf_checkpoint *ckpt, const char *folder, const char *name,
                          gguf_error *err) {
    void *grown = realloc(ckpt->files, (ckpt->n_files + 1) * sizeof *ckpt->files);
    if (!grown) return no_memory(err, name);
    ckpt->files = grown;
    char *path = NULL;
    if (folder ? asprintf(&path, "%s/%s", folder, name) < 0 : !(path = strdup(name)))
        return no_memory(err, name);
    ckpt_file f = {path, -1, gguf_memory_file_named(ckpt->memory, ckpt->n_memory, name)};
    if (!ckpt->memory) f.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f.fd >= 0) gguf_inputs_add_fd(f.fd);
    ckpt->files[ckpt->n_files] = f;
    uint32_t file = (uint32_t)ckpt->n_files++;
    if (f.fd < 0 && !f.memory)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open: %s",
                         ckpt->memory ? "no such file" : strerror(errno));
    gguf_code code =
        is_archive(&f) ? gguf_torch_read(ckpt, file, err) : gguf_safetensors_read(ckpt, file, err);
    if (file >= GGUF_KEEP_OPEN && f.fd >= 0) {
        close(f.fd);
        ckpt->files[file].fd = -1;
    }
    return code;
}

/* An open file that has no name any more. */
static int open_unnamed(void) {
    const char *folder = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/ggufkit-XXXXXX", folder && *folder ? folder : "/tmp") < 0) {
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    free(path);
    return fd;
}

gguf_code gguf_checkpoint_add_unpacked(gguf_checkpoint *ckpt, uint32_t file, uint32_t *unpacked,
                                       gguf_error *err) {
    void *grown = realloc(ckpt->files, (ckpt->n_files + 1) * sizeof *ckpt->files);
    if (!grown) return no_memory(err, NULL);
    ckpt->files = grown;
    ckpt_file f = {strdup(ckpt->files[file].path), -1, NULL};
    if (!f.path) return no_memory(err, NULL);
    f.fd = open_unnamed();
    ckpt->files[ckpt->n_files] = f;
    *unpacked = (uint32_t)ckpt->n_files++;
    if (f.fd >= 0) return GGUF_OK;
    return gguf_fail(err, errno == ENOMEM ? GGUF_E_NOMEM : GGUF_E_IO, f.path, GGUF_NO_OFFSET,
                     "cannot make a temporary file to unpack it: %s", strerror(errno));
}

static gguf_code check_shard_name(const json_t *value, const char *index_path, gguf_error *err) {
    const char *name = json_string_value(value);
    if (*name && strlen(name) == json_string_length(value) && !strchr(name, '/') &&
        strcmp(name, "..") != 0 && strcmp(name, ".") != 0)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_FORMAT, index_path, GGUF_NO_OFFSET,
                     "weight_map names '%s', which is no file beside it", name);
}

/* The files are in the order of their names, see open_shards. */
static bool has_file(const gguf_checkpoint *ckpt, const char *name, size_t *file) {
    for (size_t low = 0, high = ckpt->n_files; low < high;) {
        size_t middle = low + (high - low) / 2;
        const char *path = ckpt->files[middle].path, *slash = strrchr(path, '/');
        int order = strcmp(slash ? slash + 1 : path, name);
        *file = middle;
        if (order == 0) return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Open every shard that the map names, once, in name order. */
static gguf_code open_shards(gguf_checkpoint *ckpt, const char *folder, const char *index_path,
                             json_t *map, gguf_error *err) {
    size_t n = 0, room = json_object_size(map);
    const char **names = calloc(room ? room : 1, sizeof *names), *tensor;
    json_t *value;
    if (!names) return no_memory(err, index_path);
    gguf_code code = GGUF_OK;
    json_object_foreach(map, tensor, value) {
        if (!json_is_string(value))
            code = gguf_fail(err, GGUF_E_FORMAT, index_path, GGUF_NO_OFFSET,
                             "weight_map's entry '%s' is no string", tensor);
        else
            code = check_shard_name(value, index_path, err);
        if (code) break;
        names[n++] = json_string_value(value);
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n && !code; i++) {
        if (i && strcmp(names[i], names[i - 1]) == 0) continue;
        code = ckpt->n_files < MAX_SHARDS ? add_file(ckpt, folder, names[i], err)
                                          : gguf_fail(err, GGUF_E_LIMIT, index_path, GGUF_NO_OFFSET,
                                                      "more than %d shards", MAX_SHARDS);
    }
    free(names);
    return code;
}

/* The map and the union of the shards must be the same, tensor by tensor. */
static gguf_code check_map(const gguf_checkpoint *ckpt, const char *index_path, json_t *map,
                           gguf_error *err) {
    const char *name;
    json_t *value;
    size_t len;
    json_object_keylen_foreach(map, name, len, value) {
        uint32_t i;
        const gguf_checkpoint_tensor *t =
            gguf_index_get(&ckpt->index, (gguf_str){name, len}, &i) ? &ckpt->tensors[i] : NULL;
        size_t file = 0;
        if (!t)
            return gguf_fail(err, GGUF_E_MISSING, index_path, GGUF_NO_OFFSET,
                             "weight_map lists tensor '%s', but no shard has it", name);
        if (!has_file(ckpt, json_string_value(value), &file) ||
            strcmp(ckpt->files[t->file].path, ckpt->files[file].path) != 0)
            return gguf_fail(err, GGUF_E_FORMAT, index_path, GGUF_NO_OFFSET,
                             "weight_map puts tensor '%s' into '%s', but '%s' holds it", name,
                             json_string_value(value), ckpt->files[t->file].path);
    }
    for (size_t i = 0; i < ckpt->n_tensors; i++)
        if (!json_object_getn(map, ckpt->tensors[i].name.ptr, ckpt->tensors[i].name.len))
            return gguf_fail(err, GGUF_E_FORMAT, ckpt->files[ckpt->tensors[i].file].path,
                             GGUF_NO_OFFSET, "tensor '%s' is not in the weight_map",
                             ckpt->tensors[i].name.ptr);
    return GGUF_OK;
}

static gguf_code load_index(const gguf_checkpoint *ckpt, const char *index_path, json_t **root,
                            gguf_error *err) {
    const gguf_memory_file *f = gguf_memory_file_named(ckpt->memory, ckpt->n_memory, index_path);
    if (!f) return gguf_json_load(index_path, GGUF_JSON_WIDE_INTS, root, err);
    return gguf_json_parse(f->bytes, f->n_bytes, GGUF_JSON_WIDE_INTS, index_path, 0, root, err);
}

/* folder: NULL if the checkpoint is in memory */
static gguf_code open_index(gguf_checkpoint *ckpt, const char *folder, const char *index_path,
                            gguf_error *err) {
    json_t *root;
    gguf_code code = load_index(ckpt, index_path, &root, err);
    if (code) return code;
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        code = gguf_fail(err, GGUF_E_FORMAT, index_path, 0, "no weight_map");
    if (!code) code = open_shards(ckpt, folder, index_path, map, err);
    if (!code) code = check_map(ckpt, index_path, map, err);
    json_decref(root);
    return code;
}

/* What a folder's weights are called, in order of preference. */
static const struct {
    const char *name;
    bool is_index;
} weight_files[] = {{"model.safetensors.index.json", true},
                    {"model.safetensors", false},
                    {"pytorch_model.bin.index.json", true},
                    {"pytorch_model.bin", false}};
#define N_WEIGHT_FILES (sizeof weight_files / sizeof weight_files[0])

static gguf_code no_weights(const char *folder, gguf_error *err) {
    return gguf_fail(err, GGUF_E_MISSING, folder, GGUF_NO_OFFSET,
                     "no %s and no %s here, nor pytorch_model.bin", weight_files[1].name,
                     weight_files[0].name);
}

static gguf_code open_folder(gguf_checkpoint *ckpt, const char *folder, gguf_error *err) {
    for (size_t i = 0; i < N_WEIGHT_FILES; i++) {
        const char *name = weight_files[i].name;
        char *path = NULL;
        if (asprintf(&path, "%s/%s", folder, name) < 0) return no_memory(err, folder);
        bool found = access(path, F_OK) == 0;
        gguf_code code = GGUF_OK;
        if (found)
            code = weight_files[i].is_index ? open_index(ckpt, folder, path, err)
                                            : add_file(ckpt, folder, name, err);
        free(path);
        if (found) return code;
    }
    return no_weights(folder, err);
}

static gguf_code open_memory(gguf_checkpoint *ckpt, gguf_error *err) {
    for (size_t i = 0; i < N_WEIGHT_FILES; i++) {
        const char *name = weight_files[i].name;
        if (!gguf_memory_file_named(ckpt->memory, ckpt->n_memory, name)) continue;
        return weight_files[i].is_index ? open_index(ckpt, NULL, name, err)
                                        : add_file(ckpt, NULL, name, err);
    }
    return no_weights(NULL, err);
}

gguf_code gguf_checkpoint_open(const char *path, gguf_checkpoint **out, gguf_error *err) {
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open: %s", strerror(errno));
    gguf_checkpoint *ckpt = calloc(1, sizeof *ckpt);
    if (!ckpt) return no_memory(err, path);
    gguf_code code =
        S_ISDIR(st.st_mode) ? open_folder(ckpt, path, err) : add_file(ckpt, NULL, path, err);
    if (code)
        gguf_checkpoint_close(ckpt);
    else
        *out = ckpt;
    return code;
}

gguf_code gguf_checkpoint_from_memory(const gguf_memory_file *files, size_t n_files,
                                      gguf_checkpoint **out, gguf_error *err) {
    *out = NULL;
    gguf_checkpoint *ckpt = calloc(1, sizeof *ckpt);
    if (!ckpt) return no_memory(err, NULL);
    ckpt->memory = files;
    ckpt->n_memory = n_files;
    gguf_code code = open_memory(ckpt, err);
    if (code)
        gguf_checkpoint_close(ckpt);
    else
        *out = ckpt;
    return code;
}

void gguf_checkpoint_close(gguf_checkpoint *ckpt) {
    if (!ckpt) return;
    for (size_t i = 0; i < ckpt->n_files; i++) {
        if (ckpt->files[i].fd >= 0) close(ckpt->files[i].fd);
        free(ckpt->files[i].path);
    }
    for (size_t i = 0; i < ckpt->n_tensors; i++) free((char *)(uintptr_t)ckpt->tensors[i].name.ptr);
    gguf_index_clear(&ckpt->index);
    free(ckpt->files);
    free(ckpt->tensors);
    free(ckpt);
}

size_t gguf_checkpoint_n_tensors(const gguf_checkpoint *ckpt) {
    return ckpt->n_tensors;
}

const gguf_checkpoint_tensor *gguf_checkpoint_tensor_at(const gguf_checkpoint *ckpt, size_t i) {
    return &ckpt->tensors[i];
}

const gguf_checkpoint_tensor *gguf_checkpoint_find(const gguf_checkpoint *ckpt, const char *name) {
    uint32_t i;
    return gguf_index_get(&ckpt->index, gguf_str_of(name), &i) ? &ckpt->tensors[i] : NULL;
}

size_t gguf_checkpoint_n_files(const gguf_checkpoint *ckpt) {
    return ckpt->n_files;
}

const char *gguf_checkpoint_file_path(const gguf_checkpoint *ckpt, size_t file) {
    return ckpt->files[file].path;
}

int gguf_checkpoint_file_fd(const gguf_checkpoint *ckpt, size_t file) {
    return ckpt->files[file].fd;
}

const gguf_memory_file *gguf_checkpoint_file_memory(const gguf_checkpoint *ckpt, size_t file) {
    return ckpt->files[file].memory;
}
