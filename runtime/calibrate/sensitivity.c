/* Probes: the streams before every layer and the output of the unchanged model are kept; for each
 * probe the layers from its own on are computed again with the quantised matrix. */
#include "runtime/calibrate/sensitivity.h"

#include "quant/quant.h"
#include "runtime/calibrate/chunks.h"
#include "runtime/model/slots.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct prober {
    rt_model *model;
    rt_probe_opts opts;
    rt_session *session;
    size_t n_ctx, n_chunks, n_embd, n_vocab, n_layer;
    size_t n_stream;  /* of a chunk: n_ctx * rt_session_stream_cols */
    int32_t *tokens;  /* [n_chunks][n_ctx] */
    float *streams;   /* [n_layer + 1][n_chunks][n_stream], before each layer and the head */
    float *base;      /* [n_chunks][n_ctx][n_vocab] log probabilities */
    float *x;         /* [n_stream] */
    float *logits;    /* [n_ctx][n_vocab] */
    rt_layer *layers; /* [n_layer] the model's own, which a probe changes */
    rt_weight output;
} prober;

rt_probe_opts rt_probe_defaults(void) {
    return (rt_probe_opts){.n_ctx = 256, .n_chunks = 2, .bos = -1, .max_flops = 6e13};
}

/* ---- another matrix in a tensor's place -------------------------------------------------- */

/* Where a tensor's rows lie, and as what. */
typedef struct rows {
    const uint8_t *data;
    uint64_t n_bytes, row_bytes;
    uint32_t type;
} rows;

static void move_weight(rt_weight *w, const rows *from, const rows *to) {
    const uint8_t *data = w->data;
    if (!data || data < from->data || data >= from->data + from->n_bytes) return;
    uint64_t row = (uint64_t)(data - from->data) / from->row_bytes;
    w->data = to->data + row * to->row_bytes;
    w->mat_bytes = w->mat_bytes / from->row_bytes * to->row_bytes;
    w->row_bytes = to->row_bytes;
    w->type = to->type;
    w->placed = NULL;
}

/* Every matrix of the model that reads the rows `from` reads `to` instead; the lookup of embeddings
 * stays as it is. */
static void move_weights(rt_model *model, const rows *from, const rows *to) {
    for (uint32_t layer = 0; layer < model->hparams.n_layer; layer++)
        for (size_t i = 0; i < rt_layer_slots.n_matrices; i++)
            move_weight((rt_weight *)(void *)((char *)&model->layers[layer] +
                                              rt_layer_slots.matrices[i].field),
                        from, to);
    move_weight(&model->output, from, to);
}

static void restore_weights(prober *p) {
    memcpy(p->model->layers, p->layers, p->n_layer * sizeof *p->layers);
    p->model->output = p->output;
}

static gguf_code requantise(const rt_probe *p, const gguf_tensor *t, const rows *from, uint8_t *out,
                            gguf_error *err) {
    uint64_t n_rows = gguf_tensor_n_rows(t), n_cols = t->dims[0], per_mat = t->dims[1];
    size_t block_bytes = quant_row_bytes(p->type, n_cols), out_bytes = n_cols * sizeof(uint16_t);
    float *values = malloc(n_cols * sizeof *values);
    uint8_t *blocks = malloc(block_bytes);
    gguf_code code = values && blocks ? GGUF_OK : gguf_fail_memory(err);
    for (uint64_t r = 0; r < n_rows && !code; r++) {
        const float *imp = p->imp ? p->imp + r / per_mat * n_cols : NULL;
        code = quant_decode(t->type, from->data + r * from->row_bytes, 1, n_cols, values, err);
        if (!code) code = quant_encode(p->type, values, 1, n_cols, imp, blocks, err);
        if (!code) code = quant_decode(p->type, blocks, 1, n_cols, values, err);
        if (!code)
            code = quant_encode(GGUF_TYPE_BF16, values, 1, n_cols, NULL, out + r * out_bytes, err);
    }
    free(values);
    free(blocks);
    return code;
}

/* ---- the unchanged model ----------------------------------------------------------------- */

