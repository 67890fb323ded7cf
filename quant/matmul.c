/* Products of weight rows with activation rows: loops around the dot kernels, blocked so that a few
 * activation rows stay in the nearest cache while the weights pass. */
#include "quant/kernels.h"

#include <string.h>

#define TILE_ACTS 16           /* activation rows that stay while all weight rows pass */
#define PIECE     (size_t)1024 /* columns decoded at once */

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* One weight row times n_acts activation rows, in groups of QUANT_DOT_ACTS. */
static void dot_row(quant_dot_fn *dot, const void *weight, size_t n_cols, const uint8_t *acts,
                    size_t act_bytes, size_t n_acts, float *out) {
    for (size_t t = 0; t < n_acts; t += QUANT_DOT_ACTS)
        dot(weight, n_cols, acts + t * act_bytes, act_bytes, min_size(QUANT_DOT_ACTS, n_acts - t),
            out + t);
}

void quant_matmul(uint32_t type, const void *weight, size_t n_rows, size_t n_cols, const void *acts,
                  size_t n_acts, float *out, size_t out_stride) {
    quant_dot_fn *dot = quant_kernels_active()->dot[type];
    if (!dot) {
        quant_matmul_f32(type, weight, n_rows, n_cols, acts, n_acts, out, out_stride);
        return;
    }
    size_t row_bytes = quant_row_bytes(type, n_cols);
    size_t act_bytes = quant_act_row_bytes(quant_act_of(type), n_cols);
    for (size_t t = 0; t < n_acts; t += TILE_ACTS) {
        const uint8_t *tile = (const uint8_t *)acts + t * act_bytes;
        size_t n_tile = min_size(TILE_ACTS, n_acts - t);
        for (size_t r = 0; r < n_rows; r++)
            dot_row(dot, (const uint8_t *)weight + r * row_bytes, n_cols, tile, act_bytes, n_tile,
                    out + r * out_stride + t);
    }
}

/* Add the products of one decoded piece of a row to out[0 .. n_acts). */
static void add_piece(quant_dot_fn *dot, const float *piece, size_t n, const float *acts,
                      size_t act_stride, size_t n_acts, float *out) {
    for (size_t t = 0; t < n_acts; t += QUANT_DOT_ACTS) {
        float part[QUANT_DOT_ACTS];
        size_t n_part = min_size(QUANT_DOT_ACTS, n_acts - t);
        dot(piece, n, acts + t * act_stride, act_stride * sizeof(float), n_part, part);
        for (size_t i = 0; i < n_part; i++) out[t + i] += part[i];
    }
}

void quant_matmul_f32(uint32_t type, const void *weight, size_t n_rows, size_t n_cols,
                      const float *acts, size_t n_acts, float *out, size_t out_stride) {
    const quant_kernels *k = quant_kernels_active();
    size_t row_bytes = quant_row_bytes(type, n_cols);
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)weight + r * row_bytes;
        memset(out + r * out_stride, 0, n_acts * sizeof *out);
        for (size_t c = 0; c < n_cols; c += PIECE) {
            float piece[PIECE];
            size_t n = min_size(PIECE, n_cols - c);
            k->decode[type](row + quant_row_bytes(type, c), n, piece);
            add_piece(k->dot[GGUF_TYPE_F32], piece, n, acts + c, n_cols, n_acts,
                      out + r * out_stride);
        }
    }
}

void quant_act_encode(quant_act act, const float *src, size_t n_cols, void *dst) {
    quant_kernels_active()->act[act](src, n_cols, dst);
}
