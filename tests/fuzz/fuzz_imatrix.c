/* Importance matrices: load and take the means. */
#include "tests/fuzz/fuzz.h"

#include "quant/imatrix.h"

#include <math.h>

static void walk(const quant_imatrix *im) {
    for (size_t i = 0; i < quant_imatrix_count(im); i++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, i);
        size_t n = e->n_cols * e->n_mats;
        float *means = malloc(n * sizeof *means + 1);
        fuzz_check(quant_imatrix_find(im, e->name) == e);
        if (!means) return;
        quant_imatrix_means(e, means);
        for (size_t k = 0; k < n; k++) fuzz_check(isfinite(means[k]) && means[k] >= 0);
        free(means);
    }
    const quant_imatrix_info *info = quant_imatrix_info_of(im);
    fuzz_read(info->dataset, strlen(info->dataset));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    gguf_file *f;
    quant_imatrix *im;
    if (gguf_file_from_memory(data, size, "input", GGUF_OPEN_DEFAULT, &f, &err)) return 0;
    gguf_code code = quant_imatrix_read(f, &im, &err);
    fuzz_check_error(code, &err);
    if (!code) walk(im);
    if (!code) quant_imatrix_free(im);
    gguf_file_close(f);
    return 0;
}