static void log_softmax(float *x, size_t n) {
    float most = x[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (size_t i = 0; i < n; i++) sum += exp((double)(x[i] - most));
    float total = most + (float)log(sum);
    for (size_t i = 0; i < n; i++) x[i] -= total;
}

static float *stream_at(const prober *p, size_t layer, size_t chunk) {
    return p->streams + (layer * p->n_chunks + chunk) * p->n_stream;
}

static gguf_code run_base(void *ctx, size_t chunk, const int32_t *tokens, gguf_error *err) {
    prober *p = ctx;
    size_t n_bytes = p->n_stream * sizeof(float);
    float *base = p->base + chunk * p->n_ctx * p->n_vocab;
    memcpy(p->tokens + chunk * p->n_ctx, tokens, p->n_ctx * sizeof *tokens);
    gguf_code code = rt_session_embed(p->session, tokens, p->n_ctx, stream_at(p, 0, chunk), err);
    for (uint32_t layer = 0; layer < p->n_layer && !code; layer++) {
        memcpy(stream_at(p, layer + 1, chunk), stream_at(p, layer, chunk), n_bytes);
        code = rt_session_layer(p->session, layer, tokens, stream_at(p, layer + 1, chunk), p->n_ctx,
                                err);
    }
    if (!code)
        code = rt_session_head(p->session, stream_at(p, p->n_layer, chunk), p->n_ctx, base, err);
    for (size_t t = 0; t < p->n_ctx && !code; t++) log_softmax(base + t * p->n_vocab, p->n_vocab);
    return code;
}

/* ---- probes ------------------------------------------------------------------------------ */

static double divergence(const float *base, const float *other, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)base[i]) * ((double)base[i] - (double)other[i]);
    return sum > 0 ? sum : 0;
}

/* From the probe's layer on. The second half of each chunk is scored, as rt_quality does. */
static gguf_code run_probe(prober *p, rt_probe *probe, gguf_error *err) {
    gguf_code code = GGUF_OK;
    double sum = 0;
    for (size_t chunk = 0; chunk < p->n_chunks && !code; chunk++) {
        const float *base = p->base + chunk * p->n_ctx * p->n_vocab;
        memcpy(p->x, stream_at(p, probe->layer, chunk), p->n_stream * sizeof *p->x);
        for (uint32_t layer = probe->layer; layer < p->n_layer && !code; layer++)
            code = rt_session_layer(p->session, layer, p->tokens + chunk * p->n_ctx, p->x, p->n_ctx,
                                    err);
        if (!code) code = rt_session_head(p->session, p->x, p->n_ctx, p->logits, err);
        for (size_t t = p->n_ctx / 2; t < p->n_ctx && !code; t++) {
            log_softmax(p->logits + t * p->n_vocab, p->n_vocab);
            sum += divergence(base + t * p->n_vocab, p->logits + t * p->n_vocab, p->n_vocab);
        }
    }
    probe->kld = sum / (double)(p->n_chunks * (p->n_ctx - p->n_ctx / 2));
    return code;
}

static gguf_code try_probe(prober *p, rt_probe *probe, gguf_error *err) {
    const gguf_tensor *t = gguf_file_find_tensor(p->model->file, probe->tensor);
    if (!t || probe->layer > p->n_layer)
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET, "no matrix '%s' to try",
                         probe->tensor);
    uint64_t n_rows = gguf_tensor_n_rows(t);
    const rows from = {gguf_file_data(p->model->file, t), t->n_bytes, t->n_bytes / n_rows, t->type};
    uint8_t *copy = malloc(n_rows * t->dims[0] * sizeof(uint16_t));
    if (!copy) return gguf_fail_memory(err);
    const rows to = {copy, n_rows * t->dims[0] * sizeof(uint16_t), t->dims[0] * sizeof(uint16_t),
                     GGUF_TYPE_BF16};
    gguf_code code = requantise(probe, t, &from, copy, err);
    if (!code) {
        move_weights(p->model, &from, &to);
        code = run_probe(p, probe, err);
        restore_weights(p);
    }
    free(copy);
    return code;
}

