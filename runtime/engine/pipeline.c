/* Layers of one model on several ranks: a pipeline. */
#include "runtime/engine/ops.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a layer's tensors, of the first with the table of tokens, of the last with the output:
 * what its rank keeps beside it. Both are about as large, so layers are dealt evenly. */
static void layer_bytes(const rt_model *model, uint64_t *bytes) {
    uint32_t n = model->hparams.n_layer, layer;
    for (size_t i = 0; i < gguf_file_n_tensors(model->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(model->file, i);
        char text[GGUF_MAX_TENSOR_NAME + 1];
        snprintf(text, sizeof text, "%.*s", (int)t->name.len, t->name.ptr);
        if (sscanf(text, "blk.%" SCNu32 ".", &layer) == 1 && layer < n) bytes[layer] += t->n_bytes;
    }
    bytes[0] += model->token_embd.n_rows * model->token_embd.row_bytes;
    bytes[n - 1] += model->output.n_rows * model->output.row_bytes;
}

/* The layer at which `rank` begins: where its share of the bytes does, with a layer for each. */
static uint32_t begin_of(const uint64_t *bytes, uint32_t n_layer, uint32_t rank, uint32_t n_ranks) {
    uint64_t all = 0, before = 0;
    for (uint32_t i = 0; i < n_layer; i++) all += bytes[i];
    uint32_t layer = 0, most = n_layer - (n_ranks - rank);
    while (layer < n_layer && (before + bytes[layer] / 2) * n_ranks < all * rank)
        before += bytes[layer++];
    if (layer < rank) layer = rank;
    return layer < most || rank == n_ranks ? layer : most;
}

gguf_code rt_model_share(rt_model *model, gguf_ranks *ranks, gguf_error *err) {
    rt_hparams *hp = &model->hparams;
    uint32_t own = gguf_ranks_own(ranks), n = gguf_ranks_n(ranks);
    const char *path = gguf_file_path(model->file);
    if (n == 1) return GGUF_OK;
    if (hp->n_encoder_layer)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "a model with an encoder beside a decoder is not shared by ranks");
    if (hp->n_layer < n)
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "%" PRIu32 " layers cannot be shared by %" PRIu32 " ranks", hp->n_layer,
                         n);
    uint64_t *bytes = calloc(hp->n_layer, sizeof *bytes);
    if (!bytes) return gguf_fail_memory(err);
    layer_bytes(model, bytes);
    hp->n_layer_before = begin_of(bytes, hp->n_layer, own, n);
    if (own + 1 < n) hp->n_layer_after = hp->n_layer - begin_of(bytes, hp->n_layer, own + 1, n);
    model->ranks = ranks;
    free(bytes);
    return GGUF_OK;
}

gguf_code rt_pipeline_receive(rt_session *session, gguf_error *err) {
    gguf_ranks *ranks = session->model->ranks;
    rt_backend *backend = session->backend;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < session->layout.n_stream_parts && !code; i++) {
        const rt_stream_part *part = &session->layout.stream_parts[i];
        uint64_t n_bytes = session->batch.n * part->n_cols * sizeof(float);
        code = gguf_ranks_receive(ranks, gguf_ranks_own(ranks) - 1, session->stream, n_bytes, err);
        if (!code) backend->ops->write(backend, session->stream, n_bytes, part->off);
    }
    return code;
}

gguf_code rt_pipeline_send(rt_session *session, gguf_error *err) {
    gguf_ranks *ranks = session->model->ranks;
    rt_backend *backend = session->backend;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < session->layout.n_stream_parts && !code; i++) {
        const rt_stream_part *part = &session->layout.stream_parts[i];
        uint64_t n_bytes = session->batch.n * part->n_cols * sizeof(float);
        backend->ops->read(backend, part->off, n_bytes, session->stream);
        code = gguf_ranks_send(ranks, gguf_ranks_own(ranks) + 1, session->stream, n_bytes, err);
    }
    return code;
}

gguf_code rt_pipeline_share(const rt_session *session, size_t n_out, float *logits,
                            gguf_error *err) {
    gguf_ranks *ranks = session->model->ranks;
    uint32_t last = gguf_ranks_n(ranks) - 1;
    size_t n_bytes = n_out * session->model->hparams.n_out * sizeof *logits;
    gguf_code code = GGUF_OK;
    if (last == 0 || n_out == 0) return GGUF_OK;
    if (gguf_ranks_own(ranks) < last) return gguf_ranks_receive(ranks, last, logits, n_bytes, err);
    for (uint32_t to = 0; to < last && !code; to++)
        code = gguf_ranks_send(ranks, to, logits, n_bytes, err);
    return code;
}
