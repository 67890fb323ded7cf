/* Products of weight rows with activation rows: loops around the dot kernels, blocked so that a few
 * activation rows stay in the nearest cache while the weights pass. */
#include "quant/kernels.h"

#include <string.h>

#define TILE_ACTS 16           /* activation rows that stay while all weight rows pass */
#define PIECE     (size_t)1024 /* columns decoded at once */

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* A block of weight rows and of activation rows, and where their products go. */
typedef struct block_product {
    const quant_kernels *kernels;
    uint32_t type;
    const uint8_t *weight, *acts;
    size_t n_rows, n_acts, n_cols, row_bytes, act_bytes, out_stride;
    float *out;
} block_product;

/* Row r times activations t to t + n_acts; returns how many rows were done. */
static size_t multiply_rows(const block_product *p, size_t r, size_t t, size_t n_acts) {
    const uint8_t *weight = p->weight + r * p->row_bytes, *acts = p->acts + t * p->act_bytes;
    float *out = p->out + r * p->out_stride + t;
    quant_tile_fn *tile = p->kernels->tile[p->type];
    if (tile && p->n_rows - r >= QUANT_TILE_ROWS) {
        tile(weight, p->row_bytes, p->n_cols, acts, p->act_bytes, n_acts, out, p->out_stride);
        return QUANT_TILE_ROWS;
    }
    p->kernels->dot[p->type](weight, p->n_cols, acts, p->act_bytes, n_acts, out);
    return 1;
}

/* All rows, a few at a time times all activations. */
static void multiply_block(const block_product *p) {
    for (size_t r = 0, n = 0; r < p->n_rows; r += n)
        for (size_t t = 0; t < p->n_acts; t += QUANT_DOT_ACTS)
            n = multiply_rows(p, r, t, min_size(QUANT_DOT_ACTS, p->n_acts - t));
}

void quant_matmul(uint32_t type, const void *weight, size_t n_rows, size_t n_cols, const void *acts,
                  size_t n_acts, float *out, size_t out_stride) {
    block_product p = {.kernels = quant_kernels_active(), .type = type, .weight = weight};
    if (!p.kernels->dot[type]) {
        quant_matmul_f32(type, weight, n_rows, n_cols, acts, n_acts, out, out_stride);
        return;
    }
    p.n_rows = n_rows;
    p.n_cols = n_cols;
    p.row_bytes = quant_row_bytes(type, n_cols);
    p.act_bytes = quant_act_row_bytes(quant_act_of(type), n_cols);
    p.out_stride = out_stride;
    for (size_t t = 0; t < n_acts; t += TILE_ACTS) {
        p.acts = (const uint8_t *)acts + t * p.act_bytes;
        p.n_acts = min_size(TILE_ACTS, n_acts - t);
        p.out = out + t;
        multiply_block(&p);
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
