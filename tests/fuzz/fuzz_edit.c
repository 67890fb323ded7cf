/* Changed metadata: the first part of the input is a file (see fuzz_split), every further one a
 * change: KEY=TEXT sets, KEY alone removes. Saved as a copy and in the file itself, it must hold
 * exactly the changed keys and the old tensors. */
#include "libgguf/edit.h"
#include "tests/fuzz/fuzz_files.h"

#define MAX_PARTS 8

static gguf_meta *changed_meta(const gguf_meta *from, const uint8_t **parts, const size_t *sizes,
                               size_t n) {
    gguf_meta *meta = gguf_meta_new();
    for (size_t i = 0; meta && i < gguf_meta_count(from); i++)
        gguf_meta_set_kv(meta, gguf_meta_at(from, i));
    for (size_t i = 1; meta && i < n; i++) {
        char key[64] = "";
        const uint8_t *equals = sizes[i] ? memchr(parts[i], '=', sizes[i]) : NULL;
        size_t len = equals ? (size_t)(equals - parts[i]) : sizes[i];
        if (len >= sizeof key) continue;
        if (len) memcpy(key, parts[i], len);
        if (equals)
            gguf_meta_set_str(meta, key,
                              (gguf_str){(const char *)equals + 1, sizes[i] - (size_t)len - 1});
        else
            gguf_meta_unset(meta, key);
    }
    return meta;
}

/* The entry at *i or behind it that is no padding, or NULL. */
static const gguf_kv *next_key(const gguf_meta *meta, size_t *i) {
    while (*i < gguf_meta_count(meta)) {
        const gguf_kv *kv = gguf_meta_at(meta, (*i)++);
        if (!gguf_str_eq(kv->key, GGUF_PADDING_KEY)) return kv;
    }
    return NULL;
}

static void same_keys(const gguf_meta *wanted, const gguf_meta *found) {
    for (size_t i = 0, k = 0;;) {
        const gguf_kv *a = next_key(wanted, &i), *b = next_key(found, &k);
        fuzz_check((a != NULL) == (b != NULL));
        if (!a) return;
        fuzz_check(a->key.len == b->key.len && !memcmp(a->key.ptr, b->key.ptr, a->key.len));
        fuzz_check(a->type == b->type && a->count == b->count && a->n_bytes == b->n_bytes);
        fuzz_check(!a->n_bytes || !memcmp(a->data, b->data, a->n_bytes));
    }
}

/* from: the same file opened from memory, as it was before */
static void save(const gguf_file *from, const char *path, const gguf_meta *meta, const char *out) {
    gguf_error err = {0};
    gguf_file *file, *saved;
    gguf_edit_result result;
    fuzz_check(!gguf_edit_recover(path, &err));
    fuzz_check(!gguf_file_open(path, GGUF_OPEN_SINGLE, &file, &err));
    gguf_meta *own = gguf_meta_new();
    for (size_t i = 0; own && i < gguf_meta_count(meta); i++)
        gguf_meta_set_kv(own, gguf_meta_at(meta, i));
    fuzz_check(own && !gguf_meta_status(own, &err));
    const gguf_edit_opts opts = {.out_path = out, .replace = true};
    gguf_code code = gguf_edit_save(file, own, &opts, &result, &err);
    fuzz_check_error(code, &err);
    gguf_file_close(file);
    fuzz_check(!gguf_file_open(code || !out ? path : out, GGUF_OPEN_SINGLE, &saved, &err));
    fuzz_same_tensors(from, saved);
    same_keys(code ? gguf_file_meta(from) : meta, gguf_file_meta(saved));
    fuzz_check(code || out || !result.in_place ||
               result.new_header_bytes == gguf_file_data_off(from, 0));
    gguf_file_close(saved);
    gguf_meta_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *parts[MAX_PARTS];
    size_t sizes[MAX_PARTS], n = fuzz_split(data, size, parts, sizes, MAX_PARTS);
    gguf_error err = {0};
    gguf_file *before;
    if (gguf_file_from_memory(parts[0], sizes[0], "input", GGUF_OPEN_SINGLE, &before, &err))
        return 0;
    const char *path = fuzz_path("in.gguf"), *copy = fuzz_path("copy.gguf");
    gguf_meta *meta = changed_meta(gguf_file_meta(before), parts, sizes, n);
    if (meta && !gguf_meta_status(meta, &err)) {
        fuzz_write_file(path, parts[0], sizes[0]);
        save(before, path, meta, copy);
        save(before, path, meta, NULL);
    }
    gguf_meta_free(meta);
    gguf_file_close(before);
    return 0;
}
