/* A saved base of gguf-bench quality, with its hash put right: read, and every row used. */
#include "libgguf/hash.h"
#include "runtime/measure/quality_internal.h"
#include "tests/fuzz/fuzz_files.h"

/* Score with a distribution of the right size; the result is a number whatever the rows say. */
static void use_rows(const rt_quality_base *base) {
    uint32_t n = base->layout.n_vocab;
    float *logits = calloc(n, sizeof *logits);
    if (!logits) return;
    for (uint32_t i = 0; i < n; i++) logits[i] = (float)(i % 7);
    rt_distribution q = rt_distribution_of(logits, n);
    for (uint64_t i = 0; i < base->layout.n_rows && i < 8; i++) {
        rt_token_score score = {0};
        rt_base_score(&base->layout, base->rows + i * base->layout.row_bytes, &q, &score);
        fuzz_check(score.kld == score.kld);
    }
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    rt_quality_base *base;
    uint8_t *copy = malloc(size + 1);
    const char *path = fuzz_path("base");
    if (!copy) return 0;
    memcpy(copy, data, size);
    if (size >= RT_BASE_HASHED_FROM) {
        uint64_t hash = gguf_xxh3(copy + RT_BASE_HASHED_FROM, size - RT_BASE_HASHED_FROM, 0);
        memcpy(copy + 8, &hash, sizeof hash);
    }
    fuzz_write_file(path, copy, size);
    free(copy);
    gguf_code code = rt_quality_base_open(path, &base, &err);
    fuzz_check_error(code, &err);
    if (!code && base->layout.n_vocab <= 1 << 16) use_rows(base);
    rt_quality_base_close(base);
    return 0;
}
