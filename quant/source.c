/* Sources of tensors: strided views, and the codings that no GGUF type has. */
#include "quant/source.h"

#include "libgguf/map.h"
#include "quant/affine.h"
#include "quant/order.h"
#include "quant/patches.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MXFP4_ELEMS 32
#define MAX_SPREAD  8 /* bytes read per element that is kept */

uint64_t quant_rows_per_matrix(const quant_plan_tensor *t) {
    if (t->out.n_dims > 2) return t->out.dims[1];
    return t->stack ? 1 : t->n_rows; /* a stack of vectors */
}

/* Rows that have heads are read as whole ones. */
static uint64_t plain_bytes(const quant_plan_tensor *t, uint64_t n_elems) {
    const gguf_type_layout *layout = gguf_type_layout_of(t->source_type);
    if (!layout || !layout->head_bytes) return quant_row_bytes(t->source_type, n_elems);
    return n_elems % t->n_cols ? 0
                               : n_elems / t->n_cols * quant_row_bytes(t->source_type, t->n_cols);
}

static uint64_t stored_bytes(const quant_plan_tensor *t, uint64_t n_elems) {
    switch (t->coding) {
    case QUANT_CODING_E4M3:
    case QUANT_CODING_E5M2:
        return n_elems;
    case QUANT_CODING_AFFINE:
        return 4 * n_elems;
    case QUANT_CODING_NUMBER:
        return quant_row_bytes(t->scaling.type, n_elems);
    case QUANT_CODING_MXFP4:
        return n_elems / 2;
    default:
        return plain_bytes(t, n_elems);
    }
}

static quant_view view_of(const quant_plan_tensor *t) {
    return t->view.row_stride ? t->view : (quant_view){t->n_cols, 1};
}

size_t quant_source_parts(const quant_source *s, quant_bytes parts[QUANT_MAX_SOURCE_PARTS]) {
    const quant_bytes own = {s->fd, s->off, s->memory, s->n_bytes, s->path};
    const quant_affine *a = s->affine;
    const quant_bytes *const all[QUANT_MAX_SOURCE_PARTS] = {&own,
                                                            &s->scales,
                                                            a ? &a->codes.grid.bytes : NULL,
                                                            a ? &a->zeros.grid.bytes : NULL,
                                                            a ? &a->scales.bytes : NULL,
                                                            a ? &a->group_of : NULL};
    size_t n = 0;
    for (size_t i = 0; i < QUANT_MAX_SOURCE_PARTS; i++)
        if (all[i] && all[i]->n_bytes) parts[n++] = *all[i];
    return n;
}

/* ---- checks ------------------------------------------------------------------------------ */

/* Bytes up to the last element, or UINT64_MAX if there are too many. */
static uint64_t extent(const quant_plan_tensor *t, const quant_source *s, uint64_t n_rows) {
    quant_view v = view_of(t);
    uint64_t rows, cols, end;
    if (__builtin_mul_overflow(n_rows - 1, v.row_stride, &rows) ||
        __builtin_mul_overflow(t->n_cols - 1, v.col_stride, &cols) ||
        __builtin_add_overflow(rows, cols, &end) || __builtin_add_overflow(end, s->first + 1, &end))
        return UINT64_MAX;
    return stored_bytes(t, end);
}

static uint64_t scales_per_row(const quant_plan_tensor *t) {
    return (t->scaling.n_cols + t->scaling.block_cols - 1) / t->scaling.block_cols;
}

static size_t scale_bytes(const quant_plan_tensor *t) {
    return t->coding == QUANT_CODING_MXFP4 ? 1 : quant_row_bytes(t->scaling.type, 1);
}

static bool has_scales(const quant_source *s) {
    return s->scales.n_bytes != 0;
}

static uint64_t scale_row(const quant_plan_tensor *t, uint64_t elem) {
    return elem / t->scaling.n_cols / t->scaling.block_rows;
}

static bool scales_fit(const quant_plan_tensor *t, const quant_source *s, uint64_t n_rows) {
    quant_view v = view_of(t);
    if (t->coding == QUANT_CODING_NUMBER) return true;
    if (t->coding == QUANT_CODING_PLAIN || !has_scales(s)) return t->coding != QUANT_CODING_MXFP4;
    if (!t->scaling.n_cols || !t->scaling.block_rows || !t->scaling.block_cols) return false;
    uint64_t last = s->first + (n_rows - 1) * v.row_stride + (t->n_cols - 1) * v.col_stride;
    return (scale_row(t, last) + 1) * scales_per_row(t) * scale_bytes(t) <= s->scales.n_bytes;
}

