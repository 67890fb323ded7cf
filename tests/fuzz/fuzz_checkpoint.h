/* A checkpoint from an input: open it and read every tensor. */
#ifndef TESTS_FUZZ_FUZZ_CHECKPOINT_H
#define TESTS_FUZZ_FUZZ_CHECKPOINT_H

#include "libgguf/checkpoint.h"
#include "tests/fuzz/fuzz.h"

static inline void fuzz_walk_checkpoint(const gguf_checkpoint *c, const gguf_memory_file *files,
                                        size_t n_files) {
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(c); i++) {
        const gguf_checkpoint_tensor *t = gguf_checkpoint_tensor_at(c, i);
        const gguf_memory_file *f = gguf_checkpoint_file_memory(c, t->file);
        fuzz_check(f >= files && f < files + n_files);
        fuzz_check(t->off <= f->n_bytes && t->n_bytes <= f->n_bytes - t->off);
        fuzz_read(t->name.ptr, t->name.len);
        if (!memchr(t->name.ptr, 0, t->name.len))
            fuzz_check(gguf_checkpoint_find(c, t->name.ptr) == t);
        fuzz_read((const char *)f->bytes + t->off, (size_t)t->n_bytes);
    }
}

/* names: of an index and its two files */
static inline void fuzz_checkpoint(const char *single, const char *const names[3],
                                   const uint8_t *data, size_t size) {
    const uint8_t *parts[3];
    size_t sizes[3], n = 1;
    gguf_memory_file files[3] = {{single, data, size}};
    if (size && data[0] == '{') {
        n = fuzz_split(data, size, parts, sizes, 3);
        for (size_t i = 0; i < n; i++) files[i] = (gguf_memory_file){names[i], parts[i], sizes[i]};
    }
    gguf_error err = {0};
    gguf_checkpoint *c;
    gguf_code code = gguf_checkpoint_from_memory(files, n, &c, &err);
    fuzz_check_error(code, &err);
    if (code) return;
    fuzz_walk_checkpoint(c, files, n);
    gguf_checkpoint_close(c);
}

#endif
