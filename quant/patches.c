/* Putting tensors together from parts of others. */
#include "quant/patches.h"

#include "quant/affine.h"
#include "quant/kernels/numeric.h"
#include "quant/order.h"
#include "quant/quant.h"
#include "quant/steps.h"

#include <stdlib.h>
#include <string.h>

/* Elements [from, end) of a target. */
typedef struct range {
    uint64_t from, end;
} range;

static uint64_t used_rows(const quant_patch *p) {
    return p->n_used_rows ? p->n_used_rows : p->n_rows;
}

uint64_t quant_patches_elems(const quant_patches *patches) {
    uint64_t n = 0;
    for (size_t i = 0; i < patches->n; i++) {
        const quant_patch *p = &patches->list[i];
        n += p->n_mats * used_rows(p) * p->n_cols;
    }
    return n;
}

/* ---- places ------------------------------------------------------------------------------ */

static uint64_t ordered(const quant_order *order, uint64_t at) {
    uint64_t n;
    return order->n_parts ? quant_order_find(order, at, &n) : at;
}

/* The matrix and row from whose place row r of all came. */
static uint64_t row_before_heads(const quant_patch *p, uint64_t r) {
    uint64_t d = p->head_rows, in_head;
    if (!d) return r;
    in_head = r % d;
    return r - in_head + in_head % 2 * (d / 2) + in_head / 2;
}

/* Where the first column of row r of all stands. */
static uint64_t row_place(const quant_patch *p, uint64_t r) {
    uint64_t from = row_before_heads(p, r);
    return p->first + from / p->n_rows * p->mat_stride +
           ordered(&p->row_order, from % p->n_rows) * p->view.row_stride;
}

static uint64_t last_column(const quant_patch *p) {
    uint64_t last = p->col_order.n_parts ? quant_order_end(&p->col_order) : p->n_cols;
    return (last - 1) * p->view.col_stride;
}

static bool order_fits(const quant_order *order, uint64_t n) {
    return !order->n_parts || quant_order_count(order) == n;
}

static bool patch_fits(const quant_patch *p, uint64_t n_elems) {
    uint64_t n_rows = p->n_mats * used_rows(p);
    if (!n_rows || !p->n_cols || !order_fits(&p->row_order, p->n_rows) ||
        !order_fits(&p->col_order, p->n_cols) || (p->n_used_rows && p->n_mats != 1) ||
        used_rows(p) > p->n_rows || (p->head_rows && n_rows % p->head_rows) ||
        p->bytes.n_bytes != n_rows / used_rows(p) * p->n_rows * quant_row_bytes(p->type, p->n_cols))
        return false;
    for (uint64_t r = 0; r < n_rows; r++)
        if (row_place(p, r) + last_column(p) >= n_elems) return false;
    return true;
}

