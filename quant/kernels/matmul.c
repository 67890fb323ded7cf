/* Products of weight rows with activation rows: loops around the kernels. A result's sum has one
 * order, however many rows and activations there are. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/numeric.h"

#include <string.h>

#define PIECE           (size_t)1024 /* columns unpacked at once; they stay in the nearest cache */
#define MIN_STRIP_ACTS  6            /* fewer are not worth a strip */
#define MIN_UNPACK_ACTS 24           /* as often repacked rows may be unpacked on the way */
#define GROUP           16           /* strips at once, which stay in the second cache */
#define GROUP_ROWS      (size_t)(GROUP * QUANT_STRIP_ROWS)
#define LINE            64          /* bytes that memory gives at once */
#define ROWS_AHEAD      4096        /* bytes from a row to what is asked for meanwhile */
#define BLOCK_ACTS      128         /* rows of f32 activations whose pieces fit the second cache */
#define FLOAT_PIECE     (size_t)128 /* columns of 16 rows that stay there as floats */
/* Floats from row to row of a panel: rows of a power of two would share cache sets. */
#define PANEL_ROW (PIECE + 16)

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

typedef struct product {
    const quant_kernels *kernels;
    uint32_t type;
    quant_act act;
    bool repacked;
    const uint8_t *weight, *acts;
    size_t n_rows, n_cols, n_acts, row_bytes, act_bytes;
    float *out;
    size_t out_stride;
} product;

/* ---- 8-bit activations ------------------------------------------------------------------- */

/* Rows one after the other, as memory likes it; a few activations stay in the
 * nearest cache while they pass. */
static void multiply_rows(const product *p) {
    for (size_t t = 0; t < p->n_acts; t += QUANT_DOT_ACTS) {
        size_t n = min_size(QUANT_DOT_ACTS, p->n_acts - t);
        for (size_t r = 0; r < p->n_rows; r++) {
            float part[QUANT_DOT_ACTS];
            const uint8_t *row = p->weight + r * p->row_bytes;
            for (size_t i = 0; i < p->row_bytes; i += LINE)
                __builtin_prefetch(row + ROWS_AHEAD + i);
            p->kernels->dot[p->type](row, p->n_cols, p->acts + t * p->act_bytes, p->act_bytes, n,
                                     part);
            for (size_t i = 0; i < n; i++) p->out[(t + i) * p->out_stride + r] = part[i];
        }
    }
}

static bool is_float(uint32_t type) {
    return type == GGUF_TYPE_F32 || type == GGUF_TYPE_F16 || type == GGUF_TYPE_BF16;
}

/* The type that a strip has: that of F32 has 8-bit codes, which other floats take too. */
static uint32_t strip_type(const product *p) {
    return p->act == QUANT_ACT_Q8 && is_float(p->type) ? GGUF_TYPE_F32 : p->type;
}

/* Columns c .. c + n_cols of rows r .. r + n_rows, by way of f32. */
static void make_strip_of_floats(const product *p, size_t r, size_t n_rows, size_t c, size_t n_cols,
                                 quant_strip *strip) {
    float rows[QUANT_STRIP_ROWS][FLOAT_PIECE];
    for (size_t at = 0; at < n_cols; at += FLOAT_PIECE) {
        size_t n = min_size(FLOAT_PIECE, n_cols - at);
        const uint8_t *from = p->weight + r * p->row_bytes + quant_row_bytes(p->type, c + at);
        for (size_t i = 0; i < n_rows; i++)
            p->kernels->decode[p->type](from + i * p->row_bytes, n, rows[i]);
        p->kernels->strip[GGUF_TYPE_F32](rows, sizeof rows[0], n_rows, n,
                                         (quant_strip *)&strip->plains[at / QUANT_BLOCK]);
    }
}

