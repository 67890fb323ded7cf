/* Reading a piece, its transforms, its encoding and what that loses. */
#include "quant/rows.h"

#include "quant/kernels/panel.h"
#include "quant/order.h"
#include "quant/quant.h"
#include "quant/source.h"
#include "quant/steps.h"

#include <math.h>
#include <string.h>

static uint64_t head_rows(const quant_plan_tensor *t) {
    for (uint32_t i = 0; i < t->n_steps; i++)
        if (t->steps[i].op == QUANT_STEP_PERMUTE_HEADS && t->steps[i].arg)
            return t->n_rows / t->steps[i].arg;
    return 1;
}

uint64_t quant_rows_per_unit(const quant_plan_tensor *t) {
    uint64_t head = head_rows(t), panels = (QUANT_PANEL + head - 1) / head;
    return t->calibrated ? panels * head : head;
}

/* Rows of whole heads from halves to adjacent pairs; see QUANT_STEP_PERMUTE_HEADS. */
static void permute_heads(const uint8_t *src, uint8_t *dst, uint64_t n_rows, uint64_t head_rows,
                          size_t row_bytes) {
    uint64_t half = head_rows / 2;
    for (uint64_t head = 0; head < n_rows; head += head_rows)
        for (uint64_t i = 0; i < half; i++)
            for (uint64_t j = 0; j < 2; j++)
                memcpy(dst + (head + 2 * i + j) * row_bytes,
                       src + (head + j * half + i) * row_bytes, row_bytes);
}

static void swap(uint8_t **a, uint8_t **b) {
    uint8_t *old = *a;
    *a = *b;
    *b = old;
}

/* Rows that move within a piece, and columns. */
static const uint8_t *move_rows(const quant_plan_tensor *t, uint64_t n_rows, uint8_t *rows,
                                uint8_t *scratch) {
    uint8_t *from = rows, *to = scratch;
    if (t->col_order.n_parts) {
        quant_order_move(&t->col_order, n_rows, quant_row_bytes(t->source_type, 1), from, to);
        swap(&from, &to);
    }
    for (uint32_t i = 0; i < t->n_steps; i++) {
        if (t->steps[i].op != QUANT_STEP_PERMUTE_HEADS) continue;
        permute_heads(from, to, n_rows, t->n_rows / t->steps[i].arg,
                      quant_row_bytes(t->source_type, t->n_cols));
        swap(&from, &to);
    }
    return from;
}

static bool has_arithmetic(const quant_plan_tensor *t) {
    for (uint32_t i = 0; i < t->n_steps; i++)
        if (t->steps[i].op != QUANT_STEP_PERMUTE_HEADS) return true;
    return t->added || t->row_factors;
}

static void scale_values(float *values, size_t n, float factor) {
    for (size_t k = 0; k < n; k++) values[k] *= factor;
}

static void change_values(const quant_plan_tensor *t, const quant_piece *piece, float *values) {
    size_t n = piece->n_rows * t->n_cols;
    for (uint32_t i = 0; i < t->n_steps; i++)
        for (size_t k = 0; k < n; k++) values[k] = quant_step_apply(&t->steps[i], values[k]);
    for (uint64_t r = 0; t->row_factors && r < piece->n_rows; r++)
        scale_values(values + r * t->n_cols, t->n_cols, t->row_factors[piece->row + r]);
}

/* Through double, so that the order of the sum does not show. */
static void add_low_rank(const quant_plan_tensor *t, const quant_piece *piece, float *values) {
    for (const quant_low_rank *l = t->added; l; l = l->next)
        for (uint64_t r = 0; r < piece->n_rows; r++)
            for (uint64_t c = 0; c < t->n_cols; c++) {
                const float *row = l->rows + (piece->row + r) * l->rank;
                double sum = 0;
                for (uint32_t k = 0; k < l->rank; k++)
                    sum += (double)row[k] * (double)l->cols[k * t->n_cols + c];
                values[r * t->n_cols + c] =
                    (float)((double)values[r * t->n_cols + c] + (double)l->scale * sum);
            }
}

static void measure_loss(const float *values, const float *decoded, const float *imp,
                         uint64_t n_rows, uint64_t n_cols, quant_loss_sums *sums) {
    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t c = 0; c < n_cols; c++) {
            double d = (double)values[r * n_cols + c] - decoded[r * n_cols + c];
            double w = imp ? imp[c] : 1;
            sums->squares += d * d;
            sums->weighted += w * d * d;
            sums->weights += w;
        }
}

static const float *importance_of(const quant_plan_tensor *t, const quant_piece *piece) {
    return t->imp ? t->imp + piece->row / quant_rows_per_matrix(t) * t->n_cols : NULL;
}

