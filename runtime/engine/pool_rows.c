/* What an embedding model makes of the rows of a text. */
#include "runtime/model/model_internal.h"
#include "runtime/model/weights_check.h"

#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void rt_model_set_pooling(rt_model *model, rt_pooling pooling) {
    if (rt_model_is_embedder(model) && model->hparams.pooling != RT_POOLING_RANK)
        model->hparams.pooling = pooling;
}

uint32_t rt_pooled_size(const rt_model *model) {
    bool scores = model->hparams.pooling == RT_POOLING_RANK && model->cls_output.data;
    if (model->dense[1].data) return model->dense[1].n_rows;
    if (model->dense[0].data) return model->dense[0].n_rows;
    return scores ? model->cls_output.n_rows : model->hparams.n_embd;
}

static void mean(const float *rows, size_t n, size_t n_cols, float *out) {
    for (size_t c = 0; c < n_cols; c++) {
        double sum = 0;
        for (size_t r = 0; r < n; r++) sum += (double)rows[r * n_cols + c];
        out[c] = (float)(sum / (double)n);
    }
}

/* These weights are multiplied here, and looked at here. */
static gguf_code check(const rt_model *model, const rt_weight *w, gguf_error *err) {
    if (!w->data || !rt_weight_is_new(w, 0)) return GGUF_OK;
    const uint8_t *fault = rt_weight_fault(w, w->data, w->n_rows);
    if (fault) return rt_weights_fail(model, fault, err);
    rt_weight_passed(w, 0);
    return GGUF_OK;
}

static void multiply(const rt_weight *w, const float *x, float *out) {
    quant_matmul(w->type, QUANT_ACT_NONE, w->data, w->n_rows, w->n_cols, x, 1, out, w->n_rows,
                 NULL);
    for (uint32_t r = 0; r < w->n_rows && w->bias; r++) out[r] += w->bias[r];
}

/* Scores of the first row: output(tanh(dense(row))), without the parts that the model lacks. */
static gguf_code rank(const rt_model *model, const float *row, float *out, gguf_error *err) {
    size_t n_embd = model->hparams.n_embd;
    gguf_code code = check(model, &model->cls, err);
    if (!code) code = check(model, &model->cls_output, err);
    if (code) return code;
    float *hidden = malloc(n_embd * sizeof *hidden);
    if (!hidden) return gguf_fail_memory(err);
    memcpy(hidden, row, n_embd * sizeof *hidden);
    if (model->cls.data) {
        multiply(&model->cls, row, hidden);
        for (size_t i = 0; i < n_embd; i++) hidden[i] = tanhf(hidden[i]);
    }
    if (model->cls_output.data)
        multiply(&model->cls_output, hidden, out);
    else
        memcpy(out, hidden, n_embd * sizeof *out);
    free(hidden);
    return GGUF_OK;
}

/* One row of a text, [n_embd]. */
static gguf_code pool(const rt_model *model, const float *rows, size_t n, float *out,
                      gguf_error *err) {
    size_t n_embd = model->hparams.n_embd;
    switch (model->hparams.pooling) {
    case RT_POOLING_MEAN:
        mean(rows, n, n_embd, out);
        return GGUF_OK;
    case RT_POOLING_CLS:
        memcpy(out, rows, n_embd * sizeof *out);
        return GGUF_OK;
    case RT_POOLING_LAST:
        memcpy(out, rows + (n - 1) * n_embd, n_embd * sizeof *out);
        return GGUF_OK;
    case RT_POOLING_RANK:
        return rank(model, rows, out, err);
    default:
        return gguf_fail(
            err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
            "the model does not say how to pool the rows of a text (gguf-run --pooling)");
    }
}

/* What dense layers make of it, one after the other. */
static gguf_code densify(const rt_model *model, const float *x, float *out, gguf_error *err) {
    const rt_weight *first = &model->dense[0], *second = &model->dense[1];
    gguf_code code = check(model, first, err);
    if (!code) code = check(model, second, err);
    if (code) return code;
    if (!second->data) {
        multiply(first, x, out);
        return GGUF_OK;
    }
    float *between = malloc(first->n_rows * sizeof *between);
    if (!between) return gguf_fail_memory(err);
    multiply(first, x, between);
    multiply(second, between, out);
    free(between);
    return GGUF_OK;
}

gguf_code rt_pool(const rt_model *model, const float *rows, size_t n, float *out, gguf_error *err) {
    if (!model->dense[0].data) return pool(model, rows, n, out, err);
    float *pooled = malloc(model->hparams.n_embd * sizeof *pooled);
    if (!pooled) return gguf_fail_memory(err);
    gguf_code code = pool(model, rows, n, pooled, err);
    if (!code) code = densify(model, pooled, out, err);
    free(pooled);
    return code;
}
