/* Targets of code that works on files: they lie in a folder in memory, removed at the end. */
#ifndef TESTS_FUZZ_FUZZ_FILES_H
#define TESTS_FUZZ_FUZZ_FILES_H

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static char fuzz_folder[64];

static inline void fuzz_remove_files(void) {
    DIR *dir = opendir(fuzz_folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir) closedir(dir);
}

static inline void fuzz_remove_folder(void) {
    fuzz_remove_files();
    rmdir(fuzz_folder);
}

/* The path of a file in the folder, in one of four buffers in turn. */
static inline const char *fuzz_path(const char *name) {
    static char paths[4][128];
    static unsigned next;
    if (!fuzz_folder[0]) {
        snprintf(fuzz_folder, sizeof fuzz_folder, "%s/ggufkit-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        fuzz_check(mkdtemp(fuzz_folder));
        atexit(fuzz_remove_folder);
    }
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", fuzz_folder, name);
    return path;
}

static inline void fuzz_write_file(const char *path, const uint8_t *data, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

/* Both hold the same tensors with the same bytes. */
static inline void fuzz_same_tensors(const gguf_file *a, const gguf_file *b) {
    fuzz_check(gguf_file_n_tensors(a) == gguf_file_n_tensors(b));
    for (size_t i = 0; i < gguf_file_n_tensors(a); i++) {
        const gguf_tensor *x = gguf_file_tensor(a, i), *y = gguf_file_tensor(b, i);
        fuzz_check(x->name.len == y->name.len && !memcmp(x->name.ptr, y->name.ptr, x->name.len));
        fuzz_check(x->type == y->type && x->n_dims == y->n_dims && x->n_bytes == y->n_bytes);
        fuzz_check(!memcmp(x->dims, y->dims, sizeof x->dims));
        fuzz_check(!x->n_bytes ||
                   !memcmp(gguf_file_data(a, x), gguf_file_data(b, y), (size_t)x->n_bytes));
    }
}

#endif