/* The view lies inside the matrix; its elements are numbered as in a plain one. */
static gguf_code check_affine(const quant_plan_tensor *t, const quant_source *s, uint64_t n_rows,
                              gguf_error *err) {
    quant_view v = view_of(t);
    gguf_code code = quant_affine_check(s->affine, t->out.name.ptr, s->path, err);
    uint64_t n_cols = s->affine->n_cols;
    bool transposed = v.row_stride < v.col_stride;
    uint64_t rows, cols, end;
    if (code) return code;
    uint64_t across = transposed ? (n_rows - 1) * v.row_stride : (t->n_cols - 1) * v.col_stride;
    if (!__builtin_mul_overflow(n_rows - 1, v.row_stride, &rows) &&
        !__builtin_mul_overflow(t->n_cols - 1, v.col_stride, &cols) &&
        !__builtin_add_overflow(rows, cols, &end) && !__builtin_add_overflow(end, s->first, &end) &&
        end / n_cols < s->affine->n_rows && across < n_cols - s->first % n_cols &&
        (transposed ? v.col_stride : v.row_stride) % n_cols == 0)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->off,
                     "tensor '%s' is not inside its packed matrix", t->out.name.ptr);
}

static gguf_code check_one(const quant_plan_tensor *t, const quant_source *s, uint64_t n_rows,
                           gguf_error *err) {
    if (t->coding == QUANT_CODING_AFFINE) return check_affine(t, s, n_rows, err);
    uint64_t needed = extent(t, s, n_rows);
    bool whole = !t->view.row_stride && s->first == 0;
    if (needed > s->n_bytes || (whole && needed != s->n_bytes))
        return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->off,
                         "tensor '%s' has %" PRIu64 " bytes, its shape needs another number",
                         t->out.name.ptr, s->n_bytes);
    if (!scales_fit(t, s, n_rows))
        return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->scales.off,
                         "the scales of tensor '%s' do not cover it", t->out.name.ptr);
    return GGUF_OK;
}

/* Strided elements are moved one by one; blocks only as whole rows. */
static bool view_works(const quant_plan_tensor *t) {
    quant_view v = view_of(t);
    uint64_t inner = v.row_stride < v.col_stride ? v.row_stride : v.col_stride;
    if (v.col_stride == 1) return true;
    if (t->coding == QUANT_CODING_AFFINE) return true;
    return t->coding != QUANT_CODING_MXFP4 && stored_bytes(t, 1) &&
           inner <= MAX_SPREAD / stored_bytes(t, 1);
}

/* Rows of a matrix in its source, of which the tensor has n_rows. */
static uint64_t rows_in_source(const quant_plan_tensor *t, uint64_t n_rows) {
    if (t->row_order.n_parts) return quant_order_end(&t->row_order);
    return t->n_stored_rows ? t->n_stored_rows : n_rows;
}

/* Orders have a place for every row and column; columns of blocks do not move. */
static bool orders_work(const quant_plan_tensor *t, uint64_t n_rows) {
    const quant_order *rows = &t->row_order, *cols = &t->col_order;
    if (rows->n_parts && (quant_order_count(rows) != n_rows || t->n_stored_rows)) return false;
    if (t->n_stored_rows && (t->stack || t->n_stored_rows > n_rows)) return false;
    return !cols->n_parts ||
           (quant_order_count(cols) == t->n_cols && quant_order_end(cols) == t->n_cols &&
            quant_row_bytes(t->source_type, 1) != 0);
}

gguf_code quant_source_check(const quant_plan_tensor *t, gguf_error *err) {
    uint64_t n_rows = t->stack ? quant_rows_per_matrix(t) : t->n_rows;
    uint64_t n = t->stack ? t->n_rows / (n_rows ? n_rows : 1) : 1;
    gguf_code code = GGUF_OK;
    if (t->n_rows == 0 || t->n_cols == 0) return GGUF_OK;
    if (t->coding == QUANT_CODING_PATCHES)
        return quant_patches_check(t->patches, t->n_rows * t->n_cols, t->out.name.ptr, err);
    if (!view_works(t) || !orders_work(t, n_rows))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, t->source.path, (int64_t)t->source.off,
                         "tensor '%s' cannot be transposed or spread in its type", t->out.name.ptr);
    n_rows = rows_in_source(t, n_rows);
    for (uint64_t i = 0; i < n && !code; i++)
        code = check_one(t, t->stack ? &t->stack[i] : &t->source, n_rows, err);
    return code;
}