static void make_strip(const product *p, size_t r, size_t n_rows, size_t c, size_t n_cols,
                       quant_strip *strip) {
    const uint8_t *at = p->weight + r * p->row_bytes + quant_row_bytes(p->type, c);
    if (strip_type(p) == p->type)
        p->kernels->strip[p->type](at, p->row_bytes, n_rows, n_cols, strip);
    else
        make_strip_of_floats(p, r, n_rows, c, n_cols, strip);
}

/* A piece of a group of rows. */
typedef struct piece {
    size_t r, n_rows, n_strips, c, n_cols;
    quant_strip *strips; /* or NULL: repacked rows as they are */
} piece;

/* Bytes of some columns of a row. */
static size_t bytes_of(const product *p, size_t n_cols) {
    return p->repacked ? quant_repacked_row_bytes(p->type, n_cols)
                       : quant_row_bytes(p->type, n_cols);
}

/* Strip i of repacked rows. */
static const uint8_t *packed_at(const product *p, const piece *at, size_t i) {
    return p->weight + (at->r + i * QUANT_STRIP_ROWS) * p->row_bytes +
           QUANT_STRIP_ROWS * bytes_of(p, at->c);
}

static void call_kernel(const product *p, const piece *at, size_t i, const uint8_t *acts,
                        size_t n_acts, float *out, size_t stride) {
    bool add = at->c > 0;
    if (!at->strips)
        p->kernels->repacked[p->type](packed_at(p, at, i), at->n_cols, acts, p->act_bytes, n_acts,
                                      out, stride, add);
    else
        p->kernels->strip_mul[strip_type(p)](&at->strips[i], at->n_cols, acts, p->act_bytes, n_acts,
                                             out, stride, add);
}

/* Strip i of a piece times a few activations. */
static void multiply_strip(const product *p, const piece *at, size_t i, size_t t) {
    size_t n = min_size(QUANT_STRIP_ACTS, p->n_acts - t), r = i * QUANT_STRIP_ROWS;
    size_t n_rows = min_size(QUANT_STRIP_ROWS, at->n_rows - r);
    float *out = p->out + t * p->out_stride + at->r + r;
    const uint8_t *acts = p->acts + t * p->act_bytes + quant_act_row_bytes(p->act, at->c);
    for (size_t k = 0; k < n; k++) __builtin_prefetch(out + k * p->out_stride, 1);
    if (n_rows == QUANT_STRIP_ROWS) {
        call_kernel(p, at, i, acts, n, out, p->out_stride);
        return;
    }
    float tile[QUANT_STRIP_ACTS * QUANT_STRIP_ROWS] = {0.0f};
    for (size_t k = 0; k < n && at->c > 0; k++)
        memcpy(tile + k * QUANT_STRIP_ROWS, out + k * p->out_stride, n_rows * sizeof *out);
    call_kernel(p, at, i, acts, n, tile, QUANT_STRIP_ROWS);
    for (size_t k = 0; k < n; k++)
        memcpy(out + k * p->out_stride, tile + k * QUANT_STRIP_ROWS, n_rows * sizeof *out);
}

/* Parts of rows that are needed soon. Memory is far away and does not foresee pieces. */
typedef struct ahead {
    const uint8_t *row;
    size_t row_bytes, n_rows, n_lines; /* of each row */
    size_t line, step;
} ahead;

/* n_bytes of each row, in n_steps. */
static ahead look_ahead(const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t n_bytes,
                        size_t n_steps) {
    ahead a = {.row = rows, .row_bytes = row_bytes, .n_rows = n_rows};
    a.n_lines = (n_bytes + LINE - 1) / LINE;
    a.step = (n_rows * a.n_lines + n_steps - 1) / n_steps;
    return a;
}

static void prefetch_step(ahead *a) {
    for (size_t i = 0; i < a->step && a->n_rows > 0; i++) {
        __builtin_prefetch(a->row + a->line * LINE);
        if (++a->line < a->n_lines) continue;
        a->line = 0;
        a->row += a->row_bytes;
        a->n_rows--;
    }
}

