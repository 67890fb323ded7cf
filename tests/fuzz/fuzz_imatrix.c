/* Importance matrices in GGUF: load, take the means and statistics. */
#include "tests/fuzz/fuzz_imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    gguf_file *f;
    quant_imatrix *im;
    if (gguf_file_from_memory(data, size, "input", GGUF_OPEN_DEFAULT, &f, &err)) return 0;
    gguf_code code = quant_imatrix_read(f, &im, &err);
    fuzz_check_error(code, &err);
    if (!code) fuzz_walk_imatrix(im);
    if (!code) quant_imatrix_free(im);
    gguf_file_close(f);
    return 0;
}
