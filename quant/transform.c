/* Permuted heads, added constants, and the loss of encoding. */
#include "quant/transform.h"

#include "quant/quant.h"

#include <string.h>

uint64_t quant_rows_per_unit(const quant_plan_tensor *t) {
    for (uint32_t i = 0; i < t->n_steps; i++)
        if (t->steps[i].op == QUANT_STEP_PERMUTE_HEADS && t->steps[i].arg)
            return t->n_rows / t->steps[i].arg;
    return 1;
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

const uint8_t *quant_move_rows(const quant_plan_tensor *t, uint64_t n_rows, uint8_t *rows,
                               uint8_t *scratch) {
    uint8_t *from = rows, *to = scratch;
    size_t row_bytes = quant_row_bytes(t->source_type, t->n_cols);
    for (uint32_t i = 0; i < t->n_steps; i++) {
        if (t->steps[i].op != QUANT_STEP_PERMUTE_HEADS) continue;
        permute_heads(from, to, n_rows, t->n_rows / t->steps[i].arg, row_bytes);
        uint8_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

bool quant_has_arithmetic(const quant_plan_tensor *t) {
    for (uint32_t i = 0; i < t->n_steps; i++)
        if (t->steps[i].op == QUANT_STEP_ADD) return true;
    return false;
}

void quant_change_values(const quant_plan_tensor *t, float *values, size_t n) {
    for (uint32_t i = 0; i < t->n_steps; i++)
        if (t->steps[i].op == QUANT_STEP_ADD)
            for (size_t k = 0; k < n; k++) values[k] += (float)t->steps[i].arg;
}

void quant_measure_loss(const float *values, const float *decoded, const float *imp,
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