gguf_code quant_patches_check(const quant_patches *patches, uint64_t n_elems, const char *name,
                              gguf_error *err) {
    for (size_t i = 0; i < patches->n; i++) {
        const quant_patch *p = &patches->list[i];
        if (!quant_can_decode(p->type))
            return gguf_fail(err, GGUF_E_UNSUPPORTED, p->bytes.path, (int64_t)p->bytes.off,
                             "tensor '%s' is made of %s, which cannot be decoded", name,
                             gguf_type_name(p->type));
        if (!patch_fits(p, n_elems))
            return gguf_fail(err, GGUF_E_SHAPE, p->bytes.path, (int64_t)p->bytes.off,
                             "tensor '%s': what it is made of does not fit its shape", name);
    }
    return GGUF_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Several numbers may become the same one: that counts which checkpoints are published in. */
static float stored_value(const quant_patch *p, uint64_t row, float value) {
    if (!p->n_steps && !p->row_factors) return value;
    float factor = p->row_factors ? p->row_factors[row % p->n_rows] : 1, stored = value / factor;
    for (uint32_t i = p->n_steps; i-- > 0;) stored = quant_step_undo(&p->steps[i], stored);
    float shorter = quant_bf16_to_f32(quant_f32_to_bf16(stored)), again = shorter;
    for (uint32_t i = 0; i < p->n_steps; i++) again = quant_step_apply(&p->steps[i], again);
    return again * factor == value ? shorter : stored;
}

/* Columns [*from, *end) of a row that begins at `place` may stand in the range; whole blocks. */
static void columns_in(const quant_patch *p, uint64_t place, const range *wanted, uint64_t *from,
                       uint64_t *end) {
    uint64_t stride = p->view.col_stride, block = 1;
    const gguf_type_layout *layout = gguf_type_layout_of(p->type);
    if (layout) block = layout->block_elems;
    *from = 0;
    *end = p->n_cols;
    if (p->col_order.n_parts || (layout && layout->head_bytes)) return;
    if (place < wanted->from) *from = (wanted->from - place + stride - 1) / stride;
    if (place >= wanted->end)
        *end = 0;
    else if ((wanted->end - place + stride - 1) / stride < p->n_cols)
        *end = (wanted->end - place + stride - 1) / stride;
    if (*from >= *end) return;
    *from -= *from % block;
    *end = (*end + block - 1) / block * block;
    if (*end > p->n_cols) *end = p->n_cols;
}

/* Scratch of one read. */
typedef struct row_buffer {
    uint8_t *raw;
    float *values;
} row_buffer;

static gguf_code read_row(const quant_patch *p, uint64_t row, const range *wanted,
                          const row_buffer *b, float *dst, gguf_error *err) {
    uint64_t place = row_place(p, row), from, end;
    columns_in(p, place, wanted, &from, &end);
    if (from >= end || place + last_column(p) < wanted->from) return GGUF_OK;
    uint64_t off = row * quant_row_bytes(p->type, p->n_cols) + quant_row_bytes(p->type, from);
    gguf_code code = quant_bytes_read(&p->bytes, p->bytes.path, off,
                                      quant_row_bytes(p->type, end - from), b->raw, err);
    if (!code) code = quant_decode(p->type, b->raw, 1, end - from, b->values, err);
    for (uint64_t c = from; c < end && !code; c++) {
        uint64_t at = place + ordered(&p->col_order, c) * p->view.col_stride;
        if (at >= wanted->from && at < wanted->end)
            dst[at - wanted->from] = stored_value(p, row, b->values[c - from]);
    }
    return code;
}

/* Rows of a matrix that may stand in the range: all where they move about, else those between. */
static range rows_in(const quant_patch *p, uint64_t mat, const range *wanted) {
    uint64_t n = used_rows(p), base = p->first + mat * p->mat_stride, reach = last_column(p);
    range rows = {0, n};
    if (p->row_order.n_parts || p->head_rows) return rows;
    if (wanted->end <= base) return (range){0, 0};
    if (wanted->from > base + reach) rows.from = (wanted->from - base - reach) / p->view.row_stride;
    uint64_t end = (wanted->end - base - 1) / p->view.row_stride + 1;
    if (end < rows.end) rows.end = end;
    return rows;
}

static gguf_code read_patch(const quant_patch *p, const range *wanted, float *dst,
                            gguf_error *err) {
    row_buffer b = {malloc(quant_row_bytes(p->type, p->n_cols)), malloc(p->n_cols * sizeof(float))};
    gguf_code code = b.raw && b.values ? GGUF_OK : gguf_fail_memory(err);
    for (uint64_t mat = 0; mat < p->n_mats && !code; mat++) {
        range rows = rows_in(p, mat, wanted);
        for (uint64_t r = rows.from; r < rows.end && !code; r++)
            code = read_row(p, mat * p->n_rows + r, wanted, &b, dst, err);
    }
    free(b.raw);
    free(b.values);
    return code;
}

gguf_code quant_patches_read(const quant_patches *patches, uint64_t n_cols, uint64_t row,
                             uint64_t n_rows, float *dst, gguf_error *err) {
    const range wanted = {row * n_cols, (row + n_rows) * n_cols};
    gguf_code code = GGUF_OK;
    memset(dst, 0, n_rows * n_cols * sizeof *dst);
    for (size_t i = 0; i < patches->n && !code; i++)
        code = read_patch(&patches->list[i], &wanted, dst, err);
    return code;
}
