/* Writing a file in the other byte order. */
#include "libgguf/outfile.h"
#include "libgguf/swap.h"

#include <stdlib.h>
#include <string.h>

#define STEP_BLOCKS 8192

static gguf_code swap_tensor(const gguf_file *file, const gguf_tensor *t, uint8_t *buffer,
                             uint64_t out_off, gguf_outfile *out, gguf_error *err) {
    const uint8_t *data = gguf_file_data(file, t);
    size_t step = STEP_BLOCKS * (size_t)gguf_type_layout_of(t->type)->block_bytes;
    for (uint64_t off = 0; off < t->n_bytes; off += step) {
        size_t n = t->n_bytes - off < step ? (size_t)(t->n_bytes - off) : step;
        memcpy(buffer, data + off, n);
        gguf_code code = gguf_blocks_swap(t->type, buffer, n, err);
        if (!code) code = gguf_outfile_write(out, buffer, n, out_off + off, err);
        if (code) return code;
    }
    return GGUF_OK;
}

static gguf_code swap_tensors(const gguf_file *file, gguf_outfile *out, const atomic_bool *cancel,
                              gguf_error *err) {
    uint8_t *buffer = malloc((size_t)STEP_BLOCKS * 512);
    gguf_code code = buffer ? GGUF_OK : gguf_fail_memory(err);
    for (size_t i = 0; i < gguf_file_n_tensors(file) && !code; i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        code = cancel && atomic_load(cancel)
                   ? gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted")
                   : swap_tensor(file, t, buffer, t->file_off, out, err);
    }
    free(buffer);
    return code;
}

gguf_code gguf_file_swap(const gguf_file *file, const char *path, bool replace,
                         const atomic_bool *cancel, gguf_error *err) {
    gguf_outfile *out = NULL;
    uint8_t *header = NULL;
    size_t n = 0;
    if (gguf_file_n_shards(file) > 1)
        return gguf_fail(err, GGUF_E_USAGE, gguf_file_path(file), GGUF_NO_OFFSET,
                         "the model is split: merge it first");
    const uint8_t *start = gguf_file_header(file);
    gguf_code code = gguf_header_swap(start, gguf_file_shard_bytes(file, 0), gguf_file_path(file),
                                      &header, &n, err);
    if (!code)
        code = gguf_outfile_open(path, gguf_file_bytes(file),
                                 (replace ? GGUF_OUT_REPLACE : 0) | GGUF_OUT_STREAM, &out, err);
    if (!code) code = gguf_outfile_write(out, header, n, 0, err);
    if (!code) code = swap_tensors(file, out, cancel, err);
    free(header);
    if (!code) return gguf_outfile_commit(out, err);
    gguf_outfile_discard(out);
    return code;
}