/* Report a failure of encode with the tensor's name and the row in the tensor. */
static gguf_code fail_tensor(const quant_plan_tensor *t, const quant_piece *piece,
                             const gguf_error *why, gguf_error *err) {
    return gguf_fail(err, why->code, t->source.path, (int64_t)t->source.off,
                     "tensor '%s', rows from %llu: %s", t->out.name.ptr,
                     (unsigned long long)piece->row, why->message);
}

static gguf_code check_finite(const quant_plan_tensor *t, const quant_piece *piece,
                              const uint8_t *rows, gguf_error *err) {
    size_t at = quant_find_nonfinite(t->source_type, rows, piece->n_rows, t->n_cols);
    if (at == piece->n_rows * t->n_cols) return GGUF_OK;
    return gguf_fail(err, GGUF_E_NONFINITE, t->source.path, (int64_t)t->source.off,
                     "tensor '%s' is not finite at row %llu, column %llu", t->out.name.ptr,
                     (unsigned long long)(piece->row + at / t->n_cols),
                     (unsigned long long)(at % t->n_cols));
}

/* ---- the steps of a piece ---------------------------------------------------------------- */

gguf_code quant_rows_read(const quant_plan_tensor *t, const quant_piece *piece, uint8_t *raw,
                          uint8_t *moved, const uint8_t **rows, gguf_error *err) {
    gguf_code code = quant_source_read(t, piece->row, piece->n_rows, raw, moved, err);
    if (code) return code;
    *rows = move_rows(t, piece->n_rows, raw, moved);
    return check_finite(t, piece, *rows, err);
}

bool quant_rows_are_copied(const quant_plan_tensor *t) {
    return t->source_type == t->out.type && !has_arithmetic(t);
}

gguf_code quant_rows_decode(const quant_plan_tensor *t, const quant_piece *piece,
                            const uint8_t *rows, float *values, gguf_error *err) {
    gguf_error why = {0};
    gguf_code code = quant_decode(t->source_type, rows, piece->n_rows, t->n_cols, values, &why);
    if (code) return fail_tensor(t, piece, &why, err);
    change_values(t, piece, values);
    add_low_rank(t, piece, values);
    return GGUF_OK;
}

static const quant_hessian *hessian_of(const quant_plan_tensor *t, const quant_piece *piece) {
    return t->hessians ? t->hessians[piece->row / quant_rows_per_matrix(t)] : NULL;
}

static bool is_fed(const quant_plan_tensor *t, const quant_hessian *hessian) {
    return t->compensate && hessian && hessian->u;
}

gguf_code quant_rows_encode(const quant_plan_tensor *t, uint32_t type, const quant_piece *piece,
                            const float *values, const quant_compensate_opts *opts,
                            void *compensate, uint8_t *encoded, float *decoded,
                            quant_loss_sums *loss, gguf_error *err) {
    const float *imp = importance_of(t, piece);
    const quant_hessian *hessian = hessian_of(t, piece);
    gguf_error why = {0};
    gguf_code code = GGUF_OK;
    if (compensate && is_fed(t, hessian))
        quant_compensate(type, values, piece->n_rows, t->n_cols, hessian, opts, encoded,
                         compensate);
    else
        code = quant_encode_effort(type, t->effort, values, piece->n_rows, t->n_cols, imp, encoded,
                                   &why);
    if (!code && decoded)
        code = quant_decode(type, encoded, piece->n_rows, t->n_cols, decoded, &why);
    if (code) return fail_tensor(t, piece, &why, err);
    if (decoded) measure_loss(values, decoded, imp, piece->n_rows, t->n_cols, loss);
    return GGUF_OK;
}

gguf_code quant_rows_measure(const quant_plan_tensor *t, const quant_piece *piece,
                             const float *values, const uint8_t *encoded, void *scratch,
                             quant_loss_sums *loss, gguf_error *err) {
    const quant_hessian *hessian = hessian_of(t, piece);
    bool fed = is_fed(t, hessian);
    gguf_error why = {0};
    gguf_code code = GGUF_OK;
    if (hessian)
        code = quant_output_measure(t->out.type, t->effort, values, encoded, fed, piece->n_rows,
                                    t->n_cols, hessian, importance_of(t, piece), scratch,
                                    &loss->output, &why);
    loss->n_samples = hessian ? hessian->n_samples : 0;
    loss->n_unfed = t->compensate && !fed ? piece->n_rows : 0;
    return code ? fail_tensor(t, piece, &why, err) : GGUF_OK;
}
