/* A tokenizer from the metadata of a GGUF file. */
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    gguf_file *f;
    if (gguf_file_from_memory(data, size, "input", GGUF_OPEN_DEFAULT, &f, &err)) return 0;
    fuzz_use_tokenizer(gguf_file_meta(f));
    gguf_file_close(f);
    return 0;
}
