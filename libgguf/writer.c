/* The streaming writer: header first, tensor data at planned offsets. */
#include "libgguf/gguf.h"
#include "libgguf/outfile.h"

#include <inttypes.h>
#include <stdlib.h>

struct gguf_writer {
    gguf_outfile *out;
    uint64_t header_bytes;
    gguf_tensor *tensors; /* names are not kept */
    size_t n_tensors;
};

static gguf_code write_header(gguf_writer *w, const char *path, const gguf_meta *meta,
                              uint32_t alignment, unsigned how, gguf_error *err) {
    uint64_t data_bytes = 0;
    uint8_t *header = NULL;
    size_t n = 0;
    gguf_code code = gguf_layout(w->tensors, w->n_tensors, alignment, &data_bytes, err);
    if (!code)
        code = gguf_header_encode(meta, w->tensors, w->n_tensors, alignment, &header, &n, err);
    if (!code) code = gguf_outfile_open(path, n + data_bytes, how, &w->out, err);
    if (!code) code = gguf_outfile_write(w->out, header, n, 0, err);
    w->header_bytes = n;
    free(header);
    return code;
}

gguf_code gguf_writer_open(const char *path, const gguf_meta *meta, gguf_tensor *tensors,
                           size_t n_tensors, uint32_t alignment, unsigned how, gguf_writer **out,
                           gguf_error *err) {
    *out = NULL;
    gguf_writer *w = calloc(1, sizeof *w);
    if (w) w->tensors = calloc(n_tensors + 1, sizeof *w->tensors);
    if (!w || !w->tensors) {
        gguf_writer_discard(w);
        return gguf_fail_memory_of(err, path);
    }
    w->n_tensors = n_tensors;
    for (size_t i = 0; i < n_tensors; i++) w->tensors[i] = tensors[i];
    gguf_code code = write_header(w, path, meta, alignment, how, err);
    if (code) {
        gguf_writer_discard(w);
        return code;
    }
    for (size_t i = 0; i < n_tensors; i++) {
        tensors[i].data_off = w->tensors[i].data_off;
        tensors[i].n_bytes = w->tensors[i].n_bytes;
    }
    *out = w;
    return GGUF_OK;
}

gguf_code gguf_writer_write(gguf_writer *writer, size_t tensor, uint64_t off, const void *bytes,
                            size_t n, gguf_error *err) {
    const gguf_tensor *t = tensor < writer->n_tensors ? &writer->tensors[tensor] : NULL;
    if (!t || off > t->n_bytes || n > t->n_bytes - off)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "bytes %" PRIu64 " to %" PRIu64 " lie outside tensor %zu", off, off + n,
                         tensor);
    return gguf_outfile_write(writer->out, bytes, n, writer->header_bytes + t->data_off + off, err);
}

static void free_writer(gguf_writer *writer) {
    free(writer->tensors);
    free(writer);
}

gguf_code gguf_writer_commit(gguf_writer *writer, gguf_error *err) {
    gguf_code code = gguf_outfile_commit(writer->out, err);
    free_writer(writer);
    return code;
}

void gguf_writer_discard(gguf_writer *writer) {
    if (!writer) return;
    gguf_outfile_discard(writer->out);
    free_writer(writer);
}
