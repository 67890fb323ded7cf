/* Finiteness of stored numbers: values, or the scales of blocks. Weights are looked at when they
 * are first read, so whole stretches of blocks are judged at once, and a single one only where one
 * of a stretch is wrong. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/unpack.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define STRETCH 64 /* blocks */

static bool f16_finite(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return (h & 0x7C00) != 0x7C00;
}

static bool block_finite(const quant_traits *t, const uint8_t *block) {
    if (t->has_e8m0 && block[0] == 255) return false;
    if (t->has_spread_f16 && !isfinite(quant_iq1_m_scale((const block_iq1_m *)block))) return false;
    for (unsigned i = 0; i < t->n_f16; i++)
        if (!f16_finite(block + t->f16_off[i])) return false;
    return true;
}

/* An exponent of all ones carries into the sign's place, no other does. */
static bool all_f16_finite(const uint8_t *first, size_t block_bytes, size_t n) {
    uint32_t carried = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, first + i * block_bytes, sizeof h);
        carried |= (uint32_t)(h & 0x7C00) + 0x0400;
    }
    return !(carried & 0x8000);
}

/* The same of two that are neighbours, as d and m, d and dmin are. */
static bool all_pairs_finite(const uint8_t *first, size_t block_bytes, size_t n) {
    uint32_t carried = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t pair;
        memcpy(&pair, first + i * block_bytes, sizeof pair);
        carried |= (pair & 0x7C007C00) + 0x04000400;
    }
    return !(carried & 0x80008000);
}

static bool stretch_finite(const quant_traits *t, const uint8_t *block, size_t block_bytes,
                           size_t n) {
    if (t->n_f16 == 1) return all_f16_finite(block + t->f16_off[0], block_bytes, n);
    if (t->n_f16 == 2) return all_pairs_finite(block + t->f16_off[0], block_bytes, n);
    for (size_t i = 0; i < n; i++)
        if (!block_finite(t, block + i * block_bytes)) return false;
    return true;
}

/* The first block that is not finite, or n. */
static size_t find_block(const quant_traits *t, const uint8_t *block, size_t block_bytes,
                         size_t n) {
    for (size_t i = 0; i < n; i += STRETCH) {
        size_t now = n - i < STRETCH ? n - i : STRETCH, bad = i;
        if (stretch_finite(t, block + i * block_bytes, block_bytes, now)) continue;
        while (block_finite(t, block + bad * block_bytes)) bad++;
        return bad;
    }
    return n;
}

/* The head of a row is its scale; its blocks have none. */
static bool head_finite(const uint8_t *row, uint32_t head_bytes) {
    float d;
    if (head_bytes == sizeof(uint16_t)) return f16_finite(row);
    memcpy(&d, row, sizeof d);
    return isfinite(d);
}

static size_t find_row(const gguf_type_layout *layout, const uint8_t *rows, size_t n_rows,
                       size_t n_cols) {
    size_t row_bytes = quant_row_bytes(layout->type, n_cols), r = 0;
    while (r < n_rows && head_finite(rows + r * row_bytes, layout->head_bytes)) r++;
    return r * n_cols;
}

size_t quant_find_nonfinite(uint32_t type, const void *src, size_t n_rows, size_t n_cols) {
    const quant_kernels *k = quant_kernels_active();
    const quant_traits *t = quant_traits_of(type);
    size_t n = n_rows * n_cols;
    if (type == GGUF_TYPE_F32) return k->beyond(src, n, FLT_MAX);
    if (!t) return n;
    if (t->exponent16) return k->masked(src, n, t->exponent16);
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    if (layout->head_bytes) return find_row(layout, src, n_rows, n_cols);
    if (!t->n_f16 && !t->has_e8m0 && !t->has_spread_f16) return n;
    return find_block(t, src, layout->block_bytes, n / layout->block_elems) * layout->block_elems;
}
