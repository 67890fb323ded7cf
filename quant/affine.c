/* Packed integers with scales and zeros. Only the units that a part of the matrix needs are read:
 * formats that pack along a column keep a row's codes far apart. */
#include "quant/affine.h"

#include "libgguf/map.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ------------------------------------------------------------------------------ */

gguf_code quant_bytes_read(const quant_bytes *b, const char *path, uint64_t from, uint64_t n,
                           void *dst, gguf_error *err) {
    if (!b->memory)
        return gguf_read_at(b->fd, b->path ? b->path : path, dst, n, b->off + from, err);
    memcpy(dst, (const uint8_t *)b->memory + from, n);
    return GGUF_OK;
}

/* Rows and columns of a grid, first and number. */
typedef struct part {
    uint64_t outer, n_outer, inner, n_inner;
} part;

static gguf_code read_grid(const quant_grid *g, size_t unit, const char *path, const part *p,
                           uint8_t **out, gguf_error *err) {
    size_t row = (size_t)p->n_inner * unit;
    uint8_t *dst = *out = malloc((size_t)p->n_outer * row + 1);
    gguf_code code = GGUF_OK;
    if (!dst) return gguf_fail_memory(err);
    if (p->n_inner == g->n_inner)
        return quant_bytes_read(&g->bytes, path, p->outer * row, p->n_outer * row, dst, err);
    for (uint64_t i = 0; i < p->n_outer && !code; i++, dst += row)
        code = quant_bytes_read(&g->bytes, path, ((p->outer + i) * g->n_inner + p->inner) * unit,
                                row, dst, err);
    return code;
}

/* ---- packed codes ------------------------------------------------------------------------ */

/* A part of the codes in memory: `first` and `other` say where it starts along the stream, in
 * units, and across it. */
typedef struct window {
    uint8_t *units;
    uint64_t first, n_units, other, n_other;
} window;

static gguf_code read_codes(const quant_packed *p, const char *path, uint64_t row, uint64_t n_rows,
                            uint64_t col, uint64_t n_cols, window *w, gguf_error *err) {
    uint64_t unit_bits = 8 * p->unit_bytes;
    uint64_t from = p->along_rows ? row : col, n = p->along_rows ? n_rows : n_cols;
    w->first = from * p->n_bits / unit_bits;
    w->n_units = ((from + n) * p->n_bits - 1) / unit_bits + 1 - w->first;
    w->other = p->along_rows ? col : row;
    w->n_other = p->along_rows ? n_cols : n_rows;
    part rect = {w->first, w->n_units, w->other, w->n_other};
    if (p->stream_is_inner) rect = (part){w->other, w->n_other, w->first, w->n_units};
    return read_grid(&p->grid, p->unit_bytes, path, &rect, &w->units, err);
}

