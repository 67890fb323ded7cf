/* Output errors by products with the Hessian. */
#include "quant/output_error.h"

#include <cblas.h>
#include <string.h>

static size_t n_measured(size_t n_rows) {
    return (n_rows + QUANT_OUTPUT_STRIDE - 1) / QUANT_OUTPUT_STRIDE;
}

/* Rows as they are, their blocks, what those hold, and a product: [n][n_cols] floats each. */
typedef struct buffers {
    float *values, *decoded, *product;
    uint8_t *blocks;
} buffers;

size_t quant_output_scratch_bytes(size_t n_rows, size_t n_cols) {
    return 4 * n_measured(n_rows) * n_cols * sizeof(float);
}

/* Sum over rows of dᵀ M d, where M is what H was before its diagonal was strengthened:
 * H = trust M + (1 - trust) diag(M) + damping. */
static double form(const quant_hessian *hessian, const float *d, size_t n_rows, float *product) {
    size_t n = hessian->n;
    double trust = (double)QUANT_HESSIAN_TRUST, damping = hessian->damp * hessian->mean, sum = 0;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n_rows, (int)n, (int)n, 1.0f, d,
                (int)n, hessian->h, (int)n, 0.0f, product, (int)n);
    for (size_t i = 0; i < n_rows * n; i++) {
        double diagonal = (double)hessian->h[i % n * (n + 1)];
        double extra = (1 - trust) * (diagonal - damping) + damping;
        sum += (double)d[i] * ((double)product[i] - extra * (double)d[i]);
    }
    return sum > 0 ? sum / trust : 0;
}

static gguf_code error_of(uint32_t type, const quant_hessian *hessian, const buffers *b, size_t n,
                          double *sum, gguf_error *err) {
    gguf_code code = quant_decode(type, b->blocks, n, hessian->n, b->decoded, err);
    for (size_t i = 0; i < n * hessian->n && !code; i++) b->decoded[i] -= b->values[i];
    if (!code) *sum += form(hessian, b->decoded, n, b->product);
    return code;
}

gguf_code quant_output_measure(uint32_t type, quant_effort effort, const float *values,
                               const void *encoded, bool fed, size_t n_rows, size_t n_cols,
                               const quant_hessian *hessian, const float *imp, void *scratch,
                               quant_output_sums *sums, gguf_error *err) {
    size_t n = n_measured(n_rows), n_elems = n * n_cols, row_bytes = quant_row_bytes(type, n_cols);
    float *at = scratch;
    const buffers b = {at, at + n_elems, at + 2 * n_elems, (uint8_t *)(at + 3 * n_elems)};
    const uint8_t *blocks = encoded;
    double kept = 0, rounded = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = i * QUANT_OUTPUT_STRIDE;
        memcpy(b.values + i * n_cols, values + row * n_cols, n_cols * sizeof *values);
        memcpy(b.blocks + i * row_bytes, blocks + row * row_bytes, row_bytes);
    }
    gguf_code code = error_of(type, hessian, &b, n, &kept, err);
    if (!code && fed)
        code = quant_encode_effort(type, effort, b.values, n, n_cols, imp, b.blocks, err);
    if (!code && fed) code = error_of(type, hessian, &b, n, &rounded, err);
    if (code) return code;
    sums->signal += form(hessian, b.values, n, b.product);
    sums->kept += kept;
    sums->rounded += fed ? rounded : kept;
    return GGUF_OK;
}
