/* PyTorch checkpoints: one archive, or an index and two archives (the input starts with '{'; see
 * fuzz_split). */
#include "tests/fuzz/fuzz_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"pytorch_model.bin.index.json", "1.bin", "2.bin"};
    fuzz_checkpoint("pytorch_model.bin", names, data, size);
    return 0;
}
