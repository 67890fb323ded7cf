/* The upper Cholesky factor of a Hessian's inverse. With H = V Vᵀ, V upper, it is the inverse of V:
 * both are computed in tiles, V transposed below the diagonal and its inverse above. The tiles of a
 * step are independent, so the bytes do not depend on the number of threads. */
#include "quant/hessian_factor.h"

#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TILE 256

/* LAPACK, in OpenBLAS: Cholesky factor of a symmetric matrix, and the inverse of a triangle. */
void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void strtri_(const char *uplo, const char *diag, const int *n, float *a, const int *lda, int *info);

typedef struct factoring {
    size_t n, n_tiles;
    size_t step;     /* the tile row at hand */
    float *u;        /* [n][n] */
    float *diagonal; /* [n_tiles][TILE * TILE] inverses of V's tiles on the diagonal */
} factoring;

static size_t width(const factoring *f, size_t tile) {
    size_t left = f->n - tile * TILE;
    return left < TILE ? left : TILE;
}

static float *tile_at(const factoring *f, size_t row, size_t col) {
    return f->u + row * TILE * f->n + col * TILE;
}

static void run(gguf_pool *pool, size_t n_tasks, gguf_task_fn fn, factoring *f) {
    if (pool)
        gguf_pool_run(pool, n_tasks, fn, f);
    else
        for (size_t i = 0; i < n_tasks; i++) fn(f, i, 0);
}

/* Of the tile on the diagonal: LAPACK's lower factor, back to front, is V's upper one. */
static bool invert_diagonal(const factoring *f, size_t k) {
    size_t w = width(f, k);
    float *inverse = f->diagonal + k * TILE * TILE, *tile = tile_at(f, k, k);
    int size = (int)w, info = 0;
    for (size_t r = 0; r < w; r++)
        for (size_t c = 0; c < w; c++) inverse[r * w + c] = tile[(w - 1 - r) * f->n + w - 1 - c];
    spotrf_("L", &size, inverse, &size, &info);
    if (info == 0) strtri_("L", "N", &size, inverse, &size, &info);
    if (info) return false;
    /* Columns are LAPACK's rows: in our order its triangle is the upper one, turned round. */
    for (size_t r = 0; r < w; r++) {
        tile[r * f->n + r] = inverse[(w - 1 - r) * (w + 1)];
        for (size_t c = 0; c < r; c++) tile[r * f->n + c] = 0;
        for (size_t c = r + 1; c < w; c++)
            tile[r * f->n + c] = inverse[(w - 1 - c) * w + w - 1 - r];
    }
    for (size_t r = 0; r < w; r++) memcpy(inverse + r * w, tile + r * f->n, w * sizeof *inverse);
    for (size_t r = 0; r < w; r++)
        if (!(inverse[r * (w + 1)] > 0) || !isfinite(inverse[r * (w + 1)])) return false;
    return true;
}

/* tile = scale * (inverse of V's tile at `row` on the diagonal) * tile */
static void times_inverse(const factoring *f, size_t row, size_t col, float scale) {
    cblas_strmm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit,
                (int)width(f, row), (int)width(f, col), scale, f->diagonal + row * TILE * TILE,
                (int)width(f, row), tile_at(f, row, col), (int)f->n);
}

static void transposed_task(void *ctx, size_t col, unsigned worker) {
    const factoring *f = ctx;
    (void)worker;
    times_inverse(f, f->step, col, 1.0f);
}

/* Tile (row, col <= row) above the step loses what the step's V explains. */
static void update_task(void *ctx, size_t task, unsigned worker) {
    const factoring *f = ctx;
    size_t row = task / f->step, col = task % f->step;
    (void)worker;
    if (col > row) return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)width(f, row), (int)width(f, col),
                (int)width(f, f->step), -1.0f, tile_at(f, f->step, row), (int)f->n,
                tile_at(f, f->step, col), (int)f->n, 1.0f, tile_at(f, row, col), (int)f->n);
}

static bool factor(factoring *f, gguf_pool *pool) {
    for (size_t k = f->n_tiles; k-- > 0;) {
        f->step = k;
        if (!invert_diagonal(f, k)) return false;
        run(pool, k, transposed_task, f);
        run(pool, k * k, update_task, f);
    }
    return true;
}

/* Of row `step`, what the rows below it, which are done, leave for a column. */
static void inverse_task(void *ctx, size_t task, unsigned worker) {
    const factoring *f = ctx;
    size_t row = f->step, col = f->n_tiles - 1 - task;
    size_t n_inner = (col - row - 1) * TILE + width(f, col);
    (void)worker;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)width(f, row), (int)width(f, col),
                (int)n_inner, 1.0f, tile_at(f, row + 1, row), (int)f->n, tile_at(f, row + 1, col),
                (int)f->n, 0.0f, tile_at(f, row, col), (int)f->n);
    times_inverse(f, row, col, -1.0f);
}

static void invert(factoring *f, gguf_pool *pool) {
    for (size_t row = f->n_tiles; row-- > 0;) {
        f->step = row;
        run(pool, f->n_tiles - 1 - row, inverse_task, f);
    }
}

quant_factored quant_factor_inverse(const float *h, size_t n, gguf_pool *pool, float *u) {
    factoring f = {.n = n, .n_tiles = (n + TILE - 1) / TILE, .u = u};
    f.diagonal = malloc((f.n_tiles * TILE * TILE + 1) * sizeof *f.diagonal);
    if (!f.diagonal) return QUANT_FACTOR_MEMORY;
    memcpy(u, h, n * n * sizeof *u);
    bool done = factor(&f, pool);
    if (done) invert(&f, pool);
    free(f.diagonal);
    return done ? QUANT_FACTORED : QUANT_FACTOR_NONE;
}
