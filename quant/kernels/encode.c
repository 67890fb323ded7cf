/* Public encode and decode: argument checks and loops over rows. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

static gguf_code check_shape(uint32_t type, bool supported, const char *verb, size_t n_cols,
                             gguf_error *err) {
    if (!supported)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET, "cannot %s type %s (%u)",
                         verb, gguf_type_name(type), (unsigned)type);
    if (n_cols > 0 && quant_row_bytes(type, n_cols) == 0)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "%zu columns are not a whole number of %s blocks", n_cols,
                         gguf_type_name(type));
    return GGUF_OK;
}

static gguf_code check_importance(const quant_kernels *k, const float *imp, size_t n_cols,
                                  gguf_error *err) {
    size_t c = imp ? k->beyond(imp, n_cols, FLT_MAX) : n_cols;
    if (c == n_cols) return GGUF_OK;
    return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                     "the importance of column %zu is not finite", c);
}

static bool all_zero(const float *imp, size_t n_cols) {
    for (size_t c = 0; c < n_cols; c++)
        if (imp[c] > 0.0f) return false;
    return true;
}

static gguf_code fail_value(uint32_t type, const float *row, size_t r, size_t c, gguf_error *err) {
    return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                     "row %zu, column %zu: %g cannot be stored as %s", r, c, (double)row[c],
                     gguf_type_name(type));
}

/* Where a step is as large as most numbers, those that are larger carry the product: the types with
 * few bits count them more than the importance says. */
static void encode_row(const quant_kernels *k, uint32_t type, quant_effort effort, const float *row,
                       size_t n_cols, const float *imp, uint8_t *dst) {
    float spread = quant_traits_of(type)->spread, weights[QUANT_SUPER];
    size_t block_bytes = gguf_type_layout_of(type)->block_bytes;
    if (!(spread > 0.0f)) {
        k->encode[type](row, n_cols, imp, effort, dst);
        return;
    }
    for (size_t c = 0; c < n_cols; c += QUANT_SUPER, dst += block_bytes) {
        k->weigh(row + c, imp ? imp + c : NULL, spread, weights);
        k->encode[type](row + c, QUANT_SUPER, weights, effort, dst);
    }
}

gguf_code quant_encode_effort(uint32_t type, quant_effort effort, const float *src, size_t n_rows,
                              size_t n_cols, const float *imp, void *dst, gguf_error *err) {
    const quant_kernels *k = quant_kernels_active();
    gguf_code code = check_shape(type, quant_can_encode(type), "encode", n_cols, err);
    if (code == GGUF_OK) code = check_importance(k, imp, n_cols, err);
    if (code != GGUF_OK) return code;
    if (imp && all_zero(imp, n_cols)) imp = NULL;
    size_t row_bytes = quant_row_bytes(type, n_cols);
    float max_abs = quant_traits_of(type)->max_abs;
    for (size_t r = 0; r < n_rows; r++) {
        const float *row = src + r * n_cols;
        size_t c = k->beyond(row, n_cols, max_abs);
        if (c < n_cols) return fail_value(type, row, r, c, err);
        encode_row(k, type, effort, row, n_cols, imp, (uint8_t *)dst + r * row_bytes);
    }
    return GGUF_OK;
}

gguf_code quant_encode(uint32_t type, const float *src, size_t n_rows, size_t n_cols,
                       const float *imp, void *dst, gguf_error *err) {
    return quant_encode_effort(type, QUANT_EFFORT_NORMAL, src, n_rows, n_cols, imp, dst, err);
}

/* Columns first .. first + n of a row with a head: that and their blocks, put together. */
static void decode_headed(const gguf_type_layout *layout, const uint8_t *row, size_t first,
                          size_t n, float *dst) {
    enum { STEP = 4 * QUANT_SUPER };
    uint8_t part[STEP + STEP / 2];
    quant_decode_fn *decode = quant_kernels_active()->decode[layout->type];
    const uint8_t *blocks = row + layout->head_bytes;
    memcpy(part, row, layout->head_bytes);
    for (size_t c = first, end = first + n, now; c < end; c += now, dst += now) {
        now = end - c < STEP ? end - c : STEP;
        memcpy(part + layout->head_bytes, blocks + c / layout->block_elems * layout->block_bytes,
               now / layout->block_elems * layout->block_bytes);
        decode(part, now, dst);
    }
}

void quant_decode_part(uint32_t type, const void *src, size_t n_cols, size_t first, size_t n,
                       float *dst) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    const uint8_t *rows = src;
    if (!layout->head_bytes) {
        quant_kernels_active()->decode[type](
            rows + first / layout->block_elems * layout->block_bytes, n, dst);
        return;
    }
    size_t row_bytes = quant_row_bytes(type, n_cols);
    for (size_t now; n > 0; first += now, n -= now, dst += now) {
        size_t c = first % n_cols;
        now = n_cols - c < n ? n_cols - c : n;
        decode_headed(layout, rows + first / n_cols * row_bytes, c, now, dst);
    }
}

gguf_code quant_decode(uint32_t type, const void *src, size_t n_rows, size_t n_cols, float *dst,
                       gguf_error *err) {
    gguf_code code = check_shape(type, quant_can_decode(type), "decode", n_cols, err);
    if (code != GGUF_OK) return code;
    size_t row_bytes = quant_row_bytes(type, n_cols);
    quant_decode_fn *decode = quant_kernels_active()->decode[type];
    for (size_t r = 0; r < n_rows; r++)
        decode((const uint8_t *)src + r * row_bytes, n_cols, dst + r * n_cols);
    return GGUF_OK;
}
