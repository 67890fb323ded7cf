/* The tolerant walk of verify: it goes on behind errors, and finds nothing in files that open. */
#include "libgguf/verify.h"
#include "runtime/model/check_model.h"
#include "tests/fuzz/fuzz.h"

static void walk_tensors(const gguf_scan *scan, size_t size) {
    for (size_t i = 0; i < gguf_scan_n_tensors(scan); i++) {
        const gguf_tensor *t = gguf_scan_tensor(scan, i);
        const uint8_t *data = gguf_scan_data(scan, i);
        fuzz_read(t->name.ptr, t->name.len);
        if (!data) continue;
        fuzz_check(t->file_off <= size && t->n_bytes <= size - t->file_off);
        fuzz_read(data, 1);
        fuzz_read(data + t->n_bytes - 1, 1);
    }
}

/* What does not open has findings. */
static void compare(const uint8_t *data, size_t size, const gguf_findings *found) {
    gguf_error err = {0};
    gguf_file *f;
    if (gguf_file_from_memory(data, size, "input", GGUF_OPEN_ANY_TYPE, &f, &err))
        fuzz_check(found->n > 0);
    else
        gguf_file_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf_error err = {0};
    gguf_findings found = {0};
    gguf_scan *scan;
    if (gguf_scan_from_memory(data, size, "input", &found, &scan, &err)) return 0;
    compare(data, size, &found);
    walk_tensors(scan, size);
    const gguf_meta *meta = gguf_scan_meta(scan);
    fuzz_walk_meta(meta);
    fuzz_check(!rt_check_meta(meta, gguf_scan_has_all_keys(scan), &found, &err));
    gguf_findings_sort(&found);
    for (size_t i = 0; i < found.n; i++) fuzz_check(found.items[i].text[0]);
    for (size_t i = 1; i < found.n; i++) fuzz_check(found.items[i - 1].off <= found.items[i].off);
    gguf_findings_clear(&found);
    gguf_scan_close(scan);
    return 0;
}