static ahead next_acts(const product *p, const piece *at, size_t t) {
    if (t >= p->n_acts) return (ahead){0};
    return look_ahead(p->acts + t * p->act_bytes + quant_act_row_bytes(p->act, at->c), p->act_bytes,
                      min_size(QUANT_STRIP_ACTS, p->n_acts - t),
                      quant_act_row_bytes(p->act, at->n_cols), at->n_strips);
}

/* The next piece of these rows, or the first of the next ones. With few activations rows are read
 * one after the other, which memory foresees. */
static ahead next_weights(const product *p, const piece *at) {
    if (p->n_acts <= QUANT_STRIP_ACTS) return (ahead){0};
    bool last = at->c + at->n_cols == p->n_cols;
    size_t c = last ? 0 : at->c + at->n_cols, r = last ? at->r + at->n_rows : at->r;
    size_t n_steps = (p->n_acts + QUANT_STRIP_ACTS - 1) / QUANT_STRIP_ACTS * at->n_strips;
    size_t n_rows = min_size(at->n_rows, p->n_rows - r);
    size_t side_by_side = p->repacked ? QUANT_STRIP_ROWS : 1;
    return look_ahead(p->weight + r * p->row_bytes + side_by_side * bytes_of(p, c),
                      side_by_side * p->row_bytes, n_rows / side_by_side,
                      side_by_side * bytes_of(p, min_size(PIECE, p->n_cols - c)), n_steps);
}

/* A few activations stay in the nearest cache while the strips, in the one behind it, pass. */
static void multiply_strips_of(const product *p, const piece *at) {
    ahead weights = next_weights(p, at);
    for (size_t t = 0; t < p->n_acts; t += QUANT_STRIP_ACTS) {
        ahead acts = next_acts(p, at, t + QUANT_STRIP_ACTS);
        for (size_t i = 0; i < at->n_strips; i++) {
            prefetch_step(&weights);
            prefetch_step(&acts);
            multiply_strip(p, at, i, t);
        }
    }
}

static void make_strips(const product *p, const piece *at) {
    for (size_t i = 0; i < at->n_strips; i++) {
        size_t r = i * QUANT_STRIP_ROWS;
        if (p->repacked)
            p->kernels->unpack[p->type](packed_at(p, at, i), at->n_cols, &at->strips[i]);
        else
            make_strip(p, at->r + r, min_size(QUANT_STRIP_ROWS, at->n_rows - r), at->c, at->n_cols,
                       &at->strips[i]);
    }
}

/* Rows r .. r + n_rows, at most GROUP strips of them. */
static void multiply_group(const product *p, size_t r, size_t n_rows, quant_strip *strips) {
    piece at = {.r = r, .n_rows = n_rows, .strips = strips};
    at.n_strips = (n_rows + QUANT_STRIP_ROWS - 1) / QUANT_STRIP_ROWS;
    for (; at.c < p->n_cols; at.c += PIECE) {
        at.n_cols = min_size(PIECE, p->n_cols - at.c);
        if (strips) make_strips(p, &at);
        multiply_strips_of(p, &at);
    }
}

/* In groups of about the same size: activations pass through the cache for each. */
static size_t rows_of_group(const product *p) {
    size_t n_groups = (p->n_rows + GROUP_ROWS - 1) / GROUP_ROWS;
    size_t n_strips = (p->n_rows + QUANT_STRIP_ROWS - 1) / QUANT_STRIP_ROWS;
    return (n_strips + n_groups - 1) / n_groups * QUANT_STRIP_ROWS;
}

_Static_assert(GROUP * sizeof(quant_strip) <= QUANT_MATMUL_SCRATCH_BYTES, "scratch holds a group");

static void multiply_strips(const product *p, quant_strip *strips) {
    size_t step = rows_of_group(p);
    for (size_t r = 0; r < p->n_rows; r += step)
        multiply_group(p, r, min_size(step, p->n_rows - r), strips);
}

