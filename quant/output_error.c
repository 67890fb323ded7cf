/* Output errors by products with the Hessian. */
#include "quant/output_error.h"

#include <cblas.h>
#include <string.h>

static size_t n_measured(size_t n_rows) {
    return (n_rows + QUANT_OUTPUT_STRIDE - 1) / QUANT_OUTPUT_STRIDE;
}

/* Rows as they are, the errors of what is kept and of rounding: [n][n_cols] each, behind one
 * another, so that H is read once for all. */
enum { SIGNAL, KEPT, ROUNDED, N_PARTS };

size_t quant_output_scratch_bytes(size_t n_rows, size_t n_cols) {
    return (2 * N_PARTS + 1) * n_measured(n_rows) * n_cols * sizeof(float);
}

/* Sum over rows of dᵀ M d from d and H d, where M is what H was before its diagonal was
 * strengthened: H = trust M + (1 - trust) diag(M) + damping. */
static double form(const quant_hessian *hessian, const float *d, const float *product,
                   size_t n_rows) {
    size_t n = hessian->n;
    double trust = (double)QUANT_HESSIAN_TRUST, damping = hessian->damp * hessian->mean, sum = 0;
    for (size_t i = 0; i < n_rows * n; i++) {
        double diagonal = (double)hessian->h[i % n * (n + 1)];
        double extra = (1 - trust) * (diagonal - damping) + damping;
        sum += (double)d[i] * ((double)product[i] - extra * (double)d[i]);
    }
    return sum > 0 ? sum / trust : 0;
}

static gguf_code error_of(uint32_t type, const uint8_t *blocks, const float *values, size_t n_rows,
                          size_t n_cols, float *error, gguf_error *err) {
    gguf_code code = quant_decode(type, blocks, n_rows, n_cols, error, err);
    for (size_t i = 0; i < n_rows * n_cols && !code; i++) error[i] -= values[i];
    return code;
}

gguf_code quant_output_measure(uint32_t type, quant_effort effort, const float *values,
                               const void *encoded, bool fed, size_t n_rows, size_t n_cols,
                               const quant_hessian *hessian, const float *imp, void *scratch,
                               quant_output_sums *sums, gguf_error *err) {
    size_t n = n_measured(n_rows), part = n * n_cols, row_bytes = quant_row_bytes(type, n_cols);
    int n_parts = fed ? N_PARTS : ROUNDED;
    float *d = scratch, *product = d + N_PARTS * part;
    uint8_t *blocks = (uint8_t *)(product + N_PARTS * part);
    for (size_t i = 0; i < n; i++) {
        size_t row = i * QUANT_OUTPUT_STRIDE;
        memcpy(d + i * n_cols, values + row * n_cols, n_cols * sizeof *values);
        memcpy(blocks + i * row_bytes, (const uint8_t *)encoded + row * row_bytes, row_bytes);
    }
    gguf_code code = error_of(type, blocks, d, n, n_cols, d + KEPT * part, err);
    if (!code && fed) code = quant_encode_effort(type, effort, d, n, n_cols, imp, blocks, err);
    if (!code && fed) code = error_of(type, blocks, d, n, n_cols, d + ROUNDED * part, err);
    if (code) return code;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n * n_parts, (int)n_cols,
                (int)n_cols, 1.0f, d, (int)n_cols, hessian->h, (int)n_cols, 0.0f, product,
                (int)n_cols);
    double kept = form(hessian, d + KEPT * part, product + KEPT * part, n);
    sums->signal += form(hessian, d, product, n);
    sums->kept += kept;
    sums->rounded += fed ? form(hessian, d + ROUNDED * part, product + ROUNDED * part, n) : kept;
    return GGUF_OK;
}
