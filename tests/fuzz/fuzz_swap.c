/* Byte order: a header swapped twice is the same again, a swapped file opens, blocks likewise. */
#include "libgguf/swap.h"
#include "tests/fuzz/fuzz.h"

static void swap_blocks(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    uint8_t *blocks = malloc(size + 1);
    for (uint32_t type = 0; blocks && type < 64; type++) {
        if (size) memcpy(blocks, data, size);
        if (gguf_blocks_swap(type, blocks, size, &err)) continue;
        fuzz_check(!gguf_blocks_swap(type, blocks, size, &err));
        fuzz_check(!size || memcmp(blocks, data, size) == 0);
    }
    free(blocks);
}

/* The swapped header with the rest of the file behind it has as many keys and tensors. */
static void open_both(const uint8_t *data, size_t size, const uint8_t *swapped, size_t n) {
    gguf_error err = {0};
    gguf_file *a = NULL, *b = NULL;
    uint8_t *other = malloc(size + 1);
    if (!other) return;
    memcpy(other, data, size);
    memcpy(other, swapped, n);
    gguf_code code_a = gguf_file_from_memory(data, size, "a", GGUF_OPEN_BIG_ENDIAN, &a, &err);
    gguf_code code_b = gguf_file_from_memory(other, size, "b", GGUF_OPEN_BIG_ENDIAN, &b, &err);
    fuzz_check(!code_a == !code_b);
    if (!code_a) {
        fuzz_check(gguf_file_big_endian(a) != gguf_file_big_endian(b));
        fuzz_check(gguf_meta_count(gguf_file_meta(a)) == gguf_meta_count(gguf_file_meta(b)));
        fuzz_check(gguf_file_n_tensors(a) == gguf_file_n_tensors(b));
        fuzz_walk_meta(gguf_file_meta(a));
        fuzz_walk_meta(gguf_file_meta(b));
    }
    gguf_file_close(a);
    gguf_file_close(b);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    uint8_t *once, *twice;
    size_t n, n_twice;
    swap_blocks(data, size < 512 ? size : 512);
    gguf_code code = gguf_header_swap(data, size, "input", &once, &n, &err);
    fuzz_check_error(code, &err);
    if (code) return 0;
    fuzz_check(n <= size);
    fuzz_check(!gguf_header_swap(once, n, "once", &twice, &n_twice, &err));
    fuzz_check(n == n_twice && memcmp(twice, data, n) == 0);
    open_both(data, size, once, n);
    free(once);
    free(twice);
    return 0;
}
