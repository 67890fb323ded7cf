/* Split models: the parts of the input (see fuzz_split) are the shards of one model. What opens is
 * merged, split by the last byte and merged again, and keeps its tensors. */
#include "libgguf/split.h"
#include "tests/fuzz/fuzz_files.h"

#define MAX_PARTS 4

static gguf_file *open_file(const char *path) {
    gguf_error err = {0};
    gguf_file *file;
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err);
    fuzz_check_error(code, &err);
    return code ? NULL : file;
}

static void count_shard(void *ctx, const char *path, size_t n_tensors, uint64_t n_bytes) {
    (void)path;
    (void)n_tensors;
    (void)n_bytes;
    ++*(uint32_t *)ctx;
}

/* Split the merged file, open its shards as one model. */
static void split_again(const gguf_file *merged, uint8_t by) {
    gguf_error err = {0};
    uint32_t count = 0;
    char first[128];
    const char *prefix = fuzz_path("out");
    gguf_split_opts opts = {.replace = true, .on_shard = count_shard, .ctx = &count};
    if (by & 1)
        opts.max_tensors = 1u + (by >> 1) % 8;
    else
        opts.max_bytes = 1u + by * 4u;
    fuzz_check(!gguf_split(merged, prefix, &opts, &err));
    fuzz_check(gguf_shard_name(prefix, count, 0, first, sizeof first));
    gguf_file *shards = open_file(first);
    fuzz_check(shards && gguf_file_n_shards(shards) == count);
    fuzz_same_tensors(merged, shards);
    gguf_file_close(shards);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *parts[MAX_PARTS];
    size_t sizes[MAX_PARTS], n = fuzz_split(data, size, parts, sizes, MAX_PARTS);
    gguf_error err = {0};
    gguf_file *alone;
    char first[128], path[128];
    if (gguf_file_from_memory(parts[0], sizes[0], "input", GGUF_OPEN_DEFAULT, &alone, &err))
        return 0;
    gguf_file_close(alone);
    const char *prefix = fuzz_path("in");
    fuzz_check(gguf_shard_name(prefix, (uint32_t)n, 0, first, sizeof first));
    for (size_t i = 0; i < n; i++) {
        fuzz_check(gguf_shard_name(prefix, (uint32_t)n, (uint32_t)i, path, sizeof path));
        fuzz_write_file(path, parts[i], sizes[i]);
    }
    gguf_file *model = open_file(first);
    if (model) {
        const char *out = fuzz_path("merged.gguf");
        gguf_code code = gguf_merge(model, out, true, NULL, &err);
        fuzz_check_error(code, &err);
        gguf_file *merged = code ? NULL : open_file(out);
        fuzz_check(code || merged);
        if (merged) fuzz_same_tensors(model, merged);
        if (merged) split_again(merged, data[size - 1]);
        gguf_file_close(merged);
        gguf_file_close(model);
    }
    fuzz_remove_files();
    return 0;
}
