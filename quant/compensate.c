/* Panels of rows through feedback and descent. Between blocks of columns everything is a product of
 * matrices (OpenBLAS); within a block the kernels of panel.h do it column by column. */
#include "quant/compensate.h"

#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/lattice.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS     QUANT_PANEL
#define COLS     QUANT_SUPER /* of a block of columns */
#define MIN_SUB  16
#define MAX_SUBS (COLS / MIN_SUB)

/* Arrays over the columns of a panel; [n][ROWS] unless said. */
typedef struct panel {
    uint32_t type;
    const quant_lattice *lattice;
    const quant_hessian *hessian;
    size_t n, n_rows; /* columns; rows that are real, at most ROWS */
    int sub;
    float *w0, *w, *y, *v, *r;
    float *step, *off, *s, *m, *d, *dmin; /* [n / sub][ROWS] */
    float *e;                             /* [COLS][ROWS] */
    float *row, *imp;                     /* [COLS] */
    uint8_t *blocks;                      /* COLS columns of one row, encoded */
} panel;

bool quant_can_compensate(uint32_t type, size_t n_cols) {
    if (type < QUANT_N_TYPES && quant_kernels_active()->words[type])
        return n_cols && n_cols % COLS == 0;
    const quant_lattice *lattice = quant_lattice_of(type);
    return lattice && n_cols && n_cols % (size_t)lattice->n_elems == 0 &&
           quant_kernels_active()->encode[type];
}

static size_t n_sub_floats(size_t n_cols) {
    return (n_cols + MIN_SUB - 1) / MIN_SUB * ROWS;
}

size_t quant_compensate_bytes(size_t n_cols) {
    return sizeof(float) * (5 * n_cols * ROWS + 6 * n_sub_floats(n_cols) + COLS * ROWS + 3 * COLS);
}

static float *take(float **at, size_t n) {
    float *p = *at;
    *at += n;
    return p;
}

static void place(panel *p, float *at) {
    float **arrays[] = {&p->w0, &p->w, &p->y, &p->v, &p->r};
    float **sub_arrays[] = {&p->step, &p->off, &p->s, &p->m, &p->d, &p->dmin};
    for (size_t i = 0; i < 5; i++) *arrays[i] = take(&at, p->n * ROWS);
    for (size_t i = 0; i < 6; i++) *sub_arrays[i] = take(&at, n_sub_floats(p->n));
    p->e = take(&at, COLS * ROWS);
    p->row = take(&at, COLS);
    p->imp = take(&at, COLS);
    p->blocks = (uint8_t *)take(&at, COLS);
}

/* Rows beyond the last real one are zeros. */
static void load(panel *p, const float *src) {
    for (size_t c = 0; c < p->n; c++)
        for (size_t r = 0; r < ROWS; r++)
            p->w0[c * ROWS + r] = r < p->n_rows ? src[r * p->n + c] : 0.0f;
    memcpy(p->w, p->w0, p->n * ROWS * sizeof *p->w);
}

static size_t block_cols(const panel *p, size_t from) {
    return p->n - from < COLS ? p->n - from : COLS;
}

static quant_panel view(const panel *p, size_t from) {
    size_t at = from * ROWS, sub = from / (size_t)p->sub * ROWS;
    return (quant_panel){.lattice = p->lattice,
                         .n_cols = (int)block_cols(p, from),
                         .sub = p->sub,
                         .w = p->w + at,
                         .y = p->y + at,
                         .v = p->v + at,
                         .step = p->step + sub,
                         .off = p->off + sub,
                         .s = p->s + sub,
                         .m = p->m + sub,
                         .d = p->d + sub,
                         .dmin = p->dmin + sub};
}

/* ---- steps ------------------------------------------------------------------------------- */

static void keep_steps(panel *p, size_t sub, size_t row, const quant_steps *t) {
    for (int j = 0; j < p->lattice->n_subs; j++) {
        size_t at = (sub + (size_t)j) * ROWS + row;
        p->s[at] = t->s[j];
        p->m[at] = t->m[j];
        p->d[at] = t->d;
        p->dmin[at] = t->dmin;
        p->step[at] = t->d * t->s[j];
        p->off[at] = t->dmin * t->m[j];
    }
}

/* Importance of one row's columns for the choice of steps: the Hessian's diagonal and, as large
 * weights should keep their place, magnitude. */
static void weigh_row(const panel *p, size_t from, size_t n) {
    float squares = 0.0f;
    for (size_t c = 0; c < n; c++) squares += p->row[c] * p->row[c];
    for (size_t c = 0; c < n; c++)
        p->imp[c] = p->hessian->h[(from + c) * (p->hessian->n + 1)] *
                    sqrtf(squares / (float)n + p->row[c] * p->row[c]);
}

/* The encoder's search on what the columns have become. */
static void choose_steps(panel *p, size_t from) {
    size_t n = block_cols(p, from), n_elems = (size_t)p->lattice->n_elems;
    size_t block_bytes = quant_row_bytes(p->type, n_elems);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t c = 0; c < n; c++) p->row[c] = p->w[(from + c) * ROWS + row];
        weigh_row(p, from, n);
        quant_kernels_active()->encode[p->type](p->row, n, p->imp, QUANT_EFFORT_NORMAL, p->blocks);
        for (size_t b = 0; b < n / n_elems; b++) {
            quant_steps t;
            quant_lattice_read(p->type, p->blocks + b * block_bytes, &t);
            keep_steps(p, from / (size_t)p->sub + b * (size_t)p->lattice->n_subs, row, &t);
        }
    }
}

/* ---- passes ------------------------------------------------------------------------------ */