/* Few activations wait for memory, which likes whole rows; for many, unpacking once pays. */
static void multiply_repacked(const product *p, quant_strip *strips) {
    if (p->n_acts < MIN_UNPACK_ACTS || !p->kernels->unpack[p->type]) strips = NULL;
    size_t step = p->n_acts <= QUANT_STRIP_ACTS ? QUANT_STRIP_ROWS : rows_of_group(p);
    for (size_t r = 0; r < p->n_rows; r += step)
        multiply_group(p, r, min_size(step, p->n_rows - r), strips);
}

/* ---- f32 activations --------------------------------------------------------------------- */

/* Columns c .. c + m->n_cols of a few rows as a kernel takes them. Few activations wait for memory
 * and take float weights as they are; for many, decoding them once pays. */
static quant_floats_fn *load_panel(const product *p, size_t r, size_t c, float *panel,
                                   quant_floats *m) {
    const uint8_t *row = p->weight + r * p->row_bytes;
    bool direct = p->type == GGUF_TYPE_F32 || p->n_acts < QUANT_FLOAT_ACTS;
    if (direct && p->kernels->floats[p->type]) {
        m->rows = row + quant_row_bytes(p->type, c);
        m->row_bytes = p->row_bytes;
        return p->kernels->floats[p->type];
    }
    for (size_t i = 0; i < m->n_rows; i++)
        quant_decode_part(p->type, row + i * p->row_bytes, p->n_cols, c, m->n_cols,
                          panel + i * PANEL_ROW);
    m->rows = (const uint8_t *)panel;
    m->row_bytes = PANEL_ROW * sizeof *panel;
    return p->kernels->floats[GGUF_TYPE_F32];
}

/* A piece of a few rows times activations t .. end. */
static void multiply_piece(const product *p, size_t r, size_t n_rows, size_t c, size_t t,
                           size_t end, float *panel) {
    quant_floats m = {.act_bytes = p->act_bytes, .out_stride = p->out_stride, .add = c > 0};
    m.n_rows = n_rows;
    m.n_cols = min_size(PIECE, p->n_cols - c);
    m.ahead = p->weight + (r + n_rows) * p->row_bytes + n_rows * quant_row_bytes(p->type, c);
    quant_floats_fn *kernel = load_panel(p, r, c, panel, &m);
    for (; t < end; t += QUANT_FLOAT_ACTS) {
        m.acts = p->acts + t * p->act_bytes + c * sizeof(float);
        m.n_acts = min_size(QUANT_FLOAT_ACTS, end - t);
        m.out = p->out + t * p->out_stride + r;
        kernel(&m);
    }
}

static void multiply_floats(const product *p) {
    size_t n_rows = p->n_rows;
    float panel[QUANT_FLOAT_ROWS * PANEL_ROW];
    bool few = p->n_acts < QUANT_FLOAT_ACTS; /* they wait for memory, which likes whole rows */
    for (size_t r = 0; r < n_rows && few; r += QUANT_FLOAT_ROWS)
        for (size_t c = 0; c < p->n_cols; c += PIECE)
            multiply_piece(p, r, min_size(QUANT_FLOAT_ROWS, n_rows - r), c, 0, p->n_acts, panel);
    for (size_t t = 0; t < p->n_acts && !few; t += BLOCK_ACTS)
        for (size_t c = 0; c < p->n_cols; c += PIECE)
            for (size_t r = 0; r < n_rows; r += QUANT_FLOAT_ROWS)
                multiply_piece(p, r, min_size(QUANT_FLOAT_ROWS, n_rows - r), c, t,
                               min_size(p->n_acts, t + BLOCK_ACTS), panel);
}

/* ---- either ------------------------------------------------------------------------------ */

