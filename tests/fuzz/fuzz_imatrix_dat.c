/* The legacy importance matrix: load, take the means and statistics, merge it with itself. */
#include "tests/fuzz/fuzz_imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    quant_imatrix *im, *sum = quant_imatrix_new();
    if (!sum) return 0;
    gguf_code code = quant_imatrix_read_dat(data, size, "input", &im, &err);
    fuzz_check_error(code, &err);
    if (!code) {
        fuzz_walk_imatrix(im);
        fuzz_check(!quant_imatrix_merge(sum, im, &err));
        fuzz_check(!quant_imatrix_merge(sum, im, &err));
        fuzz_check(quant_imatrix_count(sum) == quant_imatrix_count(im));
        fuzz_walk_imatrix(sum);
        quant_imatrix_free(im);
    }
    quant_imatrix_free(sum);
    return 0;
}
