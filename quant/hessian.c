/* Hessians by OpenBLAS: one thread per call, tiles of fixed size. */
#include "quant/hessian.h"

#include "libgguf/checked.h"
#include "quant/blas.h"
#include "quant/hessian_factor.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE 256

gguf_code quant_hessian_new(size_t n, quant_hessian **out, gguf_error *err) {
    uint64_t n_elems, n_bytes;
    *out = NULL;
    quant_blas_prepare();
    if (!gguf_mul_u64(n, n, &n_elems) || !gguf_mul_u64(n_elems, sizeof(float), &n_bytes) ||
        n > INT32_MAX)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "a row of %zu columns", n);
    quant_hessian *hessian = calloc(1, sizeof *hessian);
    if (!hessian) return gguf_fail_memory(err);
    hessian->n = n;
    hessian->h = calloc(n_elems, sizeof *hessian->h);
    if (hessian->h) {
        *out = hessian;
        return GGUF_OK;
    }
    quant_hessian_free(hessian);
    return gguf_fail_memory(err);
}

void quant_hessian_free(quant_hessian *hessian) {
    if (!hessian) return;
    free(hessian->h);
    free(hessian->u);
    free(hessian->total);
    free(hessian);
}

/* ---- sums -------------------------------------------------------------------------------- */

typedef struct add_job {
    quant_hessian *hessian;
    const float *rows;
    size_t n_rows, n_tiles;
} add_job;

static size_t tile_width(const quant_hessian *hessian, size_t tile) {
    size_t left = hessian->n - tile * TILE;
    return left < TILE ? left : TILE;
}

/* Task = tile row * tiles + tile column; only the upper triangle is computed. */
static void add_tile(void *ctx, size_t task, unsigned worker) {
    const add_job *job = ctx;
    quant_hessian *hessian = job->hessian;
    size_t i = task / job->n_tiles, j = task % job->n_tiles, n = hessian->n;
    (void)worker;
    if (j < i) return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)tile_width(hessian, i),
                (int)tile_width(hessian, j), (int)job->n_rows, 1.0f, job->rows + i * TILE, (int)n,
                job->rows + j * TILE, (int)n, 1.0f, hessian->h + i * TILE * n + j * TILE, (int)n);
}

void quant_hessian_add(quant_hessian *hessian, const float *rows, size_t n_rows, gguf_pool *pool) {
    add_job job = {hessian, rows, n_rows, (hessian->n + TILE - 1) / TILE};
    if (n_rows == 0) return;
    hessian->n_samples += n_rows;
    hessian->n_part_samples += n_rows;
    gguf_pool_run(pool, job.n_tiles * job.n_tiles, add_tile, &job);
}

/* ---- factors ----------------------------------------------------------------------------- */

/* From upper sums to symmetric means, off the diagonal as far as they are trusted; returns the mean
 * of the diagonal. */
static double make_means(quant_hessian *hessian) {
    size_t n = hessian->n;
    float factor = hessian->n_samples ? 1.0f / (float)hessian->n_samples : 0.0f;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        hessian->h[i * n + i] *= factor;
        for (size_t j = i + 1; j < n; j++)
            hessian->h[j * n + i] = hessian->h[i * n + j] *= factor * QUANT_HESSIAN_TRUST;
        sum += (double)hessian->h[i * n + i];
    }
    return n ? sum / (double)n : 0;
}

static void add_damp(quant_hessian *hessian, double damp) {
    float amount = (float)(damp * hessian->mean);
    for (size_t i = 0; i < hessian->n; i++) hessian->h[i * hessian->n + i] += amount;
    hessian->damp += damp;
}

void quant_hessian_raise_damp(quant_hessian *hessian) {
    add_damp(hessian, hessian->damp > 0 ? 9 * hessian->damp : 1e-4);
}

gguf_code quant_hessian_mean(quant_hessian *hessian, double damp, gguf_error *err) {
    size_t n = hessian->n;
    double mean = make_means(hessian);
    if (!isfinite(mean))
        return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET, "the Hessian is not finite");
    hessian->mean = mean > 0 ? mean : 1;
    for (size_t i = 0; i < n; i++)
        if (!(hessian->h[i * n + i] > 0)) hessian->h[i * n + i] = (float)hessian->mean;
    hessian->damp = 0;
    add_damp(hessian, damp);
    return GGUF_OK;
}

gguf_code quant_hessian_factor(quant_hessian *hessian, double damp, gguf_pool *pool,
                               gguf_error *err) {
    size_t n = hessian->n;
    gguf_code code = quant_hessian_mean(hessian, damp, err);
    if (code) return code;
    free(hessian->u);
    hessian->u = malloc(n * n * sizeof *hessian->u);
    if (!hessian->u) return gguf_fail_memory(err);
    for (;;) {
        quant_factored done = quant_factor_inverse(hessian->h, n, pool, hessian->u);
        if (done == QUANT_FACTORED) return GGUF_OK;
        if (done == QUANT_FACTOR_MEMORY) return gguf_fail_memory(err);
        if (hessian->damp > 100)
            return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                             "the Hessian cannot be inverted");
        quant_hessian_raise_damp(hessian);
    }
}