bool quant_can_multiply(uint32_t type, quant_act act, size_t n_cols) {
    const quant_kernels *k = quant_kernels_active();
    if (!quant_can_decode(type)) return false;
    if (act == QUANT_ACT_NONE || act == quant_act_of(type)) return true;
    if (act == QUANT_ACT_BF16) return type == GGUF_TYPE_BF16 && k->strip[type];
    return act == QUANT_ACT_Q8 && is_float(type) && n_cols % QUANT_BLOCK == 0 &&
           k->strip[GGUF_TYPE_F32];
}

/* An infinite or NaN factor makes each term of its block so, a zero included, and no sum makes it
 * finite again. */
bool quant_product_shows_nonfinite(uint32_t type, quant_act act) {
    if (is_float(type)) return act != QUANT_ACT_Q8;
    return !quant_traits_of(type)->has_e8m0;
}

static product product_of(uint32_t type, quant_act act, const void *weight, size_t n_rows,
                          size_t n_cols, const void *acts, size_t n_acts, float *out,
                          size_t out_stride) {
    product p = {.kernels = quant_kernels_active(), .type = type, .act = act, .weight = weight};
    p.acts = acts;
    p.n_rows = n_rows;
    p.n_cols = n_cols;
    p.n_acts = n_acts;
    p.row_bytes = quant_row_bytes(type, n_cols);
    p.act_bytes = quant_act_row_bytes(act, n_cols);
    p.out = out;
    p.out_stride = out_stride;
    return p;
}

void quant_matmul(uint32_t type, quant_act act, const void *weight, size_t n_rows, size_t n_cols,
                  const void *acts, size_t n_acts, float *out, size_t out_stride, void *scratch) {
    product p = product_of(type, act, weight, n_rows, n_cols, acts, n_acts, out, out_stride);
    if (act == QUANT_ACT_NONE)
        multiply_floats(&p);
    else if (!p.kernels->dot[type] || (p.kernels->strip[type] && n_acts >= MIN_STRIP_ACTS))
        multiply_strips(&p, scratch);
    else
        multiply_rows(&p);
}

void quant_matmul_repacked(uint32_t type, const void *repacked, size_t n_rows, size_t n_cols,
                           const void *acts, size_t n_acts, float *out, size_t out_stride,
                           void *scratch) {
    product p = product_of(type, quant_act_of(type), repacked, n_rows, n_cols, acts, n_acts, out,
                           out_stride);
    p.repacked = true;
    p.row_bytes = quant_repacked_row_bytes(type, n_cols);
    multiply_repacked(&p, scratch);
}

void quant_act_encode(quant_act act, const float *src, size_t n_cols, void *dst) {
    const quant_kernels *k = quant_kernels_active();
    if (act == QUANT_ACT_BF16)
        k->encode[GGUF_TYPE_BF16](src, n_cols, NULL, QUANT_EFFORT_NORMAL, dst);
    else
        k->act[act](src, n_cols, dst);
}

/* A block of 256 columns: src - row. */
static void rest_of(quant_act act, const float *src, size_t n, const void *row, float *rest) {
    const block_act_q8 *plain = row;
    const block_act_q8_k *super = row;
    for (size_t i = 0; i < n; i++)
        rest[i] = act == QUANT_ACT_Q8
                      ? src[i] - plain->d[i / QUANT_BLOCK] *
                                     (float)plain->qs[i / QUANT_BLOCK][i % QUANT_BLOCK]
                      : src[i] - super->d * (float)super->qs[i];
}

void quant_act_encode_rest(quant_act act, const float *src, size_t n_cols, const void *row,
                           void *dst) {
    size_t block_bytes = quant_act_row_bytes(act, QUANT_SUPER);
    for (size_t c = 0; c < n_cols; c += QUANT_SUPER) {
        float rest[QUANT_SUPER];
        size_t n = min_size(QUANT_SUPER, n_cols - c), at = c / QUANT_SUPER * block_bytes;
        rest_of(act, src + c, n, (const uint8_t *)row + at, rest);
        quant_act_encode(act, rest, n, (uint8_t *)dst + at);
    }
}