/* The columns behind a block get what its errors, through the factor, do to them. */
static void spread_error(panel *p, size_t from, size_t width) {
    size_t n = p->n, next = from + width;
    if (next < n)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(n - next), ROWS, (int)width,
                    -1.0f, p->hessian->u + from * n + next, (int)n, p->e, ROWS, 1.0f,
                    p->w + next * ROWS, ROWS);
}

/* Types with words: row by row within a block, and blocks are complete. */
static void feed_back_words(panel *p, uint8_t *dst, size_t row_bytes) {
    size_t n = p->n, block_bytes = quant_row_bytes(p->type, COLS);
    float e[COLS];
    memset(p->e, 0, sizeof e * ROWS);
    for (size_t from = 0; from < n; from += COLS) {
        for (size_t row = 0; row < p->n_rows; row++) {
            for (size_t c = 0; c < COLS; c++) p->row[c] = p->w[(from + c) * ROWS + row];
            weigh_row(p, from, COLS);
            const quant_words q = {.w = p->row,
                                   .imp = p->imp,
                                   .u = p->hessian->u + from * (n + 1),
                                   .u_stride = n,
                                   .e = e,
                                   .block = dst + row * row_bytes + from / COLS * block_bytes};
            quant_kernels_active()->words[p->type](&q);
            for (size_t c = 0; c < COLS; c++) p->e[c * ROWS + row] = e[c];
        }
        spread_error(p, from, COLS);
    }
}

static void feed_back(panel *p) {
    size_t n = p->n;
    for (size_t from = 0; from < n; from += COLS) {
        size_t width = block_cols(p, from);
        choose_steps(p, from);
        quant_panel block = view(p, from);
        quant_kernels_active()->feedback(&block, p->hessian->u + from * (n + 1), n, p->e);
        spread_error(p, from, width);
    }
}

/* r = H (y - w0) */
static void find_residual(panel *p) {
    for (size_t i = 0; i < p->n * ROWS; i++) p->w[i] = p->y[i] - p->w0[i];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)p->n, ROWS, (int)p->n, 1.0f,
                p->hessian->h, (int)p->n, p->w, ROWS, 0.0f, p->r, ROWS);
}

/* Rows [first, end) of r get what the change of a block of columns does to them. */
static void spread_change(panel *p, size_t from, size_t width, size_t first, size_t end) {
    if (first < end)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(end - first), ROWS, (int)width,
                    1.0f, p->hessian->h + first * p->n + from, (int)p->n, p->e, ROWS, 1.0f,
                    p->r + first * ROWS, ROWS);
}

static void descend(panel *p) {
    for (size_t from = 0; from < p->n; from += COLS) {
        size_t width = block_cols(p, from);
        quant_panel block = view(p, from);
        quant_kernels_active()->descent(&block, p->hessian->h + from * (p->n + 1), p->n,
                                        p->r + from * ROWS, p->e);
        spread_change(p, from, width, 0, from);
        spread_change(p, from, width, from + width, p->n);
    }
}

/* ---- blocks ------------------------------------------------------------------------------ */

static void write_row(const panel *p, size_t row, uint8_t *dst) {
    const quant_lattice *l = p->lattice;
    size_t n_elems = (size_t)l->n_elems, block_bytes = quant_row_bytes(p->type, n_elems);
    for (size_t b = 0; b < p->n / n_elems; b++) {
        quant_steps t = {0};
        size_t first = b * (size_t)l->n_subs * ROWS + row;
        t.d = l->kind == QUANT_LATTICE_FLAT ? p->step[first] : p->d[first];
        t.dmin = l->kind == QUANT_LATTICE_FLAT ? p->off[first] : p->dmin[first];
        for (int j = 0; j < l->n_subs; j++) {
            t.s[j] = p->s[first + (size_t)j * ROWS];
            t.m[j] = p->m[first + (size_t)j * ROWS];
        }
        quant_lattice_write(p->type, &t, p->v + b * n_elems * ROWS + row, ROWS,
                            dst + b * block_bytes);
    }
}

void quant_compensate(uint32_t type, const float *src, size_t n_rows, size_t n_cols,
                      const quant_hessian *hessian, const quant_compensate_opts *opts, void *dst,
                      void *scratch) {
    panel p = {.type = type, .lattice = quant_lattice_of(type), .hessian = hessian, .n = n_cols};
    size_t row_bytes = quant_row_bytes(type, n_cols);
    bool words = quant_kernels_active()->words[type] != NULL;
    p.sub = words ? MIN_SUB : p.lattice->n_elems / p.lattice->n_subs;
    place(&p, scratch);
    for (size_t first = 0; first < n_rows; first += ROWS) {
        p.n_rows = n_rows - first < ROWS ? n_rows - first : ROWS;
        load(&p, src + first * n_cols);
        if (words) {
            feed_back_words(&p, (uint8_t *)dst + first * row_bytes, row_bytes);
            continue;
        }
        feed_back(&p);
        if (opts->n_passes) find_residual(&p);
        for (unsigned i = 0; i < opts->n_passes; i++) descend(&p);
        for (size_t r = 0; r < p.n_rows; r++)
            write_row(&p, r, (uint8_t *)dst + (first + r) * row_bytes);
    }
}

double quant_hessian_loss(const quant_hessian *hessian, const float *a, const float *b,
                          size_t n_rows) {
    size_t n = hessian->n;
    float *d = malloc(2 * n * sizeof *d), *hd = d ? d + n : NULL;
    double sum = 0;
    for (size_t r = 0; d && r < n_rows; r++) {
        for (size_t c = 0; c < n; c++) d[c] = a[r * n + c] - b[r * n + c];
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)n, 1.0f, hessian->h, (int)n, d, 1,
                    0.0f, hd, 1);
        for (size_t c = 0; c < n; c++) sum += (double)d[c] * (double)hd[c];
    }
    free(d);
    return sum;
}
