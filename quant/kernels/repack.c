/* Repacked rows: the same four bytes of 16 neighbouring rows side by side, in as many bytes, but
 * that blocks of codebooks become nibbles first: looking words up takes longer than reading twice
 * as much. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/books.h"
#include "quant/kernels/kernels.h"

#include <string.h>

bool quant_can_repack(uint32_t type, size_t n_rows) {
    return type < QUANT_N_TYPES && quant_kernels_active()->repacked[type] &&
           n_rows % QUANT_STRIP_ROWS == 0;
}

/* Where the block's word i of repacked rows comes from. Those of Q6_K are brought into the order in
 * which columns need them: scales, and then for each half and each four of 32 columns their upper
 * bits and the nibbles of two and two quarters. */
static size_t word_of(uint32_t type, size_t i) {
    if (type != GGUF_TYPE_Q6_K) return i;
    if (i < 4) return 48 + i;
    size_t half = (i - 4) / 24, g = (i - 4) % 24 / 3, k = (i - 4) % 3;
    return k == 0 ? 32 + 8 * half + g : 16 * half + 8 * (k - 1) + g;
}

/* The words of a block of 16 rows, `stride` bytes apart. If it is no whole number of words, its
 * scale, an f16 or a byte, follows them. */
static uint8_t *put_words(uint32_t type, const uint8_t *block, size_t n_bytes, size_t stride,
                          uint8_t *out) {
    size_t rest = n_bytes % 4;
    size_t scale = quant_traits_of(type)->f16_off[0], start = rest && scale == 0 ? rest : 0;
    for (size_t i = 0; i < n_bytes / 4; i++)
        for (size_t r = 0; r < QUANT_STRIP_ROWS; r++, out += 4)
            memcpy(out, block + r * stride + start + 4 * word_of(type, i), 4);
    for (size_t r = 0; r < QUANT_STRIP_ROWS && rest; r++, out += rest)
        memcpy(out, block + r * stride + scale, rest);
    return out;
}

static uint8_t *repack_block(uint32_t type, const uint8_t *block, size_t row_bytes, uint8_t *out) {
    quant_nibbles rows[QUANT_STRIP_ROWS];
    if (!quant_is_book(type))
        return put_words(type, block, gguf_type_layout_of(type)->block_bytes, row_bytes, out);
    for (size_t r = 0; r < QUANT_STRIP_ROWS; r++)
        quant_nibbles_of(type, block + r * row_bytes, &rows[r]);
    return put_words(type, (const uint8_t *)rows, sizeof rows[0], sizeof rows[0], out);
}

/* Blocks of 32 in the order in which dot kernels add them: every eighth of those of a strip. */
static uint8_t *repack_piece(uint32_t type, const uint8_t *rows, size_t row_bytes, size_t n_blocks,
                             uint8_t *out) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    size_t n_lanes = layout->block_elems == QUANT_BLOCK ? 8 : 1;
    for (size_t k = 0; k < n_lanes; k++)
        for (size_t b = k; b < n_blocks; b += n_lanes)
            out = repack_block(type, rows + b * layout->block_bytes, row_bytes, out);
    return out;
}

size_t quant_repacked_row_bytes(uint32_t type, size_t n_cols) {
    if (quant_is_book(type)) return n_cols / QUANT_SUPER * sizeof(quant_nibbles);
    return quant_row_bytes(type, n_cols);
}

void quant_repack(uint32_t type, const void *rows, size_t n_rows, size_t n_cols, void *repacked) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    size_t row_bytes = quant_row_bytes(type, n_cols);
    const uint8_t *row = rows;
    uint8_t *out = repacked;
    for (size_t r = 0; r < n_rows; r += QUANT_STRIP_ROWS, row += QUANT_STRIP_ROWS * row_bytes)
        for (size_t c = 0; c < n_cols; c += QUANT_STRIP_COLS) {
            size_t n = n_cols - c < QUANT_STRIP_COLS ? n_cols - c : QUANT_STRIP_COLS;
            out = repack_piece(type, row + quant_row_bytes(type, c), row_bytes,
                               n / layout->block_elems, out);
        }
}