/* ---- gathering --------------------------------------------------------------------------- */

static gguf_code read_elems(const quant_plan_tensor *t, const quant_source *s, uint64_t from,
                            uint64_t n, uint8_t *dst, gguf_error *err) {
    quant_bytes bytes = {s->fd, s->off, s->memory, s->n_bytes, s->path};
    return quant_bytes_read(&bytes, s->path, stored_bytes(t, from), stored_bytes(t, n), dst, err);
}

static gguf_code gather_rows(const quant_plan_tensor *t, const quant_source *s, uint64_t from,
                             uint64_t n_rows, uint8_t *dst, gguf_error *err) {
    uint64_t stride = view_of(t).row_stride;
    gguf_code code = GGUF_OK;
    if (stride == t->n_cols) return read_elems(t, s, from, n_rows * t->n_cols, dst, err);
    for (uint64_t r = 0; r < n_rows && !code; r++)
        code = read_elems(t, s, from + r * stride, t->n_cols, dst + r * stored_bytes(t, t->n_cols),
                          err);
    return code;
}

/* Runs are read along the dimension whose elements lie closer together. */
static gguf_code gather_spread(const quant_plan_tensor *t, const quant_source *s, uint64_t from,
                               uint64_t n_rows, uint8_t *dst, uint8_t *scratch, gguf_error *err) {
    quant_view v = view_of(t);
    bool by_rows = v.col_stride < v.row_stride;
    uint64_t n_runs = by_rows ? n_rows : t->n_cols, n_inner = by_rows ? t->n_cols : n_rows;
    uint64_t run_stride = by_rows ? v.row_stride : v.col_stride;
    uint64_t inner = by_rows ? v.col_stride : v.row_stride;
    size_t size = (size_t)stored_bytes(t, 1);
    gguf_code code = GGUF_OK;
    for (uint64_t run = 0; run < n_runs && !code; run++) {
        code = read_elems(t, s, from + run * run_stride, (n_inner - 1) * inner + 1, scratch, err);
        for (uint64_t i = 0; i < n_inner && !code; i++) {
            uint64_t at = by_rows ? run * t->n_cols + i : i * t->n_cols + run;
            memcpy(dst + at * size, scratch + i * inner * size, size);
        }
    }
    return code;
}

static gguf_code gather(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                        uint64_t n_rows, uint8_t *dst, uint8_t *scratch, gguf_error *err) {
    quant_view v = view_of(t);
    uint64_t from = s->first + row * v.row_stride;
    if (v.col_stride == 1) return gather_rows(t, s, from, n_rows, dst, err);
    return gather_spread(t, s, from, n_rows, dst, scratch, err);
}

/* ---- codings ----------------------------------------------------------------------------- */

/* The scales of all blocks that rows touch; first_row is the first block row. */
typedef struct scale_rows {
    uint8_t *bytes;
    float *values;
    uint64_t first_row;
} scale_rows;

static gguf_code read_scales(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                             uint64_t n_rows, scale_rows *out, gguf_error *err) {
    quant_view v = view_of(t);
    uint64_t from = s->first + row * v.row_stride;
    uint64_t last = from + (n_rows - 1) * v.row_stride + (t->n_cols - 1) * v.col_stride;
    *out = (scale_rows){.first_row = scale_row(t, from)};
    uint64_t n = (scale_row(t, last) + 1 - out->first_row) * scales_per_row(t);
    size_t size = scale_bytes(t);
    out->bytes = malloc(n * size);
    out->values = malloc(n * sizeof *out->values);
    if (!out->bytes || !out->values) return gguf_fail_memory(err);
    gguf_code code = quant_bytes_read(
        &s->scales, s->path, out->first_row * scales_per_row(t) * size, n * size, out->bytes, err);
    if (!code && t->coding != QUANT_CODING_MXFP4)
        code = quant_decode(t->scaling.type, out->bytes, 1, n, out->values, err);
    return code;
}

static void free_scales(scale_rows *scales) {
    free(scales->bytes);
    free(scales->values);
}

static uint64_t scale_index(const quant_plan_tensor *t, const scale_rows *scales, uint64_t elem) {
    return (scale_row(t, elem) - scales->first_row) * scales_per_row(t) +
           elem % t->scaling.n_cols / t->scaling.block_cols;
}

