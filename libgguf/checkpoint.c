/* Checkpoints: opening the files of a folder and looking tensors up. */
#include "libgguf/checkpoint_internal.h"
#include "libgguf/index.h"
#include "libgguf/inputs.h"
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/tempfile.h"
#include "libgguf/warnings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

gguf_code gguf_checkpoint_add(gguf_checkpoint *ckpt, const gguf_checkpoint_tensor *tensor,
                              gguf_error *err) {
    const char *path = ckpt->files[tensor->file].path;
    if (ckpt->n_tensors == ckpt->room) {
        size_t room = ckpt->room ? ckpt->room * 2 : 256;
        void *grown = realloc(ckpt->tensors, room * sizeof *ckpt->tensors);
        if (!grown) return gguf_fail_memory_of(err, path);
        ckpt->tensors = grown;
        ckpt->room = room;
    }
    char *name = malloc(tensor->name.len + 1);
    if (!name) return gguf_fail_memory_of(err, path);
    memcpy(name, tensor->name.ptr, tensor->name.len);
    name[tensor->name.len] = '\0';
    gguf_str copy = {name, tensor->name.len};
    gguf_index_put_result put = gguf_index_put(&ckpt->index, copy, (uint32_t)ckpt->n_tensors, NULL);
    if (put != GGUF_INDEX_ADDED) {
        free(name);
        if (put == GGUF_INDEX_NOMEM) return gguf_fail_memory_of(err, path);
        return gguf_fail(err, GGUF_E_DUPLICATE, path, GGUF_NO_OFFSET, "tensor '%.*s' occurs twice",
                         (int)tensor->name.len, tensor->name.ptr);
    }
    gguf_checkpoint_tensor *slot = &ckpt->tensors[ckpt->n_tensors++];
    *slot = *tensor;
    slot->name = copy;
    return GGUF_OK;
}

/* A ZIP archive holds a PyTorch checkpoint; the header length of safetensors cannot begin so. */
static bool is_archive(const gguf_checkpoint_file *f) {
    char magic[4] = {0};
    if (f->memory && f->memory->n_bytes >= sizeof magic)
        memcpy(magic, f->memory->bytes, sizeof magic);
    else if (!f->memory && pread(f->fd, magic, sizeof magic, 0) != sizeof magic)
        return false;
    return memcmp(magic, "PK\3\4", sizeof magic) == 0;
}

gguf_code gguf_checkpoint_add_file(gguf_checkpoint *ckpt, const char *folder, const char *name,
                                   gguf_error *err) {
    void *grown = realloc(ckpt->files, (ckpt->n_files + 1) * sizeof *ckpt->files);
    if (!grown) return gguf_fail_memory_of(err, name);
    ckpt->files = grown;
    char *path = NULL;
    if (folder ? asprintf(&path, "%s/%s", folder, name) < 0 : !(path = strdup(name)))
        return gguf_fail_memory_of(err, name);
    gguf_checkpoint_file f = {path, -1, gguf_memory_file_named(ckpt->memory, ckpt->n_memory, name)};
    gguf_code code = GGUF_OK;
    uint64_t n_bytes;
    if (!ckpt->memory) code = gguf_open_regular(path, &f.fd, &n_bytes, err);
    ckpt->files[ckpt->n_files] = f;
    uint32_t file = (uint32_t)ckpt->n_files++;
    if (ckpt->memory && !f.memory)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open: no such file");
    if (!code)
        code = is_archive(&f) ? gguf_torch_read(ckpt, file, err)
                              : gguf_safetensors_read(ckpt, file, err);
    if (file >= GGUF_KEEP_OPEN && f.fd >= 0) {
        close(f.fd);
        ckpt->files[file].fd = -1;
    }
    return code;
}

gguf_code gguf_checkpoint_add_unpacked(gguf_checkpoint *ckpt, uint32_t file, uint32_t *unpacked,
                                       gguf_error *err) {
    void *grown = realloc(ckpt->files, (ckpt->n_files + 1) * sizeof *ckpt->files);
    if (!grown) return gguf_fail_memory(err);
    ckpt->files = grown;
    gguf_checkpoint_file f = {strdup(ckpt->files[file].path), -1, NULL};
    if (!f.path) return gguf_fail_memory(err);
    f.fd = gguf_temp_file(NULL);
    ckpt->files[ckpt->n_files] = f;
    *unpacked = (uint32_t)ckpt->n_files++;
    if (f.fd >= 0) return GGUF_OK;
    return gguf_fail(err, errno == ENOMEM ? GGUF_E_NOMEM : GGUF_E_IO, f.path, GGUF_NO_OFFSET,
                     "cannot make a temporary file to unpack it: %s", strerror(errno));
}

void gguf_checkpoint_warn(gguf_checkpoint *ckpt, const char *format, ...) {
    va_list args;
    va_start(args, format);
    gguf_warnings_add(&ckpt->warnings, &ckpt->n_warnings, format, args);
    va_end(args);
}

gguf_code gguf_checkpoint_open(const char *path, gguf_checkpoint **out, gguf_error *err) {
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open: %s", strerror(errno));
    gguf_checkpoint *ckpt = calloc(1, sizeof *ckpt);
    if (!ckpt) return gguf_fail_memory_of(err, path);
    gguf_code code = S_ISDIR(st.st_mode) ? gguf_checkpoint_open_folder(ckpt, path, err)
                                         : gguf_checkpoint_add_file(ckpt, NULL, path, err);
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
    if (!ckpt) return gguf_fail_memory(err);
    ckpt->memory = files;
    ckpt->n_memory = n_files;
    gguf_code code = gguf_checkpoint_open_folder(ckpt, NULL, err);
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
    for (size_t i = 0; i < ckpt->n_warnings; i++) free(ckpt->warnings[i]);
    free(ckpt->warnings);
    json_decref(ckpt->index_file);
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

size_t gguf_checkpoint_n_warnings(const gguf_checkpoint *ckpt) {
    return ckpt->n_warnings;
}

const char *gguf_checkpoint_warning(const gguf_checkpoint *ckpt, size_t i) {
    return ckpt->warnings[i];
}

const char *gguf_checkpoint_absent_file(const gguf_checkpoint *ckpt, const char *tensor) {
    const char *name =
        json_string_value(json_object_get(json_object_get(ckpt->index_file, "weight_map"), tensor));
    for (size_t i = 0; i < ckpt->n_files && name; i++) {
        const char *path = ckpt->files[i].path, *slash = strrchr(path, '/');
        if (strcmp(slash ? slash + 1 : path, name) == 0) return NULL;
    }
    return name;
}
