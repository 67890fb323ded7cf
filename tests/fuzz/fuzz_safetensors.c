/* safetensors: one file, or an index and two shards (the input starts with '{'; see fuzz_split). */
#include "tests/fuzz/fuzz_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"model.safetensors.index.json", "1.safetensors",
                                        "2.safetensors"};
    fuzz_checkpoint("model.safetensors", names, data, size);
    return 0;
}
