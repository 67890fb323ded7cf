/* GGUF: open, walk everything, write the header again and read that. */
#include "tests/fuzz/fuzz.h"

static void walk_tensors(const gguf_file *f) {
    for (size_t i = 0; i < gguf_file_n_tensors(f); i++) {
        const gguf_tensor *t = gguf_file_tensor(f, i);
        fuzz_read(t->name.ptr, t->name.len);
        fuzz_check(t->name.len <= GGUF_MAX_TENSOR_NAME && t->n_dims <= GGUF_MAX_DIMS);
        fuzz_check(t->file_off <= gguf_file_bytes(f));
        fuzz_check(t->n_bytes <= gguf_file_bytes(f) - t->file_off);
        if (!t->n_bytes) continue;
        fuzz_read(gguf_file_data(f, t), 1);
        fuzz_read((const char *)gguf_file_data(f, t) + t->n_bytes - 1, 1);
    }
}

/* A copy of the metadata, encoded without tensors, must read back as the same entries. */
static void write_again(const gguf_meta *meta, uint32_t alignment) {
    gguf_error err = {0};
    gguf_file *again;
    uint8_t *bytes;
    size_t n;
    gguf_meta *copy = gguf_meta_new();
    if (!copy) return;
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        char key[128];
        gguf_meta_set_kv(copy, kv);
        if (kv->key.len >= sizeof key) continue;
        memcpy(key, kv->key.ptr, kv->key.len);
        key[kv->key.len] = '\0';
        if (i % 3 == 0) gguf_meta_unset(copy, key);
    }
    if (!gguf_meta_find(copy, "general.alignment")) alignment = GGUF_DEFAULT_ALIGNMENT;
    fuzz_check(!gguf_header_encode(copy, NULL, 0, alignment, &bytes, &n, &err));
    fuzz_check(!gguf_file_from_memory(bytes, n, "again", GGUF_OPEN_DEFAULT, &again, &err));
    fuzz_check(gguf_meta_count(gguf_file_meta(again)) == gguf_meta_count(copy));
    gguf_file_close(again);
    free(bytes);
    gguf_meta_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const gguf_open_flags modes[] = {GGUF_OPEN_DEFAULT, GGUF_OPEN_ANY_TYPE};
    for (size_t i = 0; i < 2; i++) {
        gguf_error err = {0};
        gguf_file *f;
        gguf_code code = gguf_file_from_memory(data, size, "input", modes[i], &f, &err);
        fuzz_check_error(code, &err);
        /* Another mode changes nothing but the treatment of unknown types. */
        if (code && code != GGUF_E_UNSUPPORTED) {
            fuzz_check(err.offset >= 0 && (uint64_t)err.offset <= size);
            return 0;
        }
        if (code) continue;
        fuzz_walk_meta(gguf_file_meta(f));
        walk_tensors(f);
        write_again(gguf_file_meta(f), gguf_file_alignment(f));
        gguf_file_close(f);
        return 0;
    }
    return 0;
}