/* The layer that a tensor belongs to, or -1. Names end where their length says. */
static int64_t layer_of(gguf_str name) {
    char text[GGUF_MAX_TENSOR_NAME + 1];
    unsigned layer = 0;
    if (name.len >= sizeof text) return -1;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return sscanf(text, "blk.%9u.", &layer) == 1 ? (int64_t)layer : -1;
}

/* Two for each weight that a token meets from the layer on. */
static double flops_of(const prober *p, const rt_probe *probe) {
    double n_weights = (double)p->n_vocab * (double)p->n_embd;
    for (size_t i = 0; i < gguf_file_n_tensors(p->model->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(p->model->file, i);
        if (layer_of(t->name) >= (int64_t)probe->layer) n_weights += (double)gguf_tensor_n_elems(t);
    }
    return 2 * n_weights * (double)(p->n_chunks * p->n_ctx);
}

/* In an order that is spread evenly wherever it stops: every 8th probe, then those between. */
static gguf_code try_all(prober *p, rt_probe *probes, size_t n, gguf_error *err) {
    double flops = 0;
    size_t n_done = 0;
    for (size_t i = 0; i < n; i++) probes[i].kld = -1;
    for (size_t stride = 8; stride > 0; stride /= 2)
        for (size_t i = 0; i < n; i += stride) {
            if (probes[i].kld >= 0) continue;
            flops += flops_of(p, &probes[i]);
            if (p->opts.max_flops > 0 && flops > p->opts.max_flops) return GGUF_OK;
            if (p->opts.cancel && atomic_load(p->opts.cancel))
                return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
            gguf_code code = try_probe(p, &probes[i], err);
            if (code) return code;
            if (p->opts.progress) p->opts.progress(p->opts.progress_ctx, ++n_done, n);
        }
    return GGUF_OK;
}

/* ---- memory ------------------------------------------------------------------------------ */

static gguf_code prepare(prober *p, const rt_chunks *chunks, gguf_error *err) {
    const rt_hparams *hp = rt_model_hparams(p->model);
    p->n_ctx = chunks->n_ctx;
    p->n_chunks = chunks->n;
    if (p->n_chunks == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the text is empty");
    p->n_embd = hp->n_embd;
    p->n_vocab = hp->n_vocab;
    p->n_layer = hp->n_layer;
    rt_session_opts session = rt_session_defaults();
    session.n_ctx = session.n_batch = (uint32_t)p->n_ctx;
    session.n_threads = p->opts.n_threads;
    session.kv_type = GGUF_TYPE_F32;
    gguf_code code = rt_session_new(p->model, &session, &p->session, err);
    if (code) return code;
    size_t n_rows = p->n_chunks * p->n_ctx;
    p->n_stream = p->n_ctx * rt_session_stream_cols(p->session);
    p->tokens = malloc(n_rows * sizeof *p->tokens);
    p->streams = malloc((p->n_layer + 1) * p->n_chunks * p->n_stream * sizeof(float));
    p->base = malloc(n_rows * p->n_vocab * sizeof(float));
    p->x = malloc(p->n_stream * sizeof(float));
    p->logits = malloc(p->n_ctx * p->n_vocab * sizeof(float));
    p->layers = malloc(p->n_layer * sizeof *p->layers + 1);
    if (!p->tokens || !p->streams || !p->base || !p->x || !p->logits || !p->layers)
        return gguf_fail_memory(err);
    memcpy(p->layers, p->model->layers, p->n_layer * sizeof *p->layers);
    p->output = p->model->output;
    return GGUF_OK;
}

gguf_code rt_measure_probes(rt_model *model, const int32_t *tokens, size_t n_tokens,
                            const rt_probe_opts *opts, rt_probe *probes, size_t n_probes,
                            gguf_error *err) {
    prober p = {.model = model, .opts = *opts};
    rt_chunks chunks = rt_chunks_of(tokens, n_tokens, opts->n_ctx, opts->n_chunks, opts->bos);
    gguf_code code = prepare(&p, &chunks, err);
    if (!code) code = rt_chunks_each(&chunks, run_base, &p, err);
    if (!code) code = try_all(&p, probes, n_probes, err);
    rt_session_free(p.session);
    free(p.tokens);
    free(p.streams);
    free(p.base);
    free(p.x);
    free(p.logits);
    free(p.layers);
    return code;
}