/* OCP 8-bit floating point: E4M3 has no infinity and one NaN, E5M2 follows IEEE 754. */
static float fp8_value(unsigned code, bool e4m3) {
    unsigned n_bits = e4m3 ? 3 : 2, magnitude = code & 127;
    int exponent = (int)(magnitude >> n_bits), bias = e4m3 ? 7 : 15;
    float fraction = (float)(magnitude & ((1U << n_bits) - 1)) / (float)(1U << n_bits);
    float value = exponent ? ldexpf(1 + fraction, exponent - bias) : ldexpf(fraction, 1 - bias);
    if (e4m3 ? magnitude == 127 : exponent == 31) value = !e4m3 && fraction == 0 ? INFINITY : NAN;
    return code & 128 ? -value : value;
}

/* Elements of one row with the same scale: a run within a block, or one if columns are spread. */
static uint64_t run_length(const quant_plan_tensor *t, uint64_t elem, uint64_t n_left) {
    if (view_of(t).col_stride != 1) return 1;
    uint64_t n = t->scaling.block_cols - elem % t->scaling.n_cols % t->scaling.block_cols;
    return n < n_left ? n : n_left;
}

static void decode_fp8(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                       uint64_t n_rows, const scale_rows *scales, const uint8_t *src, float *dst) {
    quant_view v = view_of(t);
    float table[256];
    for (unsigned i = 0; i < 256; i++) table[i] = fp8_value(i, t->coding == QUANT_CODING_E4M3);
    for (uint64_t r = 0; r < n_rows; r++, src += t->n_cols, dst += t->n_cols)
        for (uint64_t c = 0, n; c < t->n_cols; c += n) {
            uint64_t elem = s->first + (row + r) * v.row_stride + c * v.col_stride;
            n = scales->values ? run_length(t, elem, t->n_cols - c) : t->n_cols;
            float scale = scales->values ? scales->values[scale_index(t, scales, elem)] : 1;
            for (uint64_t i = c; i < c + n; i++) dst[i] = table[src[i]] * scale;
        }
}

static unsigned pair_code(const uint8_t *src, unsigned i) {
    return src[i / 2] >> 4 * (i % 2) & 15;
}

/* From neighbours in a byte to elements 16 apart in a byte, the scale in front. */
static void repack_mxfp4(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                         uint64_t n_rows, const scale_rows *scales, const uint8_t *src,
                         uint8_t *dst) {
    uint64_t stride = view_of(t).row_stride;
    for (uint64_t r = 0; r < n_rows; r++)
        for (uint64_t c = 0; c < t->n_cols; c += MXFP4_ELEMS, src += 16) {
            *dst++ = scales->bytes[scale_index(t, scales, s->first + (row + r) * stride + c)];
            for (unsigned i = 0; i < 16; i++)
                *dst++ = (uint8_t)(pair_code(src, i) | pair_code(src, i + 16) << 4);
        }
}

static gguf_code decode(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                        uint64_t n_rows, const uint8_t *src, uint8_t *dst, gguf_error *err) {
    scale_rows scales = {0};
    gguf_code code = has_scales(s) ? read_scales(t, s, row, n_rows, &scales, err) : GGUF_OK;
    if (!code && t->coding == QUANT_CODING_MXFP4)
        repack_mxfp4(t, s, row, n_rows, &scales, src, dst);
    else if (!code)
        decode_fp8(t, s, row, n_rows, &scales, src, (float *)(void *)dst);
    free_scales(&scales);
    return code;
}

/* ---- wide numbers and integers ------------------------------------------------------------- */

static float number_at(uint32_t type, const uint8_t *src) {
    double wide;
    int64_t integer = 0;
    size_t size = quant_row_bytes(type, 1);
    if (type == GGUF_TYPE_F64) {
        memcpy(&wide, src, sizeof wide);
        return (float)wide;
    }
    for (size_t i = 0; i < size; i++) integer |= (int64_t)((uint64_t)src[i] << 8 * i);
    if (size < 8 && src[size - 1] & 0x80) integer -= (int64_t)1 << 8 * size;
    return (float)integer;
}

static void decode_numbers(const quant_plan_tensor *t, size_t n, const uint8_t *src, float *dst) {
    size_t size = quant_row_bytes(t->scaling.type, 1);
    for (size_t i = 0; i < n; i++) dst[i] = number_at(t->scaling.type, src + i * size);
}

