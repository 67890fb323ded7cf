/* tokenizer.model and, behind a mark, added_tokens.json (see fuzz_split): import and use. */
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"tokenizer.model", "added_tokens.json"};
    const uint8_t *parts[2];
    size_t sizes[2], n = fuzz_split(data, size, parts, sizes, 2);
    gguf_memory_file files[2];
    for (size_t i = 0; i < n; i++) files[i] = (gguf_memory_file){names[i], parts[i], sizes[i]};
    fuzz_import_vocab(files, n);
    return 0;
}