static uint32_t unit_at(const quant_packed *p, const window *w, uint64_t unit, uint64_t other) {
    uint64_t at = p->stream_is_inner ? other * w->n_units + unit : unit * w->n_other + other;
    const uint8_t *b = w->units + at * p->unit_bytes;
    if (p->unit_bytes == 1) return b[0];
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static unsigned code_at(const quant_packed *p, const window *w, uint64_t row, uint64_t col) {
    static const uint8_t place[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* inverse of 0 2 4 6 1 3 5 7 */
    uint64_t i = p->along_rows ? row : col, other = (p->along_rows ? col : row) - w->other;
    if (p->pairs_interleaved) i = i / 8 * 8 + place[i % 8];
    unsigned unit_bits = 8 * p->unit_bytes, shift = (unsigned)(i * p->n_bits % unit_bits);
    uint64_t unit = i * p->n_bits / unit_bits - w->first;
    uint64_t bits = unit_at(p, w, unit, other) >> shift;
    if (shift + p->n_bits > unit_bits)
        bits |= (uint64_t)unit_at(p, w, unit + 1, other) << (unit_bits - shift);
    return (unsigned)(bits & ((1U << p->n_bits) - 1)) ^ p->flip;
}

static uint64_t units_of(const quant_packed *p, uint64_t n) {
    return (n * p->n_bits + 8 * p->unit_bytes - 1) / (8 * p->unit_bytes);
}

static bool is_product(uint64_t a, uint64_t b, uint64_t c, uint64_t product) {
    uint64_t n;
    return !__builtin_mul_overflow(a, b, &n) && !__builtin_mul_overflow(n, c, &n) && n == product;
}

static bool packed_fits(const quant_packed *p, uint64_t n_rows, uint64_t n_cols) {
    uint64_t stream = p->along_rows ? n_rows : n_cols, other = p->along_rows ? n_cols : n_rows;
    if (p->n_bits < 1 || p->n_bits > 8 || (p->unit_bytes != 1 && p->unit_bytes != 4)) return false;
    if (p->pairs_interleaved && (p->n_bits != 4 || p->unit_bytes != 4)) return false;
    if (stream > UINT32_MAX || other > UINT32_MAX) return false;
    uint64_t n_units = units_of(p, stream);
    if (p->grid.n_inner != (p->stream_is_inner ? n_units : other)) return false;
    return is_product(n_units, other, p->unit_bytes, p->grid.bytes.n_bytes);
}

/* ---- scales and groups ------------------------------------------------------------------- */

typedef struct scaling {
    float *scales; /* [n_rows][n_groups] or [n_groups][n_rows] of the part */
    window zeros;
    uint32_t *groups; /* [n_cols] of the part, or NULL */
    uint64_t first_group, n_groups;
} scaling;

static gguf_code read_groups(const quant_affine *a, const char *path, uint64_t col, uint64_t n_cols,
                             scaling *s, gguf_error *err) {
    s->first_group = a->group_of.n_bytes ? 0 : col / a->group_cols;
    s->n_groups =
        a->group_of.n_bytes ? a->n_groups : (col + n_cols - 1) / a->group_cols + 1 - s->first_group;
    if (!a->group_of.n_bytes) return GGUF_OK;
    s->groups = malloc(n_cols * sizeof *s->groups);
    if (!s->groups) return gguf_fail_memory(err);
    gguf_code code = quant_bytes_read(&a->group_of, path, col * 4, n_cols * 4, s->groups, err);
    for (uint64_t i = 0; i < n_cols && !code; i++)
        if (s->groups[i] >= a->n_groups)
            code = gguf_fail(err, GGUF_E_FORMAT, path, (int64_t)a->group_of.off,
                             "column %" PRIu64 " belongs to group %" PRIu32 " of %" PRIu64, col + i,
                             s->groups[i], a->n_groups);
    return code;
}

static gguf_code read_scales(const quant_affine *a, const char *path, uint64_t row, uint64_t n_rows,
                             scaling *s, gguf_error *err) {
    part rect = {s->first_group, s->n_groups, row, n_rows};
    size_t unit = (size_t)quant_row_bytes(a->scale_type, 1);
    uint8_t *raw = NULL;
    if (a->groups_inner) rect = (part){row, n_rows, s->first_group, s->n_groups};
    if (a->one_scale) rect = (part){0, 1, 0, 1};
    uint64_t n = rect.n_outer * rect.n_inner;
    gguf_code code = read_grid(&a->scales, unit, path, &rect, &raw, err);
    s->scales = malloc(n * sizeof *s->scales + 1);
    if (!code && !s->scales) code = gguf_fail_memory(err);
    if (!code) code = quant_decode(a->scale_type, raw, 1, n, s->scales, err);
    free(raw);
    return code;
}

static float scale_at(const quant_affine *a, const scaling *s, uint64_t r, uint64_t n_rows,
                      uint64_t group) {
    uint64_t g = group - s->first_group;
    if (a->one_scale) return s->scales[0];
    return s->scales[a->groups_inner ? r * s->n_groups + g : g * n_rows + r];
}

/* ---- decoding ---------------------------------------------------------------------------- */

static int32_t zero_at(const quant_affine *a, const scaling *s, uint64_t row, uint64_t group) {
    if (!a->zeros.grid.bytes.n_bytes) return (int32_t)a->zero;
    return (int32_t)(code_at(&a->zeros, &s->zeros, row, group) + a->zero);
}

static void decode_row(const quant_affine *a, const window *codes, const scaling *s, uint64_t row,
                       uint64_t first_row, uint64_t n_rows, uint64_t col, uint64_t n_cols,
                       float *dst) {
    uint64_t last = UINT64_MAX;
    float scale = 0;
    int32_t zero = 0;
    for (uint64_t c = 0; c < n_cols; c++) {
        uint64_t group = s->groups ? s->groups[c] : (col + c) / a->group_cols;
        if (group != last) {
            scale = scale_at(a, s, row - first_row, n_rows, group);
            zero = zero_at(a, s, row, group);
            last = group;
        }
        dst[c] = (float)((int32_t)code_at(&a->codes, codes, row, col + c) - zero) * scale;
    }
}

/* Interleaved codes lie together in groups of eight. */
static void widen(const quant_packed *p, uint64_t limit, uint64_t *first, uint64_t *n) {
    uint64_t end = *first + *n;
    if (!p->pairs_interleaved) return;
    end = (end + 7) / 8 * 8;
    *first = *first / 8 * 8;
    *n = (end < limit ? end : limit) - *first;
}

gguf_code quant_affine_read(const quant_affine *a, const char *path, uint64_t row, uint64_t n_rows,
                            uint64_t col, uint64_t n_cols, float *dst, gguf_error *err) {
    window codes = {0};
    scaling s = {0};
    uint64_t wide = row, n_wide = n_rows;
    widen(&a->codes, a->n_rows, &wide, &n_wide);
    gguf_code code = read_groups(a, path, col, n_cols, &s, err);
    if (!code) code = read_codes(&a->codes, path, wide, n_wide, col, n_cols, &codes, err);
    if (!code) code = read_scales(a, path, row, n_rows, &s, err);
    if (!code && a->zeros.grid.bytes.n_bytes)
        code = read_codes(&a->zeros, path, wide, n_wide, s.first_group, s.n_groups, &s.zeros, err);
    for (uint64_t r = 0; r < n_rows && !code; r++)
        decode_row(a, &codes, &s, row + r, row, n_rows, col, n_cols, dst + r * n_cols);
    free(codes.units);
    free(s.zeros.units);
    free(s.scales);
    free(s.groups);
    return code;
}

gguf_code quant_affine_check(const quant_affine *a, const char *name, const char *path,
                             gguf_error *err) {
    uint64_t outer = a->one_scale ? 1 : a->n_rows, inner = a->one_scale ? 1 : a->n_groups;
    size_t unit = (size_t)quant_row_bytes(a->scale_type, 1);
    bool groups = a->group_cols && a->n_groups && a->n_groups <= UINT32_MAX &&
                  (a->group_of.n_bytes ? a->group_of.n_bytes == 4 * a->n_cols
                                       : (a->n_cols - 1) / a->group_cols < a->n_groups);
    bool fits = a->n_rows && a->n_cols && groups && packed_fits(&a->codes, a->n_rows, a->n_cols) &&
                is_product(outer, inner, unit, a->scales.bytes.n_bytes);
    if (fits && a->zeros.grid.bytes.n_bytes) fits = packed_fits(&a->zeros, a->n_rows, a->n_groups);
    if (fits) return GGUF_OK;
    return gguf_fail(err, GGUF_E_SHAPE, path, (int64_t)a->codes.grid.bytes.off,
                     "the packed weights, scales and zeros of tensor '%s' do not fit together",
                     name);
}