/* ---- packed integers ---------------------------------------------------------------------- */

/* Decode the rectangle of the stored matrix that holds the rows, then pick the elements. */
static gguf_code read_affine(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                             uint64_t n_rows, float *dst, gguf_error *err) {
    quant_view v = view_of(t);
    uint64_t width = s->affine->n_cols, first = s->first + row * v.row_stride;
    uint64_t last = first + (n_rows - 1) * v.row_stride + (t->n_cols - 1) * v.col_stride;
    uint64_t r0 = first / width, c0 = first % width;
    uint64_t n_r = last / width + 1 - r0, n_c = last % width + 1 - c0;
    if (n_r == n_rows && n_c == t->n_cols && v.col_stride == 1)
        return quant_affine_read(s->affine, s->path, r0, n_r, c0, n_c, dst, err);
    float *whole = malloc(n_r * n_c * sizeof *whole);
    if (!whole) return gguf_fail_memory(err);
    gguf_code code = quant_affine_read(s->affine, s->path, r0, n_r, c0, n_c, whole, err);
    for (uint64_t r = 0; r < n_rows && !code; r++)
        for (uint64_t c = 0; c < t->n_cols; c++) {
            uint64_t elem = first + r * v.row_stride + c * v.col_stride;
            dst[r * t->n_cols + c] = whole[(elem / width - r0) * n_c + elem % width - c0];
        }
    free(whole);
    return code;
}

/* Rows of one matrix that stand together in its source. */
static gguf_code read_run(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                          uint64_t n_rows, uint8_t *dst, uint8_t *scratch, gguf_error *err) {
    if (t->coding == QUANT_CODING_PLAIN) return gather(t, s, row, n_rows, dst, scratch, err);
    if (t->coding == QUANT_CODING_AFFINE)
        return read_affine(t, s, row, n_rows, (float *)(void *)dst, err);
    gguf_code code = gather(t, s, row, n_rows, scratch, dst, err);
    if (!code && t->coding == QUANT_CODING_NUMBER)
        decode_numbers(t, n_rows * t->n_cols, scratch, (float *)(void *)dst);
    if (code || t->coding == QUANT_CODING_NUMBER) return code;
    return decode(t, s, row, n_rows, scratch, dst, err);
}

static gguf_code read_ordered(const quant_plan_tensor *t, const quant_source *s, uint64_t row,
                              uint64_t n_rows, uint8_t *dst, uint8_t *scratch, gguf_error *err) {
    size_t row_bytes = quant_row_bytes(t->source_type, t->n_cols);
    gguf_code code = GGUF_OK;
    for (uint64_t done = 0, n; done < n_rows && !code; done += n) {
        uint64_t from = quant_order_find(&t->row_order, row + done, &n);
        if (n > n_rows - done) n = n_rows - done;
        code = read_run(t, s, from, n, dst + done * row_bytes, scratch, err);
    }
    return code;
}

/* The rows that are stored, and zeros. */
static gguf_code read_padded(const quant_plan_tensor *t, uint64_t row, uint64_t n_rows,
                             uint8_t *dst, uint8_t *scratch, gguf_error *err) {
    size_t row_bytes = quant_row_bytes(t->source_type, t->n_cols);
    uint64_t left = row < t->n_stored_rows ? t->n_stored_rows - row : 0;
    uint64_t n = left < n_rows ? left : n_rows;
    memset(dst + n * row_bytes, 0, (n_rows - n) * row_bytes);
    return n ? read_run(t, &t->source, row, n, dst, scratch, err) : GGUF_OK;
}

gguf_code quant_source_read(const quant_plan_tensor *t, uint64_t row, uint64_t n_rows, uint8_t *dst,
                            uint8_t *scratch, gguf_error *err) {
    const quant_source *s = &t->source;
    if (t->coding == QUANT_CODING_PATCHES)
        return quant_patches_read(t->patches, t->n_cols, row, n_rows, (float *)(void *)dst, err);
    if (t->n_stored_rows) return read_padded(t, row, n_rows, dst, scratch, err);
    if (t->stack) {
        s = &t->stack[row / quant_rows_per_matrix(t)];
        row %= quant_rows_per_matrix(t);
    }
    return t->row_order.n_parts ? read_ordered(t, s, row, n_rows, dst, scratch, err)
                                : read_run(t, s, row, n_rows, dst, scratch, err);
}
